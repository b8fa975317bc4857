"""What works, and costs speed, energy or certainty."""

from collections.abc import Iterator

from ai8xsim.diagnostics import Diagnostic, Span, note, warning
from ai8xsim.program import Layer
from ai8xsim.program.operations import Join, Source
from ai8xsim.rules.subject import Subject, following


def uneven_channels(subject: Subject) -> Iterator[Diagnostic]:
    """Channels that leave processors of a memory idle."""
    for layer in subject.layers[1:]:
        channels = layer.operand_shape.channels
        if channels % 4:
            message = f"{layer.title} reads {channels} channels, no multiple of four"
            yield note("uneven-channels", message, layer.span_of("processors"))


def input_pooling(subject: Subject) -> Iterator[Diagnostic]:
    """A sample larger than what is computed with."""
    for layer in subject.layers[:1]:
        if layer.pooling and max(layer.pooling.geometry.kernel_size) > 1:
            message = f"{layer.title} pools the sample; scaled down at its source it would take less memory"
            yield note("input-pooling", message, layer.span_of("max_pool", "avg_pool"))


def adjacent_pass_through(subject: Subject) -> Iterator[Diagnostic]:
    """Two layers that could be one."""
    if subject.program is None:
        return
    for layer in subject.layers:
        after = following(subject.program, layer)
        if after is None or layer.convolution or after.convolution or after.gives("in_sequences"):
            continue
        message = f"{layer.title} and {after.title} pass data through one after the other"
        mend = "combine them; `pool_first: false` pools behind an element-wise operation"
        yield note("adjacent-pass-through", message, after.span_of("op"), help=mend)


def flatten_of_one_pixel(subject: Subject) -> Iterator[Diagnostic]:
    """Nothing to flatten."""
    for layer in subject.layers:
        if layer.flatten and layer.pooled_shape.pixels == 1:
            message = f"{layer.title}: `flatten` is not needed, its input has one pixel"
            yield note("flatten-of-one-pixel", message, layer.span_of("flatten"))


def depthwise_moves(subject: Subject) -> Iterator[Diagnostic]:
    """Depthwise layers that work in turns."""
    for layer in subject.layers:
        groups = layer.convolution.geometry.groups if layer.convolution else 1
        place = layer.placement
        if groups > 1 and place.processors != place.output_processors:
            message = f"{layer.title} is depthwise and moves its data to other processors, which costs time"
            yield note("depthwise-moves", message, layer.span_of("output_processors", "processors"))


def concatenation_alignment(subject: Subject) -> Iterator[Diagnostic]:
    """Components that share words of memory."""
    outputs = {layer.index: layer for layer in subject.layers}
    for layer in subject.layers:
        if layer.join is not Join.CHANNELS or layer.elementwise or len(layer.inputs) < 2:
            continue
        parts = [outputs[entry.index] for entry in layer.inputs[:-1] if entry.source is Source.LAYER]
        uneven = [part for part in parts if part.output_shape.channels % 4]
        if uneven:
            channels = uneven[0].output_shape.channels
            message = (
                f"{layer.title} concatenates {channels} channels of {uneven[0].title}, no multiple of four"
            )
            why = "layers write whole words of four channels; what lies beside becomes zero"
            yield warning("concatenation-alignment", message, layer.span_of("in_sequences"), notes=(why,))


def streaming_bias(subject: Subject) -> Iterator[Diagnostic]:
    """A known weakness of the MAX78000."""
    for layer in subject.layers:
        has_bias = layer.convolution is not None and layer.convolution.weights.bias is not None
        if layer.placement.streaming and has_bias and not subject.device.supports_read_ahead:
            message = f"{layer.title} streams and has a bias, which may not be added correctly in all cases"
            yield warning("streaming-bias", message, layer.span_of("streaming"))


def final_scale(subject: Subject) -> Iterator[Diagnostic]:
    """Scales of the training software that no hardware applies."""
    checkpoint = subject.checkpoint
    scaled = [layer for layer in checkpoint.layers if layer.final_scale] if checkpoint else []
    if checkpoint and scaled:
        message = f"{len(scaled)} layer{'s' if len(scaled) > 1 else ''} with a `final_scale`, which the chip has not"
        names = ", ".join(f"`{layer.name}`: {layer.final_scale}" for layer in scaled[:12])
        why = "newer training software multiplies the layer's output by 2 to its power"
        mend = "expect the model's evaluation to differ, or train without `final_scale`"
        yield warning("final-scale", message, Span(checkpoint.path), "", (names, why), mend)


def linear_weights(subject: Subject) -> Iterator[Diagnostic]:
    """A Linear layer with the weights of a convolution, in doubt for another reason as well."""
    if subject.program is None or subject.checkpoint is None:
        return
    for layer in subject.layers:
        stored = _stored(subject, layer)
        if stored is not None and layer.index in subject.doubtful:
            message = f"{layer.title} is Linear, and the next weights are those of a convolution"
            yield warning("linear-weights", message, layer.span_of("op"), "Linear", (stored,))


def _stored(subject: Subject, layer: Layer) -> str | None:
    """The weights that a Linear layer would take, if they are those of a convolution."""
    if layer.operator.value != "linear" or subject.checkpoint is None or layer.gives("weight_source"):
        return None
    takers = [
        entry.index
        for entry in subject.network.layers[subject.options.start_layer :]
        if entry.has_convolution and not entry.is_bypassed and entry.weight_source is None
    ]
    if layer.index not in takers:
        return None
    weights = subject.checkpoint.layers[takers.index(layer.index)]
    if weights.weight.ndim != 4:
        return None
    return f"`{weights.weight_key}` is {'x'.join(map(str, weights.weight.shape))} (out, in, height, width)"
