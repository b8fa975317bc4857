"""Threads that stand by: they are called without being woken, leave when nobody calls, and keep nothing alive."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ai8xsim.engine import run as engine
from ai8xsim.engine.workers import TOLD, Errand, Post, Workers
from ai8xsim.kernels.generated.driver import CompiledRun, runner_of
from ai8xsim.kernels.generated.standby import CALLED, READY
from ai8xsim.kernels.generated.steps import Handle
from ai8xsim.kernels.generated.targets import available_targets

from .test_threads import large_program, large_samples

PATIENT = 10.0  # seconds


def soon(holds: Callable[[], bool], limit: float = PATIENT) -> bool:
    end = time.monotonic() + limit
    while not (held := holds()) and time.monotonic() < end:
        pass
    return held


def nothing_to_do() -> Any:
    """The handles of a call that has no samples."""
    handles = np.zeros(len(Handle), np.int64)
    handles[Handle.PLACES] = 1
    return handles


@pytest.fixture(scope="module")
def run() -> CompiledRun:
    compiled = runner_of(available_targets()[0])
    compiled(nothing_to_do(), *TOLD)
    return compiled


class Memory:
    """Something that may be alive."""


def errand_for(memory: Memory) -> Errand:
    return Errand(nothing_to_do(), (memory,))


def test_first_calls_from_several_threads_start_one_crew_which_ends_with_its_workers(
    run: CompiledRun,
) -> None:
    before = set(threading.enumerate())
    for _ in range(100):
        workers, together = Workers(2, run), threading.Barrier(4)

        def first_call(workers: Workers = workers, together: threading.Barrier = together) -> None:
            together.wait()
            workers.call([errand_for(Memory())] * 2)

        callers = [threading.Thread(target=first_call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(workers._crews) == 1
    del workers, first_call, callers, caller
    assert soon(lambda: not any(thread.is_alive() for thread in set(threading.enumerate()) - before))


@pytest.fixture
def standing_by(run: CompiledRun) -> Iterator[Post]:
    """A post at which a thread stands by, again and again."""
    post, left = Post(), threading.Event()

    def serve() -> None:
        while not left.is_set():
            post.serve(run, [errand_for(Memory())])

    thread = threading.Thread(target=serve)
    thread.start()
    yield post
    left.set()
    thread.join(PATIENT)
    assert not thread.is_alive()


def test_a_thread_leaves_when_nobody_calls(run: CompiledRun) -> None:
    post, memory = Post(), Memory()
    alive = weakref.ref(memory)
    thread = threading.Thread(target=post.serve, args=(run, [errand_for(memory)]))
    del memory
    thread.start()
    thread.join(PATIENT)
    assert not thread.is_alive()
    assert post.is_asleep
    assert alive() is None


def test_a_thread_keeps_the_errand_that_it_is_called_for_until_the_next_one(standing_by: Post) -> None:
    alive = []

    def is_called() -> bool:
        errand = errand_for(memory := Memory())
        called = standing_by.call(errand)
        if called:
            alive.append(weakref.ref(memory))
        del memory, errand
        kept = alive[-1]() is not None if called else False  # before its patience ends, mostly
        return called and kept

    for _ in range(20):
        assert soon(is_called)
    assert sum(reference() is not None for reference in alive) <= 1
    assert soon(lambda: all(reference() is None for reference in alive))


def test_a_thread_is_called_once_until_it_is_ready_again() -> None:
    post = Post()
    post._shared[0] = READY
    assert post.call(errand_for(Memory()))
    assert post._shared[0] == CALLED
    assert not post.call(errand_for(Memory()))


def test_a_thread_that_is_asleep_is_not_called() -> None:
    post, memory = Post(), Memory()
    alive = weakref.ref(memory)
    post.call(errand_for(memory))
    assert post.is_asleep
    del memory
    assert alive() is None


@pytest.mark.parametrize("count", [1, 5])
def test_a_thread_that_stands_by_is_called(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a share of one sample's steps, or of several samples. Sooner or later: its patience may end between two runs
    when the processors have much else to do."""
    called: list[bool] = []
    call = Post.call

    def noted(post: Post, errand: Errand) -> bool:
        called.append(call(post, errand))
        return called[-1]

    monkeypatch.setattr(Post, "call", noted)
    monkeypatch.setattr(engine, "_processors", lambda: 2)
    several, alone = (
        engine.GeneratedExecutor(large_program(), available_targets()[0], threads) for threads in (2, 1)
    )
    samples = large_samples()[:count]
    run, run_alone = (executor.prepared(count, "outputs", is_batch=True) for executor in (several, alone))
    (wanted, *_) = run_alone(samples, None)

    def is_called() -> bool:
        (found, *_) = run(samples, None)
        assert np.array_equal(found.output, wanted.output)
        return called[-1]

    assert not is_called()
    assert soon(is_called)
