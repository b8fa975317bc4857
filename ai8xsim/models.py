"""Importing a user's file in which `ai8x` means ours, for that file only.

Model and data-set files were written for the vendor's modules: they begin with `import ai8x`. While such a file is
imported, the names are ours; afterwards `sys.modules` and `sys.path` are as they were. The file's own code does run,
which is what importing a model means.
"""

import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from sysconfig import get_path
from types import ModuleType
from typing import Any

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError

INSTALLED = frozenset({"site-packages", "dist-packages"})


def split_name(name: str) -> tuple[Path, str]:
    """`FILE:NAME` in its two parts. Raises ValueError.

    >>> split_name("models/net.py:factory")
    (PosixPath('models/net.py'), 'factory')
    """
    file, colon, attribute = name.rpartition(":")
    if not colon or not file or not attribute:
        raise ValueError(f"{name!r} is not FILE:NAME")
    return Path(file), attribute


@dataclass(frozen=True)
class UserFile:
    """A user's file after its import, and what its imports meant: they can be brought back with `present`."""

    path: Path
    module: ModuleType
    folders: tuple[str, ...]
    imported: Mapping[str, ModuleType] = field(repr=False)

    @contextmanager
    def present(self) -> Iterator[None]:
        """What the file imported, and the file itself, are in `sys.modules` inside: for late imports and pickle."""
        with _standing_in({**self.imported, self.module.__name__: self.module}, self.folders):
            yield


def open_user_file(
    path: Path, stand_ins: Mapping[str, ModuleType], repository: Path | None = None
) -> UserFile:
    """A user's file, imported with other modules in the place of some names.

    repository: a folder whose modules the file may import too; the file's grandparent where None is given.
    What the file prints goes to stderr, because stdout belongs to results.
    Raises InputError where the file cannot be imported, OSError where it cannot be opened.
    """
    path.open("rb").close()
    folder = repository or path.resolve().parent.parent
    folders = (str(path.resolve().parent), str(folder))
    spec = importlib.util.spec_from_file_location(f"ai8xsim_user_{path.stem.replace('-', '_')}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        mend = "name a file of Python code: FILE.py:NAME"
        raise InputError(
            [error("not-importable", "this is no Python file (.py)", Span(str(path)), help=mend)]
        )
    module = importlib.util.module_from_spec(spec)
    with _standing_in({**stand_ins, module.__name__: module}, folders) as imported:
        try:
            with redirect_stdout(sys.stderr):
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as fault:
            why = (f"{type(fault).__name__}: {fault}",)
            place = _line_of_syntax(fault, path) or line_of(fault, path, folders)
            message = "the file cannot be imported"
            found = error("not-importable", message, place, "", why, _import_remedy(fault))
            raise InputError([found]) from fault
    return UserFile(path, module, folders, {**stand_ins, **imported})


def _line_of_syntax(fault: BaseException, path: Path) -> Span | None:
    """The line that is no Python, if it is one of the file's own: no code of it has run then."""
    if not isinstance(fault, SyntaxError) or not fault.filename or not fault.lineno:
        return None
    if Path(fault.filename).resolve() != path.resolve():
        return None
    text = (fault.text or "").rstrip("\n")
    return Span(str(path), fault.lineno, fault.offset or 1, 1, text)


def _import_remedy(fault: BaseException) -> str:
    """What helps where an import has failed; "" where something else has."""
    if isinstance(fault, ModuleNotFoundError) and fault.name:
        package = fault.name.partition(".")[0]
        return (
            f"install `{package}` into this environment, or, if it is a module of a repository, "
            "name that with `--path`"
        )
    if isinstance(fault, ImportError) and "relative import" in str(fault):
        return "import it by its name, without the dot: the file's folder and the one above it are searched"
    return (
        "if it needs helpers of its repository, name that with `--path`"
        if isinstance(fault, ImportError)
        else ""
    )


def import_file(
    path: Path, stand_ins: Mapping[str, ModuleType], repository: Path | None = None
) -> ModuleType:
    """The module in a file, as `open_user_file` imports it."""
    return open_user_file(path, stand_ins, repository).module


def attribute_of(module: ModuleType, path: Path, name: str) -> Any:
    """What a name in the module means. Raises InputError with the names that there are."""
    if not hasattr(module, name):
        known = ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))[:20])
        found = error("not-importable", f"the file has no `{name}`", Span(str(path)), help=f"it has {known}")
        raise InputError([found])
    return getattr(module, name)


@contextmanager
def _standing_in(
    stand_ins: Mapping[str, ModuleType], folders: Sequence[str]
) -> Iterator[dict[str, ModuleType]]:
    """`sys.modules` and `sys.path` changed inside, and restored; what was imported from the folders is forgotten.

    Yields what is filled, at the end, with the modules that were imported from the folders.
    """
    modules, paths = dict(sys.modules), list(sys.path)
    imported: dict[str, ModuleType] = {}
    sys.modules.update(stand_ins)
    sys.path[:0] = folders
    try:
        yield imported
    finally:
        sys.path[:] = paths
        added = [name for name in sys.modules if name not in modules]
        local = [name for name in added if _lies_in(sys.modules[name], folders)]
        imported.update((name, sys.modules[name]) for name in local)
        for name in [*stand_ins, *local]:
            sys.modules.pop(name, None)
        sys.modules.update({name: modules[name] for name in stand_ins if name in modules})


def _lies_in(module: ModuleType, folders: Sequence[str]) -> bool:
    """Whether a module is the user's own. Others are not forgotten: compiled ones do not survive to be loaded twice."""
    file = getattr(module, "__file__", None)
    return file is not None and is_own(Path(file), folders)


def is_own(file: Path, folders: Sequence[str]) -> bool:
    """Whether a file in one of the folders is neither Python's nor installed in an environment that lies there."""
    if not any(file.is_relative_to(folder) for folder in folders):
        return False
    installed = (get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return not (INSTALLED & set(file.parts) or any(file.is_relative_to(path) for path in installed))


def line_of(fault: BaseException, path: Path, folders: Sequence[str]) -> Span:
    """The innermost line of the user's own files that an exception went through; of the file itself where it did."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if is_own(Path(frame.filename).resolve(), folders)]
    in_file = [frame for frame in own if Path(frame.filename).resolve() == path.resolve()]
    if not own:
        return Span(str(path))
    chosen = (in_file or own)[-1]
    text = linecache.getline(chosen.filename, chosen.lineno or 0).rstrip("\n")
    column = len(text) - len(text.lstrip()) + 1
    file = str(path) if in_file else chosen.filename
    return Span(file, chosen.lineno or 0, column, len(text.strip()), text)
