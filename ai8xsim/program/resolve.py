"""Description + checkpoint + device + input shape -> Program: every default filled in, every shape known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span, by_place, errors_among, note
from ai8xsim.errors import ResolveError
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.groundwork import Groundwork, groundwork, resolve_path, sample_shape
from ai8xsim.program.infer import Fitting, fitting_shape
from ai8xsim.program.loader_faults import loader_differences
from ai8xsim.program.operations import IdleLayer, Layer, Options, Program, Shape
from ai8xsim.program.weights import AssignedWeights


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
    """As `resolve`, but of faults in files it never raises, and goes on behind them as far as it can."""
    ground = groundwork(network, checkpoint, device, options)
    found = [*ground.diagnostics]
    shape = sample_shape(input_shape, found)
    if shape is None or not ground.is_sound:  # of a foreign checkpoint, say: the rest would be consequences
        return Draft(None, frozenset(), _all(network, checkpoint, found))
    layers, doubtful = resolve_path(ground.around(shape), found)
    found = _with_fitting_size(ground, checkpoint, shape, found)
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


def _with_fitting_size(
    ground: Groundwork, checkpoint: Checkpoint, shape: Shape, found: list[Diagnostic]
) -> list[Diagnostic]:
    """What was found; but where another sample would take away all faults, only the first of these, with the size that
    all layers take, since the others may be its consequences."""
    earlier = errors_among([*ground.network.diagnostics, *checkpoint.diagnostics, *ground.diagnostics])
    faults = errors_among(found)
    if earlier or not faults or ground.path[0].is_flattened:  # then nothing says which channels a sample has
        return found
    fitting = fitting_shape(ground, checkpoint)
    if fitting is None or fitting.shape == shape.array_shape:
        return found
    first = next(d for d in found if d in faults)
    told = replace(first, notes=(*first.notes, *_on_size(shape, fitting, len(faults) - 1)))
    return [told if d is first else d for d in found if d is first or d not in faults]


def _on_size(shape: Shape, fitting: Fitting, others: int) -> Iterator[str]:
    """Notes on the size that fits, and on the faults that are not told."""
    if fitting.is_fixed or others:
        size, more = "x".join(map(str, fitting.shape)), "" if fitting.is_fixed else ", and larger ones"
        yield f"the sample is {shape}; all layers fit one of {size}{more}"
    if others:
        yield f"such a sample takes away {others} more error{'s' if others > 1 else ''}, of later layers"


def _all(
    network: NetworkDescription, checkpoint: Checkpoint, found: list[Diagnostic]
) -> tuple[Diagnostic, ...]:
    return by_place([*network.diagnostics, *checkpoint.diagnostics, *found])


def _global_spans(network: NetworkDescription) -> tuple[tuple[str, Span], ...]:
    given = {key: getattr(network, key) for key in ("arch", "output_map", "snoop")}
    return tuple((key, value.span) for key, value in given.items() if value is not None)


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
