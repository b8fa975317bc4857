"""Threads that help a run along, if they come in time."""

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.kernels.generated.handles import first_address
from ai8xsim.kernels.generated.standby import ASLEEP, POST_SIZE, READY, call_thread, dismiss_thread
from ai8xsim.kernels.generated.steps import Handle

Work = Callable[[], None]
Handles = npt.NDArray[np.int64]  # of a call, see `steps.Handle`
Runner = Callable[[Handles], None]


class Helper:
    """A piece of work that another thread does, unless it is called off before."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._claimed, self._running = threading.Lock(), threading.Lock()
        self._fault: BaseException | None = None
        self._running.acquire()

    def run(self, _: object = None) -> None:
        """Do the work, if nobody called it off."""
        if not self._claimed.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as fault:  # who joins must hear of it, whatever it is
            self._fault = fault
        finally:
            self._running.release()

    def join(self) -> None:
        """Call the work off, or wait for its end where it has begun. Raises what it raised."""
        if self._claimed.acquire(blocking=False):
            return
        self._running.acquire()
        if self._fault is not None:
            raise self._fault


class Errand(NamedTuple):
    """What threads are called for: handles, and all that lies where those point to."""

    handles: Handles
    memory: tuple[object, ...]


class Post:
    """Where a thread stands by. It keeps alive what the thread reads, even if that comes too late to help."""

    def __init__(self) -> None:
        shared = np.zeros(POST_SIZE, np.int64)
        self._shared, self._address = shared.data, first_address(shared)
        self._errands: list[Errand] = []
        self._calling = threading.Lock()

    @property
    def is_ready(self) -> bool:
        return self._shared[0] == READY

    @property
    def is_asleep(self) -> bool:
        return self._shared[0] == ASLEEP

    def call(self, errand: Errand) -> bool:
        """Call the thread, if it is ready and nobody else calls it; then it is done with all errands before."""
        if not self._calling.acquire(blocking=False):
            return False
        try:
            self._errands.append(errand)
            is_called = call_thread(self._address, first_address(errand.handles))
            if is_called:
                del self._errands[:-1]
            else:
                self._errands.pop()
            return is_called
        finally:
            self._calling.release()

    def serve(self, run: Runner, errand: Errand) -> None:
        """What the thread does once it is awake: this errand, and those that it is called for, until nobody calls for
        a while, or it is wanted elsewhere. In between it needs no GIL."""
        with self._calling:
            self._errands.append(errand)
        handles = errand.handles.copy()
        handles[Handle.POST] = self._address
        run(handles)
        with self._calling:
            self._errands.clear()

    def dismiss(self) -> None:
        """The thread is wanted elsewhere."""
        dismiss_thread(self._address)


Task = Callable[[Post], None]
Queue = SimpleQueue[Task | None]


class Workers:
    """Threads that wait for work. They start when they are first needed, and again in a process that was forked.

    run: the compiled code that they run.
    """

    def __init__(self, count: int, run: Runner) -> None:
        self.count, self.run = count, run
        self._process = 0
        self._queue: Queue = SimpleQueue()
        self._posts: list[Post] = []

    @property
    def are_ready(self) -> bool:
        """Whether the first thread stands by."""
        return self._process == os.getpid() and self._posts[0].is_ready

    def call(self, errand: Errand, count: int) -> None:
        """Let so many threads take part in an errand; whoever comes late finds nothing to do."""
        self._start_threads()
        posts = self._posts[:count]
        asleep = sum(post.is_asleep for post in posts) if self._queue.empty() else 0
        for post in posts:
            post.call(errand)
        for _ in range(asleep):
            self._queue.put(partial(Post.serve, run=self.run, errand=errand))

    def start(self, work: Work, count: int) -> list[Helper]:
        """Let so many threads do the work, once they are free."""
        self._start_threads()
        helpers = [Helper(work) for _ in range(count)]
        for helper in helpers:
            self._queue.put(helper.run)
        for post in self._posts:
            post.dismiss()
        return helpers

    def _start_threads(self) -> None:
        if self._process == os.getpid():
            return
        self._queue, self._posts = SimpleQueue(), [Post() for _ in range(self.count)]
        self._process = os.getpid()
        for post in self._posts:
            threading.Thread(target=_serve, args=(self._queue, post), name="ai8xsim", daemon=True).start()
        weakref.finalize(self, _dismiss, self._queue, self.count)


def _serve(queue: Queue, post: Post) -> None:
    while (task := queue.get()) is not None:
        task(post)
        del task  # it keeps the memory of its run alive


def _dismiss(queue: Queue, count: int) -> None:
    for _ in range(count):
        queue.put(None)
