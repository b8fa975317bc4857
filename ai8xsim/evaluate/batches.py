"""Slices of a data set, loaded in the background while the slice before is computed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ai8xsim.data.reading import seeded
from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.errors import InputError
from ai8xsim.evaluate.subject import Subject, pair
from ai8xsim.evaluate.task import Kind, Task
from ai8xsim.program import Program
from ai8xsim.samples import as_array, checked_samples

Array = npt.NDArray[Any]
T = TypeVar("T")
R = TypeVar("R")

# A slice is what is loaded, computed, written down and, on a cluster, sent away at once. It is small enough that little
# is lost when a run is killed, that a progress bar moves, and that a few of them in memory do not count.
SLICES, LARGEST_SLICE = 64, 1024
SLICE_MACS, SLICE_BYTES = 100_000_000_000, 16 << 20
LARGEST_TARGET = 2.0**500  # of a value: the square of its error, and the sum of many, are still finite
LOADED_BYTES = 4  # of a value: loaders deliver floats
AHEAD = 2  # slices that are loaded while one is computed


@dataclass(frozen=True, eq=False)
class Batch:
    """A slice of the data set: int8 samples (N, channels, rows, columns), and their targets as `score` takes them."""

    first: int
    samples: npt.NDArray[np.int8]
    targets: Array


def cut(program: Program, count: int) -> tuple[range, ...]:
    """The slices of a data set of `count` samples. They depend on nothing else, so that every run has the same.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> [len(part) for part in cut(program, 130)][-3:]
    [3, 3, 1]
    """
    shapes = (program.input_shape, program.layers[-1].output_shape)
    sample_bytes = LOADED_BYTES * sum(shape.channels * shape.pixels for shape in shapes)
    limits = (
        LARGEST_SLICE,
        SLICE_MACS // max(1, program.macs),
        SLICE_BYTES // sample_bytes,
        -(-count // SLICES),
    )
    size = max(1, min(limits))
    return tuple(range(first, min(first + size, count)) for first in range(0, count, size))


def load(subject: Subject, indices: range) -> Batch:
    """The samples and targets of a slice.

    Python's, NumPy's and torch's generators are seeded with the slice's first index, and afterwards go on as before:
    what a loader does at random is the same in every run, on every machine. To be called inside `subject.present()`.
    Raises InputError that names the sample at fault.
    """
    with seeded(indices.start):
        pairs = [pair(subject.data, index, subject.name, subject.dataset) for index in indices]
    samples = _samples(subject, indices.start, [sample for sample, _ in pairs])
    return Batch(indices.start, samples, _targets(subject, indices.start, [target for _, target in pairs]))


def prefetched(
    function: Callable[[T], R], items: Iterable[T], ahead: int = AHEAD
) -> Generator[R, None, None]:
    """The function's results in the order of the items; a thread computes `ahead` of them in advance, no more.

    >>> list(prefetched(abs, [-1, -2, -3]))
    [1, 2, 3]
    """
    waiting: deque[Future[R]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(1, "ai8xsim-loader") as loader:
        try:
            for item in left:
                waiting.append(loader.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _samples(subject: Subject, first: int, samples: Sequence[Any]) -> npt.NDArray[np.int8]:
    shape = subject.program.input_shape
    try:
        stacked = np.stack([as_array(sample) for sample in samples])
        if stacked.dtype.kind in "iuf":
            with np.errstate(invalid="ignore"):  # NaN, which is equal to nothing
                as_int8 = stacked.astype(np.int8)
            if np.array_equal(as_int8, stacked):
                return checked_samples(as_int8, shape).nchw
    except (ValueError, InputError):
        pass  # they are looked at one by one, for a message that names the first at fault
    return np.concatenate([_sample(subject, first + n, sample) for n, sample in enumerate(samples)])


def _sample(subject: Subject, index: int, sample: Any) -> npt.NDArray[np.int8]:
    try:
        checked = checked_samples(sample, subject.program.input_shape)
    except InputError as fault:
        raise InputError(_of_sample(d, index, subject) for d in fault.diagnostics) from None
    if checked.is_batch:
        message = f"sample {index} is a batch of the shape {np.shape(sample)}"
        raise InputError(
            [error("sample-shape", message, Span(subject.name), help="deliver one sample an item")]
        )
    return checked.nchw


def _of_sample(diagnostic: Diagnostic, index: int, subject: Subject) -> Diagnostic:
    message = f"sample {index}: {diagnostic.message}"
    notes = diagnostic.notes
    if subject.dataset is not None:  # of a file
        notes += ("`ai8xsim check-data` says what a data set delivers, and what is wrong with it",)
    return replace(diagnostic, message=message, span=Span(subject.name), notes=notes)


def _targets(subject: Subject, first: int, targets: Sequence[Any]) -> Array:
    """The targets as numbers; of classes, each one is checked to exist."""
    task = subject.task
    size = task.answers
    arrays = [_target(subject, first + n, target, size) for n, target in enumerate(targets)]
    stacked = np.stack(arrays)
    if task.kind is Kind.REGRESSION:
        return _values(subject, first, stacked)
    with np.errstate(invalid="ignore"):
        classes = stacked.astype(np.int64, copy=False)
    count = len(task.classes)
    is_whole = classes is stacked or np.array_equal(classes, stacked)
    if not is_whole or classes.min() < 0 or classes.max() >= count:
        wrong = (classes != stacked) | (classes < 0) | (classes >= count)
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        reason = f"it is {stacked[place].item()}, and the classes are 0..{count - 1}"
        raise InputError([_wrong_target(subject, first + place[0], reason)])
    return classes


def _values(subject: Subject, first: int, targets: Array) -> Array:
    with np.errstate(over="ignore"):  # of longer floats
        values = targets.astype(np.float64)
    wrong = ~(np.abs(values) <= LARGEST_TARGET)  # true for NaN
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        value = values[place]
        reason = (
            f"it is {value:g}, too large for squared errors" if np.isfinite(value) else "it is not finite"
        )
        raise InputError([_wrong_target(subject, first + place[0], reason)])
    return values


def _target(subject: Subject, index: int, target: Any, size: int) -> Array:
    """The target as an array of the task's shape, which has `size` values."""
    task: Task = subject.task
    try:
        array = as_array(target)
    except InputError:
        form = "of no shape"
    else:
        if array.dtype.kind in "biuf" and array.size == size:
            return array.reshape(task.shape)
        form = f"of the shape {array.shape}"
    wanted = "x".join(map(str, task.shape)) or "one number"
    reason = f"it is {type(target).__name__} {form}, not {wanted}"
    raise InputError([_wrong_target(subject, index, reason)])


def _wrong_target(subject: Subject, index: int, reason: str) -> Diagnostic:
    message = f"the target of sample {index} cannot be used: {reason}"
    mend = "is this the data set that the network was made for?"
    return error("invalid-target", message, Span(subject.name), help=mend)
