"""Limits of the device that depend on shapes."""

from collections.abc import Iterator

from ai8xsim.diagnostics import Diagnostic, error, warning
from ai8xsim.layout import pass_count
from ai8xsim.machine.places import operand_count
from ai8xsim.program import Layer
from ai8xsim.program.operations import Operator, Shape
from ai8xsim.rules.subject import Subject


def too_many_rows_or_columns(subject: Subject) -> Iterator[Diagnostic]:
    """Sizes beyond what the loader takes."""
    limit = subject.device.rows_columns
    said = set()
    for layer, what, shape in _sizes(subject):
        if max(shape.rows, shape.columns) > limit and layer.index not in said:
            said.add(layer.index)
            message = (
                f"{layer.title}: its {what} is {shape.rows}x{shape.columns}, at most {limit} are possible"
            )
            mend = "fold the data into more channels, or pool it at its source"
            span = layer.span_of("in_dim", "op")
            yield error("too-many-rows-or-columns", message, span, f"{what} of {shape}", help=mend)


def row_column_limit(subject: Subject) -> Iterator[Diagnostic]:
    """Sizes that the loader takes and the document does not."""
    limit, documented = subject.device.rows_columns, subject.device.documented_rows_columns
    said = set()
    for layer, what, shape in _sizes(subject):
        if documented < max(shape.rows, shape.columns) <= limit and layer.index not in said:
            said.add(layer.index)
            message = f"{layer.title}: its {what} is {shape.rows}x{shape.columns}; the document ends at {documented}"
            yield warning("row-column-limit", message, layer.span_of("in_dim", "op"))


def _sizes(subject: Subject) -> Iterator[tuple[Layer, str, Shape]]:
    """Every size once: an output is the next layer's input."""
    for layer in subject.layers:
        if layer is subject.layers[0] or layer.gives("in_dim"):
            yield layer, "input", layer.operand_shape
        yield layer, "output", layer.output_shape


def too_many_channels(subject: Subject) -> Iterator[Diagnostic]:
    """More channels than passes."""
    limit = subject.device.channels
    for layer in subject.layers:
        counts = (("reads", layer.operand_shape.channels), ("makes", layer.output_shape.channels))
        for verb, channels in counts:
            if channels > limit:
                message = f"{layer.title} {verb} {channels} channels, the {subject.device} can do {limit}"
                yield error("too-many-channels", message, layer.span_of("op"))


def flatten_size(subject: Subject) -> Iterator[Diagnostic]:
    """Too much to flatten."""
    for layer in subject.layers:
        shape, span = layer.pooled_shape, layer.span_of("flatten")
        if not layer.flatten:
            continue
        if shape.pixels > 256:
            message = (
                f"{layer.title} flattens {shape.rows}x{shape.columns} = {shape.pixels} pixels, at most 256"
            )
            yield error("flatten-size", message, span, f"of {shape}", help="pool more in the layers before")
        elif shape.channels * shape.pixels > 16384:
            message = (
                f"{layer.title} flattens {shape} = {shape.channels * shape.pixels} values, at most 16384"
            )
            yield error("flatten-size", message, span, help="use fewer channels, or pool more before")


def linear_size(subject: Subject) -> Iterator[Diagnostic]:
    """Large Linear layers."""
    for layer in subject.layers:
        if layer.operator is not Operator.LINEAR:
            continue
        inputs, outputs = layer.pooled_shape.channels, layer.output_shape.channels
        if max(layer.operand_shape.channels, outputs) > subject.device.channels:
            continue  # too many for any layer
        if inputs > 1024 and not layer.flatten:
            message = f"{layer.title} has {inputs} inputs, at most 1024 unless they are flattened"
            yield error("linear-size", message, layer.span_of("op"))
        if outputs > 1024:
            message = f"{layer.title} has {outputs} outputs, at most 1024"
            yield error("linear-size", message, layer.span_of("op"))


def frame_size(subject: Subject) -> Iterator[Diagnostic]:
    """Frames that the counter cannot hold."""
    limit = subject.device.streaming_pixels
    for layer in subject.layers:
        shape = layer.operand_shape
        passes = pass_count(shape.channels)
        if shape.pixels * passes >= limit:
            message = (
                f"{layer.title} reads {shape.rows} * {shape.columns} * {passes} passes, which reaches 2^21"
            )
            yield error("frame-size", message, layer.span_of("in_dim", "op"), f"of {shape}")


def conv1d_padding(subject: Subject) -> Iterator[Diagnostic]:
    """Padded 1D data in several passes, on the MAX78002."""
    for layer in subject.layers:
        if (
            layer.operator is not Operator.CONV1D
            or not subject.device.supports_read_ahead
            or not layer.convolution
        ):
            continue
        padding, channels = layer.convolution.geometry.padding[0], layer.operand_shape.channels
        if padding and channels > 64:
            message = f"{layer.title} pads a Conv1d of {channels} channels"
            why = "the MAX78002 cannot pad 1D data in more than one pass of 64 channels"
            yield error(
                "conv1d-padding", message, layer.span_of("pad", "op"), notes=(why,), help="write `pad: 0`"
            )


