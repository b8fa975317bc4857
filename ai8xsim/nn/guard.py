"""Whatever a user's model raises becomes a diagnostic that names the line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from ai8xsim.diagnostics import closest, error
from ai8xsim.errors import Ai8xsimError, InputError
from ai8xsim.models import line_of

SIGNATURE = "factory(pretrained=False, num_classes, num_channels, dimensions, bias, **kwargs)"


@contextmanager
def guarded(what: str, path: Path | None) -> Iterator[None]:
    """Inside runs the user's code, of a file. What it raises comes out as InputError, also the end of the program."""
    try:
        yield
    except Ai8xsimError:
        raise
    except (Exception, SystemExit) as fault:
        name = "it ended the program" if isinstance(fault, SystemExit) else f"{type(fault).__name__}: {fault}"
        place = None if path is None else line_of(fault, path, [str(path.resolve().parent)])
        label = "it failed here" if place and place.line else ""
        found = error("model-failed", f"{what} failed", place, label, (name.strip(),), _mend(fault))
        raise InputError([found]) from fault


def file_of(model: nn.Module) -> Path | None:
    """The file that a model's forward is written in."""
    code = getattr(type(model).forward, "__code__", None)
    return None if code is None else Path(code.co_filename)


def _mend(fault: BaseException) -> str:
    if isinstance(fault, TypeError) and "argument" in str(fault):
        return f"a factory is called as {SIGNATURE}; give others with `--model-argument NAME=VALUE`"
    if isinstance(fault, AttributeError) and fault.name is not None:
        near = closest(fault.name, dir(fault.obj))
        return f"did you mean `{near}`?" if near else ""
    return ""
