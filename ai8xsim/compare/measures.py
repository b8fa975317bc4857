"""How much two computations of a network differ, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.trace import LayerTrace, Trace, paired

Values = npt.NDArray[Any]

MEANINGS = MappingProxyType(
    {
        "different": "values that are not equal",
        "first": "the first of them, as (channel, row, column), with the sample in front for a batch",
        "largest": "the largest absolute difference, in units of the last place",
        "mean": "the mean absolute difference, in units of the last place, over all values",
        "sqnr_db": "power of our values over power of the difference, in dB; 6 dB are about one bit",
        "cosine": "cosine of the angle between the two outputs as vectors; 1 where they point the same way",
    }
)


@dataclass(frozen=True)
class Observed:
    """A layer's output as somebody else computed it: (N, C, H, W), and what they call it.

    known: of the same shape, which values they state at all; None: all of them.
    """

    name: str
    values: Values
    known: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Measures:
    """How our values and theirs differ; `MEANINGS` explains each number.

    first, ours, theirs: None where all are equal.
    """

    total: int
    different: int
    first: tuple[int, ...] | None
    ours: int | None
    theirs: float | None
    largest: float
    mean: float
    sqnr_db: float
    cosine: float


def measure(ours: Values, theirs: Values, known: npt.NDArray[np.bool_] | None = None) -> Measures:
    """The measures of two arrays of the same shape; of those values only that are known, where that is said.

    >>> measure(np.array([4, -2]), np.array([4, -1])).different
    1
    """
    mine, other = ours.astype(np.float64), theirs.astype(np.float64)
    total = mine.size if known is None else int(known.sum())
    if known is not None:
        mine, other = np.where(known, mine, 0.0), np.where(known, other, 0.0)
    apart = mine - other
    places = np.argwhere(apart != 0)
    first = tuple(int(i) for i in places[0]) if len(places) else None
    return Measures(
        total=total,
        different=len(places),
        first=first,
        ours=None if first is None else int(mine[first]),
        theirs=None if first is None else float(other[first]),
        largest=float(np.abs(apart).max()),
        mean=float(np.abs(apart).sum() / total),
        sqnr_db=_decibels(float((mine**2).sum()), float((apart**2).sum())),
        cosine=_cosine(mine, other),
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return inf
    return 10 * float(np.log10(signal / noise)) if signal else -inf


def _cosine(mine: Values, other: Values) -> float:
    """1 for two outputs of nothing but zeros, 0 if only one of them is."""
    lengths = float(np.linalg.norm(mine)), float(np.linalg.norm(other))
    if min(lengths) == 0:
        return 1.0 if max(lengths) == 0 else 0.0
    return float((mine * other).sum() / (lengths[0] * lengths[1]))


@dataclass(frozen=True)
class LayerComparison:
    """One layer of ours against the same one of theirs.

    theirs: what they call it, None where they have no such layer.  measures: None where nothing can be compared,
    and then `reason` says why.
    """

    index: int
    name: str | None
    theirs: str | None
    measures: Measures | None
    reason: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether it was compared and every value is equal."""
        return self.measures is not None and self.measures.different == 0

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"layer {self.index}" + (f" (`{self.name}`)" if self.name else "")


@dataclass(frozen=True)
class Comparison:
    """All layers of ours in the order of execution; `unmatched`: what only they have."""

    layers: tuple[LayerComparison, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[LayerComparison, ...]:
        """The layers that both have."""
        return tuple(layer for layer in self.layers if layer.measures is not None)

    @property
    def is_equal(self) -> bool:
        """Whether the last layer was compared, and every layer that was is equal."""
        return self.layers[-1].is_equal and all(layer.is_equal for layer in self.compared)

    @property
    def worst_first(self) -> tuple[LayerComparison, ...]:
        """The compared layers, the one that loses most in front."""
        return tuple(
            sorted(self.compared, key=lambda layer: layer.measures.sqnr_db if layer.measures else inf)
        )


def compare(ours: Trace, theirs: Mapping[int, Observed], unmatched: tuple[str, ...] = ()) -> Comparison:
    """Our trace against what others computed, by layer number."""
    layers = []
    for layer in ours:
        other = theirs.get(layer.index)
        measures, reason = None, "they have no such layer"
        if other is not None and other.values.shape == layer.samples.shape:
            found = measure(layer.samples, other.values, other.known)
            measures, reason = found if layer.is_batch else _of_one(found), ""
        elif other is not None:
            reason = _mismatch(layer.samples, other.values)
        layers.append(
            LayerComparison(layer.index, layer.name, other.name if other else None, measures, reason)
        )
    return Comparison(tuple(layers), unmatched)


def _of_one(measures: Measures) -> Measures:
    """With the place of the first difference as one sample has it."""
    if measures.first is None:
        return measures
    return replace(measures, first=measures.first[1:])


def _mismatch(ours: Values, theirs: Values) -> str:
    """Why two outputs (N, C, H, W) of different shapes cannot be compared."""
    if ours.shape[1:] == theirs.shape[1:]:
        return f"they have {len(theirs)} samples, ours {len(ours)}"
    return "the shapes differ: " + " and ".join("x".join(map(str, v.shape[1:])) for v in (ours, theirs))


def observed(trace: Trace) -> dict[int, Observed]:
    """The layers of a trace, as somebody else's, by their numbers."""
    return {layer.index: _observed(layer) for layer in trace}


def observed_as(ours: Trace, theirs: Trace) -> tuple[dict[int, Observed], tuple[str, ...]]:
    """The layers of a trace as somebody else's, by the numbers that they have in ours, and what only they have.

    They are paired by their names first: see `ai8xsim.trace.paired`.
    """
    pairs, extras = paired(ours, theirs)
    layers = {mine.index: _observed(other) for mine, other in pairs if other is not None}
    return layers, tuple(layer.name or layer.title for layer in extras)


def _observed(layer: LayerTrace) -> Observed:
    return Observed(layer.name or layer.title, layer.samples)
