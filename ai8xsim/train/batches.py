"""What a model is trained and tested with, batch by batch; a fault in the data gets a diagnostic."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import DataLoader

from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError

Batch = tuple[Tensor, Tensor]
Name = Literal["train", "test"]


def _unguarded(what: str) -> AbstractContextManager[Any]:
    return nullcontext()


@dataclass(frozen=True)
class Data:
    """What a model is trained and tested with: sets of (item, label) with a length.

    collate: makes a batch of items, PyTorch's own by default. workers: processes that load. present: a context in
    which the user's modules can be found (see `Dataset.present`). guarded: a context that makes diagnostics of what
    the user's code raises (see `Dataset.guarded`); by default it is raised as it is.
    Raises InputError for sets without items.
    """

    train: Any
    test: Any
    collate: Callable[..., Any] | None = None
    workers: int = 0
    present: Callable[[], AbstractContextManager[None]] = nullcontext
    guarded: Callable[[str], AbstractContextManager[Any]] = _unguarded

    def __post_init__(self) -> None:
        sets = {"train": self.train, "test": self.test}
        mend = "see what the folder of data holds"
        empty = [
            error("empty-set", f"the {name} set has no items", help=mend)
            for name, items in sets.items()
            if items is not None and len(items) == 0
        ]
        if empty:
            raise InputError(empty)


@dataclass(frozen=True)
class Batches:
    """The batches of a set, each (data, labels) as long as the other. name: of the set, for messages."""

    data: Data
    name: Name
    loader: "DataLoader[Any]"

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Raises InputError where the items are something else."""
        batches = iter(self.loader)
        while True:
            try:
                batch = next(batches, None)
            except (
                Exception
            ) as fault:  # not around the loop: what that does with a batch is no loader's fault
                with self.data.guarded(f"reading the {self.name} set"):
                    raise _without_trace(fault) from fault
            if batch is None:
                return
            yield self._checked(batch)

    def _checked(self, batch: Any) -> Batch:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise self._refused(f"a batch is {_kind(batch)}, not data and labels")
        for what, values in zip(("data", "labels"), batch, strict=True):
            if not isinstance(values, Tensor) or values.dim() == 0:
                raise self._refused(f"the {what} of a batch are {_kind(values)}, no tensor")
        data, labels = batch
        if len(data) != len(labels):
            raise self._refused(f"a batch has {len(data)} items and {len(labels)} labels")
        return data, labels

    def _refused(self, message: str) -> InputError:
        mend = "let `__getitem__` return `data, label`: a tensor, and a number or a tensor"
        if self.data.collate is not None:
            mend += "; `collate` must return a tensor of each"
        return InputError([error("item-structure", f"the {self.name} set: {message}", help=mend)])


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in value))
        return f"{len(value)} values ({kinds})"
    return (
        "a single number"
        if isinstance(value, Tensor) and value.dim() == 0
        else f"of type {type(value).__name__}"
    )


def _without_trace(fault: Exception) -> Exception:
    """What a worker process raised, without the traceback that PyTorch puts into its message."""
    lines = str(fault).splitlines()
    if "Original Traceback" in str(fault):
        return RuntimeError(f"{lines[-1]} (in a worker process; without workers its line is shown)")
    return fault
