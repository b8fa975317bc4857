"""The bytes of the data memories, and how layers work on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.device import MEMORIES
from ai8xsim.engine.blocks import operand_blocks
from ai8xsim.engine.portable import (
    Output,
    Packed,
    packed_weight,
    pooled_and_combined,
    run_operands,
    run_pooled,
)
from ai8xsim.layout import Addresses
from ai8xsim.machine.access import Access, existing, handed_on
from ai8xsim.machine.places import Written, lies_in_memory, sample_addresses
from ai8xsim.machine.schedule import window
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Source

Data = npt.NDArray[Any]


class DataMemory:
    """The data memories: zero at first, then as the layers leave them, inference after inference.

    UNVERIFIED: that they are zero at first, and that bytes beyond the end of an instance read as zero.
    """

    def __init__(self, program: Program, plan: Sequence[Access]) -> None:
        self._program, self._plan = program, plan
        self._bytes = np.zeros(MEMORIES * program.device.data_memory_bytes, np.int8)
        self._packed = {
            a.layer.index: packed_weight(a.layer.convolution) for a in plan if a.layer.convolution
        }

    def inference(self, sample_nhwc: Data) -> dict[int, Output]:
        """Run all layers on a sample. Returns each layer's output, (1, rows, columns, channels); an output layer's
        as it is when it is unloaded behind the last layer."""
        if lies_in_memory(self._program):
            self._store(
                sample_addresses(self._program, self._program.device.data_memory_bytes), sample_nhwc[0]
            )
        streamed: dict[int, Output] = {}
        for access in self._plan:
            layer = access.layer
            if access.ring is not None:
                self._bytes[access.ring] = 0
            if access.has_hazard:
                output = self._row_by_row(access)
            else:
                operands = self._operands(access, sample_nhwc, streamed)
                output = run_operands(layer, operands, self._packed.get(layer.index))
                self._write(access, output.data)
            streamed[layer.index] = output
        return {index: self._unloaded(index, output) for index, output in streamed.items()}

    def _store(self, places: Addresses, values: Data) -> None:
        exists = places >= 0
        self._bytes[places[exists]] = values[exists]

    def _load(self, places: Addresses) -> Data:
        return np.where(places >= 0, self._bytes[places], np.int8(0))

    def _operands(self, access: Access, sample: Data, streamed: Mapping[int, Output]) -> list[Data]:
        """The layer's operands: from memory, or what a FIFO or a streaming layer hands on."""
        sources = access.layer.inputs
        if access.reads is not None:
            return [self._load(places)[None] for places in access.reads]
        inputs = [sample if s.source is Source.SAMPLE else streamed[s.index].data for s in sources]
        return (
            handed_on(access.layer, inputs[0])
            if access.is_handed_on
            else operand_blocks(access.layer, inputs)
        )

    def _write(self, access: Access, data: Data) -> None:
        for step in range(len(access.writes.filler) if access.writes else 0):
            self._write_step(access, step, data[0])

    def _write_step(self, access: Access, step: int, rows: Sequence[Data]) -> None:
        """What the layer writes in a step: mostly a row of its output."""
        assert access.writes is not None
        self._bytes[existing(access.writes.filler[step])] = 0
        row = step - access.writes.first
        if 0 <= row < len(rows):
            self._write_row(access.writes, row, rows[row])

    def _write_row(self, writes: Written, row: int, values: Data) -> None:
        if writes.data.ndim == 4:
            values = np.ascontiguousarray(values, "<i4")[..., None].view(np.int8)
        self._store(writes.data[row], values)

    def _row_by_row(self, access: Access) -> Output:
        """A layer that writes over what it has yet to read: in each step it reads, then writes a row."""
        layer, packed = access.layer, self._packed.get(access.layer.index)
        row_layer = _without_row_dilation(layer)
        pooled = np.zeros((1, *layer.pooled_shape.chw[1:], layer.pooled_shape.channels), np.int8)
        rows: list[Data] = []
        saturated: int | None = None  # on the way into an element-wise layer's output
        assert access.writes is not None
        for step in range(len(access.writes.filler)):
            for row in np.flatnonzero(access.schedule.pooled == step):
                pooled[0, row], count = self._pooled_row(access, row_layer, int(row))
                saturated = saturated if count is None else (saturated or 0) + count
            if access.writes.first <= step < access.writes.first + layer.output_shape.rows:
                rows.append(_output_row(layer, pooled, len(rows), packed))
            self._write_step(access, step, rows)
        # No row that it needs has changed since it was read.
        return run_pooled(layer, pooled, packed, saturated)

    def _pooled_row(self, access: Access, row_layer: Layer, row: int) -> tuple[Data, int | None]:
        """One row behind the pool, and how many of its values saturated."""
        assert access.reads is not None
        taken = list(window(access.layer, row, axis=0))
        operands = [self._load(places[taken])[None] for places in access.reads]
        pooled, saturated = pooled_and_combined(row_layer, operands)
        return pooled[0, 0], saturated

    def _unloaded(self, index: int, output: Output) -> Output:
        access = next(access for access in self._plan if access.layer.index == index)
        if not access.layer.is_output or not (access.writes or access.passes_on):
            return output
        if access.writes is None:  # nothing of it is left
            return Output(np.zeros_like(output.data), output.saturated)
        values = self._load(access.writes.data)
        if values.ndim == 4:
            values = np.ascontiguousarray(values).view("<i4")[..., 0]
        return Output(values[None], output.saturated)


def _without_row_dilation(layer: Layer) -> Layer:
    """The layer as it pools the rows of one window, which lie side by side once they are read."""
    if layer.pooling is None:
        return layer
    geometry = layer.pooling.geometry
    side_by_side = geometry._replace(dilation=(1, geometry.dilation[1]))
    return replace(layer, pooling=replace(layer.pooling, geometry=side_by_side))


def _output_row(layer: Layer, pooled: Data, row: int, packed: Packed | None) -> Data:
    """One row of the output, (columns, channels), from the rows that it needs."""
    if packed is None and not layer.flatten:
        values: Data = pooled[0, row]
    else:
        values = run_pooled(layer, pooled, packed).data[0, row]
    return values
