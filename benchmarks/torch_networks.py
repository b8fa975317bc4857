"""A program's layers as plain PyTorch: float32 modules, and quantized operators of torch.ao.

Neither computes what the chip computes: they have the same shapes, so they tell how fast PyTorch does work of this
size. Built as a user would: modules made once, `eval`, `inference_mode`, inputs already in their type and layout.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    Convolution,
    Join,
    Operator,
    Pooling,
    PoolKind,
    Shape,
    Source,
)

STEP = 1 / 128  # of every activation and weight
MIDDLE = 128  # the zero of signed data in quint8

Stage = Callable[[Tensor], Tensor]
Int8 = npt.NDArray[np.int8]


class UnsupportedError(Exception):
    """PyTorch has no operator for it."""


class Operators(Protocol):
    """How one kind of tensors is computed with."""

    def samples(self, samples: npt.NDArray[Any]) -> Tensor:
        """The samples in this kind's type and layout."""

    def convolution(self, layer: Layer, convolution: Convolution) -> Stage:
        """The layer's weights and activation."""

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """One tensor, along the channels."""

    def added(self, one: Tensor, other: Tensor) -> Tensor:
        """The sum."""


@dataclass(frozen=True)
class FloatOperators:
    """Conv, ReLU and Linear modules in float32."""

    memory_format: torch.memory_format

    def samples(self, samples: npt.NDArray[Any]) -> Tensor:
        """float32 in [-1, 1)."""
        x = torch.from_numpy(samples.astype(np.float32) * np.float32(STEP))
        return self._laid_out(x)

    def convolution(self, layer: Layer, convolution: Convolution) -> Stage:
        """nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d or nn.Linear, then its activation."""
        module = _module(layer.operator, convolution)
        weight, bias = _weight_and_bias(layer.operator, convolution)
        with torch.no_grad():
            module.weight.copy_(weight)
            if module.bias is not None and bias is not None:
                module.bias.copy_(bias)
        parts: list[nn.Module] = [nn.Flatten()] if layer.operator is Operator.LINEAR else []
        parts.append(module)
        if layer.output_stage.activation is Activation.ABS:
            raise UnsupportedError("an absolute value is no plain layer")
        if layer.output_stage.activation is Activation.RELU:
            parts.append(nn.ReLU(inplace=True))
        stage = nn.Sequential(*parts) if len(parts) > 1 else module
        if weight.ndim == 4:
            stage = stage.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        return stage.eval().requires_grad_(False)

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """torch.cat."""
        return torch.cat(list(blocks), dim=1)

    def added(self, one: Tensor, other: Tensor) -> Tensor:
        """torch.add."""
        return torch.add(one, other)

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=self.memory_format) if x.ndim == 4 else x.contiguous()


@dataclass(frozen=True)
class QuantizedOperators:
    """torch.ao's operators: qint8 weights, quint8 activations, one scale for a tensor; convolution and ReLU fused."""

    engine: str

    def samples(self, samples: npt.NDArray[Any]) -> Tensor:
        """quint8, channels last as its convolutions want it."""
        x = torch.from_numpy(samples.astype(np.float32) * np.float32(STEP))
        x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()
        return torch.quantize_per_tensor(x, STEP, MIDDLE, torch.quint8)

    def convolution(self, layer: Layer, convolution: Convolution) -> Stage:
        """The operator with its weights packed by the engine."""
        torch.backends.quantized.engine = self.engine
        activation, operators = layer.output_stage.activation, torch.ops.quantized
        if activation is Activation.ABS:
            raise UnsupportedError("no quantized absolute value")
        is_relu = activation is Activation.RELU
        zero = 0 if is_relu else MIDDLE
        packed = self._packed(layer.operator, convolution)
        name = {Operator.CONVTRANSPOSE2D: "conv_transpose2d"}.get(layer.operator, layer.operator.value)
        if layer.operator is Operator.CONVTRANSPOSE2D:
            plain = operators.conv_transpose2d
            if is_relu:
                return lambda x: torch.relu(plain(x, packed, STEP, zero))
            return lambda x: plain(x, packed, STEP, zero)
        operator = getattr(operators, f"{name}_relu" if is_relu else name)
        if layer.operator is Operator.LINEAR:
            return lambda x: operator(x.flatten(1), packed, STEP, zero)
        return lambda x: operator(x, packed, STEP, zero)

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """quantized::cat."""
        joined: Tensor = torch.ops.quantized.cat(list(blocks), 1, STEP, MIDDLE)
        return joined

    def added(self, one: Tensor, other: Tensor) -> Tensor:
        """quantized::add."""
        total: Tensor = torch.ops.quantized.add(one, other, STEP, MIDDLE)
        return total

    def _packed(self, operator: Operator, convolution: Convolution) -> Any:
        weight, bias = _weight_and_bias(operator, convolution)
        quantized = torch.quantize_per_tensor(weight, STEP, 0, torch.qint8)
        if operator is Operator.LINEAR:
            return torch.ops.quantized.linear_prepack(quantized, bias)
        g, axes = convolution.geometry, 1 if operator is Operator.CONV1D else 2
        steps = [list(pair[:axes]) for pair in (g.stride, g.padding, g.output_padding, g.dilation)]
        if operator is not Operator.CONVTRANSPOSE2D:
            del steps[2]
        prepack = {
            Operator.CONV1D: torch.ops.quantized.conv1d_prepack,
            Operator.CONV2D: torch.ops.quantized.conv2d_prepack,
            Operator.CONVTRANSPOSE2D: torch.ops.quantized.conv_transpose2d_prepack,
        }[operator]
        return prepack(quantized, bias, *steps, g.groups)


