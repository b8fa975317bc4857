"""Outputs and targets -> answers of each sample, and counts of them that add up exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.evaluate.histogram import Histogram, nothing
from ai8xsim.evaluate.task import Kind, Task
from ai8xsim.formats import ACTIVATION
from ai8xsim.transforms.pixels import unfold

Array = npt.NDArray[Any]

# Every float is a whole number of these: sums of such numbers are exact, in whatever order they are added.
STEPS = 1 << 1074


@dataclass(frozen=True, eq=False)
class Part:
    """What became of a slice of the data set: columns with an entry for each sample, and the pairs met.

    `first` is the first sample's index. Columns, by the task:
    classification: `target`, `answer`, `rank` (how many classes came before the right one), `tied` (how many other
        classes had the answer's score: the lowest number wins, as it does in PyTorch);
    segmentation: `right`, pixels;
    regression: `squared`, `absolute`, the sums of a sample's errors; of a single value also `target` and `answer`.
    With a model also `model` (its answer, of classes) or `differing` (pixels or values), and `equal`: whether
    all output values are.
    pairs: target * classes + answer, of every sample or pixel.
    """

    first: int
    columns: Mapping[str, Array]
    pairs: Histogram

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Scores:
    """Counts over samples. They are integers, so that adding is exact in any order and grouping.

    `squared` and `absolute` are sums of errors in units of 2**-1074, of which every float is a multiple.
    """

    samples: int = 0
    pairs: Histogram = field(default_factory=nothing)
    ranks: Histogram = field(default_factory=nothing)
    tied: int = 0
    squared: int = 0
    absolute: int = 0
    compared: int = 0
    agreeing: int = 0
    equal: int = 0

    @classmethod
    def of(cls, part: Part) -> "Scores":
        """The counts of a part."""
        columns, count = part.columns, len(part)
        scores: dict[str, Any] = {"samples": count, "pairs": part.pairs}
        if "rank" in columns:
            scores |= {"ranks": Histogram.of(columns["rank"]), "tied": int((columns["tied"] > 0).sum())}
        if "squared" in columns:
            scores |= {name: sum(map(_steps, columns[name].tolist())) for name in ("squared", "absolute")}
        if "equal" in columns:
            agrees = (
                columns["model"] == columns["answer"] if "model" in columns else columns["differing"] == 0
            )
            agreement = {
                "compared": count,
                "agreeing": int(agrees.sum()),
                "equal": int(columns["equal"].sum()),
            }
            scores |= agreement
        return cls(**scores)

    @classmethod
    def total(cls, parts: Iterable["Scores"]) -> "Scores":
        """The sum of several."""
        return reduce(add, parts, cls())

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(*(getattr(self, entry.name) + getattr(other, entry.name) for entry in fields(self)))

    def mean(self, errors: int, answers: int) -> float:
        """A sum of errors over the number of values, rounded once."""
        return float(Fraction(errors, STEPS * self.samples * answers))


def _steps(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (STEPS // denominator)


def score(task: Task, first: int, outputs: Array, targets: Array, theirs: Array | None = None) -> Part:
    """A part: outputs (N, channels, rows, columns) held against targets, and against another's outputs.

    targets: (N,) or (N, rows, columns) numbers of classes, or (N, values) in units of 1/128.
    """
    pairs = nothing()
    columns: dict[str, Array]
    if task.kind is Kind.CLASSIFICATION:
        columns = _classified(outputs, targets, theirs)
        pairs = Histogram.of(targets * len(task.classes) + columns["answer"])
    elif task.kind is Kind.SEGMENTATION:
        answers = labels_of(outputs, task.fold)
        columns = {"right": np.sum(answers == targets, axis=(1, 2))}
        pairs = Histogram.of(targets * len(task.classes) + answers)
        if theirs is not None:
            columns["differing"] = np.sum(answers != labels_of(theirs, task.fold), axis=(1, 2))
    else:
        columns = _errors(task, outputs, targets)
        if theirs is not None:
            columns["differing"] = np.sum(_rows(outputs != theirs), axis=1)
    if theirs is not None:
        columns["equal"] = np.all(_rows(outputs == theirs), axis=1)
    return Part(first, columns, pairs)


def labels_of(outputs: Array, fold: int) -> Array:
    """The class of each pixel, (N, rows, columns): the channel with the largest value, the first of equals.

    outputs: (N, classes * fold**2, rows / fold, columns / fold).
    """
    count, channels, rows, columns = outputs.shape
    classes = channels // fold**2
    scores = outputs.transpose(0, 2, 3, 1).reshape(count, rows, columns, fold**2, classes)
    best = scores[..., 0].copy()
    labels = np.zeros(best.shape, np.min_scalar_type(classes))
    for channel in range(1, classes):  # six times as fast as argmax, which calls a function for each pixel
        other = np.ascontiguousarray(scores[..., channel])
        is_better = (other > best).astype(labels.dtype)
        np.maximum(labels, is_better * labels.dtype.type(channel), out=labels)
        np.maximum(best, other, out=best)
    return unfold(labels.transpose(0, 3, 1, 2), fold)[:, 0]


def _classified(outputs: Array, targets: Array, theirs: Array | None) -> dict[str, Array]:
    scores, samples = _rows(outputs), np.arange(len(outputs))
    answers = scores.argmax(axis=1)
    right = scores[samples, targets][:, None]
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    columns = {
        "target": targets,
        "answer": answers,
        "rank": (scores > right).sum(axis=1) + ((scores == right) & earlier).sum(axis=1),
        "tied": (scores == scores[samples, answers][:, None]).sum(axis=1) - 1,
    }
    return columns if theirs is None else columns | {"model": _rows(theirs).argmax(axis=1)}


def _errors(task: Task, outputs: Array, targets: Array) -> dict[str, Array]:
    """Of each sample by itself, so that its neighbours in a batch cannot change how a sum is rounded."""
    answers = _rows(unfold(outputs, task.fold)) * task.unit
    wanted = _rows(targets) * ACTIVATION.unit
    errors = [np.ascontiguousarray(error) for error in answers - wanted]
    columns = {
        "squared": np.array([float(np.square(error).sum()) for error in errors]),
        "absolute": np.array([float(np.abs(error).sum()) for error in errors]),
    }
    return columns if task.answers > 1 else {"target": wanted[:, 0], "answer": answers[:, 0]} | columns


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)
