"""Whether the operands of element-wise operations interleave in memory."""

from collections.abc import Iterator, Sequence

from ai8xsim.device import WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import pass_count
from ai8xsim.machine.places import operand_count, output_layout
from ai8xsim.program import Layer
from ai8xsim.program.operations import Source
from ai8xsim.rules.subject import Subject


def operands_apart(subject: Subject) -> Iterator[Diagnostic]:
    """Element-wise operands that do not interleave."""
    outputs = {layer.index: layer for layer in subject.layers}
    for layer in subject.layers:
        count, sources = operand_count(layer), layer.inputs
        if count > 1 and len(sources) > 1 and any(entry.source is Source.SAMPLE for entry in sources):
            yield _beside_sample(layer, count)
        if count == 1 or any(entry.source is not Source.LAYER for entry in sources):
            continue
        producers = [outputs[entry.index] for entry in sources]
        if len(producers) > 1:
            yield from _several(subject, layer, producers)
            continue
        fault = _single(layer, producers[0], count)
        if fault is not None:
            yield fault


def _beside_sample(layer: Layer, count: int) -> Diagnostic:
    """The sample is loaded without gaps."""
    message = f"{layer.title} combines the sample with other operands, and it does not interleave with them"
    why = f"the sample is loaded word by word; of {count} operands, each word must belong to another one"
    mend = f"let a pass-through write the sample with `write_gap: {count - 1}`, and read its output here"
    return error("operands-apart", message, layer.span_of("in_sequences", "eltwise", "op"), "", (why,), mend)


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


def _gap(layer: Layer, count: int) -> int:
    """The words that the writer of each operand leaves out; UNVERIFIED where the layer reads with a gap."""
    return count * (layer.placement.read_gap + 1) - 1


def are_together(layer: Layer, producers: Sequence[Layer]) -> bool:
    """Whether the inputs of an element-wise operation, one an operand, interleave."""
    gap, step = _gap(layer, len(producers)), WORD_BYTES
    first = producers[0].placement.out_offset
    return all(
        (one.placement.write_gap, one.placement.out_offset) == (gap, first + step * number)
        for number, one in enumerate(producers)
    )


def _several(subject: Subject, layer: Layer, producers: Sequence[Layer]) -> Iterator[Diagnostic]:
    """One input an operand: each written with the same gap, a step behind the one before, the first where we read."""
    gap, step = _gap(layer, len(producers)), WORD_BYTES
    span = layer.span_of("in_sequences", "eltwise", "op")
    first = producers[0].placement.out_offset
    if len({producer.index for producer in producers}) < len(producers):
        message = f"{layer.title} names an input twice; each operand must lie in words of its own"
        mend = "let a pass-through layer write it once more, one step behind"
        yield error("operands-apart", message, span, help=mend)
        return
    rivals = [_reader_without_gap(subject, producer, gap) for producer in producers]
    for number, producer in enumerate(producers):
        place, wanted, rival = producer.placement, first + step * number, rivals[number]
        if place.write_gap == gap and place.out_offset == wanted:
            continue
        message = f"{layer.title}: operand {number}, the output of {producer.title}, does not interleave"
        have = f"it is written from {place.out_offset:#06x} on with `write_gap: {place.write_gap}`"
        what = f"`out_offset: {wanted:#06x}` and `write_gap: {gap}`"
        if rivals[0] is not None:  # then operand 0 comes from elsewhere
            where = (
                f"an `out_offset` {step * number} bytes behind that of operand 0"
                if number
                else "a free `out_offset`"
            )
            what = f"`write_gap: {gap}` and {where}"
        mend = f"in {producer.title}, write {what}"
        if rival is not None:
            mend = _by_copy(subject, producer, rival, gap, what)
        yield error("operands-apart", message, span, "", (have,), mend)
    if are_together(layer, producers) and layer.placement.in_offset != first:
        message = f"{layer.title} reads its operands from {layer.placement.in_offset:#06x} on"
        have = f"the first one, the output of {producers[0].title}, is written from {first:#06x} on"
        mend = f"write `in_offset: {first:#06x}`"
        span = layer.span_of("in_offset", "in_sequences", "eltwise", "op")
        yield error("operands-apart", message, span, "", (have,), mend)


def _reader_without_gap(subject: Subject, producer: Layer, gap: int) -> Layer | None:
    """Another reader of an operand, which would no longer find it if it were written with the gap."""
    for other in subject.layers:
        reads = any(entry.source is Source.LAYER and entry.index == producer.index for entry in other.inputs)
        if reads and operand_count(other) == 1 and other.placement.read_gap != gap:
            return other
    return None


def _by_copy(subject: Subject, producer: Layer, rival: Layer, gap: int, what: str) -> str:
    """How one output serves two readers, of which one needs it with gaps."""
    mend = (
        f"{rival.title} reads it too, without gaps: let a pass-through copy it, with {what}, "
        f"and name the pass-through in `in_sequences`"
    )
    if subject.device.supports_read_gap and pass_count(rival.operand_shape.channels) == 1:
        mend += f"; or write `write_gap: {gap}` in {producer.title}, and `read_gap: {gap}` in {rival.title}"
    return mend
