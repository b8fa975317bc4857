"""The rings of memory through which streaming layers pass their rows.

Source: what the vendor's loader programs (`spec/REGISTERS.md` 3, FMAX), read from it and not verified on silicon.
"""

from typing import NamedTuple

import numpy as np

from ai8xsim.device import WORD_BYTES
from ai8xsim.layout import Addresses, pass_count
from ai8xsim.machine.places import input_layout
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Operator


class Ring(NamedTuple):
    """The ring of a streaming layer's input: bytes `start` to `end` of its memory instances."""

    layer: Layer
    start: int
    end: int
    memories: frozenset[int]


def rings(program: Program) -> tuple[Ring, ...]:
    """The rings of all streaming layers."""
    layers = [layer for layer in program.layers if layer.placement.streaming]
    return tuple(_ring(program, layer, number) for number, layer in enumerate(layers))


def ring_addresses(program: Program, layer: Layer) -> Addresses:
    """The bytes of a streaming layer's ring, as far as they exist; none where it does not stream."""
    ring = next((ring for ring in rings(program) if ring.layer.index == layer.index), None)
    if ring is None:
        return np.zeros(0, np.int64)
    size = program.device.data_memory_bytes
    inside = np.arange(ring.start // WORD_BYTES * WORD_BYTES, min(ring.end, size))
    return (np.array(sorted(ring.memories))[:, None] * size + inside).ravel()


def _ring(program: Program, layer: Layer, number: int) -> Ring:
    start = layer.placement.in_offset
    words = (
        _words_of_78002(layer, number)
        if program.device.supports_depthwise
        else _words_of_78000(program, layer)
    )
    return Ring(layer, start, start + words * WORD_BYTES, frozenset(input_layout(layer).memories))


def _words_of_78000(program: Program, layer: Layer) -> int:
    """UNVERIFIED: the words that the MAX78000's ring rolls over at."""
    if layer.placement.data_format == "chw":
        return 12
    (rows, columns), (_, column_stride) = _pool(layer)
    place = program.order.index(layer.index)
    if place == 0:
        start = ((rows - 1) * layer.operand_shape.columns + columns) * rows
    else:
        before = program.layers[place - 1]
        kernel, padding = _kernel(before)
        width = before.pooled_shape.columns + 2 * padding
        start = width * (kernel[0] - 1 + rows - 1) + kernel[1] - 1 + columns
    words = start + (rows - 1) * layer.operand_shape.columns + max(1, column_stride, columns)
    passes = pass_count(layer.operand_shape.channels)
    return -(-words // passes) * passes


def _words_of_78002(layer: Layer, number: int) -> int:
    """UNVERIFIED: the words that the MAX78002's ring rolls over at."""
    (pool_rows, pool_columns), (_, stride) = _pool(layer)
    dilation = layer.pooling.geometry.dilation if layer.pooling else (1, 1)
    padding, columns = _kernel(layer)[1], layer.operand_shape.columns
    row_step = max(pool_rows * dilation[0], _pool(layer)[1][0])
    column_step = max(pool_columns * dilation[1], stride)
    rows = row_step * (columns + 2 * padding) + padding + 2 * column_step
    ahead = stride if layer.placement.read_ahead else 0
    if number == 0:
        start = column_step if stride == 1 and pool_rows == 1 else rows + ahead
        words = start + column_step + (stride - 1) * (columns + 2 * padding)
        return words * stride * 4 if layer.placement.data_format == "chw" else words
    passes = pass_count(layer.operand_shape.channels)
    start = padding * (columns + 2 * padding) + rows + ahead
    words = start + (passes - 1) * (row_step * columns + padding + column_step) + column_step
    return -(-words // passes) * passes


def _pool(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    """Window and stride, 1 where nothing is pooled."""
    if layer.pooling is None:
        return (1, 1), (1, 1)
    return layer.pooling.geometry.kernel_size, layer.pooling.geometry.stride


def _kernel(layer: Layer) -> tuple[tuple[int, int], int]:
    """The kernel that streaming runs, and its padding: 1x1 without padding runs as 3x3 with padding 1."""
    if layer.convolution is None:
        return (1, 1), 0
    geometry = layer.convolution.geometry
    if layer.operator is Operator.CONV2D and geometry.kernel_size == (1, 1):
        return (3, 3), 1
    return geometry.kernel_size, geometry.padding[1]
