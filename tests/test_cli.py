"""The command line as a person types it: outputs, exit codes, files."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ai8xsim import MAX78000, Simulator, __version__, read_checkpoint, read_network, resolve
from ai8xsim.codes import CODES
from ai8xsim.network.keys import TABLES
from ai8xsim.report.memory_map import print_memory_map
from ai8xsim.report.terminal import print_trace
from ai8xsim.trace import digest_of
from tests.command_line import Shown, ai8xsim, ai8xsim_apart

FINE, CONTENT, USAGE, BUG = 0, 1, 2, 3


@pytest.fixture
def work(digits: Path, tmp_path: Path) -> Path:
    """A folder with a network, its checkpoint, a sample, a batch, and nothing else."""
    for name in ("network.yaml", "checkpoint.pth.tar"):
        (tmp_path / name).write_bytes((digits / name).read_bytes())
    with np.load(digits / "samples.npz") as samples:
        np.save(tmp_path / "sample.npy", samples["images"][0])
        np.save(tmp_path / "batch.npy", samples["images"][:5])
    return tmp_path


def simulate(work: Path, *words: object) -> Shown:
    return ai8xsim("simulate", "network.yaml", "--checkpoint", "checkpoint.pth.tar", *words, cwd=work)


def test_version_and_help() -> None:
    assert ai8xsim_apart("--version").stdout.split()[-1] == __version__
    shown = ai8xsim_apart("--help").stdout
    assert all(command in shown for command in ("demo", "explain", "simulate"))
    assert "--checkpoint" in ai8xsim("simulate", "--help").stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("explain",), "output_shift"),
        (("schema",), '"$schema"'),
        (("quantize", "--help"), "TRAINED QUANTIZED"),
    ],
)
def test_commands_that_no_other_test_starts_apart(words: tuple[str, ...], text: str) -> None:
    shown = ai8xsim_apart(*words)
    assert (shown.returncode, shown.stderr) == (FINE, "")
    assert text in shown.stdout


def test_simulate_shows_the_layers_and_the_output(work: Path) -> None:
    shown = simulate(work, "--sample", "sample.npy")
    assert shown.returncode == FINE
    assert "conv2d" in shown.stdout
    assert "linear" in shown.stdout
    assert "output: [" in shown.stdout


def piped(path: Path, folder: Path) -> tuple[Path, threading.Thread]:
    """A pipe through which a file comes once."""
    pipe = folder / f"pipe-{path.name}"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()), daemon=True)
    feeder.start()
    return pipe, feeder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_everything_can_come_through_pipes(work: Path) -> None:
    """As from `<(gunzip -c ...)`: each file is read once, the map included, and a pipe can be written to."""
    files = [work / name for name in ("network.yaml", "checkpoint.pth.tar", "sample.npy")]
    (work / "pipes").mkdir()
    network, checkpoint, sample = (piped(path, work / "pipes")[0] for path in files)
    shown = ai8xsim_apart("check", network, "--checkpoint", checkpoint, "--sample", sample, "--map")
    assert shown.returncode == FINE, shown.stderr
    assert "no faults" in shown.stdout
    assert "bias memory" in shown.stdout
    os.mkfifo(work / "output")
    taken: list[bytes] = []
    taker = threading.Thread(target=lambda: taken.append((work / "output").read_bytes()), daemon=True)
    taker.start()
    assert simulate(work, "--sample", "sample.npy", "--output", "output").returncode == FINE
    taker.join(timeout=10)
    assert np.load(io.BytesIO(taken[0])).shape == (10, 1, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_half_a_sample_from_a_pipe_is_no_array(work: Path) -> None:
    (work / "half.npy").write_bytes((work / "sample.npy").read_bytes()[:-1])
    pipe, _ = piped(work / "half.npy", work)
    shown = simulate(work, "--sample", pipe)
    assert shown.returncode == CONTENT
    assert "error[not-an-array]" in shown.stderr


def test_a_narrow_terminal_cuts_nothing_off(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """234126 without its last figure would be a number as well."""
    program = resolve(
        read_network(work / "network.yaml"), read_checkpoint(work / "checkpoint.pth.tar"), MAX78000, (1, 8, 8)
    )
    trace = Simulator(program).run(np.load(work / "batch.npy"))

    def shown(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        output = io.StringIO()
        monkeypatch.setattr("sys.stdout", output)
        print_trace(trace)
        print_memory_map(program)
        return output.getvalue().split()

    wide = {word for word in shown(200) if "─" not in word}
    assert wide - {layer.name for layer in trace} <= set(shown(30))


def test_json_is_as_documented(work: Path) -> None:
    shown = simulate(work, "--sample", "sample.npy", "--json")
    record = json.loads(shown.stdout)
    assert shown.returncode == FINE
    assert set(record) == {"schema_version", "device", "output", "layers", "diagnostics"}
    assert (record["schema_version"], record["device"]) == (1, "MAX78000")
    assert set(record["output"]) == {"shape", "dtype", "sha256", "values"}
    assert digest_of(np.array(record["output"]["values"])) == record["output"]["sha256"]
    assert (record["output"]["shape"], record["output"]["dtype"]) == ([10, 1, 1], "int32")
    for layer in record["layers"]:
        assert set(layer) == {"index", "name", "operator", "shape", "sha256", "saturated"}
    assert record["layers"][-1]["sha256"] == record["output"]["sha256"]


def test_files_are_written_and_agree(work: Path) -> None:
    words = ("--sample", "sample.npy", "--output", "out.npy", "--trace", "t.npz", "--save-sample", "s.npy")
    assert simulate(work, *words).returncode == FINE
    assert np.load(work / "out.npy").dtype == np.int32
    assert np.array_equal(np.load(work / "s.npy"), np.load(work / "sample.npy"))
    assert np.load(work / "s.npy").dtype == np.int64
    with np.load(work / "t.npz") as stored:
        assert "layer0" in stored
        assert json.loads(str(stored["meta"]))["schema_version"] == 1
    assert simulate(work, "--sample", "s.npy", "--expect", "out.npy").returncode == FINE
    assert simulate(work, "--sample", "s.npy", "--expect", "t.npz").returncode == FINE
    leftovers = {path.name for path in work.iterdir()} - {"out.npy", "t.npz", "s.npy"}
    assert leftovers == {"network.yaml", "checkpoint.pth.tar", "sample.npy", "batch.npy"}


def test_an_existing_output_is_kept_without_force(work: Path) -> None:
    (work / "out.npy").write_text("precious")
    shown = simulate(work, "--sample", "sample.npy", "--output", "out.npy")
    assert shown.returncode == USAGE
    assert "out.npy exists; --force overwrites it" in shown.stderr
    assert (work / "out.npy").read_text() == "precious"
    assert simulate(work, "--sample", "sample.npy", "--output", "out.npy", "--force").returncode == FINE
    assert np.load(work / "out.npy").shape == (10, 1, 1)


def test_an_expectation_that_fails_says_where(work: Path) -> None:
    simulate(work, "--sample", "sample.npy", "--output", "out.npy")
    expected = np.load(work / "out.npy")
    expected[3] += 1
    np.save(work / "wrong.npy", expected.astype(np.int64).ravel())
    shown = simulate(work, "--sample", "sample.npy", "--expect", "wrong.npy")
    assert shown.returncode == CONTENT
    ours, theirs = int(expected[3, 0, 0]) - 1, int(expected[3, 0, 0])
    assert f"at (3, 0, 0): {ours}, not {theirs}" in " ".join(shown.stderr.split())


def test_an_expectation_of_one_pass_holds_for_every_pass(work: Path) -> None:
    words = ("--sample", "sample.npy")
    simulate(work, *words, "--output", "o.npy", "--trace", "t.npz")
    for expected in ("o.npy", "t.npz"):
        shown = simulate(work, *words, "--repeat", 3, "--expect", expected)
        assert shown.returncode == FINE, expected + shown.stderr
    np.save(work / "wrong.npy", np.load(work / "o.npy") + 1)
    assert simulate(work, *words, "--repeat", 3, "--expect", "wrong.npy").returncode == CONTENT
    simulate(work, "--batch", "batch.npy", "--output", "b.npy")
    assert simulate(work, "--batch", "batch.npy", "--repeat", 2, "--expect", "b.npy").returncode == FINE


def test_one_sample_given_as_a_batch_is_told(work: Path) -> None:
    shown = simulate(work, "--batch", "sample.npy")
    assert shown.returncode == CONTENT
    assert "error[sample-rank]" in shown.stderr
    assert "(1, 8, 8) is one sample" in shown.stderr
    assert "use --sample" in shown.stderr


def test_a_batch_equals_its_samples(work: Path) -> None:
    batch = json.loads(simulate(work, "--batch", "batch.npy", "--json").stdout)
    single = json.loads(simulate(work, "--sample", "sample.npy", "--json").stdout)
    assert batch["output"]["shape"] == [5, 10, 1, 1]
    assert batch["output"]["sha256"][0] == single["output"]["sha256"]
    assert simulate(work, "--batch", "batch.npy", "--threads", 2).returncode == FINE


def test_an_output_is_not_compared_with_itself_and_inputs_are_never_overwritten(work: Path) -> None:
    simulate(work, "--sample", "sample.npy", "--output", "o.npy")
    for words in (
        ("--output", "o.npy", "--expect", "o.npy"),
        ("--output", "network.yaml"),
        ("--save-sample", "./sample.npy"),
        ("--trace", "checkpoint.pth.tar"),
        ("--output", "x", "--trace", "./x"),
        ("--output", "folder"),
    ):
        (work / "folder").mkdir(exist_ok=True)
        before = {path.name: path.read_bytes() for path in work.iterdir() if path.is_file()}
        shown = simulate(work, "--sample", "sample.npy", *words, "--force")
        assert shown.returncode == USAGE, words
        assert {path.name: path.read_bytes() for path in work.iterdir() if path.is_file()} == before


def test_links_are_followed_and_dangling_ones_count_as_existing(work: Path) -> None:
    (work / "link.npy").symlink_to(work / "target.npy")
    assert simulate(work, "--sample", "sample.npy", "--output", "link.npy").returncode == USAGE
    assert simulate(work, "--sample", "sample.npy", "--output", "link.npy", "--force").returncode == FINE
    assert (work / "link.npy").is_symlink()
    assert np.load(work / "target.npy").shape == (10, 1, 1)
    assert simulate(work, "--sample", "sample.npy", "--output", os.devnull, "--force").returncode == FINE
    assert not Path(os.devnull).is_file()


def test_a_failure_and_a_comparison_are_json_too(work: Path) -> None:
    np.save(work / "wrong.npy", np.full((1, 8, 8), 200))
    record = json.loads(simulate(work, "--sample", "wrong.npy", "--json").stdout)
    assert [d["code"] for d in record["diagnostics"]] == ["sample-range"]
    assert record["diagnostics"][0]["file"] == "wrong.npy"
    simulate(work, "--sample", "sample.npy", "--output", "o.npy")
    shown = simulate(work, "--sample", "sample.npy", "--expect", "o.npy", "--json")
    assert json.loads(shown.stdout)["difference"] is None


def test_names_are_text_and_neither_markup_nor_escape_sequences(work: Path) -> None:
    text = (work / "network.yaml").read_text().replace("name: conv1", 'name: "[/red][bold]x\\e[31m"')
    (work / "network.yaml").write_text(text)
    shown = simulate(work, "--sample", "sample.npy")
    assert shown.returncode == FINE
    assert "[/red][bold]x [31m" in shown.stdout


def test_any_terminal_encoding_will_do(work: Path) -> None:
    text = (work / "network.yaml").read_text().replace("name: conv1", "name: свёртка")
    (work / "network.yaml").write_text(text, encoding="utf-8")
    words = ("simulate", "network.yaml", "--checkpoint", "checkpoint.pth.tar", "--sample", "sample.npy")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "ai8xsim", *words]
    shown = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == FINE


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5, 1j, "x", np.datetime64("2026-01-01")])
def test_an_expectation_of_other_than_integers_is_refused(work: Path, value: object) -> None:
    np.save(work / "wrong.npy", np.full((10, 1, 1), value))
    shown = simulate(work, "--sample", "sample.npy", "--expect", "wrong.npy")
    assert shown.returncode == CONTENT
    assert "error[sample-type]" in shown.stderr


def test_random_does_not_hide_the_real_fault(work: Path) -> None:
    text = (work / "network.yaml").read_text().replace("arch: ai8xsim_digits", "arch: other")
    (work / "network.yaml").write_text(text)
    shown = simulate(work, "--random", 1)
    assert shown.returncode == CONTENT
    assert "error[arch-mismatch]" in shown.stderr


def test_random_samples_repeat_with_their_seed(work: Path) -> None:
    words = ("--input-shape", "1,8,8", "--json")
    first, second, other = (simulate(work, "--random", seed, *words).stdout for seed in (1, 1, 2))
    assert first == second != other


def test_the_shape_of_a_random_sample_is_deduced_where_the_layers_fix_it(work: Path) -> None:
    stated = simulate(work, "--random", 3, "--input-shape", "1,8,8", "--json")
    assert simulate(work, "--random", 3, "--json").stdout == stated.stdout
    text = (work / "network.yaml").read_text()
    (work / "network.yaml").write_text(text[: text.index("  - name: fc")])
    shown = simulate(work, "--random", 3)
    assert shown.returncode == USAGE
    assert "give --input-shape C,H,W" in shown.stderr


def test_quiet_says_nothing(work: Path) -> None:
    shown = simulate(work, "--sample", "sample.npy", "--quiet")
    assert (shown.returncode, shown.stdout, shown.stderr) == (FINE, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of --sample, --batch, --image and --random"),
        (("--sample", "sample.npy", "--random", 1), "give one of --sample, --batch, --image and --random"),
        (("--sample", "nothing.npy"), "nothing.npy: No such file or directory"),
        (("--sample", "sample.npy", "--device", "MAX78001"), "is none of MAX78000, MAX78002"),
        (("--sample", "sample.npy", "--flavour"), "No such option"),
        (("--sample", "sample.npy", "--output", "no/such/folder.npy"), "there is no folder no/such"),
        (("--random", 1, "--input-shape", "x"), "is neither C,H,W nor C,L"),
        (("--random", 1, "--input-shape", "1,99999,99999"), "is neither C,H,W nor C,L"),
        (("--random", -1), "-1 is not in the range"),
    ],
)
def test_wrong_usage_exits_with_2(work: Path, words: tuple[object, ...], message: str) -> None:
    shown = simulate(work, *words)
    assert shown.returncode == USAGE
    assert message in shown.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AI8XSIM_TARGET", "z80", "target 'z80' does not run here; choose one of "),
        ("AI8XSIM_THREADS", "two", "AI8XSIM_THREADS is 'two'; it must be a number, 1 or more"),
        ("AI8XSIM_THREADS", "0", "AI8XSIM_THREADS is '0'; it must be a number, 1 or more"),
    ],
)
def test_an_environment_that_says_nonsense_is_wrong_usage(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    shown = ai8xsim("demo")
    assert (shown.returncode, shown.stdout) == (USAGE, "")
    assert message in shown.stderr


@pytest.mark.parametrize(
    ("array", "code", "message"),
    [
        (
            np.zeros((1, 8, 8)),
            "sample-type",
            "integers already; convert it: numpy.save(path, data.astype(numpy.int64))",
        ),
        (np.full((1, 8, 8), True), "sample-type", "convert it: numpy.save(path, data.astype(numpy.int64))"),
        (
            np.full((1, 8, 8), -0.5),
            "sample-type",
            "(data * 128).round().clip(-128, 127); then numpy.save(path,",
        ),
        (np.full((1, 8, 8), 0.5), "sample-type", "((data - 0.5) * 256).round().clip(-128, 127)"),
        (np.full((1, 8, 8), np.nan), "sample-type", "not finite"),
        (np.zeros((0, 8, 8)), "sample-type", "convert it: numpy.save(path"),
        (np.zeros((1, 1, 8, 8), int), "sample-rank", "numpy.save(path, array[0])"),
        (np.zeros((8, 8, 1), int), "channel-mismatch", "8 channels arrive"),
        (np.full((1, 8, 8), 200), "sample-range", "samples[0, 0, 0] is 200, outside int8 [-128, 127]"),
        (np.array([object()]), "not-an-array", "save one with numpy.save"),
    ],
)
def test_a_wrong_sample_exits_with_1(work: Path, array: object, code: str, message: str) -> None:
    np.save(work / "wrong.npy", np.asarray(array), allow_pickle=True)
    shown = simulate(work, "--sample", "wrong.npy")
    assert shown.returncode == CONTENT
    assert f"error[{code}]" in shown.stderr
    assert message in shown.stderr


def test_no_advice_is_given_to_load_a_file_unsafely(work: Path) -> None:
    (work / "text.npy").write_text("no array\n")
    shown = simulate(work, "--sample", "text.npy")
    assert shown.returncode == CONTENT
    assert "it is no file of plain numbers in NumPy's format" in shown.stderr
    assert "pickle" not in shown.stderr


def test_the_faults_of_all_files_come_in_one_run(work: Path) -> None:
    (work / "network.yaml").write_text("arch: x\nlayers: []\n")
    (work / "checkpoint.pth.tar").write_bytes(b"")
    (work / "sample.npy").write_bytes(b"no array")
    (work / "trace.npz").write_bytes(b"no trace")
    shown = simulate(work, "--sample", "sample.npy")
    assert shown.returncode == CONTENT
    for code in ("missing-key", "empty-checkpoint", "not-an-array"):
        assert f"error[{code}]" in shown.stderr
    assert shown.stderr.rstrip().endswith("4 errors")


def test_a_file_that_is_no_trace_is_said_so(work: Path) -> None:
    (work / "wrong.npz").write_bytes(b"PK no trace")
    shown = simulate(work, "--sample", "sample.npy", "--expect", "wrong.npz")
    assert shown.returncode == CONTENT
    assert "error[not-a-trace]" in shown.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_exits_with_2(work: Path) -> None:
    work.chmod(0o500)
    shown = simulate(work, "--sample", "sample.npy", "--output", "out.npy")
    work.chmod(0o700)
    assert shown.returncode == USAGE


def test_explain_knows_every_key_and_code() -> None:
    from click.testing import CliRunner

    from ai8xsim.cli.explain import explain

    for word in {spelling for rows in TABLES.values() for key in rows.values() for spelling in key.spellings}:
        assert word.split()[0] in CliRunner().invoke(explain, [word]).output
    for code, row in CODES.items():
        page = " ".join(CliRunner().invoke(explain, [code]).output.split())
        for text in (row.what, row.why, row.mend):
            assert " ".join(text.split()) in page
    shown = ai8xsim("explain", "pool_strid")
    assert shown.returncode == USAGE
    assert "did you mean `pool_stride`?" in shown.stderr
    assert "output_shift" in ai8xsim("explain").stdout


def test_demo_compares_every_layer_with_pytorch() -> None:
    shown = ai8xsim_apart("demo")
    assert shown.returncode == FINE
    assert "every bit of every layer is equal" in shown.stdout
    assert "accuracy:" in shown.stdout
