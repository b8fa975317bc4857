"""One layer's description -> its complete operation."""

from collections.abc import Mapping
from typing import NamedTuple

from ai8xsim.device import SHIFT_RANGE, WORD_BYTES
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import packed_processors, pass_count
from ai8xsim.network import INPUT, LayerDescription
from ai8xsim.program import flow
from ai8xsim.program.fitting import convolution_of, missing_channels
from ai8xsim.program.operations import (
    Activation,
    BufferUpdate,
    Convolution,
    ElementWise,
    Input,
    Join,
    Layer,
    Operator,
    OutputStage,
    Placement,
    Pooling,
    RollingBuffer,
    Shape,
    Source,
)
from ai8xsim.program.surroundings import Found, Surroundings

BYPASS_SHIFT = 7

Done = Mapping[int, Layer]


class Arrival(NamedTuple):
    """What reaches a layer's operation, on the way there; see `Layer`."""

    inputs: tuple[Input, ...]
    join: Join
    elementwise: ElementWise | None
    operand: Shape
    pooling: Pooling | None
    pooled: Shape


def arriving(around: Surroundings, place: int, done: Done, found: Found) -> Arrival | None:
    """What reaches the layer at a place of the path, or None where a fault leaves it in doubt."""
    layer = around.path[place]
    inputs = _inputs(around, place, done, found)
    if inputs is None:
        return None
    elementwise = _elementwise(layer)
    shapes = [_shape_of(around, source, done) for source in inputs]
    if not _are_operands(around, place, shapes, found):
        return None
    join_and_shape = flow.joined(layer, shapes, found)
    if join_and_shape is None:
        return None
    join, data = join_and_shape
    operand = _operand_shape(layer, data, elementwise, found)
    if operand is None:
        return None
    flow.check_stated_channels(layer, operand, found)
    pooling = flow.pooling_of(layer, operand, around.options.avg_pool_rounding)
    pooled = flow.pooled(layer, operand, pooling, found)
    return None if pooled is None else Arrival(inputs, join, elementwise, operand, pooling, pooled)


def resolve_layer(around: Surroundings, place: int, done: Done, found: Found) -> Layer | None:
    """The layer at a place of the path, or None where a fault (its own, or one before it) leaves it in doubt."""
    layer = around.path[place]
    arrival = arriving(around, place, done, found)
    if arrival is None:
        return None
    operand, pooled = arrival.operand, arrival.pooled
    missing = missing_channels(around, place, pooled, found)
    is_flat = layer.is_flattened or (
        layer.operation == "linear" and pooled.channels * pooled.pixels == missing
    )
    if missing and not is_flat:  # go on as if the channels had come that the weights expect
        operand, pooled = (shape._replace(channels=missing) for shape in (operand, pooled))
    entering = Shape(missing, 1, 1) if missing and is_flat else flow.entering(layer, pooled)
    convolution = convolution_of(around, layer, entering, found) if layer.has_convolution else None
    output_shape = _output_shape(layer, entering, convolution, found)
    stage = _output_stage(around, place, found)
    buffer_update = _buffer_update(around, layer, output_shape, found)
    if output_shape is None or stage is None:
        return None
    return Layer(
        index=layer.index,
        number=layer.number,
        name=layer.name.value if layer.name else None,
        operator=Operator(layer.operation) if layer.has_convolution else Operator.PASSTHROUGH,
        inputs=arrival.inputs,
        join=arrival.join,
        elementwise=arrival.elementwise,
        crop=layer.in_crop.value if layer.in_crop else (0, 0),
        operand_shape=operand,
        pooling=arrival.pooling,
        pooled_shape=pooled,
        flatten=is_flat,
        convolution=convolution,
        output_stage=stage,
        output_shape=output_shape,
        buffer_update=buffer_update,
        is_output=False,
        placement=_placement(around, place, output_shape),
        span=layer.span,
        spans=layer.spans,
    )


def _inputs(around: Surroundings, place: int, done: Done, found: Found) -> tuple[Input, ...] | None:
    layer = around.path[place]
    if layer.in_sequences is None:
        if place == 0:
            return (Input(Source.SAMPLE),)
        before = around.path[place - 1].index
        return (Input(Source.LAYER, before),) if before in done else None
    skipped = layer.buffer_shift.value if layer.buffer_shift else 0
    executed = {entry.index for entry in around.path[:place]}
    inputs: list[Input] = []
    for reference in layer.in_sequences.value:
        source = around.network.find_layer(reference)
        if reference == INPUT:
            inputs.append(Input(Source.SAMPLE))
        elif source is None:
            names = [buffer.name.lower() for buffer in around.buffers]
            index = names.index(str(reference.target))
            if skipped >= around.buffers[index].shape.rows:
                found.append(_shifted_out(layer, around.buffers[index]))
                return None
            inputs.append(Input(Source.BUFFER, index, skipped))
        elif source.index not in executed:
            found.append(_not_yet_executed(around, place, source))
            return None
        elif source.index not in done:
            return None
        else:
            inputs.append(Input(Source.LAYER, source.index))
    return tuple(inputs)


