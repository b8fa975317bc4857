"""The exceptions of ai8xsim. Each carries its diagnostics: all faults that were found, not the first.

Ai8xsimError
├── NetworkError       the description (YAML) cannot be understood
├── CheckpointError    the checkpoint cannot be read, or is not a quantized one
├── ResolveError       description, checkpoint and input shape do not fit each other
└── InputError         samples, or a file of them, are not what the program takes
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ai8xsim.diagnostics import Diagnostic, errors_among

T = TypeVar("T")


class Ai8xsimError(Exception):
    """A fault of the input. `diagnostics` holds every finding, warnings included."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(d.sentence() for d in errors_among(self.diagnostics)))

    def __reduce__(self) -> tuple[type["Ai8xsimError"], tuple[tuple[Diagnostic, ...]]]:
        return type(self), (self.diagnostics,)  # so that it survives the way back from a worker process


class NetworkError(Ai8xsimError):
    """The network description cannot be understood."""


class CheckpointError(Ai8xsimError):
    """The checkpoint cannot be read, or is not a quantized one."""


class ResolveError(Ai8xsimError):
    """Description, checkpoint and input shape do not fit each other."""


class InputError(Ai8xsimError):
    """Samples, or a file of them, are not what the program takes."""


def collect(found: list[Diagnostic], read: Callable[[], T]) -> T | None:
    """What `read` returns; None if it fails, and then its diagnostics are among those found.

    So are several files read, and the faults of all of them come in one run.
    """
    try:
        return read()
    except Ai8xsimError as fault:
        found += fault.diagnostics
        return None
