"""The bundled network and its held-out images, as a user's data-set file delivers them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ai8xsim
from ai8xsim import Program
from ai8xsim.network import parse_network

DATA_FILE = '''
import os
import random
import sys
import time

import numpy as np
import torch

import ai8x


class HeldOut(torch.utils.data.Dataset):
    def __init__(self, folder):
        with np.load(os.path.join(folder, "samples.npz")) as stored:
            self.images, self.labels = stored["images"], stored["labels"]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        time.sleep(float(os.environ.get("SECONDS_A_SAMPLE", "0")))
        if os.environ.get("ENDS_THE_WORKER") == str(index):
            os._exit(1)
        return torch.from_numpy(self.images[index]).float(), int(self.labels[index])


class Noise(HeldOut):
    """What no test set should be: other samples each time."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return torch.from_numpy(np.random.default_rng().integers(-128, 128, image.shape)).float(), label


class TooLoud(HeldOut):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image + 400 * (index == 17)), label


class NotNormalized(HeldOut):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image + 128) / 255, label


class Broken(HeldOut):
    def __getitem__(self, index):
        if index == 23:
            raise FileNotFoundError("image 23 is not there")
        return super().__getitem__(index)


class OtherLabels(HeldOut):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image, label + 90 * (index == 5)


class Boxes(HeldOut):
    def __getitem__(self, index):
        return super().__getitem__(index)[0], {"boxes": []}


class Dictionaries(HeldOut):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return {"image": image, "label": label}


class Ends(HeldOut):
    def __getitem__(self, index):
        if index == 4:
            sys.exit()
        return super().__getitem__(index)


class NoLength(HeldOut):
    def __len__(self):
        return len(self.nothing)


class Talks(HeldOut):
    def __init__(self, folder):
        print("loading")
        super().__init__(folder)

    def __len__(self):
        print("asked for the length")
        return super().__len__()

    def __getitem__(self, index):
        print("reading", index)
        return super().__getitem__(index)


class Interrupted(HeldOut):
    def __init__(self, folder):
        raise KeyboardInterrupt


class Draws(HeldOut):
    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)
        return super().__getitem__(index)


def loader(of):
    def load(data, load_train=True, load_test=True):
        (folder, args) = data
        random.random(), np.random.rand(), torch.rand(1)
        return None, of(folder)
    return load


def entry(of):
    return {"name": of.__name__, "input": (1, 8, 8), "output": tuple("0123456789"), "loader": loader(of)}


datasets = [entry(of) for of in HeldOut.__subclasses__() + [HeldOut]]
'''

MODEL_FILE = """
import torch
from torch import nn

import ai8x


class Digits(nn.Module):
    def __init__(self, num_classes=10, num_channels=1, dimensions=(8, 8), bias=True, worse=False, **kwargs):
        super().__init__()
        self.conv1 = ai8x.FusedConv2dReLU(num_channels, 16, 3, padding=1, bias=True, **kwargs)
        self.conv2 = ai8x.FusedConv2dReLU(16, 32, 3, padding=1, bias=True, **kwargs)
        self.conv3 = ai8x.FusedMaxPoolConv2dReLU(32, 32, 3, padding=1, bias=True, **kwargs)
        self.conv4 = ai8x.FusedConv2dReLU(32, 16, 1, bias=True, **kwargs)
        self.fc = ai8x.Linear(256, num_classes, bias=True, wide=True, **kwargs)
        self.worse = worse

    def forward(self, x):
        print("asked for", len(x))
        x = self.conv4(self.conv3(self.conv2(self.conv1(x))))
        x = self.fc(x.view(x.size(0), -1))
        return x.roll(1, dims=1) if self.worse else x


def digits(pretrained=False, **kwargs):
    return Digits(**kwargs)
"""


@pytest.fixture(scope="session")
def program(digits: Path) -> Program:
    network = ai8xsim.read_network(digits / "network.yaml")
    checkpoint = ai8xsim.read_checkpoint(digits / "checkpoint.pth.tar")
    return ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))


@pytest.fixture(scope="session")
def pictures(digits: Path) -> Program:
    """The bundled network without its last layer: 16 channels of 4x4 pixels."""
    described = parse_network(
        (digits / "network.yaml").read_text().partition("  - name: fc")[0], "short.yaml"
    )
    checkpoint = ai8xsim.read_checkpoint(digits / "checkpoint.pth.tar")
    assert described.network is not None
    return ai8xsim.resolve(described.network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))


@pytest.fixture(scope="session")
def pairs(digits: Path) -> list[tuple[Any, int]]:
    """The held-out images and their labels."""
    with np.load(digits / "samples.npz") as stored:
        return list(zip(stored["images"], stored["labels"].tolist(), strict=True))


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    """A user's folder: network, checkpoint, data, a data-set file and a model file."""
    for name in ("network.yaml", "checkpoint.pth.tar", "samples.npz"):
        (tmp_path / name).write_bytes((digits / name).read_bytes())
    (tmp_path / "my_data.py").write_text(DATA_FILE)
    (tmp_path / "my_model.py").write_text(MODEL_FILE)
    return tmp_path
