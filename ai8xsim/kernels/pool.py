"""Pooling: activations in, activations out."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai8xsim.kernels.geometry import PoolGeometry

Array = Any  # inside compiled functions, where Numba infers the types


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
    data = np.require(x_nhwc, requirements=("C", "W")).reshape(samples, rows, columns * channels)
    number = np.int32 if x_nhwc.dtype == np.int8 else np.int64
    totals = np.empty((samples, windows[0], windows[1] * channels), number)
    _reduce(data, channels, geometry, kind == "average", totals)
    if kind == "average":
        _divide(totals.reshape(-1), geometry.kernel_size[0] * geometry.kernel_size[1], rounding)
    return totals.astype(x_nhwc.dtype).reshape(samples, *windows, channels)


@njit(cache=True, nogil=True)
def _reduce(data: Array, channels: int, geometry: PoolGeometry, add: bool, totals: Array) -> None:
    """Fill totals (samples, rows, columns * channels) with the sum or maximum of each window of data.

    First whole rows of data are reduced to one, then the columns of this one: both in long straight loops.
    """
    (tap_rows, tap_columns), (row_stride, column_stride), (row_dilation, column_dilation) = geometry
    line = np.empty(data.shape[2], totals.dtype)
    step = column_stride * channels
    for sample in range(len(totals)):
        for row in range(totals.shape[1]):
            first_row = row * row_stride
            _fold(data[sample, first_row], add, True, line)
            for tap in range(1, tap_rows):
                _fold(data[sample, first_row + tap * row_dilation], add, False, line)
            target = totals[sample, row]
            for tap in range(tap_columns):
                seen = line[tap * column_dilation * channels :]
                if column_stride == 1:
                    _fold(seen, add, tap == 0, target)
                    continue
                for column in range(len(target) // channels):
                    start, place = column * step, column * channels
                    _fold(seen[start : start + channels], add, tap == 0, target[place : place + channels])


@njit(cache=True, nogil=True)
def _fold(values: Array, add: bool, first: bool, totals: Array) -> None:
    """Set totals to the values that stand first, or add these, or keep the larger of both."""
    number = totals.dtype.type
    count = min(len(values), len(totals))
    if first:
        for i in range(count):
            totals[i] = values[i]
    elif add:
        for i in range(count):
            totals[i] = number(totals[i] + values[i])
    else:
        for i in range(count):
            totals[i] = max(totals[i], number(values[i]))


@njit(cache=True, nogil=True)
def _divide(totals: Array, count: int, rounding: bool) -> None:
    """Divide in place: the magnitude truncated, or to the nearest with a half going up, then the sign."""
    number = totals.dtype.type
    divisor, half = number(count), number(count // 2 if rounding else 0)
    for i in range(len(totals)):
        magnitude = number(number(abs(totals[i]) + half) // divisor)
        totals[i] = number(-magnitude) if totals[i] < 0 else magnitude
