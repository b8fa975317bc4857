"""Functions of the tests that run in a process of their own: it may hang or crash without harm to the others."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 100  # seconds; far more than any of these functions takes, even where kernels are compiled
NOTHING: Mapping[str, str] = MappingProxyType({})
FOREIGN = ("AI8XSIM_", "NUMBA_")  # how variables begin that must not reach the process by chance


class OwnProcess:
    """A new Python process that calls a function with arguments that JSON knows.

    package: the folder that holds the `ai8xsim` to use.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] = NOTHING,
        package: Path = ROOT,
    ) -> None:
        name = f"{function.__module__}:{function.__name__}"
        code = f"from {__name__} import answer; answer()"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, name, json.dumps(arguments)],
            env={**inherited, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def result(self, limit: float = LIMIT) -> Any:
        """What the function returned. The process and its children end here in any case."""
        try:
            output, complaint = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process hangs: no end after {limit} seconds") from None
        finally:
            self._end_all()
        assert self._process.returncode == 0, f"exit status {self._process.returncode}\n{complaint}"
        return json.loads(output.splitlines()[-1])

    def _end_all(self) -> None:
        """The process leads a session of its own, so that this meets its children only."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def in_own_process(
    function: Callable[..., Any],
    *arguments: Any,
    environment: Mapping[str, str] = NOTHING,
    package: Path = ROOT,
) -> Any:
    """What a function returns that a new Python process calls."""
    return OwnProcess(function, *arguments, environment=environment, package=package).result()


def answer() -> None:
    """Call the function that the command line names, and print what it returns."""
    module, name = sys.argv[1].split(":")
    function = getattr(__import__(module, fromlist=[name]), name)
    print(json.dumps(function(*json.loads(sys.argv[2]))))
