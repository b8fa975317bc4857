"""All model files of the vendor's repository make the same models on our modules as on the vendor's."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import ai8xsim.nn as ours
from ai8xsim.models import open_user_file
from ai8xsim.nn.loading import model_stand_ins

TRAINING = Path(os.environ.get("AI8X_TRAINING", ""))
FILES = sorted(TRAINING.glob("models/*.py")) if "AI8X_TRAINING" in os.environ else []
ELSEWHERE = {"ai8x_nas", "torchvision"}  # what two of the files import, and neither we nor they have

pytestmark = pytest.mark.skipif(not FILES, reason="AI8X_TRAINING names no clone of the vendor's repository")


@pytest.fixture(scope="module")
def ai8x() -> Iterator[ModuleType]:
    paths, modules = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(TRAINING), str(TRAINING / "models")]
    yield importlib.import_module("ai8x")
    sys.path[:] = paths
    for name in sys.modules.keys() - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(TRAINING)):
            del sys.modules[name]


def made(module: ModuleType, factory: str, arguments: dict[str, Any]) -> dict[str, torch.Tensor] | str:
    """What is in the model, or the kind of refusal."""
    torch.manual_seed(0)
    try:
        state: dict[str, torch.Tensor] = getattr(module, factory)(pretrained=False, **arguments).state_dict()
    except (
        ValueError,
        AssertionError,
        TypeError,
    ):  # as we refuse, as they do, as a factory does that calls itself wrongly
        return "refused"
    return state


@pytest.mark.parametrize("die", [85, 87])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_factory_makes_the_same_model(file: Path, die: int, ai8x: Any) -> None:
    spec = importlib.util.spec_from_file_location("vendor_model", file)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(theirs)
    except ModuleNotFoundError as missing:
        if missing.name not in ELSEWHERE:
            raise
        pytest.skip(f"needs {missing.name}")
    mine = open_user_file(file, model_stand_ins()).module
    ai8x.set_device(die, False, False, verbose=False)
    for entry in theirs.models:
        for bias in (False, True):
            shape = (
                {"num_channels": 3, "dimensions": (64, 64)}
                if entry["dim"] == 2
                else {"num_channels": 64, "dimensions": (128, 1)}
            )
            arguments = {"num_classes": 10, "bias": bias, **shape}
            with ours.setting(die):
                found = made(mine, entry["name"], arguments)
            expected = made(theirs, entry["name"], arguments)
            assert isinstance(found, str) == isinstance(expected, str), entry["name"]
            if isinstance(found, dict) and isinstance(expected, dict):
                assert list(found) == list(expected)
                assert all(torch.equal(found[name], expected[name]) for name in found), entry["name"]
