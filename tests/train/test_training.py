"""Training users' files: it learns, resumes as if nothing had happened, and leaves checkpoints that tools read."""

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
import torch

from ai8xsim import MAX78000, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.checkpoint.state import read_state
from ai8xsim.data import find_dataset
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.nn import load_model, setting
from ai8xsim.quantize import quantize, save_quantized
from ai8xsim.train import Data, Goal, Override, Policy, Recipe, Training, seed_generators
from ai8xsim.train.state import read_training

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


def test_resuming_with_another_recipe_is_refused_but_longer_is_not(tmp_path: Path) -> None:
    begin(recipe(epochs=1, policy=None)).run(data(), tmp_path)
    resumed = read_training(tmp_path / "checkpoint.pth.tar")
    resumed.check(recipe(epochs=9, policy=None))
    with pytest.raises(InputError) as refusal:
        resumed.check(recipe(epochs=1, policy=None, batch_size=32))
    assert refusal.value.diagnostics[0].notes == ("`batch_size` was 64 and is 32",)


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
    assert stored["optimizer_type"] is torch.optim.Adam
    assert stored["epoch"] == 1
    of_conv1 = [key for key in stored["state_dict"] if key.startswith("conv1.")]
    assert of_conv1 == [f"conv1.{name}" for name in (
        "output_shift", "weight_bits", "bias_bits", "quantize_activation", "adjust_output_shift",
        "shift_quantile", "op.weight", "op.bias",
    )]  # fmt: skip
    assert stored["state_dict"]["conv1.weight_bits"].item() == 8


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    items = [(torch.zeros(1, 8, 8), 10)] * 4
    with pytest.raises(InputError, match="a label is 10; the model tells 10 classes apart"):
        begin(recipe()).run(Data(items, items), tmp_path)
    items = [(torch.zeros(1, 8, 8), torch.zeros(5, 5, dtype=torch.long))] * 4
    with pytest.raises(InputError, match="the labels are 5x5") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "labels-do-not-fit"


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
    other = run(tmp_path / "run", "--epochs", "3", "--resume", "--seed", "9")
    assert other.returncode == 1
    assert "cannot-resume" in other.stderr


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
