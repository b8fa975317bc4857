"""The functional level: tensors in, tensors out, every bit as the chip computes it.

Inside, data is channels-last, (N, rows, columns, channels): int8, or int64 behind a hidden 32-bit layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ai8xsim.kernels import conv, eltwise, pool, requantize
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    BufferUpdate,
    Convolution,
    ElementWise,
    Input,
    Join,
    RollingBuffer,
    Source,
)
from ai8xsim.samples import Samples, checked_samples
from ai8xsim.trace import LayerTrace, Trace

Data = npt.NDArray[Any]
Packed = conv.PackedWeight | conv.PackedTransposedWeight
Keep = Literal["all", "outputs"]
KEEP = ("all", "outputs")
Progress = Callable[[int, int], None]

CHUNK = 16  # samples that go through the network together: enough to keep the kernels busy, little memory


@dataclass(frozen=True)
class Computed:
    """A layer's output for some samples, (N, C, H, W) and contiguous in the channels, and its saturation count."""

    output: Data
    saturated: int | None


class Simulator:
    """Runs a program on samples. It keeps nothing from run to run.

    threads: how many samples of a batch are worked on at a time; None for one.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> Simulator(program).run(np.zeros((1, 8, 8), np.int8)).output.shape
    (10, 1, 1)
    """

    def __init__(self, program: Program, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; it must be 1 or more")
        self.program = program
        self._threads = threads or 1
        self._spent = _spent_outputs(program.layers)
        self._packed = {
            layer.index: _packed(layer.convolution) for layer in program.layers if layer.convolution
        }

    def run(self, samples: npt.ArrayLike, keep: Keep = "all", progress: Progress | None = None) -> Trace:
        """The trace of one sample or a batch; every sample starts with empty data buffers.

        samples: integers in [-128, 127], (C, H, W) or (N, C, H, W), for 1D data (C, L) or (N, C, L).
        keep: "all" layers, or output layers only.  progress: called with samples done and samples in all.
        Raises InputError.
        """
        if keep not in KEEP:
            raise ValueError(f"keep is {keep!r}; it must be one of {KEEP}")
        checked = checked_samples(samples, self.program.input_shape)
        chunks = [checked.nhwc[at : at + CHUNK] for at in range(0, len(checked.nhwc), CHUNK)]
        parts = []
        done = 0
        for part in self._map(
            lambda chunk: self._compute(chunk, self._empty_buffers(len(chunk)), keep), chunks
        ):
            parts.append(part)
            done += min(CHUNK, len(checked.nhwc) - done)
            if progress is not None:
                progress(done, len(checked.nhwc))
        return self._trace(parts, checked)

    def session(self) -> "Session":
        """A series of runs between which the data buffers are kept, as on the chip."""
        return Session(self)

    def _map(self, work: Callable[[Data], Any], chunks: Sequence[Data]) -> Iterator[Any]:
        if self._threads == 1 or len(chunks) == 1:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(self._threads) as pool_of_threads:
            yield from pool_of_threads.map(work, chunks)

    def _empty_buffers(self, samples: int) -> list[Data]:
        return [_empty_buffer(buffer, samples) for buffer in self.program.buffers]

    def _compute(self, x_nhwc: Data, buffers: list[Data], keep: Keep) -> dict[int, Computed]:
        """Every layer's output, or every output layer's; changes `buffers`."""
        computed: dict[int, Computed] = {}
        for place, layer in enumerate(self.program.layers):
            inputs = [_fetch(source, x_nhwc, computed, buffers) for source in layer.inputs]
            computed[layer.index] = run_layer(layer, inputs, self._packed.get(layer.index))
            if layer.buffer_update is not None:
                _update_buffer(buffers, layer.buffer_update, computed[layer.index].output)
            if keep == "outputs":
                for index in self._spent[place]:
                    del computed[index]
        return computed

    def _trace(self, parts: list[dict[int, Computed]], samples: Samples) -> Trace:
        kept = [layer for layer in self.program.layers if layer.index in parts[0]]
        layers = tuple(_layer_trace(layer, parts, samples.is_batch) for layer in kept)
        return Trace(layers, tuple(layer.index for layer in self.program.layers if layer.is_output))


class Session:
    """Runs samples one after another; data buffers live on from sample to sample and from run to run."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._buffers = simulator._empty_buffers(1)

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
        """The trace of one sample or of several in turn; as `Simulator.run` otherwise."""
        checked = checked_samples(samples, self._simulator.program.input_shape)
        singles = [checked.nhwc[at : at + 1] for at in range(len(checked.nhwc))]
        parts = [self._simulator._compute(single, self._buffers, keep) for single in singles]
        return self._simulator._trace(parts, checked)


def _spent_outputs(layers: Sequence[Layer]) -> list[list[int]]:
    """For each place in the order of execution, the layers whose output nobody reads any more after it."""
    last_read = {layer.index: place for place, layer in enumerate(layers)}
    for place, layer in enumerate(layers):
        last_read |= {entry.index: place for entry in layer.inputs if entry.source is Source.LAYER}
    for layer in layers:
        if layer.is_output:
            last_read[layer.index] = len(layers)
    return [[index for index, last in last_read.items() if last == place] for place in range(len(layers))]


def run_layer(layer: Layer, inputs: Sequence[Data], packed: Packed | None) -> Computed:
    """One layer's work on channels-last inputs, in the order that `Layer` states."""
    operands = [_shaped(block, layer) for block in _operands(_joined(layer.join, inputs), layer)]
    saturated: int | None = None
    if layer.pooling is not None:
        p = layer.pooling
        operands = [pool.pool(block, p.kind.value, p.geometry, p.rounding) for block in operands]
    data = operands[0]
    if layer.elementwise is not None and layer.elementwise.pool_first:
        data, saturated = _combined(layer.elementwise, operands)
    if layer.flatten:
        data = _flattened(data)
    if packed is None:
        return Computed(data, saturated)
    return _convolved(layer, data, packed)


def _packed(convolution: Convolution) -> Packed:
    weight, geometry = convolution.weights.weight, convolution.geometry
    return (
        conv.pack_transposed(weight, geometry) if convolution.is_transposed else conv.pack(weight, geometry)
    )


def _empty_buffer(buffer: RollingBuffer, samples: int) -> Data:
    return np.zeros((samples, buffer.shape.rows, buffer.shape.columns, buffer.shape.channels), dtype=np.int8)


def _fetch(source: Input, x_nhwc: Data, computed: Mapping[int, Computed], buffers: Sequence[Data]) -> Data:
    if source.source is Source.SAMPLE:
        return x_nhwc
    if source.source is Source.LAYER:
        return computed[source.index].output
    return buffers[source.index][:, source.first_row :]


def _joined(join: Join, inputs: Sequence[Data]) -> Data:
    if len(inputs) == 1:
        return inputs[0]
    if join is Join.CHANNELS:
        return np.concatenate(inputs, axis=3)
    pixels = [data.reshape(len(data), -1, 1, data.shape[3]) for data in inputs]
    return np.concatenate(pixels, axis=1)


def _operands(data: Data, layer: Layer) -> list[Data]:
    """The operands; a single one where they are combined before anything else."""
    if layer.elementwise is None:
        return [data]
    blocks = np.split(data, layer.elementwise.operands, axis=3)
    if layer.elementwise.pool_first:
        return list(blocks)
    return [_combined(layer.elementwise, blocks)[0]]


def _combined(elementwise: ElementWise, operands: Sequence[Data]) -> tuple[Data, int]:
    return requantize.saturate(eltwise.combine(operands, elementwise.operation))


def _shaped(data: Data, layer: Layer) -> Data:
    """Without the cropped rows, in the operand's shape: values keep their order channel, row, column."""
    front, behind = layer.crop
    data = data[:, front : data.shape[1] - behind]
    shape = layer.operand_shape
    if data.shape[1:] == (shape.rows, shape.columns, shape.channels):
        return np.ascontiguousarray(data)
    x_nchw = data.transpose(0, 3, 1, 2).reshape(-1, *shape.chw)
    return np.ascontiguousarray(x_nchw.transpose(0, 2, 3, 1))


def _flattened(data: Data) -> Data:
    """C x H x W values as C*H*W channels of one pixel."""
    return np.ascontiguousarray(data.transpose(0, 3, 1, 2)).reshape(len(data), 1, 1, -1)


def _convolved(layer: Layer, data: Data, packed: Packed) -> Computed:
    assert layer.convolution is not None
    c, stage = layer.convolution, layer.output_stage
    if isinstance(packed, conv.PackedTransposedWeight):
        acc = conv.convolve_transposed(data, packed, c.weights.bias, c.geometry)
    else:
        acc = conv.convolve(data, packed, c.weights.bias, c.geometry)
    if stage.bits == 8:
        return Computed(*requantize.requantize(acc, stage.shift, stage.activation.value))
    return Computed(_wide(acc, stage.activation), None)


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


def _layer_trace(layer: Layer, parts: list[dict[int, Computed]], is_batch: bool) -> LayerTrace:
    computed = [part[layer.index] for part in parts]
    whole = computed[0].output if len(computed) == 1 else np.concatenate([c.output for c in computed])
    x_nchw = whole.transpose(0, 3, 1, 2).reshape(-1, *layer.output_shape.array_shape)
    output = x_nchw if is_batch else x_nchw[0]
    if output.dtype == np.int64:
        output = output.astype(np.int32)
    output.flags.writeable = False
    counts = [c.saturated for c in computed if c.saturated is not None]
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=output,
        saturated=sum(counts) if counts else None,
        is_batch=is_batch,
    )
