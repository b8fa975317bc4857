"""`check`: what it applies, what it says it could not, and how it goes on behind a fault."""

import json
import os
import tracemalloc
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from ai8xsim import (
    MAX78000,
    MAX78002,
    Machine,
    ResolveError,
    Severity,
    check,
    read_checkpoint,
    read_network,
    resolve,
)
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.cli.app import cli
from ai8xsim.codes import CODES
from ai8xsim.device import Device
from ai8xsim.diagnostics import Span, error
from ai8xsim.network import parse_network
from ai8xsim.report.sarif import sarif
from ai8xsim.rules import RULES
from ai8xsim.rules.subject import Needs

from ..conftest import ROOT
from ..simulator.small_programs import network_of, program_of, random_int8, stored_layer

DIGITS = ROOT / "networks" / "digits"
FAULTS = ROOT / "tests" / "faults"


def checkpoint_of(*shapes: tuple[int, ...]) -> Checkpoint:
    layers = tuple(stored_layer(f"layer{n}", np.ones(shape, np.int64)) for n, shape in enumerate(shapes))
    return Checkpoint("x.pth.tar", None, None, layers)


def test_every_rule_has_its_code_and_only_one() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(CODES)


def test_the_bundled_network_is_sound_with_all_that_belongs_to_it() -> None:
    network, checkpoint = (
        read_network(DIGITS / "network.yaml"),
        read_checkpoint(DIGITS / "checkpoint.pth.tar"),
    )
    sample = np.load(DIGITS / "samples.npz")["images"][0]
    for device in (MAX78000, MAX78002):
        findings = check(network, device, checkpoint, sample)
        assert (findings.diagnostics, findings.not_run) == ((), ())


def test_without_a_checkpoint_channels_are_not_guessed() -> None:
    findings = check(read_network(DIGITS / "network.yaml"), MAX78000)
    assert {entry.rule for entry in findings.not_run} == {
        rule.code for rule in RULES if rule.needs is not Needs.DESCRIPTION
    }
    assert all("checkpoint" in entry.why for entry in findings.not_run)


def test_where_any_size_fits_a_sample_is_asked_for() -> None:
    network = network_of("- {op: conv2d, out_offset: 0x2000, output_processors: 0x1}")
    findings = check(network, MAX78000, checkpoint_of((1, 1, 3, 3)))
    assert {entry.rule for entry in findings.not_run} == {r.code for r in RULES if r.needs is Needs.PROGRAM}
    assert "give a sample" in findings.not_run[0].why
    assert not check(network, MAX78000, checkpoint_of((1, 1, 3, 3)), np.zeros((1, 4, 4), int)).not_run


def test_it_goes_on_behind_a_mismatch_and_says_what_does_not_rest_on_it() -> None:
    layers = """
    - {processors: 0x7, op: conv2d, out_offset: 0x1000}
    - {processors: 0xff, op: conv2d, out_offset: 0x2000}
    - {processors: 0xff, op: conv2d, out_offset: 0x3002}
    """
    checkpoint = checkpoint_of((4, 3, 3, 3), (8, 5, 3, 3), (4, 8, 3, 3))
    findings = check(network_of(layers), MAX78000, checkpoint, np.zeros((3, 4, 4), int))
    errors = [(d.code, d.span.line) for d in findings if d.severity is Severity.ERROR and d.span]
    assert errors == [("channel-mismatch", 5), ("unaligned-offset", 6)]


def codes_of(layers: str, device: Device, *shapes: tuple[int, ...], buffers: str = "") -> list[str]:
    found = check(network_of(layers, buffers), device, checkpoint_of(*shapes), np.zeros((4, 8, 8), int))
    return [d.code for d in found if d.severity is Severity.ERROR]


def test_an_unaligned_offset_is_one_fault_and_not_two() -> None:
    layers = """
    - {processors: 0xf, op: conv2d, out_offset: 0x1002}
    - {processors: 0xf, op: conv2d, in_offset: 0x1004, out_offset: 0x2000}
    """
    assert codes_of(layers, MAX78000, (4, 4, 3, 3), (4, 4, 3, 3)) == ["unaligned-offset"]


