"""The memory level: placement, order, provenance, and what it says of descriptions that address the wrong bytes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002, InputError, Machine, Program, ResolveError, Simulator
from ai8xsim.engine.portable import Output
from ai8xsim.layout import DataLayout
from ai8xsim.machine.access import accesses
from ai8xsim.machine.data_memory import DataMemory
from ai8xsim.machine.ledger import NOBODY, SAMPLE, Kind, Ledger
from ai8xsim.machine.places import written

from ..simulator.small_programs import program_of, random_int8
from .slow_memory import Place, SlowMemory, byte_of


def skip_network(device: object = MAX78000) -> Program:
    """Five layers: a saved output that is read again, an interleaved addition, a pool, a 1x1 convolution."""
    layers = """
    - {processors: 0x7, name: first, op: conv2d, out_offset: 0x400, activate: ReLU}
    - {processors: 0xf, name: copy, op: none, in_offset: 0x400, out_offset: 0x800, write_gap: 1}
    - {processors: 0xf, name: second, op: conv2d, in_sequences: 0, in_offset: 0x400, out_offset: 0x804, write_gap: 1}
    - {processors: 0xf, name: sum, op: add, in_sequences: [copy, second], in_offset: 0x800, out_offset: 0x1000}
    - {processors: 0xf, name: last, op: conv2d, kernel_size: 1x1, pad: 0, max_pool: 2, pool_stride: 2, out_offset: 5120}
    """
    weights = [random_int8(1, 4, 3, 3, 3), random_int8(2, 4, 4, 3, 3), random_int8(3, 5, 4, 1, 1)]
    return program_of(layers, *weights, input_shape=(3, 6, 5), device=device)  # type: ignore[arg-type]


SAMPLES = random_int8(7, 3, 3, 6, 5)


@pytest.mark.parametrize("device", [MAX78000, MAX78002])
def test_a_sound_network_computes_the_same_from_its_bytes(device: object) -> None:
    program = skip_network(device)
    trace = Machine(program).run(SAMPLES)
    assert trace.misreads == ((), (), ())
    assert Simulator(program).run(SAMPLES).first_difference(trace) is None


def moved(program: Program, layer: int, **placement: int) -> Program:
    """The program with a layer's data elsewhere."""
    layers = list(program.layers)
    place = replace(layers[layer].placement, **placement)
    layers[layer] = replace(layers[layer], placement=place)
    return replace(program, layers=tuple(layers))


@st.composite
def moved_networks(draw: st.DrawFn) -> Program:
    """The sound network with one to three places changed, mostly by little."""
    program = skip_network()
    offsets = st.one_of(
        st.integers(0, 0x600).map(lambda words: words * 4),
        st.sampled_from([0x3FC, 0x404, 0x460, 0x7FC, 0x808, 0x860, 0x8F0, 0xFFC, 0x7FF0, 0x7FFC]),
    )
    for _ in range(draw(st.integers(1, 3))):
        layer = draw(st.integers(0, 4))
        key = draw(st.sampled_from(["in_offset", "out_offset", "processors", "output_processors"]))
        if key.endswith("offset"):
            program = moved(program, layer, **{key: draw(offsets)})
        else:
            width = bin(getattr(program.layers[layer].placement, key)).count("1")
            program = moved(program, layer, **{key: ((1 << width) - 1) << draw(st.integers(0, 9))})
    return program


@settings(max_examples=300, deadline=None)
@given(moved_networks())
def test_no_wrong_output_is_silent_and_every_misread_is_found(program: Program) -> None:
    """Against the functional level for values, and against a slow machine with stamped bytes for provenance."""
    trace = Machine(program).run(SAMPLES[0])
    difference = Simulator(program).run(SAMPLES[0]).first_difference(trace)
    assert difference is None or trace.misreads[0]
    readers = sorted({m.reader for m in trace.misreads[0] if m.reader is not None})
    assert readers == SlowMemory(program).misreading_layers()


def row_by_row(program: Program) -> list[Output]:
    """What the layers compute if each of them works row by row, as where it writes over its own input."""
    plan = tuple(replace(access, has_hazard=True) for access in accesses(program))
    outputs = DataMemory(program, plan).inference(SAMPLES[:1].transpose(0, 2, 3, 1))
    return [outputs[layer.index] for layer in program.layers]


