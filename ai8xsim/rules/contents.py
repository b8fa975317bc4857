"""Whether every layer finds in memory what it is meant to read: the memory level, without values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ai8xsim.device import MEMORIES
from ai8xsim.diagnostics import Diagnostic, Severity, Span, error
from ai8xsim.machine.access import accesses
from ai8xsim.machine.ledger import BUFFER, NOBODY, SAMPLE, Kind, Ledger, Misread, Place
from ai8xsim.machine.lives import free_offset
from ai8xsim.machine.places import (
    buffer_layout,
    input_layout,
    is_streamed,
    operand_count,
    output_layout,
    streams_on,
)
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Join, Source
from ai8xsim.rules.features import jumps
from ai8xsim.rules.subject import Subject


def overwrites_input(subject: Subject) -> Iterator[Diagnostic]:
    """Layers that write where they read. The loader refuses it without `--overlap-data`."""
    if subject.program is None or _leaves_its_path(subject):
        return
    said: dict[int, Span] = {}
    for layer in subject.layers if not subject.options.overlap_data else ():
        if is_streamed(subject.program, layer) or streams_on(subject.program, layer) or layer.buffer_update:
            continue
        if _rests_on(layer, said):
            continue
        if _is_protected(subject, layer) and _writes_where_it_reads(subject.program, layer):
            said[layer.index] = layer.span_of("out_offset", "output_processors", "op")
            yield _overlap(subject.program, layer)
    spoiled = (d for d in subject.once(_misread_contents) if d.code == "overwrites-input")
    yield from (d for d in spoiled if d.span not in said.values())


def _rests_on(layer: Layer, said: Mapping[int, Span]) -> bool:
    """Whether the layer's input begins, by default, where a layer at fault writes to."""
    before = [entry.index for entry in layer.inputs if entry.source is Source.LAYER]
    return any(index in said for index in before) and not layer.gives("in_offset")


def _is_protected(subject: Subject, layer: Layer) -> bool:
    """Whether the loader looks: it knows the sample in memory, and the output of the layer before."""
    place = subject.layers.index(layer)
    if place == 0:
        return not subject.has_fifo
    return any(e.source is Source.LAYER and e.index == subject.layers[place - 1].index for e in layer.inputs)


def _writes_where_it_reads(program: Program, layer: Layer) -> bool:
    read, write = input_layout(layer), output_layout(layer)
    if read.is_complete and write.is_complete:
        memory_bytes = program.device.data_memory_bytes
        is_read = np.zeros(
            MEMORIES * memory_bytes + 1, np.bool_
        )  # the last one stands for bytes beyond the end
        is_read[read.addresses(memory_bytes)] = True
        is_read[-1] = False
        return bool(is_read[write.addresses(memory_bytes)].any())
    shares = set(read.memories) & set(write.memories)
    ends = read.offset + read.size_bytes, write.offset + write.size_bytes
    return bool(shares) and read.offset < ends[1] and write.offset < ends[0]


def _overlap(program: Program, layer: Layer) -> Diagnostic:
    read, write = input_layout(layer), output_layout(layer)
    message = f"{layer.title} writes its output over its own input"
    where = (
        f"input {read.offset:#06x} to {read.offset + read.size_bytes:#06x}, "
        f"output {write.offset:#06x} to {write.offset + write.size_bytes:#06x}, in the same memory instances"
    )
    why = "rows are written while others are still to be read; the vendor's loader refuses it"
    span = layer.span_of("out_offset", "output_processors", "op")
    return error("overwrites-input", message, span, "", (where, why), _new_offset(program, layer))


def _new_offset(program: Program, layer: Layer) -> str:
    offset = free_offset(program, layer) if output_layout(layer).is_complete else None
    if offset is None:
        return "no offset is free: use other output processors, or fold the data"
    return f"write `out_offset: {offset:#06x}`, and let whoever reads it begin there"


def operands_apart(subject: Subject) -> Iterator[Diagnostic]:
    """Element-wise operands that do not interleave."""
    outputs = {layer.index: layer for layer in subject.layers}
    for layer in subject.layers:
        count, sources = operand_count(layer), layer.inputs
        if count == 1 or any(entry.source is not Source.LAYER for entry in sources):
            continue
        producers = [outputs[entry.index] for entry in sources]
        fault = _single(layer, producers[0], count) if len(producers) == 1 else _several(layer, producers)
        if fault is not None:
            yield fault


