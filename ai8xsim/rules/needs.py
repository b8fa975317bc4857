"""What a program needs of the weight, bias and compute memories."""

from ai8xsim.layout import DataLayout, enabled, pass_count
from ai8xsim.machine.places import input_layout, output_layout
from ai8xsim.memory import BiasNeed, WeightNeed, leading_dummies, quadrants_of
from ai8xsim.program import Layer, Program


def weight_needs(program: Program) -> tuple[WeightNeed, ...]:
    """Every layer's kernels; layers that share weights and processors share the memory too.

    Idle layers (that the path never reaches) are left out.
    """
    needs: dict[tuple[int, int, int, int], WeightNeed] = {}
    for layer in program.layers:
        if layer.convolution is None or layer.convolution.is_bypass:
            continue
        place = layer.placement
        key = (id(layer.convolution.weights), place.processors, place.output_processors, int(layer.flatten))
        needs.setdefault(key, _weight_need(layer))
    return tuple(needs.values())


def _weight_need(layer: Layer) -> WeightNeed:
    assert layer.convolution is not None
    weights, geometry = layer.convolution.weights, layer.convolution.geometry
    taps = geometry.kernel_size[0] * geometry.kernel_size[1]
    if layer.placement.streaming and taps == 1:
        taps = 9  # a streaming 1x1 kernel runs as 3x3
    if _is_spread(layer):
        taps = 9  # a widely dilated Conv1d runs as 3x3
    return WeightNeed(
        layer=layer.index,
        processors=layer.placement.processors,
        kernels=_kernels(layer, output_layout(layer), input_layout(layer)),
        taps=taps,
        bits=weights.bits,
        is_depthwise=geometry.groups > 1,
    )


def _is_spread(layer: Layer) -> bool:
    """Whether a dilated Conv1d reaches over nine values or more."""
    assert layer.convolution is not None
    geometry = layer.convolution.geometry
    return layer.operator.value == "conv1d" and geometry.dilation[0] > 1 and geometry.span(0) > 9


def _kernels(layer: Layer, output: DataLayout, read: DataLayout) -> int:
    """How many kernels one processor holds: outputs, with those that only fill words, times passes."""
    assert layer.convolution is not None
    if layer.convolution.geometry.groups > 1:
        return read.passes
    used = enabled(output.processors)
    first = used[0] - (leading_dummies(output.processors) if output.passes > 1 else 0)
    outputs = (1 + used[-1] - first) * output.passes
    if not layer.flatten:
        return outputs * read.passes
    missing = output.passes * len(used) - output.channels
    return (outputs - missing) * read.passes * layer.pooled_shape.pixels


def bias_needs(program: Program, quadrants: tuple[int, ...]) -> tuple[BiasNeed, ...]:
    """Every layer's bias; one of zeros only takes no room.

    quadrants: those that the network uses.
    """
    needs = []
    for layer in program.layers:
        bias = layer.convolution.weights.bias if layer.convolution else None
        if layer.convolution is None or bias is None or not bias.any():
            continue
        place = layer.placement
        passes = pass_count(layer.output_shape.channels)
        is_depthwise = layer.convolution.geometry.groups > 1
        size = layer.output_shape.channels + leading_dummies(place.output_processors) * passes
        if layer is program.layers[0] and place.streaming and not program.device.supports_depthwise:
            size += 1  # the MAX78000 skips the first byte of a streaming first layer
        if is_depthwise:
            size = 16 * passes
        allowed = tuple(q for q in place.bias_groups if q in quadrants) or quadrants
        if program.options.ignore_bias_groups:
            allowed = quadrants
        where = quadrants_of(place.processors) if is_depthwise else allowed
        needs.append(BiasNeed(layer.index, size, where, layer.flatten, is_depthwise))
    return tuple(needs)


def compute_words(layer: Layer) -> int:
    """Words of compute memory (TRAM) that one row of the layer takes in a pass.

    Source: `spec/REGISTERS.md` 3, TPTR.
    """
    if layer.convolution is None or layer.flatten:
        return 1
    geometry, columns = layer.convolution.geometry, layer.pooled_shape.columns
    if layer.operator.value == "conv1d":
        return 1
    if layer.convolution.is_transposed:
        columns = (columns - 1) * geometry.stride[1] + 1 + geometry.output_padding[1]
        padding = geometry.kernel_size[1] - 1 - geometry.padding[1]
    else:
        padding = geometry.padding[1]
    return max(0, columns + 2 * padding - geometry.kernel_size[1]) + 1
