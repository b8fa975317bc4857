"""Times on a machine that is shared: the contestants take turns, so that whatever disturbs one disturbs all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

LEAST_ROUNDS = 3
MOST_ROUNDS = 40
TURN_SECONDS = 0.01  # a shorter turn would mostly fetch back what the others have thrown out of the caches


@dataclass(frozen=True)
class Timing:
    """The seconds of each run. The median counts: means and minima follow the neighbours, not the program."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return self._quantile(0.5)

    @property
    def quartiles(self) -> tuple[float, float]:
        return self._quantile(0.25), self._quantile(0.75)

    def _quantile(self, fraction: float) -> float:
        return float(np.quantile(self.seconds, fraction))


def interleaved(works: Mapping[str, Callable[[], object]], budget_seconds: float) -> dict[str, Timing]:
    """How long each work takes; all of them are warm already.

    Takes at least `LEAST_ROUNDS` rounds, however long they are, then more until the budget is used up or
    `MOST_ROUNDS` are through.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    end = perf_counter() + budget_seconds
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and perf_counter() >= end:
            break
        for name, work in works.items():
            seconds[name] += _turn(work)
    return {name: Timing(tuple(runs)) for name, runs in seconds.items()}


def once(work: Callable[[], object]) -> float:
    """The seconds of a single run."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def _turn(work: Callable[[], object]) -> list[float]:
    """The seconds of each run of one contestant's turn."""
    runs = [once(work)]
    while sum(runs) < TURN_SECONDS:
        runs.append(once(work))
    return runs
