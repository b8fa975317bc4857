"""The competitor: a program in NumPy's int64, vectorised as well as NumPy allows.

A ratio is worth as much as its divisor, so this takes the fastest honest form that was found. Patches come from
`sliding_window_view` as one matrix for all pixels and samples, weights are prepared outside the run, the loops in
Python go over layers and taps only. NumPy has no BLAS for integers; of its products of int64 matrices `einsum`
over two contiguous last axes was the fastest: 3.0 to 4.8 GMAC/s on one Zen 5 core from 27 products per sum
upward, where `@`, `dot` and `tensordot` reach 2.4 with this layout and 0.5 to 1.4 with the other ones.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ai8xsim.engine.executor import Keep
from ai8xsim.kernels.geometry import ConvolutionGeometry, Pair
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    Convolution,
    ElementWise,
    Join,
    OutputStage,
    Pooling,
    PoolKind,
    Source,
)
from ai8xsim.trace import LayerTrace, Trace

SLICE = 16  # samples that go through the network together; int64 outgrows the caches (all 64: 20 % slower)

Int64 = npt.NDArray[np.int64]
Operation = Callable[[Int64, Int64], Int64]

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {"add": operator.add, "sub": operator.sub, "or": operator.or_, "xor": operator.xor}
)


@dataclass(frozen=True, eq=False)
class Matrix:
    """A layer's weights, ready to be multiplied: (groups, rows of a group, products), and what the sums start from.

    A row is an output; of a transposed convolution it is an output at one tap.
    """

    rows: Int64
    start: Int64


class NumpyNetwork:
    """Runs a program on samples, as `Simulator` does. Inside, data is (N, rows, columns, channels).

    Raises ValueError for a program with rolling buffers, which no measured network has.
    """

    def __init__(self, program: Program) -> None:
        if program.buffers:
            raise ValueError("the NumPy baseline keeps no rolling buffers")
        self.program = program
        self._matrices = {layer.index: _matrix(layer) for layer in program.layers if layer.convolution}

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
        """The trace of one sample or a batch of `input_shape.array_shape`: int64, saturated values not counted."""
        array = np.asarray(samples, np.int64)
        shape = self.program.input_shape
        x_nhwc = np.ascontiguousarray(array.reshape(-1, *shape.chw).transpose(0, 2, 3, 1))
        parts = [self._compute(x_nhwc[at : at + SLICE], keep) for at in range(0, len(x_nhwc), SLICE)]
        is_batch = array.ndim > len(shape.array_shape)
        kept = [layer for layer in self.program.layers if layer.index in parts[0]]
        layers = tuple(_layer_trace(layer, [part[layer.index] for part in parts], is_batch) for layer in kept)
        return Trace(layers, tuple(layer.index for layer in self.program.layers if layer.is_output))

    def _compute(self, x_nhwc: Int64, keep: Keep) -> dict[int, Int64]:
        """Every layer's output, or every output layer's."""
        alive: dict[int, Int64] = {}
        for place, layer in enumerate(self.program.layers):
            inputs = [x_nhwc if i.source is Source.SAMPLE else alive[i.index] for i in layer.inputs]
            alive[layer.index] = _run_layer(layer, inputs, self._matrices.get(layer.index))
            if keep == "outputs":
                self._forget(alive, place)
        return alive

    def _forget(self, alive: dict[int, Int64], place: int) -> None:
        """Drop what no later layer reads: 64-bit activations fill caches and memory."""
        later = self.program.layers[place + 1 :]
        read = {entry.index for layer in later for entry in layer.inputs if entry.source is Source.LAYER}
        outputs = {layer.index for layer in self.program.layers if layer.is_output}
        for index in alive.keys() - read - outputs:
            del alive[index]


def _run_layer(layer: Layer, inputs: Sequence[Int64], matrix: Matrix | None) -> Int64:
    """One layer's work, in the order that `Layer` states."""
    data, elementwise = _joined(layer.join, inputs), layer.elementwise
    operands = np.split(data, elementwise.operands, axis=3) if elementwise else [data]
    if elementwise and not elementwise.pool_first:
        operands = [_combined(elementwise, operands)]
    operands = [_pooled(_shaped(block, layer), layer.pooling) for block in operands]
    data = _combined(elementwise, operands) if elementwise and elementwise.pool_first else operands[0]
    if layer.flatten:
        data = data.transpose(0, 3, 1, 2).reshape(len(data), 1, 1, -1)
    if layer.convolution is None or matrix is None:
        return data
    convolve = _convolved_transposed if layer.convolution.is_transposed else _convolved
    return _finished(convolve(data, matrix, layer.convolution.geometry), matrix.start, layer.output_stage)


