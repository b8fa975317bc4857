"""One network, all contestants: first the answers are compared, then the times."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ai8xsim import Trace
from ai8xsim.engine.executor import Keep
from benchmarks.cases import Case
from benchmarks.contestants import CONTESTANTS, KERNELS, NUMPY, OURS, Entrant, UnfitError, Work, entry
from benchmarks.measure import LEAST_ROUNDS, PAUSE_SECONDS, Run, Timing, interleaved, once
from benchmarks.peak import Peak


class WrongAnswerError(Exception):
    """A contestant computes something else. A wrong answer has no speed."""


@dataclass(frozen=True)
class Limits:
    """What the processor allows a case: the peak, and bytes a second of its weights, by the number of threads."""

    peak: Peak
    bandwidth: Mapping[int, float]


@dataclass(frozen=True)
class Row:
    """A network or a layer at a batch size. Without timings, `reason` says why it was not measured.

    macs: products of one sample.  choices: which way PyTorch was fastest.  absent: who is missing, and why.
    run_bytes: what a run adds to the memory of a process that is ready to run.
    """

    network: str
    macs: int
    batch: int
    weight_bytes: int = 0
    goal: float | None = None
    timings: Mapping[str, Timing] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    limits: Limits | None = None
    run_bytes: int | None = None

    def gmacs_per_second(self, contestant: str) -> float:
        """10**9 products a second."""
        return self.macs * self.batch / self.timings[contestant].median / 1e9

    def ratio(self, rival: str) -> float | None:
        """How many times faster than the rival we are, with as many threads; None where it is not there."""
        ours = entry(OURS, CONTESTANTS[rival].threads)
        if rival not in self.timings or ours not in self.timings:
            return None
        return self.timings[rival].median / self.timings[ours].median

    def kernel_ratio(self, rival: str) -> float | None:
        """How many times faster than the rival our kernels alone are; None where one is not there."""
        if rival not in self.timings or KERNELS not in self.timings:
            return None
        return self.timings[rival].median / self.timings[KERNELS].median

    def scaling(self, threads: int) -> float | None:
        """How many times faster several threads are than one, by the clock on the wall."""
        several = self.timings.get(entry(OURS, threads))
        return None if several is None else self.timings[OURS].wall_median / several.wall_median

    def share_of_peak(self, contestant: str) -> float | None:
        """Of the products that the processor could compute in the time."""
        if self.limits is None:
            return None
        peak = self.limits.peak.gmacs_per_second[CONTESTANTS[contestant].threads]
        return self.gmacs_per_second(contestant) / peak

    def share_of_bound(self, contestant: str) -> float | None:
        """How near the time comes to the least possible one: all products at the peak, or all weights read once."""
        if self.limits is None:
            return None
        threads = CONTESTANTS[contestant].threads
        computing = self.macs * self.batch / self.limits.peak.gmacs_per_second[threads] / 1e9
        reading = self.weight_bytes / self.limits.bandwidth[threads]
        return max(computing, reading) / self.timings[contestant].median

    @property
    def goal_met(self) -> bool | None:
        """Whether we are the promised times faster than NumPy; None where nothing was promised or measured."""
        ratio = self.ratio(NUMPY)
        return None if self.goal is None or ratio is None else ratio >= self.goal


@dataclass(frozen=True)
class Field:
    """The contestants that can run a case, and why the others cannot."""

    entrants: Mapping[str, Entrant]
    absent: Mapping[str, str]


def race(
    case: Case, batches: Iterable[int], budget_seconds: float, target: str | None = None
) -> Iterator[Row]:
    """A row for each batch size, none of which takes much longer than the budget. Raises WrongAnswerError."""
    starters = _field(case, target)
    layers = agreed(case, starters.entrants, 1, "all").layers
    if case.expected not in (None, layers[-1].digest):
        raise WrongAnswerError(f"{case.name}: the output of {OURS} is not the expected one")
    starters, single = _singles(case, starters)
    for batch in batches:
        row = Row(case.name, case.macs, batch, case.weight_bytes, case.goal if batch == 1 else None)
        rounds = LEAST_ROUNDS + 1
        needed = {name: run.wall * batch * rounds for name, run in single.items()}
        if needed[OURS] > budget_seconds:
            reason = f"{needed[OURS]:.0f} s needed, {budget_seconds:g} s allowed (--seconds)"
            yield replace(row, absent=starters.absent, reason=reason)
            continue
        slow = {name for name in needed if name != OURS and needed[name] > budget_seconds}
        absent = {
            name: f"{needed[name]:.0f} s needed, {budget_seconds:g} s allowed (--seconds)" for name in slow
        }
        running = {name: runner for name, runner in starters.entrants.items() if name not in slow}
        agreed(case, running, batch)
        if NUMPY in slow:
            _agreed_at_ends(case, starters.entrants, batch)
        works = {name: _prepared(runner, name, case, batch) for name, runner in running.items()}
        spent = sum(needed[name] for name in running) * LEAST_ROUNDS / rounds
        timings = _timed(works, max(0.0, budget_seconds - spent))
        choices = {name: work.choice for name, work in works.items() if work.choice}
        yield replace(row, timings=timings, choices=choices, absent={**starters.absent, **absent})


def agreed(case: Case, entrants: Mapping[str, Entrant], batch: int, keep: Keep = "outputs") -> Trace:
    """Our trace of a batch, once every exact contestant has come to the same one; they are warm afterwards."""
    samples = case.batch(batch)
    ours = entrants[OURS].answer(samples, keep)
    assert ours is not None
    for name in entrants.keys() - {OURS}:
        theirs = entrants[name].answer(samples, keep)
        if theirs is not None and (difference := ours.first_difference(theirs)):
            raise WrongAnswerError(f"{case.name}, batch {batch}: {OURS} and {name} differ: {difference}")
    return ours


def _agreed_at_ends(case: Case, entrants: Mapping[str, Entrant], batch: int) -> None:
    """The first and the last sample of a batch that takes NumPy too long: our answer is NumPy's there."""
    samples, ends = case.batch(batch), [0, batch - 1]
    ours, theirs = entrants[OURS].answer(samples), entrants[NUMPY].answer(samples[ends])
    assert ours is not None
    assert theirs is not None
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        if not np.array_equal(mine.output[ends], other.output):
            raise WrongAnswerError(f"{case.name}, batch {batch}: {OURS} and {NUMPY} differ: {mine.name}")


