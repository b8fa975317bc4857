"""What a model shall learn: classes of items, classes of pixels, or numbers."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ai8xsim.data import Dataset, unfold
from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError

Kind = Literal["classes", "numbers"]


@dataclass(frozen=True)
class Score:
    """How well a model does, as sums that add up over batches: right of count, or squared errors of count."""

    total: float = 0.0
    count: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> float:
        """The share that is right, or the mean squared error."""
        return self.total / self.count if self.count else 0.0


@dataclass(frozen=True)
class Goal:
    """Loss and score of a data set.

    kind: "classes" of items or, for outputs with pixels, of pixels; "numbers" for regression. outputs: how many
    labels. weight: of each label in the loss. fold_ratio: by how much the model's output is folded.
    """

    kind: Kind
    outputs: int
    weight: tuple[float, ...] | None = None
    fold_ratio: int = 1

    @classmethod
    def of(cls, dataset: Dataset, fold_ratio: int = 1) -> "Goal":
        """What a data set asks for."""
        kind: Kind = "numbers" if dataset.is_regression else "classes"
        return cls(kind, len(dataset.output), dataset.weight, fold_ratio)

    @property
    def metric(self) -> str:
        """What the score is called: `top1` in percent, or `mse`."""
        return "top1" if self.kind == "classes" else "mse"

    def is_better(self, score: float, best: float | None) -> bool:
        """Whether a score is at least as good as the best one so far."""
        if best is None:
            return True
        return score >= best if self.kind == "classes" else score <= best

    def value(self, score: Score) -> float:
        """The score as it is printed: percent of classes, or the mean squared error."""
        return 100 * score.mean if self.kind == "classes" else score.mean

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, weighted where the data set says so, or the mean squared error."""
        output, target = self._fitting(output, target)
        if self.kind == "numbers":
            return functional.mse_loss(output, target)
        weight = None if self.weight is None else torch.tensor(self.weight, device=output.device)
        return functional.cross_entropy(output, target, weight)

    def score(self, output: Tensor, target: Tensor) -> Score:
        """The right answers, or the squared errors, of a batch."""
        output, target = self._fitting(output, target)
        if self.kind == "numbers":
            return Score(float(((output - target) ** 2).sum()), target.numel())
        return Score(float((output.argmax(1) == target).sum()), target.numel())

    def _fitting(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(output, Tensor):
            raise _unfit("the model returns several outputs; training knows models with one")
        if self.fold_ratio > 1:
            unfolded: Any = unfold(output, self.fold_ratio)
            output = unfolded
        if self.kind == "numbers":
            if output.numel() != target.numel():
                raise _unfit(f"the model gives {_sizes(output)}, the labels are {_sizes(target)}")
            return output.flatten(1), target.reshape(output.flatten(1).shape).to(output.dtype)
        if output.dim() > 2 and target.dim() == 1:
            output = output.flatten(1)
        if output.dim() > 1 and output.shape == target.shape:
            classes = output.shape[1]
            raise _unfit(
                f"the labels hold {classes} values, one a class; they must be the numbers of classes"
            )
        if output.dim() < 2 or output.shape[2:] != target.shape[1:]:
            raise _unfit(f"the model gives {_sizes(output)}, the labels are {_sizes(target)}")
        target = target.long()
        if int(target.min()) < 0 or int(target.max()) >= output.shape[1]:
            label = int(target.max()) if int(target.max()) >= output.shape[1] else int(target.min())
            raise _unfit(f"a label is {label}; the model tells {output.shape[1]} classes apart, from 0")
        return output, target


def _sizes(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:])) or "one number"


def _unfit(message: str) -> InputError:
    mend = "let the model's last layer, the data set's `output` and its labels agree"
    return InputError([error("labels-do-not-fit", message, help=mend)])
