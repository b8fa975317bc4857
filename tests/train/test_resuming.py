"""A stopped training: it goes on as if nothing had happened, or says why it does not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ai8xsim.data import find_dataset
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.files import write_file
from ai8xsim.nn import load_model, setting
from ai8xsim.train import Goal, Override, Policy, Training
from ai8xsim.train.state import FILES, RESUMABLE, read_training

from ..command_line import ai8xsim_apart, free_environment
from ..conftest import ROOT
from .runs import DATASET, DIGITS, MODEL, begin, command, data, recipe, state


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_training_gives_the_same_checkpoint(stop: int, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    begin(recipe()).run(data(), whole)

    class StoppedError(Exception):
        pass

    def tell(epoch: Any) -> None:
        if epoch.number == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        begin(recipe()).run(data(), halves, tell=tell)
    names = ("qat_checkpoint.pth.tar", "checkpoint.pth.tar")
    resumed = read_training(next(halves / name for name in names if (halves / name).exists()))
    resumed.check(recipe())
    with setting("MAX78000"):
        model = load_model(MODEL, 10, 1, (8, 8), bias=True)
    again = Training.resume(model, Goal.of(find_dataset(DATASET)), recipe(), resumed)
    result = again.run(data(), halves)
    assert [epoch.number for epoch in result.epochs] == list(range(stop + 1, 4))
    for name in ("qat_checkpoint.pth.tar", "qat_best.pth.tar", "best.pth.tar"):
        assert state(halves / name) == state(whole / name), name


@pytest.mark.parametrize(
    "name", ["best.pth.tar", "checkpoint.pth.tar", "qat_best.pth.tar", "qat_checkpoint.pth.tar"]
)
@pytest.mark.parametrize("part", ["before", "after"])
def test_a_training_stopped_while_it_writes_resumes_to_the_same_files(
    name: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before or after the last time that a file is written, also between the two of an epoch."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    plan = recipe(epochs=4, policy=Policy(2), validation_split=0.2)
    epochs = begin(plan).run(data(64), whole).epochs
    is_quantized = name.startswith("qat")
    own = [epoch for epoch in epochs if epoch.is_quantized == is_quantized]
    last = max(epoch.number for epoch in own if epoch.is_best or "best" not in name)
    stopped = begin(plan)

    def write(path: Path, content: Any) -> None:
        is_it = path.name == name and stopped.progress.epoch == last
        if is_it and part == "before":
            raise KeyboardInterrupt
        write_file(path, content)
        if is_it:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ai8xsim.train.training.write_file", write)
        with pytest.raises(KeyboardInterrupt):
            stopped.run(data(64), halves)
    left = [halves / file for file in RESUMABLE if (halves / file).exists()]
    if left:
        with setting("MAX78000"):
            model = load_model(MODEL, 10, 1, (8, 8), bias=True)
        again = Training.resume(model, Goal.of(find_dataset(DATASET)), plan, read_training(left[0]))
    else:
        again = begin(plan)
    again.run(data(64), halves)
    assert sorted(path.name for path in halves.iterdir()) == sorted(FILES)
    for file in FILES:
        assert state(halves / file) == state(whole / file), file
        assert read_training(halves / file).progress == read_training(whole / file).progress, file


def test_a_training_that_begins_removes_what_another_one_left(tmp_path: Path) -> None:
    begin(recipe(epochs=2, policy=Policy(1))).run(data(64), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    begin(recipe(epochs=1, policy=None)).run(data(64), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth.tar", "checkpoint.pth.tar"]


def test_resuming_with_another_recipe_is_refused_but_longer_is_not(tmp_path: Path) -> None:
    begin(recipe(epochs=1, policy=None)).run(data(), tmp_path)
    resumed = read_training(tmp_path / "checkpoint.pth.tar")
    resumed.check(recipe(epochs=9, policy=None))
    with pytest.raises(InputError) as refusal:
        resumed.check(recipe(epochs=1, policy=None, batch_size=32))
    assert refusal.value.diagnostics[0].notes == ("`batch_size` was 64 and is 32",)


def test_only_what_differs_is_said_of_a_training_that_is_another_one(tmp_path: Path) -> None:
    about = {"dataset": "digits", "arguments": {"bias": True, "dimensions": (8, 8)}}
    training = begin(recipe(epochs=2, policy=Policy(1, overrides={"conv3": Override(4)})))
    training.about = about
    training.run(data(64), tmp_path)
    resumed = read_training(tmp_path / "qat_checkpoint.pth.tar")
    assert resumed.policy == training.recipe.policy
    resumed.check(training.recipe, about)
    with pytest.raises(InputError) as refusal:
        resumed.check(
            recipe(epochs=3, policy=Policy(2)), {**about, "dataset": "letters", "arguments": {"bias": False}}
        )
    assert refusal.value.diagnostics[0].notes == (
        "`policy.start_epoch` was 1 and is 2",
        "`policy.overrides.conv3.weight_bits` was 4 and is none",
        "`dataset` was 'digits' and is 'letters'",
        "`arguments.bias` was True and is False",
        "`arguments.dimensions` was [8, 8] and is none",
    )


def test_a_training_is_not_made_shorter_than_it_is(tmp_path: Path) -> None:
    begin(recipe(epochs=3, policy=Policy(2))).run(data(64), tmp_path)
    resumed = read_training(tmp_path / "qat_checkpoint.pth.tar")
    resumed.check(recipe(epochs=3, policy=Policy(2)))
    with pytest.raises(InputError, match="3 epochs are done already, more than 2"):
        resumed.check(recipe(epochs=2, policy=Policy(2)))


def test_a_finished_training_that_is_resumed_names_the_file_of_its_score(tmp_path: Path) -> None:
    plan = recipe(epochs=2, policy=Policy(1))
    wanted = begin(plan).run(data(64), tmp_path)
    with setting("MAX78000"):
        model = load_model(MODEL, 10, 1, (8, 8), bias=True)
    resumed = read_training(tmp_path / "qat_checkpoint.pth.tar")
    got = Training.resume(model, Goal.of(find_dataset(DATASET)), plan, resumed).run(data(64), tmp_path)
    assert (got.epochs, got.best, got.test_score) == ((), wanted.best, wanted.test_score)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("stored")
    begin(recipe(epochs=1, policy=Policy(1))).run(data(64), folder)
    content: dict[str, Any] = torch.load(folder / "checkpoint.pth.tar", weights_only=False)
    return content


NAN, TEXT = float("nan"), "hi"


WRONG: dict[str, tuple[tuple[str, ...], Any]] = {
    "no epoch": (("epoch",), TEXT), "negative epoch": (("epoch",), -3), "half epoch": (("epoch",), 0.5),
    "best epoch to come": (("extras", "best_epoch"), 50), "best score": (("extras", "best_top1"), TEXT),
    "metric": (("extras", "ai8xsim_metric"), 7), "extras": (("extras",), None),
    "recipe": (("extras", "ai8xsim_recipe"), "[]"), "no JSON": (("extras", "ai8xsim_recipe"), "{{"),
    "about": (("extras", "ai8xsim_about"), "[]"), "state": (("state_dict",), 5), "no tensors": (("state_dict",), {}),
    "text for a tensor": (("state_dict", "conv1.op.weight"), TEXT),
    "no number": (("state_dict", "conv1.op.weight"), torch.full((16, 1, 3, 3), NAN)),
    "optimizer": (("optimizer_state_dict",), 7), "empty optimizer": (("optimizer_state_dict",), {}),
    "moments": (("optimizer_state_dict", "state"), {6: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}),
    "groups": (("optimizer_state_dict", "param_groups"), []),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value"), WRONG.values(), ids=list(WRONG))
def test_a_state_of_another_kind_is_refused(
    place: tuple[str, ...], value: Any, stored: dict[str, Any], tmp_path: Path
) -> None:
    def changed(content: Any, names: tuple[str, ...]) -> Any:
        return value if not names else {**content, names[0]: changed(content.get(names[0]), names[1:])}

    path = tmp_path / "checkpoint.pth.tar"
    with setting("MAX78000"):
        model = load_model(MODEL, 10, 1, (8, 8), bias=True)
    plan = recipe(epochs=2, policy=Policy(1))
    torch.save(stored, path)
    Training.resume(model, Goal.of(find_dataset(DATASET)), plan, read_training(path))
    torch.save(changed(stored, place), path)
    with pytest.raises((InputError, CheckpointError)) as refusal:
        Training.resume(model, Goal.of(find_dataset(DATASET)), plan, read_training(path))
    assert [d.code for d in refusal.value.diagnostics] == ["cannot-resume"]


@pytest.mark.parametrize("length", [0, 1, 100, 7000, -1])
def test_a_truncated_checkpoint_is_refused(length: int, stored: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(stored, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError) as refusal:
        read_training(path)
    assert [d.code for d in refusal.value.diagnostics] == ["cannot-resume"]
    assert all(refusal.value.diagnostics[0].notes)


def test_a_checkpoint_of_another_kind_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no training can be resumed"):
        read_training(DIGITS / "checkpoint.pth.tar")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="no training can be resumed"):
        read_training(tmp_path / "text")


def test_a_checkpoint_that_would_run_code_does_not(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"epoch": Evil()}, tmp_path / "evil.pth.tar")
    with pytest.raises(CheckpointError):
        read_training(tmp_path / "evil.pth.tar")
    assert not (tmp_path / "made").exists()


@pytest.mark.deep
def test_a_killed_training_resumes_to_the_same_checkpoint(tmp_path: Path) -> None:
    options = ("--epochs", "8", "--seed", "5", "--quiet")
    assert ai8xsim_apart(*command(tmp_path / "whole", *options), cwd=ROOT).returncode == 0
    folder = tmp_path / "killed"
    words = [sys.executable, "-m", "ai8xsim", *command(folder, *options)]
    with subprocess.Popen(words, cwd=ROOT, env=free_environment()) as process:
        while not (folder / "checkpoint.pth.tar").exists():
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
    assert ai8xsim_apart(*command(folder, *options, "--resume"), cwd=ROOT).returncode == 0
    assert state(folder / "qat_best.pth.tar") == state(tmp_path / "whole" / "qat_best.pth.tar")
