"""What misread bytes say about a description: one diagnostic a cause."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ai8xsim.diagnostics import Diagnostic, Severity, error
from ai8xsim.layout import pass_count
from ai8xsim.machine.ledger import BUFFER, NOBODY, SAMPLE, Kind, Misread, Place
from ai8xsim.machine.moves import Statement, free_place, mends
from ai8xsim.machine.places import (
    comes_by_fifo,
    is_streamed,
    operand_count,
    output_layout,
    streaming_reader,
    streams_on,
)
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Join, Source
from ai8xsim.rules.operands import are_together
from ai8xsim.rules.rings import ring_advice


def misread_diagnostics(
    program: Program, misreads: Sequence[Misread], unknown: frozenset[int] = frozenset()
) -> Iterator[Diagnostic]:
    """What the misread bytes of one inference say about the description: one diagnostic a cause.

    unknown: layers of which it is not known what they touch.
    """
    for group in _groups(misreads):
        diagnostic = _contents(program, group, unknown)
        if diagnostic is not None:
            yield _milder(diagnostic, group[0]) if program.options.overlap_data else diagnostic


def _milder(diagnostic: Diagnostic, misread: Misread) -> Diagnostic:
    """The user says that data may overlap, and the order within a layer is not verified: a warning."""
    if misread.found != misread.reader:
        return diagnostic
    return replace(diagnostic, severity=Severity.WARNING)


def _groups(misreads: Sequence[Misread]) -> list[list[Misread]]:
    """What has one cause, the largest part first: the same reader, wanted writer and way of failing."""
    groups: dict[tuple[int | None, int, bool, int], list[Misread]] = {}
    for misread in misreads:
        is_lost = misread.kind is Kind.OVERWRITTEN
        key = (misread.reader, misread.wanted, is_lost, misread.found if is_lost else 0)
        groups.setdefault(key, []).append(misread)
    return [sorted(group, key=lambda m: -m.count) for group in groups.values()]


def _contents(program: Program, group: Sequence[Misread], unknown: frozenset[int]) -> Diagnostic | None:
    first = group[0]
    reader, culprit = layer_at(program, first.reader), layer_at(program, first.found)
    if reader and first.place is None and first.kind is not Kind.OUTSIDE:
        return _as_it_comes(program, reader, group)
    if _passed_by(program, first.wanted):
        return _not_kept(program, reader, first.wanted)
    if first.kind is not Kind.OVERWRITTEN:
        return _misplaced(program, reader, group, unknown) if reader else _not_unloaded(program, group)
    through = _streamed_through(program, first.found)
    if through is not None:
        return _ring_over(program, reader, group, through)
    if culprit is None:
        return _loaded_over(program, reader, group)
    span = culprit.span_of("out_offset", "output_processors", "op")
    count = f"{sum(m.count for m in group)} of {sum(m.total for m in group)}"
    notes = (f"{count} values; the first: {_value(first)}",)
    mend = new_offset(program, culprit, unknown)
    what = _name(program, first.wanted)
    if reader is None:
        message = f"{culprit.title} writes over {what}, which is an output of the network"
        return error("overwritten-output", message, span, "", notes, mend)
    if culprit is reader:
        message = f"{reader.title} writes over its own input before it has read it"
        why = "UNVERIFIED: a row is taken to be written as soon as the rows that it needs are read"
        return error("overwrites-input", message, span, "", (*notes, why), mend)
    message = f"{culprit.title} writes over {what}, which {reader.title} reads later"
    return error("overwritten-data", message, span, "", notes, mend)


def _as_it_comes(program: Program, reader: Layer, group: Sequence[Misread]) -> Diagnostic:
    """Data that is handed to a layer which means to have it cropped or rearranged: a host may still do so."""
    first, entry = group[0], reader.inputs[0]
    count, (channel, row, column) = sum(m.count for m in group), first.value
    what = f"takes {_name(program, first.wanted)} as it comes"
    message = f"{reader.title} {what}, and {count} of {first.total} values are not those meant"
    notes = (
        f"the first: channel {channel}, row {row}, column {column}",
        "pixels come in their order, from the first one on: nothing on the chip drops or rearranges them",
    )
    mend = "let the host rearrange the sample, and remove `in_dim`"
    if entry.source is Source.LAYER:
        mend = f"remove `streaming` from {reader.title} and the layers behind it"
    elif reader.crop != (0, 0):
        mend = "let the host send the rows that are left, and remove `in_crop`"
    span = reader.span_of("in_crop", "in_dim", "op")
    found = error("misplaced-input", message, span, "", notes, mend)
    return replace(found, severity=Severity.WARNING)


def _streamed_through(program: Program, writer: int) -> Layer | None:
    """The layer whose ring the writer fills; None where what it writes is no ring."""
    layer = layer_at(program, writer)
    if layer is not None:
        return streaming_reader(program, layer)
    first = program.layers[0]
    return first if writer == SAMPLE and is_streamed(program, first) else None


def _ring_over(
    program: Program, reader: Layer | None, group: Sequence[Misread], through: Layer
) -> Diagnostic:
    """Data that a ring lies over."""
    first = group[0]
    whose = f"which {reader.title} reads later" if reader else "which is an output of the network"
    message = f"{through.title}: its ring lies over {_name(program, first.wanted)}, {whose}"
    count = (
        f"{sum(m.count for m in group)} of {sum(m.total for m in group)} values; the first: {_value(first)}"
    )
    why = "UNVERIFIED: the rows that stream through a ring are taken to be written to all of it"
    span = through.span_of("in_offset", "streaming", "op")
    return error("overwritten-data", message, span, "", (count, why), ring_advice(program, through))


def _passed_by(program: Program, writer: int) -> bool:
    """Whether what is wanted came by FIFO or went through a ring."""
    layer = layer_at(program, writer)
    return streams_on(program, layer) if layer else writer == SAMPLE and comes_by_fifo(program)


def _not_kept(program: Program, reader: Layer | None, writer: int) -> Diagnostic:
    """Data that was handed from layer to layer and is wanted once more."""
    source = layer_at(program, writer)
    what, streams = _name(program, writer), program.layers[0].placement.streaming
    flags = f"`{_fifo_flag(program)}`" + (" and `streaming`" if streams else "")
    mend = f"leave out {flags}: the sample is then loaded into memory"
    why = "a FIFO hands each pixel to the first layer, once"
    how = "arrived by FIFO and is not kept in memory"
    if source is not None:
        through = streaming_reader(program, source)
        title = through.title if through else ""
        how = f"streams on to {title} and is not kept in memory"
        mend = f"remove `streaming` from {title} and the layers behind it"
        why = "rows pass through a ring of memory that is used again and again"
    if reader is None:
        span = source.span_of("output", "op") if source else None
        return error("not-kept", f"{what}, an output of the network, {how}", span, "", (why,), mend)
    message = f"{reader.title} reads {what}, which {how}"
    return error("not-kept", message, reader.span_of("in_sequences", "op"), "", (why,), mend)


def _fifo_flag(program: Program) -> str:
    """The flag by which the sample was said to arrive by FIFO."""
    options = program.options
    flags = {"--fast-fifo-quad": options.fast_fifo_quad, "--fast-fifo": options.fast_fifo}
    return next((flag for flag, is_given in flags.items() if is_given), "--fifo")


def foreign_inputs(program: Program) -> tuple[str, ...]:
    """What the first layer reads besides the sample, which is loaded where the first layer reads."""
    buffers = (entry for entry in program.layers[0].inputs if entry.source is Source.BUFFER)
    return tuple(_name(program, BUFFER - entry.index) for entry in buffers)


def _not_unloaded(program: Program, group: Sequence[Misread]) -> Diagnostic:
    """An output of which nothing, or only a part, is left in memory."""
    first = group[0]
    layer = layer_at(program, first.wanted)
    message = (
        f"{_name(program, first.wanted)}, an output of the network, is not in memory when it is unloaded"
    )
    count = f"{sum(m.count for m in group)} of {first.total} values; the first: {_value(first)}"
    span = layer.span_of("out_offset", "output_processors", "op") if layer else None
    return error("overwritten-output", message, span, "", (count,))


def _loaded_over(program: Program, reader: Layer | None, group: Sequence[Misread]) -> Diagnostic:
    """Data, a rolling buffer mostly, over which the sample is loaded."""
    first = group[0]
    message = f"{_name(program, first.found)} is written over {_name(program, first.wanted)}"
    count = f"{sum(m.count for m in group)} values; the first: {_value(first)}"
    span = reader.span_of("in_offset", "processors") if reader else None
    mend = "let the first layer's `in_offset`, where the sample is loaded, lie elsewhere"
    if foreign_inputs(program):
        mend = (
            "let a layer that reads the sample be executed first: the sample is loaded where that one reads"
        )
    return error("overwritten-data", message, span, "", (count,), mend)


def _misplaced(
    program: Program, reader: Layer, group: Sequence[Misread], unknown: frozenset[int]
) -> Diagnostic:
    first = group[0]
    count, total = sum(m.count for m in group), first.total * len({m.operand for m in group})
    message = f"{reader.title} does not find {_name(program, first.wanted)} where it reads: {count} of {total} values"
    there = "nobody wrote there" if first.found == NOBODY else f"there lies {_name(program, first.found)}"
    home = f"; it was written to {_place(first.home)}" if first.home else ""
    notes = (f"the first: {_value(first)}: {there}{home}",)
    writer = layer_at(program, first.wanted)
    span = reader.span_of(*_suspects(first))
    if writer and _is_gap_wrong(writer, reader, first):
        span = writer.span_of("write_gap")
    found = error("misplaced-input", message, span, "", notes, _way_home(program, reader, first, unknown))
    return replace(found, severity=Severity.WARNING) if _is_rearranged(program, reader, first) else found


def _is_gap_wrong(writer: Layer, reader: Layer, first: Misread) -> bool:
    """Whether reader and writer begin at the same word, and leave out different numbers of words."""
    begins_there = writer.placement.out_offset == reader.placement.in_offset
    differs = writer.placement.write_gap != reader.placement.read_gap
    is_single = operand_count(reader) == 1 and len(reader.inputs) == 1
    same_memory = (
        first.home is not None and first.place is not None and first.home.memory == first.place.memory
    )
    return begins_there and differs and is_single and same_memory and writer.gives("write_gap")


def _is_rearranged(program: Program, reader: Layer, first: Misread) -> bool:
    """Whether the language lets the data be cropped or reshaped, which nothing on the chip does by itself.

    Then a host, or an offset, may still bring it into place: a warning. UNVERIFIED for rolling buffers: what
    stands in rows that a layer inserts but does not write.
    """
    arriving = _channels_arriving(program, reader)
    is_reshaped = arriving != reader.operand_shape.channels * operand_count(reader)
    return reader.crop != (0, 0) or is_reshaped or (first.found <= BUFFER and first.found != NOBODY)


def _channels_arriving(program: Program, reader: Layer) -> int:
    shapes = {layer.index: layer.output_shape for layer in program.layers}
    counts = []
    for entry in reader.inputs:
        if entry.source is Source.LAYER:
            counts.append(shapes[entry.index].channels)
        else:
            is_sample = entry.source is Source.SAMPLE
            counts.append((program.input_shape if is_sample else program.buffers[entry.index].shape).channels)
    return counts[0] if reader.join is Join.PIXELS else sum(counts)


def _suspects(first: Misread) -> tuple[str, ...]:
    """The keys that most likely are wrong."""
    if first.home and first.place and first.home.memory != first.place.memory:
        return ("processors",)
    return ("in_offset", "in_dim", "read_gap", "processors")


def _way_home(program: Program, reader: Layer, first: Misread, unknown: frozenset[int]) -> str:
    """What to write so that the first value would be found."""
    writer = layer_at(program, first.wanted)
    if first.home is None or first.place is None:
        return ""
    if first.home.memory != first.place.memory:
        return _same_processors(writer, reader) if writer else ""
    distance = first.home.offset - first.place.offset
    moved = reader.placement.in_offset + distance
    if len(reader.inputs) > 1:
        return _together(program, reader, writer, distance, unknown)
    if first.value == (0, 0, 0) and moved >= 0 and moved % 4 == 0 and moved != reader.placement.in_offset:
        return f"write `in_offset: {moved:#06x}`"
    if writer and _is_gap_wrong(writer, reader, first):
        return _same_gap(program, writer, reader)
    return "let offset, processors, gap and number of channels agree with the writer's"


def _same_gap(program: Program, writer: Layer, reader: Layer) -> str:
    """How writer and reader come to agree on the words that are left out."""
    written, read = writer.placement.write_gap, reader.placement.read_gap
    mend = f"write `write_gap: {read}` in {writer.title}"
    others = [
        other
        for other in program.layers
        if other is not reader
        and any(entry.source is Source.LAYER and entry.index == writer.index for entry in other.inputs)
    ]
    if others:
        mend += f", and let {others[0].title} read a pass-through that copies it with `write_gap: {written}`"
    can_leave_out = program.device.supports_read_gap and pass_count(reader.operand_shape.channels) == 1
    return f"write `read_gap: {written}`, or {mend}" if can_leave_out else mend


def _together(
    program: Program, reader: Layer, writer: Layer | None, distance: int, unknown: frozenset[int]
) -> str:
    """What to write so that a layer finds one of its inputs beside the others."""
    tries = [(writer, "out_offset", -distance)] if writer else []
    for layer, key, change in (*tries, (reader, "in_offset", distance)):
        value = getattr(layer.placement, key) + change
        if value >= 0 and value % 4 == 0 and mends(program, Statement(layer, key, value), unknown):
            return f"write `{key}: {value:#06x}`" + (f" in {layer.title}" if layer is not reader else "")
    return "its inputs must lie side by side, or interleave, from where it reads on"


def _same_processors(writer: Layer, reader: Layer) -> str:
    """The map that both should have: the writer's, if the reader can take it."""
    theirs, ours = writer.placement.output_processors, reader.placement.processors
    if len(reader.inputs) == 1 and theirs.bit_count() == ours.bit_count():
        return f"write `processors: {theirs:#018x}`, or `output_processors: {ours:#018x}` in {writer.title}"
    return f"let the `output_processors` of {writer.title} be among these processors"


