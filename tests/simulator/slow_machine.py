"""A whole program, executed one sample, one layer and one integer at a time.

Written from `spec/ARITHMETIC.md` ("Exact order and small print") over `kernels.reference`, and knows nothing of
`ai8xsim.simulator`: data is (channels, rows, columns) here, in Python's integers, and every rule of a layer
stands in `SlowMachine._layer`, in the order in which the text has them.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.kernels import reference
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import (
    Activation,
    BufferUpdate,
    Convolution,
    ElementWise,
    Input,
    Join,
    OutputStage,
    Pooling,
    Source,
)
from ai8xsim.trace import LayerTrace, Trace

Chw = npt.NDArray[Any]  # (channels, rows, columns) of Python integers


@dataclass(frozen=True)
class SlowLayer:
    """What a layer computed for one sample, how many values its output stage saturated, its digest."""

    output: Chw
    saturated: int | None

    @property
    def digest(self) -> str:
        """SHA-256 of little-endian 32-bit integers, channel by channel, row by row."""
        values = self.output.ravel().tolist()
        return hashlib.sha256(struct.pack(f"<{len(values)}i", *values)).hexdigest()


class SlowMachine:
    """Executes a program; rolling buffers are zero at first and live on from sample to sample."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._windows = [_integers(np.zeros(buffer.shape.chw, int)) for buffer in program.buffers]
        self._done: dict[int, SlowLayer] = {}
        self._sample = _integers(np.zeros(program.input_shape.chw, int))

    def run(self, sample: npt.ArrayLike) -> dict[int, SlowLayer]:
        """Every executed layer's output for one sample, in the order of execution."""
        self._sample = _integers(np.asarray(sample).reshape(self.program.input_shape.chw))
        self._done = {}
        for layer in self.program.layers:
            self._done[layer.index] = computed = self._layer(layer)
            if layer.buffer_update is not None:
                self._update_window(layer.buffer_update, computed.output)
        return self._done

    def _layer(self, layer: Layer) -> SlowLayer:
        saturated: int | None = None
        data = _joined(layer.join, [self._fetched(source) for source in layer.inputs])
        operands = [data]
        if layer.elementwise is not None:
            operands = _consecutive_blocks(data, layer.elementwise.operands)
        if layer.elementwise is not None and not layer.elementwise.pool_first:
            operands = [_combined(layer.elementwise, operands)[0]]
        operands = [_cropped(operand, layer.crop) for operand in operands]
        operands = [operand.reshape(layer.operand_shape.chw) for operand in operands]
        operands = [_pooled(operand, layer.pooling) for operand in operands]
        if layer.elementwise is not None and layer.elementwise.pool_first:
            data, saturated = _combined(layer.elementwise, operands)
        else:
            (data,) = operands
        if layer.flatten:
            data = data.reshape(-1, 1, 1)
        if layer.convolution is None:
            return SlowLayer(data, saturated)
        return _output_stage(layer.output_stage, _accumulators(layer.convolution, data))

    def _fetched(self, source: Input) -> Chw:
        if source.source is Source.SAMPLE:
            return self._sample
        if source.source is Source.LAYER:
            return self._done[source.index].output
        return self._windows[source.index][:, source.first_row :]

    def _update_window(self, update: BufferUpdate, output: Chw) -> None:
        """A window is a list of rows, each a list of pixels, each a list of channels: so the text says it."""
        rows = self._windows[update.index].transpose(1, 2, 0).tolist()
        columns, channels = len(rows[0]), len(rows[0][0])
        if update.shift:
            empty = [[[0] * channels for _ in range(columns)] for _ in range(update.shift)]
            rows = rows[update.shift :] + empty
        if update.insert:
            pixels = output.transpose(1, 2, 0).reshape(-1, channels).tolist()
            inserted = [pixels[at : at + columns] for at in range(0, len(pixels), columns)]
            if len(inserted) == 1:  # one row stands for each of them
                inserted = inserted * update.insert
            assert len(inserted) == update.insert
            rows = rows[: len(rows) - update.insert] + inserted
        self._windows[update.index] = _integers(np.array(rows, dtype=object)).transpose(2, 0, 1)


