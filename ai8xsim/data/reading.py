"""Items of a data set as they were delivered, kept small.

Values are kept in steps of the chip: what 8-bit mode delivers, and 128 times what training delivers, as int8 where
nothing is lost by it. So a thousand images fit into memory, and both modes can be compared.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.data.dataset import Dataset
from ai8xsim.diagnostics import Diagnostic
from ai8xsim.errors import InputError
from ai8xsim.samples import as_array as array_of

Array = npt.NDArray[Any]
TRAINING_STEPS = 128
AT_ONCE = 256  # items that are digested within one guard


@dataclass(frozen=True)
class Item:
    """One item: its number, type and place as delivered, its values in steps of the chip, its label.

    kind: such as `torch.float32`, `numpy.float64`, `Image`. device: `cpu`, or what it should not be. values: None
    where the item holds no array. label: an array, a tuple of arrays (objects), or what there was.
    structure: how the item is built where it is no (data, label).
    """

    index: int
    kind: str
    device: str
    values: Array | None
    label: Any
    label_kind: str
    structure: str = ""
    digest: str = field(default="", repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The data's shape; () where it is no array."""
        return () if self.values is None else self.values.shape

    @property
    def is_exact(self) -> bool:
        """Whether every value is an integer in int8."""
        return self.values is not None and self.values.dtype == np.int8

    @property
    def is_varied(self) -> bool:
        """Whether there are several values: constant items, such as silence, are often equal and mean nothing."""
        return (
            self.values is not None
            and self.values.size > 0
            and bool((self.values != self.values.flat[0]).any())
        )


@dataclass(frozen=True)
class Reading:
    """What was read of one set in one mode: its name, its whole length, the items, and why some could not be read."""

    name: str
    act_mode_8bit: bool
    length: int
    items: tuple[Item, ...]
    failures: tuple[tuple[int, Diagnostic], ...] = ()

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"the {self.name} set in {'8-bit' if self.act_mode_8bit else 'training'} mode"


@dataclass(frozen=True)
class Digests:
    """What the items of a set are equal by, and nothing else of them.

    first: the number of the first item of each digest. compared: how many items of `length` have been read.
    failures: of those that the reading of samples had not met.
    """

    name: str
    length: int
    compared: int
    first: Mapping[str, int]
    failures: tuple[tuple[int, Diagnostic], ...] = ()


