"""The benchmark's competitor computes what we compute, and the command says what it measured. No times here."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ai8xsim import Simulator
from benchmarks.__main__ import main
from benchmarks.baseline import SLICE, NumpyNetwork
from benchmarks.cases import NETWORKS, Case, bundled_case, golden_case
from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.measure import LEAST_ROUNDS, interleaved
from benchmarks.race import WrongAnswerError, race

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
    assert measured["contestants"].keys() == CONTESTANTS.keys()
    assert measured["contestants"][OURS]["median_seconds"] > 0
    assert "allowed (--seconds)" in left_out["not_measured"]
