"""What fits into the weight, bias, data and compute memories."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ai8xsim.device import WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, error, warning
from ai8xsim.layout import DataLayout, pass_count
from ai8xsim.machine.dilated import bytes_before, bytes_behind, row_bytes, surplus
from ai8xsim.machine.places import input_layout, is_streamed, output_layout, streams_on
from ai8xsim.memory import BiasPlace, WeightNeed, WeightPlace, plan_bias, plan_weights
from ai8xsim.program import Layer
from ai8xsim.program.operations import Source
from ai8xsim.rules.contents import unknown_layers
from ai8xsim.rules.misreads import new_offset
from ai8xsim.rules.needs import bias_needs, compute_words, weight_needs
from ai8xsim.rules.processors import used_quadrants
from ai8xsim.rules.subject import Subject

_WHOLE_ROWS = "dilated so widely, a Conv1d runs as a Conv2d, and writes whole rows of {} values"


def input_too_large(subject: Subject) -> Iterator[Diagnostic]:
    """Inputs beyond the end of their memory instances."""
    if subject.program is None:
        return
    limit = subject.device.data_memory_bytes
    for layer in subject.layers:
        layout = input_layout(layer)
        if is_streamed(subject.program, layer) or layout.offset + layout.size_bytes <= limit:
            continue
        if _rests_on_output(subject, layer, limit):
            continue
        shape = f"{layer.operand_shape.rows}x{layer.operand_shape.columns}"
        message = f"{layer.title}: its {shape} input ends at {_end(layout)} of {limit} bytes in each memory instance"
        mend = f"write an `in_offset` of at most {limit - layout.size_bytes & ~3:#06x}"
        if layout.size_bytes > limit:
            mend = "fold the data, load it as CHW, or use `streaming` with `--fifo`"
            mend = mend if layer is subject.layers[0] else "pool more in the layers before, or fold the data"
        span = layer.span_of("in_offset", "data_format", "in_dim")
        yield error("input-too-large", message, span, f"of {layer.operand_shape}", (_sum(layout),), mend)


def _rests_on_output(subject: Subject, layer: Layer, limit: int) -> bool:
    """Whether the layer reads what another one has no room for, where that one writes it."""
    outputs = {other.index: output_layout(other) for other in subject.layers}
    read = [outputs[entry.index] for entry in layer.inputs if entry.source is Source.LAYER]
    begins = layer.placement.in_offset
    return any(out.offset == begins and out.offset + out.size_bytes > limit for out in read)


def output_too_large(subject: Subject) -> Iterator[Diagnostic]:
    """Outputs beyond the end of their memory instances."""
    if subject.program is None:
        return
    limit = subject.device.data_memory_bytes
    for layer in subject.layers:
        layout, behind = output_layout(layer), bytes_behind(layer)
        size = layout.size_bytes + behind
        if streams_on(subject.program, layer) or layout.offset + size <= limit:
            continue
        end = layout.offset + size
        message = f"{layer.title}: its output ends at {end} of {limit} bytes in each memory instance"
        mend = f"write an `out_offset` of at most {limit - size & ~3:#06x}"
        if size > limit:
            mend = "pool more, use fewer channels, or stream"
        label = f"{layer.output_shape} of {layout.bits} bits"
        whole = (
            (f"{behind} more bytes belong to it: {_WHOLE_ROWS.format(surplus(layer).width)}",)
            if behind
            else ()
        )
        span = layer.span_of("out_offset", "op")
        yield error("output-too-large", message, span, label, (_sum(layout), *whole), mend)


def dilated_out_offset(subject: Subject) -> Iterator[Diagnostic]:
    """Widely dilated Conv1d layers with no room for what they write in front of their output."""
    if subject.program is None:
        return
    for layer in subject.layers:
        before, offset = bytes_before(layer), layer.placement.out_offset
        if before and row_bytes(layer) > before:
            yield _row_is_longer(layer)
        if offset >= before:
            continue
        message = f"{layer.title} writes {before} bytes in front of its output, and there are {offset}"
        width, passes = surplus(layer).width, output_layout(layer).passes
        why = (
            _WHOLE_ROWS.format(width),
            f"the first row lies in front: {width} values * {passes} pass{'es' if passes > 1 else ''} * 4 bytes",
        )
        mend = new_offset(subject.program, layer, unknown_layers(subject, subject.program))
        yield error("dilated-out-offset", message, layer.span_of("out_offset", "dilation"), "", why, mend)


def _row_is_longer(layer: Layer) -> Diagnostic:
    """The loader counts words of 8-bit output without gaps."""
    message = (
        f"{layer.title}: the vendor's loader goes back {bytes_before(layer)} bytes for the row in front of the "
        f"output, which takes {row_bytes(layer)}"
    )
    why = "UNVERIFIED: we say that the output begins at `out_offset`; it may begin behind it"
    mend = "let it have 8-bit output, without `write_gap`"
    span = layer.span_of("write_gap", "output_width", "dilation")
    return warning("dilated-out-offset", message, span, "", (why,), mend)


def _end(layout: DataLayout) -> str:
    return f"{layout.offset + layout.size_bytes}"


def _sum(layout: DataLayout) -> str:
    """The arithmetic behind the size."""
    per_word = "4 pixels a word" if layout.is_chw else "4 channels a word"
    factors = [f"{layout.pixels} pixels", f"{layout.passes} pass{'es' if layout.passes > 1 else ''}"]
    factors += [f"{layout.operands} operands"] if layout.operands > 1 else []
    factors += [f"(gap + 1 = {layout.gap + 1})"] if layout.gap else []
    unit = 1 if layout.is_chw else WORD_BYTES * layout.bits // 8
    factors.append(f"{unit} byte{'s' if unit > 1 else ''}")
    size = f"{' * '.join(factors)} = {layout.size_bytes}" if not layout.gap else f"{' * '.join(factors)}"
    return f"{per_word}: {size}, from offset {layout.offset:#06x} on"


def read_gap_passes(subject: Subject) -> Iterator[Diagnostic]:
    """Gaps between the words of several passes."""
    for layer in subject.layers:
        if layer.placement.read_gap and pass_count(layer.operand_shape.channels) > 1:
            message = f"{layer.title} reads {layer.operand_shape.channels} channels with a gap, at most 64"
            yield error("read-gap-passes", message, layer.span_of("read_gap"), help="remove it")


def weight_memory(subject: Subject) -> Iterator[Diagnostic]:
    """Kernels that find no room."""
    if subject.program is None:
        return
    needs = [need for need in weight_needs(subject.program) if need.layer not in subject.doubtful]
    places = plan_weights(subject.device, needs)
    titles = {layer.index: layer for layer in subject.layers}
    homeless = [place for place in places if place.first is None and place.layer in titles]
    if homeless:
        layer = titles[homeless[0].layer]
        mend = _narrower(subject, needs, layer) or "use fewer channels, or move layers to other processors"
        yield _no_room(subject, layer, homeless[0], places, mend)


def _narrower(subject: Subject, needs: Sequence[WeightNeed], layer: Layer) -> str:
    """The first width of this layer's weights, or of all, with which every layer finds room."""
    for bits in (4, 2, 1):
        alone = [
            replace(need, bits=min(need.bits, bits)) if need.layer == layer.index else need for need in needs
        ]
        if _has_room(subject, alone):
            return f"quantize it again, to `quantization: {bits}`: then all weights have room"
    for bits in (4, 2, 1):
        if _has_room(subject, [replace(need, bits=min(need.bits, bits)) for need in needs]):
            return f"quantize all layers again, to `quantization: {bits}`: then all weights have room"
    return ""


