"""A layer's convolution, and whether its weights fit the data that arrives."""

from math import isqrt

import numpy as np

from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.kernels.geometry import ConvolutionGeometry
from ai8xsim.network import LayerDescription
from ai8xsim.program.flow import entering
from ai8xsim.program.operations import Convolution, Shape, Weights
from ai8xsim.program.surroundings import Found, Surroundings
from ai8xsim.program.weights import kernel_size_of

IN_ORDER = "check that the description has the layers of the model, in its order"


def convolution_of(
    around: Surroundings, layer: LayerDescription, data: Shape, found: Found
) -> Convolution | None:
    """Weights and geometry, or None after saying why there are none."""
    is_transposed = layer.operation == "convtranspose2d"
    geometry = _geometry(layer, is_transposed)
    weights = around.weights[layer.index].weights if layer.index in around.weights else None
    if layer.is_bypassed:
        weights = _bypass_weights(layer, data.channels, geometry, is_transposed)
    if weights is None:
        return None
    misfits = [d for d in _misfits(around, layer, weights, geometry.groups) if not _is_said(d, found)]
    found += misfits
    if misfits:
        return None
    _check_stated_outputs(around, layer, weights, geometry.groups, found)
    return Convolution(weights, geometry, is_transposed, layer.is_bypassed)


def _is_said(diagnostic: Diagnostic, found: Found) -> bool:
    """Whether the same place has been found at fault for the same reason."""
    return any((d.code, d.span) == (diagnostic.code, diagnostic.span) for d in found)


def _geometry(layer: LayerDescription, is_transposed: bool) -> ConvolutionGeometry:
    """Kernel, padding and steps, with their defaults.

    UNVERIFIED: a dilated Conv2d; the documents have it, the vendor's loader refuses it.
    """
    is_1d = layer.operation == "conv1d"
    default = 0 if layer.operation == "linear" else 1
    pad = layer.pad.value if layer.pad else default
    dilation = layer.dilation.value if layer.dilation else (1, 1)
    return ConvolutionGeometry(
        kernel_size=kernel_size_of(layer),
        padding=(pad, 0) if is_1d else (pad, pad),
        stride=(2, 2) if is_transposed else (1, 1),
        dilation=(dilation[0], 1) if is_1d else dilation,
        groups=layer.groups.value if layer.groups else 1,
        output_padding=(1, 1) if is_transposed else (0, 0),
    )


