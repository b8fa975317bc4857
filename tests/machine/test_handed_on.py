"""Data that no memory holds as a whole: what a FIFO, a ring or the host hands on, pixel after pixel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ai8xsim import MAX78002, Machine, Options, Program, Severity, Simulator, check
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.machine.ledger import SAMPLE, Kind

from ..simulator.small_programs import network_of, program_of, random_int8, stored_layer

ROWS, COLUMNS = 5, 4
FIRST, SECOND = random_int8(1, 4, 1, 3, 3), random_int8(2, 4, 4, 3, 3)
BY_FIFO = (Options(fifo=True), Options(fast_fifo=True))


def cropping(front: int, behind: int, keys: str = "") -> str:
    """A first layer that drops rows of a sample of one channel."""
    crop = f"in_crop: [{front}, {behind}], in_dim: [{ROWS}, {COLUMNS}], "
    return f"- {{processors: 0x1, op: conv2d, {crop if front + behind else ''}{keys}out_offset: 0x1000}}"


def program(layers: str, options: Options, rows: int, *weights: object) -> Program:
    return program_of(layers, *weights, input_shape=(1, rows, COLUMNS), device=MAX78002, options=options)  # type: ignore[arg-type]


def warnings(
    layers: str, options: Options, shape: tuple[int, ...], *weights: object
) -> list[tuple[str, str]]:
    stored = tuple(stored_layer(f"layer{n}", weight) for n, weight in enumerate(weights))  # type: ignore[arg-type]
    checkpoint = Checkpoint("x", None, None, stored)
    found = check(network_of(layers), MAX78002, checkpoint, np.zeros(shape, np.int64), options)
    return [
        (d.code, d.message)
        for d in found
        if d.severity is Severity.WARNING and d.code not in {"default-pad", "loader-differs"}
    ]


@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(BY_FIFO), st.booleans(), st.integers(0, 99))
def test_a_fifo_hands_on_the_first_rows_and_skips_none(
    front: int, behind: int, options: Options, streams: bool, seed: int
) -> None:
    """The loader pushes the rows from 0 on, as many as the layer takes; nothing on the chip drops the others."""
    rows, keys = ROWS + front + behind, "streaming: true, " if streams else ""
    sample = random_int8(seed, 1, rows, COLUMNS)
    layers = cropping(front, behind, keys)
    trace = Machine(program(layers, options, rows, FIRST)).run(sample)
    whole = Simulator(program(cropping(0, 0), Options(), ROWS, FIRST)).run(sample[:, :ROWS])
    assert np.array_equal(trace.output, whole.output)
    found = [(m.kind, m.reader, m.wanted, m.found, m.place) for m in trace.misreads[0]]
    assert found == ([(Kind.FOREIGN, 0, SAMPLE, SAMPLE, None)] if front else [])
    said = warnings(layers, options, (1, rows, COLUMNS), FIRST)
    assert ("misplaced-input" in {code for code, _ in said}) == bool(front)


@given(st.integers(0, 3), st.integers(0, 3))
def test_a_ring_hands_on_the_first_rows_too(front: int, behind: int) -> None:
    rows = ROWS + front + behind
    first = "- {processors: 0x1, op: conv2d, streaming: true, out_offset: 0x1000}\n"
    layers = first + cropping(front, behind, "streaming: true, ").replace("0x1,", "0xf,").replace(
        "0x1000", "0x2000"
    )
    sample = random_int8(front, 1, rows, COLUMNS)
    trace = Machine(program(layers, Options(fifo=True), rows, FIRST, SECOND)).run(sample)
    assert [(m.kind, m.reader, m.wanted) for m in trace.misreads[0]] == (
        [(Kind.FOREIGN, 1, 0)] if front else []
    )
    said = warnings(layers, Options(fifo=True), (1, rows, COLUMNS), FIRST, SECOND)
    message = "layer 1 takes the output of layer 0 as it comes, and 80 of 80 values are not those meant"
    assert (("misplaced-input", message) in said) == bool(front)


def test_rows_become_the_same_pixels_in_other_rows() -> None:
    """`in_dim` that keeps the channels keeps the order of the pixels: nothing has to be rearranged."""
    layers = "- {processors: 0x1, op: conv2d, in_dim: [4, 5], out_offset: 0x1000}"
    sample = random_int8(3, 1, ROWS, COLUMNS)
    reshaped = program(layers, Options(fifo=True), ROWS, FIRST)
    trace = Machine(reshaped).run(sample)
    assert trace.misreads == ((),)
    assert Simulator(reshaped).run(sample).first_difference(trace) is None


def test_a_sample_of_other_channels_than_the_layer_takes_is_not_silent() -> None:
    """Twelve channels of 4x4 as three of 8x8: the loader refuses it, and a FIFO would feed three of the twelve."""
    layers = "- {processors: 0x7, op: conv2d, in_dim: [8, 8], out_offset: 0x1000}"
    for options in (Options(), *BY_FIFO):
        said = warnings(layers, options, (12, 4, 4), random_int8(1, 4, 3, 3, 3))
        assert [code for code, _ in said] == ["misplaced-input"]
