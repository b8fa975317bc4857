"""Runs a program with generated kernels: its plans, memory for them, and threads that share the work."""

import os
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import aligned
from ai8xsim.engine.computed import Computed, Int8, Keep
from ai8xsim.engine.lower import Emitted, Lowered, lower
from ai8xsim.engine.workers import Errand, Handles, Workers
from ai8xsim.kernels.generated import driver
from ai8xsim.kernels.generated.handles import tell_call
from ai8xsim.kernels.generated.steps import Handle
from ai8xsim.kernels.generated.targets import Target
from ai8xsim.program import Layer, Program
from ai8xsim.progress import Progress

# Multiplications, some 100 microseconds of them, below which a second thread costs more than it brings: to be woken,
# and to wait for the other one after each step.
WORTH_THREADS = 40_000_000
# Multiplications between two reports of progress.
WORTH_A_REPORT = 2_000_000_000
INT64, INT32 = 8, 4  # bytes
KNOWN_LAYOUTS = 64  # for numbers of samples


class GeneratedExecutor:
    """Runs a program with kernels generated for a target; threads share samples or steps."""

    def __init__(self, program: Program, target: Target, threads: int) -> None:
        self._program, self._target = program, target
        self._workers = Workers(threads - 1, driver.runner_of(target))
        self._engines: dict[tuple[Keep, bool], Engine] = {}

    def run(self, x_nchw: Int8, keep: Keep, progress: Progress | None) -> list[Computed]:
        """The layers' outputs for samples (N, channels, rows, columns), which start with empty data buffers."""
        return self._engine(keep, is_single=len(x_nchw) == 1).run(x_nchw, progress)

    def series(self) -> "GeneratedSeries":
        """A series of runs that begins with empty data buffers."""
        return GeneratedSeries(self._engine("all", is_single=True))

    def _engine(self, keep: Keep, *, is_single: bool) -> "Engine":
        wanted = keep, is_single
        if wanted not in self._engines:
            lowered = lower(self._program, self._target, keep_all=keep == "all", is_single=is_single)
            self._engines[wanted] = Engine(lowered, self._target, self._workers)
        return self._engines[wanted]


class GeneratedSeries:
    """Runs samples one after another; data buffers live on in an arena of its own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine, self._arena = engine, engine.new_arena()

    def run(self, x_nchw: Int8) -> list[Computed]:
        """Every layer's output, in the order of execution."""
        return self._engine.continue_run(x_nchw, self._arena)


class Arena(NamedTuple):
    """Memory for a run: activations, sums; and handles that know it and the plan, and are told each call."""

    values: npt.NDArray[Any]
    sums: npt.NDArray[np.int32]
    handles: Handles


class Result(NamedTuple):
    """Where a layer's output lies among a call's outputs; the shape is (N, channels, rows, columns)."""

    layer: Layer
    counter: int  # of its saturated values, or -1
    shape: tuple[int, int, int, int]
    kind: np.dtype[Any]
    first_byte: int
    strides: tuple[int, int, int, int]


class Layout(NamedTuple):
    """The outputs of a call for so many samples."""

    words: int  # of 8 bytes
    first_bytes: tuple[int, int]  # of int32 and of int8
    results: tuple[Result, ...]


class Call(NamedTuple):
    """What all threads that work on the same samples have in common."""

    samples: Int8
    outputs: npt.NDArray[np.int64]  # see `Handle`
    layout: Layout


class Share(NamedTuple):
    """Which samples are run, how many at a time, and how threads divide the work: the last of the handles."""

    first: int
    end: int
    places: int
    threads: int = driver.ALONE
    counters: int = 0  # their address
    first_step: int = 0


