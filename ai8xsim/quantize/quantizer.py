"""Layer by layer: fold, choose the shift, round."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ai8xsim.checkpoint.names import WeightKey, find_weights
from ai8xsim.checkpoint.state import TrainedCheckpoint, read_state
from ai8xsim.diagnostics import Diagnostic, Span, error, errors_among
from ai8xsim.errors import CheckpointError, ResolveError
from ai8xsim.network import NetworkDescription
from ai8xsim.quantize.faults import (
    WIDTHS,
    Described,
    checkpoint_faults,
    described_layers,
    network_faults,
    outputs_axis,
)

Floats = NDArray[Any]
Clip = Literal["max", "avgmax", "stddev", "scale"]
CLIPS: tuple[Clip, ...] = ("max", "avgmax", "stddev", "scale")
LARGEST_INTEGER = 128  # of 8 bits; floats from 2**23 on are integers too, and no quantizer made them


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    bits: for layers of which neither the description nor the checkpoint says anything.
    clip: what a layer's largest weight is taken to be: its largest weight ("max", or the checkpoint's quantile), the
        mean of the largest of each output ("avgmax"), `deviations` standard deviations ("stddev"), or `scale`
        times the largest ("scale"). Weights beyond it saturate.
    eps: of batch normalizations that are still to be folded. divisor: by how much these shrink their output; 4 is
        what the vendor's training does up to 2024, 1 later; None: 1 where the file has keys of the later kind.
    """

    bits: int = 8
    clip: Clip = "max"
    deviations: float = 2.0
    scale: float = 0.85
    eps: float = 1e-5
    divisor: int | None = None


@dataclass(frozen=True)
class QuantizedLayer:
    """What was done to one layer. largest: of the trained weights and biases. saturated: values beyond the width.

    error: the root mean square of what rounding took away, in units of the last place.
    """

    name: str
    bits: int
    output_shift: int
    largest: float
    saturated: int
    count: int
    error: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Quantized:
    """The new state, key by key in the order of the file, and what was done per layer. diagnostics: warnings."""

    trained: TrainedCheckpoint
    state: Mapping[str, Floats]
    layers: tuple[QuantizedLayer, ...]
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass
class _Work:
    """A state while it is quantized."""

    state: dict[str, Floats]
    layers: list[QuantizedLayer] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def quantize(
    path: str | os.PathLike[str],
    network: NetworkDescription | None = None,
    options: QuantizeOptions = QuantizeOptions(),
) -> Quantized:
    """The quantized form of the trained checkpoint in a file.

    network: gives widths (`quantization`) and tells transposed convolutions; k-th weights, k-th layer that has any.
    Raises CheckpointError, ResolveError where the description is of another model, OSError.
    """
    if options.bits not in WIDTHS:
        raise ValueError(f"bits is {options.bits}; it must be one of {WIDTHS}")
    trained, keys = read_trained(path)
    mismatches = [] if network is None else network_faults(trained, keys, network)
    if errors_among(mismatches):
        raise ResolveError(mismatches)
    described = described_layers(keys, network)
    found = checkpoint_faults(trained, keys, described)
    if errors_among(found):
        raise CheckpointError(found)
    work = _Work({key: np.array(value) for key, value in trained.tensors.items()})
    for key in keys:
        _quantize_layer(work, key, described.get(key.key, Described()), options)
    state = {key: value for key, value in work.state.items() if key not in work.gone}
    return Quantized(trained, MappingProxyType(state), tuple(work.layers), (*mismatches, *found))


def read_trained(path: str | os.PathLike[str]) -> tuple[TrainedCheckpoint, list[WeightKey]]:
    """A checkpoint before quantization, and its weights. Raises CheckpointError for any other one, OSError."""
    trained = read_state(path)
    keys = [key for key in _all_weights(trained.tensors) if trained.tensors[key.key].ndim > 1]
    if not keys:
        fault = error("no-weights", "the checkpoint has no weights to quantize", Span(trained.path))
        raise CheckpointError([fault])
    if _is_quantized(trained.tensors, keys):
        message = "the checkpoint is quantized already: its weights are integers"
        mend = "give the one that the training wrote"
        raise CheckpointError([error("already-quantized", message, Span(trained.path), help=mend)])
    return trained, keys


