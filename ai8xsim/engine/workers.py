"""Threads that help a run along, if they come in time."""

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]


class Helper:
    """A piece of work that another thread does, unless it is called off before."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._claimed, self._running = threading.Lock(), threading.Lock()
        self._fault: BaseException | None = None
        self._running.acquire()

    def run(self) -> None:
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


class Workers:
    """Threads that wait for work. They start when they are first needed, and again in a process that was forked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._process = 0
        self._queue: SimpleQueue[Helper | None] = SimpleQueue()

    def start(self, work: Work, count: int) -> list[Helper]:
        """Let so many threads do the work, once they are free."""
        if self._process != os.getpid():
            self._start_threads()
        helpers = [Helper(work) for _ in range(count)]
        for helper in helpers:
            self._queue.put(helper)
        return helpers

    def _start_threads(self) -> None:
        self._process, self._queue = os.getpid(), SimpleQueue()
        for _ in range(self.count):
            threading.Thread(target=_serve, args=(self._queue,), name="ai8xsim", daemon=True).start()
        weakref.finalize(self, _dismiss, self._queue, self.count)


def _serve(queue: "SimpleQueue[Helper | None]") -> None:
    while (helper := queue.get()) is not None:
        helper.run()
        del helper  # it keeps the memory of its run alive


def _dismiss(queue: "SimpleQueue[Helper | None]", count: int) -> None:
    for _ in range(count):
        queue.put(None)
