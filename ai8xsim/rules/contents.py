"""Whether every layer finds in memory what it is meant to read: the memory level, without values."""

from collections.abc import Iterator, Mapping

import numpy as np

from ai8xsim.device import MEMORIES, WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.machine.access import accesses
from ai8xsim.machine.ledger import SAMPLE, Kind, Ledger, Misread
from ai8xsim.machine.places import buffer_layout, input_layout, is_streamed, output_layout, streams_on
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Source
from ai8xsim.rules.features import jumps
from ai8xsim.rules.misreads import foreign_inputs, layer_at, misread_diagnostics, new_offset
from ai8xsim.rules.operands import operands_apart
from ai8xsim.rules.subject import Subject


def overwrites_input(subject: Subject) -> Iterator[Diagnostic]:
    """Layers that write where they read. The loader refuses it without `--overlap-data`."""
    if subject.program is None or _leaves_its_path(subject):
        return
    said: dict[int, Span] = {}
    for layer in subject.layers if not subject.options.overlap_data else ():
        if is_streamed(subject.program, layer) or streams_on(subject.program, layer) or layer.buffer_update:
            continue
        if _lacks_gap(subject, layer) or _rests_on(layer, said):
            continue
        if _is_protected(subject, layer) and _writes_where_it_reads(subject.program, layer):
            said[layer.index] = layer.span_of("out_offset", "output_processors", "op")
            yield _overlap(subject.program, layer, unknown_layers(subject, subject.program))
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
    memory_bytes = program.device.data_memory_bytes
    fits = max(read.size_bytes, write.size_bytes) <= memory_bytes
    if read.is_complete and write.is_complete and fits:
        is_read = np.zeros(
            MEMORIES * memory_bytes + 1, np.bool_
        )  # the last one stands for bytes beyond the end
        is_read[read.addresses(memory_bytes)] = True
        is_read[-1] = False
        return bool(is_read[write.addresses(memory_bytes)].any())
    shares = set(read.memories) & set(write.memories)
    ends = read.offset + read.size_bytes, write.offset + write.size_bytes
    return bool(shares) and read.offset < ends[1] and write.offset < ends[0]


def _overlap(program: Program, layer: Layer, unknown: frozenset[int]) -> Diagnostic:
    read, write = input_layout(layer), output_layout(layer)
    message = f"{layer.title} writes its output over its own input"
    where = (
        f"input {read.offset:#06x} to {read.offset + read.size_bytes:#06x}, "
        f"output {write.offset:#06x} to {write.offset + write.size_bytes:#06x}, in the same memory instances"
    )
    why = "rows are written while others are still to be read; the vendor's loader refuses it"
    span = layer.span_of("out_offset", "output_processors", "op")
    return error("overwrites-input", message, span, "", (where, why), new_offset(program, layer, unknown))


def overwritten_data(subject: Subject) -> Iterator[Diagnostic]:
    """Data that is lost before a later layer reads it."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "overwritten-data")


def overwritten_output(subject: Subject) -> Iterator[Diagnostic]:
    """Outputs that are lost before they are unloaded."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "overwritten-output")


