"""Where to let a layer write instead, so that its data lies in nobody's way and its readers still find it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ai8xsim.layout import DataLayout
from ai8xsim.machine.access import Access, access_of, accesses
from ai8xsim.machine.dilated import bytes_before, bytes_behind
from ai8xsim.machine.ledger import Ledger
from ai8xsim.machine.lives import Live, lives
from ai8xsim.machine.places import input_layout, is_streamed, output_layout, streams_on
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Source

TRIES = 4  # places that are tried out on the memories; the first one that looks free mostly is


@dataclass(frozen=True)
class Family:
    """Layers whose outputs must move together, because a reader takes them as one, and their readers."""

    writers: frozenset[int]
    readers: frozenset[int]


@dataclass(frozen=True)
class Statement:
    """A value to write into a layer's description."""

    layer: Layer
    key: str
    value: int


def free_place(program: Program, layer: Layer, unknown: frozenset[int]) -> tuple[Statement, ...]:
    """What to write so that the layer's output lies where it disturbs nobody: the lowest such place; () if none.

    Layers that interleave or stand side by side with it move along, and so do the readers. The place is tried out.
    unknown: layers of which it is not known what they touch.
    """
    family = _family(program, layer)
    if family is None:
        return ()
    tries, plan = 0, accesses(program, unknown)
    before = _keys(program, plan, family)
    for distance in _distances(program, family):
        moved = _moved(program, family, distance)
        if moved is None or not _is_free(moved, family):
            continue
        tries += 1
        after = _keys(moved, _replanned(moved, plan, unknown), family)
        if after <= {key for key in before if key[2] not in family.writers}:
            return tuple(_statements(program, moved, layer))
        if tries == TRIES:
            break
    return ()


def mends(program: Program, statement: Statement, unknown: frozenset[int]) -> bool:
    """Whether an offset written so lets more be found, and nothing less."""
    place, value = statement.layer.placement, statement.value
    is_input = statement.key == "in_offset"
    place = replace(place, in_offset=value) if is_input else replace(place, out_offset=value)
    changed = replace(statement.layer, placement=place)
    layers = tuple(changed if layer is statement.layer else layer for layer in program.layers)
    before, after = (_all_keys(one, unknown) for one in (program, replace(program, layers=layers)))
    return after < before


def _all_keys(program: Program, unknown: frozenset[int]) -> set[tuple[int | None, int]]:
    """Reader and writer wanted, of all that is misread."""
    misreads = Ledger(program, accesses(program, unknown)).inference()
    return {(m.reader, m.wanted) for m in misreads}


def _family(program: Program, layer: Layer) -> Family | None:
    """The layers that move with a layer; None where one cannot move: the sample's, a buffer's or a ring's reader."""
    writers, readers = {layer.index}, set[int]()
    while True:
        reading = [other for other in program.layers if _sources(other) & writers]
        joined = {index for other in reading for index in _sources(other)}
        readers = {other.index for other in reading}
        if joined <= writers:
            break
        writers |= joined
    members = [other for other in program.layers if other.index in writers]
    is_bound = any(entry.source is not Source.LAYER for other in reading for entry in other.inputs)
    is_bound |= any(other.buffer_update is not None or streams_on(program, other) for other in members)
    if is_bound or any(is_streamed(program, other) for other in reading):
        return None
    return Family(frozenset(writers), frozenset(readers))


def _sources(layer: Layer) -> set[int]:
    return {entry.index for entry in layer.inputs if entry.source is Source.LAYER}


