"""Prepared items on disk, made once: one file for each, or in memory from files of many.

Making items can be killed at any moment and goes on with the next start. Several processes may make items of one
folder at the same time: a file appears whole, under its name, or not at all, and whoever finds it there takes it.
Files are NumPy's .npz, whose checksums tell a damaged one; it is made anew.
"""

import hashlib
import os
import socket
import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.progress import Progress, no_progress

Pixels = npt.NDArray[np.uint8]
Pair = tuple[Pixels, npt.NDArray[np.integer[Any]]]
ITEMS_OF_A_SHARD = 256
TEMPORARY, SEPARATOR = ".tmp", "+"


@dataclass(frozen=True)
class Source:
    """What one item is made of: files, and which part of them. name: unique, and what the split goes by up to `#`."""

    name: str
    files: tuple[str, ...]
    part: int = 0
    label: int = 0

    def stamp(self) -> str:
        """A digest of the name, the part, and the sizes and times of the files: a changed photograph is a new item."""
        told = [(os.path.basename(file), (s := os.stat(file)).st_size, s.st_mtime_ns) for file in self.files]
        return hashlib.sha256(repr((self.name, self.part, self.label, told)).encode()).hexdigest()[:24]


class Make(Protocol):
    """Makes an item: an image (H, W, C) of bytes, a label of integers. It is picklable and always makes the same."""

    def __call__(self, source: Source) -> Pair: ...


class Store(Protocol):
    """Items by number, as they were made."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


class FileStore:
    """One file for each item: any number of them, read when they are asked for.

    Later starts look at names and sizes only.
    """

    def __init__(
        self, folder: Path, sources: Sequence[Source], make: Make, progress: Progress = no_progress
    ) -> None:
        self.folder, self.sources, self.make = folder, tuple(sources), make
        stamps = [source.stamp() for source in self.sources]
        self.names = [f"{stamp[:2]}/{stamp}.npz" for stamp in stamps]
        present = _present(folder)
        missing = [n for n, name in enumerate(self.names) if present.get(name, 0) <= 0]
        for done, n in enumerate(_from_anywhere(missing), 1):
            if not self._path(n).exists():  # another process may have made it meanwhile
                self._made(n)
            progress(done, len(missing))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Pair:
        try:
            image, label = _read(self._path(index), ("image", "label"))
        except _DAMAGED:
            return self._made(index)
        return image, label

    def _made(self, index: int) -> Pair:
        image, label = self.make(self.sources[index])
        _write(self._path(index), image=image, label=label)
        return image, label

    def _path(self, index: int) -> Path:
        return self.folder / self.names[index]


class MemoryStore:
    """All items in memory, from files of 256 items each: fast to read, and as large as the memory allows.

    Later starts read all files.
    """

    def __init__(
        self, folder: Path, sources: Sequence[Source], make: Make, progress: Progress = no_progress
    ) -> None:
        self.folder, self.sources, self.make = folder, tuple(sources), make
        shards = [
            self.sources[n : n + ITEMS_OF_A_SHARD] for n in range(0, len(self.sources), ITEMS_OF_A_SHARD)
        ]
        _present(folder)
        read: dict[int, Pair] = {}
        for done, n in enumerate(_from_anywhere(list(range(len(shards)))), 1):
            read[n] = self._shard(shards[n])
            progress(done * ITEMS_OF_A_SHARD, len(shards) * ITEMS_OF_A_SHARD)
        self.images = [image for n in sorted(read) for image in read[n][0]]
        self.labels = [label for n in sorted(read) for label in read[n][1]]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pair:
        return self.images[index], self.labels[index]

    def _shard(self, sources: Sequence[Source]) -> Pair:
        stamps = "".join(source.stamp() for source in sources)
        path = self.folder / f"{hashlib.sha256(stamps.encode()).hexdigest()[:24]}.npz"
        try:
            images, labels = _read(path, ("images", "labels"))
        except _DAMAGED:
            pairs = [self.make(source) for source in sources]
            images, labels = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
            _write(path, images=images, labels=labels)
        return images, labels


FORMS = ("files", "memory")


def open_store(
    form: str, folder: Path, sources: Sequence[Source], make: Make, progress: Progress = no_progress
) -> FileStore | MemoryStore:
    """A store of either form. `folder` must be one of its own for each way of making items. Raises ValueError."""
    if form not in FORMS:
        raise ValueError(f"storage is {form!r}, not one of {', '.join(FORMS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return (FileStore if form == "files" else MemoryStore)(folder, sources, make, progress)


def in_test_set(name: str, share: float) -> bool:
    """Whether an original belongs to the test set: by a hash of its name, the same everywhere and for ever.

    Python's own `hash` of a text is another one in each process, which moves originals between the sets.
    All parts of an original go together: what follows a `#` in the name does not count.

    >>> sum(in_test_set(str(n), 0.1) for n in range(10_000))
    1018
    >>> in_test_set("7#1", 0.5) == in_test_set("7#2", 0.5)
    True
    """
    digest = hashlib.sha256(name.partition("#")[0].encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * (1 << 64)


_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def _read(path: Path, keys: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
    """The arrays of a file; one of `_DAMAGED` where it is missing, half, or has other bytes than were written."""
    with np.load(path, allow_pickle=False) as archive:
        return tuple(archive[key] for key in keys)


def _write(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write a file under a name of this thread, and rename it."""
    path.parent.mkdir(exist_ok=True)
    writer = SEPARATOR.join((socket.gethostname(), str(os.getpid()), str(threading.get_ident())))
    temporary = path.parent / f"{path.name}.{writer}{TEMPORARY}"
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _present(folder: Path) -> dict[str, int]:
    """The files of a store with their sizes; what a dead process of this machine left half-written is removed."""
    found = {}
    for path, size in _files(folder):
        if path.name.endswith(TEMPORARY):
            if _is_abandoned(path.name):
                path.unlink(missing_ok=True)
        else:
            found[path.relative_to(folder).as_posix()] = size
    return found


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir():
                    yield from _files(Path(entry.path))
                else:
                    yield Path(entry.path), entry.stat().st_size
            except FileNotFoundError:  # renamed by another process since
                continue


def _is_abandoned(name: str) -> bool:
    """Whether the process that was writing is one of this machine, and gone."""
    host, _, ids = name.removesuffix(TEMPORARY).partition(".npz.")[2].partition(SEPARATOR)
    pid = ids.partition(SEPARATOR)[0]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _from_anywhere(numbers: list[int]) -> Iterable[int]:
    """The numbers, begun at another place by each process, so that several do not all make the same ones."""
    if not numbers:
        return ()
    start = os.getpid() * 7919 % len(numbers)
    return numbers[start:] + numbers[:start]
