"""When a layer reads and writes: one step for each row of its output, and of what else it writes.

UNVERIFIED: the order within a layer. A row of output is written once the last row of input that it needs is in
the processors' own memory (TRAM), pass by pass; every row of a pool window is read when its pooled row is.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ai8xsim.machine.dilated import surplus
from ai8xsim.program import Layer

Steps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """The steps of a layer. In a step it reads, then it writes a row: of its output, but for widely dilated Conv1d.

    pooled: for each row behind the pool, the step in which it is read.
    rows: for each row of the operands, the last step in which it is read; -1 where no window reaches it.
    columns: which columns of the operands any window reaches.
    """

    pooled: Steps
    rows: Steps
    columns: npt.NDArray[np.bool_]


def schedule(layer: Layer) -> Schedule:
    """The steps of a layer."""
    pooled = np.array([_step(layer, row) for row in range(layer.pooled_shape.rows)])
    rows = np.full(layer.operand_shape.rows, -1)
    for row, step in enumerate(pooled):
        for q in window(layer, row, axis=0):
            rows[q] = max(rows[q], step)
    columns = np.zeros(layer.operand_shape.columns, np.bool_)
    for column in range(layer.pooled_shape.columns):
        columns[list(window(layer, column, axis=1))] = True
    return Schedule(pooled, rows, columns)


def window(layer: Layer, place: int, axis: int) -> range:
    """The rows (axis 0) or columns (axis 1) of the operands that make a row or column behind the pool."""
    if layer.pooling is None:
        return range(place, place + 1)
    geometry = layer.pooling.geometry
    first, dilation = place * geometry.stride[axis], geometry.dilation[axis]
    return range(first, first + (geometry.kernel_size[axis] - 1) * dilation + 1, dilation)


def _step(layer: Layer, row: int) -> int:
    """The first step that needs a row of the pooled data."""
    if layer.flatten or layer.convolution is None:
        return 0 if layer.flatten else row
    geometry, extra = layer.convolution.geometry, surplus(layer)
    if extra.width:  # it reads row by row of `width` pixels, one row ahead
        steps = extra.before + layer.output_shape.rows + extra.behind
        return min(max(0, row - extra.width), steps - 1)
    if layer.convolution.is_transposed:
        needed = geometry.stride[0] * row - geometry.padding[0]
    else:
        needed = row - (geometry.span(0) - 1 - geometry.padding[0])
    return min(max(0, needed), layer.output_shape.rows - 1)
