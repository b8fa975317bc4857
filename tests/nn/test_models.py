"""Users' model files, checkpoints, and the way from training to integers."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ai8xsim.nn as ai8x
from ai8xsim import CheckpointError, InputError
from ai8xsim.quantize import quantize, save_quantized

from ..conftest import GOLDEN

MODEL = """
import ai8x
import ai8x_blocks
from helper import CHANNELS


class Net(ai8x.nn.Module if hasattr(ai8x, "nn") else __import__("torch").nn.Module):
    def __init__(self, num_classes, num_channels, dimensions, bias, **kwargs):
        super().__init__()
        self.conv1 = ai8x.FusedConv2dBNReLU(num_channels, CHANNELS, 3, padding=1, bias=True, **kwargs)
        self.conv2 = ai8x.FusedMaxPoolConv2dReLU(CHANNELS, CHANNELS, 3, padding=1, bias=bias, **kwargs)
        self.fire = ai8x_blocks.Fire(CHANNELS, 3, 4, 4, bias=bias, **kwargs)
        self.pool = ai8x.AvgPool2d(2)
        self.fc = ai8x.Linear(8 * dimensions[0] * dimensions[1] // 16, num_classes, bias=True, wide=True, **kwargs)

    def forward(self, x):
        x = self.pool(self.fire(self.conv2(self.conv1(x))))
        return self.fc(x.flatten(1))


def net(pretrained=False, **kwargs):
    assert not pretrained
    return Net(**kwargs)
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "helper.py").write_text("CHANNELS = 6\n")
    (folder / "net.py").write_text(MODEL)
    return folder / "net.py"


def load(model_file: Path, simulate: bool, **given: Any) -> Any:
    with ai8x.setting("MAX78000", simulate=simulate):
        return ai8x.load_model(
            f"{model_file}:net", num_classes=5, num_channels=2, dimensions=(8, 8), **{"bias": True, **given}
        )


def test_a_users_file_runs_unchanged_and_leaves_no_trace(model_file: Path) -> None:
    before, path = dict(sys.modules), list(sys.path)
    model = load(model_file, simulate=False)
    assert model.conv1.op.out_channels == 6
    assert model(torch.rand(3, 2, 8, 8)).shape == (3, 5)
    assert not {"ai8x", "ai8x_blocks", "devices", "helper"} & (sys.modules.keys() - before.keys())
    assert sys.path == path


