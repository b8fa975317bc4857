"""A data set through pickle and through the worker processes of a DataLoader."""

import io
import multiprocessing
import pickle
from typing import Any

from ai8xsim.data.dataset import Dataset
from ai8xsim.data.findings.subject import Workers
from ai8xsim.data.reading import Reading, observe
from ai8xsim.errors import InputError

LOOKED_AT = 8
SECONDS = 120
LARGEST_PICKLE = 1 << 28


class _EnoughError(Exception):
    """So much could be pickled that the rest is of the same kind."""


class _Measure(io.RawIOBase):
    """Takes bytes, keeps none, and says when it is enough."""

    def __init__(self) -> None:
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        if self.count > LARGEST_PICKLE:
            raise _EnoughError
        return size


def try_workers(dataset: Dataset, test: Any, reading: Reading, workers: int) -> Workers:
    """What becomes of the test set in other processes, against what was read in this one."""
    if not reading.items:
        return Workers(why_not="no item of the test set could be read")
    if workers < 1:
        return Workers(why_not="no workers were asked for")
    fault = pickle_fault(dataset, test)
    if "fork" not in multiprocessing.get_all_start_methods():
        return Workers("this system does not fork processes", pickle_fault=fault)
    indices = [item.index for item in reading.items[:LOOKED_AT]]
    before = {item.index: item.digest for item in reading.items}
    try:
        with dataset.guarded("a DataLoader with workers"):
            images = [image for batch in _batches(dataset, test, indices, workers) for image in batch]
    except InputError as failure:
        return Workers(fault=_reason(failure), pickle_fault=fault)
    seen = [
        observe(index, (image, 0), act_mode_8bit=True) for index, image in zip(indices, images, strict=False)
    ]
    comparable = [item for item in seen if item.values is not None or dataset.collate is None]
    different = tuple(item.index for item in comparable if item.digest != before[item.index])
    return Workers("", "", different, len(comparable), fault)


def pickle_fault(dataset: Dataset, items: Any) -> str:
    """Why a set cannot be pickled; "" where it can."""
    with dataset.present():
        try:
            pickle.Pickler(_Measure(), protocol=pickle.HIGHEST_PROTOCOL).dump(items)
        except _EnoughError:
            return ""
        except Exception as fault:
            return f"{type(fault).__name__}: {fault}"
    return ""


def _batches(dataset: Dataset, test: Any, indices: list[int], workers: int) -> list[Any]:
    """The data of the batches that workers make of some items."""
    from torch.utils.data import DataLoader, Subset

    loader = DataLoader(
        Subset(test, indices), batch_size=4, num_workers=workers, collate_fn=dataset.collate,
        multiprocessing_context="fork", timeout=SECONDS,
    )  # fmt: skip
    return [batch[0] for batch in loader]


def _reason(failure: InputError) -> str:
    """The last line of what a worker raised, which is a whole traceback."""
    text = failure.diagnostics[0].notes[0]
    lines = [line for line in text.splitlines() if line.strip()]
    head = lines[0].partition(":")[0]
    return lines[-1] if len(lines) > 1 else f"{head}: {lines[0].partition(':')[2].strip()}"