def _bypass_weights(
    layer: LayerDescription, channels: int, geometry: ConvolutionGeometry, is_transposed: bool
) -> Weights:
    outputs = layer.out_channels.value if layer.out_channels else channels
    groups = geometry.groups if channels % geometry.groups == 0 else 1  # `_misfits` says so
    ends = (channels, outputs // groups) if is_transposed else (outputs, channels // groups)
    weight = np.broadcast_to(np.int8(1), (*ends, *geometry.kernel_size))  # many ones in the place of one
    return Weights(weight, None, bits=8)


def missing_channels(around: Surroundings, place: int, pooled: Shape, found: Found) -> int:
    """The channels that the weights expect where others arrive, after saying so; 0 where all is well."""
    layer = around.path[place]
    data = entering(layer, pooled)
    if layer.index not in around.weights or layer.is_bypassed or not layer.has_convolution:
        return 0
    assigned = around.weights[layer.index]
    groups = layer.groups.value if layer.groups else 1
    first, second = assigned.weights.weight.shape[:2]
    wanted = int(first if layer.operation == "convtranspose2d" else second * groups)
    if wanted == data.channels:
        return 0
    stated = layer.in_channels.value if layer.in_channels else pooled.channels
    if stated != pooled.channels and wanted in {stated, stated * pooled.pixels}:
        return wanted  # the weights expect what is stated, and that something else arrives has been said
    why = _weight_shape(layer, assigned.weights, assigned.key)
    if layer.groups and groups not in {1, data.channels}:
        message = f"{layer.title} has {groups} groups for {data.channels} channels"
        fitting = {1: data.channels, data.channels: 1}  # by the channels that the weights have for each group
        fits = second in fitting and not layer.is_flattened  # groups of flattened values are none at all
        mend = f"write `{layer.groups.key}: {fitting[second]}`" if fits else "take the weights of this layer"
        found.append(error("groups", message, layer.groups.span, f"1 or {data.channels}", (why,), mend))
        return wanted
    reads_sample = place == 0 and layer.in_sequences is None
    describe = _flattened_mismatch if layer.is_flattened else _channel_mismatch
    found.append(describe(layer, pooled, wanted, why, reads_sample))
    return wanted


def _weight_shape(layer: LayerDescription, weights: Weights, key: str) -> str:
    size = "x".join(map(str, weights.weight.shape))
    order = "in, out" if layer.operation == "convtranspose2d" else "out, in"
    return f"`{key}` is {size} ({order}, height, width)"


def _misfits(
    around: Surroundings, layer: LayerDescription, weights: Weights, groups: int
) -> list[Diagnostic]:
    """Why the weights do not give the channels that are stated."""
    first, made = weights.weight.shape[0], _outputs_of(layer, weights, groups)
    why = _shape_in_words(around, layer, weights)
    if first % groups:
        message = f"{layer.title}: {groups} groups do not divide {first} channels"
        mend = f"take weights with {groups}, {2 * groups}, ... output channels, or train them without groups"
        span = layer.groups.span if layer.groups else layer.span
        return [error("groups", message, span, notes=(why,), help=mend)]
    if weights.bias is not None and weights.bias.size != made:
        message = f"{layer.title} has {weights.bias.size} bias values for {made} output channels"
        return [error("bias-count", message, layer.span, notes=(why,))]
    return []


def _check_stated_outputs(
    around: Surroundings, layer: LayerDescription, weights: Weights, groups: int, found: Found
) -> None:
    """Say if `out_channels` is not what the weights make."""
    made = _outputs_of(layer, weights, groups)
    if layer.out_channels and layer.out_channels.value != made:
        message = f"{layer.title} states {layer.out_channels.value} output channels, its weights make {made}"
        why, mend = _shape_in_words(around, layer, weights), f"write `out_channels: {made}`, or remove it"
        found.append(error("channel-mismatch", message, layer.out_channels.span, notes=(why,), help=mend))


def _outputs_of(layer: LayerDescription, weights: Weights, groups: int) -> int:
    first, second = (int(size) for size in weights.weight.shape[:2])
    return second * groups if layer.operation == "convtranspose2d" else first


def _shape_in_words(around: Surroundings, layer: LayerDescription, weights: Weights) -> str:
    key = around.weights[layer.index].key if layer.index in around.weights else layer.title
    return _weight_shape(layer, weights, key)


def _channel_mismatch(
    layer: LayerDescription, data: Shape, wanted: int, why: str, reads_sample: bool
) -> Diagnostic:
    notes = [why, f"its input is {'the sample, ' if reads_sample else ''}{data}"]
    mend = IN_ORDER
    if layer.operation == "linear" and wanted % data.channels == 0:
        mend = "write `flatten: true`"
        notes += [_pixels(data, wanted)] if wanted != data.channels * data.pixels else []
    elif reads_sample and data.is_1d and wanted == 1 and layer.operation != "conv1d":
        mend = "a sample of two axes is (C, L); a grey image needs a channel axis, (1, H, W): `array[None]`"
    elif reads_sample and wanted == (data.rows if data.is_1d else data.columns):
        axes = "(C, L)" if data.is_1d else "(C, H, W)"
        mend = f"the sample's channels seem to come last: transpose it to {axes}"
    elif reads_sample:
        channels = "1 channel" if wanted == 1 else f"{wanted} channels"
        mend = f"give a sample of {channels}, (C, H, W) or (C, L), or the checkpoint that fits this one"
    operands = _operands(layer, data.channels, wanted)
    if operands:
        notes.append(f"{operands} inputs are joined, one behind the other: {operands} x {wanted} channels")
        mend = "write `eltwise: add` (or another operation) if they are to be combined element by element"
    message = f"{layer.title} reads {data.channels} channels, its weights expect {wanted}"
    span = layer.processors.span
    return error("channel-mismatch", message, span, f"{data.channels} channels arrive", tuple(notes), mend)


def _operands(layer: LayerDescription, arriving: int, wanted: int) -> int:
    """How many inputs would be operands if an element-wise operation were stated; 0 where that does not fit."""
    inputs = len(layer.in_sequences.value) if layer.in_sequences else 1
    return inputs if inputs > 1 and layer.elementwise is None and arriving == inputs * wanted else 0


def _flattened_mismatch(
    layer: LayerDescription, data: Shape, wanted: int, why: str, reads_sample: bool
) -> Diagnostic:
    """Flattened, as many values arrive as the layers before leave pixels: where it goes wrong is mostly there."""
    values = data.channels * data.pixels
    given = layer.flatten or layer.processors
    if wanted % data.channels:
        message = f"{layer.title} flattens {data.channels} channels, its weights expect {wanted} values: no multiple"
        notes: tuple[str, ...] = (why, f"its input is {data}")
        return error("channel-mismatch", message, given.span, "", notes, IN_ORDER)
    message = f"{layer.title} flattens {data} to {values} values, its weights expect {wanted}"
    mend = "compare the sample's size, and the padding and pooling of the layers before, with the model's"
    if reads_sample:
        mend = f"give a sample of {wanted} values, or the checkpoint that fits this one"
    notes = (why, _pixels(data, wanted))
    return error("channel-mismatch", message, given.span, f"{values} values arrive", notes, mend)


def _pixels(data: Shape, wanted: int) -> str:
    """What the data would be if it had the number of values that is wanted."""
    pixels = wanted // data.channels
    side = isqrt(pixels)
    size = f"{side}x{side}" if side * side == pixels and not data.is_1d else f"{pixels}"
    return f"{wanted} = {data.channels} channels of {size} pixels; they arrive with {_size(data)}"


def _size(data: Shape) -> str:
    return f"{data.rows}" if data.is_1d else f"{data.rows}x{data.columns}"
