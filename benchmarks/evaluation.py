"""Whole data sets: what evaluating them takes beyond loading and computing, and what a cluster's second worker brings.

Times on the wall, in turns: loading and computing overlap, and workers are processes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distributed import LocalCluster
from rich import box
from rich.console import Console
from rich.table import Table

from ai8xsim import Simulator
from ai8xsim.evaluate import Evaluation, Subject, cut, evaluate
from ai8xsim.evaluate.batches import load
from ai8xsim.evaluate.cluster import connected
from ai8xsim.evaluate.run import Compute
from ai8xsim.evaluate.sources import Sources
from benchmarks.cases import RESIZED
from benchmarks.measure import Timing, interleaved
from benchmarks.race import WrongAnswerError

DATA = Path(__file__).with_name("drawn_data.py")
ONE_PROCESS = "demo-mnist-max78000"
ON_CLUSTER = RESIZED["unet-352x352-folded"][0]
LOADING, COMPUTING, EVALUATING = "loading", "computing", "evaluating"
WORKERS = (1, 2)


@dataclass(frozen=True)
class Rates:
    """How long a data set takes in different ways."""

    network: str
    samples: int
    timings: Mapping[str, Timing]

    def per_second(self, way: str) -> float:
        """Samples a second."""
        return self.samples / self.timings[way].wall_median

    @property
    def summary(self) -> str:
        """What the times say."""
        seconds = {way: timing.wall_median for way, timing in self.timings.items()}
        if EVALUATING in seconds:
            share = seconds[EVALUATING] / max(seconds[LOADING], seconds[COMPUTING])
            return f"evaluating takes {share:.2f} times as long as the slower of loading and computing"
        return f"two workers do {seconds[_name(1)] / seconds[_name(2)]:.2f} times what one does"


def sources(golden: Path, network: str, dataset: str) -> Sources:
    """The drawn data set through a golden network."""
    folder = golden / "networks" / network
    return Sources(folder / "network.yaml", folder / "checkpoint.pth.tar", f"{DATA}:{dataset}", DATA.parent)


def overlap(golden: Path, seconds: float) -> Rates:
    """Loading alone, computing alone, and the evaluation that does both."""
    subject = sources(golden, ONE_PROCESS, "digits").open()
    simulator = Simulator(subject.program)
    slices = cut(subject.program, len(subject.data))
    loaded = [load(subject, indices).samples for indices in slices]
    works: dict[str, Callable[[], object]] = {
        LOADING: lambda: [load(subject, indices) for indices in slices],
        COMPUTING: lambda: [simulator.run(samples, keep="outputs") for samples in loaded],
        EVALUATING: partial(evaluate, subject),
    }
    return _timed(ONE_PROCESS, subject, works, seconds)


def spread(golden: Path, seconds: float) -> Rates:
    """The same data set on a cluster of one worker and on one of two, each worker with one thread."""
    files = sources(golden, ON_CLUSTER, "scenes").absolute()
    subject = files.open()
    expected = evaluate(subject)
    with ExitStack() as stack:
        works: dict[str, Callable[[], object]] = {}
        for workers in WORKERS:
            compute = stack.enter_context(_cluster(workers, files, subject))
            _check(evaluate(subject, compute), expected)
            works[_name(workers)] = partial(evaluate, subject, compute)
        return _timed(ON_CLUSTER, subject, works, seconds)


@contextmanager
def _cluster(workers: int, files: Sources, subject: Subject) -> Iterator[Compute]:
    cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    with cluster, connected(cluster.scheduler_address, files, files.fingerprint(subject)) as compute:
        yield compute


def _timed(
    network: str, subject: Subject, works: Mapping[str, Callable[[], object]], seconds: float
) -> Rates:
    for work in works.values():
        work()
    return Rates(network, len(subject.data), interleaved(works, seconds))


def _check(found: Evaluation, expected: Evaluation) -> None:
    if found.scores != expected.scores:
        raise WrongAnswerError(f"{ON_CLUSTER}: the cluster's evaluation is not this process's")


def _name(workers: int) -> str:
    return f"{workers} worker{'s' * (workers > 1)}"


def print_rates(rows: Sequence[Rates]) -> None:
    """The rows, for people."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("network", "samples", "way", "samples a second"):
        table.add_column(title, justify="right" if "samples" in title else "left")
    for row in rows:
        for way in row.timings:
            table.add_row(row.network, f"{row.samples:,}", way, f"{row.per_second(way):,.0f}")
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        console.print(row.summary)


def rates_json(rows: Sequence[Rates]) -> dict[str, Any]:
    """The rows, for tools."""
    return {"schema_version": 1, "evaluation": [asdict(row) for row in rows]}
