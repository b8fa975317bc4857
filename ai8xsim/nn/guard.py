"""Whatever a user's model raises becomes a diagnostic that names the line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from ai8xsim.diagnostics import closest, error
from ai8xsim.errors import Ai8xsimError, InputError
from ai8xsim.models import is_own, line_of

CALLED_WRONGLY = (
    "a factory is called as factory(pretrained=False, num_classes, num_channels, dimensions, bias, **kwargs); "
    "give others with `--model-argument NAME=VALUE`"
)


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
        is_called_wrongly = isinstance(fault, TypeError) and place is not None and not place.line
        mend = CALLED_WRONGLY if is_called_wrongly else _mend(fault)
        found = error("model-failed", f"{what} failed", place, label, (name.strip(),), mend)
        raise InputError([found]) from fault


def file_of(model: nn.Module) -> Path | None:
    """The user's file that a part of a model is written in; None where all parts are PyTorch's and ours."""
    ours = str(Path(__file__).parents[1])
    for module in model.modules():
        code = getattr(type(module).forward, "__code__", None)
        path = Path(code.co_filename) if code else None
        if path and path.is_file() and not path.is_relative_to(ours) and is_own(path, [str(path.parent)]):
            return path
    return None


def _mend(fault: BaseException) -> str:
    if isinstance(fault, AttributeError) and fault.name is not None:
        near = closest(fault.name, dir(fault.obj))
        return f"did you mean `{near}`?" if near else ""
    return ""
