"""Orders of folds and axes are recognised on photographs, and never on patterns that are smooth in another order."""

from typing import Any

import numpy as np
import pytest
import torch

from ai8xsim import data
from ai8xsim.data import Dataset
from ai8xsim.data.findings import folds
from ai8xsim.data.findings.subject import NotRun, Subject
from ai8xsim.data.reading import Reading, observe

from .photographs import photographs

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def photo(generator: np.random.Generator, h: int, w: int) -> Pixels:
    whole = np.asarray(photographs()[generator.integers(2)])
    top, left = generator.integers(0, 427 - h + 1), generator.integers(0, 640 - w + 1)
    return whole[top : top + h, left : left + w]


def grey(generator: np.random.Generator, h: int, w: int) -> Pixels:
    return np.repeat(photo(generator, h, w)[..., 1:2], 3, axis=-1)


def noise(generator: np.random.Generator, h: int, w: int) -> Pixels:
    return generator.integers(0, 256, (h, w, 3), dtype=np.uint8)


def dots(generator: np.random.Generator, h: int, w: int) -> Pixels:
    return np.repeat((generator.random((h, w, 1)) < 0.03).astype(np.uint8) * 255, 3, axis=-1)


def stripes(generator: np.random.Generator, h: int, w: int) -> Pixels:
    rows, period = np.arange(h)[:, None, None], generator.integers(1, 4)
    return np.broadcast_to((rows // period % 2 * 255).astype(np.uint8), (h, w, 3))


def threshold(generator: np.random.Generator, h: int, w: int) -> Pixels:
    return ((photo(generator, h, w) > 100) * 255).astype(np.uint8)


def blocks(generator: np.random.Generator, h: int, w: int) -> Pixels:
    """As in codes of squares: edges stand at multiples of 4 only."""
    code = generator.integers(0, 2, (-(-h // 4), -(-w // 4), 1), dtype=np.uint8) * 255
    return np.repeat(code.repeat(4, axis=0).repeat(4, axis=1)[:h, :w], 3, axis=-1)


PATTERNS = (photo, grey, noise, dots, stripes, threshold, blocks)


def found(items: list[Any], ratio: int) -> list[str]:
    """The codes of what is found in items that are said to be folded by a ratio."""
    dataset = Dataset(
        "x", tuple(items[0].shape), ("a", "b"), lambda data, **_: (None, None), fold_ratio=ratio
    )
    read = tuple(
        observe(n, (torch.from_numpy(np.ascontiguousarray(x)).float(), 0), True) for n, x in enumerate(items)
    )
    subject = Subject(dataset, (Reading("train", True, len(read), read),), ())
    checks = (folds.fold_order, folds.fold_ratio, folds.scrambled_axes)
    return [entry.code for check in checks for entry in check(subject) if not isinstance(entry, NotRun)]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_a_right_fold_is_never_called_wrong(pattern: Any) -> None:
    generator = np.random.default_rng(7)
    for _ in range(15):
        r, count, colours = generator.integers(1, 5), generator.choice([1, 3, 9]), generator.choice([1, 3])
        h, w = (r * generator.integers(4, 16) for _ in range(2))
        images = [
            data.normalize(pattern(generator, h, w).transpose(2, 0, 1).copy())[:colours] for _ in range(count)
        ]
        items = [data.fold(image, r) for image in images]
        assert [found(items, stated) for stated in (1, r)] == [[], []], (r, count, colours, h, w)


def unshuffled(image: Any, r: int) -> Any:
    return torch.pixel_unshuffle(torch.from_numpy(image), r).numpy()


def columns_first(image: Any, r: int) -> Any:
    return data.fold(image.transpose(0, 2, 1), r).transpose(0, 2, 1)


def twice(image: Any, r: int) -> Any:
    return data.fold(data.fold(image, 2), 2)


def tiles(image: Any, r: int) -> Any:
    h, w = image.shape[1] // r, image.shape[2] // r
    return np.concatenate(
        [image[:, i * h : i * h + h, j * w : j * w + w] for i in range(r) for j in range(r)]
    )


@pytest.mark.parametrize(
    ("wrong", "ratios", "code"),
    [(unshuffled, (2, 3, 4), "fold-order"), (columns_first, (2, 3, 4), "fold-order"), (twice, (4,), "fold-order"),
     (tiles, (2, 4), "fold-ratio")],
)  # fmt: skip
def test_a_wrong_fold_of_photographs_is_found(wrong: Any, ratios: tuple[int, ...], code: str) -> None:
    generator = np.random.default_rng(8)
    for r in ratios:
        for _ in range(3):
            h, w = (r * generator.integers(12, 24) for _ in range(2))
            images = [data.normalize(photo(generator, h, w).transpose(2, 0, 1).copy()) for _ in range(16)]
            assert found([wrong(image, r) for image in images], r) == [code], (r, h, w)


def test_reshaped_photographs_are_found() -> None:
    generator = np.random.default_rng(9)
    for _ in range(10):
        h, w = generator.integers(24, 80, 2)
        images = [data.normalize(photo(generator, h, w).copy()) for _ in range(16)]
        assert found([image.reshape(3, h, w) for image in images], 1) == ["scrambled-axes"]
