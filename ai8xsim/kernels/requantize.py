"""Accumulator to activation: the one door for rounding and saturation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai8xsim.kernels.compiled import Array, compiled

ACTIVATIONS = ("none", "relu", "abs")  # the compiled functions get the place in this list


def requantize(
    acc: NDArray[Any], output_shift: int, activation: str = "none"
) -> tuple[NDArray[np.int8], int]:
    """Reduce accumulators to 8-bit activations: scale, round half up, saturate, activate.

    An accumulator sums products of two Q0.7 values, so it has 14 fraction bits; the hardware keeps 7. A tie
    rounds toward plus infinity: -0.5 becomes 0, not -1.

    acc: int32 or int64, any shape, in units of 2**-14.   output_shift: -15..15, scales by 2**output_shift.
    activation: "none", "relu", or "abs" (whose largest value is 127).
    Returns int8 of the same shape, in units of 2**-7, and how many rounded values lay outside int8 before the
    activation. Raises ValueError for another shift, activation or type.
    Source: README "Rounding"; silicon logs in shared golden `silicon/`.

    >>> requantize(np.array([-64, -65, 1 << 20], np.int32), 0)
    (array([  0,  -1, 127], dtype=int8), 1)
    """
    if not -15 <= output_shift <= 15 or activation not in ACTIVATIONS:
        raise ValueError(f"output shift {output_shift}, activation {activation!r}")
    activations = np.empty(acc.shape, np.int8)
    kernel = shift_right if output_shift <= 6 else shift_left
    shift = abs(output_shift - 7)
    saturated: int = kernel(_flat(acc), shift, ACTIVATIONS.index(activation), activations.reshape(-1))
    return activations, saturated


def saturate(values: NDArray[Any]) -> tuple[NDArray[np.int8], int]:
    """The nearest int8 to each value (int32 or int64, any shape), and how many lay outside int8.

    >>> saturate(np.array([-129, 5, 128], np.int32))
    (array([-128,    5,  127], dtype=int8), 2)
    """
    activations = np.empty(values.shape, np.int8)
    saturated: int = shift_left(_flat(values), 0, 0, activations.reshape(-1))
    return activations, saturated


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype not in (np.int32, np.int64):
        raise ValueError(f"values of type {values.dtype}, not int32 or int64")
    return np.require(values, requirements=("C", "W")).reshape(-1)


@compiled
def shift_right(acc: Array, shift: int, activation: int, activations: Array) -> int:
    """Round half up: (acc + 2**(shift - 1)) >> shift, without the carry that could leave the type."""
    number = acc.dtype.type
    low, high, one = number(-128), number(127), number(1)
    shift, bit_below = number(shift), number(shift - 1)
    saturated = 0
    for i in range(len(acc)):
        rounded = number(number(acc[i] >> shift) + number(number(acc[i] >> bit_below) & one))
        nearest = min(max(rounded, low), high)
        activations[i] = _activate(nearest, activation)
        saturated += nearest != rounded
    return saturated


@compiled
def shift_left(acc: Array, shift: int, activation: int, activations: Array) -> int:
    """Saturate before shifting, so that nothing leaves the type, and again afterwards."""
    number = acc.dtype.type
    low, high, shift = number(-128), number(127), number(shift)
    saturated = 0
    for i in range(len(acc)):
        bounded = min(max(acc[i], low), high)
        shifted = number(bounded << shift)
        nearest = min(max(shifted, low), high)
        activations[i] = _activate(nearest, activation)
        saturated += (bounded != acc[i]) | (nearest != shifted)
    return saturated


@compiled
def _activate(value: Any, activation: int) -> Any:
    if activation == 1:
        return max(value, 0)
    if activation == 2:
        return min(abs(value), 127)
    return value
