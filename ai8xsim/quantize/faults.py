"""What a trained checkpoint cannot be quantized with: numbers that are none, and a description of another model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai8xsim.checkpoint.names import WeightKey
from ai8xsim.checkpoint.state import TrainedCheckpoint
from ai8xsim.diagnostics import Diagnostic, Span, error, warning
from ai8xsim.network import NetworkDescription
from ai8xsim.program.groundwork import arch_mismatch
from ai8xsim.program.weights import kernel_mismatch, takes_weights

Floats = NDArray[Any]
WIDTHS = (1, 2, 4, 8)
LARGEST_SHIFT = 15
STATISTICS = ("running_mean", "running_var", "weight", "bias")


class Described(NamedTuple):
    """What the description says of a layer; None where it says nothing, or there is none."""

    width: int | None = None
    is_transposed: bool | None = None


def described_layers(keys: Sequence[WeightKey], network: NetworkDescription | None) -> dict[str, Described]:
    """By the key of its weight: the k-th weights of the network that stands first, the k-th layer that has any."""
    if network is None:
        return {}
    takers = [layer for layer in network.layers if takes_weights(layer)]
    described = {}
    for key, layer in zip(_first_network(keys), takers, strict=False):
        given = layer.quantization.value if layer.quantization else None
        width = 1 if isinstance(given, str) else given
        described[key.key] = Described(width, layer.operation == "convtranspose2d")
    return described


def _first_network(keys: Sequence[WeightKey]) -> list[WeightKey]:
    return [key for key in keys if key.prefix == keys[0].prefix]


def network_faults(
    trained: TrainedCheckpoint, keys: Sequence[WeightKey], network: NetworkDescription
) -> list[Diagnostic]:
    """What shows that the description is of another model: its name, the number of its layers, their kernels."""
    takers = [layer for layer in network.layers if takes_weights(layer)]
    own = _first_network(keys)
    found = arch_mismatch(network, trained.arch)
    if len(takers) > len(own):
        message = f"the description has {len(takers)} layers with weights, the checkpoint has {len(own)}"
        mend = "take the checkpoint of this network; shared weights need `weight_source`"
        return [*found, error("missing-weights", message, takers[len(own)].span, help=mend)]
    if len(takers) < len(own):
        message = f"the checkpoint has {len(own)} layers, the description uses {len(takers)}"
        names = ", ".join(f"`{key.layer}`" for key in own[len(takers) :][:5])
        mend = "if the model has them, describe them too"
        span = network.layers_span or Span(network.path)
        found.append(warning("unused-weights", message, span, "", (f"left over: {names}",), mend))
    for key, layer in zip(own, takers, strict=False):
        shape = trained.tensors[key.key].shape
        rows, columns = (*shape[2:], 1, 1)[:2]
        found += kernel_mismatch(layer, (rows, columns), key.key, shape)
    return found


def checkpoint_faults(
    trained: TrainedCheckpoint, keys: Sequence[WeightKey], described: Mapping[str, Described]
) -> list[Diagnostic]:
    """Every number that nothing can be quantized by, and an axis of folding that only the description could tell."""
    span, tensors = Span(trained.path), trained.tensors
    owners = tuple(f"{key.owner}." for key in keys)
    found = [
        error("weights-not-finite", f"`{name}` holds values that are infinite or no numbers", span)
        for name, values in tensors.items()
        if name.startswith(owners) and not np.isfinite(values).all()
    ]
    for key in keys:
        is_transposed = described.get(key.key, Described()).is_transposed
        faults = [*_setting_faults(tensors, key), *_size_faults(tensors, key, is_transposed)]
        found += [error("invalid-layer-value", message, span, help=mend) for message, mend in faults]
    return [*dict.fromkeys(found), *_axis_warnings(trained, keys, described)]


def _setting_faults(tensors: Mapping[str, Floats], key: WeightKey) -> Iterator[tuple[str, str]]:
    """(what, how to mend it) for each number of a layer that is out of its range."""
    width, quantile = (f"{key.owner}.{name}" for name in ("weight_bits", "shift_quantile"))
    if width in tensors and tensors[width].ravel()[0] not in {0, *WIDTHS}:
        given = f"{tensors[width].ravel()[0]:g}"
        yield (
            f"`{width}` is {given}; weights have 1, 2, 4 or 8 bits",
            "train it by a policy with one of these",
        )
    if quantile in tensors and not 0 <= tensors[quantile].ravel()[0] <= 1:
        given = f"{tensors[quantile].ravel()[0]:g}"
        yield f"`{quantile}` is {given}; it is a share, at most 1", "train it by a policy with such a share"
    if key.output_shift in tensors and not abs(tensors[key.output_shift].ravel()[0]) <= LARGEST_SHIFT:
        given = f"{tensors[key.output_shift].ravel()[0]:g}"
        message = f"`{key.output_shift}` is {given}; shifts lie in -{LARGEST_SHIFT}..{LARGEST_SHIFT}"
        yield message, "see what was saved"


def _size_faults(
    tensors: Mapping[str, Floats], key: WeightKey, is_transposed: bool | None
) -> Iterator[tuple[str, str]]:
    """The same for a bias and for statistics that are not one value for each output."""
    shape = tensors[key.key].shape
    names = (key.bias, *(f"{key.owner}.bn.{name}" for name in STATISTICS))
    sizes = "x".join(map(str, shape))
    mend = "see what was saved"
    for name in names:
        if name in tensors and outputs_axis(shape, tensors[name].size, is_transposed) is None:
            yield f"`{name}` has {tensors[name].size} values, the weights are {sizes}", mend
    variance = tensors.get(f"{key.owner}.bn.running_var")
    if variance is not None and (variance < 0).any():
        yield f"`{key.owner}.bn.running_var` is negative", mend


def outputs_axis(shape: Sequence[int], outputs: int, is_transposed: bool | None) -> int | None:
    """Along which axis weights of this shape have so many outputs; None where they have not.

    is_transposed: of a transposed convolution, whose weights are (in, out, height, width), or (channels, 1, height,
    width) where it is depthwise; None: not known, then what fits, and a convolution where both do.

    >>> [outputs_axis((4, 8, 3, 3), count, None) for count in (4, 8, 5)]
    [0, 1, None]
    >>> [outputs_axis((4, 4, 3, 3), 4, is_transposed) for is_transposed in (None, False, True)]
    [0, 0, 1]
    """
    axes = (0, 1) if is_transposed is None and len(shape) == 4 else (0,)
    if is_transposed:
        axes = (1, 0) if shape[1] == 1 else (1,)
    return next((axis for axis in axes if shape[axis] == outputs), None)


def _axis_warnings(
    trained: TrainedCheckpoint, keys: Sequence[WeightKey], described: Mapping[str, Described]
) -> list[Diagnostic]:
    """Square weights may be those of a convolution or of a transposed one."""
    doubtful = [
        key
        for key in keys
        if f"{key.owner}.bn.running_mean" in trained.tensors
        and described.get(key.key, Described()).is_transposed is None
        and len(shape := trained.tensors[key.key].shape) == 4
        and shape[0] == shape[1]
    ]
    if not doubtful:
        return []
    names = ", ".join(f"`{key.layer}`" for key in doubtful[:5])
    message = (
        f"{len(doubtful)} batch normalizations are folded as those of convolutions, not of transposed ones"
    )
    why = (f"the weights have as many inputs as outputs, and do not tell the two apart: {names}",)
    mend = "give the description, which tells the operation"
    return [warning("batchnorm-axis", message, Span(trained.path), "", why, mend)]
