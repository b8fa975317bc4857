"""Checkpoints of a training: in the vendor's format, and enough to go on as if nothing had happened."""

import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import nn

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from ai8xsim.train.recipe import Recipe
    from ai8xsim.train.training import Training

FREE_TO_CHANGE = ("epochs",)  # a training may be made longer while it runs


@dataclass(frozen=True)
class Progress:
    """How far a training is. epoch: the last one that is done, -1 before the first."""

    epoch: int = -1
    score: float = 0.0
    best_score: float | None = None
    best_epoch: int = -1

    def after(self, epoch: int, score: float, is_best: bool) -> "Progress":
        """With one epoch more."""
        if is_best:
            return Progress(epoch, score, score, epoch)
        return Progress(epoch, score, self.best_score, self.best_epoch)

    def without_best(self) -> "Progress":
        """As quantization begins: floats were better, and do not count any more."""
        return replace(self, best_score=None, best_epoch=-1)


def save_training(training: "Training", file: BinaryIO) -> None:
    """Write a checkpoint that the vendor's tools read, and `read_training`."""
    progress, metric = training.progress, training.goal.metric
    extras = {
        f"current_{metric}": progress.score,
        f"best_{metric}": progress.best_score,
        "best_epoch": progress.best_epoch,
        "ai8xsim_recipe": json.dumps(training.recipe.record()),
        "ai8xsim_metric": metric,
    }
    content = {
        "epoch": progress.epoch,
        "state_dict": {name: value.cpu() for name, value in training.model.state_dict().items()},
        "arch": training.arch,
        "optimizer_type": type(training.optimizer),
        "optimizer_state_dict": training.optimizer.state_dict(),
        "compression_sched": {"masks_dict": {}},
        "extras": extras,
    }
    torch.save(content, file)


@dataclass(frozen=True, eq=False)
class Resumed:
    """What a checkpoint holds of a training."""

    path: str
    arch: str
    progress: Progress
    recipe: Mapping[str, Any]
    states: tuple[Mapping[str, Any], Mapping[str, Any]]

    def check(self, recipe: "Recipe") -> None:
        """Raise InputError if this training had another recipe, but for its length."""
        now = json.loads(json.dumps(recipe.record()))
        other = [name for name, value in self.recipe.items() if now.get(name) != value]
        changed = [name for name in other if name not in FREE_TO_CHANGE]
        if changed:
            why = tuple(f"`{name}` was {self.recipe[name]!r} and is {now.get(name)!r}" for name in changed)
            mend = "resume with the same values, or begin anew in another folder"
            message = "the training to be resumed had another recipe"
            raise InputError([error("cannot-resume", message, Span(self.path), "", why, mend)])

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Put the states into a model and its optimizer. Raises InputError where they do not fit."""
        try:
            model.load_state_dict(self.states[0])
            if optimizer is not None:
                optimizer.load_state_dict(dict(self.states[1]))
        except (RuntimeError, ValueError, KeyError) as fault:
            why = tuple(str(fault).splitlines()[:4])
            message = "the checkpoint is of another model"
            raise InputError([error("cannot-resume", message, Span(self.path), "", why)]) from fault


def read_training(path: str | os.PathLike[str]) -> Resumed:
    """What `save_training` wrote, without running anything in the file.

    Raises CheckpointError if it is something else, OSError if it cannot be opened.
    """
    name = os.fsdecode(path)
    try:
        with torch.serialization.safe_globals([torch.optim.Adam, torch.optim.SGD]):
            content = torch.load(path, map_location="cpu", weights_only=True)
        extras = content["extras"]
        metric = extras["ai8xsim_metric"]
        progress = Progress(
            int(content["epoch"]), float(extras[f"current_{metric}"]), extras[f"best_{metric}"],
            int(extras["best_epoch"]),
        )  # fmt: skip
        states = content["state_dict"], content["optimizer_state_dict"]
        return Resumed(name, str(content["arch"]), progress, json.loads(extras["ai8xsim_recipe"]), states)
    except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile, EOFError) as fault:
        raise _refused(name, str(fault).partition("\n")[0]) from fault
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise _refused(name, "it does not hold what a training of ours writes") from fault


def _refused(name: str, why: str) -> CheckpointError:
    mend = "resume from the `checkpoint.pth.tar` or `qat_checkpoint.pth.tar` that `ai8xsim train` wrote"
    return CheckpointError(
        [error("cannot-resume", "no training can be resumed from this file", Span(name), "", (why,), mend)]
    )