def _field(case: Case, target: str | None) -> Field:
    entrants, absent = {}, {}
    for name, contestant in CONTESTANTS.items():
        try:
            entrants[name] = contestant.prepare(case.program, target)
        except UnfitError as fault:
            absent[name] = str(fault)
    return Field(entrants, absent)


def _singles(case: Case, starters: Field) -> tuple[Field, dict[str, Run]]:
    """How long one sample takes everybody, and the field without those who turn out unable."""
    runs, entrants, absent = {}, {}, dict(starters.absent)
    for name, entrant in starters.entrants.items():
        try:
            work = _prepared(entrant, name, case, 1)
        except UnfitError as fault:
            absent[name] = str(fault)
            continue
        work.run()
        every = (once(work.run).part(work.repeats) for _ in range(LEAST_ROUNDS))
        runs[name] = min(every, key=lambda run: run.wall)
        entrants[name] = entrant
    return Field(entrants, absent), runs


def _prepared(entrant: Entrant, name: str, case: Case, batch: int) -> Work:
    CONTESTANTS[name].set_threads()
    return entrant.work(case.batch(batch))


def _timed(works: Mapping[str, Work], budget_seconds: float) -> dict[str, Timing]:
    """Those with several threads come last in a round, and their time is the one on the wall."""
    order = sorted(works, key=lambda name: CONTESTANTS[name].threads)
    runs = {name: works[name].run for name in order}
    timings = interleaved(runs, budget_seconds, lambda name: CONTESTANTS[name].set_threads(), PAUSE_SECONDS)
    found = {}
    for name, timing in timings.items():
        single = tuple(run.part(works[name].repeats) for run in timing.runs)
        found[name] = Timing(single, on_wall=CONTESTANTS[name].threads > 1)
    return found
