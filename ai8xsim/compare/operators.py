"""The other road to every answer: the same program through PyTorch's own operators.

Float arithmetic is exact as long as every sum stays an integer that the format holds: up to 2**24 in float32,
up to 2**53 in float64. The bound is computed for each layer, and the format chosen by it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    Convolution,
    ElementWise,
    Input,
    Join,
    OutputStage,
    Pooling,
    PoolKind,
    Source,
)
from ai8xsim.samples import checked_samples
from ai8xsim.trace import LayerTrace, Trace

if TYPE_CHECKING:
    from torch import Tensor

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53


@dataclass(frozen=True)
class Arithmetic:
    """How a computation may differ from the chip's: what becomes of an average, and of a scaled accumulator.

    None: as on the chip. Used to find out what somebody else computed.
    """

    average: "Callable[[Tensor], Tensor] | None" = None
    requantize: "Callable[[Tensor], Tensor] | None" = None


CHIP = Arithmetic()


def torch_trace(program: Program, samples: npt.ArrayLike) -> Trace:
    """The trace of samples as PyTorch computes it with plain operators, built from the program.

    samples: as `Simulator.run` takes them.  Every layer is kept; `saturated` is not counted.
    Raises InputError; OverflowError where a sum could leave what float64 holds exactly.
    """
    import torch

    checked = checked_samples(samples, program.input_shape)
    x = torch.from_numpy(np.ascontiguousarray(checked.nhwc.transpose(0, 3, 1, 2))).double()
    run = Run(program, x)
    with torch.inference_mode():
        layers = tuple(_layer_trace(layer, run.layer(layer), checked.is_batch) for layer in program.layers)
    return Trace(layers, program.outputs)


class Run:
    """The data that is alive while a batch goes through the layers: (N, C, H, W), integers in float64."""

    def __init__(self, program: Program, x: "Tensor") -> None:
        self._x = x
        self._outputs: dict[int, Tensor] = {}
        self._buffers = [x.new_zeros(len(x), *buffer.shape.chw) for buffer in program.buffers]

    def layer(self, layer: Layer) -> "Tensor":
        """A layer's output, which later layers will read."""
        return self.store(layer, computed(layer, self.inputs(layer)))

    def inputs(self, layer: Layer) -> list["Tensor"]:
        """What a layer reads."""
        return [self._fetch(source) for source in layer.inputs]

    def store(self, layer: Layer, data: "Tensor") -> "Tensor":
        """Let this be what the layer wrote."""
        self._update_buffer(layer, data)
        self._outputs[layer.index] = data
        return data

    def _fetch(self, source: Input) -> "Tensor":
        if source.source is Source.SAMPLE:
            return self._x
        if source.source is Source.LAYER:
            return self._outputs[source.index]
        return self._buffers[source.index][:, :, source.first_row :]

    def _update_buffer(self, layer: Layer, data: "Tensor") -> None:
        import torch

        if layer.buffer_update is None:
            return
        update = layer.buffer_update
        window = self._buffers[update.index]
        if update.shift:
            filled = torch.zeros_like(window[:, :, : update.shift])
            window = torch.cat([window[:, :, update.shift :], filled], dim=2)
        if update.insert:
            rows = data.reshape(*data.shape[:2], -1, window.shape[3]).expand(-1, -1, update.insert, -1)
            window = torch.cat([window[:, :, : -update.insert], rows], dim=2)
        self._buffers[update.index] = window


def computed(layer: Layer, inputs: Sequence["Tensor"], arithmetic: Arithmetic = CHIP) -> "Tensor":
    """A layer's output, from (N, C, H, W) inputs of integers in float64."""
    data = _prepared(layer, inputs, arithmetic)
    if layer.convolution is None:
        return data
    return _output(layer.output_stage, _convolved(layer.convolution, data), arithmetic)


def _prepared(layer: Layer, inputs: Sequence["Tensor"], arithmetic: Arithmetic) -> "Tensor":
    """Everything before the convolution."""
    import torch

    if layer.join is Join.CHANNELS:
        data = torch.cat(list(inputs), dim=1)
    else:
        data = torch.cat([block.flatten(2) for block in inputs], dim=2).unsqueeze(3)
    elementwise = layer.elementwise
    blocks = list(data.chunk(elementwise.operands, dim=1)) if elementwise else [data]
    if elementwise and not elementwise.pool_first:
        blocks = [_combined(elementwise, blocks)]
    blocks = [_pooled(layer.pooling, _shaped(layer, block), arithmetic) for block in blocks]
    data = _combined(elementwise, blocks) if elementwise and elementwise.pool_first else blocks[0]
    return data.reshape(len(data), -1, 1, 1) if layer.flatten else data


