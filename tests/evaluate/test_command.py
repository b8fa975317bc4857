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

import numpy as np
import pytest

from ai8xsim.cli.evaluate import _journal_name
from tests.command_line import Shown, ai8xsim, ai8xsim_apart

FINE, CONTENT, USAGE, INTERRUPTED = 0, 1, 2, 130


def command(name: str, *words: object) -> list[str]:
    files = ("network.yaml", "--checkpoint", "checkpoint.pth.tar", "--dataset", f"my_data.py:{name}")
    return ["evaluate", *files, "--data", ".", *map(str, words)]


def evaluate(folder: Path, *words: object, name: str = "HeldOut") -> Shown:
    return ai8xsim(*command(name, *words), cwd=folder)


def started(folder: Path, seconds_a_sample: float, *words: object) -> subprocess.Popen[str]:
    """A run that has finished some slices, and not all."""
    environment = os.environ | {"SECONDS_A_SAMPLE": str(seconds_a_sample)}
    running = subprocess.Popen(
        [sys.executable, "-m", "ai8xsim", *command("HeldOut", *words)],
        cwd=folder,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in folder.glob("*.journal")) < 6:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    return running


def test_results_are_shown_and_written(folder: Path) -> None:
    files = ("--output", "r.json", "--csv", "samples.csv", "--csv-classes", "classes.csv")
    shown = ai8xsim_apart(*command("HeldOut", *files), cwd=folder)
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
    assert "all samples were done before" in evaluate(folder, "--journal", "j").stderr
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


def test_a_sample_that_is_not_normalized_leads_to_check_data(folder: Path) -> None:
    shown = evaluate(folder, name="NotNormalized")
    assert shown.returncode == CONTENT
    assert "ai8x.normalize(args=args)" in shown.stderr
    assert "ai8xsim check-data" in shown.stderr


def test_results_that_cannot_be_written_are_not_lost(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full device")
    code, _, said = evaluate(folder, "--output", "/dev/full", "--force")
    assert code == USAGE
    assert "error: /dev/full: No space left on device" in said
    assert len(list(folder.glob("*.journal"))) == 1
    code, shown, said = evaluate(folder, "--output", "r.json")
    assert code == FINE
    assert "going on after 360 of 360 samples" in said
    assert "all samples were done before" in said
    assert "357 of 360 samples right" in shown
    assert list(folder.glob("*.journal")) == []


def test_a_finished_journal_does_not_hide_that_the_data_changed(folder: Path) -> None:
    assert evaluate(folder, "--journal", "j")[0] == FINE
    with np.load(folder / "samples.npz") as stored:
        images, labels = stored["images"], stored["labels"]
    np.savez(folder / "samples.npz", images=images, labels=(labels + 1) % 10)
    code, shown, said = evaluate(folder, "--journal", "j")
    assert (code, shown) == (CONTENT, "")
    assert "error[changed-data]: samples 0 to" in said


def test_what_users_code_prints_does_not_spoil_the_json(folder: Path) -> None:
    file = folder / "my_data.py"
    file.write_text(f"print('imported')\n{file.read_text()}")
    code, shown, said = evaluate(folder, "--json", "--model", "my_model.py:digits", name="Talks")
    assert code == FINE
    assert json.loads(shown)["samples"] == 360
    for line in ("imported", "loading", "asked for the length", "reading 359", "asked for 6"):
        assert f"{line}\n" in said


@pytest.mark.parametrize("name", ["Ends", "NoLength"])
def test_users_code_that_ends_the_program_or_fails_is_a_fault(folder: Path, name: str) -> None:
    code, shown, said = evaluate(folder, name=name)
    assert (code, shown) == (CONTENT, "")
    assert "error[loader-failed]" in said
    assert "my_data.py" in said


def test_without_a_place_for_a_journal_the_run_goes_on(folder: Path) -> None:
    evaluate(folder, "--journal", "j")
    binding = json.loads((folder / "j").read_bytes().split(b"\n")[1].partition(b" ")[2])
    in_the_way = folder / _journal_name(
        binding
    )  # as in a folder that cannot be written, which `root` never sees
    in_the_way.mkdir()
    code, shown, said = evaluate(folder)
    assert code == FINE
    assert "357 of 360 samples right" in shown
    assert "warning[no-journal]: no journal can be kept here (" in said
    assert evaluate(folder, "--json")[2] == ""
    assert evaluate(folder, "--journal", _journal_name(binding))[0] == USAGE


@pytest.mark.parametrize(("name", "is_left"), [("OtherLabels", False), ("TooLoud", True)])
def test_a_run_that_fails_leaves_no_empty_journal(folder: Path, name: str, is_left: bool) -> None:
    """Sample 5 is in the first slice, sample 17 in the third."""
    assert evaluate(folder, name=name)[0] == CONTENT
    assert bool(list(folder.glob("*.journal"))) == is_left
    assert evaluate(folder, "--journal", "j", name=name)[0] == CONTENT
    assert (folder / "j").exists()  # it was asked for


def test_an_early_control_c_is_told(folder: Path) -> None:
    code, shown, said = evaluate(folder, name="Interrupted")
    assert (code, shown, said.splitlines()[-1]) == (INTERRUPTED, "", "interrupted")
    assert list(folder.glob("*.journal")) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model", "my_model.py"), "is not FILE:NAME"),
        (("--output", "network.yaml", "--force"), "is an input"),
        (("--csv", "my_data.py", "--force"), "my_data.py is an input"),
        (
            ("--model", "my_model.py:digits", "--csv-classes", "my_model.py", "--force"),
            "my_model.py is an input",
        ),
        (("--output", "samples.npz"), "exists; --force overwrites it"),
    ],
)
def test_wrong_usage(folder: Path, words: tuple[Any, ...], text: str) -> None:
    code, _, said = evaluate(folder, *words)
    assert code == USAGE
    assert text in said


def test_without_the_flag_nothing_of_dask_is_imported(folder: Path) -> None:
    probe = (
        "import sys; from ai8xsim.cli.app import cli; "
        f"cli.main({command('HeldOut', '--quiet')!r}, standalone_mode=False); "
        "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed')])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, cwd=folder, check=True, timeout=120
    )
    assert shown.stdout.strip() == "[]"
