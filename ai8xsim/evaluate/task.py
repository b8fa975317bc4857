"""What a network's output means for a data set: classes, a class for each pixel, or values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Diagnostic, Span, error, warning
from ai8xsim.errors import InputError
from ai8xsim.formats import ACTIVATION
from ai8xsim.program import Program, Shape
from ai8xsim.samples import as_array

Array = npt.NDArray[Any]

WIDE = 32


class Kind(StrEnum):
    """What is asked of the network: one class a sample, one class a pixel, or values."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Task:
    """How outputs are judged.

    classes: their names; none where values are asked. shape: one sample's target, () for a class.
    fold: the ratio by which the output is folded (see `ai8xsim.data.fold`).
    unit: what one step of an output value is worth; of a target, 1/128 (see `Source`).
    Source: `spec/TRAINING.md` 2.1 and 8.
    """

    kind: Kind
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    fold: int = 1
    unit: float = ACTIVATION.unit

    @property
    def answers(self) -> int:
        """How many answers a sample has: 1, its pixels, or its values."""
        return int(np.prod(self.shape, dtype=np.int64))


def task_of(
    program: Program, labels: Sequence[object], regression: bool, target: Any, fold: int | None = None
) -> Task:
    """The task of a program on a data set, by its labels and by one of its targets.

    fold: the ratio by which the output is folded; None: as the target's size tells.
    Raises InputError where nothing can be said about such targets.
    """
    shape, wanted = program.layers[-1].output_shape, _shape(target)
    if wanted is None:
        raise InputError([_unscorable(program, type(target).__name__)])
    size = int(np.prod(wanted, dtype=np.int64))
    if regression:
        if size != shape.channels * shape.pixels:
            raise InputError([_unscorable(program, f"{size} values")])
        return Task(Kind.REGRESSION, (), wanted, fold or _folded(wanted, shape), _unit(program))
    if size == 1 and shape.pixels == 1:
        return Task(Kind.CLASSIFICATION, _names(labels, shape.channels))
    rows_columns = wanted[1:] if len(wanted) == 3 and wanted[0] == 1 else wanted
    ratio = fold or (rows_columns[0] // shape.rows if len(rows_columns) == 2 else 0)
    folded = (shape.rows * ratio, shape.columns * ratio)
    if ratio < 1 or shape.channels % ratio**2 or rows_columns != folded:
        raise InputError([_unscorable(program, f"an array of {'x'.join(map(str, wanted)) or 'one value'}")])
    names = _names(labels, shape.channels // ratio**2)
    return Task(Kind.SEGMENTATION, names, rows_columns, ratio)


def label_diagnostics(task: Task, labels: Sequence[object], place: Span) -> tuple[Diagnostic, ...]:
    """A warning where the data set names another number of classes than the network tells apart."""
    if task.kind is Kind.REGRESSION or len(labels) == len(task.classes):
        return ()
    message = f"the data set names {len(labels)} classes, the network tells {len(task.classes)} apart"
    why = "classes are called by their numbers"
    return (warning("class-count", message, place, "", (why,), "take the network made for this data set"),)


def _names(labels: Sequence[object], count: int) -> tuple[str, ...]:
    return tuple(map(str, labels if len(labels) == count else range(count)))


def _shape(target: Any) -> tuple[int, ...] | None:
    """The target's shape; None where it is no array of numbers."""
    try:
        array = as_array(target)
    except InputError:
        return None
    return array.shape if array.dtype.kind in "biuf" else None


def _folded(wanted: tuple[int, ...], shape: Shape) -> int:
    """The ratio by which an output of a target's size is folded: 1 unless it would be the target, unfolded."""
    ratio = isqrt(shape.channels // wanted[0]) if wanted and wanted[0] else 1
    unfolded = (shape.channels // ratio**2, shape.rows * ratio, shape.columns * ratio) if ratio else ()
    return ratio if wanted == unfolded else 1


def _unit(program: Program) -> float:
    """What a step of the last layer's output is worth: a 32-bit output keeps the fractions of data and weights."""
    last = program.layers[-1]
    if last.output_stage.bits != WIDE or last.convolution is None:
        return ACTIVATION.unit
    return float(ACTIVATION.unit * 2.0 ** (1 - last.convolution.weights.bits))


def _unscorable(program: Program, what: str) -> Diagnostic:
    message = f"a target is {what}; the network's output {program.layers[-1].output_shape} cannot be held against it"
    why = (
        "a class is one number for an output of one pixel, a segmentation one number for each pixel",
        "for `regression` a target has as many values as the output",
    )
    mend = "take the network made for this data set, and `--out-fold-ratio` where its output is folded"
    return error("unscorable-target", message, None, "", why, mend)
