"""What layers write beside their output: whole words, and whole rows of a widely dilated Conv1d."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import (
    DEVICES,
    MAX78000,
    Machine,
    Options,
    Program,
    Simulator,
    check,
    read_checkpoint,
    read_network,
)
from ai8xsim.machine.dilated import bytes_before, surplus
from ai8xsim.machine.places import written

from ..conftest import GOLDEN
from ..simulator.small_programs import program_of, random_int8
from .slow_memory import SlowMemory

OVERLAP = Options(overlap_data=True)
DILATED = GOLDEN / "layers" / "test-conv1d-dilation7-pad0-128ch"


def agree(program: Program, sample: object) -> None:
    """Memory and functional level give the same or bytes are named; and the slow machine names the same readers."""
    trace = Machine(program).run(sample)  # type: ignore[arg-type]
    difference = Simulator(program).run(sample).first_difference(trace)  # type: ignore[arg-type]
    assert difference is None or trace.misreads[0]
    readers = sorted({m.reader for m in trace.misreads[0] if m.reader is not None})
    assert readers == SlowMemory(program).misreading_layers()


@st.composite
def dilated(draw: st.DrawFn) -> Program:
    """A copy of the sample, a widely dilated Conv1d that may write over it, and a layer that reads the copy again."""
    taps = draw(st.sampled_from([2, 3]))
    dilation = draw(st.integers(-(-9 // (taps - 1)), 12))
    length = (taps - 1) * dilation + draw(st.integers(1, 20))
    words = st.integers(0, 80).map(lambda n: 0x400 + 4 * n)
    copied, out = draw(words), draw(st.one_of(words, st.just(0), st.just(8)))
    bits = draw(st.sampled_from(["", "", "output_width: 32, activate: none, "]))
    keys = f"kernel_size: {taps}, dilation: {dilation}, {bits}out_offset: {out}, "
    written_to = draw(st.sampled_from(["0xf", "0x3c"]))
    layers = f"""
    - {{processors: 0xf, op: none, out_offset: {copied}, output_processors: 0xf}}
    - {{processors: 0xf, op: conv1d, pad: 0, {keys}output_processors: {written_to}}}
    - {{processors: 0xf, op: none, in_sequences: 0, in_offset: {copied}, out_offset: 0x2000, output_processors: 0xf}}
    """
    return program_of(layers, random_int8(1, 4, 4, taps), input_shape=(4, length), options=OVERLAP)


@settings(max_examples=150, deadline=None)
@given(dilated())
def test_a_widely_dilated_layer_writes_whole_rows(program: Program) -> None:
    agree(program, random_int8(3, *program.input_shape.array_shape))


def test_rows_of_three_taps_begin_in_front_of_the_output() -> None:
    keys = "kernel_size: 3, dilation: 7, pad: 0, out_offset: 0x1c, output_processors: 0xf"
    layers = f"- {{processors: 0xf, op: conv1d, {keys}}}"
    program = program_of(layers, random_int8(1, 4, 4, 3), input_shape=(4, 20))
    (layer,) = program.layers
    assert surplus(layer) == (7, 7, 8)  # 3 rows of 7 pixels, of which 6 are the output
    assert bytes_before(layer) == 0x1C
    places = written(layer, MAX78000.data_memory_bytes)
    everything = np.unique(np.concatenate([places.data.ravel(), places.filler[places.filler >= 0]]))
    assert everything.tolist() == list(range(3 * 7 * 4))
    assert places.first == 7


@pytest.mark.skipif(not DILATED.exists(), reason="the golden vectors are not beside this repository")
@pytest.mark.parametrize(
    ("offset", "codes"),
    [
        ("0x0380", {"overwrites-input"}),
        ("0x0394", set()),
        ("0x0010", {"dilated-out-offset", "overwrites-input"}),
    ],
)
def test_what_lies_in_front_of_the_output_is_written_over(
    offset: str, codes: set[str], tmp_path: object
) -> None:
    """The input ends at 0x378, and hardware row 0 begins 28 bytes in front of the output, before row 15 is read."""
    text = (DILATED / "network.yaml").read_text().replace("0x2000", offset)
    assert offset in text
    path = tmp_path / "network.yaml"  # type: ignore[operator]
    path.write_text(text)
    device = DEVICES[json.loads((DILATED / "expected.json").read_text())["device"]]
    found = check(
        read_network(path),
        device,
        read_checkpoint(DILATED / "checkpoint.pth.tar"),
        np.load(DILATED / "sample.npy"),
    )
    assert {d.code for d in found if d.severity == "error"} == codes


def test_wide_outputs_have_words_of_zeros_in_front() -> None:
    """Two channels of 32 bits from processor 2 on: kernels of zeros for processors 0 and 1 have a word each."""
    keys = "kernel_size: 1x1, pad: 0, output_width: 32, output_processors: 0xc, out_offset: 0"
    program = program_of(
        f"- {{processors: 0x1, op: conv2d, {keys}}}", random_int8(1, 2, 1, 1, 1), input_shape=(1, 1, 1)
    )
    places = written(program.layers[0], MAX78000.data_memory_bytes)
    assert places.filler.ravel().tolist() == list(range(8))
    assert places.data.ravel().tolist() == list(range(8, 16))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 30), st.sampled_from(["0xc", "0x9", "0x6", "0x12"]))
def test_wide_outputs_may_write_over_what_lies_in_front(word: int, written_to: str) -> None:
    """A copy of the sample lies in the way of a 32-bit output of two channels, and is read once more."""
    keys = f"kernel_size: 1x1, pad: 0, {{}}output_processors: {written_to}"
    layers = f"""
    - {{processors: 0xf, op: none, out_offset: 0x440, output_processors: 0xf}}
    - {{processors: 0xf, op: conv2d, {keys.format("output_width: 32, ")}, out_offset: {0x400 + 4 * word}}}
    - {{processors: 0xf, op: none, in_sequences: 0, in_offset: 0x440, out_offset: 0x2000, output_processors: 0xf}}
    """
    program = program_of(layers, random_int8(1, 2, 4, 1, 1), input_shape=(4, 2, 2))
    agree(program, random_int8(3, 4, 2, 2))
