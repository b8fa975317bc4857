"""Evaluations on a real cluster of processes: the same results, also when a worker dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import Ai8xsimError
from ai8xsim.evaluate import Evaluation, evaluate
from ai8xsim.evaluate.document import document
from ai8xsim.evaluate.sources import ModelSource, Sources
from ai8xsim.progress import no_progress

pytestmark = pytest.mark.deep
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as made:
        yield made


@pytest.fixture
def sources(folder: Path) -> Sources:
    network, checkpoint = folder / "network.yaml", folder / "checkpoint.pth.tar"
    return Sources(network, checkpoint, f"{folder / 'my_data.py'}:HeldOut", folder)


def on(cluster: Any, sources: Sources, progress: Any = no_progress, binding: Any = None) -> Evaluation:
    from ai8xsim.evaluate.cluster import connected

    subject = sources.open()
    bound = binding or sources.fingerprint(subject)
    with connected(cluster.scheduler_address, sources.absolute(), bound) as compute:
        return evaluate(subject, compute, progress=progress)


def same(left: Evaluation, right: Evaluation) -> bool:
    columns = all(np.array_equal(left.columns[name], right.columns[name]) for name in left.columns)
    return left.scores == right.scores and columns and document(left) == document(right)


def test_a_cluster_gives_the_result_of_this_process(cluster: Any, sources: Sources) -> None:
    assert same(on(cluster, sources), evaluate(sources.open()))


def test_workers_open_the_model_too(cluster: Any, sources: Sources, folder: Path) -> None:
    model = ModelSource(f"{folder / 'my_model.py'}:digits", given=(("worse", True),))
    with_model = Sources(**{**vars(sources), "model": model})
    assert same(on(cluster, with_model), evaluate(with_model.open()))


def test_the_death_of_a_worker_loses_nothing(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(sources.open())
    monkeypatch.setenv("SECONDS_A_SAMPLE", "0.02")
    killed: list[int] = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        victim = cluster.workers[0].pid

        def kill(done: int, total: int) -> None:
            if 60 < done < total and not killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

        assert same(on(cluster, sources, kill), whole)
    assert killed == [victim]


def test_samples_that_end_every_worker_end_the_run(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = sources.open()
    monkeypatch.setenv("ENDS_THE_WORKER", "200")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        pytest.raises(Ai8xsimError) as refused,
    ):
        on(cluster, sources, binding=sources.fingerprint(subject))
    assert "the same samples ended several workers" in refused.value.diagnostics[0].message


def test_a_fault_of_the_data_comes_home(cluster: Any, sources: Sources) -> None:
    name = sources.dataset.replace("HeldOut", "TooLoud")
    with pytest.raises(Ai8xsimError) as refused:
        on(cluster, Sources(**{**vars(sources), "dataset": name}))
    assert refused.value.diagnostics[0].message.startswith("sample 17: ")


def test_workers_that_see_other_files_are_refused(cluster: Any, sources: Sources) -> None:
    bound = dict(sources.fingerprint(sources.open())) | {"dataset file": "another"}
    with pytest.raises(Ai8xsimError) as refused:
        on(cluster, sources, binding=bound)
    (found,) = refused.value.diagnostics
    assert (found.code, len(found.notes)) == ("cluster-failed", 1)
    assert found.message == "a worker sees something else than this machine"


def test_a_cluster_without_workers_is_refused(sources: Sources) -> None:
    from ai8xsim.evaluate.cluster import connected

    subject = sources.open()
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        address, bound = empty.scheduler_address, sources.fingerprint(subject)
        with pytest.raises(Ai8xsimError) as refused, connected(address, sources, bound, patience=1):
            pass
    assert refused.value.diagnostics[0].message == "the cluster has no workers"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://1", "nonsense"])
def test_an_address_without_a_cluster_is_wrong_usage(sources: Sources, address: str) -> None:
    from ai8xsim.evaluate.cluster import connected

    with (
        pytest.raises(OSError, match="there is no Dask cluster here") as refused,
        connected(address, sources, {}, patience=1),
    ):
        pass
    assert refused.value.filename == address