def test_an_unaligned_unload_is_a_fault() -> None:
    text = "arch: a\ndataset: b\nunload:\n  - {processors: 1, channels: 1, dim: 4, offset: 0x2002}\n"
    reading = parse_network(text + "layers:\n  - {processors: 1, op: none, out_offset: 0x2000}\n")
    assert reading.network is not None
    (found,) = check(reading.network, MAX78000)
    assert (found.code, found.span and found.span.line) == ("unaligned-offset", 4)
    assert found.help == "write `offset: 0x2000` or `0x2004`"


def test_forgotten_operations_are_named() -> None:
    """An element-wise operation, and a pass-through."""
    shapes = (4, 4, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)
    forgotten = COPIED.replace("op: add", "op: conv2d")
    (fault,) = [mend for code, mend in found_in(forgotten, *shapes) if code == "channel-mismatch"]
    assert fault.startswith("write `eltwise: add`")
    added = COPIED.replace("op: add", "eltwise: add, op: conv2d")
    assert found_in(added, *shapes) == []
    (fault,) = [mend for _, mend in found_in(COPIED.replace("op: none, ", ""), *shapes[:2])]
    assert fault.startswith("if layer 1 (`copy`) has no weights in the model, write `op: passthrough` there")


def test_a_linear_layer_is_not_advised_to_have_a_larger_kernel() -> None:
    layers = "- {processors: 0xf, op: OP, pad: 1, out_offset: 0x4000}"
    ((_, linear),) = found_in(layers.replace("OP", "linear"), (4, 4))
    assert linear == "write `pad: 0`"
    ((_, conv),) = found_in(layers.replace("OP", "conv2d, kernel_size: 1x1"), (4, 4, 1, 1))
    assert conv == "write `pad: 0` or a larger kernel"


def test_a_gap_that_the_device_lacks_is_one_fault_and_not_two() -> None:
    layers = "- {processors: 0xf, op: conv2d, read_gap: 1, in_offset: 0, out_offset: 0x100}"
    assert codes_of(layers, MAX78000, (4, 4, 3, 3)) == ["not-on-device"]


def test_wide_output_in_a_buffer_of_bytes_is_a_fault() -> None:
    layers = """
    - {processors: 0xf, op: conv2d, out_offset: 0x1000}
    - {processors: 0xf, op: linear, flatten: true, WIDE buffer_insert: 1, out_offset: 0x4010, output_processors: 0xf}
    - {processors: 0xf, op: conv1d, kernel_size: 1, pad: 0, in_sequences: past, PLACE, out_offset: 0x2000}
    """.replace("PLACE", "in_offset: 0x4000, in_dim: 5")
    wide = layers.replace("WIDE", "output_width: 32,")
    buffers = "- {name: past, processors: 0xf, channels: 4, dim: 5, offset: 0x4000}"
    shapes = ((4, 4, 3, 3), (4, 256), (4, 4, 1))
    assert codes_of(wide, MAX78002, *shapes, buffers=buffers) == ["hidden-wide"]
    assert codes_of(layers.replace("WIDE", ""), MAX78002, *shapes, buffers=buffers) == []


def found_in(layers: str, *shapes: tuple[int, ...], device: Device = MAX78000) -> list[tuple[str, str]]:
    found = check(network_of(layers), device, checkpoint_of(*shapes), np.zeros((4, 8, 8), int))
    return [(d.code, d.help) for d in found if d.severity is Severity.ERROR]


def test_a_forgotten_flatten_is_one_fault_and_not_two() -> None:
    layers = """
    - {processors: 0xf, op: conv2d, out_offset: 0x2000}
    - {processors: 0xff, op: linear, out_offset: 0}
    - {processors: 0xff, op: linear, out_offset: 0x2000}
    """
    shapes = (8, 4, 3, 3), (8, 512), (4, 8)
    assert found_in(layers, *shapes) == [("channel-mismatch", "write `flatten: true`")]


