"""A user's model file and its checkpoint."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from torch import nn

from ai8xsim.checkpoint.names import split_prefix
from ai8xsim.checkpoint.state import TrainedCheckpoint, read_state
from ai8xsim.diagnostics import Diagnostic, Span, error, warning
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.models import attribute_of, open_user_file, split_name
from ai8xsim.nn.guard import guarded
from ai8xsim.nn.layer import Layer

BITS = MappingProxyType({"weight_bits": 8, "bias_bits": 8, "quantize_activation": True})
LATER_KEYS = frozenset({"final_scale", "activation_threshold", "clamp_activation"})  # of 2025, read apart
BLOCKS = ("Fire", "ResidualBottleneck", "ConvResidualBottleneck", "MBConvBlock")
NO_BITS = MappingProxyType({"weight_bits": None, "bias_bits": None, "quantize_activation": False})


def load_model(
    name: str,
    num_classes: int,
    num_channels: int,
    dimensions: Sequence[int],
    path: str | os.PathLike[str] | None = None,
    **given: Any,
) -> nn.Module:
    """The model that a factory in a user's file makes, `FILE:FACTORY`; `import ai8x` in it means ours.

    dimensions: (H, W) of the input, (L, 1) for 1D data. path: a folder from which the file may import helpers.
    given: further arguments of the factory, such as `bias=True`. By the setting that holds here, layers are made for
    a quantized checkpoint (`simulate`) or for training.
    Raises InputError where the file cannot be imported, has no such factory, or where that fails; OSError; ValueError
    for what is not FILE:FACTORY.
    """
    from ai8xsim.nn import current_setting

    file, factory = split_name(name)
    source = open_user_file(file, model_stand_ins(), None if path is None else Path(path))
    make = attribute_of(source.module, file, factory)
    arguments: dict[str, Any] = {
        "pretrained": False,
        "num_classes": num_classes,
        "num_channels": num_channels,
        "dimensions": tuple(dimensions),
        "bias": False,
        **(BITS if current_setting().simulate else NO_BITS),
        **given,
    }
    with source.present(), guarded(f"the factory `{factory}`", file):
        model = make(**arguments)
    if not isinstance(model, nn.Module):
        message = f"`{factory}` makes a {type(model).__name__}, no model"
        mend = "return the module that is the network"
        raise InputError([error("model-failed", message, Span(str(file)), help=mend)])
    return model


def model_stand_ins() -> dict[str, ModuleType]:
    """What `ai8x`, `ai8x_blocks` and `devices` mean in a user's file."""
    import ai8xsim.nn
    from ai8xsim.nn import blocks

    front = ModuleType("ai8x")
    front.__dict__.update({name: getattr(ai8xsim.nn, name) for name in ai8xsim.nn.__all__})
    more = ModuleType("ai8x_blocks")
    more.__dict__.update({name: getattr(blocks, name) for name in BLOCKS})
    devices = ModuleType("devices")
    devices.__dict__.update({"MAX78000": 85, "MAX78002": 87})
    return {"ai8x": front, "ai8x_blocks": more, "devices": devices}


@dataclass(frozen=True)
class Loaded:
    """What became of a checkpoint: how many tensors the model took, and what it did not take or lacks."""

    taken: int
    diagnostics: tuple[Diagnostic, ...]


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> Loaded:
    """Put a checkpoint's tensors into a model; nothing in the file is executed.

    A prefix (`module.`, `_orig_mod.`) is taken away; of names that then are equal the first one counts. Tensors that
    the model has no place for are warned of; a weight or bias that the file lacks is an error, a number of a layer
    (such as `shift_quantile`, which old files lack) keeps its default.
    Raises CheckpointError, OSError.
    """
    stored = read_state(path)
    own = model.state_dict()
    tensors = _without_prefixes(stored, own)
    extra = [name for name in tensors if name not in own and name.rsplit(".", 1)[-1] not in LATER_KEYS]
    missing = [name for name in own if name not in tensors]
    lost = [name for name in missing if name.rsplit(".", 1)[-1] in {"weight", "bias"}]
    wrong = [name for name in own if name in tensors and not _fits(tensors[name], own[name])]
    found = list(_report(stored.path, extra, [name for name in missing if name not in lost]))
    faults = [*_faults(stored.path, lost, wrong, (own, tensors)), *_scales(model, stored.path, tensors)]
    if faults:
        raise CheckpointError([*faults, *found])
    for name, value in own.items():
        if name in tensors:
            value.copy_(tensors[name].reshape(value.shape).to(value.dtype))
    return Loaded(len(own) - len(missing), tuple(found))


