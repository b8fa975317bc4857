"""The handwritten digits of scikit-learn, split as for the bundled network; the file of a data set at its shortest.

ai8xsim check-data networks/data/digits.py:Digits --data networks/digits --network networks/digits/network.yaml
"""

from typing import Any

import ai8x  # type: ignore[import-not-found]  # ours, while this file is imported by ai8xsim
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BRIGHTEST = 16
HELD_OUT, SEED = 0.2, 78000  # as in networks/digits/train.py


class Digits(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Some of the digits; `args` says for which mode."""

    def __init__(self, args: Any, train: bool) -> None:
        pixels, labels = load_digits(return_X_y=True)
        parts = train_test_split(pixels, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED)
        chosen = parts[::2] if train else parts[1::2]
        self.images = torch.from_numpy(chosen[0]).reshape(-1, 1, 8, 8).float() / BRIGHTEST
        self.labels = chosen[1].tolist()
        self.normalize = ai8x.normalize(args=args)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.normalize(self.images[index]), self.labels[index]


def load(data: tuple[str, Any], load_train: bool = True, load_test: bool = True) -> tuple[Any, Any]:
    """The train set and the test set."""
    (_, args) = data
    test = Digits(args, train=False) if load_test else None
    if test is not None and args.truncate_testset:
        test.labels = test.labels[:1]
    return Digits(args, train=True) if load_train else None, test


datasets = [
    {
        "name": "Digits",
        "input": (1, 8, 8),
        "output": tuple("0123456789"),
        "loader": load,
    },
]