CONCATENATION = """
- {processors: 0xf, output_processors: 0xf, op: conv2d, out_offset: 0x2000, name: a}
- {processors: 0xf, output_processors: 0xf0, in_sequences: a, in_offset: 0x2000, op: conv2d, out_offset: B, name: b}
- {processors: 0xff, op: conv2d, in_sequences: [a, b], in_offset: 0x2000, out_offset: 0x6000}
"""


def test_a_part_of_a_concatenation_that_lies_elsewhere_is_called_back() -> None:
    shapes = (4, 4, 3, 3), (4, 4, 3, 3), (4, 8, 3, 3)
    ((code, mend),) = found_in(CONCATENATION.replace("B", "0x4000"), *shapes)
    assert (code, mend) == ("misplaced-input", "write `out_offset: 0x2000` in layer 1 (`b`)")
    assert found_in(CONCATENATION.replace("B", "0x2000"), *shapes) == []


def test_the_sample_as_an_operand_beside_a_layer_is_one_fault() -> None:
    layers = """
    - {processors: 0xf, op: conv2d, out_offset: 0x2000}
    - {processors: 0xf, op: add, in_sequences: [input, 0], in_offset: 0, out_offset: 0x4000}
    """
    ((code, mend),) = found_in(layers, (4, 4, 3, 3))
    assert code == "operands-apart"
    assert mend == "let a pass-through write the sample with `write_gap: 1`, and read its output here"


RESIDUAL = """
- {processors: 0xf, op: conv2d, name: down, out_offset: 0x2000WRITE}
- {processors: 0xf, op: conv2d, name: side, out_offset: SIDEREAD}
- {processors: 0xf, op: add, in_sequences: [down, side], in_offset: 0x2000, out_offset: 0x6000}
"""
COPIED = """
- {processors: 0xf, op: conv2d, name: down, out_offset: 0x2000}
- {processors: 0xf, op: none, name: copy, out_offset: 0x4000, write_gap: 1}
- {processors: 0xf, op: conv2d, name: side, in_sequences: down, in_offset: 0x2000, out_offset: 0x4004, write_gap: 1}
- {processors: 0xf, op: add, in_sequences: [copy, side], in_offset: 0x4000, out_offset: 0x6000}
"""


def residual(write: str, side: str, read: str) -> str:
    return RESIDUAL.replace("WRITE", write).replace("SIDE", side).replace("READ", read)


def test_an_operand_that_another_layer_reads_is_copied() -> None:
    """What a residual block looks like at first; told all at once, and what is told passes."""
    shapes = (4, 4, 3, 3), (4, 4, 3, 3)
    naive = residual("", "0x4000", "")
    first, second = found_in(naive, *shapes)
    assert first == (
        "operands-apart",
        "layer 1 (`side`) reads it too, without gaps: let a pass-through copy it, with `write_gap: 1` "
        "and a free `out_offset`, and name the pass-through in `in_sequences`",
    )
    behind = "in layer 1 (`side`), write `write_gap: 1` and an `out_offset` 4 bytes behind that of operand 0"
    assert second == ("operands-apart", behind)
    assert found_in(COPIED, *shapes) == []
    gaps = "; or write `write_gap: 1` in layer 0 (`down`), and `read_gap: 1` in layer 1 (`side`)"
    assert found_in(naive, *shapes, device=MAX78002) == [(first[0], first[1] + gaps), second]
    both = residual(", write_gap: 1", "0x2004, write_gap: 1", ", read_gap: 1")
    assert found_in(both, *shapes, device=MAX78002) == []


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_operands_lie_side_by_side_and_the_gap_behind_them(gap: int) -> None:
    """The MAX78002 knows one stride, from pixel to pixel; the loader expects operand i at `in_offset` + 4 * i."""
    shapes, written = [(4, 4, 3, 3)] * 2, 2 * (gap + 1) - 1
    for apart in {4, 4 * (gap + 1)}:
        place = 0x4000 + apart
        layers = f"""
        - {{processors: 0xf, op: conv2d, name: a, out_offset: 0x4000, write_gap: {written}}}
        - {{processors: 0xf, op: conv2d, in_sequences: input, in_offset: 0, out_offset: {place}, write_gap: {written}}}
        - {{processors: 0xf, op: add, in_sequences: [0, 1], in_offset: 0x4000, read_gap: {gap}, out_offset: 0x2000}}
        """
        mend = f"in layer 1, write `out_offset: 0x4004` and `write_gap: {written}`"
        assert found_in(layers, *shapes, device=MAX78002) == ([("operands-apart", mend)] if apart > 4 else [])
        program = program_of(
            layers,
            *(random_int8(n, *shape) for n, shape in enumerate(shapes)),
            input_shape=(4, 8, 8),
            device=MAX78002,
        )
        assert bool(Machine(program).run(random_int8(3, 4, 8, 8)).misreads[0]) == (apart > 4)


