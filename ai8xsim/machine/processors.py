"""Whether the processor maps have as many bits as the channels need, and which map to write instead."""

from collections.abc import Iterator

from ai8xsim.device import PROCESSORS_PER_QUADRANT, QUADRANTS
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import DataLayout, enabled, suggested_processors
from ai8xsim.machine.places import buffer_layout, input_layout, output_layout
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Input, Join, Source


def processor_faults(program: Program) -> Iterator[Diagnostic]:
    """Layers and buffers with more or fewer processors than their channels need, or with others than can be.

    Source: vendor document, key `processors`; `spec/ARITHMETIC.md`, "Channels, passes and processors".
    """
    for layer in program.layers:
        yield from input_processor_faults(program, layer)
        yield from output_processor_faults(program, layer)
        yield from pass_through_faults(layer)
    yield from buffer_processor_faults(program)


def buffer_processor_faults(program: Program) -> Iterator[Diagnostic]:
    """Data buffers whose map does not fit their channels."""
    for buffer in program.buffers:
        layout = buffer_layout(buffer)
        if not layout.is_complete:
            message = f"the data buffer `{buffer.name}` has {_enabled(layout)} for {_channels(layout)}"
            mend = _remedy("processors", layout)
            yield error("buffer-processors", message, buffer.span, _label(layout), _why(layout), mend)


def input_processor_faults(program: Program, layer: Layer) -> Iterator[Diagnostic]:
    """Whether the layer's own map fits its input channels."""
    layout = input_layout(layer)
    if layout.is_complete:
        return
    message = f"{layer.title} enables {_enabled(layout)} for {_channels(layout)}"
    span = layer.span_of("processors")
    mend = _remedy("processors", layout, _written_to(program, layer))
    yield error("processor-count", message, span, _label(layout), _why(layout), mend)


def output_processor_faults(program: Program, layer: Layer) -> Iterator[Diagnostic]:
    """Whether the map that the layer writes to fits its output channels."""
    layout = output_layout(layer)
    if layout.is_complete:
        return
    following = _following(program, layer)
    output_map = program.span_of("output_map") if following is None else None
    key, span, notes = "output_processors", layer.span_of("output_processors", "processors"), _why(layout)
    if output_map is not None:
        key, span = "output_map", output_map
    elif following is not None and not layer.gives(key):
        span = following.span_of("processors")
        notes = (*notes, f"without `output_processors` they are the `processors` of {following.title}")
    message = f"{layer.title} makes {_channels(layout)} and writes to {_enabled(layout)}"
    mend = _remedy(key, layout, _read_by(program, layer))
    yield error("output-processor-count", message, span, _label(layout), notes, mend)


def _written_to(program: Program, layer: Layer) -> int:
    """The processors to which the layer's inputs are written, where all of their writers say so; else 0."""
    written = 0
    for entry in layer.inputs:
        writer = _layer_at(program, entry)
        if writer is None or not writer.gives("output_processors"):
            return 0
        written |= writer.placement.output_processors
    return written


def _read_by(program: Program, layer: Layer) -> int:
    """The processors with which the layer's output is read, where its readers agree and it can write there; else 0."""
    maps = {
        _share(program, reader, number)
        for reader in program.layers
        for number, entry in enumerate(reader.inputs)
        if _layer_at(program, entry) is layer
    }
    if len(maps) != 1:
        return 0
    (read,) = maps
    return read if layer.convolution or _can_pass(layer.placement.processors, read) else 0


def _share(program: Program, reader: Layer, number: int) -> int:
    """The processors that read one of a layer's inputs: all of them, or of a concatenation its part; else 0."""
    if len(reader.inputs) == 1 or reader.elementwise:
        return reader.placement.processors
    writers = [_layer_at(program, entry) for entry in reader.inputs[: number + 1]]
    counts = [writer.output_shape.channels for writer in writers if writer]
    is_known = len(counts) == len(writers) and input_layout(reader).passes == 1
    if not is_known or reader.join is not Join.CHANNELS:
        return 0
    part = enabled(reader.placement.processors)[sum(counts[:-1]) : sum(counts)]
    return sum(1 << processor for processor in part)


