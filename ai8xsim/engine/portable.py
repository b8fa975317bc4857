"""The portable kernels, layer by layer: the road for whatever no generated kernel does, and their counterpart in tests.

Inside, data is channels-last, (N, rows, columns, channels): int8, or int64 behind a hidden 32-bit layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.blocks import operand_blocks
from ai8xsim.engine.executor import Int8, Keep, LayerTraces, Run, traced
from ai8xsim.kernels import conv, eltwise, pool, requantize
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    BufferUpdate,
    Convolution,
    ElementWise,
    Input,
    RollingBuffer,
    Source,
)
from ai8xsim.progress import Progress
from ai8xsim.trace import LayerTrace

Data = npt.NDArray[Any]
Packed = conv.PackedWeight | conv.PackedTransposedWeight

CHUNK = 16  # samples that go through the network together: enough to keep the kernels busy, little memory


class Output(NamedTuple):
    """A layer's output for some samples, contiguous in the channels, and its saturation count."""

    data: Data
    saturated: int | None


class PortableExecutor:
    """Runs a program with the portable kernels; threads share a batch by its samples."""

    def __init__(self, program: Program, threads: int) -> None:
        self._program, self._threads = program, threads
        self._spent = _spent_outputs(program.layers)
        self._packed = {
            layer.index: packed_weight(layer.convolution) for layer in program.layers if layer.convolution
        }

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What runs samples that start with empty data buffers; their number does not matter."""
        return partial(self._run, keep, is_batch)

    def _run(self, keep: Keep, is_batch: bool, x_nchw: Int8, progress: Progress | None) -> LayerTraces:
        x_nhwc = _channels_last(x_nchw)
        chunks = [x_nhwc[at : at + CHUNK] for at in range(0, len(x_nhwc), CHUNK)]
        parts: list[dict[int, Output]] = []
        for part in self._map(
            lambda chunk: self.compute(chunk, self.empty_buffers(len(chunk)), keep), chunks
        ):
            parts.append(part)
            if progress is not None:
                progress(min(len(parts) * CHUNK, len(x_nhwc)), len(x_nhwc))
        return self.collected(parts, is_batch=is_batch)

    def series(self) -> "PortableSeries":
        """A series of runs that begins with empty data buffers."""
        return PortableSeries(self)

    def empty_buffers(self, samples: int) -> list[Data]:
        """Data buffers as they are at first."""
        return [_empty_buffer(buffer, samples) for buffer in self._program.buffers]

    def compute(self, x_nhwc: Data, buffers: list[Data], keep: Keep) -> dict[int, Output]:
        """Every layer's output, or every output layer's without its count; changes `buffers`."""
        computed: dict[int, Output] = {}
        for place, layer in enumerate(self._program.layers):
            inputs = [_fetch(source, x_nhwc, computed, buffers) for source in layer.inputs]
            computed[layer.index] = run_layer(layer, inputs, self._packed.get(layer.index))
            if layer.buffer_update is not None:
                _update_buffer(buffers, layer.buffer_update, computed[layer.index].data)
            if keep == "outputs":
                computed[layer.index] = Output(computed[layer.index].data, None)
                for index in self._spent[place]:
                    del computed[index]
        return computed

    def collected(self, parts: Sequence[Mapping[int, Output]], *, is_batch: bool) -> LayerTraces:
        """The outputs of all samples, layer by layer."""
        return joined(self._program, parts, is_batch=is_batch)

    def _map(self, work: Callable[[Data], Any], chunks: Sequence[Data]) -> Iterator[Any]:
        if self._threads == 1 or len(chunks) == 1:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(self._threads) as pool_of_threads:
            yield from pool_of_threads.map(work, chunks)


class PortableSeries:
    """Runs samples one after another; data buffers live on."""

    def __init__(self, executor: PortableExecutor) -> None:
        self._executor = executor
        self._buffers = executor.empty_buffers(1)

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What runs samples one after another."""
        return partial(self._run, keep, is_batch)

    def _run(self, keep: Keep, is_batch: bool, x_nchw: Int8, progress: Progress | None) -> LayerTraces:
        x_nhwc = _channels_last(x_nchw)
        singles = [x_nhwc[at : at + 1] for at in range(len(x_nhwc))]
        parts = [self._executor.compute(single, self._buffers, keep) for single in singles]
        return self._executor.collected(parts, is_batch=is_batch)


def _channels_last(x_nchw: Int8) -> Data:
    """A copy in any case: outputs may be views of it, and whose samples these are may change them."""
    return np.array(x_nchw.transpose(0, 2, 3, 1), order="C")


def joined(program: Program, parts: Sequence[Mapping[int, Output]], *, is_batch: bool) -> LayerTraces:
    """The outputs of the layers that the parts have, each for some of the samples, for all of them."""
    kept = [layer for layer in program.layers if layer.index in parts[0]]
    return tuple(_joined(layer, [part[layer.index] for part in parts], is_batch) for layer in kept)


def _joined(layer: Layer, parts: Sequence[Output], is_batch: bool) -> LayerTrace:
    whole = parts[0].data if len(parts) == 1 else np.concatenate([part.data for part in parts])
    counts = [part.saturated for part in parts if part.saturated is not None]
    output = whole.astype(np.int32) if whole.dtype == np.int64 else whole
    saturated = sum(counts) if counts else None
    return traced(layer, output.transpose(0, 3, 1, 2), saturated, is_batch=is_batch)


