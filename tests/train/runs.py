"""What the tests of training share: the digits, a short recipe, the command."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ai8xsim.checkpoint.state import read_state
from ai8xsim.data import find_dataset
from ai8xsim.nn import load_model, setting
from ai8xsim.train import Data, Goal, Policy, Recipe, Training, seed_generators

from ..command_line import Shown, ai8xsim
from ..conftest import ROOT

DIGITS = ROOT / "networks" / "digits"
MODEL, DATASET = f"{DIGITS / 'model.py'}:ai8xsim_digits", f"{DIGITS / 'dataset.py'}:digits"
IMAGE = torch.zeros(1, 8, 8)

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


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def command(folder: Path, *words: str, files: tuple[str, str] = (MODEL, DATASET)) -> list[str]:
    return ["train", *files, "--data", str(DIGITS), "--use-bias", "--output", str(folder), *words]


def run(folder: Path, *words: str, files: tuple[str, str] = (MODEL, DATASET)) -> Shown:
    return ai8xsim(*command(folder, *words, files=files), cwd=ROOT)
