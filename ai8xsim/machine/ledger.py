"""Who wrote each byte of the data memories, and whether readers find what they are meant to find."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.device import MEMORIES
from ai8xsim.engine.blocks import operand_blocks
from ai8xsim.layout import NOWHERE, Addresses, enabled
from ai8xsim.machine.access import Access, existing, first_writes, handed_on, last_reads, takes_otherwise
from ai8xsim.machine.places import buffer_layout, lies_in_memory, sample_addresses, sample_layout
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Shape, Source

Tags = npt.NDArray[np.int64]
NOTHING = np.zeros((1, 0, 0, 0), np.int64)  # the tags of what nobody looks for
Mask = npt.NDArray[np.bool_]

SAMPLE, BUFFER, NOBODY = -1, -2, -1000  # writers that are no layers; BUFFER, BUFFER - 1, ... for several
UNWRITTEN, OUTSIDE = 0, -1  # tags of bytes that nobody wrote, and of bytes that no memory has
ELEMENT_BITS, WRITER_BITS = 34, 12
FILLER = (1 << ELEMENT_BITS) - 1
_FIRST_WRITER = -1024


class Kind(StrEnum):
    """What is wrong with a byte that is read."""

    OUTSIDE = "outside"  # the memory ends before it
    UNWRITTEN = "unwritten"  # nobody wrote it
    OVERWRITTEN = "overwritten"  # it was right, until someone wrote over it
    FOREIGN = "foreign"  # it never was what is meant, which lies elsewhere
    STALE = "stale"  # it is left over from an inference before


class Place(NamedTuple):
    """A byte: its memory instance (0..15), and where in it, as offsets count."""

    memory: int
    offset: int


@dataclass(frozen=True)
class Misread:
    """Values that a reader takes for something that they are not: `count` of `total`, and the first of them.

    reader: the layer's index; None where an output is unloaded after the last layer.
    operand: which one of an element-wise operation, counted from 0.
    wanted, found: who should have written it and who did: a layer's index, SAMPLE, BUFFER (minus the number of
        the buffer), or NOBODY.
    place, home: where it is read, and where the wanted value was written; None where no memory has such a byte.
    value: its channel, row and column in the operand.
    """

    kind: Kind
    reader: int | None
    operand: int
    wanted: int
    found: int
    count: int
    total: int
    place: Place | None
    home: Place | None
    processor: int
    value: tuple[int, int, int]


class Reading(NamedTuple):
    """What is read: where, which tags are meant, which are there, and which of the values are read at all."""

    places: Addresses
    meant: Tags
    actual: Tags
    is_read: Mask


class Ledger:
    """The tags of all bytes, as they change from layer to layer and from inference to inference.

    A tag says in which inference a byte was written, by whom, and which value (channel, row, column) it is.
    only: tell of what these writers wrote, or should have written; everything else is done all the same.
    """

    def __init__(self, program: Program, plan: Sequence[Access], only: frozenset[int] | None = None) -> None:
        self._program, self._plan, self._only = program, plan, only
        self._memory_bytes = program.device.data_memory_bytes
        self._tags: Tags = np.full(MEMORIES * self._memory_bytes, UNWRITTEN, np.int64)
        self._inference = 0
        self._homes: dict[int, Addresses] = {}  # by writer: where each value of it lies
        self._buffers = [self._empty_buffer(index) for index in range(len(program.buffers))]

    def inference(self) -> tuple[Misread, ...]:
        """Let all layers read and write once. Returns what they, and the unloading, misread."""
        self._inference += 1
        sample = self._load_sample()
        outputs: dict[int, Tags] = {}
        found: list[Misread] = []
        for access in self._plan:
            if access.ring is not None:
                self._tags[access.ring] = self._tag(_through_ring(access.layer)) + FILLER
            inputs = self._inputs(access, sample, outputs)
            if access.reads is not None:
                found += self._read(access, access.reads, operand_blocks(access.layer, inputs))
            elif access.is_handed_on:
                found += self._take(access, inputs[0])
            outputs[access.layer.index] = self._write(access)
            self._update_buffer(access.layer, outputs[access.layer.index])
        return (*found, *self._unload(outputs))

    def _empty_buffer(self, index: int) -> Tags:
        """A rolling buffer at first: the zeros that it was made with."""
        buffer = self._program.buffers[index]
        tags = self._own_tags(BUFFER - index, buffer.shape)
        layout = buffer_layout(buffer)
        if layout.is_complete:
            places = layout.addresses(self._memory_bytes)[0].reshape(tags.shape[1:])
            self._store(BUFFER - index, places, tags[0])
        return tags

    def _load_sample(self) -> Tags:
        if not self._is_sample_told_apart():
            return NOTHING
        tags = self._own_tags(SAMPLE, self._program.input_shape)
        if lies_in_memory(self._program):
            self._store(SAMPLE, sample_addresses(self._program, self._memory_bytes), tags[0])
        return tags

    def _is_sample_told_apart(self) -> bool:
        """Whether anybody looks for the sample in memory, or it could be found there by mistake."""
        fits = sample_layout(self._program).size_bytes <= self._memory_bytes
        readers = [a for a in self._plan if any(e.source is Source.SAMPLE for e in a.layer.inputs)]
        shape = self._program.input_shape
        return fits or any(
            access.reads is not None or (access.is_handed_on and takes_otherwise(access.layer, shape))
            for access in readers
        )

    def _own_tags(self, writer: int, shape: Shape) -> Tags:
        """(1, rows, columns, channels): the tags of all values that a writer writes in this inference."""
        elements = np.arange(shape.channels * shape.pixels).reshape(1, *shape.chw).transpose(0, 2, 3, 1)
        return self._tag(writer) + (elements << 2)

    def _tag(self, writer: int) -> int:
        return (self._inference + 1 << WRITER_BITS | writer - _FIRST_WRITER) << ELEMENT_BITS

    def _store(self, writer: int, places: Addresses, tags: Tags) -> None:
        exists = places >= 0
        self._tags[places[exists]] = tags[exists]
        first_bytes = places[..., 0] if places.ndim == 4 else places
        self._homes[writer] = first_bytes.transpose(2, 0, 1).ravel()

    def _inputs(self, access: Access, sample: Tags, outputs: Mapping[int, Tags]) -> list[Tags]:
        """The tags of what the layer is meant to read."""
        meant = []
        for entry in access.layer.inputs:
            if entry.source is Source.SAMPLE:
                meant.append(sample)
            elif entry.source is Source.LAYER:
                meant.append(outputs[entry.index])
            else:
                meant.append(self._buffers[entry.index][:, entry.first_row :])
        return meant

    def _read(self, access: Access, reads: Addresses, operands: Sequence[Tags]) -> Iterator[Misread]:
        layer = access.layer
        own = first_writes(self._tags.size, access.writes) if access.has_hazard and access.writes else None
        steps = last_reads(reads[0], access.schedule)
        for number, meant in enumerate(operands):
            actual = self._there(reads[number])
            if own is not None:
                is_spoiled = (reads[number] >= 0) & (own[reads[number]] < steps)
                actual = np.where(is_spoiled, self._tag(layer.index) + FILLER, actual)
            yield from self._misreads(layer, number, Reading(reads[number], meant[0], actual, steps >= 0))

    def _take(self, access: Access, stream: Tags) -> Iterator[Misread]:
        """What a layer misreads of the pixels that are handed to it; nothing, where they are not told apart."""
        layer = access.layer
        if stream.size == 0:
            return
        operands = zip(operand_blocks(layer, [stream]), handed_on(layer, stream), strict=True)
        for number, (meant, actual) in enumerate(operands):
            nowhere = np.full(meant.shape[1:], NOWHERE)
            is_read = last_reads(nowhere, access.schedule) >= 0
            yield from self._misreads(layer, number, Reading(nowhere, meant[0], actual[0], is_read))

    def _there(self, places: Addresses) -> Tags:
        return np.where(places >= 0, self._tags[places], OUTSIDE)

    def _write(self, access: Access) -> Tags:
        layer = access.layer
        if access.writes is None and not access.passes_on and layer.buffer_update is None:
            return NOTHING  # it is not known what it touches, and nobody looks for it in memory
        tags = self._own_tags(layer.index, layer.output_shape)
        if access.writes is not None:
            self._tags[existing(access.writes.filler)] = self._tag(layer.index) + FILLER
            is_wide = access.writes.data.ndim == 4
            stored = tags[0][..., None] + np.arange(access.writes.data.shape[-1]) if is_wide else tags[0]
            self._store(layer.index, access.writes.data, stored)
        return tags

    def _update_buffer(self, layer: Layer, output: Tags) -> None:
        """What a reader of the buffer is meant to find from now on."""
        update = layer.buffer_update
        if update is None:
            return
        content = self._buffers[update.index].copy()
        if update.shift:
            content[:, : -update.shift] = output.reshape(content[:, : -update.shift].shape)
        if update.insert:
            content[:, -update.insert :] = output.reshape(1, -1, *content.shape[2:])
        self._buffers[update.index] = content

    def _unload(self, outputs: Mapping[int, Tags]) -> Iterator[Misread]:
        """What has become of the outputs when the network is done."""
        for access in self._plan:
            if not access.layer.is_output:
                continue
            meant = outputs[access.layer.index][0]
            everything = np.ones(meant.shape, np.bool_)
            if access.writes is not None:
                data = access.writes.data
                places = data[..., 0] if data.ndim == 4 else data
                yield from self._misreads(None, 0, Reading(places, meant, self._there(places), everything))
            elif access.passes_on:
                nowhere = np.full(meant.shape, NOWHERE)
                nothing = np.full(meant.shape, UNWRITTEN, np.int64)
                yield from self._misreads(None, 0, Reading(nowhere, meant, nothing, everything))

    def _misreads(self, layer: Layer | None, operand: int, reading: Reading) -> Iterator[Misread]:
        """One entry for each kind, each writer wanted and each writer found."""
        is_wrong = (reading.actual != reading.meant) & reading.is_read
        if self._only is not None and is_wrong.any():
            is_wrong &= self._is_theirs(reading.meant) | self._is_theirs(reading.actual)
        if not is_wrong.any():
            return
        places, meant, actual = (values[is_wrong] for values in reading[:3])
        wanted, found = _writer(meant), _writer(actual)
        homes = self._homes_of(wanted, meant)
        kinds = _kinds(places, actual, homes, self._inference)
        groups = (kinds << 2 * WRITER_BITS) + (wanted - _FIRST_WRITER << WRITER_BITS) + found - _FIRST_WRITER
        values = np.argwhere(is_wrong)
        _, firsts, counts = np.unique(groups, return_index=True, return_counts=True)
        for first, count in zip(firsts, counts, strict=True):
            row, column, channel = (int(i) for i in values[first])
            yield Misread(
                kind=list(Kind)[kinds[first]],
                reader=layer.index if layer else None,
                operand=operand,
                wanted=int(wanted[first]),
                found=int(found[first]),
                count=int(count),
                total=int(reading.is_read.sum()),
                place=self._place(int(places[first])),
                home=self._place(int(homes[first])),
                processor=_processor(layer, channel),
                value=(channel, row, column),
            )

    def _is_theirs(self, tags: Tags) -> Mask:
        return np.isin(_writer(tags), sorted(self._only or ()))

    def _homes_of(self, wanted: Tags, meant: Tags) -> Addresses:
        homes = np.full(len(wanted), NOWHERE)
        elements = (meant & FILLER) >> 2
        for writer in np.unique(wanted):
            if int(writer) in self._homes:
                mine = wanted == writer
                homes[mine] = self._homes[int(writer)][elements[mine]]
        return homes

    def _place(self, address: int) -> Place | None:
        return Place(*divmod(address, self._memory_bytes)) if address >= 0 else None


def _through_ring(layer: Layer) -> int:
    """Who fills the ring of a streaming layer: the layer before, or the FIFO with the sample."""
    (entry,) = layer.inputs
    return entry.index if entry.source is Source.LAYER else SAMPLE


def _processor(layer: Layer | None, channel: int) -> int:
    """The processor that works on a channel of a layer's operands, -1 where there is none."""
    if layer is None:
        return -1
    used = enabled(layer.placement.processors)
    return used[channel % len(used)]


def _kinds(places: Addresses, actual: Tags, homes: Addresses, inference: int) -> npt.NDArray[np.int64]:
    """For each value misread the position of its kind in `Kind`."""
    is_old = (actual >> ELEMENT_BITS + WRITER_BITS) != inference + 1
    is_home = (homes == places) & (places != NOWHERE)
    order = {kind: number for number, kind in enumerate(Kind)}
    return np.select(
        [actual == OUTSIDE, actual == UNWRITTEN, is_home, is_old],
        [order[kind] for kind in (Kind.OUTSIDE, Kind.UNWRITTEN, Kind.OVERWRITTEN, Kind.STALE)],
        order[Kind.FOREIGN],
    )


def _writer(tags: Tags) -> Tags:
    known = (tags >> ELEMENT_BITS & (1 << WRITER_BITS) - 1) + _FIRST_WRITER
    return np.where(tags > UNWRITTEN, known, NOBODY)