def _shifted_out(layer: LayerDescription, buffer: RollingBuffer) -> Diagnostic:
    assert layer.buffer_shift is not None
    message = f"{layer.title} shifts by {layer.buffer_shift.value}, and `{buffer.name}` has {buffer.shape.rows} rows"
    return error("buffer-shift", message, layer.buffer_shift.span, "nothing is left")


def _not_yet_executed(around: Surroundings, place: int, source: LayerDescription) -> Diagnostic:
    layer = around.path[place]
    when = "is executed later" if source in around.path else "is never executed"
    if source == layer:
        when = "is itself"
    before = ", ".join(str(entry.number) for entry in around.path[:place]) or "none"
    span = layer.in_sequences.span if layer.in_sequences else layer.span
    message = f"{layer.title} reads the output of {source.title}, which {when}"
    return error("input-not-ready", message, span, notes=(f"executed before: {before}",))


def _shape_of(around: Surroundings, source: Input, done: Done) -> Shape:
    if source.source is Source.SAMPLE:
        return around.input_shape
    if source.source is Source.LAYER:
        return done[source.index].output_shape
    shape = around.buffers[source.index].shape
    return shape._replace(rows=shape.rows - source.first_row)


def _elementwise(layer: LayerDescription) -> ElementWise | None:
    operation = layer.elementwise
    if operation is None:
        return None
    operands = layer.operands.value if layer.operands else 2
    return ElementWise(operation, operands, layer.pool_first is None or layer.pool_first.value)


def _are_operands(around: Surroundings, place: int, shapes: list[Shape], found: Found) -> bool:
    """Whether inputs that are combined are as many as the operands, and equal."""
    layer = around.path[place]
    elementwise = _elementwise(layer)
    if elementwise is None or len(shapes) == 1 or layer.in_sequences is None:
        return True
    sizes = " and ".join(map(str, shapes))
    if len(shapes) != elementwise.operands:
        message = f"{layer.title} combines {elementwise.operands} operands and names {len(shapes)} inputs"
        mend = f"write `operands: {len(shapes)}`, or name {elementwise.operands} inputs"
        found.append(
            error("operands", message, layer.in_sequences.span, notes=(f"they are {sizes}",), help=mend)
        )
        return False
    if len({shape.chw for shape in shapes}) != 1:
        message = f"{layer.title} combines operands of {sizes}; they must be equal"
        found.append(error("operands", message, layer.in_sequences.span))
        return False
    return True


def _operand_shape(
    layer: LayerDescription, data: Shape, elementwise: ElementWise | None, found: Found
) -> Shape | None:
    shape: Shape | None = flow.operand(layer, data, elementwise.operands if elementwise else 1, found)
    for step in (flow.cropped, flow.reshaped, flow.one_dimensional):
        shape = shape and step(layer, shape, found)
    return shape


def _output_shape(
    layer: LayerDescription, data: Shape, convolution: Convolution | None, found: Found
) -> Shape | None:
    if not layer.has_convolution:
        _check_passed_on(layer, data, found)
        return data
    if convolution is None:
        return None
    geometry, weight = convolution.geometry, convolution.weights.weight
    size = (data.rows, data.columns)
    if convolution.is_transposed:
        channels = weight.shape[1] * geometry.groups
        rows, columns = geometry.transposed_output_size(size)
    else:
        channels = weight.shape[0]
        rows, columns = geometry.output_size(size)
    if rows > 0 and columns > 0:
        return Shape(channels, rows, columns, is_1d=layer.operation == "conv1d")
    kernel = "x".join(map(str, geometry.kernel_size))
    message = f"{layer.title}: a {kernel} kernel with pad {geometry.padding[0]} finds no place in {data}"
    span = (layer.pad or layer.kernel_size or layer.op or layer.processors).span
    found.append(error("no-output", message, span, f"the output would be {rows}x{columns}"))
    return None


def _check_passed_on(layer: LayerDescription, data: Shape, found: Found) -> None:
    """Say if `out_channels` is not what a layer without weights passes on."""
    if layer.out_channels and layer.out_channels.value != data.channels:
        message = (
            f"{layer.title} states {layer.out_channels.value} output channels and passes {data.channels} on"
        )
        mend = f"write `out_channels: {data.channels}`, or remove it"
        found.append(error("channel-mismatch", message, layer.out_channels.span, help=mend))


