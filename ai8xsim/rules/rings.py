"""The rings of memory through which streaming layers pass their rows.

Source: what the vendor's loader programs (`spec/REGISTERS.md` 3, FMAX), read from it and not verified on silicon.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ai8xsim.device import WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.layout import pass_count
from ai8xsim.machine.places import input_layout, output_layout
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Input, Operator, Source
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


def ring_apart(subject: Subject) -> Iterator[Diagnostic]:
    """Rings that begin elsewhere than the layer before writes."""
    program = subject.program
    if program is None:
        return
    for before, layer in pairwise(program.layers):
        if not (layer.placement.streaming and before.placement.streaming):
            continue
        fault = _not_next(before, layer) or _handed_elsewhere(before, layer)
        if fault is not None:
            yield fault


def _not_next(before: Layer, layer: Layer) -> Diagnostic | None:
    """A streaming layer that reads something else than the rows handed to it."""
    if layer.inputs == (Input(Source.LAYER, before.index),):
        return None
    message = f"{layer.title} streams and does not read the output of {before.title} alone"
    why = "the ring of a streaming layer is filled by the layer before it"
    mend = f"remove `in_sequences`, or `streaming` from {layer.title} on"
    return error("ring-apart", message, layer.span_of("in_sequences", "streaming"), "", (why,), mend)


def _handed_elsewhere(before: Layer, layer: Layer) -> Diagnostic | None:
    """A ring whose place, processors or gap are not those that the layer before writes with."""
    theirs, ours, title = before.placement, layer.placement, before.title
    if theirs.out_offset != ours.in_offset:
        where = f"begins at {ours.in_offset:#06x}, and {title} writes from {theirs.out_offset:#06x} on"
        mend = f"write `in_offset: {theirs.out_offset:#06x}`"
        return _apart(layer, where, layer.span_of("in_offset", "streaming"), mend)
    is_known = input_layout(layer).is_complete and output_layout(before).is_complete
    if is_known and theirs.output_processors != ours.processors:
        where = f"is read by {ours.processors:#018x}, and {title} writes to {theirs.output_processors:#018x}"
        mend = f"write `output_processors: {ours.processors:#018x}` in {title}"
        return _apart(layer, where, layer.span_of("processors"), mend)
    if theirs.write_gap != ours.read_gap:
        where = f"is read with a gap of {ours.read_gap}, and {title} writes with {theirs.write_gap}"
        mend = f"write `write_gap: {ours.read_gap}` in {title}"
        return _apart(layer, where, before.span_of("write_gap", "op"), mend)
    return None


def _apart(layer: Layer, where: str, span: Span, mend: str) -> Diagnostic:
    return error("ring-apart", f"{layer.title}: its ring {where}", span, help=mend)


def ring_overlap(subject: Subject) -> Iterator[Diagnostic]:
    """Rings that lie over each other, or under the output of the last streaming layer."""
    if subject.program is None or subject.options.overlap_data:
        return
    known = rings(subject.program)
    pairs = [(ring, other) for n, ring in enumerate(known) for other in known[:n] if _meet(ring, other)]
    if pairs:
        yield _overlap(subject.program, known, pairs)
    elif known:
        yield from _output_overlap(subject.program, known)


def _meet(ring: Ring, other: Ring) -> bool:
    return bool(ring.memories & other.memories) and ring.start < other.end and other.start < ring.end


def _overlap(program: Program, known: tuple[Ring, ...], pairs: list[tuple[Ring, Ring]]) -> Diagnostic:
    ring, other = pairs[0]
    more = sorted({r.layer.index for r, _ in pairs} - {ring.layer.index})
    others = (f"so do those of layers {', '.join(map(str, more))}",) if more else ()
    message = f"{ring.layer.title}: its ring lies over that of {other.layer.title}"
    places = f"{ring.start:#06x} to {ring.end:#06x}, and {other.start:#06x} to {other.end:#06x}"
    offset = _free_place(program, ring, _others(known, ring))
    span = ring.layer.span_of("in_offset", "streaming")
    return error("ring-overlap", message, span, "", (places, *others), _moved(program, ring.layer, offset))


def _moved(program: Program, layer: Layer, offset: int | None) -> str:
    """How to let a layer's ring begin elsewhere: the layer before writes where the ring begins."""
    if offset is None:
        return "no room is left beside the others: let later layers not stream"
    place = program.order.index(layer.index)
    if place == 0:
        return f"write `in_offset: {offset:#06x}`"
    here = f", and `in_offset: {offset:#06x}` here" if layer.gives("in_offset") else ""
    return f"write `out_offset: {offset:#06x}` in {program.layers[place - 1].title}{here}"


def _others(known: tuple[Ring, ...], ring: Ring) -> list[Ring]:
    """What a ring must not meet."""
    return [*(other for other in known if other is not ring), _output(known)]


def _output(known: tuple[Ring, ...]) -> Ring:
    """The output of the last streaming layer, which lies in memory as a whole."""
    last = known[-1].layer
    layout = output_layout(last)
    return Ring(last, layout.offset, layout.offset + layout.size_bytes, frozenset(layout.memories))


def _free_place(program: Program, ring: Ring, taken: list[Ring]) -> int | None:
    """The lowest word where a ring would meet none of the others, and end before its memory does."""
    size = ring.end - ring.start
    for start in sorted({0, *(-(-other.end // WORD_BYTES) * WORD_BYTES for other in taken)}):
        moved = ring._replace(start=start, end=start + size)
        if moved.end < program.device.data_memory_bytes and not any(_meet(moved, other) for other in taken):
            return start
    return None


def _output_overlap(program: Program, known: tuple[Ring, ...]) -> Iterator[Diagnostic]:
    output = _output(known)
    ring = next((ring for ring in known if _meet(ring, output)), None)
    if ring is None:
        return
    last = output.layer
    message = f"{last.title}: its output lies over the ring of {ring.layer.title}"
    places = f"output {output.start:#06x} to {output.end:#06x}, ring {ring.start:#06x} to {ring.end:#06x}"
    offset = _free_place(program, output, list(known))
    mend = "no room is left beside the rings: let later layers not stream"
    if offset is not None:
        mend = f"write `out_offset: {offset:#06x}`, and let whoever reads it begin there"
    yield error("ring-overlap", message, last.span_of("out_offset", "op"), "", (places,), mend)


def ring_too_large(subject: Subject) -> Iterator[Diagnostic]:
    """Rings beyond the end of their memory."""
    if subject.program is None:
        return
    limit, known = subject.device.data_memory_bytes, rings(subject.program)
    for ring in known:
        if ring.end >= limit:
            message = f"{ring.layer.title}: its ring ends at {ring.end:#06x}, its memory at {limit:#06x}"
            mend = _moved(
                subject.program, ring.layer, _free_place(subject.program, ring, _others(known, ring))
            )
            yield error("ring-too-large", message, ring.layer.span_of("in_offset", "streaming"), help=mend)
