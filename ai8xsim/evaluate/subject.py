"""What is evaluated: a program and samples with targets; and the model that it is held against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

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

    name: what messages call the data set. model: takes int8 samples (N, channels, rows, columns) and returns
    outputs of the program's shape.
    """

    program: Program
    data: Samples
    task: Task
    name: str = "data set"
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
        task = task_of(program, labels, regression, pair(data, 0, "data set")[1])
        span = Span("data set")
        found = label_diagnostics(task, labels, span) if labels else ()
        return cls(program, data, task, diagnostics=found)


def pair(data: Samples, index: int, name: str) -> tuple[Any, Any]:
    """A sample and its target. Raises InputError where the data set's own code fails."""
    try:
        sample, target = data[index]
    except Exception as fault:  # what a stranger's loader raises is open-ended
        why = (f"{type(fault).__name__}: {fault}",)
        mend = "each item must be a pair of a sample and its target"
        message = f"sample {index} cannot be loaded"
        raise InputError([error("unloadable-sample", message, Span(name), "", why, mend)]) from fault
    return sample, target
