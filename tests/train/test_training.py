"""Training users' files: it learns, resumes as if nothing had happened, and leaves checkpoints that tools read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ai8xsim import MAX78000, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.checkpoint.state import read_state
from ai8xsim.cli.app import cli
from ai8xsim.data import find_dataset
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.files import write_file
from ai8xsim.nn import load_model, setting
from ai8xsim.quantize import quantize, save_quantized
from ai8xsim.report.training import EpochTable
from ai8xsim.train import Data, Epoch, Goal, Override, Policy, Recipe, Result, Training, seed_generators
from ai8xsim.train.state import FILES, RESUMABLE, read_training

from ..conftest import ROOT

DIGITS = ROOT / "networks" / "digits"
MODEL, DATASET = f"{DIGITS / 'model.py'}:ai8xsim_digits", f"{DIGITS / 'dataset.py'}:digits"

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


def recipe(**given: Any) -> Recipe:
    return Recipe(**{"epochs": 4, "policy": Policy(2), "seed": 3, "learning_rate": 4e-3} | given)


def begin(given: Recipe, model: Any = None) -> Training:
    seed_generators(given.seed)
    with setting("MAX78000"):
        made = model or load_model(MODEL, 10, 1, (8, 8), bias=True)
    return Training.begin(made, Goal.of(find_dataset(DATASET)), given, "ai8xsim_digits")


def data(items: int = 256) -> Data:
    train, test = find_dataset(DATASET).load(DIGITS, act_mode_8bit=False)
    return Data(torch.utils.data.Subset(train, range(min(items, len(train)))), test)


def state(path: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in read_state(path).tensors.items()}


def test_it_learns_and_its_quantized_checkpoint_computes_what_was_trained(tmp_path: Path) -> None:
    policy = Policy(8, overrides={"conv3": Override(4)})
    training, sets = begin(recipe(epochs=12, policy=policy)), data(512)
    result = training.run(sets, tmp_path)
    assert [epoch.is_quantized for epoch in result.epochs] == [False] * 8 + [True] * 4
    assert result.epochs[-1].score > 60
    assert result.best.name == "qat_best.pth.tar"
    assert (tmp_path / "best.pth.tar").exists()
    network = read_network(DIGITS / "network.yaml")
    path = tmp_path / "quantized.pth.tar"
    with path.open("wb") as file:
        save_quantized(quantize(tmp_path / "qat_checkpoint.pth.tar"), file)
    images = torch.stack([image for image, _ in sets.test])
    samples = (images * 128).numpy().astype(np.int8)
    program = resolve(network, read_checkpoint(path), MAX78000, (1, 8, 8))
    chip = Simulator(program).run(samples).output.reshape(len(samples), 10)
    training_again = read_training(tmp_path / "qat_checkpoint.pth.tar")
    training_again.restore(training.model)
    with torch.no_grad():
        trained = training.model.eval()(images)
    assert np.array_equal((trained.double() * 2**14).numpy(), chip)


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
    epochs = begin(plan).run(data(128), whole).epochs
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
            stopped.run(data(128), halves)
    left = [halves / file for file in RESUMABLE if (halves / file).exists()]
    if left:
        with setting("MAX78000"):
            model = load_model(MODEL, 10, 1, (8, 8), bias=True)
        again = Training.resume(model, Goal.of(find_dataset(DATASET)), plan, read_training(left[0]))
    else:
        again = begin(plan)
    again.run(data(128), halves)
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


def test_a_policy_that_begins_after_the_end_draws_a_warning() -> None:
    assert recipe(epochs=4, policy=Policy(3)).diagnostics == ()
    assert recipe(policy=None).diagnostics == ()
    (found,) = recipe(epochs=4, policy=Policy(4)).diagnostics
    assert (found.severity.value, found.code) == ("warning", "no-quantized-epoch")
    assert "begins at epoch 4, of 4 from 0" in found.message


def test_a_model_without_layers_to_quantize_is_refused(tmp_path: Path) -> None:
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.raises(InputError) as refusal:
        begin(recipe(), plain)
    assert [d.code for d in refusal.value.diagnostics] == ["nothing-to-quantize"]
    floats = begin(recipe(epochs=1, policy=None), plain).run(data(64), tmp_path)
    assert floats.best.exists()


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


def test_checkpoints_have_the_vendors_form(tmp_path: Path) -> None:
    begin(recipe(epochs=2, policy=Policy(1))).run(data(), tmp_path)
    stored = torch.load(tmp_path / "qat_checkpoint.pth.tar", weights_only=False)
    assert set(stored) == {
        "epoch", "arch", "state_dict", "optimizer_type", "optimizer_state_dict", "compression_sched", "extras",
    }  # fmt: skip
    assert stored["epoch"] == 1
    of_conv1 = [key for key in stored["state_dict"] if key.startswith("conv1.")]
    assert of_conv1 == [f"conv1.{name}" for name in (
        "output_shift", "weight_bits", "bias_bits", "quantize_activation", "adjust_output_shift",
        "shift_quantile", "op.weight", "op.bias",
    )]  # fmt: skip
    assert stored["state_dict"]["conv1.weight_bits"].item() == 8


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("name", ["checkpoint.pth.tar", "qat_checkpoint.pth.tar"])
def test_checkpoints_restore_the_vendors_optimizer_and_masks(kind: Any, name: str, tmp_path: Path) -> None:
    """Its tools make an optimizer of all parameters, trained or not, and look each one up among the masks."""
    training = begin(recipe(epochs=2, policy=Policy(1), optimizer=kind))
    training.run(data(64), tmp_path)
    stored = torch.load(tmp_path / name, weights_only=False)
    parameters = dict(
        training.model.named_parameters()
    )  # the biases that folding leaves are there from the start
    optimizer = stored["optimizer_type"](parameters.values(), lr=1)
    optimizer.load_state_dict(stored["optimizer_state_dict"])
    trained = {key for key, parameter in parameters.items() if parameter.requires_grad}
    assert {key for key, parameter in parameters.items() if parameter in optimizer.state} == trained
    for parameter, state in optimizer.state.items():
        moments = [value for value in state.values() if value.dim()]
        assert moments
        assert all(moment.shape == parameter.shape for moment in moments)
    masks = stored["compression_sched"]["masks_dict"]
    assert list(masks) == list(parameters)
    assert set(masks.values()) == {None}


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    items = [(torch.zeros(1, 8, 8), 10)] * 4
    with pytest.raises(InputError, match="a label is 10; the model tells 10 classes apart"):
        begin(recipe()).run(Data(items, items), tmp_path)
    items = [(torch.zeros(1, 8, 8), torch.zeros(5, 5, dtype=torch.long))] * 4
    with pytest.raises(InputError, match="the labels are 5x5") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "labels-do-not-fit"
    assert refusal.value.diagnostics[0].span is None
    items = [(torch.zeros(1, 8, 8), torch.eye(10)[3])] * 4
    with pytest.raises(InputError, match="they must be the numbers of classes"):
        begin(recipe()).run(Data(items, items), tmp_path)


class Items:
    """A thing per item; exceptions are raised."""

    def __init__(self, *things: Any) -> None:
        self.things = things

    def __len__(self) -> int:
        return len(self.things)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.things[index], Exception):
            raise self.things[index]
        return self.things[index]


IMAGE = torch.zeros(1, 8, 8)
FAULTY: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "raises": ((KeyError("item"),), "loader-failed", "KeyError: 'item'"),
    "sizes": (((IMAGE, 1), (IMAGE[:, 1:], 1)), "loader-failed", "equal size"),
    "no label": ((IMAGE,), "item-structure", "a batch is of type Tensor"),
    "three": (((IMAGE, 1, 2),), "item-structure", "a batch is 3 values (Tensor)"),
    "text": (((IMAGE, "cat"),), "item-structure", "the labels of a batch are 1 values (str)"),
    "list": (((IMAGE, [1, 2]),), "item-structure", "the labels of a batch are 2 values (Tensor)"),
    "two labels": (({"x": IMAGE},), "item-structure", "a batch is of type dict"),
}


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(("things", "code", "words"), FAULTY.values(), ids=list(FAULTY))
def test_faulty_items_draw_a_diagnostic(
    things: tuple[Any, ...], code: str, words: str, is_train: bool, tmp_path: Path
) -> None:
    good, bad, dataset = [(IMAGE, 1)] * 4, Items(*things), find_dataset(DATASET)
    sets = (bad, good) if is_train else (good, bad)
    given = Data(*sets, guarded=dataset.guarded)
    with pytest.raises(InputError) as refusal:
        begin(recipe(epochs=1, policy=None)).run(given, tmp_path)
    (found,) = refusal.value.diagnostics
    assert found.code == code
    assert ("train set" if is_train else "test set") in found.message
    assert words in found.message + " ".join(found.notes)


def test_what_a_worker_raises_is_said_without_its_traceback(tmp_path: Path) -> None:
    bad = Items(KeyError("item"))
    given = Data(bad, [(IMAGE, 1)], workers=1, guarded=find_dataset(DATASET).guarded)
    with pytest.raises(InputError) as refusal:
        begin(recipe(epochs=1, policy=None)).run(given, tmp_path)
    (note,) = refusal.value.diagnostics[0].notes
    assert "KeyError: 'item'" in note
    assert "Traceback" not in note


def test_a_collate_that_makes_no_batch_draws_a_diagnostic(tmp_path: Path) -> None:
    good = [(IMAGE, 1)] * 4
    batches = {
        "of type int": 5, "a single number": (torch.tensor(1), torch.zeros(4)),
        "4 items and 3 labels": (torch.zeros(4, 1, 8, 8), torch.zeros(3)),
    }  # fmt: skip
    for words, batch in batches.items():
        with pytest.raises(InputError, match=words) as refusal:
            begin(recipe()).run(Data(good, good, collate=lambda _, batch=batch: batch), tmp_path)
        assert "`collate` must return" in refusal.value.diagnostics[0].help


def test_all_sets_without_items_are_named() -> None:
    with pytest.raises(InputError) as refusal:
        Data([], [])
    assert [d.message for d in refusal.value.diagnostics] == [
        "the train set has no items",
        "the test set has no items",
    ]
    assert {d.code for d in refusal.value.diagnostics} == {"empty-set"}


def test_a_model_that_cannot_learn_is_refused(tmp_path: Path) -> None:
    import ai8xsim.nn as ai8x

    class Still(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = ai8x.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 10)

    with setting("MAX78000"):
        model = Still()
    with pytest.raises(InputError, match="does not depend on its weights"):
        begin(recipe(), model).run(data(64), tmp_path)


def test_items_that_the_model_cannot_compute_are_refused(tmp_path: Path) -> None:
    items = [(torch.zeros(3, 8, 8), 1)] * 4
    with pytest.raises(InputError, match="cannot compute an item of 3x8x8") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "model-failed"


def test_a_loss_without_bound_ends_the_training(tmp_path: Path) -> None:
    items = [(torch.full((1, 8, 8), float("nan")), 1)] * 4
    with pytest.raises(InputError, match="lower the learning rate") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "loss-not-finite"
    assert refusal.value.diagnostics[0].span is None


def test_numbers_and_pixels_are_learnt_too(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 1, 8, 8, generator=generator) * 2 - 1
    import ai8xsim.nn as ai8x

    with setting("MAX78000"):
        pixels = ai8x.Conv2d(1, 2, 3, padding=1, bias=True)
        numbers = torch.nn.Sequential(torch.nn.Flatten(), ai8x.Linear(64, 1, bias=True))
    bright = [(x, (x[0] > 0).long()) for x in images]
    plan = recipe(epochs=30, policy=None, learning_rate=0.05, batch_size=16)
    result = Training.begin(pixels, Goal("classes", 2), plan).run(Data(bright, bright), tmp_path)
    assert result.test_score is not None
    assert result.test_score > 90
    sums = [(x, x.mean().reshape(1)) for x in images]
    trained = Training.begin(numbers, Goal("numbers", 1), plan).run(Data(sums, sums), tmp_path)
    losses = [epoch.loss for epoch in trained.epochs]
    assert losses[-1] < losses[0] / 10


def test_a_folded_output_is_unfolded_for_the_labels(tmp_path: Path) -> None:
    from ai8xsim.data import fold

    labels = torch.randint(0, 2, (4, 8, 8), generator=torch.Generator().manual_seed(1))
    scores = torch.stack([1.0 - labels, labels.float()], dim=1)
    folded: Any = torch.stack([torch.as_tensor(fold(x, 2)) for x in scores])
    assert Goal("classes", 2, fold_ratio=2).score(folded, labels).mean == 1


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def run(
    folder: Path, *words: str, files: tuple[str, str] = (MODEL, DATASET)
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ai8xsim", "train", *files, "--data", str(DIGITS), "--use-bias"]
    return subprocess.run(
        [*command, "--output", str(folder), *words], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_the_command_trains_and_refuses_to_overwrite(tmp_path: Path) -> None:
    shown = run(tmp_path / "run", "--epochs", "2", "--json")
    assert shown.returncode == 0, shown.stderr
    record = json.loads(shown.stdout)
    assert [epoch["is_quantized"] for epoch in record["epochs"]] == [False, True]
    again = run(tmp_path / "run", "--epochs", "2")
    assert again.returncode == 2
    assert "--resume goes on from it" in again.stderr
    other = run(tmp_path / "run", "--epochs", "3", "--resume", "--seed", "9", "--device", "MAX78002")
    assert other.returncode == 1
    assert "cannot-resume" in other.stderr
    assert "`seed` was 0 and is 9" in other.stderr
    assert "`device` was 'MAX78000' and is 'MAX78002'" in other.stderr
    longer = run(tmp_path / "run", "--epochs", "4", "--resume", "--json")
    assert longer.returncode == 0, longer.stderr
    epochs = [(epoch["number"], epoch["is_quantized"]) for epoch in json.loads(longer.stdout)["epochs"]]
    assert epochs == [(2, True), (3, True)]


def test_force_begins_anew_once_all_is_well(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(recipe(epochs=2, policy=Policy(1))).run(data(64), made(folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    typo = run(folder, "--force", files=(MODEL + "s", DATASET))
    assert typo.returncode == 1
    assert "has no `ai8xsim_digitss`" in typo.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    anew = run(folder, "--force", "--no-qat", "--epochs", "1", "--quiet")
    assert anew.returncode == 0, anew.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["best.pth.tar", "checkpoint.pth.tar"]
    assert (folder / "best.pth.tar").read_bytes() != before["best.pth.tar"]


@pytest.mark.parametrize("name", FILES)
def test_any_checkpoint_of_a_training_keeps_another_one_from_beginning(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    words = ["train", MODEL, DATASET, "--data", str(DIGITS), "--output", str(tmp_path)]
    shown = CliRunner().invoke(cli, words, standalone_mode=False)
    assert f"{name} exists" in str(shown.exception)
    resumed = CliRunner().invoke(cli, [*words, "--resume"], standalone_mode=False)
    if name in RESUMABLE:
        assert isinstance(resumed.exception, CheckpointError)
    else:
        assert "holds no checkpoint to resume from" in str(resumed.exception)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--torch-device", "meta", "cannot compute on 'meta'"),
        ("--torch-device", "nothing", "cannot compute on 'nothing'"),
        ("--seed", "99999999999999999999", "'--seed'"),
    ],
)
def test_options_that_pytorch_cannot_take_are_wrong_usage(
    option: str, value: str, words: str, tmp_path: Path
) -> None:
    given = ["train", MODEL, DATASET, "--data", str(DIGITS), "--output", str(tmp_path), option, value]
    shown = CliRunner().invoke(cli, given, standalone_mode=False)
    assert isinstance(shown.exception, click.UsageError)
    assert words in shown.exception.format_message()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    given = [
        "train",
        MODEL,
        DATASET,
        "--data",
        str(DIGITS),
        "--output",
        str(tmp_path),
        "--torch-device",
        "cuda",
    ]
    shown = CliRunner().invoke(cli, given, standalone_mode=False)
    assert isinstance(shown.exception, click.UsageError)


def test_small_squared_errors_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with EpochTable("mse", 1) as table:
        table.show(Epoch(0, False, 1e-3, 0.5, 0.00123456, True))
        table.finish(Result((), Path("best.pth.tar"), 0.0000456))
    shown = capsys.readouterr().out
    assert "0.00123" in shown
    assert "best.pth.tar: 4.56e-05 mse of the test set" in shown
    with EpochTable("top1", 1) as table:
        table.finish(Result((), Path("best.pth.tar"), 97.5))
    assert "97.50 % right" in capsys.readouterr().out


def test_one_file_may_hold_model_and_data_set(tmp_path: Path) -> None:
    both = tmp_path / "both.py"
    texts = [(DIGITS / name).read_text() for name in ("model.py", "dataset.py")]
    both.write_text("\n".join([*texts, "class Own(ai8x.Conv2d):\n    pass\n"]))
    files = f"{both}:ai8xsim_digits", f"{both}:digits"
    shown = run(tmp_path / "run", "--epochs", "1", "--quiet", files=files)
    assert shown.returncode == 0, shown.stderr


def test_the_command_refuses_a_policy_for_an_unknown_layer(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("start_epoch: 1\nweight_bits: 8\noverrides:\n  conv33:\n    weight_bits: 4\n")
    shown = run(tmp_path / "run", "--qat-policy", str(policy))
    assert shown.returncode == 1
    assert "the model has no layer `conv33`" in shown.stderr
    assert "did you mean `conv3`?" in shown.stderr


@pytest.mark.deep
def test_a_killed_training_resumes_to_the_same_checkpoint(tmp_path: Path) -> None:
    options = ("--epochs", "8", "--seed", "5", "--quiet")
    assert run(tmp_path / "whole", *options).returncode == 0
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "ai8xsim", "train", MODEL, DATASET, "--data", str(DIGITS), "--use-bias"]
    with subprocess.Popen([*command, "--output", str(folder), *options], cwd=ROOT) as process:
        while not (folder / "checkpoint.pth.tar").exists():
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
    assert run(folder, *options, "--resume").returncode == 0
    assert state(folder / "qat_best.pth.tar") == state(tmp_path / "whole" / "qat_best.pth.tar")


@pytest.mark.deep
def test_the_bundled_network_is_what_its_script_trains(tmp_path: Path) -> None:
    script = DIGITS / "train.py"
    shown = subprocess.run(
        [sys.executable, str(script), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    accuracies = [
        float(word) for word in shown.stdout.splitlines()[-1].split() if word.replace(".", "").isdigit()
    ]
    assert accuracies[1] > accuracies[0] - 1
    assert (tmp_path / "samples.npz").read_bytes() == (DIGITS / "samples.npz").read_bytes()
