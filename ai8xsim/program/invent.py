"""Random weights for a description that states its channels: to try a network before there is a checkpoint."""

from collections.abc import Sequence

import numpy as np

from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.diagnostics import by_place, error, errors_among
from ai8xsim.errors import ResolveError
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.flow import entering
from ai8xsim.program.groundwork import rolling_buffer, sample_shape
from ai8xsim.program.layer import arriving, resolve_layer
from ai8xsim.program.operations import Layer, Options, Weights
from ai8xsim.program.path import executed_path
from ai8xsim.program.surroundings import Found, Surroundings
from ai8xsim.program.weights import AssignedWeights, kernel_size_of, takes_weights


def random_checkpoint(
    network: NetworkDescription,
    device: Device,
    input_shape: Sequence[int],
    seed: int = 0,
    options: Options = Options(),  # noqa: B008  (frozen)
) -> Checkpoint:
    """A checkpoint with random weights for a network that states `out_channels` in every layer with weights.

    The weights use the whole of their width; the shifts keep most outputs within 8 bits. Layers have a bias, but
    for streaming ones and those of more than 64 outputs: it is what runs out first.
    Raises ResolveError with every fault.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/mnist.yaml")
    >>> len(random_checkpoint(network, ai8xsim.MAX78000, (1, 28, 28)).layers)
    5
    """
    found: Found = []
    shape = sample_shape(input_shape, found)
    path = executed_path(network, options.start_layer, found)
    if shape is None or errors_among(found):
        raise ResolveError(by_place(found))
    buffers = tuple(rolling_buffer(network, index) for index in range(len(network.data_buffer)))
    weights: dict[int, AssignedWeights] = {}
    around = Surroundings(network, options, shape, path, buffers, weights)
    generator = np.random.default_rng(seed)
    done: dict[int, Layer] = {}
    stored: dict[int, CheckpointLayer] = {}
    for place, layer in enumerate(path):
        if layer.has_convolution and not layer.is_bypassed:  # what shares weights is drawn for its shape
            drawn = _drawn(around, place, done, found, generator)
            if drawn is None:
                break
            stored |= {layer.index: drawn} if layer.weight_source is None else {}
            weights[layer.index] = _assigned(drawn)
        resolved = resolve_layer(around, place, done, found)
        if resolved is None:
            break
        done[layer.index] = resolved
    if errors_among(found):
        raise ResolveError(by_place(found))
    for layer in network.layers[options.start_layer :]:
        if takes_weights(layer) and layer.index not in stored:
            stored[layer.index] = _idle(around, layer, generator)
    return Checkpoint("random weights", network.arch.value, 0, tuple(stored[i] for i in sorted(stored)))


def _drawn(
    around: Surroundings, place: int, done: dict[int, Layer], found: Found, generator: np.random.Generator
) -> CheckpointLayer | None:
    """Random weights for the layer at a place of the path."""
    layer = around.path[place]
    arrival = arriving(around, place, done, found)
    if arrival is None:
        return None
    if layer.out_channels is None:
        message = f"{layer.title} does not state `out_channels`, which random weights need"
        found.append(error("missing-key", message, layer.span, help="add, for example, `out_channels: 8`"))
        return None
    inputs, outputs = entering(layer, arrival.pooled).channels, layer.out_channels.value
    groups = layer.groups.value if layer.groups else 1
    taps = kernel_size_of(layer)
    ends = (
        (inputs, outputs // groups) if layer.operation == "convtranspose2d" else (outputs, inputs // groups)
    )
    return _random_layer(layer, (*ends, *taps), outputs, generator)


def _idle(around: Surroundings, layer: LayerDescription, generator: np.random.Generator) -> CheckpointLayer:
    """Weights for a layer that the path leaves out: it has its place in the checkpoint all the same.

    Their shape is nobody's affair, unless a layer of the path shares them.
    """
    outputs, inputs = (given.value if given else 1 for given in (layer.out_channels, layer.in_channels))
    groups = layer.groups.value if layer.groups else 1
    shape: tuple[int, ...] = (outputs, max(1, inputs // groups), *kernel_size_of(layer))
    if layer.operation == "convtranspose2d":
        shape = (inputs, max(1, outputs // groups), *kernel_size_of(layer))
    for other in around.path:
        source = other.weight_source and around.network.find_layer(other.weight_source.value)
        if source == layer and other.index in around.weights:
            shape = around.weights[other.index].weights.weight.shape
            outputs = shape[1] * groups if layer.operation == "convtranspose2d" else shape[0]
    return _random_layer(layer, shape, outputs, generator)


def _random_layer(
    layer: LayerDescription, shape: tuple[int, ...], outputs: int, generator: np.random.Generator
) -> CheckpointLayer:
    width = layer.quantization.value if layer.quantization else 8
    bits = 1 if isinstance(width, str) else width
    weight = generator.integers(-(1 << bits - 1), (1 << bits - 1), shape)
    if isinstance(width, str):
        weight = 2 * generator.integers(0, 2, shape) - 1
    sums = weight.size // outputs
    shift = -int(np.ceil(np.log2(max(1, sums)) / 2)) + 1
    is_streaming = layer.streaming is not None and layer.streaming.value
    has_bias = outputs <= 64 and not is_streaming
    bias = generator.integers(-64, 64, outputs) << bits - 1 if has_bias else None
    name = layer.name.value if layer.name else f"layer{layer.index}"
    return CheckpointLayer(name, f"{name}.op.weight", weight, bias, shift, bits)


def _assigned(stored: CheckpointLayer) -> AssignedWeights:
    """As far as shapes need it."""
    bits = stored.weight_bits or 8
    weight = stored.weight.astype(np.int8)
    return AssignedWeights(
        Weights(weight, None, bits), (stored.output_shift or 0) + 8 - bits, stored.weight_key
    )
