"""Training users' files: it learns, and leaves checkpoints that tools read."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ai8xsim import MAX78000, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.cli.app import cli
from ai8xsim.errors import CheckpointError, InputError
from ai8xsim.nn import setting
from ai8xsim.quantize import quantize, save_quantized
from ai8xsim.report.training import EpochTable
from ai8xsim.train import Data, Epoch, Goal, Override, Policy, Result, Training
from ai8xsim.train.state import FILES, RESUMABLE, read_training

from ..command_line import ai8xsim_apart
from ..conftest import ROOT
from .runs import DATASET, DIGITS, MODEL, begin, command, data, made, recipe, run


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


def test_the_command_trains_and_refuses_to_overwrite(tmp_path: Path) -> None:
    shown = ai8xsim_apart(*command(tmp_path / "run", "--epochs", "2", "--json"), cwd=ROOT)
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