class Engine:
    """Runs a plan on samples. Calls from several threads at once are fine: each takes an arena of its own."""

    def __init__(self, lowered: Lowered, target: Target, workers: Workers) -> None:
        self._lowered, self._target = lowered, target
        self._workers, self._threads = workers, workers.count + 1
        self._plan, self._work = lowered.plan, lowered.plan.work
        self._layout_for = lru_cache(KNOWN_LAYOUTS)(partial(_layout, lowered))
        self._arenas: list[Arena] = []
        self._sharers = min(self._threads, _processors())  # of a step, who wait for each other

    def run(self, x_nchw: Int8, progress: Progress | None) -> list[Computed]:
        """The emitted layers' outputs for samples (N, channels, rows, columns)."""
        call = self._call(x_nchw)
        if progress is None:
            self._run(call, 0, len(x_nchw))
        else:
            self._run_and_report(call, progress)
        return _computed(call)

    def new_arena(self) -> Arena:
        """Memory for a run, full of zeros."""
        plan, handles = self._plan, np.zeros(len(Handle), np.int64)
        values = aligned(np.full(plan.values, self._target.marker.zero, self._target.value))
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

    def continue_run(self, x_nchw: Int8, arena: Arena) -> list[Computed]:
        """Like `run` for one sample after another; the arena's data buffers stay as they are."""
        call, own = self._call(x_nchw), arena._replace(handles=arena.handles.copy())
        self._drive(call, own, Share(0, len(x_nchw), 1, first_step=self._lowered.clear_steps))
        return _computed(call)

    def _call(self, x_nchw: Int8) -> Call:
        samples = x_nchw if _rows_follow(x_nchw) else np.ascontiguousarray(x_nchw)
        layout, counts = self._layout_for(len(x_nchw)), self._lowered.counts
        outputs = np.empty(layout.words, np.int64)
        if counts:
            outputs[:counts] = 0
        return Call(samples, outputs, layout)

    def _run_and_report(self, call: Call, progress: Progress) -> None:
        count, chunk = len(call.samples), self._samples_between_reports()
        for first in range(0, count, chunk):
            end = min(first + chunk, count)
            self._run(call, first, end)
            progress(end, count)

    def _samples_between_reports(self) -> int:
        together = self._plan.samples_together * self._threads
        return together * max(1, WORTH_A_REPORT // max(1, self._work * together))

    def _run(self, call: Call, first: int, end: int) -> None:
        count, arena = end - first, self._take_arena()
        if self._threads == 1 or self._work * count < WORTH_THREADS:
            self._drive(call, arena, Share(first, end, self._plan.samples_together))
        elif count < self._sharers:
            self._share_steps(call, arena, Share(first, end, 1, self._sharers))
        else:
            places = min(self._plan.samples_together, -(-count // self._threads))
            self._share_samples(call, arena, Share(first, end, places, 1))
        self._arenas.append(arena)

    def _drive(self, call: Call, arena: Arena, share: Share) -> None:
        """Run samples in an arena, alone or with others."""
        tell_call(arena.handles, call.samples, call.outputs, (*call.layout.first_bytes, *share))
        self._workers.run(arena.handles)

    def _share_steps(self, call: Call, arena: Arena, share: Share) -> None:
        counters = self._counters(share)
        handles = arena.handles.copy()  # which others may read when the arena serves the next call
        shared = share._replace(counters=_address(counters))
        tell_call(handles, call.samples, call.outputs, (*call.layout.first_bytes, *shared))
        memory = (self._plan, arena, call, counters)
        self._workers.call(Errand(handles, memory), self._sharers - 1)
        self._workers.run(handles)

    def _share_samples(self, call: Call, arena: Arena, share: Share) -> None:
        counters = self._counters(share)
        shared = share._replace(counters=_address(counters))

        def help_out(_: object = counters) -> None:
            own = self._take_arena()
            self._drive(call, own, shared)
            self._arenas.append(own)

        helpers = self._workers.start(help_out, self._threads - 1)
        self._drive(call, arena, shared)
        for helper in helpers:
            helper.join()

    def _counters(self, share: Share) -> npt.NDArray[np.int64]:
        turns = -(-(share.end - share.first) // share.places)
        return np.zeros(driver.counters_for(len(self._plan.steps), turns, share.threads), np.int64)

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


def _rows_follow(x_nchw: Int8) -> bool:
    """Whether all pixels of a channel are equally far apart."""
    if x_nchw.flags.c_contiguous:
        return True
    (_, _, rows, columns), (_, _, row_step, column_step) = x_nchw.shape, x_nchw.strides
    return bool(row_step == columns * column_step or rows == 1 or columns == 1)


def _computed(call: Call) -> list[Computed]:
    outputs = call.outputs
    return [
        Computed(
            layer,
            np.ndarray(shape, kind, outputs, first_byte, strides),
            int(outputs[counter]) if counter >= 0 else None,
        )
        for layer, counter, shape, kind, first_byte, strides in call.layout.results
    ]


def _layout(lowered: Lowered, count: int) -> Layout:
    wide = INT64 * lowered.counts
    activations = wide + INT32 * lowered.sums * count
    words = 1 + (activations + lowered.activations * count) // INT64
    results = (_result(entry, count, wide if entry.is_wide else activations) for entry in lowered.emitted)
    return Layout(words, (wide, activations), tuple(results))


def _result(entry: Emitted, count: int, first_byte: int) -> Result:
    """first_byte: of all outputs of its type."""
    shape, kind = entry.layer.output_shape, np.dtype(np.int32 if entry.is_wide else np.int8)
    channels, rows, columns = shape.chw
    size = kind.itemsize
    pixel_step = size * channels
    strides = (pixel_step * columns * rows, size, pixel_step * columns, pixel_step)
    first_byte += size * entry.first * count
    return Result(entry.layer, entry.counter, (count, channels, rows, columns), kind, first_byte, strides)