def layer_at(program: Program, index: int | None) -> Layer | None:
    """The layer with an index; None where there is none."""
    return next((layer for layer in program.layers if layer.index == index), None)


def _name(program: Program, writer: int) -> str:
    layer = layer_at(program, writer)
    if layer is not None:
        return f"the output of {layer.title}"
    if writer == SAMPLE:
        return "the sample"
    return f"the data buffer `{program.buffers[BUFFER - writer].name}`"


def _value(misread: Misread) -> str:
    channel, row, column = misread.value
    processor = f" (processor {misread.processor})" if misread.processor >= 0 else ""
    return f"channel {channel}{processor}, row {row}, column {column}, read at {_place(misread.place)}"


def _place(place: Place | None) -> str:
    return f"{place.offset:#06x} of memory {place.memory}" if place else "an address that no memory has"


def new_offset(program: Program, layer: Layer, unknown: frozenset[int]) -> str:
    """Where to let the layer write instead, and what else to write then."""
    if not output_layout(layer).is_complete:
        return "first mend the number of its output's processors: where there is room depends on them"
    reader = _reader_of_parts(program, layer)
    if reader is not None:  # they would move together, and stay apart
        return f"first let the operands of {reader.title} interleave"
    statements = free_place(program, layer, unknown)
    if not statements:
        return "no other offset was found: use other output processors, fewer channels, or pool more"
    keys = (
        f"`{s.key}: {s.value:#06x}`" + ("" if s.layer.index == layer.index else f" in layer {s.layer.index}")
        for s in statements
    )
    return f"write {', '.join(keys)}"


def _reader_of_parts(program: Program, layer: Layer) -> Layer | None:
    """A layer for which the output is an operand that does not interleave with the others."""
    outputs = {other.index: other for other in program.layers}
    for reader in program.layers:
        sources = [entry.index for entry in reader.inputs if entry.source is Source.LAYER]
        is_operand = operand_count(reader) > 1 and len(sources) == len(reader.inputs) > 1
        if is_operand and layer.index in sources and not are_together(reader, [outputs[i] for i in sources]):
            return reader
    return None