def _single(layer: Layer, producer: Layer, count: int) -> Diagnostic | None:
    """One input that holds all operands: they interleave only if each of them is one pass of its writer."""
    written, channels = output_layout(producer), layer.operand_shape.channels
    if written.passes == count and written.expected_processors == channels:
        return None
    message = f"{layer.title} takes {count} operands of {channels} channels from one input, and they do not interleave"
    why = (
        f"{producer.title} writes its {producer.output_shape.channels} channels side by side; "
        f"of {count} operands, each word must belong to another one"
    )
    mend = f"write each operand by a layer of its own, with `write_gap: {count - 1}`, and name both in `in_sequences`"
    return error("operands-apart", message, layer.span_of("eltwise", "op"), "", (why,), mend)


def _several(layer: Layer, producers: Sequence[Layer]) -> Diagnostic | None:
    """One input an operand: each written with the same gap, a step behind the one before, the first where we read."""
    count, step = len(producers), 4 * (layer.placement.read_gap + 1)
    gap = count * (layer.placement.read_gap + 1) - 1
    span = layer.span_of("in_sequences", "eltwise", "op")
    first = producers[0].placement.out_offset
    if len({producer.index for producer in producers}) < count:
        message = f"{layer.title} names an input twice; each operand must lie in words of its own"
        mend = "let a pass-through layer write it once more, one step behind"
        return error("operands-apart", message, span, help=mend)
    for number, producer in enumerate(producers):
        place, wanted = producer.placement, first + step * number
        if place.write_gap == gap and place.out_offset == wanted:
            continue
        message = f"{layer.title}: operand {number}, the output of {producer.title}, does not interleave"
        have = f"it is written from {place.out_offset:#06x} on with `write_gap: {place.write_gap}`"
        mend = f"in {producer.title}, write `out_offset: {wanted:#06x}` and `write_gap: {gap}`"
        return error("operands-apart", message, span, "", (have,), mend)
    if layer.placement.in_offset != first:
        message = f"{layer.title} reads its operands from {layer.placement.in_offset:#06x} on"
        have = f"the first one, the output of {producers[0].title}, is written from {first:#06x} on"
        mend = f"write `in_offset: {first:#06x}`"
        where = layer.span_of("in_offset", "in_sequences", "eltwise", "op")
        return error("operands-apart", message, where, "", (have,), mend)
    return None


def overwritten_data(subject: Subject) -> Iterator[Diagnostic]:
    """Data that is lost before a later layer reads it."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "overwritten-data")


def overwritten_output(subject: Subject) -> Iterator[Diagnostic]:
    """Outputs that are lost before they are unloaded."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "overwritten-output")