def _spent_outputs(layers: Sequence[Layer]) -> list[list[int]]:
    """For each place in the order of execution, the layers whose output nobody reads any more after it."""
    last_read = {layer.index: place for place, layer in enumerate(layers)}
    for place, layer in enumerate(layers):
        last_read |= {entry.index: place for entry in layer.inputs if entry.source is Source.LAYER}
    for layer in layers:
        if layer.is_output:
            last_read[layer.index] = len(layers)
    return [[index for index, last in last_read.items() if last == place] for place in range(len(layers))]


def run_layer(layer: Layer, inputs: Sequence[Data], packed: Packed | None) -> Output:
    """One layer's work on channels-last inputs, in the order that `Layer` states."""
    return run_operands(layer, operand_blocks(layer, inputs), packed)


def run_operands(layer: Layer, operands: Sequence[Data], packed: Packed | None) -> Output:
    """What becomes of the operands: pool and combine, flatten, convolve."""
    data, saturated = pooled_and_combined(layer, operands)
    return run_pooled(layer, data, packed, saturated)


def pooled_and_combined(layer: Layer, operands: Sequence[Data]) -> tuple[Data, int | None]:
    """The operands pooled and combined, in the layer's order, and how many values saturated on the way out."""
    if layer.elementwise is None:
        return _pooled(layer, operands[0]), None
    if layer.elementwise.pool_first:
        return _combined(layer.elementwise, [_pooled(layer, operand) for operand in operands])
    return _pooled(layer, _combined(layer.elementwise, operands)[0]), None


def run_pooled(layer: Layer, data: Data, packed: Packed | None, saturated: int | None = None) -> Output:
    """What becomes of the pooled data: flatten, convolve."""
    if layer.flatten:
        data = _flattened(data)
    if packed is None:
        return Output(data, saturated)
    return _convolved(layer, data, packed)


def _pooled(layer: Layer, data: Data) -> Data:
    if layer.pooling is None:
        return data
    p = layer.pooling
    return pool.pool(data, p.kind.value, p.geometry, p.rounding)


def packed_weight(convolution: Convolution) -> Packed:
    """The weight as the kernels want it."""
    weight, geometry = convolution.weights.weight, convolution.geometry
    return (
        conv.pack_transposed(weight, geometry) if convolution.is_transposed else conv.pack(weight, geometry)
    )


def _empty_buffer(buffer: RollingBuffer, samples: int) -> Data:
    return np.zeros((samples, buffer.shape.rows, buffer.shape.columns, buffer.shape.channels), dtype=np.int8)


def _fetch(source: Input, x_nhwc: Data, computed: Mapping[int, Output], buffers: Sequence[Data]) -> Data:
    if source.source is Source.SAMPLE:
        return x_nhwc
    if source.source is Source.LAYER:
        return computed[source.index].data
    return buffers[source.index][:, source.first_row :]


def _combined(elementwise: ElementWise, operands: Sequence[Data]) -> tuple[Data, int]:
    return requantize.saturate(eltwise.combine(operands, elementwise.operation))


def _flattened(data: Data) -> Data:
    """C x H x W values as C*H*W channels of one pixel."""
    return np.ascontiguousarray(data.transpose(0, 3, 1, 2)).reshape(len(data), 1, 1, -1)


def _convolved(layer: Layer, data: Data, packed: Packed) -> Output:
    assert layer.convolution is not None
    c, stage = layer.convolution, layer.output_stage
    if isinstance(packed, conv.PackedTransposedWeight):
        acc = conv.convolve_transposed(data, packed, c.weights.bias, c.geometry)
    else:
        acc = conv.convolve(data, packed, c.weights.bias, c.geometry)
    if stage.bits == 8:
        return Output(*requantize.requantize(acc, stage.shift, stage.activation.value))
    return Output(_wide(acc, stage.activation), None)


def _wide(acc: Data, activation: Activation) -> Data:
    """The accumulator as it is; an activation saturates it to 127, as the loader computes a hidden layer.

    UNVERIFIED: behind another 32-bit layer the sum may not fit 32 bits; the register keeps the lower ones.
    """
    if activation is Activation.RELU:
        acc = acc.clip(0, 127)
    elif activation is Activation.ABS:
        acc = np.abs(acc).clip(0, 127)
    return acc.astype(np.int32).astype(np.int64)


def _update_buffer(buffers: list[Data], update: BufferUpdate, output: Data) -> None:
    """Drop rows in front and fill up with zeros, or write the output into the last rows, pixel after pixel.

    UNVERIFIED: one pixel inserted as several rows stands in each of them (only the loader's simulator says so).
    """
    window = buffers[update.index]
    if update.shift:
        moved = np.zeros_like(window)
        moved[:, : -update.shift] = window[:, update.shift :]
        buffers[update.index] = moved
    if update.insert:
        rows = output.reshape(len(output), -1, window.shape[2], window.shape[3])
        buffers[update.index] = window.astype(np.result_type(window, output))
        buffers[update.index][:, -update.insert :] = rows