def save_quantized(quantized: Quantized, file: BinaryIO) -> None:
    """Write a quantized checkpoint in the vendor's format, which its tools read."""
    from collections import OrderedDict

    import torch

    state = OrderedDict((key, torch.from_numpy(value.copy())) for key, value in quantized.state.items())
    trained = quantized.trained
    content = {
        "epoch": trained.epoch or 0,
        "state_dict": state,
        "arch": trained.arch or "",
        "extras": {**trained.extras, "clipping_method": "MAX_BIT_SHIFT"},
    }
    torch.save(content, file)


def _all_weights(tensors: Mapping[str, Floats]) -> list[WeightKey]:
    """The keys of all weights: of a network that stands in the file twice, both."""
    first = find_weights(tensors)
    known = {key.key for key in first}
    rest = {key: value for key, value in tensors.items() if key not in known}
    others = [key for key in rest if key.endswith(".weight") and rest[key].ndim > 1]
    return [*first, *(key for name in others for key in find_weights({name: rest[name]}))]


def _is_quantized(tensors: Mapping[str, Floats], keys: Sequence[WeightKey]) -> bool:
    """Whether all weights are integers as quantizing leaves them. Those of 1 bit are -1 and 0: there the flags tell."""
    weights = [tensors[key.key] for key in keys]
    largest = max(float(np.abs(values).max()) for values in weights)
    is_whole = all(np.array_equal(values, np.floor(values)) for values in weights)
    flags = [
        [_scalar(tensors, f"{key.owner}.{name}") for name in ("quantize_activation", "adjust_output_shift")]
        for key in keys
    ]
    is_said = any(is_on and not is_adjusted for is_on, is_adjusted in flags)
    return is_whole and largest <= LARGEST_INTEGER and (largest > 1 or is_said)


def _quantize_layer(work: _Work, key: WeightKey, described: Described, options: QuantizeOptions) -> None:
    state = work.state
    notes = _fold(work, key, described.is_transposed, options)
    weight, bias = state[key.key].astype(np.float32), state.get(key.bias)
    trained_bits = int(_scalar(state, f"{key.owner}.weight_bits"))
    bits = described.width or trained_bits or options.bits
    if trained_bits not in {0, bits}:
        notes.append(f"it was trained for {trained_bits} bits; the description says {bits}")
    unit = np.float32(2 ** (bits - 1))
    shift = _scale(state, key, weight, bias, bits, options)
    largest, lowest, highest = _largest(weight, bias), -unit, unit - 1
    scaled = weight * unit * np.float32(2.0**shift)
    state[key.key] = np.clip(np.floor(scaled + np.float32(0.5)), lowest, highest)
    saturated = int(((scaled < lowest - 0.5) | (scaled >= highest + 0.5)).sum())
    difference = np.clip(scaled, lowest, highest).astype(np.float64) - state[key.key]
    if bias is not None:
        values = bias.astype(np.float32) * np.float32(2.0**shift)
        if _is_legacy(state, key):
            state[key.bias] = np.floor(values * np.float32(2.0**14) + np.float32(0.5))
            notes.append(
                "its bias keeps 14 bits behind the point, of which the chip takes 7 (first training software)"
            )
        else:
            rounded = np.clip(np.floor(unit * values + np.float32(0.5)), lowest, highest)
            state[key.bias] = rounded * np.float32(2.0 ** (bits - 8) * 128)
            saturated += int((np.abs(unit * values) > highest + 0.5).sum())
        state[f"{key.owner}.bias_bits"] = np.array([bits], np.float32)
    _settings(state, key, bits, shift)
    output_shift = int(state[f"{key.owner}.output_shift"][0])
    rms = float(np.sqrt(np.mean(difference**2)))
    count = weight.size + (bias.size if bias is not None else 0)
    if saturated > count / 2:
        notes.append("most of its values saturate")
    work.layers.append(
        QuantizedLayer(key.layer, bits, output_shift, largest, saturated, count, rms, tuple(notes))
    )


def _scalar(state: Mapping[str, Floats], key: str) -> float:
    """The number under a key; 0 where there is none."""
    return float(state[key].ravel()[0]) if key in state and state[key].size else 0.0


def _largest(weight: Floats, bias: Floats | None) -> float:
    return float(max(np.abs(weight).max(), 0.0 if bias is None else np.abs(bias).max()))


