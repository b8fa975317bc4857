"""The bytes that each layer touches, and when."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.device import MEMORIES
from ai8xsim.layout import Addresses
from ai8xsim.machine.places import (
    Written,
    comes_by_fifo,
    is_streamed,
    lies_in_memory,
    operand_addresses,
    operand_count,
    streams_on,
    written,
)
from ai8xsim.machine.rings import ring_addresses
from ai8xsim.machine.schedule import Schedule, schedule
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Shape, Source

NEVER = np.iinfo(np.int64).max
Steps = npt.NDArray[np.int64]
Data = npt.NDArray[Any]


@dataclass(frozen=True)
class Access:
    """What a layer reads, (operands, rows, columns, channels), and writes; None where the data streams.

    passes_on: its output goes through a ring and is nowhere in memory.
    ring: the bytes through which its input streams. UNVERIFIED: they all are written, and what they then hold.
    is_handed_on: its input is no place in memory, but the pixels as a FIFO, a ring or the host hands them on.
    """

    layer: Layer
    schedule: Schedule
    reads: Addresses | None
    writes: Written | None
    has_hazard: bool  # whether it writes over something before it has read it
    passes_on: bool = False
    is_handed_on: bool = False
    ring: Addresses | None = None


def accesses(program: Program, unknown: frozenset[int] = frozenset()) -> tuple[Access, ...]:
    """What each layer touches, in the order of execution.

    unknown: layers of which that cannot be said. What they hand on is not looked for in memory.
    """
    return tuple(access_of(program, layer, unknown) for layer in program.layers)


def access_of(program: Program, layer: Layer, unknown: frozenset[int]) -> Access:
    """What one layer touches."""
    producers = {entry.index for entry in layer.inputs if entry.source is Source.LAYER}
    if layer.index in unknown:
        return Access(layer, schedule(layer), None, None, has_hazard=False)
    memory_bytes = program.device.data_memory_bytes
    reads_sample = any(entry.source is Source.SAMPLE for entry in layer.inputs)
    is_first = layer.index == program.order[0]  # a FIFO hands each pixel on once, to the first layer
    by_fifo = reads_sample and not lies_in_memory(program) and (is_first or not comes_by_fifo(program))
    is_unknown = bool(producers & unknown)
    by_hand = is_streamed(program, layer) or by_fifo or is_unknown
    is_handed_on = by_hand and not is_unknown and len(layer.inputs) == 1
    reads = None if by_hand else operand_addresses(layer, memory_bytes)
    passes_on = streams_on(program, layer)
    writes = None if passes_on else written(layer, memory_bytes)
    steps = schedule(layer)
    hazard = reads is not None and writes is not None and _overlaps(program, reads, writes, steps)
    ring = ring_addresses(program, layer) if is_streamed(program, layer) else None
    return Access(layer, steps, reads, writes, hazard, passes_on, is_handed_on, ring)


def handed_on(layer: Layer, stream: Data) -> list[Data]:
    """The operands that a layer takes of the pixels handed to it, of which nothing is cropped or rearranged.

    By a FIFO, by a ring, or by the host, who loads a sample of other channels than the layer's.
    It takes the first pixels that come, as many as it works on, and of each the first channels; what does not come
    is zero. stream: (samples, rows, columns, channels).
    UNVERIFIED: channels that are more or fewer than the layer's, and pixels that never come: the chip may wait.
    """
    shape, count = layer.operand_shape, operand_count(layer)
    coming = stream.reshape(len(stream), -1, stream.shape[3])[:, : shape.pixels, : count * shape.channels]
    taken = np.zeros((len(stream), shape.pixels, count * shape.channels), stream.dtype)
    taken[:, : coming.shape[1], : coming.shape[2]] = coming
    whole = taken.reshape(len(stream), shape.rows, shape.columns, -1)
    return [np.ascontiguousarray(block) for block in np.split(whole, count, axis=3)]


def takes_otherwise(layer: Layer, shape: Shape) -> bool:
    """Whether a layer that pixels of this shape are handed to takes others than come, or as others."""
    operand = layer.operand_shape
    taken = (operand_count(layer) * operand.channels, operand.rows, operand.columns)
    return layer.crop != (0, 0) or taken != shape.chw


def _overlaps(program: Program, reads: Addresses, writes: Written, steps: Schedule) -> bool:
    own = first_writes(MEMORIES * program.device.data_memory_bytes, writes)
    exists = reads >= 0
    return bool((own[reads[exists]] < last_reads(reads, steps)[exists]).any())


def existing(addresses: Addresses) -> Addresses:
    """The addresses of bytes that exist."""
    return addresses[addresses >= 0]


def first_writes(size: int, writes: Written) -> Steps:
    """For each byte of the memories, the step in which the layer first writes it."""
    own = np.full(size, NEVER)
    for step in reversed(range(len(writes.filler))):
        row = step - writes.first
        if 0 <= row < len(writes.data):
            own[existing(writes.data[row])] = step
        own[existing(writes.filler[step])] = step
    return own


def last_reads(reads: Addresses, steps: Schedule) -> Steps:
    """For each byte read, the last step in which it is; -1 where no window reaches it."""
    used = np.where(steps.columns[None, :, None], steps.rows[:, None, None], -1)
    return np.broadcast_to(used, reads.shape)