def misplaced_input(subject: Subject) -> Iterator[Diagnostic]:
    """Data that lies elsewhere than it is read."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "misplaced-input")


def not_kept(subject: Subject) -> Iterator[Diagnostic]:
    """Data that passed by in a FIFO or a ring and is wanted once more."""
    yield from (d for d in subject.once(_misread_contents) if d.code == "not-kept")


def sample_place(subject: Subject) -> Iterator[Diagnostic]:
    """First layers that read something else than the sample."""
    if subject.program is None:
        return
    others = foreign_inputs(subject.program)
    if not others:
        return
    first, (what, *_) = subject.layers[0], others
    reads_too = any(entry.source is Source.SAMPLE for entry in first.inputs)
    how = "the FIFO feeds it with the sample" if subject.has_fifo else "the sample is loaded over it"
    message = f"{first.title} is executed first and reads {what}; {how}"
    why = "the vendor's loader brings the sample to the first layer's `processors` and `in_offset`"
    readers = [e for e in subject.layers[1:] if any(entry.source is Source.SAMPLE for entry in e.inputs)]
    mend = "let a layer that reads the sample be executed first"
    if reads_too:
        mend = "let a pass-through of the sample be executed first, and read its output here"
    elif readers:
        mend = f"let {readers[0].title}, which reads the sample, be executed first"
    yield error("sample-place", message, first.span_of("in_sequences"), "", (why,), mend)


def _misread_contents(subject: Subject) -> Iterator[Diagnostic]:
    """Bytes that are not what their reader takes them for: overwritten, or never there."""
    program = subject.program
    if program is None:
        return
    if _leaves_its_path(subject):
        return
    unknown = unknown_layers(subject, program)
    plan = accesses(program, unknown)
    apart = {d.span for d in subject.once(operands_apart)}
    ledger = Ledger(program, plan)
    misreads = ledger.inference()
    if program.buffers and not misreads:  # what a buffer holds must outlive the inference
        misreads = ledger.inference()
    unsaid = [m for m in misreads if not _is_said(program, m, apart)]
    yield from misread_diagnostics(program, unsaid, unknown)


def unknown_layers(subject: Subject, program: Program) -> frozenset[int]:
    """Layers of which it is not known what they touch."""
    homeless = {n for n, buffer in enumerate(program.buffers) if not buffer_layout(buffer).is_complete}
    incomplete = {
        layer.index
        for layer in program.layers
        if not (input_layout(layer).is_complete and output_layout(layer).is_complete)
        or (input_layout(layer).is_chw and layer is not program.layers[0])
        or _fits_nowhere(program, layer)
        or _lacks_gap(subject, layer)
        or any(e.source is Source.BUFFER and e.index in homeless for e in layer.inputs)
    }
    return subject.doubtful | incomplete


def _fits_nowhere(program: Program, layer: Layer) -> bool:
    """Whether the layer's data is too large for any offset: that is said, and its bytes are too many to look at."""
    read = 0 if is_streamed(program, layer) else input_layout(layer).size_bytes
    write = 0 if streams_on(program, layer) else output_layout(layer).size_bytes
    return max(read, write) > program.device.data_memory_bytes


def _lacks_gap(subject: Subject, layer: Layer) -> bool:
    """Whether the layer reads with a gap that the device does not have: where it then reads is not known."""
    return layer.placement.read_gap > 0 and not subject.device.supports_read_gap


def _leaves_its_path(subject: Subject) -> bool:
    """Whether the path has jumps that the device cannot do."""
    given = [layer for layer in subject.network.layers if layer.next_sequence]
    return not subject.device.supports_link_layers and any(jumps(subject, layer) for layer in given)


def _is_unaligned(reader: Layer, writer: Layer | None, misread: Misread) -> bool:
    """Whether reader and writer miss each other by no more than the end of an offset that is lost."""
    if misread.place is None or misread.home is None:
        return False
    offsets = [reader.placement.in_offset, *([writer.placement.out_offset] if writer else [])]
    distance = abs(misread.place.offset - misread.home.offset)
    return any(offset % WORD_BYTES for offset in offsets) and distance <= WORD_BYTES


def _is_said(program: Program, misread: Misread, apart: set[Span | None]) -> bool:
    """Whether another rule has named the cause."""
    layer, writer = layer_at(program, misread.reader), layer_at(program, misread.wanted)
    is_wide = writer is not None and writer.output_stage.bits == 32
    if misread.kind is Kind.OUTSIDE or layer is None or is_wide:  # too large, or a hidden 32-bit layer
        return misread.kind is Kind.OUTSIDE or layer is not None
    if misread.kind is Kind.OVERWRITTEN and misread.found == misread.wanted == SAMPLE:
        return True  # two CHW channels in one memory
    if _is_unaligned(layer, writer, misread):
        return True
    if misread.found == SAMPLE and foreign_inputs(program):
        return True  # the sample is loaded where the first layer reads something else
    keys = (
        ("eltwise", "op"),
        ("in_sequences", "eltwise", "op"),
        ("in_offset", "in_sequences", "eltwise", "op"),
    )
    spans = {layer.span_of(*given) for given in keys}
    return layer.elementwise is not None and bool(spans & apart)
