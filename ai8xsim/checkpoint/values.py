"""Judges the values of weights and biases: are they integers, do they fit, does the chip keep them whole?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai8xsim.checkpoint.faults import QUANTIZE_AGAIN, shown
from ai8xsim.checkpoint.names import WeightKey
from ai8xsim.diagnostics import Diagnostic, error, warning
from ai8xsim.formats import WEIGHT

LARGEST_INTEGER = (1 << 31) - 1
_INT8 = WEIGHT[8]


@dataclass(frozen=True, slots=True)
class Fractions:
    """How many of a layer's weights and biases are no integers, and one of them as an example."""

    layer: str
    count: int
    total: int
    example: str


def find_fractions(key: WeightKey, weight: NDArray[Any], bias: NDArray[Any] | None) -> Fractions | None:
    """Why a layer is not quantized; None if it is.

    Fractions in a bias alone do not count, because the loader rounds them down; infinity and NaN do.
    """
    biases = np.zeros(0) if bias is None else bias
    whole, whole_bias = _is_integer(weight), _is_integer(biases)
    finite_bias = np.isfinite(biases)
    if whole.all() and finite_bias.all():
        return None
    count = int(np.count_nonzero(~whole)) + int(np.count_nonzero(~whole_bias))
    worst = (key.bias, biases, ~finite_bias) if whole.all() else (key.key, weight, ~whole)
    return Fractions(key.layer, count, weight.size + biases.size, element(*worst))


def check_range(key: WeightKey, weight: NDArray[Any]) -> list[Diagnostic]:
    """An error if a weight lies outside int8. Whether it fits fewer bits depends on the description."""
    outside = (weight < _INT8.minimum) | (weight > _INT8.maximum)
    count = int(np.count_nonzero(outside))
    if not count:
        return []
    message = f"{element(key.key, weight, outside)}, outside {_INT8.minimum}..{_INT8.maximum}"
    notes = (f"{count} of the {weight.size} weights of layer {shown(key.layer)} are outside int8",)
    return [error("weights-out-of-range", message, notes=notes, help=QUANTIZE_AGAIN)]


def check_bias(key: WeightKey, bias: NDArray[Any], weight_bits: int | None) -> list[Diagnostic]:
    """A warning if the chip cannot keep a bias whole, an error if no accumulator could.

    Source: `spec/ARITHMETIC.md`, "Bias"; `spec/TRAINING.md` section 9 N.
    """
    numbers = bias.astype(np.float64)
    large = np.abs(numbers) > LARGEST_INTEGER
    if large.any():
        message = f"{element(key.bias, bias, large)}, outside int32"
        return [error("invalid-layer-value", message, help=QUANTIZE_AGAIN)]
    unit = 1 << (weight_bits or 8) - 1
    inexact = np.mod(numbers, unit) != 0
    count = int(np.count_nonzero(inexact))
    if not count:
        return []
    message = f"{count} of the {bias.size} biases of layer {shown(key.layer)} are no multiples of {unit}"
    notes = (
        f"for example, {element(key.bias, bias, inexact)}",
        f"the chip keeps floor(bias / {unit}), PyTorch computes with the whole bias",
    )
    return [warning("inexact-bias", message, notes=notes, help=QUANTIZE_AGAIN)]


def to_integers(values: NDArray[Any]) -> NDArray[np.int64]:
    """The values, rounded down, as an array of our own that nobody can change.

    >>> to_integers(np.array([-0.0, 3.0, -1.5])).tolist()
    [0, 3, -2]
    """
    integers: NDArray[np.int64] = np.floor(values).astype(np.int64, order="C", copy=True)
    integers.flags.writeable = False
    return integers


def element(key: str, values: NDArray[Any], where: NDArray[np.bool_]) -> str:
    """The first element that is marked, as a message shows it.

    >>> element("fc.weight", np.array([[1, 0.125]]), np.array([[False, True]]))
    '`fc.weight`[0, 1] is 0.125'
    """
    index = np.unravel_index(int(np.argmax(where)), values.shape)
    place = ", ".join(str(i) for i in index)
    return f"{shown(key)}[{place}] is {number_text(values[index].item())}"


def number_text(number: float) -> str:
    """A number as a message shows it: nine digits tell any two float32 apart."""
    return f"{number:.9g}" if isinstance(number, float) else str(number)


def _is_integer(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the values are finite and have no fraction."""
    if values.dtype.kind != "f":
        return np.ones(values.shape, np.bool_)
    with np.errstate(invalid="ignore"):  # a signalling NaN is no reason for a warning of numpy
        whole: NDArray[np.bool_] = (np.rint(values) == values) & np.isfinite(values)
    return whole
