"""Processes: a simulator that was used with threads may go, or be copied, into any other process."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from ai8xsim import Program, Simulator

from ..simulator.small_programs import program_of, random_int8
from .own_process import in_own_process

METHODS = ("fork", "spawn", "forkserver")
SHAPE = (16, 32, 32)
BATCH = 9  # samples
RIGHT = 0
CHILD_LIMIT = 40  # seconds

Checksums = list[list[int]]


@cache
def program() -> Program:
    """A few million multiplications, which threads share."""
    layers = """
    - {name: first, op: conv2d, pad: 1, output_shift: -2}
    - {name: sum, op: add, in_sequences: [first, input]}
    - {name: last, op: conv2d, max_pool: 2, pool_stride: 2, pad: 1, output_width: 32}
    """
    weights = random_int8(1, 16, 16, 3, 3), random_int8(2, 24, 16, 3, 3)
    return program_of("\n".join(map(str.strip, layers.split("\n"))), *weights, input_shape=SHAPE)


@cache
def samples() -> Any:
    return random_int8(0, BATCH, *SHAPE)


def checksums(machine: Simulator, place: int | None = None) -> Checksums:
    """What a machine computes of one sample, whose steps are shared, or of all, which are shared themselves."""
    batch = samples() if place is None else samples()[place : place + 1]
    return [[zlib.crc32(output.tobytes()) for output in layer.output] for layer in machine.run(batch)]


@cache
def expected() -> Checksums:
    """Of all samples, by a single thread."""
    return checksums(Simulator(program(), threads=1))


def is_right(machine: Simulator) -> bool:
    """Whether a machine's results are those of a single thread, whatever it shares."""
    singles = [checksums(machine, place) for place in range(BATCH)]
    joined = [[single[layer][0] for single in singles] for layer in range(len(expected()))]
    return checksums(machine) == expected() == joined


def used_machine(threads: int = 2) -> Simulator:
    """A simulator whose threads have started."""
    machine = Simulator(program(), threads=threads)
    assert is_right(machine)
    return machine


def forked(work: Callable[[], object]) -> int:
    """The process that does the work and ends; its exit status is `RIGHT` if that went well."""
    child = os.fork()
    if child:
        return child
    try:
        os._exit(RIGHT if work() else 3)
    finally:
        os._exit(4)


def statuses(children: list[int], limit: float = CHILD_LIMIT) -> list[int | str]:
    """The exit status of each child, or that it hung."""
    found: list[int | str] = []
    end = time.monotonic() + limit
    for child in children:
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        found.append(os.waitstatus_to_exitcode(status) if ended else "hung")
    return found


# Forks


def _fork_after_a_run(threads: int) -> list[Any]:
    machine = used_machine(threads)
    children = [forked(partial(is_right, machine)) for _ in range(4)]
    mine = is_right(machine)
    return [mine, statuses(children), is_right(machine)]


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_forked_children_of_a_process_with_threads_compute_the_same(threads: int) -> None:
    assert in_own_process(_fork_after_a_run, threads) == [True, [RIGHT] * 4, True]


def _fork_twice() -> list[Any]:
    machine = used_machine()

    def child() -> bool:
        return is_right(machine) and statuses([forked(partial(is_right, machine))]) == [RIGHT]

    return statuses([forked(child)])


def test_a_childs_child_computes_the_same() -> None:
    assert in_own_process(_fork_twice) == [RIGHT]


def _fork_and_drop() -> list[Any]:
    machines = [used_machine()]
    child = os.fork()
    if child:
        return statuses([child])
    machines.clear()
    right = is_right(Simulator(program(), threads=3))
    sys.exit(RIGHT if right else 3)  # as a process ends, with all that runs at its end


def test_a_child_may_drop_its_parents_simulator_and_end_as_usual() -> None:
    assert in_own_process(_fork_and_drop) == [RIGHT]


def _fork_while_running(paths: str) -> list[Any]:
    """Children are made at any moment of a run that another thread is in the middle of."""
    machine, stop = used_machine(3), threading.Event()
    wrong: list[int] = []

    def run_on() -> None:
        while not stop.is_set():
            ours = checksums(machine, 0) if paths == "steps" else checksums(machine)
            theirs = [row[:1] for row in expected()] if paths == "steps" else expected()
            if ours != theirs:
                wrong.append(1)

    runners = [threading.Thread(target=run_on) for _ in range(2)]
    for runner in runners:
        runner.start()
    children = []
    for _ in range(20):
        time.sleep(random.uniform(0, 0.01))
        children.append(forked(partial(is_right, machine)))
    found = statuses(children)
    stop.set()
    for runner in runners:
        runner.join()
    return [len(wrong), found]


@pytest.mark.parametrize("paths", ["steps", "samples"])
def test_children_forked_in_the_middle_of_a_run_compute_the_same(paths: str) -> None:
    assert in_own_process(_fork_while_running, paths) == [0, [RIGHT] * 20]


def _fork_while_hashing() -> list[Any]:
    traces = [Simulator(program()).run(samples()) for _ in range(300)]
    runner = threading.Thread(target=lambda: [trace["first"].digests for trace in traces])
    runner.start()
    last = traces[-1]["sum"]
    children = [forked(lambda: len(last.digests) == BATCH) for _ in range(10)]
    was_hashing = runner.is_alive()
    found = statuses(children, 10)
    runner.join()
    return [was_hashing, found]


def test_a_child_forked_while_another_thread_takes_digests_can_take_them() -> None:
    assert in_own_process(_fork_while_hashing) == [True, [RIGHT] * 10]


# Pools


def _sample_checksums(machine: Simulator, place: int) -> Checksums:
    return checksums(machine, place)


def _map_over_a_pool(method: str) -> list[Any]:
    machine = used_machine()
    with multiprocessing.get_context(method).Pool(2) as pool:
        singles = pool.map(partial(_sample_checksums, machine), range(BATCH))
        together = pool.map(checksums, [machine] * 2)
    joined = [[single[layer][0] for single in singles] for layer in range(len(expected()))]
    return [joined == expected(), [found == expected() for found in together], is_right(machine)]


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_processes_takes_a_simulator_pickled(method: str) -> None:
    assert in_own_process(_map_over_a_pool, method) == [True, [True, True], True]


def _thread_counts(machine: Simulator) -> list[int]:
    before = set(threading.enumerate())
    checksums(machine)
    return [len(set(threading.enumerate()) - before)]


def _threads_in_a_pool() -> list[Any]:
    machine = used_machine(3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(_thread_counts, [machine])


def test_a_pickled_simulator_has_as_many_threads_as_before() -> None:
    assert in_own_process(_threads_in_a_pool) == [[2]]


# Data loaders


class SimulatedSamples:
    """A data set whose items are computed when they are asked for."""

    def __init__(self, machine: Simulator) -> None:
        self.machine = machine

    def __len__(self) -> int:
        return BATCH

    def __getitem__(self, place: int) -> Any:
        return self.machine.run(samples()[place]).output


def _load(method: str, workers: int) -> list[Any]:
    from torch.utils.data import DataLoader

    machine = used_machine()
    data: Any = SimulatedSamples(machine)
    loader = DataLoader(data, batch_size=2, num_workers=workers, multiprocessing_context=method)
    wanted = machine.run(samples()).output
    found = np.concatenate([batch.numpy() for batch in loader])
    return [np.array_equal(found, wanted), is_right(machine)]


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_data_loader_runs_a_simulator_in_its_workers(method: str) -> None:
    assert in_own_process(_load, method, 2) == [True, True]
