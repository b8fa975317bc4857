"""Accumulator to activation: the one door for rounding and saturation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def requantize(
    acc: NDArray[Any], output_shift: int, activation: str = "none"
) -> tuple[NDArray[np.int8], int]:
    """Activations (int8, same shape) and how many rounded values lay outside int8, before the activation."""
    wide = acc.astype(np.int64)
    if output_shift <= 6:
        rounded = (wide + (1 << (6 - output_shift))) >> (7 - output_shift)
    else:
        rounded = wide << (output_shift - 7)
    return _finish(rounded, activation)


def saturate(values: NDArray[Any]) -> tuple[NDArray[np.int8], int]:
    """Values saturated to int8, same shape, and how many lay outside."""
    return _finish(values.astype(np.int64), "none")


def _finish(values: NDArray[np.int64], activation: str) -> tuple[NDArray[np.int8], int]:
    y = np.clip(values, -128, 127)
    count = int(np.count_nonzero(y != values))
    if activation == "relu":
        y = np.maximum(y, 0)
    elif activation == "abs":
        y = np.minimum(np.abs(y), 127)
    return y.astype(np.int8), count
