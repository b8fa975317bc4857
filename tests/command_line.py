"""The command line in this process, which spares a test the imports of another; some tests want that other."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ai8xsim.cli.app import main


class Shown(NamedTuple):
    """What a command left behind."""

    returncode: object
    stdout: str
    stderr: str


def ai8xsim(*words: object, cwd: Path | None = None) -> Shown:
    """A command as a person types it, without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
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


def ai8xsim_apart(*words: object, cwd: Path | None = None) -> Shown:
    """Likewise, in a process of its own."""
    shown = subprocess.run(
        [sys.executable, "-m", "ai8xsim", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in shown.stderr
    return Shown(shown.returncode, shown.stdout, shown.stderr)
