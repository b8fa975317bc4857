"""The loop: epochs of floats, then epochs with the chip's rounding in them; a checkpoint after each."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError
from ai8xsim.files import write_file
from ai8xsim.nn import Layer, fuse_bn_layers, initiate_qat, update_optimizer
from ai8xsim.nn.guard import file_of, guarded
from ai8xsim.train.batches import Batches, Data, Name
from ai8xsim.train.goal import Goal, Score
from ai8xsim.train.recipe import Recipe
from ai8xsim.train.state import FILES, Progress, Resumed, read_training, save_training


@dataclass(frozen=True)
class Epoch:
    """What came of an epoch. score: on what was held out; percent of classes, or the mean squared error."""

    number: int
    is_quantized: bool
    learning_rate: float
    loss: float
    score: float
    is_best: bool


@dataclass(frozen=True)
class Result:
    """What training leaves: its epochs, the best checkpoint, and the score on the test set of the model in it."""

    epochs: tuple[Epoch, ...]
    best: Path
    test_score: float | None


@dataclass
class Training:
    """A model on its way. `begin` makes one, `resume` takes one up again; `run` goes on to the last epoch.

    about: what beside the recipe decides the outcome, such as the data set, in plain values; checkpoints keep it.
    """

    model: nn.Module
    goal: Goal
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    arch: str = "model"
    device: str = "cpu"
    progress: Progress = field(default_factory=Progress)
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, model: nn.Module, goal: Goal, recipe: Recipe, arch: str = "model", device: str = "cpu"
    ) -> "Training":
        """A training from its start. device: of PyTorch, such as "cuda".

        Raises InputError if the policy names a layer that the model has not, or the model has none to quantize;
        ValueError if PyTorch cannot compute on the device.
        """
        _check_device(device)
        _check_policy(model, recipe)
        model.to(device)
        return cls(model, goal, recipe, _optimizer(model, recipe), arch, device)

    @classmethod
    def resume(
        cls, model: nn.Module, goal: Goal, recipe: Recipe, resumed: Resumed, device: str = "cpu"
    ) -> "Training":
        """A training taken up where a checkpoint left it. Raises InputError where the model is another one."""
        training = cls.begin(model, goal, recipe, resumed.arch, device)
        if recipe.is_quantized(resumed.progress.epoch):
            training._quantize()
        resumed.restore(model, training.optimizer)
        training.progress, training.about = resumed.progress, resumed.about
        return training

    def run(
        self, data: Data, folder: Path, tell: Callable[[Epoch], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Result:  # fmt: skip
        """Train to the last epoch, writing `checkpoint.pth.tar` after each and `best.pth.tar` after the best.

        With quantization in the loop the files are `qat_checkpoint.pth.tar` and `qat_best.pth.tar`. tell: is given
        each epoch; progress: (batches done, batches in all) of an epoch. As the first checkpoint of a
        training that was begun is written, those of another one in the folder go.
        Raises InputError where data, labels and model do not fit, OSError.
        """
        epochs = []
        with data.present():
            kept, held_out = self._split(data)
            for number in range(self.progress.epoch + 1, self.recipe.epochs):
                epochs.append(self._epoch(number, data, (kept, held_out), progress))
                self._save(folder)
                if tell is not None:
                    tell(epochs[-1])
            best = folder / _name(self.is_quantized, "best")
            score = None if data.test is None else self._test_score(data, best)
        return Result(tuple(epochs), best, score)

    def _test_score(self, data: Data, best: Path) -> float:
        if self.progress.best_epoch != self.progress.epoch:
            read_training(best).restore(self.model)
        return self._score(self._batches(data, "test", data.test))

    def _split(self, data: Data) -> tuple[Any, Any]:
        """The items to train with, and those that choose the best epoch."""
        share = self.recipe.validation_split
        count = int(len(data.train) * share)
        if count == 0:
            return data.train, data.test
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(self.recipe.seed))
        places = order.tolist()
        return Subset(data.train, places[count:]), Subset(data.train, places[:count])

    def _epoch(
        self, number: int, data: Data, sets: tuple[Any, Any], progress: Callable[[int, int], None] | None
    ) -> Epoch:
        if self.recipe.is_quantized(number) and not self.is_quantized:
            self._quantize()
            self.progress = self.progress.without_best()
        rate = self.recipe.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed_generators(self.recipe.seed, number)
        loss = self._train(number, self._batches(data, "train", sets[0], number), progress)
        held_out = int(len(data.train) * self.recipe.validation_split)
        score = 0.0
        if sets[1] is not None:
            score = self._score(self._batches(data, "train" if held_out else "test", sets[1]))
        is_best = not held_out or self.goal.is_better(score, self.progress.best_score)
        self.progress = self.progress.after(number, score, is_best)
        return Epoch(number, self.is_quantized, rate, loss, score, is_best)

    @property
    def is_quantized(self) -> bool:
        """Whether the model is trained with quantization by now."""
        return any(layer.bits for layer in self.model.modules() if isinstance(layer, Layer))

    def _quantize(self) -> None:
        assert self.recipe.policy is not None
        fuse_bn_layers(self.model)
        initiate_qat(self.model, self.recipe.policy.record())
        self.model.to(self.device)
        self.optimizer = update_optimizer(self.model, self.optimizer)

    def _batches(self, data: Data, name: Name, items: Any, epoch: int | None = None) -> Batches:
        """Shuffled by seed and epoch; in order for `None`."""
        generator = torch.Generator().manual_seed(self.recipe.seed + 1_000_003 * ((epoch or 0) + 1))
        is_training = epoch is not None
        rest = len(items) % self.recipe.batch_size
        loader = DataLoader[Any](
            items, batch_size=self.recipe.batch_size, shuffle=is_training, collate_fn=data.collate,
            num_workers=data.workers, generator=generator,
            drop_last=is_training and rest == 1 and len(items) > 1,  # one item has no variance to normalize by
        )  # fmt: skip
        return Batches(data, name, loader)

    def _train(self, number: int, batches: Batches, progress: Callable[[int, int], None] | None) -> float:
        self.model.train()
        total, count = 0.0, 0
        for place, (x, target) in enumerate(batches):
            self.optimizer.zero_grad()
            loss = self.goal.loss(self._output(x), target.to(self.device))
            value = float(loss.detach())
            if not isfinite(value):
                raise _diverged(number, place, self.recipe.rate(number))
            if not loss.requires_grad:
                raise InputError([error("model-failed", "the model's output does not depend on its weights")])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total, count = total + value * len(x), count + len(x)
            if progress is not None:
                progress(place + 1, len(batches))
        return total / max(count, 1)

    def _output(self, x: Tensor) -> Tensor:
        items = "x".join(map(str, x.shape[1:]))
        with guarded(f"the model, given items of {items},", file_of(self.model)):
            output = self.model(x.to(self.device).float())
        if not isinstance(output, Tensor):
            message = f"the model returns a {type(output).__name__}, not one tensor"
            raise InputError([error("model-failed", message, help="return what the last layer computes")])
        return output

    def _score(self, batches: Batches) -> float:
        self.model.eval()
        with torch.no_grad():
            scores = (self.goal.score(self._output(x), target.to(self.device)) for x, target in batches)
            return self.goal.value(sum(scores, Score()))

    def _save(self, folder: Path) -> None:
        """The best one first: where its writing is followed by no checkpoint, the epoch is done and written again."""
        if self.progress.epoch == 0:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        names = ["best"] * (self.progress.best_epoch == self.progress.epoch) + ["checkpoint"]
        for name in names:
            path = folder / _name(self.is_quantized, name)
            write_file(path, lambda stream: save_training(self, stream))


def _name(is_quantized: bool, name: str) -> str:
    return f"{'qat_' if is_quantized else ''}{name}.pth.tar"


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as fault:
        reason = str(fault).partition("\n")[0]
        raise ValueError(f"PyTorch cannot compute on {name!r}: {reason}") from None


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Of all parameters, also those that are not trained: so the vendor's tools number them in its state."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)


def _check_policy(model: nn.Module, recipe: Recipe) -> None:
    layers = [
        name for name, module in model.named_modules() if isinstance(module, Layer) and module.op is not None
    ]
    if recipe.policy and not layers:
        message = "the model has no layers of `ai8x` with weights: there is nothing to quantize"
        mend = "make it of `ai8x.FusedConv2dReLU`, `ai8x.Linear` and their kin"
        raise InputError([error("nothing-to-quantize", message, help=mend)])
    unknown = recipe.policy.unknown_layers(layers) if recipe.policy else []
    if unknown:
        raise InputError(unknown)


def seed_generators(seed: int, epoch: int = -1) -> None:
    """Let all global generators draw what belongs to an epoch, or to the model's first weights for -1.

    An epoch's random numbers depend on seed and epoch alone, so that a resumed training draws the same.
    """
    chosen = (seed * 100_003 + epoch + 1) % (1 << 32)
    torch.manual_seed(chosen)
    np.random.seed(chosen)  # noqa: NPY002  (loaders of users draw from the global generators)
    random.seed(chosen)


def _diverged(epoch: int, batch: int, rate: float) -> InputError:
    message = f"epoch {epoch}, batch {batch}: the loss is no finite number"
    mend = f"lower the learning rate, {rate:g} here, and see that the data lie in [-1, 1)"
    return InputError([error("loss-not-finite", message, help=mend)])