def _distances(program: Program, family: Family) -> Iterator[int]:
    """How far the data could move, to the lowest places first: to the beginning, or behind some other data."""
    members = [layer for layer in program.layers if layer.index in family.writers]
    first, before = min(layer.placement.out_offset for layer in members), max(map(bytes_before, members))
    ends = {live.end for live in lives(program)} | {_end(input_layout(other)) for other in program.layers}
    for start in sorted({0, *(-(-end // 4) * 4 for end in ends)}):
        place = start + before
        if place != first // 4 * 4:
            yield place - first // 4 * 4


def _end(layout: DataLayout) -> int:
    return layout.offset + layout.size_bytes


def _moved(program: Program, family: Family, distance: int) -> Program | None:
    """The program with a family's data elsewhere; None where it would leave the memory."""
    layers = []
    for layer in program.layers:
        place = layer.placement
        if layer.index in family.writers:
            place = replace(place, out_offset=place.out_offset + distance)
        if layer.index in family.readers:
            place = replace(place, in_offset=_met_by(program, layer) + distance)
        layers.append(layer if place is layer.placement else replace(layer, placement=place))
        memory_bytes = program.device.data_memory_bytes
        if layer.index in family.readers and not _reads_within(layers[-1], memory_bytes):
            return None
        if layer.index in family.writers and not _writes_within(layers[-1], memory_bytes):
            return None
    return replace(program, layers=tuple(layers))


def _met_by(program: Program, reader: Layer) -> int:
    """Where a reader must begin to find the family's data where it lies: mostly where it begins already.

    A reader of one output that begins elsewhere would miss it wherever both move to.
    """
    (index, *others) = _sources(reader)
    if others or len(reader.inputs) > 1 or reader.crop != (0, 0):
        return reader.placement.in_offset
    return next(layer.placement.out_offset for layer in program.layers if layer.index == index)


def _reads_within(layer: Layer, memory_bytes: int) -> bool:
    """Whether the layer reads what its memory has."""
    read = input_layout(layer)
    return read.offset >= 0 and _end(read) <= memory_bytes


def _writes_within(layer: Layer, memory_bytes: int) -> bool:
    """Whether the layer writes to what its memory has."""
    written = output_layout(layer)
    return written.offset >= bytes_before(layer) and _end(written) + bytes_behind(layer) <= memory_bytes


def _is_free(program: Program, family: Family) -> bool:
    """Whether no data of others that is needed meanwhile lies between the ends of the family's."""
    known = lives(program)
    ours = [live for live in known if live.writer in family.writers]
    return not any(
        mine.born <= other.dies and other.born <= mine.dies and mine.meets(other)
        for mine in ours
        for other in known
        if other.writer not in family.writers
    ) and not _meets_own_input(program, family, ours)


def _meets_own_input(program: Program, family: Family, ours: list[Live]) -> bool:
    """Whether a layer of the family would write where it, or another layer at work before the readers, reads."""
    for place, layer in enumerate(program.layers):
        read = input_layout(layer)
        others = (live for live in ours if live.writer not in _sources(layer))
        if any(live.born <= place <= live.dies and live.meets(read) for live in others):
            return True
    return False


def _keys(program: Program, plan: Sequence[Access], family: Family) -> set[tuple[int | None, int, int]]:
    """Reader, writer wanted and writer found, of what is misread of the family's data or because of it."""
    misreads = Ledger(program, plan, family.writers).inference()
    return {(m.reader, m.wanted, m.found) for m in misreads}


def _replanned(program: Program, plan: Sequence[Access], unknown: frozenset[int]) -> tuple[Access, ...]:
    """The plan with what has changed since: most layers touch what they touched before."""
    return tuple(
        old if old.layer is layer else access_of(program, layer, unknown)
        for old, layer in zip(plan, program.layers, strict=True)
    )


def _statements(program: Program, moved: Program, first: Layer) -> Iterator[Statement]:
    """The keys to write, those of the layer itself first: defaults that come out right are left alone."""
    values = []
    for place, (layer, new) in enumerate(zip(program.layers, moved.layers, strict=True)):
        if new.placement.out_offset != layer.placement.out_offset:
            values.append(Statement(layer, "out_offset", new.placement.out_offset))
        by_default = layer.placement.in_offset
        if place and not layer.gives("in_offset"):
            by_default = moved.layers[place - 1].placement.out_offset
        if new.placement.in_offset != by_default:
            values.append(Statement(layer, "in_offset", new.placement.in_offset))
    yield from sorted(values, key=lambda statement: statement.layer.index != first.index)
