"""One network, all contestants: first the answers are compared, then the times."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from ai8xsim import Trace
from ai8xsim.simulator import Keep
from benchmarks.cases import Case
from benchmarks.contestants import CONTESTANTS, OURS, Runner
from benchmarks.measure import LEAST_ROUNDS, Timing, interleaved, once


class WrongAnswerError(Exception):
    """A contestant computes something else. A wrong answer has no speed."""


@dataclass(frozen=True)
class Row:
    """A network at a batch size. Without timings, `reason` says why it was not measured."""

    network: str
    macs: int
    batch: int
    goal: float | None = None
    timings: Mapping[str, Timing] = field(default_factory=dict)
    reason: str = ""

    def gmacs_per_second(self, contestant: str) -> float:
        """10**9 multiplications a second, by the network's nominal count, which has products with padding in it."""
        return self.macs * self.batch / self.timings[contestant].median / 1e9

    def ratio(self, rival: str) -> float:
        """How many times faster than the rival we are."""
        return self.timings[rival].median / self.timings[OURS].median

    @property
    def goal_met(self) -> bool | None:
        """Whether we are the promised times faster than every rival; None where nothing was promised or measured."""
        if self.goal is None or not self.timings:
            return None
        return all(self.ratio(rival) >= self.goal for rival in self.timings if rival != OURS)


def race(case: Case, batches: Iterable[int], budget_seconds: float) -> Iterator[Row]:
    """A row for each batch size, none of which takes much longer than the budget. Raises WrongAnswerError."""
    runners = {name: prepare(case.program) for name, prepare in CONTESTANTS.items()}
    layers = agreed(case, runners, 1, "all").layers
    if case.expected not in (None, layers[-1].digest):
        raise WrongAnswerError(f"{case.name}: the output of {OURS} is not the expected one")
    single = [once(partial(runner.run, case.batch(1), "outputs")) for runner in runners.values()]
    seconds_per_sample = sum(run.processor for run in single)
    for batch in batches:
        row = partial(Row, case.name, case.program.macs, batch, case.goal if batch == 1 else None)
        needed = seconds_per_sample * batch * (LEAST_ROUNDS + 1)
        if needed > budget_seconds:
            yield row(reason=f"{needed:.0f} s needed, {budget_seconds:g} s allowed (--seconds)")
            continue
        agreed(case, runners, batch, "outputs")
        samples = case.batch(batch)
        works = {name: partial(runner.run, samples, "outputs") for name, runner in runners.items()}
        yield row(timings=interleaved(works, budget_seconds - needed / (LEAST_ROUNDS + 1)))


def agreed(case: Case, runners: Mapping[str, Runner], batch: int, keep: Keep) -> Trace:
    """Our trace of a batch, once every contestant has come to the same one; everybody is warm afterwards."""
    samples = case.batch(batch)
    ours = runners[OURS].run(samples, keep)
    for name in runners.keys() - {OURS}:
        if difference := ours.first_difference(runners[name].run(samples, keep)):
            raise WrongAnswerError(f"{case.name}, batch {batch}: {OURS} and {name} differ: {difference}")
    return ours
