"""The input shape that a description does not state, deduced from what its layers can take."""

from collections.abc import Iterator

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.errors import ResolveError
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.operations import Options
from ai8xsim.program.resolve import resolve

LARGEST_SIDE = 352
LARGEST_LENGTH = 1024

Shape = tuple[int, ...]


def infer_input_shape(
    network: NetworkDescription, checkpoint: Checkpoint, device: Device, options: Options
) -> Shape | None:
    """The sample's shape, or None where the description fits any size.

    A first layer with `in_dim` states it. Otherwise a flattened or fully connected layer fixes the size: the
    smallest square image (for Conv1d the shortest signal) that every layer takes is the answer, unless four
    times as much fits just as well.
    """
    first = network.layers[options.start_layer] if options.start_layer < len(network.layers) else None
    channels = _input_channels(first, checkpoint) if first else None
    if first is None or channels is None:
        return None
    for shape, larger in _candidates(first, channels):
        if _fits(network, checkpoint, device, options, shape):
            is_fixed = first.in_dim is not None or not _fits(network, checkpoint, device, options, larger)
            return shape if is_fixed else None
    return None


def _input_channels(first: LayerDescription, checkpoint: Checkpoint) -> int | None:
    operands = 1
    if first.elementwise is not None:
        operands = first.operands.value if first.operands else 2
    if first.in_channels is not None:
        return first.in_channels.value * operands
    if not checkpoint.layers or (first.is_flattened):
        return None
    weight = checkpoint.layers[0].weight
    if first.operation == "convtranspose2d":
        return int(weight.shape[0]) * operands
    groups = first.groups.value if first.groups else 1
    return int(weight.shape[1]) * groups * operands


def _candidates(first: LayerDescription, channels: int) -> Iterator[tuple[Shape, Shape]]:
    """Shapes to try, each with one four times as large per side."""
    if first.in_dim is not None and first.in_crop is None:
        stated = (channels, *first.in_dim.value)
        yield stated, stated
    elif first.operation == "conv1d":
        yield from (((channels, n), (channels, 4 * n)) for n in range(1, LARGEST_LENGTH + 1))
    else:
        yield from (((channels, n, n), (channels, 4 * n, 4 * n)) for n in range(1, LARGEST_SIDE + 1))


def _fits(
    network: NetworkDescription, checkpoint: Checkpoint, device: Device, options: Options, shape: Shape
) -> bool:
    try:
        resolve(network, checkpoint, device, shape, options)
    except ResolveError:
        return False
    return True
