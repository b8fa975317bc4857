"""Values weighted to the edges, where rounding and saturation go wrong."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

EDGES = (-128, -127, -1, 0, 1, 126, 127)
PALETTES = ("uniform", "edges", "mixed", "constant")


def int8_arrays(shape: tuple[int, ...]) -> st.SearchStrategy[npt.NDArray[np.int8]]:
    """int8 arrays of a shape: uniform, of edge values only, of both, or of one value.

    Uniform values alone would hardly ever meet a tie, or the ends of an accumulator.
    """
    return st.builds(
        _filled, st.just(shape), st.sampled_from(PALETTES), st.sampled_from(EDGES), st.integers(0, 1 << 32)
    )


def _filled(shape: tuple[int, ...], palette: str, edge: int, seed: int) -> npt.NDArray[np.int8]:
    generator = np.random.default_rng(seed)
    uniform = generator.integers(-128, 128, shape, dtype=np.int8)
    edges = generator.choice(np.array(EDGES, np.int8), shape)
    if palette == "uniform":
        return uniform
    if palette == "edges":
        return edges
    if palette == "constant":
        return np.full(shape, edge, np.int8)
    return np.where(generator.random(shape) < 0.5, uniform, edges)
