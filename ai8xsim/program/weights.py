"""Which weights belong to which layer, and in which width.

Source: `spec/ARITHMETIC.md` ("Streams between layers", "Exact order and small print" 2 and 9).
"""

from types import MappingProxyType

import numpy as np

from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span, error, warning
from ai8xsim.formats import BIAS, BINARY_WEIGHT, WEIGHT
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.network.rules import has_convolution, operation_of
from ai8xsim.program.operations import Int8, Integers, Weights

KERNEL_DEFAULTS = MappingProxyType(
    {"conv1d": (9, 1), "conv2d": (3, 3), "convtranspose2d": (3, 3), "linear": (1, 1)}
)
BITS_WHERE_UNKNOWN = 8


def kernel_size_of(layer: LayerDescription) -> tuple[int, int]:
    """The layer's kernel (rows, columns); 1x1 where it has none."""
    if layer.kernel_size is None or not has_convolution(layer):
        return KERNEL_DEFAULTS.get(operation_of(layer), (1, 1))
    rows, *columns = layer.kernel_size.value
    return rows, columns[0] if columns else 1


class Assigned:
    """The weights and the total shift of each layer that has any; a fault leaves its layer without."""

    def __init__(self) -> None:
        self.weights: dict[int, Weights] = {}
        self.shift: dict[int, int] = {}
        self.key: dict[int, str] = {}


def assign_weights(
    network: NetworkDescription,
    checkpoint: Checkpoint,
    device: Device,
    start_layer: int,
    found: list[Diagnostic],
) -> Assigned:
    """The k-th weights of the checkpoint for the k-th layer that takes any; then those that share weights."""
    takers = [layer for layer in network.layers[start_layer:] if _takes_weights(layer)]
    assigned = Assigned()
    for layer, stored in zip(takers, checkpoint.layers, strict=False):
        _assign(assigned, layer, stored, device, found)
    found += _missing_weights(takers[len(checkpoint.layers) :], len(takers), checkpoint)
    found += _unused_weights(checkpoint, len(takers))
    for layer in network.layers[start_layer:]:
        if layer.weight_source is not None:
            _share(assigned, network, layer, found)
    return assigned


def _takes_weights(layer: LayerDescription) -> bool:
    is_bypassed = layer.bypass is not None and layer.bypass.value
    return has_convolution(layer) and not is_bypassed and layer.weight_source is None


def _assign(
    assigned: Assigned,
    layer: LayerDescription,
    stored: CheckpointLayer,
    device: Device,
    found: list[Diagnostic],
) -> None:
    faults = [*_kernel_mismatch(layer, stored), *_bias_faults(layer, stored)]
    bits, is_binary = _width(layer, stored, device)
    faults += _width_faults(layer, stored, bits, is_binary)
    found += faults
    assigned.key[layer.index] = stored.weight_key
    if faults:
        return
    weight = stored.weight.reshape(*stored.weight.shape[:2], *_kernel_shape(stored))
    bias = None if stored.bias is None else _int8(bias_values(stored))
    assigned.weights[layer.index] = Weights(_int8(weight), bias, bits, is_binary)
    own = layer.output_shift.value if layer.output_shift else stored.output_shift or 0
    assigned.shift[layer.index] = own + 8 - bits


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


def _kernel_mismatch(layer: LayerDescription, stored: CheckpointLayer) -> list[Diagnostic]:
    described, found = kernel_size_of(layer), _kernel_shape(stored)
    if described == found:
        return []
    size = "x".join(map(str, stored.weight.shape))
    key = layer.kernel_size or layer.op
    what, have = (f"{rows}x{columns}" for rows, columns in (described, found))
    why = f"`{stored.weight_key}` is {size} (out, in, height, width)"
    mend = _kernel_remedy(layer, found, stored)
    message = f"{layer.title} has a kernel of {what}, its weights are {have}"
    return [error("kernel-mismatch", message, key.span if key else layer.span, what, (why,), mend)]


def _kernel_remedy(layer: LayerDescription, found: tuple[int, int], stored: CheckpointLayer) -> str:
    if stored.weight.ndim == 3 and operation_of(layer) == "conv1d":
        return f"write `kernel_size: {found[0]}`"
    if found in {(1, 1), (3, 3)} and operation_of(layer) == "conv2d":
        return f"write `kernel_size: {found[0]}x{found[1]}`"
    return "check that the description has the layers of the model, in its order"


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
    groups = layer.groups.value if layer.groups else 1
    is_transposed = operation_of(layer) == "convtranspose2d"
    outputs = stored.weight.shape[1] * groups if is_transposed else stored.weight.shape[0]
    if values.size != outputs:
        message = f"{layer.title} has {values.size} bias values for {outputs} output channels"
        return [error("bias-count", message, layer.span)]
    return []


def _missing_weights(
    without: list[LayerDescription], wanted: int, checkpoint: Checkpoint
) -> list[Diagnostic]:
    if not without:
        return []
    stored = len(checkpoint.layers)
    message = f"the description has {wanted} layers with weights, the checkpoint has {stored}"
    why = f"{without[0].title} is the first without"
    mend = "add the missing layers to the model, or remove them here; shared weights need `weight_source`"
    return [error("missing-weights", message, without[0].span, "no weights left", (why,), mend)]


def _unused_weights(checkpoint: Checkpoint, wanted: int) -> list[Diagnostic]:
    unused = checkpoint.layers[wanted:]
    if not unused:
        return []
    message = f"the checkpoint has {len(checkpoint.layers)} layers, the description uses {wanted}"
    names = ", ".join(f"`{layer.name}`" for layer in unused[:5])
    return [warning("unused-weights", message, Span(checkpoint.path), notes=(f"unused: {names}",))]


def _share(
    assigned: Assigned, network: NetworkDescription, layer: LayerDescription, found: list[Diagnostic]
) -> None:
    """Follow `weight_source` from layer to layer until one has weights of its own."""
    met = {layer.index}
    source = layer
    while source.weight_source is not None:
        following = network.find_layer(source.weight_source.value)
        if following is None or following.index in met:
            break
        met.add(following.index)
        source = following
    if source.index in assigned.weights:
        assigned.weights[layer.index] = assigned.weights[source.index]
        assigned.shift[layer.index] = assigned.shift[source.index]
        assigned.key[layer.index] = assigned.key[source.index]
    elif source.index not in assigned.key and layer.weight_source:
        message = f"{layer.title}: `weight_source` leads to {source.title}, which has no weights"
        found.append(error("weight-source", message, layer.weight_source.span))
