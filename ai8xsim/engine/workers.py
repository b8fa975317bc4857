"""Threads that help a run along, if they come in time."""

import os
import threading
import weakref
from collections.abc import Sequence
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import aligned
from ai8xsim.kernels.generated.driver import CompiledRun
from ai8xsim.kernels.generated.handles import first_address
from ai8xsim.kernels.generated.standby import ASLEEP, POST_SIZE, call_thread
from ai8xsim.kernels.generated.steps import Handle

Handles = npt.NDArray[np.int64]  # of a call, see `steps.Handle`

# Instead of a call, for a run whose handles were told of it before.
TOLD = np.zeros((0, 0, 0, 0), np.int8), np.zeros(0, np.int64), np.zeros(0, np.int64)


class Errand(NamedTuple):
    """What threads are called for: handles, and all that lies where those point to."""

    handles: Handles
    memory: tuple[object, ...]


class Post:
    """Where a thread stands by. It keeps alive what the thread works on, even if that comes too late to help."""

    def __init__(self) -> None:
        shared = aligned(np.zeros(POST_SIZE, np.int64))
        self._shared, self._address = shared.data, first_address(shared)
        self._errands: list[Errand] = []
        self._changing = threading.Lock()  # the errands

    @property
    def is_asleep(self) -> bool:
        return self._shared[0] == ASLEEP

    def call(self, errand: Errand) -> bool:
        """Call the thread, if it is ready; then it is done with all errands before."""
        with self._changing:
            self._errands.append(errand)
            is_called = call_thread(self._address, first_address(errand.handles))
            if is_called:
                del self._errands[:-1]
            else:
                self._errands.pop()
            return is_called

    def serve(self, run: CompiledRun, errands: list[Errand]) -> None:
        """What the thread does once it is awake: the only errand of a list, which it takes, and those that it is called
        for, until nobody calls for a while. In between it needs no GIL."""
        with self._changing:
            self._errands.append(errands.pop())
            handles = self._errands[-1].handles.copy()
        handles[Handle.POST] = self._address
        run(handles, *TOLD)
        with self._changing:
            self._errands.clear()


Queue = SimpleQueue[list[Errand] | None]  # lists of one errand, which the thread takes out


class Crew(NamedTuple):
    """The threads of a process: the queue at which they sleep, and the posts at which they stand by."""

    queue: Queue
    posts: tuple[Post, ...]


class Workers:
    """Threads that wait for work. They start when they are first needed, and again in a process that was forked.

    run: the compiled code that they run.
    """

    def __init__(self, count: int, run: CompiledRun) -> None:
        self.count, self.run = count, run
        self._crews: dict[int, Crew] = {}  # by process

    def call(self, errands: Sequence[Errand]) -> None:
        """Let a thread take part in each errand; whoever comes late finds nothing to do."""
        crew, left = self._crew(), list(errands)
        for post in crew.posts:
            if left and post.call(left[-1]):
                left.pop()
        if left and crew.queue.empty():
            asleep = sum(post.is_asleep for post in crew.posts)
            for errand in left[:asleep]:
                crew.queue.put([errand])

    def _crew(self) -> Crew:
        """Of this process; who is the first to need it starts its threads."""
        known = self._crews.get(os.getpid())
        if known is not None:
            return known
        made = Crew(SimpleQueue(), tuple(Post() for _ in range(self.count)))
        crew = self._crews.setdefault(os.getpid(), made)
        if crew is made:
            for post in crew.posts:
                service = (crew.queue, post, self.run)
                threading.Thread(target=_serve, args=service, name="ai8xsim", daemon=True).start()
            weakref.finalize(self, _dismiss, crew.queue, self.count)
        return crew


def _serve(queue: Queue, post: Post, run: CompiledRun) -> None:
    while (errands := queue.get()) is not None:
        post.serve(run, errands)


def _dismiss(queue: Queue, count: int) -> None:
    for _ in range(count):
        queue.put(None)
