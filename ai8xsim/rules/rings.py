"""The rings of memory through which streaming layers pass their rows.

Source: what the vendor's loader programs (`spec/REGISTERS.md` 3, FMAX), read from it and not verified on silicon.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ai8xsim.device import WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import pass_count
from ai8xsim.machine.places import input_layout, output_layout
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Operator
from ai8xsim.rules.subject import Subject


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


def ring_overlap(subject: Subject) -> Iterator[Diagnostic]:
    """Rings that lie over each other, or under the output of the last streaming layer."""
    if subject.program is None or subject.options.overlap_data:
        return
    known = rings(subject.program)
    pairs = [(ring, other) for n, ring in enumerate(known) for other in known[:n] if _meet(ring, other)]
    if pairs:
        yield _overlap(pairs)
    elif known:
        yield from _output_overlap(known)


def _meet(ring: Ring, other: Ring) -> bool:
    return bool(ring.memories & other.memories) and ring.start < other.end and other.start < ring.end


def _overlap(pairs: list[tuple[Ring, Ring]]) -> Diagnostic:
    ring, other = pairs[0]
    more = sorted({r.layer.index for r, _ in pairs} - {ring.layer.index})
    others = (f"so do those of layers {', '.join(map(str, more))}",) if more else ()
    message = f"{ring.layer.title}: its ring lies over that of {other.layer.title}"
    places = f"{ring.start:#06x} to {ring.end:#06x}, and {other.start:#06x} to {other.end:#06x}"
    mend = f"let {other.layer.title} begin behind it, or write `in_offset: {-(-other.end // 4) * 4:#06x}`"
    span = ring.layer.span_of("in_offset", "streaming")
    return error("ring-overlap", message, span, "", (places, *others), mend)


def _output_overlap(known: tuple[Ring, ...]) -> Iterator[Diagnostic]:
    last = known[-1].layer
    layout = output_layout(last)
    end = layout.offset + layout.size_bytes
    for ring in known:
        if ring.memories & set(layout.memories) and ring.start < end and layout.offset < ring.end:
            message = f"{last.title}: its output lies over the ring of {ring.layer.title}"
            places = f"output {layout.offset:#06x} to {end:#06x}, ring {ring.start:#06x} to {ring.end:#06x}"
            mend = f"write `out_offset: {-(-max(r.end for r in known) // 4) * 4:#06x}`"
            yield error("ring-overlap", message, last.span_of("out_offset", "op"), "", (places,), mend)


def ring_too_large(subject: Subject) -> Iterator[Diagnostic]:
    """Rings beyond the end of their memory."""
    limit = subject.device.data_memory_bytes
    for ring in rings(subject.program) if subject.program else ():
        if ring.end >= limit:
            message = f"{ring.layer.title}: its ring ends at {ring.end:#06x}, its memory at {limit:#06x}"
            mend = f"write an `in_offset` below {max(0, limit - (ring.end - ring.start)):#06x}"
            yield error("ring-too-large", message, ring.layer.span_of("in_offset", "streaming"), help=mend)
