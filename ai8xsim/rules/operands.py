"""Whether the operands of element-wise operations interleave in memory."""

from collections.abc import Iterator, Sequence

from ai8xsim.diagnostics import Diagnostic, error
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
        fault = _single(layer, producers[0], count) if len(producers) == 1 else _several(layer, producers)
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
