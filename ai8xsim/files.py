"""Files that are written whole or not at all, and pipes that are read like files."""

import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

MOST_PIPED_BYTES = 1 << 31
PART_BYTES = 1 << 20


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it.

    A link is followed; what is no ordinary file (a device, a pipe) is written to as it is.
    Raises OSError, which names the file.
    """
    target = path.resolve()
    with named_in_faults(path):
        if target.exists() and not target.is_file():
            target.write_bytes(_written(write))
        else:
            _replace(target, write)


@contextmanager
def seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """An open file as it is; what comes through a pipe, which can be read only once, in a temporary file."""
    if not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        left = MOST_PIPED_BYTES
        while left > 0 and (part := file.read(min(left, PART_BYTES))):
            left -= copy.write(part)
        copy.seek(0)
        yield cast(BinaryIO, copy)


@contextmanager
def named_in_faults(path: Path) -> Iterator[None]:
    """An OSError that names no file, as those of a full disk, names this one.

    >>> with named_in_faults(Path("results.json")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'results.json'
    """
    try:
        yield
    except OSError as fault:
        if fault.filename is None:
            fault.filename = str(path)
        raise


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _written(write: Callable[[BinaryIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