def _shaped(layer: Layer, block: "Tensor") -> "Tensor":
    front, behind = layer.crop
    return block[:, :, front : block.shape[2] - behind].reshape(-1, *layer.operand_shape.chw)


def _combined(elementwise: ElementWise, blocks: Sequence["Tensor"]) -> "Tensor":
    import torch

    operations: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
        "add": torch.add,
        "sub": torch.sub,
        "or": torch.bitwise_or,
        "xor": torch.bitwise_xor,
    }
    combined = reduce(operations[elementwise.operation], [block.long() for block in blocks])
    return combined.clamp(-128, 127).double()


def _pooled(pooling: Pooling | None, x: "Tensor", arithmetic: Arithmetic) -> "Tensor":
    import torch

    if pooling is None:
        return x
    (rows, columns), (row_step, column_step), dilation = pooling.geometry
    if pooling.kind is PoolKind.MAX and dilation == (1, 1):
        return torch.nn.functional.max_pool2d(x, (rows, columns), (row_step, column_step))
    height, width = pooling.geometry.output_size((x.shape[2], x.shape[3]))
    window = [
        x[:, :, r * dilation[0] :: row_step, c * dilation[1] :: column_step][:, :, :height, :width]
        for r in range(rows)
        for c in range(columns)
    ]
    if pooling.kind is PoolKind.NONE:
        return window[0]
    if pooling.kind is PoolKind.MAX:
        return torch.stack(window).amax(0)
    mean = torch.stack(window).sum(0) / len(window)
    if arithmetic.average is not None:
        return arithmetic.average(mean)
    return mean.sign() * (mean.abs() + 0.5).floor() if pooling.rounding else mean.trunc()


def _convolved(convolution: Convolution, x: "Tensor") -> "Tensor":
    """The accumulator, bias included; float32 where no partial sum can leave its exact range."""
    import torch

    weight = torch.from_numpy(convolution.weights.weight.astype(np.float64))
    bias = convolution.weights.bias
    scaled = None if bias is None else torch.from_numpy(bias.astype(np.float64) * 128)
    bound = _largest_sum(convolution, float(x.abs().max()))
    if bound >= FLOAT64_EXACT:
        raise OverflowError(f"sums may reach {bound:.3g}, more than float64 holds exactly")
    kind = torch.float32 if bound < FLOAT32_EXACT else torch.float64
    g = convolution.geometry
    x, weight, scaled = x.to(kind), weight.to(kind), None if scaled is None else scaled.to(kind)
    functional = torch.nn.functional
    if convolution.is_transposed:
        acc = functional.conv_transpose2d(x, weight, scaled, g.stride, g.padding, g.output_padding, g.groups)
    else:
        acc = functional.conv2d(x, weight, scaled, g.stride, g.padding, g.dilation, g.groups)
    return acc.double()


def _largest_sum(convolution: Convolution, largest_input: float) -> float:
    """A bound of every partial sum of the layer's accumulators."""
    weights = convolution.weights
    magnitudes = np.abs(weights.weight.astype(np.int64))
    axes = (0, 2, 3) if convolution.is_transposed else (1, 2, 3)
    bias = 0 if weights.bias is None else int(np.abs(weights.bias.astype(np.int64)).max()) * 128
    return float(magnitudes.sum(axis=axes).max()) * largest_input + bias


def _output(stage: OutputStage, acc: "Tensor", arithmetic: Arithmetic) -> "Tensor":
    if stage.bits == 8:
        scaled = acc * 2.0**stage.shift / 128
        rounded = (scaled + 0.5).floor() if arithmetic.requantize is None else arithmetic.requantize(scaled)
        acc = rounded.clamp(-128, 127)
    if stage.activation is Activation.RELU:
        acc = acc.clamp(0, 127)
    elif stage.activation is Activation.ABS:
        acc = acc.abs().clamp(0, 127)
    return acc if stage.bits == 8 else (acc + 2**31).remainder(2**32) - 2**31


def _layer_trace(layer: Layer, data: "Tensor", is_batch: bool) -> LayerTrace:
    values: npt.NDArray[np.int64] = data.long().numpy()
    is_wide = layer.output_stage.bits == 32 or values.min() < -128 or values.max() > 127
    shaped = values.reshape(-1, *layer.output_shape.array_shape)
    output = shaped.astype(np.int32) if is_wide else shaped.astype(np.int8)
    output.flags.writeable = False
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=output if is_batch else output[0],
        saturated=None,
        is_batch=is_batch,
    )
