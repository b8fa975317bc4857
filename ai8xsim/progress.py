"""How long work says how far it is: only the command line draws it."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # how much is done, of how much


def no_progress(done: int, total: int) -> None:
    """Report to nobody."""