@pytest.mark.parametrize("device", [MAX78000, MAX78002])
def test_working_row_by_row_computes_the_same(device: object) -> None:
    """Where nothing overlaps, the order within a layer does not matter, neither for values nor for what saturates."""
    program = skip_network(device)
    for output, layer in zip(row_by_row(program), Simulator(program).run(SAMPLES[0]), strict=True):
        assert np.array_equal(output.data[0].transpose(2, 0, 1), layer.samples[0])
        assert output.saturated == layer.saturated


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["max_pool", "avg_pool"]),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.integers(1, 3),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.sampled_from(["none", "conv2d", "conv2d, output_width: 32"]),
)
def test_pools_work_row_by_row(
    kind: str, size: tuple[int, int], stride: int, dilation: tuple[int, int], op: str
) -> None:
    """A window's rows may lie apart; its count of windows is that of the whole picture, not of one row of it."""
    pool = f"{kind}: {[*size]}, pool_stride: {stride}, pool_dilation: {[*dilation]}"
    layers = f"- {{processors: 0x7, op: {op}, kernel_size: 1x1, pad: 0, out_offset: 0x400, {pool}}}"
    weights = [] if op == "none" else [random_int8(1, 3, 3, 1, 1)]
    try:
        program = program_of(layers, *weights, input_shape=(3, 6, 5), device=MAX78002)
    except ResolveError:
        assume(False)
    (output,), (layer,) = row_by_row(program), Simulator(program).run(SAMPLES[0])
    assert np.array_equal(output.data[0].transpose(2, 0, 1), layer.samples[0])
    assert output.saturated == layer.saturated


def test_an_output_that_overtakes_its_input_is_computed_from_what_is_there() -> None:
    """A pass-through that moves data down by two pixels: from the third row on it reads what it wrote."""
    layers = "- {processors: 0xf, op: none, out_offset: 0x8, output_processors: 0xf}"
    program = program_of(layers, input_shape=(4, 6, 1))
    sample = np.arange(24, dtype=np.int8).reshape(4, 6, 1)
    trace = Machine(program).run(sample)
    assert trace.output[0, :, 0].tolist() == [0, 1, 0, 1, 0, 1]
    (misread,) = trace.misreads[0]
    assert (misread.kind, misread.reader, misread.wanted, misread.found) == (Kind.OVERWRITTEN, 0, SAMPLE, 0)
    assert (misread.count, misread.total, misread.value) == (16, 24, (0, 2, 0))
    assert misread.place == misread.home == (0, 8)


def test_an_output_may_follow_its_input() -> None:
    """The same, moved up: each row is read before it is written over."""
    layers = "- {processors: 0xf, op: none, in_offset: 0x8, out_offset: 0x0, output_processors: 0xf}"
    program = program_of(layers, input_shape=(4, 6, 1))
    sample = np.arange(24, dtype=np.int8).reshape(4, 6, 1)
    trace = Machine(program).run(sample)
    assert np.array_equal(trace.output, sample)
    assert trace.misreads == ((),)


def test_unwritten_bytes_read_as_zero_once_and_as_stale_bytes_later() -> None:
    layers = """
    - {processors: 0xf, op: none, out_offset: 0x100, output_processors: 0xf}
    - {processors: 0xf, op: none, in_offset: 0x200, out_offset: 0x300, output_processors: 0xf}
    - {processors: 0xf, op: none, out_offset: 0x200, output_processors: 0xf}
    """
    program = program_of(layers, input_shape=(4, 2, 2))
    samples = random_int8(3, 2, 4, 2, 2)
    trace = Machine(program).run(samples, keep_memory=True)
    assert not trace.layers[1].samples[0].any()
    first, second = trace.misreads
    assert (first[0].kind, first[0].found) == (Kind.UNWRITTEN, NOBODY)
    assert (second[0].kind, second[0].found) == (Kind.STALE, 2)
    fresh = Machine(program).run(samples)
    assert [m[0].kind for m in fresh.misreads] == [Kind.UNWRITTEN] * 2


def test_an_output_that_is_written_over_is_unloaded_as_it_is() -> None:
    layers = """
    - {processors: 0xf, op: none, out_offset: 0x100, output_processors: 0xf, output: true}
    - {processors: 0xf, op: none, out_offset: 0x108, output_processors: 0xf}
    """
    sample = random_int8(3, 4, 2, 2)
    trace = Machine(program_of(layers, input_shape=(4, 2, 2))).run(sample)
    unloaded = [m for m in trace.misreads[0] if m.reader is None]
    assert [(m.wanted, m.found, m.count) for m in unloaded] == [(0, 1, 8)]
    pixels = trace[0].output.reshape(4, 4)
    assert np.array_equal(pixels[:, :2], sample.reshape(4, 4)[:, :2])
    assert np.array_equal(pixels[:, 2:], trace[1].output.reshape(4, 4)[:, :2])


def test_bytes_that_no_memory_has_are_named() -> None:
    layers = "- {processors: 0xf, op: none, in_offset: 0x7ff8, out_offset: 0x0, output_processors: 0xf}"
    trace = Machine(program_of(layers, input_shape=(4, 2, 2))).run(random_int8(1, 4, 2, 2))
    (misread,) = trace.misreads[0]
    assert (misread.kind, misread.count, misread.place) == (Kind.OUTSIDE, 8, None)


def test_a_processor_too_few_is_refused() -> None:
    layers = "- {processors: 0x7, op: none, out_offset: 0x100, output_processors: 0xf}"
    with pytest.raises(ResolveError, match="3 processors for 4 channels"):
        Machine(program_of(layers, input_shape=(4, 2, 2)))


