"""What a run rests on, in a few words that two runs share exactly if their results must be the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ai8xsim.evaluate.batches import cut
from ai8xsim.evaluate.subject import Subject
from ai8xsim.program import Program
from ai8xsim.version import __version__


def fingerprint(subject: Subject, **origin: str) -> Mapping[str, str]:
    """What the results of a subject depend on, by name; `origin`: what else, such as the data set's place.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> list(fingerprint(Subject.of(program, [(np.zeros((1, 8, 8)), 3)]), data="here"))
    ['ai8xsim', 'network', 'task', 'samples', 'slices', 'data']
    """
    total = subject.count
    return {
        "ai8xsim": __version__,
        "network": program_digest(subject.program),
        "task": str(subject.task),
        "samples": str(total),
        "slices": str(len(cut(subject.program, total))),
        **origin,
    }


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def program_digest(program: Program) -> str:
    """A SHA-256 over everything that takes part in the equality of programs, but for where the file lies."""
    found = hashlib.sha256()
    for entry in fields(program):
        if entry.compare and entry.name != "path":
            _add(found, getattr(program, entry.name))
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    """Add a value: its type's name, then what it holds."""
    found.update(f"<{type(value).__name__}>".encode())
    if is_dataclass(value):
        for entry in fields(value):
            if entry.compare:
                _add(found, getattr(value, entry.name))
    elif isinstance(value, np.ndarray):
        found.update(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple):
        found.update(f"{len(value)}".encode())
        for entry in value:
            _add(found, entry)
    else:
        assert isinstance(value, Enum | str | int | float | None), type(value)
        found.update(f"{value!r}".encode())
