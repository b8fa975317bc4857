"""How much memory runs take, measured in a process of their own, where nothing else ever lay."""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from benchmarks.cases import Case
from benchmarks.contestants import simulator

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # what the kernel takes for: the peak begins again

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stream:
    """A data set that went through in batches, and by how much the peak grew after its first tenth."""

    samples: int
    batch: int
    peak_bytes: int
    growth_bytes: int


def run_memory(case: Case, batches: Sequence[int], target: str | None = None) -> Mapping[int, int]:
    """By batch size, what a run adds at its peak to a process that has run before; its result included."""
    return _alone(_run_memory, case, tuple(sorted(set(batches))), target)


def stream_memory(case: Case, batch: int, runs: int, target: str | None = None) -> Stream:
    """What many runs in turn do to the peak."""
    return _alone(_stream_memory, case, batch, runs, target)


def peak_bytes() -> int:
    """The most memory that the process has held.

    Linux counts `ru_maxrss` on from the process that started this one, so its own entry is better.
    """
    own = _status("VmHWM")
    if own is not None:
        return own
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _run_memory(case: Case, batches: Sequence[int], target: str | None) -> dict[int, int]:
    ready = simulator(case.program, target)
    ready.run(case.batch(1), "outputs")
    added = {}
    for batch in batches:
        samples = case.batch(batch)
        before = _forget_peak()
        trace = ready.run(samples, "outputs")
        added[batch] = max(0, peak_bytes() - before)
        del trace
    return added


def _stream_memory(case: Case, batch: int, runs: int, target: str | None) -> Stream:
    ready, samples = simulator(case.program, target), case.batch(batch)
    early = 0
    for turn in range(runs):
        ready.run(samples, "outputs")
        if turn == runs // 10:
            early = peak_bytes()
    return Stream(runs * batch, batch, peak_bytes(), peak_bytes() - early)


def _forget_peak() -> int:
    """The memory held now, from which the peak is counted; the old peak where it cannot be forgotten."""
    try:
        CLEAR.write_text(FORGET_PEAK, encoding="ascii")
    except OSError:
        return peak_bytes()
    return _status("VmRSS") or peak_bytes()


def _status(key: str) -> int | None:
    """An entry of the kernel's account of this process, in bytes."""
    lines = STATUS.read_text(encoding="utf-8").splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:")), None)


def _alone(work: Callable[..., Result], *arguments: object) -> Result:
    """The work's result, from a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()
