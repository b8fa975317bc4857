"""What the vendor's data-set files import and is not installed here: the few calls that they make, over own files.

torchvision has no build for this PyTorch on the CPU; pandas, h5py, torchaudio and soundfile are needed by nothing of
ours.
"""

import ast
import csv
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image


class Compose:
    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class ToTensor:
    """Bytes are divided by 255, floats are not; both get their channels first."""

    def __call__(self, image: Any) -> torch.Tensor:
        array = np.asarray(image)
        array = array[:, :, None] if array.ndim == 2 else array
        tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
        return tensor.float().div(255) if array.dtype == np.uint8 else tensor


class RandomCrop:
    def __init__(self, size: int, padding: int = 0) -> None:
        self.size, self.padding = size, padding

    def __call__(self, image: Image.Image) -> Image.Image:
        left, top = (int(torch.randint(2 * self.padding + 1, ())) - self.padding for _ in range(2))
        return image.crop((left, top, left + self.size, top + self.size))


class RandomHorizontalFlip:
    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(()) < 0.5 else image


class RandomAffine:
    def __init__(self, degrees: float, translate: tuple[float, float], shear: float) -> None:
        self.degrees, self.translate = degrees, translate

    def __call__(self, image: Image.Image) -> Image.Image:
        angle, dx, dy = (2 * torch.rand(3) - 1).tolist()
        moved = (round(dx * self.translate[0] * image.width), round(dy * self.translate[1] * image.height))
        return image.rotate(angle * self.degrees, translate=moved)


class Stored:
    """MNIST, CIFAR10: images and labels of a file."""

    def __init__(self, root: str, train: bool, transform: Any = None, download: bool = False) -> None:
        with np.load(Path(root) / f"{type(self).__name__}_{'train' if train else 'test'}.npz") as arrays:
            self.data, self.targets = arrays["images"], arrays["labels"].tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self.data[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


class MNIST(Stored): ...


class FashionMNIST(Stored): ...


class CIFAR10(Stored): ...


class Column(list[Any]):
    def apply(self, function: Any) -> "Column":
        return Column(function(value) for value in self)


class Frame:
    """As much of a pandas table as two files use: cells set one by one, rows in turn, columns, files."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    @property
    def loc(self) -> "Frame":
        return self

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def columns(self) -> list[str]:
        return list(next(iter(self.rows.values()), {}))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            for row, cell in zip(self.rows.values(), value, strict=True):
                row[key] = cell
        else:
            self.rows.setdefault(key[0], {})[key[1]] = value

    def __getitem__(self, key: Any) -> Any:
        return (
            Column(row[key] for row in self.rows.values())
            if isinstance(key, str)
            else self.rows[key[0]][key[1]]
        )

    def iterrows(self) -> Any:
        return iter(self.rows.items())

    def to_pickle(self, path: str) -> None:
        Path(path).write_bytes(pickle.dumps(self.rows))


def read_pickle(path: str) -> Frame:
    frame = Frame()
    frame.rows = pickle.loads(Path(path).read_bytes())
    return frame


def read_csv(path: str) -> Frame:
    frame = Frame()
    with open(path, newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            frame.rows[number] = {key: _cell(value) for key, value in row.items()}
    return frame


def _cell(text: str) -> Any:
    """Numbers are read, lists stay texts, as pandas has it."""
    return ast.literal_eval(text) if text.lstrip("-").isdecimal() else text


def vendor_stand_ins() -> dict[str, ModuleType]:
    """The modules by name."""
    vision, transforms, sets, pandas = (
        ModuleType(name)
        for name in ("torchvision", "torchvision.transforms", "torchvision.datasets", "pandas")
    )
    for kind in (Compose, ToTensor, RandomCrop, RandomHorizontalFlip, RandomAffine):
        setattr(transforms, kind.__name__, kind)
    for kind in (MNIST, FashionMNIST, CIFAR10):
        setattr(sets, kind.__name__, kind)
    vision.__dict__.update(transforms=transforms, datasets=sets)
    pandas.__dict__.update(DataFrame=Frame, read_pickle=read_pickle, read_csv=read_csv)
    named = {module.__name__: module for module in (vision, transforms, sets, pandas)}
    return named | {name: ModuleType(name) for name in ("h5py", "torchaudio", "soundfile")}
