"""From when to when which part of the data memories is needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from ai8xsim.layout import DataLayout
from ai8xsim.machine.dilated import bytes_before, bytes_behind
from ai8xsim.machine.ledger import BUFFER, SAMPLE
from ai8xsim.machine.places import (
    buffer_layout,
    comes_by_fifo,
    output_layout,
    sample_layout,
    streams_on,
)
from ai8xsim.program import Program
from ai8xsim.program.operations import Source


@dataclass(frozen=True)
class Live:
    """Data and the part of memory that holds it.

    writer: a layer's index, SAMPLE, or BUFFER minus the number of the buffer. born, dies: places in the order of
    execution, of the layer that writes it (-1: it is there at first) and of the last one that reads it (the
    number of layers: it is unloaded, or kept for the next inference). before, behind: so many bytes in front of the
    data, and behind it, are written as well.
    """

    writer: int
    layout: DataLayout
    born: int
    dies: int
    before: int = 0
    behind: int = 0

    @property
    def start(self) -> int:
        return self.layout.offset - self.before

    @property
    def end(self) -> int:
        return self.layout.offset + self.layout.size_bytes + self.behind

    def meets(self, other: "Live | DataLayout") -> bool:
        """Whether the two have bytes of the same memory instance between their ends."""
        one = other if isinstance(other, Live) else Live(self.writer, other, self.born, self.dies)
        shares = set(self.layout.memories) & set(one.layout.memories)
        return bool(shares) and self.start < one.end and one.start < self.end


def lives(program: Program) -> tuple[Live, ...]:
    """All data that lies in memory as a whole, in the order in which it comes to be."""
    return tuple(_lives(program))


def _lives(program: Program) -> Iterator[Live]:
    if not comes_by_fifo(program):
        yield Live(SAMPLE, sample_layout(program), -1, _last_reader(program, Source.SAMPLE, 0))
    for number, buffer in enumerate(program.buffers):
        yield Live(BUFFER - number, buffer_layout(buffer), -1, len(program.layers))
    for place, layer in enumerate(program.layers):
        if not streams_on(program, layer) and layer.buffer_update is None:
            dies = max(place, _last_reader(program, Source.LAYER, layer.index))
            dies = len(program.layers) if layer.is_output else dies
            yield Live(
                layer.index, output_layout(layer), place, dies, bytes_before(layer), bytes_behind(layer)
            )


def _last_reader(program: Program, source: Source, index: int) -> int:
    readers = [
        place
        for place, layer in enumerate(program.layers)
        if any(entry.source is source and entry.index == index for entry in layer.inputs)
    ]
    return max(readers, default=-1)
