"""Where compiled functions are kept, and for how long they are good.

What is kept belongs to one state of all sources of the kernels: Numba itself looks only at the file of the function
that it loads, and would not notice that a function called by it, or the generator of its code, has changed.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba.core import caching as _caching
from numba.core import runtime as _runtime

# Numba's types lack these.
caching: Any = _caching
runtime: Any = _runtime

SOURCES = Path(__file__).parent
DIGEST_BYTES = 32


@functools.cache
def cache_folder() -> Path:
    """Where compiled functions are kept: the first place that can be written to of NUMBA_CACHE_DIR, the folder of
    the sources, the user's cache, and a temporary folder."""
    return next(folder for folder in _candidates() if _is_writable(folder))


@functools.cache
def sources_stamp() -> str:
    """A digest of all sources of the kernels; what was compiled from others is not used."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.rglob("*.py")):
        digest.update(source.relative_to(SOURCES).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _candidates() -> Iterator[Path]:
    if wanted := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(wanted) / "ai8xsim"
    yield SOURCES / "__pycache__"
    with contextlib.suppress(RuntimeError):  # nobody's home, as in some containers
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai8xsim"
    yield from _own_temporary_folder()
    yield Path(_short_lived_folder().name)


@functools.cache
def _short_lived_folder() -> "tempfile.TemporaryDirectory[str]":
    """It goes with the process."""
    return tempfile.TemporaryDirectory(prefix="ai8xsim-")


def _own_temporary_folder() -> Iterator[Path]:
    """A folder that outlives the process, if nobody else can put code into it."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"ai8xsim-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == user and not facts.st_mode & 0o077:
            yield folder


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return sources_stamp()

    def get_disambiguator(self) -> str:
        return Path(self._py_file).parent.name

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012 - so Numba declares it


class _CacheFile(caching.IndexDataCacheFile):  # type: ignore[misc]
    """A file for each compiled function and type of arguments; its name tells what it was compiled from.

    Numba's own index gives two processes the same file name if they save different code at the same time.
    """

    def save(self, key: object, data: object) -> None:
        content = self._dump(data)
        with contextlib.suppress(OSError):  # a full disk is no reason to fail
            with self._open_for_write(self._data_path(self._name(key))) as file:
                file.write(hashlib.sha256(content).digest() + content)
            for old in Path(self._cache_path).glob(f"{self._function}.*.nbc"):
                if not old.name.startswith(self._start):  # compiled from other sources
                    old.unlink(missing_ok=True)

    def load(self, key: object) -> object:
        """What was saved, or None; a damaged file counts as none, since code from it would run."""
        try:
            content = Path(self._data_path(self._name(key))).read_bytes()
        except OSError:
            return None
        digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        return pickle.loads(content) if hashlib.sha256(content).digest() == digest else None

    def flush(self) -> None:
        for file in Path(self._cache_path).glob(f"{self._start}*.nbc"):
            file.unlink(missing_ok=True)

    @property
    def _function(self) -> str:
        return str(self._index_name).removesuffix(".nbi")

    @property
    def _start(self) -> str:
        return f"{self._function}.{self._source_stamp[:16]}"

    def _name(self, key: object) -> str:
        text = f"{self._version}\n{key}"
        return f"{self._start}.{hashlib.sha256(text.encode()).hexdigest()[:16]}.nbc"


class Cache(caching.FunctionCache):  # type: ignore[misc]
    """Keeps what a function is compiled to.

    To load it, Numba would first import all that it can compile, a quarter of a second; its run-time is enough.
    """

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        names = (self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())
        self._cache_file = _CacheFile(*names)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        runtime.rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)
