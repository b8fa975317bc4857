"""Check what a loader delivers: both modes, both sets, every finding with how many samples of how many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from ai8xsim.data.dataset import Dataset
from ai8xsim.data.findings.network import Against, network_input
from ai8xsim.data.findings.subject import Subject, Workers
from ai8xsim.data.findings.table import CHECKS
from ai8xsim.data.probe import try_process
from ai8xsim.data.reading import (
    Digests,
    Reading,
    digests_of,
    read_digests,
    read_items,
    seeded,
    spread,
)
from ai8xsim.data.workers import try_workers
from ai8xsim.diagnostics import Diagnostic, NotRun, errors_among
from ai8xsim.progress import Progress, no_progress

SAMPLES = 200
REREAD = 8
SETS = ("train", "test")
LARGEST_PASS = 1 << 28  # values of sets that are read whole, which takes a minute at most
LEAST_OF_AN_ITEM = 2048  # values that an item counts as: small ones take as long


@dataclass(frozen=True)
class CheckPlan:
    """How thoroughly: samples of each set to read, workers to try (0: no other process), seed of the generators."""

    samples: int = SAMPLES
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True)
class DataFindings:
    """What was found, what could not be checked and why, and what was read."""

    diagnostics: tuple[Diagnostic, ...]
    not_run: tuple[NotRun, ...]
    subject: Subject

    @property
    def has_errors(self) -> bool:
        """Whether one of the findings is an error."""
        return bool(errors_among(self.diagnostics))


def check_data(
    dataset: Dataset,
    data_dir: str | Path,
    plan: CheckPlan = CheckPlan(),
    against: Against | None = None,
    progress: Progress = no_progress,
) -> DataFindings:
    """Everything that is wrong or suspicious about what a data set's loader delivers.

    The loader is called in both modes and read with the same seeds; then again for the test set, with another seed,
    and with `truncate_testset`. All checks look at the samples of the plan but one: whether an item is in both sets is
    asked of all items, unless the sets have more than 2**28 values together (an item counts as 2048 at least).
    An error: the chip will compute something else than was trained, or training fails. A warning: suspicious.
    against: a network that must take the samples.
    Raises InputError where the loader fails.
    """
    subject = read_data(dataset, data_dir, plan, progress)
    found: list[Diagnostic] = list(dataset.diagnostics)
    not_run: list[NotRun] = []
    results = [entry for check in CHECKS for entry in check.find(subject)]
    if against is not None:
        results += network_input(subject, against)
    for entry in results:
        if isinstance(entry, NotRun):
            not_run.append(entry)
        else:
            found.append(entry)
    return DataFindings(tuple(found), tuple(not_run), subject)


def read_data(
    dataset: Dataset, data_dir: str | Path, plan: CheckPlan, progress: Progress = no_progress
) -> Subject:
    """Everything that the checks want to know of a data set."""
    reader = _Reader(dataset, data_dir, plan, progress)
    with seeded(plan.seed):
        chip_sets = dataset.load(data_dir, act_mode_8bit=True)
    chip = reader.read(chip_sets, act_mode_8bit=True)
    digests = reader.digests(chip_sets, chip)
    unseeded = reader.unseeded(chip_sets, chip)
    restless = reader.restless(chip_sets[1], chip[1])
    workers = Workers(why_not="the test set changes from reading to reading")
    if not restless[0] and not any(name == "test" for name, _ in unseeded):
        workers = try_workers(dataset, chip_sets[1], chip[1], plan.workers)
    del chip_sets  # it may be large, and is about to be there once more
    with seeded(plan.seed):
        training_sets = dataset.load(data_dir, act_mode_8bit=False)
    training = reader.read(training_sets, act_mode_8bit=False)
    del training_sets
    reloaded, truncated = reader.reload(chip[1])
    elsewhere = workers if workers.why_not else try_process(dataset, data_dir, chip[1], plan.seed)
    return Subject(
        dataset, chip, training, unseeded, restless, reloaded, truncated, workers, elsewhere, digests
    )


class _Reader:
    """Reads the sets of one data set and reports progress over all of it."""

    def __init__(self, dataset: Dataset, data_dir: str | Path, plan: CheckPlan, progress: Progress) -> None:
        self.dataset, self.data_dir, self.plan, self.progress = dataset, data_dir, plan, progress
        self.done, self.total = 0, 0

    def _step(self) -> None:
        self.done += 1
        self.progress(min(self.done, self.total), self.total)

    def read(self, sets: tuple[Any, Any], act_mode_8bit: bool) -> tuple[Reading, ...]:
        """The items of both sets."""
        lengths = [self._length(part) for part in sets]
        count = sum(len(spread(length, self.plan.samples)) for length in lengths)
        if not self.total:
            self.total = 2 * count + min(self.plan.samples, lengths[1]) + sum(self._passed(lengths))
        readings = (Reading(name, act_mode_8bit, n, ()) for name, n in zip(SETS, lengths, strict=True))
        return tuple(
            self._fill(part, reading, self.plan.samples, self.plan.seed, self._step)
            for part, reading in zip(sets, readings, strict=True)
        )

    def _passed(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """How many items of each set are read once more, only to be compared: all, or none."""
        values = sum(lengths) * max(LEAST_OF_AN_ITEM, prod(self.dataset.input))
        return tuple(n if n > self.plan.samples and values <= LARGEST_PASS else 0 for n in lengths)

    def digests(self, sets: tuple[Any, Any], chip: tuple[Reading, ...]) -> tuple[Digests, ...]:
        """What the items of both sets are equal by."""
        passed = self._passed([reading.length for reading in chip])
        return tuple(
            read_digests(self.dataset, part, reading, self.plan.seed, self._step)
            if count and reading.items  # of what failed so far the rest would take long to fail
            else digests_of(reading)
            for part, reading, count in zip(sets, chip, passed, strict=True)
        )

    def _fill(
        self, part: Any, reading: Reading, count: int, seed: int, step: Callable[[], None] = lambda: None
    ) -> Reading:
        return read_items(self.dataset, part, spread(reading.length, count), reading, seed, step)

    def unseeded(self, sets: tuple[Any, Any], chip: tuple[Reading, ...]) -> tuple[tuple[str, int], ...]:
        """What differs between two readings with the same seed."""
        return tuple(
            (reading.name, index)
            for part, reading in zip(sets, chip, strict=True)
            for index in self._others(part, reading, self.plan.seed)[0]
        )

    def restless(self, part: Any, reading: Reading) -> tuple[tuple[int, ...], int]:
        """What differs between two readings with different seeds."""
        return self._others(part, reading, self.plan.seed + 7919)

    def _others(self, part: Any, reading: Reading, seed: int) -> tuple[tuple[int, ...], int]:
        known = [item.index for item in reading.items]
        indices = [known[place] for place in spread(len(known), REREAD)]
        again = read_items(self.dataset, part, indices, replace(reading, items=(), failures=()), seed).items
        before = {item.index: item.digest for item in reading.items}
        return tuple(i.index for i in again if before.get(i.index, i.digest) != i.digest), len(again)

    def reload(self, test: Reading) -> tuple[Reading, int]:
        """The test set of another call of the loader, and its length when truncated."""
        seed = self.plan.seed + 104729
        with seeded(seed):
            _, again = self.dataset.load(self.data_dir, act_mode_8bit=True, train=False)
        empty = Reading("test", True, self._length(again), ())
        reading = self._fill(again, empty, self.plan.samples, self.plan.seed, self._step)
        with seeded(self.plan.seed):
            _, cut = self.dataset.load(self.data_dir, act_mode_8bit=True, train=False, truncate_testset=True)
        return reading, self._length(cut)

    def _length(self, part: Any) -> int:
        with self.dataset.guarded("the length of a set"):
            return len(part)
