"""How often each integer occurred: counts that can be added in any order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DENSE = 1 << 16  # values below which counting them all is cheap

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """The values that occurred, ascending, and how often each did. Adding is exact, in any order and grouping.

    Only what occurred is held: of the million pairs of a thousand classes, no more than there are samples.

    >>> total = Histogram.of([3, 1, 3]) + Histogram.of([1])
    >>> total.values.tolist(), total.counts.tolist(), total.total
    ([1, 3], [2, 2], 4)
    """

    values: Integers
    counts: Integers

    @classmethod
    def of(cls, values: npt.ArrayLike) -> "Histogram":
        """The histogram of some integers."""
        given = np.asarray(values, np.int64).ravel()
        if given.size and given.min() >= 0 and given.max() < DENSE:  # many times as fast as sorting them
            dense = np.bincount(given)
            found = np.flatnonzero(dense)
            return cls(found, dense[found])
        found, counts = np.unique(given, return_counts=True)
        return cls(found, counts.astype(np.int64))

    @property
    def total(self) -> int:
        """How many values there were."""
        return int(self.counts.sum())

    def below(self, bound: int) -> int:
        """How many of the values were smaller than a bound."""
        return int(self.counts[self.values < bound].sum())

    def dense(self, size: int) -> Integers:
        """The counts of 0, 1, ... size - 1."""
        counts = np.zeros(size, np.int64)
        counts[self.values] = self.counts
        return counts

    def __add__(self, other: "Histogram") -> "Histogram":
        values, places = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return Histogram(values, counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self.values, other.values) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.values.tobytes(), self.counts.tobytes()))


def nothing() -> Histogram:
    """The histogram of no values."""
    empty: npt.NDArray[Any] = np.zeros(0, np.int64)
    return Histogram(empty, empty)