def _has_room(subject: Subject, needs: Sequence[WeightNeed]) -> bool:
    return all(place.first is not None for place in plan_weights(subject.device, needs))


def _no_room(
    subject: Subject, layer: Layer, place: WeightPlace, places: tuple[WeightPlace, ...], mend: str
) -> Diagnostic:
    need = place.need
    used = sum(p.words for p in places if p.first is not None and p.need.processors & need.processors)
    capacity = subject.device.weight_memory_kernels
    message = f"{layer.title}: its weights need {place.words} words in each processor, which are not free"
    sum_ = (
        f"{need.kernels} kernels * {need.taps} taps * {need.bits} bits / 72 bits a word = {place.words} words"
    )
    why = f"layers that share processors with it take up to {used} of {capacity} words there"
    others = [p.layer for p in places if p.first is None and p.layer != layer.index]
    more = (f"nor do those of layers {', '.join(map(str, others))}",) if others else ()
    return error(
        "weight-memory",
        message,
        layer.span_of("processors"),
        f"{need.bits}-bit weights",
        (sum_, why, *more),
        mend,
    )


def bias_memory(subject: Subject) -> Iterator[Diagnostic]:
    """Bias values that find no room."""
    if subject.program is None or not subject.layers:
        return
    needs = bias_needs(subject.program, used_quadrants(subject))
    needs = tuple(need for need in needs if need.layer not in subject.doubtful)
    titles = {layer.index: layer for layer in subject.layers}
    places = plan_bias(subject.device, needs)
    homeless = [place for place in places if place.first is None and place.layer in titles]
    if homeless:
        yield _no_bias_room(subject, titles[homeless[0].layer], homeless)


