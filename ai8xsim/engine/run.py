"""Runs a program with generated kernels: its plans, memory for them, and threads that share the work."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import aligned
from ai8xsim.engine.executor import Int8, Keep, LayerTraces, Run
from ai8xsim.engine.lower import Lowered, lower
from ai8xsim.engine.outputs import Outputs, first_bytes, layout_of
from ai8xsim.engine.workers import TOLD, Errand, Handles, Workers
from ai8xsim.kernels.generated import driver
from ai8xsim.kernels.generated.handles import first_address, tell_call
from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.steps import Handle
from ai8xsim.kernels.generated.targets import Target
from ai8xsim.program import Program
from ai8xsim.progress import Progress

# Multiplications, some 100 microseconds of them, below which a second thread costs more than it brings: to be called
# or woken, and to be waited for.
WORTH_THREADS = 40_000_000
# Multiplications between two reports of progress.
WORTH_A_REPORT = 2_000_000_000

Numbers = npt.NDArray[np.int64]  # that compiled code is told of a share: the last of the handles
Counters = npt.NDArray[np.int64]  # see `driver.counters_for`
Call = tuple[Int8, Outputs]  # samples (N, channels, rows, columns), which all threads that work on them share
Work = Callable[[Call], None]  # on some of a call's samples


class GeneratedExecutor:
    """Runs a program with kernels generated for a target; threads share samples or steps."""

    def __init__(self, program: Program, target: Target, threads: int) -> None:
        self._program, self._target = program, target
        self._workers = Workers(threads - 1, driver.runner_of(target))
        self._engines: dict[tuple[Keep, bool], Engine] = {}

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What runs so many samples, which start with empty data buffers."""
        return self._engine(keep, is_single=count == 1).prepared(count, keep, is_batch=is_batch)

    def series(self) -> "GeneratedSeries":
        """A series of runs that begins with empty data buffers."""
        return GeneratedSeries(self._engine("all", is_single=True))

    def _engine(self, keep: Keep, *, is_single: bool) -> "Engine":
        known = self._engines.get((keep, is_single))
        if known is not None:
            return known
        is_shared = is_single and self._workers.count > 0  # batches are divided by samples, mostly
        lowered = lower(
            self._program, self._target, keep_all=keep == "all", is_single=is_single, is_shared=is_shared
        )
        engine = Engine(lowered, self._target, self._workers)
        return self._engines.setdefault((keep, is_single), engine)


class GeneratedSeries:
    """Runs samples one after another; data buffers live on in an arena of its own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine, self._arena = engine, engine.new_arena()

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What runs so many samples one after another."""
        return self._engine.continued(count, keep, is_batch=is_batch, arena=self._arena)


class Arena(NamedTuple):
    """Memory for a run: activations, sums; and handles that know it and the plan, and are told each call."""

    values: npt.NDArray[Any]
    sums: npt.NDArray[np.int32]
    handles: Handles


class Share(NamedTuple):
    """Which samples are run, how many at a time, and how threads divide the work."""

    first: int
    end: int
    places: int
    threads: int = driver.ALONE
    counters: int = 0  # their address, which each call has its own of
    first_step: int = 0


class SharedCall(NamedTuple):
    """What calls that threads share begin with."""

    numbers: Numbers  # but for the counters' address
    counters: int  # how many

    def begun(self) -> tuple[Counters, Numbers]:
        """New counters, and numbers that tell where they are."""
        counters, numbers = np.zeros(self.counters, np.int64), self.numbers.copy()
        numbers[Handle.COUNTERS - Handle.WIDE] = first_address(counters)
        return counters, numbers


