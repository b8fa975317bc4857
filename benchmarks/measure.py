"""Times on a machine that is shared with others.

The contestants take turns, so that whatever disturbs one disturbs all. What counts is processor time: a neighbour
takes wall time away from long runs and leaves the short ones alone, which flattered us by up to a half. All
contestants work in one thread; one with several would be charged for all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np

LEAST_ROUNDS = 3
MOST_ROUNDS = 40
LARGE_BYTES = 31 << 20  # just below the size from which glibc always asks the system for memory
TURN_SECONDS = 0.01  # a shorter turn would mostly fetch back what the others have thrown out of the caches


@dataclass(frozen=True)
class Run:
    """The seconds of one run: of the processor, and on the wall."""

    processor: float
    wall: float


@dataclass(frozen=True)
class Timing:
    """All runs of one contestant. The median counts: means and minima tell about the neighbours."""

    runs: tuple[Run, ...]

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def wall_median(self) -> float:
        return float(np.median([run.wall for run in self.runs]))

    def quantile(self, fraction: float) -> float:
        return float(np.quantile([run.processor for run in self.runs], fraction))


def interleaved(works: Mapping[str, Callable[[], object]], budget_seconds: float) -> dict[str, Timing]:
    """How long each work takes; all of them are warm already.

    Takes at least `LEAST_ROUNDS` rounds, however long they are, then more until the budget is used up or
    `MOST_ROUNDS` are through.
    """
    _settle_allocator()
    runs: dict[str, list[Run]] = {name: [] for name in works}
    end = perf_counter() + budget_seconds
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and perf_counter() >= end:
            break
        for name, work in works.items():
            runs[name] += _turn(work)
    return {name: Timing(tuple(every)) for name, every in runs.items()}


def once(work: Callable[[], object]) -> Run:
    """How long a single run takes."""
    wall, processor = perf_counter(), process_time()
    work()
    return Run(process_time() - processor, perf_counter() - wall)


def _settle_allocator() -> None:
    """Let glibc keep freed memory from now on: it does once a large block was freed.

    Otherwise NumPy's large intermediate arrays are mapped anew in every run, or not, depending on what was
    measured before; that costs it up to a fifth of its speed, and us nothing.
    """
    np.empty(LARGE_BYTES, np.int8)


def _turn(work: Callable[[], object]) -> list[Run]:
    """The runs of one contestant's turn."""
    runs = [once(work)]
    while sum(run.processor for run in runs) < TURN_SECONDS:
        runs.append(once(work))
    return runs