def _no_bias_room(subject: Subject, layer: Layer, homeless: Sequence[BiasPlace]) -> Diagnostic:
    limit, place = subject.device.bias_memory_bytes, homeless[0]
    need = place.need
    message = f"{layer.title}: its bias needs {need.size} bytes in one quadrant, and none has so many left"
    free = ", ".join(f"{limit - place.used[q]} of {limit} in quadrant {q}" for q in need.quadrants)
    others = [other.layer for other in homeless[1:]]
    more = (f"nor is there room for layers {', '.join(map(str, others))}",) if others else ()
    mend = "train some layers without bias"
    if layer.gives("bias_group") and len(need.quadrants) < 4:
        mend = "remove `bias_group`, or name more quadrants"
    return error(
        "bias-memory", message, layer.span_of("bias_group", "op"), "", (f"free: {free}", *more), mend
    )


def compute_memory(subject: Subject) -> Iterator[Diagnostic]:
    """Rows that do not fit into the processors' own memory."""
    limit, streamed = subject.device.compute_memory_words, 0
    for layer in subject.layers:
        words = compute_words(layer) * pass_count(layer.operand_shape.channels)
        needed = words + (streamed if layer.placement.streaming else 0)
        if layer.placement.streaming:
            streamed += words
        if needed > limit:
            message = f"{layer.title} needs {needed} words of compute memory, a processor has {limit}"
            why = (
                "UNVERIFIED: counted as columns times passes, and for a streaming layer with those before it"
            )
            yield warning("compute-memory", message, layer.span_of("op"), notes=(why,))


def read_ahead_memory(subject: Subject) -> Iterator[Diagnostic]:
    """Reading ahead in the bank that is written to, on the MAX78002."""
    bank = subject.device.data_memory_bytes // 5
    for layer in subject.layers:
        if not layer.placement.read_ahead:
            continue
        read, write = input_layout(layer), output_layout(layer)
        first = read.offset // bank, write.offset // bank
        last = (read.offset + read.size_bytes - 1) // bank, (write.offset + write.size_bytes - 1) // bank
        if first[0] == first[1] or last[0] == last[1]:
            message = f"{layer.title} reads ahead in the bank of memory that it writes to"
            why = (
                f"banks have {bank:#x} bytes; input from {read.offset:#06x}, output from {write.offset:#06x}"
            )
            mend = "use offsets in different banks, or remove `readahead`"
            yield error("read-ahead-memory", message, layer.span_of("readahead"), notes=(why,), help=mend)
