"""A file of finished parts, so that a run that was killed goes on where it was.

One line a part: a digest, then JSON. A line whose digest is wrong was not written to its end: it and what follows it is
dropped and computed again. The first line says what the run rests on; a journal of another run is refused.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO

import numpy as np

from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.errors import InputError
from ai8xsim.evaluate.histogram import Histogram
from ai8xsim.evaluate.scores import Part
from ai8xsim.files import named_in_faults

MAGIC = b"ai8xsim evaluate journal 1\n"
DIGITS = 16
SHOWN = 60


class Journal:
    """The finished parts of a run, in a file; a context manager that holds the file for itself.

    `parts`: by their first sample. `dropped`: how many bytes at the end were no whole part.
    Raises InputError for a file that is no journal, or that of another run, or in use; OSError.

    >>> import tempfile
    >>> part = Part(0, {"right": np.array([3, 4])}, Histogram.of([1, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(Path(folder, "j"), {"network": "a"}) as journal:
    ...         journal.append(part)
    ...     with Journal(Path(folder, "j"), {"network": "a"}) as journal:
    ...         journal.parts[0].columns["right"].tolist()
    [3, 4]
    """

    def __init__(self, path: Path, binding: Mapping[str, str]) -> None:
        self.path = path
        self._stream: BinaryIO = open(path, "a+b")  # noqa: SIM115  (it stays open until the run ends)
        with named_in_faults(path):
            try:
                _lock(self._stream, path)
                self._parts, self.dropped = _read(self._stream, path, binding)
            except BaseException:
                self._stream.close()
                raise

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that were there and those added since."""
        return MappingProxyType(self._parts)

    def append(self, part: Part) -> None:
        """Add a part; after a return it survives the end of this process, however it ends."""
        with named_in_faults(self.path):
            self._stream.write(_line(_record(part)))
            self._stream.flush()
        self._parts[part.first] = part

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with named_in_faults(self.path):  # what could not be written is tried once more
            self._stream.close()


def _read(stream: BinaryIO, path: Path, binding: Mapping[str, str]) -> tuple[dict[int, Part], int]:
    """The parts in a journal, which is begun where there is none, and cut off after its last whole line."""
    stream.seek(0)
    head = stream.read(len(MAGIC))
    if head != MAGIC[: len(head)]:
        raise InputError([_no_journal(path)])
    whole = len(MAGIC) if head == MAGIC else 0
    parts: dict[int, Part] = {}
    bound = False
    for line in stream if whole else ():
        record = _content(line)
        if record is None or (bound and "first" not in record):
            break
        if bound:
            part = _part(record)
            parts[part.first] = part
        elif record != dict(binding):
            raise InputError([_other(path, record, binding)])
        bound = True
        whole += len(line)
    dropped = stream.seek(0, os.SEEK_END) - whole
    stream.truncate(whole)
    if not bound:
        stream.write((b"" if whole else MAGIC) + _line(binding))
        stream.flush()
    return parts, dropped


def _line(record: Mapping[str, Any]) -> bytes:
    payload = json.dumps(record, separators=(",", ":")).encode()
    return _digest(payload) + b" " + payload + b"\n"


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest()[:DIGITS].encode()


def _content(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None if the line is not whole."""
    payload = line[DIGITS + 1 : -1]
    if line[: DIGITS + 1] != _digest(payload) + b" " or not line.endswith(b"\n"):
        return None
    record: dict[str, Any] = json.loads(payload)
    return record


def _record(part: Part) -> dict[str, Any]:
    """JSON knows integers and doubles exactly."""
    pairs = [part.pairs.values.tolist(), part.pairs.counts.tolist()]
    columns = {name: values.tolist() for name, values in part.columns.items()}
    return {"first": part.first, "columns": columns, "pairs": pairs}


def _part(record: Mapping[str, Any]) -> Part:
    values, counts = (np.array(numbers, np.int64) for numbers in record["pairs"])
    columns = {name: np.array(column) for name, column in record["columns"].items()}
    return Part(record["first"], columns, Histogram(values, counts))


def _lock(stream: BinaryIO, path: Path) -> None:
    """Keep the file from others; the lock ends with the process, and systems without such locks go without."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mend = "wait for it, or name another file with `--journal`"
        found = error("journal-in-use", "another run is writing this journal", Span(str(path)), help=mend)
        raise InputError([found]) from None
    except OSError:  # a file system without locks
        return


def _no_journal(path: Path) -> Diagnostic:
    message = "this file is no journal of `ai8xsim evaluate`, and is left as it is"
    return error("not-a-journal", message, Span(str(path)), help="name another file with `--journal`")


def _other(path: Path, record: Mapping[str, str], binding: Mapping[str, str]) -> Diagnostic:
    names = [name for name in {**record, **binding} if record.get(name) != binding.get(name)]
    why = tuple(
        f"{name}: {_short(record.get(name))} there, {_short(binding.get(name))} here" for name in names
    )
    mend = "delete it, or name another file with `--journal`"
    return error("other-journal", "the journal is of another run", Span(str(path)), "", why, mend)


def _short(value: str | None) -> str:
    """The value, or its beginning if it is long."""
    text = "nothing" if value is None else value
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