def slow_trace(program: Program, samples: Sequence[Any], keeps_buffers: bool = False) -> Trace:
    """The trace of several samples; `keeps_buffers` tells a session from runs that start with empty buffers."""
    machine = SlowMachine(program)
    results = []
    for sample in samples:
        machine = machine if keeps_buffers else SlowMachine(program)
        results.append(machine.run(sample))
    layers = tuple(_layer_trace(layer, [done[layer.index] for done in results]) for layer in program.layers)
    return Trace(layers, tuple(layer.index for layer in program.layers if layer.is_output))


def _layer_trace(layer: Layer, computed: list[SlowLayer]) -> LayerTrace:
    counts = [c.saturated for c in computed if c.saturated is not None]
    output = np.stack([c.output for c in computed]).astype(np.int64)
    trace = LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=computed[0].output.shape,
        output=output.reshape(-1, *layer.output_shape.array_shape),
        saturated=sum(counts) if counts else None,
        is_batch=True,
    )
    trace.__dict__["digests"] = tuple(c.digest for c in computed)  # its own, not those that LayerTrace makes
    return trace


def _integers(values: npt.ArrayLike) -> Chw:
    """The same values as Python's own integers, which have no width."""
    return np.asarray(np.asarray(values), dtype=object)


def _joined(join: Join, inputs: list[Chw]) -> Chw:
    if join is Join.CHANNELS:
        return np.concatenate(inputs, axis=0)
    channels = [[value for data in inputs for value in data[c].ravel()] for c in range(len(inputs[0]))]
    return _integers(channels)[:, :, np.newaxis]


def _consecutive_blocks(data: Chw, operands: int) -> list[Chw]:
    channels = len(data) // operands
    return [data[i * channels : (i + 1) * channels] for i in range(operands)]


def _cropped(data: Chw, crop: tuple[int, int]) -> Chw:
    return data[:, crop[0] : data.shape[1] - crop[1]]


def _pooled(data: Chw, pooling: Pooling | None) -> Chw:
    if pooling is None:
        return data
    return _integers(reference.pool(data, pooling.kind.value, pooling.geometry, pooling.rounding))


def _combined(elementwise: ElementWise, operands: list[Chw]) -> tuple[Chw, int]:
    """The operands combined at full width, and saturated once; how many values that changed."""
    wide = _integers(reference.combine(operands, elementwise.operation))
    saturated = _each(reference.saturate, wide)
    return saturated, int((saturated != wide).sum())


def _accumulators(convolution: Convolution, data: Chw) -> Chw:
    weights, geometry = convolution.weights, convolution.geometry
    convolve = reference.convolve_transposed if convolution.is_transposed else reference.convolve
    return _integers(convolve(data, weights.weight, weights.bias, geometry))


def _output_stage(stage: OutputStage, acc: Chw) -> SlowLayer:
    if stage.bits == 32:
        if stage.activation is not Activation.NONE:
            acc = _each(lambda v: min(reference.activate(v, stage.activation.value), 127), acc)
        return SlowLayer(_each(_lower_32_bits, acc), None)
    rounded = _each(lambda v: reference.requantize(v, stage.shift), acc)
    unbounded = _each(lambda v: _scaled_half_up(v, stage.shift), acc)
    activated = _each(lambda v: reference.activate(v, stage.activation.value), rounded)
    return SlowLayer(activated, int((rounded != unbounded).sum()))


def _scaled_half_up(acc: int, shift: int) -> int:
    """floor(acc * 2**shift / 128 + 1/2), not saturated, as a fraction of integers."""
    numerator, denominator = acc * 2 ** max(shift, 0), 128 * 2 ** max(-shift, 0)
    return (2 * numerator + denominator) // (2 * denominator)


def _lower_32_bits(value: int) -> int:
    """The register is 32 bits wide (it only matters behind another 32-bit layer)."""
    return (value + 2**31) % 2**32 - 2**31


def _each(change: Any, data: Chw) -> Chw:
    changed = np.empty(data.shape, dtype=object)
    for place in np.ndindex(*data.shape):
        changed[place] = change(int(data[place]))
    return changed
