"""Threads that stand by: they are called without being woken, leave when nobody calls, and keep nothing alive."""

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai8xsim.engine import run as engine
from ai8xsim.engine.workers import Errand, Post, Workers
from ai8xsim.kernels.generated.driver import Runner, runner_of
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
def run() -> Runner:
    compiled = runner_of(available_targets()[0])
    compiled(nothing_to_do())
    return compiled


class Memory:
    """Something that may be alive."""


def errand_for(memory: Memory) -> Errand:
    return Errand(nothing_to_do(), (memory,))


def test_a_thread_leaves_when_nobody_calls(run: Runner) -> None:
    post = Post()
    thread = threading.Thread(target=post.serve, args=(run, errand_for(Memory())))
    thread.start()
    thread.join(PATIENT)
    assert not thread.is_alive()
    assert post.is_asleep


def test_a_thread_keeps_the_errand_that_it_is_called_for_until_the_next_one_or_until_it_leaves(
    run: Runner,
) -> None:
    post, left = Post(), threading.Event()

    def serve() -> None:
        while not left.is_set():
            post.serve(run, errand_for(Memory()))

    thread = threading.Thread(target=serve)
    thread.start()
    alive = []
    for _ in range(100):
        errand = errand_for(memory := Memory())
        alive.append(weakref.ref(memory))
        soon(lambda: post.is_ready)
        post.call(errand)
        del memory, errand
    assert sum(reference() is not None for reference in alive) <= 1
    left.set()
    thread.join(PATIENT)
    assert all(reference() is None for reference in alive)


def test_a_thread_that_is_asleep_is_not_called() -> None:
    post, memory = Post(), Memory()
    alive = weakref.ref(memory)
    post.call(errand_for(memory))
    assert post.is_asleep
    del memory
    assert alive() is None


def test_a_thread_that_stands_by_is_dismissed_for_other_work(run: Runner) -> None:
    workers, done = Workers(2, run), []
    for place in range(200):
        workers.call(errand_for(Memory()), 2)
        helpers = workers.start(lambda place=place: done.append(place), 2)
        assert soon(lambda place=place: len(done) >= 2 * (place + 1))
        for helper in helpers:
            helper.join()
    assert sorted(done) == sorted([*range(200)] * 2)


def test_a_thread_that_stands_by_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sooner or later: its patience may end between two runs when the processors have much else to do."""
    called: list[bool] = []
    call = Post.call
    monkeypatch.setattr(Post, "call", lambda post, errand: called.append(call(post, errand)))
    monkeypatch.setattr(engine, "_processors", lambda: 2)
    several, alone = (
        engine.GeneratedExecutor(large_program(), available_targets()[0], threads) for threads in (2, 1)
    )
    sample = large_samples()[:1]
    (wanted, *_) = alone.run(sample, "outputs", None)

    def is_called() -> bool:
        (found, *_) = several.run(sample, "outputs", None)
        assert np.array_equal(found.output, wanted.output)
        return called[-1]

    assert not is_called()
    assert soon(is_called)
