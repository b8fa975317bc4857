"""Pooling: activations in, activations out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai8xsim.kernels.compiled import Array, compiled
from ai8xsim.kernels.geometry import PoolGeometry


def pool(x_nhwc: NDArray[Any], kind: str, geometry: PoolGeometry, rounding: bool = False) -> NDArray[Any]:
    """Pooled data: the maximum or the average of each window, or its first value.

    x_nhwc: (samples, rows, columns, channels), int8 or int64.   kind: "max", "average", or "none", which
    subsamples.   rounding: averages go to the nearest integer, half away from zero; else they are truncated
    toward zero.
    Returns the same type, (samples, windows in a column, windows in a row, channels).
    Raises ValueError where a window would read outside of the data.
    Source: loader's simulator; the silicon logs of shared golden `silicon/` for truncation.

    >>> x = np.array([0, 0, 0, 3], np.int8).reshape(1, 2, 2, 1)
    >>> [pool(x, "average", PoolGeometry((2, 2)), rounding).item() for rounding in (False, True)]
    [0, 1]
    """
    samples, rows, columns, channels = x_nhwc.shape
    if not geometry.fits((rows, columns)) or kind not in ("max", "average", "none"):
        raise ValueError(f"cannot pool {x_nhwc.shape}: {kind!r}, {geometry}")
    windows = geometry.output_size((rows, columns))
    if kind == "none":
        (row_stride, column_stride), (last_row, last_column) = geometry.stride, windows
        return x_nhwc[:, ::row_stride, ::column_stride][:, :last_row, :last_column].copy()
    if x_nhwc.dtype not in (np.int8, np.int64):
        raise ValueError(f"data of type {x_nhwc.dtype}, not int8 or int64")
    number = np.int32 if x_nhwc.dtype == np.int8 else np.int64
    totals = np.empty((samples, *windows, channels), number)
    _reduce(np.require(x_nhwc, requirements=("C", "W")), geometry, kind == "average", totals)
    if kind == "average":
        divide(totals.reshape(-1), geometry.kernel_size[0] * geometry.kernel_size[1], rounding)
    return totals.astype(x_nhwc.dtype)


@compiled
def _reduce(data: Array, geometry: PoolGeometry, add: bool, totals: Array) -> None:
    """Fill totals with the sum or the maximum of each window of data, both (samples, rows, columns, channels).

    First whole rows of data are folded into one line, which is then folded along its columns.
    """
    line = np.empty(data.shape[2:], totals.dtype)
    for sample in range(len(totals)):
        for row in range(totals.shape[1]):
            first = row * geometry.stride[0]
            for tap in range(geometry.kernel_size[0]):
                seen = data[sample, first + tap * geometry.dilation[0]]
                _fold(seen.reshape(-1), add, tap == 0, line.reshape(-1))
            target = totals[sample, row]
            for tap in range(geometry.kernel_size[1]):
                seen = line[tap * geometry.dilation[1] :]
                if geometry.stride[1] == 1:
                    _fold(seen.reshape(-1), add, tap == 0, target.reshape(-1))
                else:
                    _fold_columns(seen, geometry.stride[1], add, tap == 0, target)


@compiled
def _fold(values: Array, add: bool, first: bool, totals: Array) -> None:
    """Fold values into as many totals: the first ones stand, others are added or compared."""
    number = totals.dtype.type
    for i in range(len(totals)):
        value, total = number(values[i]), totals[i]
        totals[i] = value if first else number(total + value) if add else max(total, value)


@compiled
def _fold_columns(values: Array, stride: int, add: bool, first: bool, totals: Array) -> None:
    """The same for every stride-th column of values (columns, channels)."""
    number = totals.dtype.type
    for column in range(len(totals)):
        for channel in range(totals.shape[1]):
            value, total = number(values[column * stride, channel]), totals[column, channel]
            totals[column, channel] = value if first else number(total + value) if add else max(total, value)


@compiled
def divide(totals: Array, count: int, rounding: bool) -> None:
    """Divide in place: the magnitude truncated, or to the nearest with a half going up, then the sign."""
    number = totals.dtype.type
    divisor, half = number(count), number(count // 2 if rounding else 0)
    for i in range(len(totals)):
        magnitude = number(number(abs(totals[i]) + half) // divisor)
        totals[i] = number(-magnitude) if totals[i] < 0 else magnitude