def test_what_is_installed_within_the_repository_stays_imported(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment within the repository: its compiled modules cannot be loaded twice."""
    installed = model_file.parents[1] / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "thing_of_others.py").write_text("VALUE = object()\n")
    monkeypatch.syspath_prepend(str(installed))
    model_file.write_text("import thing_of_others\n" + MODEL)
    load(model_file, simulate=False)
    first = sys.modules["thing_of_others"]
    load(model_file, simulate=False)
    assert sys.modules.pop("thing_of_others") is first


def test_what_cannot_be_imported_says_why(model_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nowhere_to_be_found\n")
    with pytest.raises(InputError, match="cannot be imported") as caught:
        ai8x.load_model(f"{broken}:net", 1, 1, (1, 1))
    assert [d.code for d in caught.value.diagnostics] == ["not-importable"]
    with pytest.raises(InputError, match="has no `nothing`"):
        ai8x.load_model(f"{model_file}:nothing", 1, 1, (1, 1))
    with pytest.raises(ValueError, match="FILE:NAME"):
        ai8x.load_model("net.py", 1, 1, (1, 1))
    with pytest.raises(OSError, match="No such file"):
        ai8x.load_model("nowhere.py:net", 1, 1, (1, 1))


def saved(model: torch.nn.Module, path: Path) -> Path:
    torch.save({"arch": "net", "epoch": 1, "state_dict": model.state_dict(), "extras": {}}, path)
    return path


def test_training_folds_quantizes_and_evaluates_to_the_same_bits(model_file: Path, tmp_path: Path) -> None:
    """QAT forward times 128 is the evaluation of the quantized checkpoint, layer by layer."""
    torch.manual_seed(3)
    model = load(model_file, simulate=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.randint(-128, 128, (16, 2, 8, 8)).float() / 128
    for _ in range(4):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    plain = model.eval()(x)
    ai8x.fuse_bn_layers(model)
    assert model.conv1.bn is None
    assert torch.allclose(model(x), plain, atol=1e-4)
    optimizer = ai8x.update_optimizer(model, optimizer)
    assert len(optimizer.state) >= 8
    ai8x.initiate_qat(model, {"weight_bits": 8, "overrides": {"conv2": {"weight_bits": 4}}})
    assert (model.conv1.bits, model.conv2.bits) == (8, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).sub(0.25).square().sum().backward()
        optimizer.step()
    taught: dict[str, torch.Tensor] = {}
    watch(model, taught)
    with torch.no_grad():
        model(x)
    quantized = tmp_path / "quantized.pth.tar"
    with quantized.open("wb") as stream:
        save_quantized(quantize(saved(model, tmp_path / "trained.pth.tar")), stream)
    chip = load(model_file, simulate=True)
    ai8x.fuse_bn_layers(chip)
    loaded = ai8x.load_checkpoint(chip, quantized)
    assert loaded.diagnostics == ()
    computed: dict[str, torch.Tensor] = {}
    watch(chip, computed)
    with torch.no_grad():
        chip(x * 128)
    for name in ("conv1", "conv2", "fire", "pool"):
        assert torch.equal(taught[name] * 128, computed[name]), name
    scale = 2.0 ** float(chip.fc.output_shift.item())
    assert scale > 0
    assert torch.equal(taught["fc"] * (1 << 14), computed["fc"])


def watch(model: torch.nn.Module, outputs: dict[str, torch.Tensor]) -> None:
    for name, module in model.named_children():
        module.register_forward_hook(lambda _, __, y, name=name: outputs.__setitem__(name, y))


def test_what_a_model_does_not_take_is_said(model_file: Path, tmp_path: Path) -> None:
    model = load(model_file, simulate=False)
    path = saved(model, tmp_path / "trained.pth.tar")
    lesser = load(model_file, simulate=False, bias=False)
    (found,) = ai8x.load_checkpoint(lesser, path).diagnostics
    assert found.code == "ignored-tensors"
    assert "4 tensors" in found.message
    state = {f"module.{k}": v for k, v in model.state_dict().items() if "shift_quantile" not in k}
    torch.save({"arch": "net", "epoch": 1, "state_dict": state}, path)
    (found,) = ai8x.load_checkpoint(model, path).diagnostics
    assert found.code == "defaulted-tensors"
    torch.save({"arch": "net", "epoch": 1, "state_dict": {"conv1.op.weight": torch.ones(1)}}, path)
    with pytest.raises(CheckpointError) as caught:
        ai8x.load_checkpoint(model, path)
    assert "missing-tensors" in {d.code for d in caught.value.diagnostics}


def test_a_final_scale_is_applied_as_the_vendor_does_and_refused_for_the_chip(
    model_file: Path, tmp_path: Path
) -> None:
    model = load(model_file, simulate=True)
    ai8x.fuse_bn_layers(model)
    state = model.state_dict() | {"conv2.final_scale": torch.tensor(1.0)}
    path = tmp_path / "scaled.pth.tar"
    torch.save({"arch": "net", "epoch": 1, "state_dict": state}, path)
    with pytest.raises(CheckpointError, match="final_scale"):
        ai8x.load_checkpoint(model, path)
    with ai8x.setting("MAX78000", simulate=True, behaviour="vendor"):
        ai8x.update_model(model)
        x = torch.randint(-128, 128, (1, 2, 8, 8)).float()
        before = model.conv2(model.conv1(x))
        ai8x.load_checkpoint(model, path)
    assert torch.equal(model.conv2(model.conv1(x)), 2 * before)


@pytest.mark.parametrize("behaviour", ["chip", "vendor"])
def test_thresholds_of_a_trained_checkpoint_shift_training_only(
    behaviour: str, model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "thresholds.pth.tar"
    with ai8x.setting("MAX78000", behaviour=behaviour):  # type: ignore[arg-type]
        model = ai8x.load_model(f"{model_file}:net", 5, 2, (8, 8), bias=True)
    ai8x.fuse_bn_layers(model)
    ai8x.initiate_qat(model, {"weight_bits": 8})
    state = model.state_dict() | {"conv2.activation_threshold": torch.tensor(-1.0)}
    torch.save({"arch": "net", "epoch": 1, "state_dict": state}, path)
    if behaviour == "chip":
        with pytest.raises(CheckpointError, match="activation_threshold") as caught:
            ai8x.load_checkpoint(model, path)
        assert [d.code for d in caught.value.diagnostics] == ["activation-threshold"]
        return
    x = torch.rand(1, 6, 8, 8) / 64
    with torch.no_grad():
        before = model.conv2(x)
        ai8x.load_checkpoint(model, path)
        after = model.conv2(x)
    assert float((after - 2 * before).abs().max()) <= 1 / 128
    assert not torch.equal(after, before)
    evaluated = load(model_file, simulate=True)
    ai8x.fuse_bn_layers(evaluated)
    ai8x.load_checkpoint(evaluated, path)  # its shifts would hold the thresholds
    assert evaluated.conv2.activation_threshold == 0


NAMED = """
import ai8x
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, num_channels, dimensions, bias, **kwargs):
        super().__init__()
        self.conv2d = ai8x.Conv2d(num_channels, 3, 1, bias=bias, **kwargs)
        self.linear = ai8x.Linear(3 * dimensions[0] * dimensions[1], num_classes, bias=bias, wide=True, **kwargs)

    def forward(self, x):
        return self.linear(self.conv2d(x).flatten(1))