def test_operands_that_are_apart_are_not_moved_together() -> None:
    """Elsewhere they would be as far apart: there is one piece of advice for one line."""
    shapes = (4, 4, 3, 3), (4, 4, 3, 3)
    found = found_in(COPIED.replace("0x4004", "0x2084"), *shapes)
    assert found == [
        ("overwrites-input", "first let the operands of layer 3 interleave"),
        ("operands-apart", "in layer 2 (`side`), write `out_offset: 0x4004` and `write_gap: 1`"),
    ]


def test_no_place_is_looked_for_before_the_processors_are_known() -> None:
    layers = """
    - {processors: 0xf, output_processors: 0x1, op: conv2d, out_offset: 0}
    - {processors: 0xf, op: conv2d, out_offset: 0x4000}
    """
    helps = dict(found_in(layers, (4, 4, 3, 3), (4, 4, 3, 3)))
    assert helps["overwrites-input"].startswith("first mend the number of its output's processors")
    mended = layers.replace("0x1,", "0xf,")
    assert found_in(mended, (4, 4, 3, 3), (4, 4, 3, 3)) == [
        ("overwrites-input", "write `out_offset: 0x0100`")
    ]


def test_a_gap_that_the_device_cannot_read_is_not_advised() -> None:
    gap = residual(", write_gap: 1", "0x2004, write_gap: 1", "")
    shapes = (4, 4, 3, 3), (4, 4, 3, 3)
    (code, mend), *_ = found_in(gap, *shapes)
    without = (
        "write `write_gap: 0` in layer 0 (`down`), "
        "and let layer 2 read a pass-through that copies it with `write_gap: 1`"
    )
    assert (code, mend) == ("misplaced-input", without)
    assert found_in(gap, *shapes, device=MAX78002)[0][1] == f"write `read_gap: 1`, or {without}"


def test_advice_is_given_beside_a_layer_in_doubt() -> None:
    """What a layer in doubt reads is not known, and the place advised to another one is tried out all the same."""
    layers = """
    - {processors: 0xf, output_processors: 0xff, op: conv2d, out_offset: 0}
    - {processors: 0x1f, op: conv2d, out_offset: 0x4000}
    - {processors: 0xf, op: conv2d, out_offset: 0x2000}
    """
    found = found_in(layers, (8, 4, 3, 3), (4, 5, 3, 3), (4, 4, 3, 3))
    assert [code for code, _ in found] == ["overwrites-input", "channel-mismatch"]
    assert found[0][1] == "write `out_offset: 0x0100`"


def test_a_flag_among_the_keys_is_called_a_flag() -> None:
    text = "arch: a\ndataset: b\nlayers:\n- {processors: 1, out_offset: 0, fast-fifo: true}"
    (found,) = [d for d in parse_network(text).diagnostics if d.code == "unknown-key"]
    assert "`--fast-fifo` is a flag" in found.help


def test_a_sample_out_of_range_is_a_finding() -> None:
    network, checkpoint = (
        read_network(DIGITS / "network.yaml"),
        read_checkpoint(DIGITS / "checkpoint.pth.tar"),
    )
    findings = check(network, MAX78000, checkpoint, np.full((1, 8, 8), 200))
    assert [d.code for d in findings] == ["sample-range"]