def _output_stage(around: Surroundings, place: int, found: Found) -> OutputStage | None:
    layer = around.path[place]
    is_last = around.is_last(place)
    bits = int(layer.output_width.value) if layer.output_width else 8
    if is_last and around.options.output_width is not None:
        bits = around.options.output_width
    activation = Activation(layer.activate.value if layer.activate else "none")
    if bits == 32 and is_last and not layer.has_convolution:
        message = f"{layer.title} is the last layer, has no convolution and so no 32-bit output"
        found.append(error("wide-without-convolution", message, layer.span))
        return None
    if bits == 32 and is_last and activation is not Activation.NONE and layer.activate:
        message = f"{layer.title} has 32-bit output and an activation"
        why = "the accumulator is written as it is, before the activation"
        mend = f"write `{layer.activate.key}: None`, or `output_width: 8`"
        found.append(error("wide-with-activation", message, layer.activate.span, notes=(why,), help=mend))
        return None
    shift = _total_shift(around, layer) if layer.has_convolution else 0
    if shift is None or (bits == 8 and not _is_possible(layer, shift, found)):
        return None
    return OutputStage(bits, shift, activation)


def _total_shift(around: Surroundings, layer: LayerDescription) -> int | None:
    if layer.is_bypassed:
        return layer.output_shift.value if layer.output_shift else BYPASS_SHIFT
    return around.weights[layer.index].shift if layer.index in around.weights else None


def _is_possible(layer: LayerDescription, shift: int, found: Found) -> bool:
    lowest, highest = SHIFT_RANGE
    if lowest <= shift <= highest:
        return True
    span = layer.output_shift.span if layer.output_shift else layer.span
    message = f"{layer.title}: the total shift is {shift}, the hardware has {lowest} to {highest}"
    why = "total shift = output_shift + 8 - width of the weights in bits"
    found.append(error("shift-range", message, span, notes=(why,)))
    return False


def _buffer_update(
    around: Surroundings, layer: LayerDescription, output: Shape | None, found: Found
) -> BufferUpdate | None:
    if layer.buffer_shift and layer.in_sequences:
        names = [buffer.name.lower() for buffer in around.buffers]
        return BufferUpdate(
            names.index(str(layer.in_sequences.value[0].target)), shift=layer.buffer_shift.value
        )
    if layer.buffer_insert is None or output is None:
        return None
    index = _written_buffer(around, layer)
    if index is None:
        message = f"{layer.title} inserts into a data buffer, and none lies where it writes"
        mend = "let `output_processors` and `out_offset` lie within one data buffer"
        found.append(error("buffer-insert", message, layer.buffer_insert.span, help=mend))
        return None
    shape, rows = around.buffers[index].shape, layer.buffer_insert.value
    values = output.channels * output.pixels
    fits = output.channels == shape.channels and output.pixels in {shape.columns, rows * shape.columns}
    if fits and rows <= shape.rows:
        return BufferUpdate(index, insert=rows)
    message = f"{layer.title} inserts {rows} rows of {shape.channels}x{shape.columns}, its output is {output}"
    why = f"these are {values} values, the buffer `{around.buffers[index].name}` is {shape}"
    found.append(error("buffer-insert", message, layer.buffer_insert.span, notes=(why,)))
    return None


def _written_buffer(around: Surroundings, layer: LayerDescription) -> int | None:
    """The buffer that lies where the layer writes; with one buffer there is no question.

    UNVERIFIED: with several; the vendor's loader knows one only.
    """
    if len(around.buffers) == 1:
        return 0
    processors = layer.output_processors.value if layer.output_processors else 0
    offset = layer.out_offset.value if layer.out_offset else 0
    for index, buffer in enumerate(around.buffers):
        end = buffer.offset + buffer.shape.pixels * pass_count(buffer.shape.channels) * WORD_BYTES
        if buffer.processors == processors and buffer.offset <= offset < end:
            return index
    return None


def _placement(around: Surroundings, place: int, output: Shape) -> Placement:
    layer = around.path[place]
    streaming = layer.streaming is not None and layer.streaming.value
    return Placement(
        processors=layer.processors.value,
        output_processors=_output_processors(around, place, output),
        in_offset=_in_offset(around, place),
        out_offset=layer.out_offset.value if layer.out_offset else 0,
        read_gap=layer.read_gap.value if layer.read_gap else 0,
        write_gap=layer.write_gap.value if layer.write_gap else 0,
        data_format=layer.data_format.value if layer.data_format else "hwc",
        streaming=streaming and not around.options.ignore_streaming,
        bias_groups=layer.bias_group.value if layer.bias_group else (),
        read_ahead=layer.readahead is not None and layer.readahead.value,
    )


def _in_offset(around: Surroundings, place: int) -> int:
    layer = around.path[place]
    if place == 0 and around.options.input_offset is not None:
        return around.options.input_offset
    if layer.in_offset:
        return layer.in_offset.value
    before = around.path[place - 1].out_offset if place else None
    return before.value if before else 0


def _output_processors(around: Surroundings, place: int, output: Shape) -> int:
    layer, output_map = around.path[place], around.network.output_map
    if around.is_last(place) and output_map:
        return output_map.value
    if layer.output_processors:
        return layer.output_processors.value
    if around.is_last(place):
        return packed_processors(output.channels)
    return around.path[place + 1].processors.value