def _is_legacy(state: Mapping[str, Floats], key: WeightKey) -> bool:
    """Whether the layer was trained for quantization by the first training software: it stored the shift."""
    return (
        f"{key.owner}.shift_quantile" not in state
        and _scalar(state, f"{key.owner}.adjust_output_shift") == 1.0
    )


def _scale(
    state: Mapping[str, Floats],
    key: WeightKey,
    weight: Floats,
    bias: Floats | None,
    bits: int,
    options: QuantizeOptions,
) -> int:
    """By which power of two the layer is enlarged, so that it just fills its width."""
    import torch

    if _is_legacy(state, key) and options.clip == "max":
        return -int(_scalar(state, f"{key.owner}.output_shift"))
    if options.clip == "max":
        everything = weight.ravel() if bias is None else np.concatenate([weight.ravel(), bias.ravel()])
        quantile = _scalar(state, f"{key.owner}.shift_quantile") or 1.0
        limit = torch.quantile(torch.from_numpy(np.abs(everything.astype(np.float32))), quantile)
    else:
        limit = torch.tensor(_clipped_at(weight, options), dtype=torch.float32)
    lowest, highest = -7 - bits, 23 - bits
    if float(limit) == 0.0:
        return highest
    return int(torch.clamp(torch.floor(torch.log2(1.0 / limit)), lowest, highest))


def _clipped_at(weight: Floats, options: QuantizeOptions) -> float:
    """What a layer's largest weight is taken to be."""
    if options.clip == "scale":
        return float(np.abs(weight).max()) * options.scale
    if options.clip == "avgmax":
        return float(np.abs(weight.reshape(len(weight), -1)).max(axis=1).mean())
    spread = options.deviations * float(weight.std(ddof=1))
    mean = float(weight.mean())
    low, high = max(float(weight.min()), mean - spread), min(float(weight.max()), mean + spread)
    return max(abs(low), abs(high))


def _settings(state: dict[str, Floats], key: WeightKey, bits: int, shift: int) -> None:
    """The layer's own numbers, as the loader and the training software read them."""
    owner = key.owner
    output_shift = -np.float32(shift)
    if f"{owner}.activation_threshold" in state:
        threshold = _scalar(state, f"{owner}.activation_threshold")
        output_shift = np.float32(np.clip(output_shift - threshold, -7 - bits, 23 - bits))
    if not _is_legacy(state, key):  # there it is stored, and was taken as it is
        state[f"{owner}.output_shift"] = np.array([output_shift], np.float32)
    if not _scalar(state, f"{owner}.weight_bits") or int(_scalar(state, f"{owner}.weight_bits")) != bits:
        state[f"{owner}.weight_bits"] = np.array([bits], np.float32)
    for name, value in (("adjust_output_shift", 0.0), ("quantize_activation", 1.0)):
        state[f"{owner}.{name}"] = np.array([value], np.float32)


def _fold(work: _Work, key: WeightKey, is_transposed: bool | None, options: QuantizeOptions) -> list[str]:
    """Fold the layer's batch normalization, if it has one, into weight and bias. Returns what was done."""
    state, owner = work.state, key.owner
    mean, variance = state.get(f"{owner}.bn.running_mean"), state.get(f"{owner}.bn.running_var")
    if mean is None or variance is None:
        return []
    divisor = options.divisor or (1 if f"{owner}.activation_threshold" in state else 4)
    gamma = state.get(f"{owner}.bn.weight", np.ones_like(mean)) / np.float32(divisor)
    beta = state.get(f"{owner}.bn.bias", np.zeros_like(mean)) / np.float32(divisor)
    scale = gamma / np.sqrt(variance + np.float32(options.eps))
    axis = outputs_axis(state[key.key].shape, mean.size, is_transposed)
    assert axis is not None  # the sizes were checked
    shape = [1] * state[key.key].ndim
    shape[axis] = -1
    bias = state.get(key.bias, np.zeros_like(mean))
    state[key.key] = (state[key.key] * scale.reshape(shape)).astype(np.float32)
    state[key.bias] = ((bias - mean) * scale + beta).astype(np.float32)
    work.gone |= {name for name in state if name.startswith(f"{owner}.bn.")}
    return [f"batch normalization folded along axis {axis}, divided by {divisor}"]