class Engine:
    """Runs a plan on samples. Calls from several threads at once are fine: each takes an arena of its own."""

    def __init__(self, lowered: Lowered, target: Target, workers: Workers) -> None:
        self._lowered, self._target = lowered, target
        self._workers, self._sharers = workers, min(workers.count + 1, _processors())
        self._plan, self._effort = lowered.plan, lowered.plan.work
        self._arenas: list[Arena] = []

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What runs so many samples; whether threads share them is decided here."""
        layout = layout_of(self._lowered, count, keep, is_batch=is_batch)
        work = self._work_on(count, 0, count)

        def run(x_nchw: Int8, progress: Progress | None) -> LayerTraces:
            call = _readable(x_nchw), layout.new_outputs()
            if progress is None:
                work(call)
            else:
                self._work_and_report(call, progress)
            return layout.traces(call[1])

        return run

    def continued(self, count: int, keep: Keep, *, is_batch: bool, arena: Arena) -> Run:
        """What runs so many samples one after another; the arena's data buffers stay as they are."""
        layout = layout_of(self._lowered, count, keep, is_batch=is_batch)
        numbers = _numbers(self._lowered, count, Share(0, count, 1, first_step=self._lowered.clear_steps))

        def run(x_nchw: Int8, _: Progress | None) -> LayerTraces:
            call = _readable(x_nchw), layout.new_outputs()
            self._workers.run(arena.handles.copy(), *call, numbers)
            return layout.traces(call[1])

        return run

    def new_arena(self) -> Arena:
        """Memory for a run, full of zeros."""
        plan, handles = self._plan, np.zeros(len(Handle), np.int64)
        values = aligned(np.full(plan.values, ZERO, self._target.value))
        sums = aligned(np.zeros(plan.sums, np.int32))
        handles[Handle.STEP_COUNT] = len(plan.steps)
        for handle, table in (
            (Handle.STEPS, plan.steps),
            (Handle.OFFSETS, plan.offsets),
            (Handle.WEIGHTS, plan.weights),
            (Handle.STARTS, plan.starts),
            (Handle.VALUES, values),
            (Handle.SUMS, sums),
        ):
            handles[handle] = _address(table)
        return Arena(values, sums, handles)

    def _work_and_report(self, call: Call, progress: Progress) -> None:
        count, chunk = len(call[0]), self._samples_between_reports()
        for first in range(0, count, chunk):
            end = min(first + chunk, count)
            self._work_on(count, first, end)(call)
            progress(end, count)

    def _samples_between_reports(self) -> int:
        together = self._plan.samples_together * self._sharers
        return together * max(1, WORTH_A_REPORT // max(1, self._effort * together))

    def _work_on(self, count: int, first: int, end: int) -> Work:
        """What runs some of so many samples: alone, or with other threads where that is worth while."""
        if self._sharers == 1 or self._effort * (end - first) < WORTH_THREADS:
            share = Share(first, end, self._plan.samples_together)
            return partial(self._run, _numbers(self._lowered, count, share))
        if end - first < self._sharers:
            return partial(self._share_steps, self._shared_call(count, Share(first, end, 1, self._sharers)))
        places = min(self._plan.samples_together, -(-(end - first) // self._sharers))
        return partial(self._share_samples, self._shared_call(count, Share(first, end, places, 1)))

    def _run(self, numbers: Numbers, call: Call) -> None:
        arena = self._take_arena()
        self._workers.run(arena.handles, *call, numbers)
        self._arenas.append(arena)

    def _share_steps(self, shared: SharedCall, call: Call) -> None:
        """All threads work in one arena."""
        counters, numbers = shared.begun()
        arena = self._take_arena()
        errand = self._errand(arena, call, numbers, counters)
        self._workers.call([errand] * (self._sharers - 1))
        self._workers.run(errand.handles, *TOLD)
        self._arenas.append(arena)

    def _share_samples(self, shared: SharedCall, call: Call) -> None:
        """Each thread works in an arena of its own."""
        counters, numbers = shared.begun()
        arenas = [self._take_arena() for _ in range(self._sharers)]
        self._workers.call([self._errand(arena, call, numbers, counters) for arena in arenas[1:]])
        self._workers.run(arenas[0].handles, *call, numbers)
        self._arenas += reversed(arenas)  # so that each thread takes its own again, which its cache holds

    def _errand(self, arena: Arena, call: Call, numbers: Numbers, counters: Counters) -> Errand:
        handles = arena.handles.copy()  # which others may read when the arena serves the next call
        tell_call(handles, *call, numbers)
        return Errand(handles, (self._plan, arena, call, counters))

    def _shared_call(self, count: int, share: Share) -> SharedCall:
        turns = -(-(share.end - share.first) // share.places)
        counters = driver.counters_for(len(self._plan.steps), turns, share.threads)
        return SharedCall(_numbers(self._lowered, count, share), counters)

    def _take_arena(self) -> Arena:
        try:
            return self._arenas.pop()
        except IndexError:
            return self.new_arena()


def _processors() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _readable(x_nchw: Int8) -> Int8:
    """Samples as compiled code can read them."""
    return x_nchw if _rows_follow(x_nchw) else np.ascontiguousarray(x_nchw)


def _rows_follow(x_nchw: Int8) -> bool:
    """Whether all pixels of a channel are equally far apart."""
    if x_nchw.flags.c_contiguous:
        return True
    (_, _, rows, columns), (_, _, row_step, column_step) = x_nchw.shape, x_nchw.strides
    return bool(row_step == columns * column_step or rows == 1 or columns == 1)


def _numbers(lowered: Lowered, count: int, share: Share) -> Numbers:
    return np.array((*first_bytes(lowered, count), *share), np.int64)
