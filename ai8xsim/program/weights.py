"""Which weights belong to which layer, and in which width.

Source: `spec/ARITHMETIC.md` ("Streams between layers", "Exact order and small print" 2 and 9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span, error, warning
from ai8xsim.formats import BIAS, BINARY_WEIGHT, WEIGHT
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.operations import Int8, Integers, Weights

KERNEL_DEFAULTS = MappingProxyType(
    {"conv1d": (9, 1), "conv2d": (3, 3), "convtranspose2d": (3, 3), "linear": (1, 1)}
)
BITS_WHERE_UNKNOWN = 8


def kernel_size_of(layer: LayerDescription) -> tuple[int, int]:
    """The layer's kernel (rows, columns); 1x1 where it has none."""
    if layer.kernel_size is None or not layer.has_convolution:
        return KERNEL_DEFAULTS.get(layer.operation, (1, 1))
    rows, *columns = layer.kernel_size.value
    return rows, columns[0] if columns else 1


@dataclass(frozen=True)
class AssignedWeights:
    """A layer's weights, its total shift, and the key of the checkpoint that they come from."""

    weights: Weights
    shift: int
    key: str


def assign_weights(
    network: NetworkDescription,
    checkpoint: Checkpoint,
    device: Device,
    start_layer: int,
    found: list[Diagnostic],
) -> Mapping[int, AssignedWeights]:
    """By layer index: the k-th weights of the checkpoint for the k-th layer that takes any, then shared ones.

    A layer whose weights are in doubt is left out, after its fault has been said.
    """
    active = network.layers[start_layer:]
    takers = [layer for layer in active if takes_weights(layer)]
    if len(takers) > len(checkpoint.layers):
        found.append(_missing_weights(takers, checkpoint))
        return {}
    if len(takers) < len(checkpoint.layers):
        found.append(_unused_weights(network, takers, checkpoint))
    assigned: dict[int, AssignedWeights] = {}
    for layer, stored in zip(takers, checkpoint.layers, strict=False):
        faults = _faults(layer, stored, device)
        found += faults
        if not faults:
            assigned[layer.index] = _assigned(layer, stored, device)
    for layer in active:
        if layer.weight_source is not None and layer.has_convolution and not layer.is_bypassed:
            _share(assigned, network, layer, found, start_layer)
    return assigned


def takes_weights(layer: LayerDescription) -> bool:
    """Whether the layer has weights of its own in the checkpoint."""
    return layer.has_convolution and not layer.is_bypassed and layer.weight_source is None


def _faults(layer: LayerDescription, stored: CheckpointLayer, device: Device) -> list[Diagnostic]:
    bits, is_binary = _width(layer, stored, device)
    mismatch = kernel_mismatch(layer, _kernel_shape(stored), stored.weight_key, stored.weight.shape)
    return [*mismatch, *_bias_faults(layer, stored), *_width_faults(layer, stored, bits, is_binary)]


def _assigned(layer: LayerDescription, stored: CheckpointLayer, device: Device) -> AssignedWeights:
    bits, is_binary = _width(layer, stored, device)
    weight = stored.weight.reshape(*stored.weight.shape[:2], *_kernel_shape(stored))
    bias = None if stored.bias is None else _int8(bias_values(stored))
    own = layer.output_shift.value if layer.output_shift else stored.output_shift or 0
    weights = Weights(_int8(weight), bias, bits, is_binary, stored.name)
    return AssignedWeights(weights, own + 8 - bits, stored.weight_key)


def _int8(values: Integers) -> Int8:
    array = values.astype(np.int8)
    array.flags.writeable = False
    return array


def bias_values(stored: CheckpointLayer) -> Integers:
    """The bias as the chip holds it: stored values are scaled by 2**(weight_bits - 1), and rounded down."""
    assert stored.bias is not None
    return stored.bias >> (stored_bits(stored) - 1)


def stored_bits(stored: CheckpointLayer) -> int:
    """The width that the checkpoint says its weights have; 8 where it says nothing."""
    return stored.weight_bits or BITS_WHERE_UNKNOWN


def _width(layer: LayerDescription, stored: CheckpointLayer, device: Device) -> tuple[int, bool]:
    """The width of the weights in bits, and whether they are binary (-1, +1)."""
    if layer.quantization is not None:
        given = layer.quantization.value
        return (1, True) if isinstance(given, str) else (given, False)
    if device.supports_binary_weights and bool(np.all(np.abs(stored.weight) == 1)):
        return 1, True
    return (stored_bits(stored), False) if np.any(stored.weight) else (1, False)


def _width_faults(
    layer: LayerDescription, stored: CheckpointLayer, bits: int, is_binary: bool
) -> list[Diagnostic]:
    span = layer.quantization.span if layer.quantization else layer.span
    lowest, highest = int(stored.weight.min()), int(stored.weight.max())
    where = f"`{stored.weight_key}` holds values from {lowest} to {highest}"
    if is_binary and bool(np.any(np.abs(stored.weight) != 1)):
        message = f"{layer.title}: binary weights are -1 and +1, these are others"
        return [error("quantization", message, span, f"{BINARY_WEIGHT.name}", (where,))]
    limits = BINARY_WEIGHT if is_binary else WEIGHT[bits]
    if lowest in limits and highest in limits:
        return []
    needed = next((b for b in sorted(WEIGHT) if lowest in WEIGHT[b] and highest in WEIGHT[b]), None)
    mend = f"write `quantization: {needed}`" if needed else "quantize the checkpoint again"
    message = f"{layer.title}: {bits}-bit weights reach from {limits.minimum} to {limits.maximum}"
    return [error("quantization", message, span, f"{bits} bits are too few", (where,), mend)]


