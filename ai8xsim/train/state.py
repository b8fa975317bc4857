"""Checkpoints of a training: in the vendor's format, and enough to go on as if nothing had happened."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor, nn

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.train.policy import Policy

if TYPE_CHECKING:
    from ai8xsim.train.recipe import Recipe
    from ai8xsim.train.training import Training

RESUMABLE = ("qat_checkpoint.pth.tar", "checkpoint.pth.tar")  # the further one first
FILES = (*RESUMABLE, "qat_best.pth.tar", "best.pth.tar")
FREE_TO_CHANGE = ("epochs",)  # a training may be made longer while it runs
MOMENTS = MappingProxyType(
    {"adam": frozenset({"step", "exp_avg", "exp_avg_sq"}), "sgd": frozenset({"momentum_buffer"})}
)


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
    if training.about:
        extras["ai8xsim_about"] = json.dumps(dict(training.about))
    content = {
        "epoch": progress.epoch,
        "state_dict": {name: value.cpu() for name, value in training.model.state_dict().items()},
        "arch": training.arch,
        "optimizer_type": type(training.optimizer),
        "optimizer_state_dict": training.optimizer.state_dict(),
        "compression_sched": {"masks_dict": {name: None for name, _ in training.model.named_parameters()}},
        "extras": extras,
    }
    torch.save(content, file)


@dataclass(frozen=True, eq=False)
class Resumed:
    """What a checkpoint holds of a training. about: see `Training`; empty where nothing was said."""

    path: str
    arch: str
    progress: Progress
    recipe: Mapping[str, Any]
    about: Mapping[str, Any]
    states: tuple[Mapping[str, Any], Mapping[str, Any]]

    @property
    def policy(self) -> Policy | None:
        """By what it is quantized."""
        given = self.recipe["policy"]
        return None if given is None else Policy.of(given)

    def check(self, recipe: "Recipe", about: Mapping[str, Any] | None = None) -> None:
        """Raise InputError if this training had another recipe, but for its length, or was about something else."""
        now = json.loads(json.dumps(recipe.record()))
        why = [*_differences(self.recipe, now)]
        if about is not None and self.about:
            why += _differences(self.about, json.loads(json.dumps(dict(about))))
        if why:
            mend = "resume with the same values, or begin anew in another folder"
            raise self._refused("the training to be resumed is another one", tuple(why), mend)
        if recipe.epochs <= self.progress.epoch:
            done = self.progress.epoch + 1
            mend = f"let it have {done} epochs or more, or begin anew in another folder"
            raise self._refused(f"{done} epochs are done already, more than {recipe.epochs}", (), mend)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Put the states into a model and its optimizer. Raises InputError where they do not fit."""
        try:
            model.load_state_dict(self.states[0])
            if optimizer is not None:
                self._restore(optimizer)
        except Exception as fault:  # whatever PyTorch comes upon in a file that is not ours
            why = tuple(str(fault).splitlines()[:4])
            raise self._refused("the checkpoint is of another model", why) from fault
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            raise self._refused("the checkpoint holds weights that are no finite numbers")

    def _restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Raises ValueError where the state cannot be one of this optimizer."""
        (before,) = (dict(group) for group in optimizer.param_groups)
        optimizer.load_state_dict(dict(self.states[1]))
        (group,) = optimizer.param_groups
        if any(group[key] != before[key] for key in before if key not in {"params", "lr"}):
            raise ValueError("the optimizer had other settings")
        for parameter, state in optimizer.state.items():
            shapes = {value.shape for value in state.values() if isinstance(value, Tensor) and value.dim()}
            if set(state) != MOMENTS[self.recipe["optimizer"]] or not shapes <= {parameter.shape}:
                raise ValueError("the optimizer's state is not of the model's weights")

    def _refused(self, message: str, why: tuple[str, ...] = (), mend: str = "") -> InputError:
        return InputError([error("cannot-resume", message, Span(self.path), "", why, mend)])


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each value that differs and may not."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for name in dict.fromkeys([*old, *new]):
        if name not in FREE_TO_CHANGE and old.get(name) != new.get(name):
            yield f"`{name}` was {_said(old.get(name))} and is {_said(new.get(name))}"


def _leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said(value: Any) -> str:
    return "none" if value is None else repr(value)


def read_training(path: str | os.PathLike[str]) -> Resumed:
    """What `save_training` wrote, without running anything in the file.

    Raises CheckpointError if it is something else, OSError if it cannot be opened.
    """
    name, content = os.fsdecode(path), Path(path).read_bytes()
    try:
        with torch.serialization.safe_globals([torch.optim.Adam, torch.optim.SGD]):
            stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as fault:  # PyTorch promises nothing of what it raises for damaged files
        raise _refused(name, str(fault).partition("\n")[0] or "it is not whole") from fault
    try:
        return _resumed(name, stored)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise _refused(name, "it does not hold what a training of ours writes") from fault


def _resumed(name: str, stored: Mapping[str, Any]) -> Resumed:
    """Raises KeyError, TypeError, ValueError or AttributeError where something is missing or of another kind."""
    extras = stored["extras"]
    metric, best = extras["ai8xsim_metric"], extras["best_" + extras["ai8xsim_metric"]]
    epoch, best_epoch = _whole(stored["epoch"]), _whole(extras["best_epoch"])
    score, best_score = float(extras[f"current_{metric}"]), None if best is None else float(best)
    if epoch < max(0, best_epoch):
        raise ValueError("no epochs of a training")
    progress = Progress(epoch, score, best_score, best_epoch)
    about, recipe = json.loads(extras.get("ai8xsim_about", "{}")), json.loads(extras["ai8xsim_recipe"])
    states = stored["state_dict"], stored["optimizer_state_dict"]
    if not all(isinstance(part, dict) for part in (about, recipe, *states)):
        raise TypeError("no dictionaries")
    resumed = Resumed(name, str(stored["arch"]), progress, recipe, about, states)
    _ = resumed.policy  # raises where it is none
    return resumed


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _refused(name: str, why: str) -> CheckpointError:
    mend = "resume from the `checkpoint.pth.tar` or `qat_checkpoint.pth.tar` that `ai8xsim train` wrote"
    return CheckpointError(
        [error("cannot-resume", "no training can be resumed from this file", Span(name), "", (why,), mend)]
    )