@dataclass(frozen=True)
class Step:
    """One layer: which tensors it takes (None: the samples), what is done in turn, what nobody reads afterwards."""

    index: int
    inputs: tuple[int | None, ...]
    first: Callable[[Sequence[Tensor]], Tensor] | None
    stages: tuple[Stage, ...]
    spent: tuple[int, ...]


class TorchNetwork:
    """A program's layers, ready to run. Raises UnsupportedError where PyTorch lacks an operator."""

    def __init__(self, program: Program, operators: Operators) -> None:
        if program.buffers:
            raise UnsupportedError("rolling buffers are no plain layers")
        self.operators = operators
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch announces that its quantized tensors will go
            try:
                self._steps = tuple(_step(program, place, operators) for place in range(len(program.layers)))
            except RuntimeError as fault:
                raise UnsupportedError(str(fault).partition("\n")[0]) from None

    def work(self, samples: npt.NDArray[Any], size: int | None = None) -> Callable[[], list[Tensor]]:
        """A run on these samples, converted beforehand: all at once, or so many at a time. Raises UnsupportedError."""
        step = size or len(samples)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            parts = [self.operators.samples(samples[at : at + step]) for at in range(0, len(samples), step)]

        def run() -> list[Tensor]:
            with torch.inference_mode():
                return [self._compute(part) for part in parts]

        try:
            run()
        except (RuntimeError, NotImplementedError) as fault:
            raise UnsupportedError(str(fault).partition("\n")[0]) from None
        return run

    def _compute(self, x: Tensor) -> Tensor:
        alive: dict[int | None, Tensor] = {None: x}
        data = x
        for step in self._steps:
            data = step.first([alive[i] for i in step.inputs]) if step.first else alive[step.inputs[0]]
            for stage in step.stages:
                data = stage(data)
            alive[step.index] = data
            for index in step.spent:
                del alive[index]
        return data


def _step(program: Program, place: int, operators: Operators) -> Step:
    layer = program.layers[place]
    shapes = {entry.index: entry.output_shape for entry in program.layers}
    inputs = tuple(entry.index if entry.source is Source.LAYER else None for entry in layer.inputs)
    entering = [program.input_shape if index is None else shapes[index] for index in inputs]
    stages: list[Stage] = []
    if not layer.elementwise:
        stages += _reshaping(layer, Shape(sum(s.channels for s in entering), *entering[0][1:]))
    if layer.pooling and not (layer.elementwise and layer.elementwise.pool_first):
        stages.append(_pool(layer.pooling, layer.operand_shape.is_1d))
    if layer.convolution:
        if layer.flatten and layer.operator is not Operator.LINEAR:
            raise UnsupportedError("a flattened convolution is no plain layer")
        stages.append(operators.convolution(layer, layer.convolution))
    first = _joining(layer, operators)
    return Step(layer.index, inputs, first, tuple(stages), _spent(program, place))