def pool_passes(subject: Subject) -> Iterator[Diagnostic]:
    """Pools of many channels without convolution, on the MAX78000."""
    for layer in subject.layers:
        passes = pass_count(layer.operand_shape.channels)
        if layer.convolution or layer.pooling is None or subject.device.supports_read_ahead or passes == 1:
            continue
        if max(layer.pooling.geometry.kernel_size) > 1 and layer.pooled_shape.pixels > 1:
            message = f"{layer.title} pools {layer.operand_shape.channels} channels without a convolution"
            why = f"{layer.operand_shape.channels} channels take {passes} passes; the MAX78000 pools in one"
            mend = "pool in the layer that convolves next"
            span = layer.span_of("max_pool", "avg_pool")
            yield error("pool-passes", message, span, notes=(why,), help=mend)


def pool_stride(subject: Subject) -> Iterator[Diagnostic]:
    """Different strides for rows and columns."""
    for layer in subject.layers:
        if layer.pooling is None or layer.operand_shape.columns == 1:
            continue
        rows, columns = layer.pooling.geometry.stride
        if rows != columns:
            message = (
                f"{layer.title} pools with strides of {rows} and {columns}, the hardware has one for both"
            )
            yield error(
                "pool-stride", message, layer.span_of("pool_stride"), help=f"write `pool_stride: {rows}`"
            )


def pool_last_operands(subject: Subject) -> Iterator[Diagnostic]:
    """More than two operands in front of a pool."""
    for layer in subject.layers:
        e = layer.elementwise
        if e and not e.pool_first and e.operands > 2 and layer.pooling:
            message = f"{layer.title} combines {e.operands} operands before it pools, at most 2"
            yield error(
                "pool-last-operands", message, layer.span_of("pool_first"), help="remove `pool_first`"
            )


def elementwise_passes(subject: Subject) -> Iterator[Diagnostic]:
    """In-flight operands of many channels, on the MAX78000."""
    for layer in subject.layers:
        operands, passes = operand_count(layer), pass_count(layer.operand_shape.channels)
        if operands == 1 or passes == 1 or subject.device.supports_read_ahead or operands == passes == 2:
            continue
        if layer.convolution or layer.pooling:
            message = (
                f"{layer.title} combines {operands} operands in {passes} passes, and pools or convolves them"
            )
            mend = "combine in a layer of its own, without pooling and convolution"
            span = layer.span_of("eltwise", "op")
            yield error("elementwise-passes", message, span, f"{operands} operands", help=mend)


def elementwise_bias(subject: Subject) -> Iterator[Diagnostic]:
    """In-flight operands of many channels with a bias, on the MAX78002."""
    for layer in subject.layers:
        channels = layer.operand_shape.channels
        if operand_count(layer) == 1 or channels <= 64 or not subject.device.supports_read_ahead:
            continue
        if layer.convolution and layer.convolution.weights.bias is not None:
            message = f"{layer.title} combines operands of {channels} channels, convolves and adds a bias"
            why = "the MAX78002 cannot add a bias behind operands of several passes"
            mend = "combine in a layer of its own before this one"
            yield error("elementwise-bias", message, layer.span_of("eltwise"), notes=(why,), help=mend)


def depthwise(subject: Subject) -> Iterator[Diagnostic]:
    """Grouped convolutions that are not depthwise."""
    for layer in subject.layers:
        groups = layer.convolution.geometry.groups if layer.convolution else 1
        inputs, outputs = layer.pooled_shape.channels, layer.output_shape.channels
        if groups == 1 or layer.index in subject.doubtful:
            continue
        if not groups == inputs == outputs:
            message = f"{layer.title} has {groups} groups for {inputs} input and {outputs} output channels"
            share = layer.convolution.weights.weight.shape[1] if layer.convolution else 1
            why = f"its weights have {share} inputs for each group"
            mend = f"train it with 1 group, or with {inputs} groups and {inputs} outputs"
            yield error("depthwise", message, layer.span_of("groups"), notes=(why,), help=mend)
        if layer.flatten:
            yield error("depthwise", f"{layer.title} flattens in groups", layer.span_of("flatten"))
        if layer.placement.bias_groups and not subject.options.ignore_bias_groups:
            message = f"{layer.title}: a depthwise layer has its bias in the quadrants of its processors"
            yield error("depthwise", message, layer.span_of("bias_group"), help="remove it")


def dilated_conv2d(subject: Subject) -> Iterator[Diagnostic]:
    """What the documents have and the loader has not."""
    for layer in subject.layers:
        if layer.operator is Operator.CONV2D and layer.convolution:
            dilation = layer.convolution.geometry.dilation
            if dilation != (1, 1) and subject.device.dilation_2d >= max(dilation):
                message = f"{layer.title} is a dilated Conv2d; the vendor's loader refuses it"
                why = "UNVERIFIED: it is computed as the device's documents describe it"
                yield warning("dilated-conv2d", message, layer.span_of("dilation"), notes=(why,))
