"""The command line in this process, which spares a test the imports of another; some tests want that other.

What is written past Python's streams, by C or by other processes, is seen from that other one only.
"""

import contextlib
import faulthandler
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ai8xsim.cli.app import main

SECONDS = 120  # that no command takes


class Shown(NamedTuple):
    """What a command left behind."""

    returncode: object
    stdout: str
    stderr: str


def ai8xsim(*words: object, cwd: Path | None = None) -> Shown:
    """A command as a person types it, without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)
    with contextlib.ExitStack() as stack:
        stack.callback(faulthandler.cancel_dump_traceback_later)
        stack.enter_context(_warnings_to(err))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", ["ai8xsim", *map(str, words)])
        patch.delenv("COLUMNS", raising=False)
        stack.enter_context(contextlib.chdir(cwd or Path.cwd()))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        ended = stack.enter_context(pytest.raises(SystemExit))
        main()
    shown = Shown(ended.value.code, out.getvalue(), err.getvalue())
    assert "Traceback" not in shown.stderr
    return shown


@contextlib.contextmanager
def _warnings_to(stream: io.StringIO) -> Iterator[None]:
    """Python's warnings where a person would see them, and not in pytest's summary."""

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        stream.write(f"{category.__name__}: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def free_environment() -> dict[str, str]:
    """What a process of its own inherits: as many threads as it likes, and no width of a terminal."""
    held = ("COLUMNS", "OMP_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in held}


def ai8xsim_apart(*words: object, cwd: Path | None = None) -> Shown:
    """Likewise, in a process of its own."""
    shown = subprocess.run(
        [sys.executable, "-m", "ai8xsim", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=free_environment(),
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in shown.stderr
    return Shown(shown.returncode, shown.stdout, shown.stderr)