def _fits(stored: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor is of the model's shape; a single number may have any number of axes."""
    return stored.shape == own.shape or stored.numel() == own.numel() == 1


def _scales(model: nn.Module, path: str, tensors: Mapping[str, torch.Tensor]) -> list[Diagnostic]:
    """Give layers their `final_scale` and `activation_threshold`, which only `vendor` behaviour applies.

    A quantized checkpoint's shifts hold its thresholds already.
    """
    found = []
    mend = 'see what PyTorch makes of it with `setting(behaviour="vendor")`'
    scaled = dict(_powers(model, "final_scale", tensors))
    if scaled:
        message = f"{len(scaled)} layers have a `final_scale`, by which the chip does not multiply"
        found.append(error("final-scale", message, Span(path), "", (_listed(scaled),), mend))
    shifted = dict(_powers(model, "activation_threshold", tensors))
    if shifted:
        message = f"{len(shifted)} layers have an `activation_threshold`, by which the chip does not shift"
        found.append(error("activation-threshold", message, Span(path), "", (_listed(shifted),), mend))
    return found


def _listed(powers: Mapping[str, float]) -> str:
    return ", ".join(f"`{name}`: {power:g}" for name, power in list(powers.items())[:8])


def _powers(model: nn.Module, key: str, tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, float]]:
    """The layers that compute as the chip and yet are given such a power of two."""
    for name, module in model.named_modules():
        if isinstance(module, Layer) and f"{name}.{key}" in tensors:
            power = float(tensors[f"{name}.{key}"].item())
            is_taken_in = key == "activation_threshold" and module.setting.simulate
            setattr(module, key, 0.0 if is_taken_in else power)
            if getattr(module, key) and module.setting.behaviour == "chip":
                yield name, power


def _without_prefixes(stored: TrainedCheckpoint, own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors by the model's names for them; wrappers may stand in front of the file's names and of the model's."""
    wrapped = {split_prefix(name)[1]: name for name in own}
    tensors: dict[str, torch.Tensor] = {}
    for key, value in stored.tensors.items():
        name = _present_name(split_prefix(key)[1], wrapped)
        tensors.setdefault(wrapped.get(name, name), torch.from_numpy(value.copy()))
    return tensors


def _present_name(name: str, own: Container[str]) -> str:
    """With `op` for what old files call an operation; a layer of the user's may well be called `linear`."""
    layer, _, tensor = name.rpartition(".")
    layer, _, operation = layer.rpartition(".")
    if name not in own and operation in {"conv1d", "conv2d", "linear"}:
        return f"{layer}.op.{tensor}"
    return name


def _report(path: str, extra: list[str], defaulted: list[str]) -> list[Diagnostic]:
    span, found = Span(path), []
    if extra:
        message = f"the model has no place for {len(extra)} tensors of the checkpoint"
        why = (f"for example `{extra[0]}`",)
        mend = "a bias is taken only by a model made with `bias=True`"
        found.append(warning("ignored-tensors", message, span, "", why, mend))
    if defaulted:
        message = (
            f"the checkpoint lacks {len(defaulted)} numbers of the model's layers; they keep their defaults"
        )
        found.append(warning("defaulted-tensors", message, span, "", (f"for example `{defaulted[0]}`",)))
    return found


def _faults(path: str, lost: list[str], wrong: list[str], states: tuple[Any, Any]) -> list[Diagnostic]:
    own, tensors = states
    span, found = Span(path), []
    if lost:
        message = f"the checkpoint lacks {len(lost)} weights or biases of the model, first `{lost[0]}`"
        found.append(error("missing-tensors", message, span, help="take the checkpoint of this model"))
    for name in wrong[:5]:
        sizes = f"{tuple(tensors[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
        found.append(error("missing-tensors", f"`{name}` has other sizes: {sizes}", span))
    return found