@pytest.mark.parametrize("written_to", ["0x00000000000f0000", "0x0000000000030003", "0x0000000000000017"])
def test_a_pass_through_that_leaves_its_quadrant_or_its_neighbours_is_refused(written_to: str) -> None:
    """On the chip each quadrant writes its own data; by rank alone it would silently come out right."""
    layers = f"- {{processors: 0xf, op: none, out_offset: 0x100, output_processors: {written_to}}}"
    with pytest.raises(ResolveError, match="passes data from 0x"):
        Machine(program_of(layers, input_shape=(4, 2, 2)))


def test_a_sample_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        Machine(skip_network()).run(np.zeros((3, 5, 5), np.int8))


@st.composite
def layouts(draw: st.DrawFn) -> DataLayout:
    channels = draw(st.integers(1, 140))
    passes = -(-channels // 64)
    per_pass = -(-channels // passes)
    per_pass = -(-per_pass // 4) * 4 if passes > 1 else per_pass
    is_chw = draw(st.booleans()) and per_pass <= 16
    step = 4 if is_chw else 1
    first = draw(st.integers(0, 63 - (per_pass - 1) * step))
    return DataLayout(
        processors=sum(1 << first + step * n for n in range(per_pass)),
        offset=4 * draw(st.integers(0, 0x1FFF)),
        channels=channels,
        pixels=draw(st.integers(1, 9)),
        operands=draw(st.integers(1, 3)),
        gap=draw(st.integers(0, 2)),
        bits=8 if is_chw else draw(st.sampled_from([8, 32])),
        is_chw=is_chw,
    )


@settings(max_examples=100, deadline=None)
@given(layouts())
def test_addresses_one_by_one_and_all_at_once_are_the_same(layout: DataLayout) -> None:
    size = 32 * 1024
    flat = layout.addresses(size)
    first_bytes = flat if layout.bits == 8 else flat[..., 0]
    place = Place(
        layout.processors, layout.offset, layout.channels, layout.operands, layout.gap, layout.is_chw
    )
    highest = 0
    for (operand, pixel, channel), address in np.ndenumerate(first_bytes):
        one = layout.address(channel, pixel, operand)
        assert (one.memory, one.offset) == byte_of(place, channel, pixel, operand, layout.bits)
        assert address == (one.memory * size + one.offset if one.offset < size else -1)
        highest = max(highest, one.offset)
    assert highest < layout.offset + layout.size_bytes
    assert len(np.unique(flat[flat >= 0])) == int((flat >= 0).sum()), "two values share a byte"


def test_the_document_s_words_are_what_the_memories_hold() -> None:
    """Document, "Example: Conv2d": five channels of 2x2; each word of memory is the picture's."""
    words = {
        (0, 0): 0x33EAD6CB, (0, 1): 0x54C8B8F5, (0, 2): 0x9D22CE2C, (0, 3): 0xFE10D28C,
        (1, 0): 0x00000018, (1, 1): 0x00000029, (1, 2): 0x000000E1, (1, 3): 0x00000047,
    }  # fmt: skip
    sample = np.zeros((5, 2, 2), np.int8)
    for (memory, pixel), word in words.items():
        values = np.array([word], "<u4").view(np.int8)
        for lane in range(4 if memory == 0 else 1):
            sample[memory * 4 + lane, pixel // 2, pixel % 2] = values[lane]
    program = program_of("- {processors: 0x1f, op: none, out_offset: 0x100}", input_shape=(5, 2, 2))
    memory = DataMemory(program, accesses(program))
    memory.inference(sample.transpose(1, 2, 0)[None])
    stored = memory._bytes.view("<u4")
    for (instance, word), value in words.items():
        assert stored[instance * 8192 + word] == value


def test_words_are_written_whole() -> None:
    """Six channels from processor 2 on: two bytes in front and none behind in the second word's memory."""
    layers = (
        "- {processors: 0x1, op: conv2d, kernel_size: 1x1, pad: 0, output_processors: 0xfc, out_offset: 0}"
    )
    program = program_of(layers, random_int8(1, 6, 1, 1, 1), input_shape=(1, 1, 1))
    places = written(program.layers[0], MAX78000.data_memory_bytes)
    assert places.filler.ravel().tolist() == [0, 1]
    assert places.data.ravel().tolist() == [2, 3, 32768, 32769, 32770, 32771]


def test_a_ledger_remembers_where_a_value_was_written() -> None:
    program = moved(skip_network(), 4, in_offset=0x1010)
    misread = next(m for m in Ledger(program, accesses(program)).inference() if m.kind is Kind.FOREIGN)
    assert (misread.reader, misread.wanted, misread.processor) == (4, 3, 0)
    assert misread.place is not None
    assert misread.home is not None
    assert misread.place.offset - misread.home.offset == 0x10