def spread(length: int, count: int) -> tuple[int, ...]:
    """At most `count` indices spread evenly over a set, its ends among them.

    >>> spread(100, 4), spread(3, 10)
    ((0, 33, 66, 99), (0, 1, 2))
    """
    if length <= count:
        return tuple(range(length))
    return tuple(dict.fromkeys(round(i * (length - 1) / max(1, count - 1)) for i in range(count)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The generators that loaders draw from begin with a seed inside, and go on as if nothing had been, afterwards."""
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  (the user's, not ours)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread inside, as in a worker of a DataLoader: an item is too small to be shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_items(
    dataset: Dataset,
    items: Any,
    indices: Iterable[int],
    reading: Reading,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> Reading:
    """A reading with these items of a set added, each read with its own seed.

    An item that cannot be read is among the failures.
    """
    read, failures = list(reading.items), list(reading.failures)
    for index in indices:
        try:
            with dataset.guarded(f"item {index} of {reading.title},"), seeded(seed + index):
                read.append(observe(index, items[index], reading.act_mode_8bit))
        except InputError as fault:
            failures.append((index, fault.diagnostics[0]))
        step()
    return Reading(reading.name, reading.act_mode_8bit, reading.length, tuple(read), tuple(failures))


def digests_of(reading: Reading) -> Digests:
    """The digests of the items that were read."""
    first: dict[str, int] = {}
    for item in reading.items:
        if item.is_varied:
            first.setdefault(item.digest, item.index)
    compared = len(reading.items) + len(reading.failures)
    return Digests(reading.name, reading.length, compared, first)


def read_digests(
    dataset: Dataset, items: Any, reading: Reading, seed: int = 0, step: Callable[[], None] = lambda: None
) -> Digests:
    """The digests of all items of a set, none of which is kept."""
    first: dict[str, int] = {}
    failures: list[tuple[int, Diagnostic]] = []
    known = {index for index, _ in reading.failures}
    for begin in range(0, reading.length, AT_ONCE):
        indices = range(begin, min(begin + AT_ONCE, reading.length))
        part = _digested(dataset, items, indices, replace(reading, items=(), failures=()), seed)
        for index, digest in part[0]:
            first.setdefault(digest, index)
        failures += [(index, found) for index, found in part[1] if index not in known]
        for _ in indices:
            step()
    return Digests(reading.name, reading.length, reading.length, first, tuple(failures))


def _digested(
    dataset: Dataset, items: Any, indices: range, reading: Reading, seed: int
) -> tuple[list[tuple[int, str]], Sequence[tuple[int, Diagnostic]]]:
    """Numbers and digests of some items, and the failures.

    A guard takes longer than reading a small item, so there is one for all; only if one fails, each gets its own.
    """
    try:
        with dataset.guarded(reading.title), seeded(seed + indices.start), one_thread():
            seen = (observe(index, items[index], reading.act_mode_8bit) for index in indices)
            return [(item.index, item.digest) for item in seen if item.is_varied], ()
    except InputError:
        again = read_items(dataset, items, indices, reading, seed)
        return [(item.index, item.digest) for item in again.items if item.is_varied], again.failures


def observe(index: int, raw: Any, act_mode_8bit: bool) -> Item:
    """What one item of a set is."""
    if not isinstance(raw, tuple | list) or len(raw) != 2:
        return Item(index, "", "cpu", None, None, "", _structure(raw))
    image, label = raw
    array = as_array(image)
    values = None if array is None else in_steps(array, 1 if act_mode_8bit else TRAINING_STEPS)
    digest = "" if values is None else _digest(values)
    return Item(index, kind_of(image), _device(image), values, _label(label), kind_of(label), digest=digest)


def _structure(raw: Any) -> str:
    """What an item is that is no pair."""
    if isinstance(raw, tuple | list):
        return f"{len(raw)} parts"
    return f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, Mapping) else "")


def as_array(value: Any) -> Array | None:
    """The numbers of a tensor, an array or a plain number; None for everything else.

    Raises InputError for a tensor that is none inside: a sparse one.
    """
    is_tensor = hasattr(value, "detach") and value.device.type != "meta"
    if not is_tensor and not isinstance(value, np.ndarray | np.generic | int | float):
        return None
    array = array_of(value)
    return array if array.dtype.kind in "iufb" else None


def kind_of(value: Any) -> str:
    """The type of a value as a programmer would write it.

    >>> kind_of(np.zeros(2)), kind_of(3)
    ('numpy.float64', 'int')
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return type(value).__name__
    return f"numpy.{dtype}" if isinstance(value, np.ndarray | np.generic) else str(dtype)


def in_steps(array: Array, steps: int) -> Array:
    """Values times `steps`, as int8 where they are integers in its range, else floats.

    >>> in_steps(np.array([-1.0, 0.5]), 128).tolist()
    [-128, 64]
    """
    scaled = array.astype(np.float64) * steps
    with np.errstate(invalid="ignore"):
        whole = scaled.size > 0 and bool(
            np.all((scaled >= -128) & (scaled <= 127) & (scaled == np.round(scaled)))
        )
    return scaled.astype(np.int8) if whole else scaled.astype(np.float32)


def _device(value: Any) -> str:
    return str(getattr(getattr(value, "device", None), "type", "cpu"))


def _label(label: Any) -> Any:
    if isinstance(label, tuple | list):
        parts = tuple(as_array(part) for part in label)
        return label if any(part is None for part in parts) else parts
    if isinstance(label, Mapping):
        return label
    array = as_array(label)
    return label if array is None else array


def _digest(values: Array) -> str:
    head = f"{values.shape}{values.dtype}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()