def _joined(join: Join, inputs: Sequence[Int64]) -> Int64:
    if len(inputs) == 1:
        return inputs[0]
    if join is Join.CHANNELS:
        return np.concatenate(inputs, axis=3)
    return np.concatenate([data.reshape(len(data), -1, 1, data.shape[3]) for data in inputs], axis=1)


def _shaped(data: Int64, layer: Layer) -> Int64:
    """Without the cropped rows, in the operand's shape: values keep their order channel, row, column."""
    front, behind = layer.crop
    cropped = data[:, front : data.shape[1] - behind]
    channels, rows, columns = layer.operand_shape.chw
    if cropped.shape[1:] == (rows, columns, channels):
        return cropped
    return cropped.transpose(0, 3, 1, 2).reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1)


def _combined(elementwise: ElementWise, operands: Sequence[Int64]) -> Int64:
    combined: Int64 = reduce(OPERATIONS[elementwise.operation], operands)
    return combined.clip(-128, 127)


def _pooled(x_nhwc: Int64, pooling: Pooling | None) -> Int64:
    """One vectorised step per tap of the window: much faster than a reduction over the window's short axes."""
    if pooling is None:
        return x_nhwc
    kernel_size, stride, dilation = pooling.geometry
    rows, columns = pooling.geometry.output_size((x_nhwc.shape[1], x_nhwc.shape[2]))
    if pooling.kind is PoolKind.NONE:
        kernel_size = (1, 1)
    taps = [
        x_nhwc[:, row * dilation[0] :: stride[0], column * dilation[1] :: stride[1]][:, :rows, :columns]
        for row, column in product(*map(range, kernel_size))
    ]
    if pooling.kind is PoolKind.AVERAGE:
        return _average(reduce(np.add, taps), len(taps), pooling.rounding)
    return reduce(np.maximum, taps)


def _average(total: Int64, count: int, rounding: bool) -> Int64:
    """The mean toward zero, or with `rounding` the nearest integer, half away from zero."""
    magnitude: Int64 = (2 * np.abs(total) + count) // (2 * count) if rounding else np.abs(total) // count
    return np.sign(total) * magnitude


def _matrix(layer: Layer) -> Matrix:
    """The weights in int64, and per output the bias together with the half that rounding adds."""
    assert layer.convolution is not None
    weights, stage = layer.convolution.weights, layer.output_stage
    start = np.zeros(layer.output_shape.channels, np.int64)
    if weights.bias is not None:
        start += 128 * weights.bias.astype(np.int64)
    if stage.bits == 8 and stage.shift <= 6:
        start += 1 << (6 - stage.shift)
    return Matrix(_matrix_rows(layer.convolution), start)


def _matrix_rows(convolution: Convolution) -> Int64:
    """(groups, out / groups, rows * columns * in / groups), or transposed (groups, rows * columns * out, in)."""
    weight, groups = convolution.weights.weight.astype(np.int64), convolution.geometry.groups
    split = weight.reshape(groups, -1, *weight.shape[1:])
    if convolution.is_transposed:
        return np.ascontiguousarray(split.transpose(0, 3, 4, 2, 1)).reshape(groups, -1, split.shape[1])
    return np.ascontiguousarray(split.transpose(0, 1, 3, 4, 2)).reshape(groups, split.shape[1], -1)