def net(pretrained=False, **kwargs):
    return Net(**kwargs)
"""


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("is_old", [False, True])
def test_layers_may_be_called_as_operations_are(
    prefix: str, is_old: bool, model_file: Path, tmp_path: Path
) -> None:
    model_file.write_text(NAMED)
    model, other = (load(model_file, simulate=True) for _ in range(2))
    path, state = tmp_path / "named.pth.tar", {}
    for key, value in model.state_dict().items():
        old = key.replace("conv2d.op.", "conv2d.conv2d.").replace("linear.op.", "linear.linear.")
        state[prefix + (old if is_old else key)] = value
    torch.save({"arch": "net", "epoch": 1, "state_dict": state}, path)
    assert ai8x.load_checkpoint(other, path).diagnostics == ()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


TRAINING, SYNTHESIS = (os.environ.get(f"AI8X_{name}") for name in ("TRAINING", "SYNTHESIS"))
EVALUATED = (
    json.loads((GOLDEN / "vendor_eval.json").read_text()) if (GOLDEN / "vendor_eval.json").exists() else {}
)


@pytest.mark.skipif(
    not (TRAINING and SYNTHESIS and EVALUATED),
    reason="needs the vendor's repositories: AI8X_TRAINING and AI8X_SYNTHESIS name their folders",
)
@pytest.mark.parametrize("behaviour", ["vendor", "chip"])
@pytest.mark.parametrize("name", list(EVALUATED))
def test_the_vendors_models_run_unchanged_and_compute_the_same_bits(name: str, behaviour: str) -> None:
    """In `chip` behaviour too, but for biases of the first training software (`spec/TRAINING.md` 9 N)."""
    stated, synthesis = EVALUATED[name], Path(SYNTHESIS or "")
    channels, *size = stated["dimensions"]
    with ai8x.setting(stated["device"], simulate=True, behaviour=behaviour):  # type: ignore[arg-type]
        model = ai8x.load_model(
            f"{TRAINING}/{stated['model_file']}:{stated['factory']}", stated["num_classes"], channels,
            size if len(size) > 1 else (*size, 1), bias=stated["use_bias"],
        )  # fmt: skip
        ai8x.fuse_bn_layers(model)
        ai8x.load_checkpoint(model, synthesis / stated["checkpoint"])
    outputs: dict[str, Any] = {}
    for layer, module in model.named_modules():
        module.register_forward_hook(lambda _, __, y, name=layer: outputs.__setitem__(name, y))
    sample = np.load(synthesis / stated["sample"])
    with torch.no_grad():
        model.eval()(torch.from_numpy(sample).float()[None])
    different = [
        entry["name"] for entry in stated["layers"] if digest(outputs[entry["name"]][0]) != entry["sha256"]
    ]
    legacy = behaviour == "chip" and name in {"mnist", "mnist-extrasmall"}
    assert different == (["fc"] if legacy else [])


def digest(y: torch.Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(y.numpy().astype("<i4")).tobytes()).hexdigest()
