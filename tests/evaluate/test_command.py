"""`ai8xsim evaluate` as a person types it: results, interruptions, faults."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FINE, CONTENT, USAGE, INTERRUPTED = 0, 1, 2, 130


def command(name: str, *words: object) -> list[str]:
    files = ("network.yaml", "--checkpoint", "checkpoint.pth.tar", "--dataset", f"my_data.py:{name}")
    return [sys.executable, "-m", "ai8xsim", "evaluate", *files, "--data", ".", *map(str, words)]


def evaluate(folder: Path, *words: object, name: str = "HeldOut") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    shown = subprocess.run(
        command(name, *words),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in shown.stderr
    return shown


def started(folder: Path, seconds_a_sample: float, *words: object) -> subprocess.Popen[str]:
    """A run that has finished some slices, and not all."""
    environment = os.environ | {"SECONDS_A_SAMPLE": str(seconds_a_sample)}
    running = subprocess.Popen(
        command("HeldOut", *words), cwd=folder, env=environment, text=True, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in folder.glob("*.journal")) < 6:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    return running


def test_results_are_shown_and_written(folder: Path) -> None:
    files = ("--output", "r.json", "--csv", "samples.csv", "--csv-classes", "classes.csv")
    shown = evaluate(folder, *files)
    assert shown.returncode == FINE
    assert "accuracy: 99.17%, 357 of 360 samples right" in shown.stdout
    assert "360 samples in" in shown.stderr
    record = json.loads((folder / "r.json").read_text())
    assert (record["schema_version"], record["kind"], record["samples"]) == (1, "classification", 360)
    assert record["right"] == sum(record["confusion"][n][n] for n in range(10)) == 357
    with (folder / "samples.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["sample"] for row in rows] == [str(n) for n in range(360)]
    assert sum(row["target"] == row["answer"] for row in rows) == 357
    with (folder / "classes.csv").open() as stream:
        classes = list(csv.DictReader(stream))
    assert [int(row["as 3"]) for row in classes] == [line[3] for line in record["confusion"]]
    assert list(folder.glob("*.journal")) == []


def test_json_is_one_document(folder: Path) -> None:
    shown = evaluate(folder, "--json", "--output", "r.json")
    assert json.loads(shown.stdout) == json.loads((folder / "r.json").read_text())
    assert shown.stderr == ""


def test_a_model_is_held_against_it(folder: Path) -> None:
    shown = evaluate(folder, "--model", "my_model.py:digits", "--model-argument", "worse=true")
    assert "agreement with the model: 0.00%, 0 of 360 samples answered alike, 0 with every" in shown.stdout
    assert "sample 0 is 9; chip 9, model 0" in shown.stdout
    assert "and 350 more" in shown.stdout


def test_a_run_that_is_killed_goes_on_and_gives_the_same_result(folder: Path) -> None:
    assert evaluate(folder, "--output", "whole.json", "--csv", "whole.csv").returncode == FINE
    running = started(folder, 0.01, "--output", "r.json", "--csv", "r.csv")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not (folder / "r.json").exists()
    (journal,) = folder.glob("*.journal")
    with journal.open("ab") as stream:
        stream.write(b'0123456789abcdef {"half": ')  # as if it had been writing
    shown = evaluate(folder, "--output", "r.json", "--csv", "r.csv")
    assert shown.returncode == FINE
    assert "going on after" in shown.stderr
    assert (folder / "r.json").read_bytes() == (folder / "whole.json").read_bytes()
    assert (folder / "r.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert not journal.exists()


def test_control_c_says_how_to_go_on(folder: Path) -> None:
    running = started(folder, 0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == INTERRUPTED
    assert "of 360 samples; the same command goes on from there" in said
    assert "Traceback" not in said
    assert "going on after" in evaluate(folder).stderr


@pytest.mark.deep
def test_a_named_journal_stays_and_belongs_to_its_run(folder: Path) -> None:
    assert evaluate(folder, "--journal", "j").returncode == FINE
    assert "0 samples in" in evaluate(folder, "--journal", "j").stderr
    refused = evaluate(folder, "--journal", "j", "--output-width", "8")
    assert refused.returncode == CONTENT
    assert "error[other-journal]: the journal is of another run" in refused.stderr
    assert "note: network: " in refused.stderr


def test_faults_of_data_are_diagnostics(folder: Path) -> None:
    shown = evaluate(folder, "--json", name="Broken")
    assert shown.returncode == CONTENT
    record = json.loads(shown.stdout)
    assert record["samples"] == 0
    assert record["diagnostics"][0]["message"] == "loading sample 23 of `Broken` failed"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model", "my_model.py"), "is not FILE:NAME"),
        (("--output", "network.yaml", "--force"), "is an input"),
        (("--output", "samples.npz"), "exists; --force overwrites it"),
    ],
)
def test_wrong_usage(folder: Path, words: tuple[Any, ...], text: str) -> None:
    shown = evaluate(folder, *words)
    assert shown.returncode == USAGE
    assert text in shown.stderr


def test_without_the_flag_nothing_of_dask_is_imported(folder: Path) -> None:
    probe = (
        "import sys; from ai8xsim.cli.app import cli; "
        f"cli.main({command('HeldOut', '--quiet')[3:]!r}, standalone_mode=False); "
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed')])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, cwd=folder, check=True, timeout=120
    )
    assert shown.stdout.strip() == "[]"
