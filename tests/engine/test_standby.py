"""Threads that stand by: they are called without being woken, leave when nobody calls, and keep nothing alive."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai8xsim import Simulator
from ai8xsim.engine import run as engine
from ai8xsim.engine.workers import Errand, Post, Workers
from ai8xsim.kernels.generated.driver import Runner, runner_of
from ai8xsim.kernels.generated.steps import Handle
from ai8xsim.kernels.generated.targets import available_targets

from .test_threads import large_program, large_samples

PATIENT = 10  # seconds


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENT
    while not holds() and time.monotonic() < end:
        time.sleep(0)
    return holds()


def nothing_to_do() -> Any:
    """The handles of a call that has no samples."""
    handles = np.zeros(len(Handle), np.int64)
    handles[Handle.PLACES] = 1
    return handles


@pytest.fixture(scope="module")
def run() -> Runner:
    compiled = runner_of(available_targets()[0])
    compiled(nothing_to_do())
    return compiled


class Memory:
    """Something that may be alive."""


def test_a_thread_leaves_when_nobody_calls(run: Runner) -> None:
    post = Post()
    thread = threading.Thread(target=post.stand_by, args=(run,))
    thread.start()
    thread.join(PATIENT)
    assert not thread.is_alive()
    assert post.is_asleep


def test_a_thread_that_is_called_keeps_the_errand_until_the_next_one_or_until_it_leaves(run: Runner) -> None:
    post, left = Post(), threading.Event()

    def stand_by() -> None:
        while not left.is_set():
            post.stand_by(run)

    thread = threading.Thread(target=stand_by)
    thread.start()
    alive = []
    for _ in range(100):
        memory = Memory()
        alive.append(weakref.ref(memory))
        errand = Errand(nothing_to_do(), (memory,))
        soon(lambda: post.is_ready)
        post.call(errand)
        del memory, errand
    assert sum(reference() is not None for reference in alive) <= 1
    left.set()
    thread.join(PATIENT)
    assert soon(lambda: gc.collect() >= 0 and all(reference() is None for reference in alive))


def test_a_thread_that_is_asleep_is_not_called() -> None:
    post, memory = Post(), Memory()
    alive = weakref.ref(memory)
    post.call(Errand(nothing_to_do(), (memory,)))
    assert post.is_asleep
    del memory
    assert alive() is None


def test_a_thread_that_stands_by_is_dismissed_for_other_work(run: Runner) -> None:
    workers, done = Workers(2, run), []
    for place in range(200):
        workers.call(Errand(nothing_to_do(), ()), 2)
        helpers = workers.start(lambda place=place: done.append(place), 2)
        assert soon(lambda place=place: len(done) >= 2 * (place + 1))
        for helper in helpers:
            helper.join()
    assert sorted(done) == sorted([*range(200)] * 2)


def test_runs_that_follow_closely_wake_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mostly: a thread's patience may end in between. Whoever helps, results are the same."""
    woken: list[int] = []
    start = Workers.start

    def noted(workers: Workers, work: Callable[[], None], count: int) -> object:
        woken.append(count)
        return start(workers, work, count)

    monkeypatch.setattr(Workers, "start", noted)
    monkeypatch.setattr(engine, "_processors", lambda: 2)
    machine, runs = Simulator(large_program(), threads=2), 200
    alone = Simulator(large_program(), threads=1).run(large_samples(), keep="outputs").output
    for turn in range(runs):
        place = turn % len(large_samples())
        assert np.array_equal(machine.run(large_samples()[place], keep="outputs").output, alone[place])
    assert 0 < len(woken) < runs
