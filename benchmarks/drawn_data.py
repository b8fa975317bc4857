"""A data-set file with drawn pictures, in the vendor's contract: digits, and folded scenes with a class a pixel.

Some hundred pictures are drawn, and come again and again: a large set needs no memory of its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DIGITS, SCENES = 10_000, 600
DRAWN_DIGITS, DRAWN_SCENES = 1_000, 50
FOLDED, UNFOLDED = (48, 88, 88), (352, 352)


@dataclass(frozen=True)
class Drawn:
    """Pixels are kept as a camera delivers them, 0 to 255, and moved to the chip's range when they are asked for."""

    count: int
    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        place = index % len(self.images)
        return self.images[place].astype(np.float32) - 128, self.targets[place]


def load_digits(data: Any, load_train: bool = True, load_test: bool = True) -> tuple[None, Drawn]:
    """Pictures of one channel, each with a class."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (DRAWN_DIGITS, 1, 28, 28), np.uint8)
    return None, Drawn(DIGITS, images, draw.integers(0, 10, DRAWN_DIGITS, np.uint8))


def load_scenes(data: Any, load_train: bool = True, load_test: bool = True) -> tuple[None, Drawn]:
    """Pictures of 352x352 pixels, folded by 4, each pixel with a class."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (DRAWN_SCENES, *FOLDED), np.uint8)
    return None, Drawn(SCENES, images, draw.integers(0, 4, (DRAWN_SCENES, *UNFOLDED), np.uint8))


datasets = [
    {"name": "digits", "input": (1, 28, 28), "output": tuple(range(10)), "loader": load_digits},
    {"name": "scenes", "input": FOLDED, "output": tuple("abcd"), "loader": load_scenes},
]
