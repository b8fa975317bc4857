"""What a user's PyTorch model computes, module by module, and which layer of the program each module is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.checkpoint.names import split_prefix
from ai8xsim.compare.measures import Observed
from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError
from ai8xsim.nn import Eltwise, Layer, fuse_bn_layers, load_checkpoint, load_model
from ai8xsim.nn.guard import file_of, guarded
from ai8xsim.nn.loading import Loaded
from ai8xsim.program import Layer as ProgramLayer
from ai8xsim.program import Program
from ai8xsim.samples import checked_samples

ACTIVATION_VALUES = 1 << 23  # of one layer, that a model computes at once


class Role(Enum):
    """What a module is: an operation with weights, an element-wise operation, or a pool alone."""

    WEIGHTS = auto()
    ELEMENTWISE = auto()
    POOL = auto()


@dataclass(frozen=True)
class Call:
    """One call of a module: its name in the model, what it is, and its output (N, C, H, W)."""

    name: str
    role: Role
    values: Any


@dataclass(frozen=True)
class Matched:
    """The model's outputs by layer number, and the calls that are no layer's output."""

    layers: dict[int, Observed]
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Factory:
    """A model file's factory, `FILE:FACTORY`; `path`: its repository; `given`: arguments beside the usual ones.

    `num_classes`, `num_channels`, `dimensions` and `bias` follow from program and checkpoint where not given.
    """

    name: str
    path: str | None = None
    given: tuple[tuple[str, Any], ...] = ()

    def model(self, program: Program, has_bias: bool) -> nn.Module:
        """The model for a program's sample and outputs, as its factory makes it."""
        shape = program.input_shape
        arguments = {
            "num_classes": program.layers[-1].output_shape.channels,
            "num_channels": shape.channels,
            "dimensions": (shape.rows, shape.columns),
            "bias": has_bias,
            **dict(self.given),
        }
        return load_model(self.name, path=self.path, **arguments)


def trained_model(factory: Factory, program: Program, checkpoint: Checkpoint) -> tuple[nn.Module, Loaded]:
    """A factory's model with its checkpoint in it, by the setting that holds (see `ai8xsim.nn.setting`).

    Raises InputError, CheckpointError, OSError, ValueError.
    """
    model = with_fitting_biases(factory, program, checkpoint)
    fuse_bn_layers(model)
    return model.eval(), load_checkpoint(model, checkpoint.path)


def with_fitting_biases(factory: Factory, program: Program, checkpoint: Checkpoint) -> nn.Module:
    """A factory's model, made with or without `bias=True`: whichever has the biases that a quantized checkpoint holds.

    No file says how the model was made. Raises InputError, OSError, ValueError.
    """
    stored = {layer.name for layer in checkpoint.layers if layer.bias is not None}
    models, refusals = [], []
    for has_bias in (False, True):
        try:
            models.append(factory.model(program, has_bias))
        except InputError as fault:  # a layer with a batch normalization cannot be without bias
            refusals.append(fault)
    if not models:
        raise refusals[-1]
    return min(models, key=lambda made: len(stored ^ _biased(made)))


def _biased(model: nn.Module) -> set[str]:
    """The layers that have a bias."""
    names = (split_prefix(name)[1] for name in model.state_dict())
    return {name.removesuffix(".op.bias") for name in names if name.endswith(".op.bias")}


def answers(model: nn.Module, program: Program, samples: Any) -> npt.NDArray[np.float64]:
    """What a model returns for samples, (N, ...), a few at a time: as floats, layers of many samples are large.

    Raises InputError where it returns something else than one tensor.
    """
    nchw = checked_samples(samples, program.input_shape).nchw
    largest = max(layer.output_shape.channels * layer.output_shape.pixels for layer in program.layers)
    together = max(1, ACTIVATION_VALUES // largest)
    parts = [_answers(model, program, nchw[n : n + together]) for n in range(0, len(nchw), together)]
    return np.concatenate(parts)


def _answers(model: nn.Module, program: Program, nchw: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    x = torch.from_numpy(np.ascontiguousarray(nchw)).float()
    with torch.no_grad(), guarded("the model", file_of(model)):
        output = model(x.reshape(-1, *program.input_shape.array_shape))
    if not isinstance(output, torch.Tensor) or len(output) != len(nchw):
        message = (
            f"the model returns a {type(output).__name__}, not one tensor with an output for each sample"
        )
        mend = "give a factory whose model returns what the last layer computes"
        raise InputError([error("model-output", message, help=mend)])
    values: npt.NDArray[np.float64] = output.detach().double().numpy()
    return values


def observe(model: nn.Module, program: Program, samples: Any, scale: float = 1.0) -> tuple[Call, ...]:
    """Every call of a module of interest, in the order of execution; the samples times `scale` go in."""
    checked = checked_samples(samples, program.input_shape)
    x = torch.from_numpy(np.ascontiguousarray(checked.nhwc.transpose(0, 3, 1, 2))).float()
    x = x.reshape(-1, *program.input_shape.array_shape) * scale
    calls: list[Call] = []
    inner = {id(module.pool) for module in model.modules() if isinstance(module, Layer)}
    hooks = [
        module.register_forward_hook(_recorder(split_prefix(name)[1], role, calls))
        for name, module in model.named_modules()
        if (role := _role_of(module)) is not None and id(module) not in inner
    ]
    try:
        with torch.no_grad(), guarded("the model", file_of(model)):
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(calls)


def _role_of(module: nn.Module) -> Role | None:
    """What a module computes, None if nothing that a layer could be."""
    if isinstance(module, Layer):
        return Role.POOL if module.op is None else Role.WEIGHTS
    if isinstance(module, Eltwise):
        return Role.ELEMENTWISE
    return (
        Role.POOL if isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.MaxPool1d | nn.AvgPool1d) else None
    )


def _recorder(name: str, role: Role, calls: list[Call]) -> Any:
    def record(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        calls.append(Call(name, role, _as_nchw(output)))

    return record


def _as_nchw(output: torch.Tensor) -> Any:
    values = output.detach().double().numpy()
    return values.reshape(*values.shape, *(1,) * (4 - values.ndim))


def match(program: Program, calls: Sequence[Call]) -> Matched:
    """Layers with weights by the checkpoint's name, the others by order and shape."""
    left = list(range(len(calls)))
    found: dict[int, Observed] = {}
    last = -1
    for layer in program.layers:
        place = _place(layer, calls, left, last)
        if place is not None:
            left.remove(place)
            last = place
            found[layer.index] = Observed(calls[place].name, calls[place].values)
    return Matched(found, tuple(calls[place].name for place in left))


def _place(layer: ProgramLayer, calls: Sequence[Call], left: Sequence[int], last: int) -> int | None:
    """The call that is the layer's output; a layer that only copies is none."""
    if layer.convolution and not layer.convolution.is_bypass:
        source = layer.convolution.weights.source
        return next((p for p in left if calls[p].role is Role.WEIGHTS and calls[p].name == source), None)
    role = _last_role(layer)
    fitting = (
        p for p in left if calls[p].role is role and calls[p].values.shape[1:] == layer.output_shape.chw
    )
    return next((p for p in fitting if p > last), None)


def _last_role(layer: ProgramLayer) -> Role | None:
    """Which module computes what a layer without weights ends with; None where it only copies."""
    if layer.elementwise is not None and (layer.pooling is None or layer.elementwise.pool_first):
        return Role.ELEMENTWISE
    return None if layer.pooling is None else Role.POOL