def _products(patches: Int64, rows: Int64) -> Int64:
    """Sums of products (pixels, groups, rows of a group) of patches (pixels, groups, products)."""
    sums: Int64
    if len(rows) == 1:
        sums = np.einsum("pk,ok->po", patches[:, 0], rows[0])[:, np.newaxis]
    else:
        sums = np.einsum("pgk,gok->pgo", patches, rows)
    return sums


def _convolved(x_nhwc: Int64, matrix: Matrix, geometry: ConvolutionGeometry) -> Int64:
    """The sums of products, (N, rows, columns, out): every output's patch is a row of one matrix."""
    padded = _padded(x_nhwc, geometry.padding)
    spans = geometry.span(0), geometry.span(1)
    windows = sliding_window_view(padded, spans, axis=(1, 2))
    (row_step, column_step), (tap_row, tap_column) = geometry.stride, geometry.dilation
    taken = windows[:, ::row_step, ::column_step, :, ::tap_row, ::tap_column]
    samples, rows, columns, _, *kernel_size = taken.shape
    grouped = taken.reshape(samples, rows, columns, geometry.groups, -1, *kernel_size)
    patches = grouped.transpose(0, 1, 2, 3, 5, 6, 4).reshape(samples * rows * columns, geometry.groups, -1)
    return _products(patches, matrix.rows).reshape(samples, rows, columns, -1)


def _padded(x_nhwc: Int64, padding: Pair) -> Int64:
    """With zeros around it; `np.pad` does the same in several times the time."""
    if not any(padding):
        return x_nhwc
    samples, rows, columns, channels = x_nhwc.shape
    (above, left) = padding
    padded = np.zeros((samples, rows + 2 * above, columns + 2 * left, channels), np.int64)
    padded[:, above : above + rows, left : left + columns] = x_nhwc
    return padded


def _convolved_transposed(x_nhwc: Int64, matrix: Matrix, geometry: ConvolutionGeometry) -> Int64:
    """The sums of products, (N, rows, columns, out): each pixel times all taps, then the taps are laid out and added.

    No product with a stuffed zero is computed, so this beats an ordinary convolution of stuffed data by the
    square of the stride.
    """
    samples, rows, columns, _ = x_nhwc.shape
    pixels = x_nhwc.reshape(samples * rows * columns, geometry.groups, -1)
    (tap_rows, tap_columns), (row_step, column_step) = geometry.kernel_size, geometry.stride
    sums = _products(pixels, matrix.rows)
    taps = sums.reshape(samples, rows, columns, geometry.groups, tap_rows, tap_columns, -1)
    (height, width), (above, left) = geometry.transposed_output_size((rows, columns)), geometry.padding
    whole = (height + 2 * above, width + 2 * left)
    canvas = np.zeros((samples, *whole, geometry.groups, taps.shape[-1]), np.int64)
    for row, column in product(range(tap_rows), range(tap_columns)):
        target = canvas[:, row::row_step, column::column_step][:, :rows, :columns]
        target += taps[:, :, :, :, row, column]
    return canvas[:, above : above + height, left : left + width].reshape(samples, height, width, -1)


def _finished(sums: Int64, start: Int64, stage: OutputStage) -> Int64:
    """Bias, rounding, saturation and activation, in place: every pass over new memory costs."""
    sums += start
    if stage.bits == 8 and stage.shift <= 6:
        sums >>= 7 - stage.shift
    elif stage.bits == 8:
        sums <<= stage.shift - 7
    elif stage.activation is Activation.NONE:
        return sums
    if stage.activation is Activation.ABS:
        np.abs(sums, out=sums)  # saturating to -128 first would change nothing: both end at 127
    return np.clip(sums, -128 if stage.activation is Activation.NONE else 0, 127, out=sums)


def _layer_trace(layer: Layer, parts: Sequence[Int64], is_batch: bool) -> LayerTrace:
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    output = whole.transpose(0, 3, 1, 2).reshape(-1, *layer.output_shape.array_shape)
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=output if is_batch else output[0],
        saturated=None,
        is_batch=is_batch,
    )
