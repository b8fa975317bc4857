"""Times on a machine that is shared with others.

The contestants take turns, so that whatever disturbs one disturbs all. What counts for one thread is processor time:
a neighbour takes wall time away from long runs and leaves the short ones alone, which flattered us by up to a half.
A contestant with several threads would be charged for all of them, so there wall time counts, of both sides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time, sleep

import numpy as np

LEAST_ROUNDS = 3
MOST_ROUNDS = 40
HOPELESS = 1.5  # who takes so many times longer than the best is not tried again
LARGE_BYTES = 31 << 20  # just below the size from which glibc always asks the system for memory
PAUSE_SECONDS = 0.01  # PyTorch's threads spin for some milliseconds after their work, on the others' cores
TURN_SECONDS = 0.01  # a shorter turn would mostly fetch back what the others have thrown out of the caches


@dataclass(frozen=True)
class Run:
    """The seconds of one run: of the processor, and on the wall."""

    processor: float
    wall: float

    def part(self, of: int) -> "Run":
        """One of several runs that were made together."""
        return Run(self.processor / of, self.wall / of)


@dataclass(frozen=True)
class Timing:
    """All runs of one contestant. The median counts: means and minima tell about the neighbours.

    on_wall: of which of the two times.
    """

    runs: tuple[Run, ...]
    on_wall: bool = False

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    @property
    def wall_median(self) -> float:
        return float(np.median([run.wall for run in self.runs]))

    def quantile(self, fraction: float) -> float:
        times = [run.wall if self.on_wall else run.processor for run in self.runs]
        return float(np.quantile(times, fraction))


def interleaved(
    works: Mapping[str, Callable[[], object]],
    budget_seconds: float,
    before: Callable[[str], object] = str,
    pause_seconds: float = 0.0,
) -> dict[str, Timing]:
    """How long each work takes; all of them are warm already.

    Takes at least `LEAST_ROUNDS` rounds, however long they are, then more until the budget is used up or
    `MOST_ROUNDS` are through. `before` is called with a work's name when its turn begins, and is not measured;
    after each round nobody works for `pause_seconds`.
    """
    _settle_allocator()
    runs: dict[str, list[Run]] = {name: [] for name in works}
    end = perf_counter() + budget_seconds
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and perf_counter() >= end:
            break
        for name, work in works.items():
            before(name)
            runs[name] += _turn(work)
        sleep(pause_seconds)
    return {name: Timing(tuple(every)) for name, every in runs.items()}


def fastest(works: Mapping[str, Callable[[], object]]) -> str:
    """The name of the quickest: the best of a few runs each, of which the hopeless take one only."""
    best = {name: once(work).wall for name, work in works.items()}
    hopeful = [name for name, seconds in best.items() if seconds <= HOPELESS * min(best.values())]
    for _ in range(LEAST_ROUNDS - 1 if len(hopeful) > 1 else 0):
        for name in hopeful:
            best[name] = min(best[name], once(works[name]).wall)
    return min(best, key=lambda name: best[name])


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
    while sum(run.wall for run in runs) < TURN_SECONDS:
        runs.append(once(work))
    return runs
