"""Description + checkpoint + device + input shape -> Program: every default filled in, every shape known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span, by_place, error, errors_among, note
from ai8xsim.errors import ResolveError
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.layer import resolve_layer
from ai8xsim.program.loader_faults import loader_differences
from ai8xsim.program.operations import IdleLayer, Layer, Options, Program, RollingBuffer, Shape
from ai8xsim.program.path import executed_path
from ai8xsim.program.surroundings import Surroundings
from ai8xsim.program.weights import AssignedWeights, assign_weights


@dataclass(frozen=True)
class Draft:
    """What can be said of a network: its program, as far as it is known, with everything found on the way.

    `program` is None where there is no path. `doubtful` are the layers against which an error stands; where a
    layer's channels do not fit, those that its weights expect are taken, so that what follows can be looked at.
    """

    program: Program | None
    doubtful: frozenset[int]
    diagnostics: tuple[Diagnostic, ...]


def resolve(
    network: NetworkDescription,
    checkpoint: Checkpoint,
    device: Device,
    input_shape: Sequence[int],
    options: Options = Options(),  # noqa: B008  (frozen)
) -> Program:
    """The complete program of a network on a device, for samples of one shape.

    input_shape: (C, H, W), or (C, L) for 1D data.
    Raises ResolveError, with every fault, where no value can be computed; what the device cannot hold is
    the affair of `check`.
    Source: `spec/ARITHMETIC.md`; vendor document, "Network Loader Configuration Language".
    """
    drafted = draft(network, checkpoint, device, input_shape, options)
    if drafted.program is None or errors_among(drafted.diagnostics):
        raise ResolveError(drafted.diagnostics)
    return drafted.program


def draft(
    network: NetworkDescription,
    checkpoint: Checkpoint,
    device: Device,
    input_shape: Sequence[int],
    options: Options = Options(),  # noqa: B008  (frozen)
) -> Draft:
    """As `resolve`, but it never raises, and goes on behind a fault as far as it can."""
    ground = groundwork(network, checkpoint, device, options)
    found = [*ground.diagnostics]
    shape = sample_shape(input_shape, found)
    if shape is None or not ground.is_sound:  # of a foreign checkpoint, say: the rest would be consequences
        return Draft(None, frozenset(), _all(network, checkpoint, found))
    layers, doubtful = resolve_path(ground.around(shape), found)
    found += [*loader_differences(layers), *_notes(network)]
    program = Program(
        path=network.path,
        device=device,
        options=options,
        input_shape=shape,
        layers=_with_outputs(layers, ground.path),
        idle=tuple(_idle(layer, ground.weights) for layer in network.layers if layer not in ground.path),
        buffers=ground.buffers,
        diagnostics=_all(network, checkpoint, found),
        spans=_global_spans(network),
    )
    return Draft(program if layers else None, doubtful, program.diagnostics)


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
    """What is known before the sample is; it never raises."""
    found = _mismatches(network, checkpoint, options)
    path = executed_path(network, options.start_layer, found)
    is_sound = not errors_among(found)
    weights: Mapping[int, AssignedWeights] = {}
    if is_sound:
        weights = assign_weights(network, checkpoint, device, options.start_layer, found)
    buffers = tuple(rolling_buffer(network, index) for index in range(len(network.data_buffer)))
    return Groundwork(network, options, path, buffers, weights, is_sound, tuple(found))


def _all(
    network: NetworkDescription, checkpoint: Checkpoint, found: list[Diagnostic]
) -> tuple[Diagnostic, ...]:
    return by_place([*network.diagnostics, *checkpoint.diagnostics, *found])


def _global_spans(network: NetworkDescription) -> tuple[tuple[str, Span], ...]:
    given = {key: getattr(network, key) for key in ("arch", "output_map", "snoop")}
    return tuple((key, value.span) for key, value in given.items() if value is not None)


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


def _with_outputs(layers: list[Layer], path: Sequence[LayerDescription]) -> tuple[Layer, ...]:
    """The layers with their `is_output`: those that say so, and always the last one."""
    said = {layer.index for layer in path if layer.output and layer.output.value}
    outputs = said | {layer.index for layer in layers[-1:]}
    return tuple(replace(layer, is_output=layer.index in outputs) for layer in layers)


def _idle(layer: LayerDescription, weights: Mapping[int, AssignedWeights]) -> IdleLayer:
    name = layer.name.value if layer.name else None
    own = weights.get(layer.index)
    return IdleLayer(layer.index, name, own.weights if own else None)


def _notes(network: NetworkDescription) -> list[Diagnostic]:
    conditional = [layer.snoop_sequence for layer in network.layers if layer.snoop_sequence]
    given = network.snoop or (conditional[0] if conditional else None)
    if given is None:
        return []
    message = "conditional execution (`snoop`) is not executed; `simulated_sequence` says which way to take"
    return [note("snoop", message, given.key_span)]
