"""`sampleoutput.h`: words of memory back into values of layers, and what is said of headers that do not fit."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import MAX78000, MAX78002, InputError, Machine, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.compare import compare
from ai8xsim.compare.causes import diagnose
from ai8xsim.compare.known_answer import expected_outputs, read_known_answer
from ai8xsim.program import Program

from ..conftest import ROOT

NARROW = """
arch: narrow
dataset: d
layers:
  - {op: conv2d, kernel_size: 3x3, pad: 1, activate: ReLU, processors: 0x7, out_offset: 0x2000, output: true,
     out_channels: 6}
  - {op: conv2d, kernel_size: 1x1, pad: 0, processors: 0x3f0, out_offset: 0x1000, output_processors: 0x3e0000,
     in_offset: 0x2000, out_channels: 5}
"""


def digits() -> tuple[Program, Any]:
    folder = ROOT / "networks" / "digits"
    network, stored = read_network(folder / "network.yaml"), read_checkpoint(folder / "checkpoint.pth.tar")
    return resolve(network, stored, MAX78000, (1, 8, 8)), np.load(folder / "samples.npz")["images"][0]


def narrow() -> tuple[Program, Any]:
    from ai8xsim.network import parse_network
    from ai8xsim.program.invent import random_checkpoint

    network = parse_network(NARROW).network
    assert network is not None
    stored = random_checkpoint(network, MAX78000, (3, 5, 7), 4)
    program = resolve(network, stored, MAX78000, (3, 5, 7))
    return program, np.random.default_rng(0).integers(-128, 128, (3, 5, 7))


def header(program: Program, sample: Any, limit: int | None = None) -> str:
    """As the loader writes it: every word of every output layer, blocks of one mask without gaps.

    Written from the format, processor by processor; the reader goes through the addresses of `layout.py`.
    """
    words: dict[tuple[int, int], int] = {}
    trace = Simulator(program).run(sample)
    for layer in (layer for layer in program.layers if layer.is_output):
        output = trace[layer.index].output
        processors = [p for p in range(64) if layer.placement.output_processors >> p & 1]
        wide = layer.output_stage.bits == 32
        for (channel, row, column), value in np.ndenumerate(output):
            processor = processors[channel]
            base = 0x50400000 + processor // 16 * 0x400000 + processor % 16 // 4 * 0x8000
            pixel = row * output.shape[2] + column
            address = base + layer.placement.out_offset + 4 * pixel * (4 if wide else 1)
            if wide:
                words[0xFFFFFFFF, address + 4 * (processor % 4)] = int(value) & 0xFFFFFFFF
                continue
            lanes = sum(0xFF << 8 * (p % 4) for p in processors if p // 4 == processor // 4)
            old = words.get((lanes, address), 0)
            words[lanes, address] = old | (int(value) & 0xFF) << 8 * (processor % 4)
    numbers: list[int] = []
    for (mask, address), word in sorted(words.items())[:limit]:
        numbers += [address, mask, 1, word]
    lines = [f"0x{number:08x}" for number in [*numbers, 0]]
    return "// generated\n\n#define SAMPLE_OUTPUT { \\\n  " + ", \\\n  ".join(lines) + " \\\n}\n"


@pytest.mark.parametrize("case", [digits, narrow])
def test_a_known_answer_is_read_back_into_values(case: Any, tmp_path: Path) -> None:
    program, sample = case()
    (tmp_path / "sampleoutput.h").write_text(header(program, sample))
    trace = Simulator(program).run(sample)
    layers, said = expected_outputs(program, read_known_answer(tmp_path / "sampleoutput.h", MAX78000))
    assert set(layers) == {layer.index for layer in program.layers if layer.is_output}
    assert not said
    assert compare(trace, layers).is_equal
    assert compare(Machine(program).run(sample), layers).is_equal


def test_one_bit_of_a_word_is_found_at_its_value(tmp_path: Path) -> None:
    program, sample = digits()
    trace = Simulator(program).run(sample)
    value = int(trace.output.ravel()[3]) & 0xFFFFFFFF
    text = header(program, sample)
    assert f"0x{value:08x}" in text
    (tmp_path / "sampleoutput.h").write_text(text.replace(f"0x{value:08x}", f"0x{value ^ 1:08x}"))
    layers, _ = expected_outputs(program, read_known_answer(tmp_path / "sampleoutput.h", MAX78000))
    measures = compare(trace, layers).layers[-1].measures
    assert measures is not None
    assert (measures.different, measures.first) == (1, (3, 0, 0))


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    program, sample = narrow()
    (tmp_path / "sampleoutput.h").write_text(header(program, sample, limit=20))
    trace = Simulator(program).run(sample)
    layers, said = expected_outputs(program, read_known_answer(tmp_path / "sampleoutput.h", MAX78000))
    assert {d.code for d in said} == {"incomplete-known-answer"}
    compared = compare(trace, layers).compared
    assert all(layer.is_equal for layer in compared)
    totals = [layer.measures.total for layer in compared if layer.measures]
    assert sum(totals) < sum(trace[layer.index].output.size for layer in compared)


def test_a_difference_is_counted_among_what_is_stated(tmp_path: Path) -> None:
    program, sample = digits()
    value = int(Simulator(program).run(sample).output.ravel()[0]) & 0xFFFFFFFF
    text = header(program, sample, limit=2).replace(f"0x{value:08x}", f"0x{value ^ 1:08x}")
    (tmp_path / "sampleoutput.h").write_text(text)
    layers, _ = expected_outputs(program, read_known_answer(tmp_path / "sampleoutput.h", MAX78000))
    (compared,) = compare(Simulator(program).run(sample), layers).compared
    assert compared.measures is not None
    assert (compared.measures.different, compared.measures.total) == (1, 2)
    (cause,) = diagnose(program, sample, layers)
    assert cause.notes[0] == "1 of 2 values differ"
    assert cause.notes[1].startswith("1 other channels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int x;", "defines no SAMPLE_OUTPUT"),
        ("#define SAMPLE_OUTPUT { 0x50400000, 0xffffffff, 2, 1, 0 }", "damaged"),
        ("#define SAMPLE_OUTPUT { hello }", "damaged"),
        ("#define SAMPLE_OUTPUT { 0x50400000, 0xffffffff, 1 }", "damaged"),
        ("#define SAMPLE_OUTPUT { 0x50400000, 0xff }", "damaged"),
        ("#define SAMPLE_OUTPUT { 0x50100000, 0xffffffff, 1, 7, 0 }", "no data memory of the MAX78000"),
        ("#define SAMPLE_OUTPUT { 0x50407000, 0xffffffff, 1, 7, 0 }", "none of the addresses"),
    ],
)
def test_what_is_no_known_answer_is_refused(text: str, message: str, tmp_path: Path) -> None:
    program, _ = narrow()
    (tmp_path / "sampleoutput.h").write_text(text)
    with pytest.raises(InputError, match=message) as refusal:
        expected_outputs(program, read_known_answer(tmp_path / "sampleoutput.h", MAX78000))
    assert refusal.value.diagnostics[0].code == "not-a-known-answer"


def test_addresses_belong_to_a_device() -> None:
    assert MAX78002.data_memory_place(0x51800000) == 0
    assert MAX78002.data_memory_place(0x52820000) == 5 * 80 * 1024
    assert MAX78002.data_memory_place(0x51800000 + 80 * 1024) is None
    assert MAX78000.data_memory_place(0x51018004) == 15 * 32 * 1024 + 4


def test_the_command_compares_with_a_header(tmp_path: Path) -> None:
    program, sample = digits()
    (tmp_path / "sampleoutput.h").write_text(header(program, sample))
    np.save(tmp_path / "sample.npy", sample)
    folder = ROOT / "networks" / "digits"
    words = ["compare", str(folder / "network.yaml"), "--checkpoint", str(folder / "checkpoint.pth.tar")]
    words += ["--sample", "sample.npy", "--against", "sampleoutput.h"]
    shown = subprocess.run(
        [sys.executable, "-m", "ai8xsim", *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "every value of every compared layer is equal" in shown.stdout
