"""Arrays weighted to what breaks arithmetic: the ends of each format, -1, 0, and values that end in ties.

Hypothesis draws a palette and a seed; NumPy fills the array. So a network of thousands of weights costs two
draws, and a failing example still shrinks to a plain palette.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Int64s = npt.NDArray[np.int64]

SAMPLE_PALETTES = st.sampled_from(("edges",) * 7 + ("uniform", "ramp", "lowest", "highest", "zero"))
WEIGHT_PALETTES = st.sampled_from(("edges",) * 6 + ("uniform",) * 6 + ("sparse", "lowest", "highest", "zero"))
SEEDS = st.integers(0, 2**16)


@dataclass(frozen=True)
class Width:
    """A width that weights may have: its bits, its lowest and highest value, whether it lacks 0."""

    bits: int
    low: int
    high: int
    is_binary: bool = False


WIDTHS = (Width(8, -128, 127), Width(4, -8, 7), Width(2, -2, 1), Width(1, -1, 0))
BINARY = Width(1, -1, 1, is_binary=True)


def draw_samples(draw: st.DrawFn, shape: tuple[int, ...]) -> Int64s:
    """int8 values as int64; bias values are drawn by the same rule."""
    return _samples(shape, draw(SAMPLE_PALETTES), draw(SEEDS))


def draw_weights(draw: st.DrawFn, shape: tuple[int, ...], width: Width) -> Int64s:
    """Weights that the width can hold."""
    return _weights(shape, width, draw(WEIGHT_PALETTES), draw(SEEDS))


def _samples(shape: tuple[int, ...], palette: str, seed: int) -> Int64s:
    if palette == "ramp":
        return (np.arange(prod(shape), dtype=np.int64) % 256 - 128).reshape(shape)
    return _filled(shape, palette, Width(8, -128, 127), seed)


def _weights(shape: tuple[int, ...], width: Width, palette: str, seed: int) -> Int64s:
    values = _filled(shape, palette, width, seed)
    return np.where(values == 0, 1, values).clip(-1, 1) if width.is_binary else values


def _filled(shape: tuple[int, ...], palette: str, width: Width, seed: int) -> Int64s:
    constant = {"zero": 0, "lowest": width.low, "highest": width.high}
    if palette in constant:
        return np.full(shape, constant[palette], np.int64)
    random = np.random.default_rng(seed)
    uniform: Any = random.integers(width.low, width.high + 1, shape)
    if palette == "uniform":
        return np.asarray(uniform, np.int64)
    edges = random.choice([width.low, width.high, -1, 0, min(1, width.high), width.low // 2], shape)
    if palette == "sparse":
        return np.where(random.random(shape) < 0.8, 0, edges).astype(np.int64)
    return np.where(random.random(shape) < 0.2, uniform, edges).astype(np.int64)
