"""The benchmark's competitors compute what they should, and the commands say what they measured. No times here."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from ai8xsim import Program, Simulator, Trace
from ai8xsim.simulator import Keep
from benchmarks import peak
from benchmarks.__main__ import main
from benchmarks.baseline import SLICE, NumpyNetwork
from benchmarks.cases import NETWORKS, RESIZED, Case, bundled_case, golden_case, is_present, network_case
from benchmarks.contestants import CONTESTANTS, NUMPY, OURS, Exact, entry
from benchmarks.evaluation import COMPUTING, EVALUATING, LOADING, ONE_PROCESS, overlap
from benchmarks.growth import Curve, Plan, fitted_slope, measured_curve
from benchmarks.layers import LAYERS, convolution, layer_case, linear
from benchmarks.machine import processor, telling_flags
from benchmarks.measure import LEAST_ROUNDS, Run, Timing, fastest, interleaved
from benchmarks.memory import run_memory, stream_memory
from benchmarks.modules import MODELS, evaluations
from benchmarks.race import Limits, Row, WrongAnswerError, agreed, race

from .conftest import GOLDEN

FOLDERS = [*sorted(GOLDEN.glob("layers/*")), *(GOLDEN / "networks" / name for name in NETWORKS)]


@pytest.fixture(scope="module")
def bundled() -> Case:
    return bundled_case()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_baseline_equals_the_simulator_on_golden_networks(folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("the golden vectors are not beside this repository")
    case = golden_case(folder)
    for samples in (case.samples[0], case.batch(2)):
        ours, theirs = (runner(case.program).run(samples) for runner in (Simulator, NumpyNetwork))
        assert ours.first_difference(theirs) is None


@pytest.mark.parametrize("size", [1, SLICE + 1])
def test_baseline_equals_the_simulator_on_the_bundled_network(bundled: Case, size: int) -> None:
    ours = Simulator(bundled.program).run(bundled.batch(size))
    theirs = NumpyNetwork(bundled.program).run(bundled.batch(size))
    assert ours.first_difference(theirs) is None


def test_baseline_keeps_the_outputs_only(bundled: Case) -> None:
    trace = NumpyNetwork(bundled.program).run(bundled.samples[0], keep="outputs")
    assert [layer.index for layer in trace] == list(trace.output_indices)
    assert trace.output.shape == bundled.program.layers[-1].output_shape.array_shape


def test_batch_larger_than_the_samples_repeats_none(bundled: Case) -> None:
    few = Case("few", bundled.program, bundled.samples[:3])
    assert len(np.unique(few.batch(8), axis=0)) == 8


def test_contestants_take_turns_until_each_has_its_rounds() -> None:
    calls: list[str] = []

    def work(name: str) -> None:
        calls.append(name)
        sum(range(1_000_000))

    timings = interleaved({name: partial(work, name) for name in ("one", "two")}, budget_seconds=0)
    assert list(dict.fromkeys(calls)) == ["one", "two"]
    assert all(len(timing.runs) >= LEAST_ROUNDS for timing in timings.values())
    assert calls.count("one") == len(timings["one"].runs)


def test_wrong_output_is_not_measured(bundled: Case) -> None:
    wrong = Case("wrong", bundled.program, bundled.samples, expected="0" * 64)
    with pytest.raises(WrongAnswerError, match="wrong: the output of ai8xsim is not the expected one"):
        next(race(wrong, [1], 1))


def test_command_measures_the_bundled_network_without_golden_data(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    arguments = ["--golden", tmp_path, "--batch", 1, "--batch", 1_000_000, "--seconds", 0.2, "--json", file]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "not measured, because not in" in result.output
    report = json.loads(file.read_text())
    measured, left_out = report["rows"]
    assert report["schema_version"] == 1
    assert (measured["network"], measured["batch"]) == ("digits", 1)
    assert measured["contestants"].keys() | measured["absent"].keys() == CONTESTANTS.keys()
    assert measured["contestants"][OURS]["median_seconds"] > 0
    assert "allowed (--seconds)" in left_out["not_measured"]


def test_command_measures_a_layer(tmp_path: Path) -> None:
    file = tmp_path / "layer.json"
    arguments = [
        "layers",
        "--layer",
        "Linear 512>10",
        "--batch",
        "2",
        "--seconds",
        "0.2",
        "--json",
        str(file),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Linear 512>10" in result.output
    (row,) = json.loads(file.read_text())["layers"]
    assert (row["macs"], row["batch"], row["weight_bytes"]) == (5120, 2, 5120)
    assert row["contestants"].keys() | row["absent"].keys() == CONTESTANTS.keys()
    assert row["contestants"][entry(OURS, 2)]["threads"] == 2
    assert 0 < row["contestants"][OURS]["share_of_peak"] < 1


@pytest.mark.parametrize("arguments", [[command, "-h"] for command in main.commands] + [["-h"]])
def test_every_command_explains_itself(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 0


class OffByOne:
    """Computes right, and then changes one value of the last sample."""

    def __init__(self, program: Program) -> None:
        self._right = NumpyNetwork(program)

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
        trace = self._right.run(samples, keep)
        trace.layers[-1].output[..., -1, -1, -1] ^= 1
        return trace


def test_contestant_with_a_wrong_answer_is_refused(bundled: Case) -> None:
    entrants = {OURS: Exact(Simulator(bundled.program)), "wrong": Exact(OffByOne(bundled.program))}
    with pytest.raises(WrongAnswerError, match="digits, batch 3: ai8xsim and wrong differ"):
        agreed(bundled, entrants, 3)


def test_answer_is_checked_where_numpy_is_too_slow_for_the_batch(
    monkeypatch: pytest.MonkeyPatch, bundled: Case
) -> None:
    class WrongInBatches(OffByOne):
        def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
            is_large = np.asarray(samples).shape[0] > 2
            return super().run(samples, keep) if is_large else self._right.run(samples, keep)

    from benchmarks import race as module
    from benchmarks.contestants import Contestant, Entrant

    def ours(program: Program, target: str | None) -> Entrant:
        return Exact(WrongInBatches(program))

    def slow(program: Program, target: str | None) -> Entrant:
        return Exact(NumpyNetwork(program))

    few = {OURS: Contestant(ours), NUMPY: Contestant(slow)}
    monkeypatch.setattr(module, "CONTESTANTS", few)
    singles = {OURS: Run(0.0, 0.0), NUMPY: Run(1e6, 1e6)}
    monkeypatch.setattr(module, "_singles", lambda case, starters: (starters, singles))
    with pytest.raises(WrongAnswerError, match="batch 8: ai8xsim and numpy int64 differ"):
        next(race(bundled, [8], 1))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_with_numpy_and_nearly_with_torch(name: str) -> None:
    import torch

    from benchmarks.torch_networks import FloatOperators, QuantizedOperators, TorchNetwork

    case = layer_case(name, LAYERS[name], samples=2)
    layer, samples = case.program.layers[0], case.batch(1)
    entrants = {OURS: Exact(Simulator(case.program)), NUMPY: Exact(NumpyNetwork(case.program))}
    output = agreed(case, entrants, 1).output
    for layout in (torch.contiguous_format, torch.channels_last):
        real = TorchNetwork(case.program, FloatOperators(layout)).work(samples)()[0].numpy()
        rounded = np.floor(real.astype(np.float64) * 128 * 2.0**layer.output_stage.shift + 0.5)
        difference = np.abs(rounded.clip(-128, 127).reshape(output.shape) - output)
        assert difference.max() <= 1
        assert difference.mean() < 0.01
    quantized = TorchNetwork(case.program, QuantizedOperators("x86")).work(samples)()[0]
    assert quantized.numel() == output.size
    assert case.macs * (4 if "Transpose" in name else 1) == pytest.approx(case.program.macs)


@pytest.mark.parametrize("name", [*NETWORKS, *RESIZED])
def test_torch_runs_every_network_with_the_right_shape(name: str) -> None:
    import torch

    from benchmarks.torch_networks import FloatOperators, Operators, QuantizedOperators, TorchNetwork

    if not is_present(name, GOLDEN):
        pytest.skip("the golden vectors are not beside this repository")
    case = network_case(name)
    kinds: list[Operators] = [FloatOperators(torch.channels_last), QuantizedOperators("x86")]
    for operators in kinds:
        parts = TorchNetwork(case.program, operators).work(case.batch(3), 2)()
        wanted = np.prod(case.program.layers[-1].output_shape.chw)
        assert [part.numel() for part in parts] == [2 * wanted, wanted]


def test_resized_network_has_a_sample_of_its_size() -> None:
    if not is_present("unet-352x352-folded", GOLDEN):
        pytest.skip("the golden vectors are not beside this repository")
    case = network_case("unet-352x352-folded")
    assert case.samples.shape == (1, 48, 88, 88)
    assert case.program.layers[-1].output_shape.chw == (64, 88, 88)


@pytest.mark.parametrize("instruction", peak.available(), ids=lambda entry: entry.name)
def test_peak_is_of_dot_products(instruction: peak.Instruction) -> None:
    random, width, rounds = np.random.default_rng(5), 4 * instruction.lanes, 5
    x = random.integers(0, 256, (peak.VECTORS, width)).astype(np.uint8)
    weights = random.integers(0, 256, (instruction.weights, width)).astype(np.uint8)
    sums = random.integers(-1000, 1000, (instruction.accumulators, instruction.lanes)).astype(np.int32)
    quads = instruction.kind is peak.Kind.QUADS
    x_lanes = (x if quads else x.view(np.int16)).astype(np.int64).reshape(len(x), instruction.lanes, -1)
    read = weights.view(np.int8 if quads else np.int16).astype(np.int64)
    weight_lanes = np.resize(
        read.reshape(len(weights), instruction.lanes, -1), (len(sums), *x_lanes.shape[1:])
    )
    taken = x_lanes[np.arange(rounds * peak.UNROLL) % peak.VECTORS]
    expected = sums + np.einsum("tlk,alk->al", taken, weight_lanes)
    peak.dot_products(instruction, x, weights, sums, rounds)
    np.testing.assert_array_equal(sums, expected.astype(np.int32))


def test_peak_and_bandwidth_are_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "TRIALS", 3)
    measured = peak.measured_peak((1, 2))
    assert measured.instruction == peak.available()[0].name
    assert min(measured.gmacs_per_second[1], measured.gmacs_per_second[2], peak.read_bandwidth(10)) > 0


def test_peak_takes_only_what_numba_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.config.CPU_FEATURES", "+avx2,-avx512vnni")
    assert [entry.name for entry in peak.available()] == ["vpmaddwd ymm", "16-bit pairs in 128 bits"]
    monkeypatch.setattr("numba.core.config.CPU_FEATURES", None)
    monkeypatch.setattr("numba.core.config.CPU_NAME", "generic")
    assert [entry.feature for entry in peak.available()] == [""]


def test_row_counts_wall_time_for_two_threads() -> None:
    runs = (Run(processor=2.0, wall=4.0),)
    timings = {
        OURS: Timing(runs),
        NUMPY: Timing((Run(6.0, 6.0),)),
        entry(OURS, 2): Timing((Run(processor=4.0, wall=2.5),), on_wall=True),
    }
    limits = Limits(peak.Peak("any", {1: 10.0, 2: 20.0}), {1: 1e9, 2: 2e9})
    row = Row("any", 10**9, 4, 10**9, goal=2.5, timings=timings, limits=limits)
    assert (row.gmacs_per_second(OURS), row.gmacs_per_second(entry(OURS, 2))) == (2.0, 1.6)
    assert (row.ratio(NUMPY), row.goal_met, row.ratio(entry("torch float32", 2))) == (3.0, True, None)
    assert (row.scaling(2), row.share_of_peak(OURS), row.share_of_bound(OURS)) == (1.6, 0.2, 0.5)


def test_slope_of_a_power_law_is_found() -> None:
    curve = Curve("any", "any", (1, 2, 4, 8, 16), (8.0, 8.0, 8.0, 32.0, 128.0), 2.0)
    assert fitted_slope([1, 10, 100], [5.0, 5.0 * 10**1.5, 5000.0]) == pytest.approx(1.5)
    assert curve.last_slope == pytest.approx(2.0)
    assert 1 < curve.slope < 2


def test_curve_has_a_time_for_every_size() -> None:
    case = layer_case("small", linear(16, 4))
    curve = measured_curve(Plan("batch size", "Linear", {size: (case, size) for size in (1, 2, 4)}), 0.1)
    assert curve.sizes == (1, 2, 4)
    assert min(curve.seconds) > 0
    assert curve.work_slope == pytest.approx(1.0)


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    case = layer_case("small", convolution(4, 64, 64))
    added = run_memory(case, [1, 16])
    assert added.keys() == {1, 16}
    assert added[16] >= 16 * 64 * 64 * 64  # the output alone
    stream = stream_memory(case, batch=2, runs=20)
    assert stream.samples == 40
    assert 0 <= stream.growth_bytes < stream.peak_bytes


def test_fastest_is_the_one_that_does_least() -> None:
    works: dict[str, Callable[[], object]] = {
        "much": lambda: sum(range(3_000_000)),
        "little": lambda: sum(range(3)),
    }
    assert fastest(works) == "little"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "vendor_id : AuthenticAMD\ncpu family : 26\nmodel : 2\nmodel name : EPYC\nflags : sse avx2\n\nmodel : 9",
            "EPYC (family 26 model 2, Zen 5)",
        ),
        (
            "vendor_id : AuthenticAMD\ncpu family : 25\nmodel : 97\nmodel name : X",
            "X (family 25 model 97, Zen 4)",
        ),
        (
            "vendor_id : GenuineIntel\ncpu family : 6\nmodel : 143\nmodel name : Xeon",
            "Xeon (family 6 model 143)",
        ),
    ],
    ids=lambda text: text[-12:],
)
def test_processor_is_told_by_family_and_model(tmp_path: Path, text: str, name: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text, encoding="utf-8")
    assert processor(cpuinfo) == name
    assert telling_flags(cpuinfo) == (("avx2",) if "sse" in text else ())


def test_storage_measures_both_forms_on_the_same_items(tmp_path: Path) -> None:
    file = tmp_path / "storage.json"
    words = ["storage", "--portraits", "2", "--portraits", "3", "--size", "32", "--json", str(file)]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    rows = json.loads(file.read_text())["storage"]
    assert [(row["form"], row["items"]) for row in rows] == [
        ("files", 6),
        ("memory", 6),
        ("files", 9),
        ("memory", 9),
    ]
    assert all(row["disk_bytes"] >= row["items"] * 32 * 32 * 4 for row in rows)
    assert "later start s" in shown.output


def test_evaluation_of_drawn_data_is_timed_in_its_parts() -> None:
    if not is_present(ONE_PROCESS, GOLDEN):
        pytest.skip("the golden vectors are not beside this repository")
    rates = overlap(GOLDEN, 0.01)
    assert (rates.samples, list(rates.timings)) == (10_000, [LOADING, COMPUTING, EVALUATING])
    assert "times as long as the slower of loading and computing" in rates.summary


@pytest.mark.deep
def test_evaluation_command_measures_both(tmp_path: Path) -> None:
    if not is_present(ONE_PROCESS, GOLDEN):
        pytest.skip("the golden vectors are not beside this repository")
    file = tmp_path / "rates.json"
    result = CliRunner().invoke(main, ["evaluation", "--seconds", "0.1", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "two workers do" in result.output
    one, several = json.loads(file.read_text())["evaluation"]
    assert (one["samples"], list(several["timings"])) == (10_000, ["1 worker", "2 workers"])


def test_modules_are_measured_against_the_vendors(tmp_path: Path) -> None:
    training = os.environ.get("AI8X_TRAINING")
    if training is None or not is_present(ONE_PROCESS, GOLDEN):
        pytest.skip(
            "AI8X_TRAINING names no clone of the vendor's training software, or there are no golden data"
        )
    rows = list(evaluations(Path(training), GOLDEN, batch=2, seconds=0.01))
    assert [row.model for row in rows] == list(MODELS)
    assert "ai8x" not in sys.modules


def test_modules_are_not_measured_against_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["modules", "--training", str(tmp_path)])
    assert result.exit_code == 1
    assert "Error" in result.output
