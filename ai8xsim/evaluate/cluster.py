"""An evaluation spread over a Dask cluster: each worker opens the files for itself, and sends back what it counted."""

import errno
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import cast

from distributed import Client, Worker, as_completed, get_worker
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError
from ai8xsim.evaluate.batches import load
from ai8xsim.evaluate.run import Compute, judged
from ai8xsim.evaluate.scores import Part
from ai8xsim.evaluate.sources import Sources
from ai8xsim.evaluate.subject import Subject
from ai8xsim.simulator import Simulator

PATIENCE_SECONDS = 10
# Several slices make a task, for each of which the scheduler needs a millisecond; each thread gets TASKS or more, so
# that all end at about the same time and little is lost with a worker.
TASKS, MOST_TOGETHER = 16, 32


class Opened(WorkerPlugin):
    """What a worker process keeps from slice to slice: the opened subject. A new worker gets one too."""

    def __init__(self, sources: Sources, binding: Mapping[str, str], name: str) -> None:
        self.sources, self.binding, self.name = sources, dict(binding), name
        self._opened: tuple[Subject, Simulator] | None = None

    def setup(self, worker: Worker) -> None:
        """Called in the worker."""
        self._lock = Lock()  # data sets need not bear several threads

    def part(self, indices: range) -> Part:
        """The part of a slice, loaded and computed here."""
        with self._lock:
            subject, simulator = self._open()
            with subject.present():
                batch = load(subject, indices)
        return judged(subject, simulator, batch)

    def _open(self) -> tuple[Subject, Simulator]:
        if self._opened is None:
            try:
                subject = self.sources.open()
                found = self.sources.fingerprint(subject)
            except OSError as fault:
                why = (f"{fault.filename or 'file'}: {fault.strerror or fault}",)
                raise _failure(
                    "a worker cannot open a file", why, "give the workers the same files"
                ) from None
            names = [name for name in self.binding if self.binding[name] != found.get(name)]
            if names:
                notes = tuple(f"{name}: {found.get(name)} there, {self.binding[name]} here" for name in names)
                mend = "give all machines the same files and the same ai8xsim"
                raise _failure("a worker sees something else than this machine", notes, mend)
            self._opened = subject, Simulator(subject.program)
        return self._opened


@contextmanager
def connected(
    address: str, sources: Sources, binding: Mapping[str, str], patience: float = PATIENCE_SECONDS
) -> Generator[Compute, None, None]:
    """Who computes parts: the workers of the cluster at an address, while the `with` lasts.

    sources: with paths that hold on every machine. binding: what the sources' fingerprint must be there too.
    A slice whose worker died is computed by another one. The cluster itself stays as it is.
    Raises OSError where there is no cluster, InputError where it cannot do the work.
    """
    with _client(address, patience) as client:
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise _failure("the cluster has no workers", (), f"start some: `dask worker {address}`") from None
        name = f"ai8xsim-{client.id}"
        client.register_plugin(Opened(sources, binding, name), name=name)
        try:
            yield lambda slices: _parts(client, name, slices)
        finally:
            client.unregister_worker_plugin(name)


def _client(address: str, patience: float) -> Client:
    try:
        get_backend(parse_address(address)[0])  # Client tries what it does not know for a minute
        return Client(address, timeout=patience, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as fault:
        reason = f"there is no Dask cluster here: {fault}"
        raise ConnectionError(errno.ECONNREFUSED, reason, address) from None


def _parts(client: Client, name: str, slices: Sequence[range]) -> Generator[Part, None, None]:
    threads = sum(client.nthreads().values())  # type: ignore[no-untyped-call]
    together = min(MOST_TOGETHER, -(-len(slices) // (TASKS * max(1, threads))))
    bundles = [slices[n : n + together] for n in range(0, len(slices), together or 1)]
    futures = client.map(_computed, [name] * len(bundles), bundles, pure=False)
    with client.as_current():
        completed = as_completed(futures, with_results=True)  # type: ignore[no-untyped-call]
    try:
        for future, parts in completed:
            yield from parts
            future.release()  # so that the scheduler forgets it
    except KilledWorker as fault:
        mend = "look into the workers' logs: memory, or a crash in the data set's own code"
        raise _failure("the same samples ended several workers", (str(fault),), mend) from None
    finally:
        client.cancel(futures, reason="the evaluation ended")  # type: ignore[no-untyped-call]


def _computed(name: str, slices: Sequence[range]) -> list[Part]:
    """What runs on a worker; the name of its plugin and a few numbers are all that is sent."""
    opened = cast(Opened, get_worker().plugins[name])
    return [opened.part(indices) for indices in slices]


def _failure(message: str, why: tuple[str, ...], mend: str) -> InputError:
    return InputError([error("cluster-failed", message, None, "", why, mend)])