def _layer_at(program: Program, entry: Input) -> Layer | None:
    """The layer that an input comes from."""
    if entry.source is not Source.LAYER:
        return None
    return next(layer for layer in program.layers if layer.index == entry.index)


def pass_through_faults(layer: Layer) -> Iterator[Diagnostic]:
    """Whether a pass-through leaves its data in the quadrants that it comes from: each writes what it reads.

    UNVERIFIED: what a quadrant does that reads and has nowhere to write; no values are computed for that.
    """
    is_known = input_layout(layer).is_complete and output_layout(layer).is_complete
    if layer.convolution or layer.flatten or not is_known:
        return
    read, write = layer.placement.processors, layer.placement.output_processors
    if _can_pass(read, write):
        return
    message = f"{layer.title} passes data from {read:#018x} to {write:#018x}"
    why = "each quadrant of 16 processors writes what its own processors read, without gaps"
    mend = f"write `output_processors: 0x{_packed(read):016x}`"
    span = layer.span_of("output_processors", "processors")
    yield error("pass-through-processors", message, span, notes=(why,), help=mend)


def _can_pass(read: int, write: int) -> bool:
    """Whether data passes through from the processors that read it to those that write it."""
    return all(_is_packed(_part(read, q), _part(write, q)) for q in range(QUADRANTS))


def _part(processors: int, quadrant: int) -> int:
    return processors >> quadrant * PROCESSORS_PER_QUADRANT & (1 << PROCESSORS_PER_QUADRANT) - 1


def _is_packed(read: int, write: int) -> bool:
    """Whether the bits of `write` lie side by side and are as many as those of `read`."""
    if not write:
        return not read
    side_by_side = write // (write & -write)
    return side_by_side & side_by_side + 1 == 0 and read.bit_count() == write.bit_count()


def _packed(processors: int) -> int:
    """In each quadrant as many bits, from its first processor that is used on."""
    packed = 0
    for quadrant in range(QUADRANTS):
        used = enabled(_part(processors, quadrant))
        if used:
            first = min(used[0], PROCESSORS_PER_QUADRANT - len(used))
            packed |= ((1 << len(used)) - 1) << first + quadrant * PROCESSORS_PER_QUADRANT
    return packed


def _following(program: Program, layer: Layer) -> Layer | None:
    """The layer that is executed next, None behind the last one."""
    places = [other.index for other in program.layers]
    place = places.index(layer.index) + 1
    return program.layers[place] if place < len(places) else None


def _channels(layout: DataLayout) -> str:
    return f"{layout.channels} channel{'s' if layout.channels > 1 else ''}"


def _enabled(layout: DataLayout) -> str:
    count = len(enabled(layout.processors))
    return f"{count} processor{'s' if count > 1 else ''}"


def _label(layout: DataLayout) -> str:
    return f"{len(enabled(layout.processors))} bits, {layout.expected_processors} expected"


def _why(layout: DataLayout) -> tuple[str, ...]:
    if layout.passes == 1:
        return ("up to 64 channels are worked on in one pass, each by a processor of its own",)
    share = -(-layout.channels // layout.passes)
    rounded = f", rounded up to a multiple of 4: {layout.expected_processors}"
    tail = rounded if share != layout.expected_processors else f" = {share}"
    return (
        f"{layout.channels} channels take {layout.passes} passes of at most 64; "
        f"{layout.channels} / {layout.passes}{tail}",
    )


def _remedy(key: str, layout: DataLayout, other_end: int = 0) -> str:
    """The map to write: that of the data's other end, where it has the right number of bits."""
    fits = other_end.bit_count() == layout.expected_processors and not layout.is_chw
    return f"write `{key}: 0x{other_end if fits else suggested_processors(layout):016x}`"