@pytest.mark.parametrize("sample", [[[1, 2], [3]], torch.zeros(1, 8, 8, device="meta")])
def test_what_is_no_array_is_a_finding_too(sample: object) -> None:
    network, checkpoint = (
        read_network(DIGITS / "network.yaml"),
        read_checkpoint(DIGITS / "checkpoint.pth.tar"),
    )
    found = check(network, MAX78000, checkpoint, sample)  # type: ignore[arg-type]
    assert [d.code for d in found] in (["sample-shape"], ["sample-type"])
    assert (found.not_run, found.deduced) == ((), (1, 8, 8))


def test_a_sample_may_be_a_tensor_of_a_graph() -> None:
    network, checkpoint = (
        read_network(DIGITS / "network.yaml"),
        read_checkpoint(DIGITS / "checkpoint.pth.tar"),
    )
    assert not check(network, MAX78000, checkpoint, torch.zeros(1, 8, 8, requires_grad=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("streaming", ["", ", streaming: true"])
def test_data_too_large_for_any_place_is_not_looked_at_byte_by_byte(streaming: str) -> None:
    """64 channels of 1024x1024 pixels in four layers: the tags of their bytes alone would take gigabytes."""
    first = (
        f"- {{processors: 0xffffffffffffffff, op: conv2d, in_dim: [1024, 1024], out_offset: 0{streaming}}}"
    )
    layers = "\n".join([first] + ["- {processors: 0xffffffffffffffff, op: conv2d, out_offset: 0}"] * 3)
    checkpoint = checkpoint_of(*[(64, 64, 3, 3)] * 4)
    tracemalloc.start()
    try:
        found = check(network_of(layers), MAX78000, checkpoint)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 26
    assert sum(d.code in {"input-too-large", "output-too-large"} for d in found) == 5
    assert not found.not_run


@given(st.integers(1, 16384), st.lists(st.integers(1, 4096), min_size=2, max_size=2))
def test_a_data_buffer_that_no_memory_holds_is_a_fault(channels: int, dim: list[int]) -> None:
    buffers = f"  - {{name: past, processors: 0xf, channels: {channels}, dim: {dim}, offset: 0}}"
    network = network_of("- {processors: 0xf, op: conv2d, out_offset: 0x4000}", buffers)
    is_possible = channels * dim[0] * dim[1] <= 16 * MAX78000.data_memory_bytes
    checkpoint = checkpoint_of((4, 4, 3, 3))
    assume(not is_possible)
    (found,) = check(network, MAX78000, checkpoint, np.zeros((4, 8, 8)))
    assert (found.code, found.span and found.span.line) == ("input-too-large", 6)
    with pytest.raises(ResolveError, match="all data memories hold 524288"):
        resolve(network, checkpoint, MAX78000, (4, 8, 8))


def test_findings_are_a_sequence() -> None:
    network = network_of("- {op: conv2d}\n- {op: conv2d, pad: 2, kernel_size: 1x1}")
    findings = check(network, MAX78000)
    assert list(findings) == list(findings.diagnostics)
    assert findings[0] is findings[:1][0]
    assert findings.has_errors


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(
        cli, ["check", *map(str, words)], standalone_mode=False, catch_exceptions=False
    )
    return int(result.return_value or 0), result.output


def test_the_command_on_a_sound_network() -> None:
    code, output = run(DIGITS / "network.yaml", "--checkpoint", DIGITS / "checkpoint.pth.tar")
    assert code == 0
    summary, shape = output.splitlines()
    assert summary == f"no faults; {len(RULES)} of {len(RULES)} rules applied"
    assert shape == "sample taken as 1x8x8, deduced from the layers"


def test_the_command_on_a_faulty_description() -> None:
    code, output = run(FAULTS / "late-streaming.yaml", "--fifo")
    assert code == 1
    assert "error[late-streaming]: layer 1 streams, and layer 0 before it does not" in output
    assert "1 error; " in output
    assert "not applied, because it needs a checkpoint" in output
    code, output = run(FAULTS / "late-streaming.yaml", "--fifo", "--quiet")
    assert (code, output.startswith("error[late-streaming]"), "not applied" in output) == (1, True, False)


def test_json_has_the_documented_form() -> None:
    code, output = run(FAULTS / "late-streaming.yaml", "--fifo", "--json")
    record = json.loads(output)
    assert code == 1
    assert record["schema_version"] == 1
    (found,) = record["diagnostics"]
    assert (found["severity"], found["code"], found["line"], found["column"]) == (
        "error",
        "late-streaming",
        15,
        16,
    )
    assert set(found) == {"severity", "code", "message", "file", "line", "column", "notes", "help"}
    assert {tuple(sorted(entry)) for entry in record["not_run"]} == {("rule", "why")}


def test_sarif_names_rule_and_place(tmp_path: Path) -> None:
    target = tmp_path / "found.sarif"
    code, _ = run(FAULTS / "unaligned-offset.yaml", "--sarif", target)
    log = json.loads(target.read_text())
    assert (code, log["version"]) == (1, "2.1.0")
    (run_,) = log["runs"]
    (result,) = run_["results"]
    assert (
        run_["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "unaligned-offset"
    )
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 6, "startColumn": 17, "endColumn": 23}
    with pytest.raises(Exception, match="exists"):
        run(FAULTS / "unaligned-offset.yaml", "--sarif", target)


@pytest.mark.parametrize("is_absolute", [False, True])
@given(
    st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(lambda name: name not in {".", ".."})
)
def test_sarif_names_files_by_their_uri(is_absolute: bool, name: str) -> None:
    """`#`, `%`, `?`, a blank or an umlaut in a name is no part of the address's grammar."""
    path = PurePosixPath("/work" if is_absolute else "work", os.fsdecode(name.encode(errors="replace")))
    (result,) = sarif([error("empty-file", "empty", Span(str(path)))])["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    parts = urlsplit(uri)
    assert parts.scheme == ("file" if is_absolute else "")
    assert unquote(parts.path) == str(path)
    assert uri.isascii()
    assert not set(uri) & {" ", "#", "?"}


def test_a_description_that_cannot_be_read_leaves_the_other_files_to_be_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("layers: [\n")
    empty = tmp_path / "empty.pth.tar"
    empty.write_bytes(b"")
    code, output = run(broken, "--checkpoint", empty)
    assert code == 1
    assert "error[yaml-syntax]" in output
    assert "error[empty-checkpoint]" in output
    assert "because the description has errors" in output


def test_the_map_shows_who_lies_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    _, output = run(DIGITS / "network.yaml", "--checkpoint", DIGITS / "checkpoint.pth.tar", "--map")
    (conv3,) = [line for line in output.split("\n") if "conv3" in line and "in 0-7" in line]
    assert "0x0000-0x0100 in 0-7" in conv3
    assert "0x4000-0x4040 in 0-7" in conv3
    pictures = [line.split()[-1] for line in output.split("\n") if line.endswith("...............  ")]
    assert len(pictures) == 5
    assert pictures[2] == "i" + "." * 15 + "o" + "." * 15
    assert "weight memory" in output
    assert "bias memory" in output
    _, output = run(DIGITS / "network.yaml", "--map")
    assert "no map" in output
    with pytest.raises(Exception, match="one of --map and --json"):
        run(DIGITS / "network.yaml", "--map", "--json")


def test_the_shape_that_was_deduced_is_told() -> None:
    """A forgotten padding passes with a larger sample: who reads the size sees it."""
    network, checkpoint = str(DIGITS / "network.yaml"), ["--checkpoint", str(DIGITS / "checkpoint.pth.tar")]
    shown = CliRunner().invoke(cli, ["check", network, *checkpoint]).output
    assert "taken as 1x8x8" in shown
    record = json.loads(CliRunner().invoke(cli, ["check", network, *checkpoint, "--json"]).output)
    assert record["deduced_shape"] == [1, 8, 8]
    assert "taken as" not in CliRunner().invoke(cli, ["check", network]).output
    described, stored = read_network(network), read_checkpoint(DIGITS / "checkpoint.pth.tar")
    assert check(described, MAX78000, stored, np.zeros((1, 8, 8), int)).deduced is None
