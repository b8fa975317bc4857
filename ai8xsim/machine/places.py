"""Where each layer's data lies: its operands, its output, the sample, the rolling buffers.

Source: `spec/REGISTERS.md` 6.
"""

from dataclasses import dataclass

import numpy as np

from ai8xsim.layout import Addresses, DataLayout
from ai8xsim.machine.dilated import surplus
from ai8xsim.machine.filler import filler
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import RollingBuffer, Source


def input_layout(layer: Layer) -> DataLayout:
    """Where the layer reads its operands: their shape is the one after crop and reshape."""
    place, shape = layer.placement, layer.operand_shape
    return DataLayout(
        processors=place.processors,
        offset=place.in_offset,
        channels=shape.channels,
        pixels=shape.pixels,
        operands=operand_count(layer),
        gap=place.read_gap,
        is_chw=place.data_format == "chw",
    )


def operand_count(layer: Layer) -> int:
    """How many operands the layer reads; 1 where it combines none."""
    return layer.elementwise.operands if layer.elementwise else 1


def output_layout(layer: Layer) -> DataLayout:
    """Where the layer writes its output."""
    place, shape = layer.placement, layer.output_shape
    return DataLayout(
        processors=place.output_processors,
        offset=place.out_offset,
        channels=shape.channels,
        pixels=shape.pixels,
        gap=place.write_gap,
        bits=layer.output_stage.bits,
    )


def sample_layout(program: Program) -> DataLayout:
    """Where the sample is loaded to: in the shape that it has, to where the first layer reads."""
    first, shape = program.layers[0], program.input_shape
    operands = operand_count(first)
    loaded = operands if shape.channels == operands * first.operand_shape.channels else 1
    return DataLayout(
        processors=first.placement.processors,
        offset=first.placement.in_offset,
        channels=shape.channels // loaded,
        pixels=shape.pixels,
        operands=loaded,
        is_chw=first.placement.data_format == "chw",
    )


def buffer_layout(buffer: RollingBuffer) -> DataLayout:
    """Where a rolling buffer lies."""
    return DataLayout(
        processors=buffer.processors,
        offset=buffer.offset,
        channels=buffer.shape.channels,
        pixels=buffer.shape.pixels,
    )


def comes_by_fifo(program: Program) -> bool:
    """Whether the sample arrives through a FIFO instead of lying in memory."""
    options = program.options
    return options.fifo or options.fast_fifo or options.fast_fifo_quad


def lies_in_memory(program: Program) -> bool:
    """Whether the sample is loaded into memory, to processors that fit its channels."""
    return not comes_by_fifo(program) and sample_layout(program).is_complete


def is_streamed(program: Program, layer: Layer) -> bool:
    """Whether the layer's input never lies in memory as a whole: it passes through a ring, row by row."""
    if not layer.placement.streaming:
        return False
    sources = [entry.source for entry in layer.inputs]
    if sources == [Source.SAMPLE]:
        return comes_by_fifo(program)
    producers = {entry.index for entry in layer.inputs}
    return sources == [Source.LAYER] and all(
        other.placement.streaming for other in program.layers if other.index in producers
    )


def streams_on(program: Program, layer: Layer) -> bool:
    """Whether the layer's output goes through the ring of a streaming layer and is never stored as a whole."""
    return streaming_reader(program, layer) is not None


def streaming_reader(program: Program, layer: Layer) -> Layer | None:
    """The layer through whose ring the output goes, None where it lies in memory as a whole.

    UNVERIFIED: which rows a ring still holds behind the end of a frame; we say that it keeps none.
    """
    if not layer.placement.streaming:
        return None
    readers = (reader for reader in program.layers if _reads(reader, layer))
    return next((reader for reader in readers if is_streamed(program, reader)), None)


def _reads(reader: Layer, layer: Layer) -> bool:
    return any(entry.source is Source.LAYER and entry.index == layer.index for entry in reader.inputs)


@dataclass(frozen=True)
class Written:
    """The bytes that a layer (or the loader of the sample) writes.

    data: (rows, columns, channels), for 32 bits (rows, columns, channels, 4).
    filler: (steps, bytes): what else is written in each step of the layer's schedule. We let it become zero.
    first: the step in which the first row is written; one row follows in each step.
    UNVERIFIED: what a widely dilated Conv1d writes beside its output; it is no zero, and nobody means to read it.
    """

    data: Addresses
    filler: Addresses
    first: int = 0


def operand_addresses(layer: Layer, memory_bytes: int) -> Addresses:
    """Where each operand is read: (operands, rows, columns, channels)."""
    layout, shape = input_layout(layer), layer.operand_shape
    return layout.addresses(memory_bytes).reshape(layout.operands, shape.rows, shape.columns, shape.channels)


def sample_addresses(program: Program, memory_bytes: int) -> Addresses:
    """Where the sample is loaded to: (rows, columns, channels)."""
    layout, shape = sample_layout(program), program.input_shape
    blocks = layout.addresses(memory_bytes)
    return np.concatenate(list(blocks), axis=1).reshape(shape.rows, shape.columns, shape.channels)


def written(layer: Layer, memory_bytes: int) -> Written:
    """What the layer writes."""
    layout, shape = output_layout(layer), layer.output_shape
    data = layout.addresses(memory_bytes)[0]
    wide = data.shape[2:]
    return Written(
        data.reshape(shape.rows, shape.columns, shape.channels, *wide),
        filler(layer, layout, memory_bytes),
        surplus(layer).before,
    )
