"""Whether the rings of memory through which streaming layers pass their rows lie where they can."""

from collections.abc import Iterator
from itertools import pairwise

from ai8xsim.device import WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.machine.lives import lives
from ai8xsim.machine.places import input_layout, output_layout
from ai8xsim.machine.rings import Ring, rings
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Input, Source
from ai8xsim.rules.subject import Subject


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
    offset = _free_place(program, ring, _others(program, known, ring))
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


def ring_advice(program: Program, layer: Layer) -> str:
    """Where to let the ring of a streaming layer begin instead."""
    known = rings(program)
    ring = next(ring for ring in known if ring.layer.index == layer.index)
    return _moved(program, layer, _free_place(program, ring, _others(program, known, ring)))


def _others(program: Program, known: tuple[Ring, ...], ring: Ring) -> list[Ring]:
    """What a ring must not meet."""
    return [*(other for other in known if other is not ring), _output(known), *_kept(program, ring.layer)]


def _kept(program: Program, layer: Layer) -> list[Ring]:
    """Data that is there before anything streams, as if it were rings: data buffers."""
    there = [live for live in lives(program) if live.born < 0]
    return [Ring(layer, live.start, live.end, frozenset(live.layout.memories)) for live in there]


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
    offset = _free_place(program, output, [*known, *_kept(program, last)])
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
                subject.program,
                ring.layer,
                _free_place(subject.program, ring, _others(subject.program, known, ring)),
            )
            yield error("ring-too-large", message, ring.layer.span_of("in_offset", "streaming"), help=mend)