def _kernel_shape(stored: CheckpointLayer) -> tuple[int, int]:
    rows, columns = (*stored.weight.shape[2:], 1, 1)[:2]
    return rows, columns


def kernel_mismatch(
    layer: LayerDescription, kernel: tuple[int, int], weight_key: str, weight_shape: Sequence[int]
) -> list[Diagnostic]:
    """Why weights with this kernel are not those that the description states."""
    described = kernel_size_of(layer)
    if described == kernel:
        return []
    size = "x".join(map(str, weight_shape))
    key = layer.kernel_size or layer.op
    what, have = (f"{rows}x{columns}" for rows, columns in (described, kernel))
    why = f"`{weight_key}` is {size} (out, in, height, width)"
    message = f"{layer.title} has a kernel of {what}, its weights are {have}"
    mend = "check that the description has the layers of the model, in its order"
    return [error("kernel-mismatch", message, key.span if key else layer.span, what, (why,), mend)]


def _bias_faults(layer: LayerDescription, stored: CheckpointLayer) -> list[Diagnostic]:
    if stored.bias is None:
        return []
    values = bias_values(stored)
    beyond = [int(v) for v in values if int(v) not in BIAS]
    if beyond:
        why = f"`{stored.weight_key.removesuffix('weight')}bias`; the bias memory holds {BIAS}"
        message = (
            f"{layer.title}: {len(beyond)} of {values.size} bias values do not fit, the first is {beyond[0]}"
        )
        return [error("bias-range", message, layer.span, notes=(why,))]
    return []


def _missing_weights(takers: Sequence[LayerDescription], checkpoint: Checkpoint) -> Diagnostic:
    stored = len(checkpoint.layers)
    message = f"the description has {len(takers)} layers with weights, the checkpoint has {stored}"
    mend = "add the missing layers to the model, or remove them here; shared weights need `weight_source`"
    silent = next((layer for layer in takers if layer.op is None), None)
    if silent is not None:
        mend = f"if {silent.title} has no weights in the model, write `op: passthrough` there; else {mend}"
    return error(
        "missing-weights", message, takers[stored].span, "", _first_stranger(takers, checkpoint), mend
    )


def _unused_weights(
    network: NetworkDescription, takers: Sequence[LayerDescription], checkpoint: Checkpoint
) -> Diagnostic:
    message = f"the checkpoint has {len(checkpoint.layers)} layers, the description uses {len(takers)}"
    names = ", ".join(f"`{layer.name}`" for layer in checkpoint.layers[len(takers) :][:5])
    span = network.layers_span or Span(network.path)
    notes = (f"left over in {checkpoint.path}: {names}", *_first_stranger(takers, checkpoint))
    mend = "if the model has them, describe them too"
    return warning("unused-weights", message, span, f"{len(takers)} layers with weights", notes, mend)


def _first_stranger(takers: Sequence[LayerDescription], checkpoint: Checkpoint) -> tuple[str, ...]:
    """Where names begin to differ, if names are used and mostly agree; mostly a layer is missing there."""
    stored = {layer.name.lower() for layer in checkpoint.layers}
    pairs = zip(takers, checkpoint.layers, strict=False)
    if not any(layer.name and layer.name.value.lower() in stored for layer in takers):
        return ()
    for layer, weights in pairs:
        if layer.name and layer.name.value.lower() != weights.name.lower():
            return (f"{layer.title} would get `{weights.weight_key}`, the first weights of another name",)
    return ()


def _share(
    assigned: dict[int, AssignedWeights],
    network: NetworkDescription,
    layer: LayerDescription,
    found: list[Diagnostic],
    start_layer: int,
) -> None:
    """Follow `weight_source` from layer to layer until one has weights of its own."""
    assert layer.weight_source is not None
    met = {layer.index}
    source = layer
    while source.weight_source is not None:
        following = network.find_layer(source.weight_source.value)
        if following is None or following.index in met:
            break
        met.add(following.index)
        source = following
    if source.index in assigned:
        faults = _sharing_faults(layer, source, assigned[source.index])
        found += faults
        if not faults:
            assigned[layer.index] = assigned[source.index]
    elif not takes_weights(source) or source.index < start_layer:
        message = f"{layer.title}: `weight_source` leads to {source.title}, which has no weights of its own"
        found.append(error("weight-source", message, layer.weight_source.span))


def _sharing_faults(
    layer: LayerDescription, source: LayerDescription, shared: AssignedWeights
) -> list[Diagnostic]:
    is_transposed = "convtranspose2d" in {layer.operation, source.operation}
    if is_transposed and layer.operation != source.operation and layer.weight_source:
        message = (
            f"{layer.title} ({layer.operation}) cannot share weights with {source.title} ({source.operation})"
        )
        why = "a transposed convolution holds its kernels turned round, inputs and outputs swapped"
        return [error("weight-source", message, layer.weight_source.span, notes=(why,))]
    rows, columns = shared.weights.weight.shape[2:]
    return kernel_mismatch(layer, (rows, columns), shared.key, shared.weights.weight.shape)