def misplaced_input(subject: Subject) -> Iterator[Diagnostic]:
    """Data that lies elsewhere than it is read."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "misplaced-input")


def _misread_contents(subject: Subject) -> Iterator[Diagnostic]:
    """Bytes that are not what their reader takes them for: overwritten, or never there."""
    program = subject.program
    if program is None:
        return
    if _leaves_its_path(subject):
        return
    unknown = _unknown(subject, program)
    plan = accesses(program, unknown)
    apart = {d.span for d in subject.once(operands_apart)}
    ledger = Ledger(program, plan)
    misreads = ledger.inference()
    if program.buffers and not misreads:  # what a buffer holds must outlive the inference
        misreads = ledger.inference()
    yield from misread_diagnostics(program, [m for m in misreads if not _is_said(program, m, apart)])


def misread_diagnostics(program: Program, misreads: Sequence[Misread]) -> Iterator[Diagnostic]:
    """What the misread bytes of one inference say about the description: one diagnostic a cause."""
    for group in _groups(misreads):
        diagnostic = _contents(program, group)
        if diagnostic is not None:
            yield _milder(diagnostic, group[0]) if program.options.overlap_data else diagnostic


def _unknown(subject: Subject, program: Program) -> frozenset[int]:
    """Layers of which it is not known what they touch."""
    homeless = {n for n, buffer in enumerate(program.buffers) if not buffer_layout(buffer).is_complete}
    incomplete = {
        layer.index
        for layer in program.layers
        if not (input_layout(layer).is_complete and output_layout(layer).is_complete)
        or (input_layout(layer).is_chw and layer is not program.layers[0])
        or (layer.placement.read_gap and not subject.device.supports_read_gap)
        or any(e.source is Source.BUFFER and e.index in homeless for e in layer.inputs)
    }
    return subject.doubtful | incomplete


def _leaves_its_path(subject: Subject) -> bool:
    """Whether the path has jumps that the device cannot do."""
    given = [layer for layer in subject.network.layers if layer.next_sequence]
    return not subject.device.supports_link_layers and any(jumps(subject, layer) for layer in given)


def _is_said(program: Program, misread: Misread, apart: set[Span | None]) -> bool:
    """Whether another rule has named the cause."""
    layer, writer = _layer(program, misread.reader), _layer(program, misread.wanted)
    is_wide = writer is not None and writer.output_stage.bits == 32
    if misread.kind is Kind.OUTSIDE or layer is None or is_wide:  # too large, or a hidden 32-bit layer
        return misread.kind is Kind.OUTSIDE or layer is not None
    if misread.kind is Kind.OVERWRITTEN and misread.found == misread.wanted == SAMPLE:
        return True  # two CHW channels in one memory
    keys = (
        ("eltwise", "op"),
        ("in_sequences", "eltwise", "op"),
        ("in_offset", "in_sequences", "eltwise", "op"),
    )
    spans = {layer.span_of(*given) for given in keys}
    return layer.elementwise is not None and bool(spans & apart)


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


def _contents(program: Program, group: Sequence[Misread]) -> Diagnostic | None:
    first = group[0]
    reader, culprit = _layer(program, first.reader), _layer(program, first.found)
    if first.kind is not Kind.OVERWRITTEN:
        return _misplaced(program, reader, group) if reader else _not_unloaded(program, group)
    if culprit is None:
        return _loaded_over(program, reader, group)
    span = culprit.span_of("out_offset", "output_processors", "op")
    count = f"{sum(m.count for m in group)} of {sum(m.total for m in group)}"
    notes = (f"{count} values; the first: {_value(first)}",)
    mend = _new_offset(program, culprit)
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


def _not_unloaded(program: Program, group: Sequence[Misread]) -> Diagnostic:
    """An output of which nothing, or only a part, is left in memory."""
    first = group[0]
    layer = _layer(program, first.wanted)
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
    return error("overwritten-data", message, span, "", (count,), mend)


def _misplaced(program: Program, reader: Layer, group: Sequence[Misread]) -> Diagnostic:
    first = group[0]
    count, total = sum(m.count for m in group), first.total * len({m.operand for m in group})
    message = f"{reader.title} does not find {_name(program, first.wanted)} where it reads: {count} of {total} values"
    there = "nobody wrote there" if first.found == NOBODY else f"there lies {_name(program, first.found)}"
    home = f"; it was written to {_place(first.home)}" if first.home else ""
    notes = (f"the first: {_value(first)}: {there}{home}",)
    writer = _layer(program, first.wanted)
    span = reader.span_of(*_suspects(first))
    if writer and _is_gap_wrong(writer, reader, first):
        span = writer.span_of("write_gap")
    found = error("misplaced-input", message, span, "", notes, _way_home(program, reader, first))
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


def _way_home(program: Program, reader: Layer, first: Misread) -> str:
    """What to write so that the first value would be found."""
    writer = _layer(program, first.wanted)
    if first.home is None or first.place is None:
        return ""
    if first.home.memory != first.place.memory:
        return _same_processors(writer, reader) if writer else ""
    moved = reader.placement.in_offset + first.home.offset - first.place.offset
    if first.value == (0, 0, 0) and moved >= 0 and moved % 4 == 0 and moved != reader.placement.in_offset:
        return f"write `in_offset: {moved:#06x}`"
    if writer and _is_gap_wrong(writer, reader, first):
        gap = writer.placement.write_gap
        return f"written with a gap of {gap} and read with {reader.placement.read_gap}: let them agree"
    return "let offset, processors, gap and number of channels agree with the writer's"


def _same_processors(writer: Layer, reader: Layer) -> str:
    """The map that both should have: the writer's, if the reader can take it."""
    theirs, ours = writer.placement.output_processors, reader.placement.processors
    if len(reader.inputs) == 1 and theirs.bit_count() == ours.bit_count():
        return f"write `processors: {theirs:#018x}`, or `output_processors: {ours:#018x}` in {writer.title}"
    return f"let the `output_processors` of {writer.title} be among these processors"


def _layer(program: Program, index: int | None) -> Layer | None:
    return next((layer for layer in program.layers if layer.index == index), None)


def _name(program: Program, writer: int) -> str:
    layer = _layer(program, writer)
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
