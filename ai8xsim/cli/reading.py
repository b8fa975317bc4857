"""Reading several files so that the faults of all of them come in one run."""

from collections.abc import Callable
from typing import TypeVar

from ai8xsim.diagnostics import Diagnostic

T = TypeVar("T")


def collect(found: list[Diagnostic], read: Callable[[], T]) -> T | None:
    """What `read` returns; None if it fails, and then its diagnostics are among those found."""
    from ai8xsim.errors import Ai8xsimError

    try:
        return read()
    except Ai8xsimError as fault:
        found += fault.diagnostics
        return None
