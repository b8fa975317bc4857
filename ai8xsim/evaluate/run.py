"""A data set through the functional level, slice by slice."""

from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.errors import InputError
from ai8xsim.evaluate.batches import Batch, cut, load, prefetched
from ai8xsim.evaluate.scores import Part, Scores, score
from ai8xsim.evaluate.subject import Subject
from ai8xsim.evaluate.task import Task
from ai8xsim.progress import Progress, no_progress
from ai8xsim.simulator import Simulator

Array = npt.NDArray[Any]
# What computes parts, in any order, for slices of a data set.
Compute = Callable[[Sequence[range]], Iterator[Part]]


class Finished(Protocol):
    """A place where finished parts are kept: see `Journal`."""

    @property
    def parts(self) -> Mapping[int, Part]: ...

    def append(self, part: Part) -> None: ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out: the counts of all samples, and the columns of `Part` for each of them."""

    task: Task
    scores: Scores
    columns: Mapping[str, Array]

    @property
    def flips(self) -> Array:
        """The samples for which the model gives another answer; without a model none."""
        if "model" in self.columns:
            return np.flatnonzero(self.columns["model"] != self.columns["answer"])
        return np.flatnonzero(self.columns.get("differing", ()))

    def top(self, count: int) -> float:
        """The share of samples whose class is among the first `count` answers."""
        return self.scores.ranks.below(count) / self.scores.samples

    @property
    def confusion(self) -> Array:
        """How often each class (row) was answered as each class (column), of samples or pixels."""
        count = len(self.task.classes)
        return self.scores.pairs.dense(count * count).reshape(count, count)


def evaluate(
    subject: Subject,
    compute: Compute | None = None,
    finished: Finished | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """The evaluation of a whole data set.

    compute: who computes; None: this process, with one thread that loads ahead and one that computes.
    finished: parts of an earlier run, which are not computed again, but for the first and the last, which show whether
        the data are still the same; new ones are added to it.
    progress: called with samples done and samples in all.
    Memory holds a few slices, and some numbers for each sample. The result does not depend on who computed what.
    Raises InputError for what the data set delivers.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> with np.load("networks/digits/samples.npz") as stored:
    ...     data = list(zip(stored["images"], stored["labels"]))
    >>> evaluation = evaluate(Subject.of(program, data, labels=range(10)))
    >>> round(evaluation.top(1), 4), int(evaluation.confusion.trace())
    (0.9917, 357)
    """
    total = subject.count
    slices = cut(subject.program, total)
    parts = dict(finished.parts) if finished else {}
    left = [indices for indices in slices if indices.start not in parts]
    again = rechecked(slices, parts)
    done = total - sum(map(len, left))
    progress(done, total)
    for part in (compute or partial(computed, subject))([*again, *left]):
        if part.first in parts:
            _refuse_change(subject, parts[part.first], part)
            continue
        if finished is not None:
            finished.append(part)
        parts[part.first] = part
        done += len(part)
        progress(done, total)
    return _put_together(subject.task, [parts[indices.start] for indices in slices])


def rechecked(slices: Sequence[range], finished: Container[int]) -> list[range]:
    """The slices that are computed once more, of those whose first sample is among the finished: the first, the last.

    >>> rechecked([range(0, 3), range(3, 6), range(6, 9), range(9, 10)], {0, 3, 6})
    [range(0, 3), range(6, 9)]
    """
    there = [indices for indices in slices if indices.start in finished]
    return there if len(there) < 2 else [there[0], there[-1]]


def computed(
    subject: Subject, slices: Sequence[range], simulator: Simulator | None = None
) -> Generator[Part, None, None]:
    """The parts of some slices, computed here; the next slices are loaded meanwhile."""
    engine = simulator or Simulator(subject.program)
    with subject.present(), closing(prefetched(partial(load, subject), slices)) as batches:
        for batch in batches:
            yield judged(subject, engine, batch)


def judged(subject: Subject, simulator: Simulator, batch: Batch) -> Part:
    """A batch through the program, and the model, if there is one; the answers held against the targets."""
    outputs = simulator.run(batch.samples, keep="outputs").layers[-1].samples
    theirs = None
    if subject.model is not None:
        theirs = subject.model(batch.samples)
        if theirs.size != outputs.size:
            raise InputError([_other_size(subject, theirs.size // len(outputs))])
        theirs = theirs.reshape(outputs.shape)
    return score(subject.task, batch.first, outputs, batch.targets, theirs)


def _refuse_change(subject: Subject, before: Part, now: Part) -> None:
    """A part that was computed once more must be what it was."""
    same = before.pairs == now.pairs and all(
        np.array_equal(values, now.columns[name]) for name, values in before.columns.items()
    )
    if not same:
        last = now.first + len(now) - 1
        message = f"samples {now.first} to {last} give other results than in the run that is taken up again"
        why = ("the data have changed, or the data set delivers other samples each time",)
        mend = "delete the journal to begin anew"
        raise InputError([error("changed-data", message, Span(subject.name), "", why, mend)])


def _put_together(task: Task, parts: Sequence[Part]) -> Evaluation:
    names = parts[0].columns.keys()
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    return Evaluation(task, Scores.total(map(Scores.of, parts)), columns)


def _other_size(subject: Subject, size: int) -> Diagnostic:
    shape = subject.program.layers[-1].output_shape
    message = f"the model's output has {size} values, the network's {shape.channels * shape.pixels} ({shape})"
    return error("model-output", message, help="take the model that the description was made from")
