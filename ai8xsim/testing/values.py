"""Values weighted to the edges, where rounding and saturation go wrong."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

PALETTES = ("uniform", "edges", "mixed", "constant")
LARGEST_SIDE = 12


def int8_arrays(shape: tuple[int, ...]) -> st.SearchStrategy[npt.NDArray[np.int8]]:
    """int8 arrays of a shape (Q7 data): uniform, of edge values only, of both, or of one value.

    Uniform values alone would hardly ever meet a tie, or the ends of an accumulator.
    """
    return _arrays(shape, (-128, 127)).map(lambda values: values.astype(np.int8))


def weights(shape: tuple[int, ...], bits: int = 8) -> st.SearchStrategy[npt.NDArray[np.int64]]:
    """Weights of 1, 2, 4 or 8 bits, from -2**(bits - 1) to 2**(bits - 1) - 1; of one bit: -1 and 0."""
    if bits not in {1, 2, 4, 8}:
        raise ValueError(f"bits is {bits}; weights have 1, 2, 4 or 8")
    return _arrays(shape, (-(1 << bits - 1), (1 << bits - 1) - 1))


@st.composite
def images(
    draw: st.DrawFn, channels: int = 3, size: tuple[int, int] | None = None, multiple_of: int = 1
) -> npt.NDArray[np.uint8]:
    """Images (channels, rows, columns) of pixels 0..255: noise, black and white, one colour, or a gradient.

    size: rows and columns, drawn where None; multiple_of: what both are multiples of then, for folding.
    """
    side = st.integers(1, max(1, LARGEST_SIDE // multiple_of)).map(lambda n: n * multiple_of)
    rows, columns = size or (draw(side), draw(side))
    shape = (channels, rows, columns)
    if draw(st.integers(0, 3)) == 0:
        step = draw(st.integers(1, 255))
        return (np.arange(np.prod(shape)) * step % 256).astype(np.uint8).reshape(shape)
    return draw(_arrays(shape, (0, 255))).astype(np.uint8)


def _arrays(shape: tuple[int, ...], limits: tuple[int, int]) -> st.SearchStrategy[npt.NDArray[np.int64]]:
    low, high = limits
    edges = sorted({low, min(low + 1, high), max(low, -1), min(max(0, low), high), 1, high - 1, high})
    allowed = tuple(value for value in edges if low <= value <= high)
    return st.builds(
        _filled, st.just(shape), st.just(limits), st.just(allowed), st.sampled_from(PALETTES),
        st.sampled_from(allowed), st.integers(0, 1 << 32),
    )  # fmt: skip


def _filled(
    shape: tuple[int, ...],
    limits: tuple[int, int],
    edges: tuple[int, ...],
    palette: str,
    edge: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    uniform = generator.integers(limits[0], limits[1] + 1, shape)
    chosen = generator.choice(np.array(edges), shape)
    if palette == "uniform":
        return uniform
    if palette == "edges":
        return chosen
    if palette == "constant":
        return np.full(shape, edge)
    return np.where(generator.random(shape) < 0.5, uniform, chosen)
