"""The input shape that a description does not state, deduced from what its layers can take."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span, by_place, errors_among
from ai8xsim.errors import ResolveError
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.groundwork import Groundwork, groundwork, resolve_path, sample_shape
from ai8xsim.program.operations import Options

LARGEST_SIDE = 352
LARGEST_LENGTH = 1024

Shape = tuple[int, ...]


class Fitting(NamedTuple):
    """The smallest shape that all layers take, and whether no larger one would do as well."""

    shape: Shape
    is_fixed: bool


def infer_input_shape(
    network: NetworkDescription, checkpoint: Checkpoint, device: Device, options: Options
) -> Shape | None:
    """The sample's shape, or None where the description fits any size.

    A first layer with `in_dim` states it. Otherwise a flattened or fully connected layer fixes the size: the
    smallest square image (for Conv1d the shortest signal) that every layer takes is the answer, unless four
    times as much fits just as well.
    Raises ResolveError with the faults that stand whatever the size is.
    """
    ground = groundwork(network, checkpoint, device, options)
    before = {*errors_among([*network.diagnostics, *checkpoint.diagnostics, *ground.diagnostics])}
    if before and not ground.is_sound:
        raise ResolveError(by_place(before))
    fitting, tried = _search(ground, checkpoint, before)
    first = _first(ground)
    is_square = first.in_dim is None and first.operation != "conv1d"
    standing = _standing(tried, is_square) if tried else set()
    if standing:
        raise ResolveError(by_place(standing))
    return fitting.shape if fitting is not None and fitting.is_fixed else None


def fitting_shape(ground: Groundwork, checkpoint: Checkpoint) -> Fitting | None:
    """The shape that the layers of a sound groundwork take; None where no size fits."""
    return _search(ground, checkpoint, {*errors_among(ground.diagnostics)})[0]


def _first(ground: Groundwork) -> LayerDescription:
    layers = ground.network.layers
    return layers[min(ground.options.start_layer, len(layers) - 1)]


def _search(
    ground: Groundwork, checkpoint: Checkpoint, before: set[Diagnostic]
) -> tuple[Fitting | None, list[tuple[int, set[Diagnostic]]]]:
    """The shape that fits, if any; if none does, how far each led into the network, and its faults."""
    first = _first(ground)
    tried = []
    for shape, larger in _candidates(first, _input_channels(first, checkpoint)):
        depth, faults = _faults(ground, shape)
        if not before | faults:
            return Fitting(shape, first.in_dim is not None or bool(_faults(ground, larger)[1])), []
        tried.append((depth, before | faults))
    return None, tried


def _standing(tried: Sequence[tuple[int, set[Diagnostic]]], is_square: bool) -> set[Diagnostic]:
    """The faults that no size takes away, without what is said of a size that was only tried.

    A size too small for a window hides what lies behind it: only those count that lead farthest into the network.
    Where only squares were tried, numbers of channels that change with the size may fit another shape.
    """

    def causes(faults: set[Diagnostic]) -> dict[tuple[str, Span | None, str], Diagnostic]:
        may_fit = {"channel-mismatch"} if is_square else set()
        return {(f.code, f.span, f.message if f.code in may_fit else ""): f for f in faults}

    deepest = max(depth for depth, _ in tried)
    sizes = [causes(faults) for depth, faults in tried if depth == deepest]
    common = set(sizes[0]).intersection(*sizes)
    first, last = sizes[0], sizes[-1]
    return {
        replace(first[cause], notes=tuple(n for n in first[cause].notes if n in last[cause].notes))
        for cause in common
    }


def _input_channels(first: LayerDescription, checkpoint: Checkpoint) -> int:
    """The channels that the first layer takes; 1 where nothing says so."""
    operands = 1
    if first.elementwise is not None:
        operands = first.operands.value if first.operands else 2
    if first.in_channels is not None:
        return first.in_channels.value * operands
    if not checkpoint.layers or first.is_flattened:
        return operands
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


def _faults(ground: Groundwork, sizes: Shape) -> tuple[int, set[Diagnostic]]:
    """How many layers can be looked at, and the faults for samples of this size."""
    found = [*ground.diagnostics]
    shape = sample_shape(sizes, found)
    layers = resolve_path(ground.around(shape), found)[0] if shape is not None else ()
    return len(layers), {*errors_among(found)}
