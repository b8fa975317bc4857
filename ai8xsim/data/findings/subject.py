"""What findings are made of: everything that was read, and how to say how many samples of how many."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ai8xsim.data.dataset import Dataset
from ai8xsim.data.reading import Digests, Item, Reading
from ai8xsim.diagnostics import Diagnostic, NotRun


@dataclass(frozen=True)
class Workers:
    """What became of a data set in other processes.

    why_not: why it was not tried, else "". fault: what was raised, else "". different: the numbers of items that came
    back different, of `read`. pickle_fault: why the set cannot be pickled, else "".
    """

    why_not: str = ""
    fault: str = ""
    different: tuple[int, ...] = ()
    read: int = 0
    pickle_fault: str = ""


@dataclass(frozen=True)
class Subject:
    """Everything that was read of a data set.

    chip, training: the sets in the two modes, all read with the same seeds. unseeded: numbers of items that differ
    between two readings with the same seed, by set. restless: numbers of test items that differ with another seed, of
    how many. reloaded: the test set of another call of the loader, with another seed. truncated: the length of the test
    set with `truncate_testset`. workers: the test set through a DataLoader. elsewhere: in a process with other hashes.
    digests: what the items of the sets of `chip` are equal by: of all of them, or of those that were read.
    """

    dataset: Dataset
    chip: tuple[Reading, ...]
    training: tuple[Reading, ...]
    unseeded: tuple[tuple[str, int], ...] = ()
    restless: tuple[tuple[int, ...], int] = ((), 0)
    reloaded: Reading | None = None
    truncated: int | None = None
    workers: Workers = Workers()
    elsewhere: Workers = Workers()
    digests: tuple[Digests, ...] = ()

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All of them: 8-bit mode first."""
        return (*self.chip, *self.training)

    def fitting(self, reading: Reading) -> Iterator[Item]:
        """The items of a reading that have the shape of the data set and only finite values."""
        import numpy as np

        for item in reading.items:
            if item.values is None or item.shape != self.dataset.input:
                continue
            if item.is_exact or bool(np.isfinite(item.values).all()):
                yield item

    def fitting_chip(self) -> list[tuple[Reading, Item]]:
        """The exact items of 8-bit mode."""
        return [(r, item) for r in self.chip for item in self.fitting(r) if item.is_exact]


Found = Iterator[Diagnostic | NotRun]
Finder = Callable[[Subject], Found]


@dataclass(frozen=True)
class Offenders:
    """The items with a fault, of all that were looked at."""

    found: tuple[tuple[Reading, Item], ...]
    total: int

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def first(self) -> Item:
        """The one that is shown."""
        return self.found[0][1]

    @property
    def count(self) -> str:
        """Such as `3 of 40 samples`."""
        return f"{len(self.found)} of {self.total} samples"

    @property
    def where(self) -> str:
        """The first one's place."""
        reading, item = self.found[0]
        return f"item {item.index} of {reading.title}"


def offenders(readings: Iterable[Reading], is_bad: Callable[[Item], bool]) -> Offenders:
    """The items of the readings that are bad."""
    looked_at = [(reading, item) for reading in readings for item in reading.items]
    return Offenders(tuple(pair for pair in looked_at if is_bad(pair[1])), len(looked_at))