def _joining(layer: Layer, operators: Operators) -> Callable[[Sequence[Tensor]], Tensor] | None:
    """What makes one tensor of several; None where there is only one."""
    if layer.crop != (0, 0) or (len(layer.inputs) > 1 and layer.join is not Join.CHANNELS):
        raise UnsupportedError("a crop, or a concatenation of pixels, is no plain layer")
    if not layer.elementwise:
        return operators.joined if len(layer.inputs) > 1 else None
    if layer.elementwise.operation != "add" or layer.elementwise.operands != len(layer.inputs):
        raise UnsupportedError("of element-wise operations, only sums of whole tensors are plain layers")
    if layer.pooling and layer.elementwise.pool_first:
        pool = _pool(layer.pooling, layer.operand_shape.is_1d)
        return lambda blocks: reduce(operators.added, [pool(block) for block in blocks])
    return lambda blocks: reduce(operators.added, blocks)


def _reshaping(layer: Layer, entering: Shape) -> list[Stage]:
    wanted = layer.operand_shape.array_shape
    if entering.array_shape == wanted:
        return []
    return [lambda x: x.reshape(len(x), *wanted)]


def _pool(pooling: Pooling, is_1d: bool) -> Stage:
    """nn.MaxPool or nn.AvgPool; both take float and quantized tensors."""
    kernel_size, stride, dilation = pooling.geometry
    if pooling.kind is PoolKind.AVERAGE:
        if dilation != (1, 1):
            raise UnsupportedError("no dilated average pool")
        return nn.AvgPool1d(kernel_size[0], stride[0]) if is_1d else nn.AvgPool2d(kernel_size, stride)
    if pooling.kind is PoolKind.NONE:
        kernel_size = (1, 1)
    if is_1d:
        return nn.MaxPool1d(kernel_size[0], stride[0], 0, dilation[0])
    return nn.MaxPool2d(kernel_size, stride, 0, dilation)


def _module(
    operator: Operator, convolution: Convolution
) -> nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear:
    g, shape = convolution.geometry, convolution.weights.weight.shape
    has_bias = convolution.weights.bias is not None
    if operator is Operator.LINEAR:
        return nn.Linear(shape[1], shape[0], bias=has_bias)
    if operator is Operator.CONVTRANSPOSE2D:
        return nn.ConvTranspose2d(
            shape[0],
            shape[1] * g.groups,
            g.kernel_size,
            g.stride,
            g.padding,
            g.output_padding,
            g.groups,
            has_bias,
        )
    channels, outputs = shape[1] * g.groups, shape[0]
    if operator is Operator.CONV1D:
        sizes = (g.kernel_size[0], g.stride[0], g.padding[0], g.dilation[0])
        return nn.Conv1d(channels, outputs, *sizes, groups=g.groups, bias=has_bias)
    sizes_2d = (g.kernel_size, g.stride, g.padding, g.dilation)
    return nn.Conv2d(channels, outputs, *sizes_2d, groups=g.groups, bias=has_bias)


def _weight_and_bias(operator: Operator, convolution: Convolution) -> tuple[Tensor, Tensor | None]:
    """Scaled to [-1, 1), in the operator's number of axes."""
    weights = convolution.weights
    weight = weights.weight.astype(np.float32) * np.float32(STEP)
    if operator is Operator.LINEAR:
        weight = weight.reshape(len(weight), -1)
    elif operator is Operator.CONV1D:
        weight = weight[..., 0]
    bias = (
        None if weights.bias is None else torch.from_numpy(weights.bias.astype(np.float32) * np.float32(STEP))
    )
    return torch.from_numpy(np.ascontiguousarray(weight)), bias


def _spent(program: Program, place: int) -> tuple[int, ...]:
    """The layers whose output is read here for the last time, or never."""
    layer, behind = program.layers[place], program.layers[place + 1 :]
    later = {entry.index for other in behind for entry in other.inputs if entry.source is Source.LAYER}
    read = {entry.index for entry in layer.inputs if entry.source is Source.LAYER} | {layer.index}
    kept = {entry.index for entry in program.layers if entry.is_output}
    return tuple(read - later - kept)
