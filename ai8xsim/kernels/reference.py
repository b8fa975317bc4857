"""What the chip computes, as slowly and plainly as it can be said: Python integers and loops.

The compiled kernels are held to this file, so it goes other ways than they do (a transposed convolution
scatters), imports nothing of ours, and uses NumPy only to take arrays in and to hand arrays out. Data is
(channels, rows, columns); one-dimensional data has one column. A geometry is anything with the named pairs.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pair = tuple[int, int]


class Convolution(Protocol):
    """What this file asks of the geometry of a convolution; every pair is (rows, columns)."""

    @property
    def kernel_size(self) -> Pair: ...
    @property
    def padding(self) -> Pair: ...
    @property
    def stride(self) -> Pair: ...
    @property
    def dilation(self) -> Pair: ...
    @property
    def groups(self) -> int: ...
    @property
    def output_padding(self) -> Pair: ...


class Pooling(Protocol):
    """What this file asks of the geometry of a pooling; every pair is (rows, columns)."""

    @property
    def kernel_size(self) -> Pair: ...
    @property
    def stride(self) -> Pair: ...
    @property
    def dilation(self) -> Pair: ...


def requantize(acc: int, output_shift: int) -> int:
    """Reduce an accumulator to an 8-bit activation: scale, round half up, saturate.

    The accumulator sums products of two Q0.7 values, so it has 14 fraction bits; the hardware
    keeps 7. A tie rounds toward plus infinity: -0.5 becomes 0, not -1.

    acc: integer, in units of 2**-14.   output_shift: -15..15, scales by 2**output_shift.
    Returns an int8, in units of 2**-7.
    Source: README "Rounding"; silicon logs in shared golden `silicon/`.

    >>> [requantize(acc, 0) for acc in (-64, -65, 1 << 20)]
    [0, -1, 127]
    """
    if output_shift <= 6:
        return saturate((acc + 2 ** (6 - output_shift)) >> (7 - output_shift))
    return saturate(acc << (output_shift - 7))


def saturate(value: int) -> int:
    """The nearest int8.

    >>> saturate(-129), saturate(5), saturate(128)
    (-128, 5, 127)
    """
    return max(-128, min(127, value))


def activate(value: int, activation: str) -> int:
    """An int8 after "none", "relu" or "abs"; the absolute value of -128 is 127.

    >>> activate(-128, "abs"), activate(-3, "relu"), activate(-3, "none")
    (127, 0, -3)
    """
    if activation == "relu":
        return max(value, 0)
    if activation == "abs":
        return min(abs(value), 127)
    return value


def convolve(
    x_chw: ArrayLike, weight_oihw: ArrayLike, bias: ArrayLike | None, geometry: Convolution
) -> NDArray[np.int64]:
    """Accumulators of a convolution: for each output the sum over its taps, plus 128 times the bias.

    x_chw: (in, rows, columns).   weight_oihw: (out, in / groups, kernel rows, kernel columns).
    bias: one int8 per output, or None.   Returns (out, rows, columns), in units of 2**-14.
    """
    x, weight = _lists(x_chw), _lists(weight_oihw)
    rows, columns = (_outputs(size, geometry, axis) for axis, size in enumerate((len(x[0]), len(x[0][0]))))
    outputs_per_group = len(weight) // geometry.groups
    acc = [[[start for _ in range(columns)] for _ in range(rows)] for start in _biases(bias, len(weight))]
    for out, row, column in product(range(len(weight)), range(rows), range(columns)):
        first_channel = out // outputs_per_group * len(weight[0])
        for channel, plane in enumerate(weight[out]):
            acc[out][row][column] += _tap_sum(x[first_channel + channel], plane, (row, column), geometry)
    return np.array(acc, np.int64)


def _tap_sum(x: list[list[int]], plane: list[list[int]], place: Pair, geometry: Convolution) -> int:
    """Sum over the taps of one kernel plane at one place; outside of the data there are zeros."""
    total = 0
    for tap_row, weights in enumerate(plane):
        row = place[0] * geometry.stride[0] + tap_row * geometry.dilation[0] - geometry.padding[0]
        for tap_column, weight in enumerate(weights):
            column = place[1] * geometry.stride[1] + tap_column * geometry.dilation[1] - geometry.padding[1]
            if 0 <= row < len(x) and 0 <= column < len(x[0]):
                total += x[row][column] * weight
    return total


def convolve_transposed(
    x_chw: ArrayLike, weight_iohw: ArrayLike, bias: ArrayLike | None, geometry: Convolution
) -> NDArray[np.int64]:
    """Accumulators of a transposed convolution: every input scatters its kernel into the output.

    x_chw: (in, rows, columns).   weight_iohw: (in, out / groups, kernel rows, kernel columns), as PyTorch
    stores it.   bias: one int8 per output, or None.   Returns (out, rows, columns), in units of 2**-14.
    """
    x, weight = _lists(x_chw), _lists(weight_iohw)
    rows, columns = (_scattered(size, geometry, axis) for axis, size in enumerate((len(x[0]), len(x[0][0]))))
    outputs, inputs_per_group = len(weight[0]), len(x) // geometry.groups
    starts = _biases(bias, outputs * geometry.groups)
    acc = [[[start for _ in range(columns)] for _ in range(rows)] for start in starts]
    for channel, out in product(range(len(x)), range(outputs)):
        target = acc[channel // inputs_per_group * outputs + out]
        for place in product(range(len(x[0])), range(len(x[0][0]))):
            _scatter(x[channel][place[0]][place[1]], weight[channel][out], place, geometry, target)
    return np.array(acc, np.int64)


def _scatter(
    value: int, plane: list[list[int]], place: Pair, geometry: Convolution, target: list[list[int]]
) -> None:
    """Add value times the kernel plane to the target, from the output that belongs to `place` onward."""
    for tap_row, weights in enumerate(plane):
        row = place[0] * geometry.stride[0] + tap_row * geometry.dilation[0] - geometry.padding[0]
        for tap_column, weight in enumerate(weights):
            column = place[1] * geometry.stride[1] + tap_column * geometry.dilation[1] - geometry.padding[1]
            if 0 <= row < len(target) and 0 <= column < len(target[0]):
                target[row][column] += value * weight


def pool(x_chw: ArrayLike, kind: str, geometry: Pooling, rounding: bool = False) -> NDArray[np.int64]:
    """Pooled data: kind "max", "average", or "none", which keeps the first value of each window.

    An average is truncated toward zero; with `rounding` to the nearest, half away from zero.

    >>> from types import SimpleNamespace
    >>> window = SimpleNamespace(kernel_size=(2, 2), stride=(2, 2), dilation=(1, 1))
    >>> [pool([[[0, 0], [0, -3]]], "average", window, rounding).item() for rounding in (False, True)]
    [0, -1]
    """
    x = _lists(x_chw)
    rows, columns = (_windows(size, geometry, axis) for axis, size in enumerate((len(x[0]), len(x[0][0]))))
    return np.array(
        [
            [
                [
                    _reduce(_window(plane, (row, column), geometry), kind, rounding)
                    for column in range(columns)
                ]
                for row in range(rows)
            ]
            for plane in x
        ],
        np.int64,
    )


def _window(plane: list[list[int]], place: Pair, geometry: Pooling) -> list[int]:
    return [
        plane[place[0] * geometry.stride[0] + row * geometry.dilation[0]][
            place[1] * geometry.stride[1] + column * geometry.dilation[1]
        ]
        for row, column in product(range(geometry.kernel_size[0]), range(geometry.kernel_size[1]))
    ]


def _reduce(window: list[int], kind: str, rounding: bool) -> int:
    if kind == "max":
        return max(window)
    return average(window, rounding) if kind == "average" else window[0]


def average(window: Sequence[int], rounding: bool) -> int:
    """The mean truncated toward zero, or with `rounding` to the nearest integer, half away from zero.

    >>> average([0, 0, 0, -3], False), average([1, 0], True), average([-1, 0], True)
    (0, 1, -1)
    """
    total, count = sum(window), len(window)
    magnitude, rest = divmod(abs(total), count)
    if rounding and 2 * rest >= count:
        magnitude += 1
    return magnitude if total >= 0 else -magnitude


def combine(operands: Sequence[ArrayLike], operation: str) -> NDArray[np.int64]:
    """Operands of one shape folded from the left, value by value: "add", "sub", "or", "xor"; not saturated.

    >>> combine([[100, 1], [100, 2], [100, 4]], "sub").tolist()
    [-100, -5]
    """
    arrays = [np.asarray(operand) for operand in operands]
    columns = zip(*(array.ravel().tolist() for array in arrays), strict=True)
    return np.array([_fold(values, operation) for values in columns], np.int64).reshape(arrays[0].shape)


def _fold(values: Sequence[int], operation: str) -> int:
    total = values[0]
    for value in values[1:]:
        if operation == "add":
            total += value
        elif operation == "sub":
            total -= value
        elif operation == "or":
            total |= value
        else:
            total ^= value
    return total


def _lists(array: ArrayLike) -> list[Any]:
    nested: list[Any] = np.asarray(array).tolist()
    return nested


def _biases(bias: ArrayLike | None, outputs: int) -> list[int]:
    return [0] * outputs if bias is None else [128 * value for value in _lists(bias)]


def _outputs(size: int, geometry: Convolution, axis: int) -> int:
    reach = (geometry.kernel_size[axis] - 1) * geometry.dilation[axis]
    return (size + 2 * geometry.padding[axis] - reach - 1) // geometry.stride[axis] + 1


def _scattered(size: int, geometry: Convolution, axis: int) -> int:
    reach = (geometry.kernel_size[axis] - 1) * geometry.dilation[axis]
    last = (size - 1) * geometry.stride[axis] + reach
    return last + 1 - 2 * geometry.padding[axis] + geometry.output_padding[axis]


def _windows(size: int, geometry: Pooling, axis: int) -> int:
    stride = geometry.stride[axis]
    return (size + stride - geometry.kernel_size[axis] - geometry.dilation[axis] + 1) // stride
