"""What is evaluated: a program and samples with targets; and the model that it is held against."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.data import Dataset
from ai8xsim.data.reading import seeded
from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.errors import InputError
from ai8xsim.evaluate.task import Task, label_diagnostics, task_of
from ai8xsim.program import Program

Array = npt.NDArray[Any]


class Samples(Protocol):
    """A data set: as many (sample, target) pairs as its length says, by their number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True, eq=False)
class Subject:
    """A program, a data set, how the outputs are judged, and the model, if any, that sees the same samples.

    name: what messages call the data set. dataset: the entry of a data-set file that `data` comes from.
    model: takes int8 samples (N, channels, rows, columns) and returns outputs of the program's size.
    """

    program: Program
    data: Samples
    task: Task
    name: str = "data set"
    dataset: Dataset | None = None
    model: Callable[[npt.NDArray[np.int8]], Array] | None = None
    diagnostics: tuple[Diagnostic, ...] = ()

    @classmethod
    def of(
        cls, program: Program, data: Samples, labels: Sequence[object] = (), regression: bool = False
    ) -> "Subject":
        """The subject of a program and a data set, whose first target tells how outputs are judged.

        labels: names of the classes. Raises InputError where targets and output do not fit each other.

        >>> import ai8xsim
        >>> network = ai8xsim.read_network("networks/digits/network.yaml")
        >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
        >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
        >>> Subject.of(program, [(np.zeros((1, 8, 8)), 3)], labels=range(10)).task.kind.value
        'classification'
        """
        task = task_of(program, labels, regression, first_target(data, "data set"))
        span = Span("data set")
        found = label_diagnostics(task, labels, span) if labels else ()
        return cls(program, data, task, diagnostics=found)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return count_of(self.data, self.name, self.dataset)

    def present(self) -> AbstractContextManager[None]:
        """Inside, late imports of the data set's own code find what they need."""
        return self.dataset.present() if self.dataset else nullcontext()


def first_target(data: Samples, name: str, dataset: Dataset | None = None) -> Any:
    """The first sample's target, read with seeded generators. Raises InputError where there is none."""
    if count_of(data, name, dataset) == 0:
        raise InputError([error("no-samples", "the data set has no samples", Span(name))])
    with seeded(0):
        return pair(data, 0, name, dataset)[1]


def count_of(data: Samples, name: str, dataset: Dataset | None = None) -> int:
    """How many samples there are. Raises InputError where the data set's own code fails, with the place in it."""
    try:
        with nullcontext() if dataset is None else dataset.present():
            return len(data)
    except (Exception, SystemExit) as fault:  # what a stranger's code raises is open-ended
        _refuse(fault, "taking the length", name, dataset)


def pair(data: Samples, index: int, name: str, dataset: Dataset | None = None) -> tuple[Any, Any]:
    """A sample and its target; to be called inside `dataset.present()`.

    Raises InputError where the data set's own code fails, with the place in it, or delivers something else.
    """
    try:
        item: Any = data[index]
    except (Exception, SystemExit) as fault:
        _refuse(fault, f"loading sample {index}", name, dataset)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    size = f" of {len(item)}" if isinstance(item, tuple | list | dict) else ""
    message = f"sample {index} is a {type(item).__name__}{size}, no pair of a sample and its target"
    mend = "return `sample, target` from `__getitem__`"
    raise InputError([error("unloadable-sample", message, Span(name), help=mend)])


def _refuse(fault: BaseException, what: str, name: str, dataset: Dataset | None) -> NoReturn:
    """Raise an InputError for what the user's code raised; it names the line if it is a file's."""
    if dataset is not None:
        with dataset.guarded(what):
            raise fault
    why = (f"{type(fault).__name__}: {fault}",)
    raise InputError([error("unloadable-sample", f"{what} failed", Span(name), "", why)]) from fault
