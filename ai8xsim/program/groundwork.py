"""What is known of a network before its sample is: its path, its weights, its buffers; then layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import MEMORIES, Device, check_is_device
from ai8xsim.diagnostics import Diagnostic, error, errors_among
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.layer import resolve_layer
from ai8xsim.program.operations import Layer, Options, RollingBuffer, Shape
from ai8xsim.program.path import executed_path
from ai8xsim.program.surroundings import Surroundings
from ai8xsim.program.weights import AssignedWeights, assign_weights


@dataclass(frozen=True)
class Groundwork:
    """What is known of a network whatever its sample's shape: its path, its weights, and what is wrong with them.

    Where it is not sound, nothing can be said of any shape.
    """

    network: NetworkDescription
    options: Options
    path: tuple[LayerDescription, ...]
    buffers: tuple[RollingBuffer, ...]
    weights: Mapping[int, AssignedWeights]
    is_sound: bool
    diagnostics: tuple[Diagnostic, ...]

    def around(self, shape: Shape) -> Surroundings:
        """What each layer's meaning depends on, for samples of a shape."""
        return Surroundings(self.network, self.options, shape, self.path, self.buffers, self.weights)


def groundwork(
    network: NetworkDescription, checkpoint: Checkpoint, device: Device, options: Options
) -> Groundwork:
    """What is known before the sample is; of faults in files it never raises."""
    check_is_device(device)
    found = _mismatches(network, checkpoint, options)
    path = executed_path(network, options.start_layer, found)
    buffers = tuple(rolling_buffer(network, index) for index in range(len(network.data_buffer)))
    found += _impossible_buffers(buffers, device)
    is_sound = not errors_among(found)
    weights: Mapping[int, AssignedWeights] = {}
    if is_sound:
        weights = assign_weights(network, checkpoint, device, options.start_layer, found)
    return Groundwork(network, options, path, buffers, weights, is_sound, tuple(found))


def arch_mismatch(network: NetworkDescription, trained: str | None) -> list[Diagnostic]:
    """An error if the checkpoint's `arch`, where it has one, is not the description's."""
    arch = network.arch.value
    if trained is None or trained.lower() == arch.lower():
        return []
    message = f"the description is for `{arch}`, the checkpoint for `{trained}`"
    mend = f"write `arch: {trained}`, or take the checkpoint of `{arch}`"
    return [error("arch-mismatch", message, network.arch.span, help=mend)]


def _mismatches(network: NetworkDescription, checkpoint: Checkpoint, options: Options) -> list[Diagnostic]:
    found = arch_mismatch(network, checkpoint.arch)
    if options.simple1b:
        message = "what 1-bit weights compute in the simple mode (XOR) is not known"
        found.append(error("simple1b", message, help="do without `--simple1b`"))
    return found


def _impossible_buffers(buffers: Sequence[RollingBuffer], device: Device) -> list[Diagnostic]:
    """Data buffers that all memories together do not hold: nothing can be computed with them."""
    capacity, found = MEMORIES * device.data_memory_bytes, []
    for buffer in buffers:
        values = buffer.shape.channels * buffer.shape.pixels
        if values > capacity:
            message = (
                f"the data buffer `{buffer.name}` has {values} values, all data memories hold {capacity}"
            )
            mend = "write the `channels` and the `dim` that the model remembers"
            found.append(error("input-too-large", message, buffer.span, f"{buffer.shape}", help=mend))
    return found


def sample_shape(shape: Sequence[int], found: list[Diagnostic]) -> Shape | None:
    """One sample's shape, or None after saying that it is none."""
    sizes = tuple(index(size) for size in shape)
    if len(sizes) in {2, 3} and min(sizes) > 0:
        rows, *columns = sizes[1:]
        return Shape(sizes[0], rows, columns[0] if columns else 1, is_1d=not columns)
    message = f"a sample of shape {sizes} is neither (C, H, W) nor (C, L)"
    found.append(error("sample-rank", message, help="give one sample's shape, without the batch axis"))
    return None


def rolling_buffer(network: NetworkDescription, index: int) -> RollingBuffer:
    """A data buffer as the description has it."""
    described = network.data_buffer[index]
    rows, *columns = described.dim.value
    shape = Shape(described.channels.value, rows, columns[0] if columns else 1, is_1d=not columns)
    return RollingBuffer(
        described.name.value, shape, described.processors.value, described.offset.value, described.span
    )


def resolve_path(surroundings: Surroundings, found: list[Diagnostic]) -> tuple[list[Layer], frozenset[int]]:
    """Layer by layer, and which of them are in doubt; what stands behind a layer without output is left out."""
    done: dict[int, Layer] = {}
    doubtful = set()
    for place, described in enumerate(surroundings.path):
        faults = len(errors_among(found))
        layer = resolve_layer(surroundings, place, done, found)
        if layer is not None:
            done[layer.index] = layer
        if layer is None or len(errors_among(found)) > faults:
            doubtful.add(described.index)
    return list(done.values()), frozenset(doubtful)
