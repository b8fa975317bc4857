"""The journal: what was written comes back, whatever happened to its end, and nothing else is taken for it."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai8xsim import InputError, render
from ai8xsim.evaluate import Part
from ai8xsim.evaluate.histogram import Histogram
from ai8xsim.evaluate.journal import Journal
from ai8xsim.files import write_file

BINDING = {"network": "one", "samples": "9"}
PARTS = tuple(
    Part(
        first,
        {"squared": np.array([0.1 * first, 1e-300, 3.0]), "equal": np.array([True, False, True])},
        Histogram.of([first, 2, 2]),
    )
    for first in (0, 3, 6)
)


def same(left: Part, right: Part) -> bool:
    columns = all(np.array_equal(left.columns[name], right.columns[name]) for name in left.columns)
    return left.first == right.first and left.pairs == right.pairs and columns


def written(path: Path) -> bytes:
    path.unlink(missing_ok=True)
    with Journal(path, BINDING) as journal:
        for part in PARTS:
            journal.append(part)
    return path.read_bytes()


def test_parts_come_back_exactly(tmp_path: Path) -> None:
    written(tmp_path / "j")
    with Journal(tmp_path / "j", BINDING) as journal:
        assert journal.dropped == 0
        assert all(same(journal.parts[part.first], part) for part in PARTS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_journal_cut_or_spoilt_anywhere_keeps_what_is_before(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "j"
    whole = written(path)
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    place = data.draw(st.integers(0, len(whole) - 1))
    spoilt = data.draw(st.booleans()) and place >= ends[1]
    tail = bytes([whole[place] ^ 1]) + whole[place + 1 :] if spoilt else b""
    path.write_bytes(whole[:place] + tail)
    kept = max(0, sum(end <= place for end in ends) - 2)  # the first two lines are no parts
    with Journal(path, BINDING) as journal:
        assert list(journal.parts) == [part.first for part in PARTS[:kept]]
        for part in PARTS[kept:]:
            journal.append(part)
    assert path.read_bytes() == whole


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("my notes")
    with pytest.raises(InputError) as refused:
        Journal(tmp_path / "j", BINDING)
    assert render(refused.value.diagnostics[0]).startswith("error[not-a-journal]: this file is no journal")
    assert (tmp_path / "j").read_text() == "my notes"


def test_a_journal_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    before = written(tmp_path / "j")
    with pytest.raises(InputError) as refused:
        Journal(tmp_path / "j", {**BINDING, "network": "another", "model": "m"})
    (found,) = refused.value.diagnostics
    assert found.code == "other-journal"
    assert found.notes == ("network: one there, another here", "model: nothing there, m here")
    assert (tmp_path / "j").read_bytes() == before


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A full disk, as this process sees it."""
    if sys.platform == "win32":
        pytest.skip("this system does not limit files")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_with_the_files_name_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = written(path)
    with pytest.raises(OSError, match="too large") as refused, files_of_at_most(len(whole) - 1):
        written(path)
    assert refused.value.filename == str(path)
    with Journal(path, BINDING) as journal:
        assert list(journal.parts) == [0, 3]
    with pytest.raises(OSError, match="too large") as refused, files_of_at_most(10):
        Journal(tmp_path / "other", BINDING)
    assert refused.value.filename == str(tmp_path / "other")


def test_a_result_that_does_not_fit_leaves_nothing_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="too large") as refused, files_of_at_most(10):
        write_file(path, lambda stream: stream.write(bytes(100)))
    assert refused.value.filename == str(path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("results", b"before")]


def _hold(path: Path, ready: Any, done: Any) -> None:
    with Journal(path, BINDING):
        ready.set()
        done.wait(20)


def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "j", ready, done))
    holder.start()
    assert ready.wait(20)
    try:
        with pytest.raises(InputError) as refused:
            Journal(tmp_path / "j", BINDING)
        assert refused.value.diagnostics[0].code == "journal-in-use"
    finally:
        done.set()
        holder.join()
    Journal(tmp_path / "j", BINDING).remove()
    assert not (tmp_path / "j").exists()
