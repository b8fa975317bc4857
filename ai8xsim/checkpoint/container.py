"""The two formats of `torch.save`: what either holds, and the bytes of its storages.

A zip archive holds, in one folder of any name, `data.pkl`, `byteorder` and one entry `data/KEY` per storage.
A legacy file is a row of five pickles (magic number, protocol, system, content, storage keys), then every
storage: its number of elements in 8 bytes, and the elements. Both may be hostile: what a file declares is
compared with what it has before anything is read or allocated.

Source: `torch/serialization.py` (`_save`, `_legacy_save`), `caffe2/serialize/inline_container.cc`.
"""

import io
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Protocol, cast

from ai8xsim.checkpoint.faults import UnreadableError, damaged, foreign, listed, shown
from ai8xsim.checkpoint.pickle_machine import interpret
from ai8xsim.checkpoint.tensors import CONSTRUCTORS, ByteOrder, Storage, describe_storage
from ai8xsim.diagnostics import error
from ai8xsim.files import seekable

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LARGEST_PICKLE_BYTES = 1 << 26
_MOST_DEFLATED = 1032  # deflate never makes data smaller than 1/1032
_ENCRYPTED = 0x1
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    OverflowError,
    MemoryError,
    EOFError,
    OSError,
    RuntimeError,  # NotImplementedError is one, and so is what zipfile raises for a password
    KeyError,
    IndexError,
)


class Container(Protocol):
    """What both formats give: the pickled content, and the bytes of a storage."""

    content: object
    byte_order: ByteOrder

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage. Raises UnreadableError if the file does not have them."""


@contextmanager
def open_container(file: BinaryIO) -> Iterator[Container]:
    """What is in an open file, whichever format it has.

    Raises UnreadableError: `empty-checkpoint`, `not-a-checkpoint` or `damaged-checkpoint`.
    """
    with seekable(file) as stored:
        size_bytes = os.fstat(stored.fileno()).st_size
        if size_bytes == 0:
            raise UnreadableError(
                error("empty-checkpoint", "the file is empty (0 bytes)", help="copy it or save it again")
            )
        if stored.read(2) == b"PK":
            yield ZipContainer(_open_zip(stored, size_bytes), size_bytes)
            return
        with mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield LegacyContainer(view)


def _open_zip(file: BinaryIO, size_bytes: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _ZIP_FAULTS as fault:
        raise damaged(
            "the file begins like a zip archive, but has no table of contents at its end",
            f"the file has {size_bytes} bytes and may be cut off",
            f"zip: {fault}",
        ) from None


class ZipContainer:
    """A zip archive that `torch.save` wrote."""

    def __init__(self, archive: zipfile.ZipFile, size_bytes: int) -> None:
        self._archive = archive
        self._size_bytes = size_bytes
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        self._folder = self._find_folder()
        self.byte_order = self._read_byte_order()
        self.content = self._read_content()

    def read(self, storage: Storage) -> bytes:
        name = f"{self._folder}data/{storage.key}"
        entry = self._entries.get(name)
        expected = storage.total * storage.element.size_bytes
        if entry is None:
            raise damaged(
                f"the archive has no entry {shown(name)}", f"{expected} bytes of values are expected there"
            )
        if entry.file_size != expected:
            raise damaged(
                f"the entry {shown(name)} has the wrong size",
                f"{storage.total} values of type {storage.element.name} take {expected} bytes, "
                f"the entry has {entry.file_size}",
            )
        return self._read_entry(entry)

    def _find_folder(self) -> str:
        for name in self._entries:
            folder, _, last = name.rpartition("/")
            if last == "data.pkl" and "/" not in folder:
                prefix = name.removesuffix("data.pkl")
                if prefix + "constants.pkl" in self._entries:
                    raise foreign("the file is a TorchScript archive, not a checkpoint")
                return prefix
        inside = f"it holds {listed(list(self._entries))}" if self._entries else "it holds nothing"
        raise foreign("the file is a zip archive without `data.pkl`: `torch.save` did not write it", inside)

    def _read_byte_order(self) -> ByteOrder:
        entry = self._entries.get(self._folder + "byteorder")
        if entry is None:
            return "<"  # torch before 2.0
        self._limit(entry, 64)
        word = self._read_entry(entry)
        if word not in (b"little", b"big"):
            raise damaged(
                "the entry `byteorder` is unknown", f"it holds {word!r}, `little` or `big` is expected"
            )
        return "<" if word == b"little" else ">"

    def _read_content(self) -> object:
        entry = self._entries[self._folder + "data.pkl"]
        self._limit(entry, _LARGEST_PICKLE_BYTES)
        return interpret(io.BytesIO(self._read_entry(entry)), CONSTRUCTORS, describe_storage)

    def _limit(self, entry: zipfile.ZipInfo, most_bytes: int) -> None:
        if entry.file_size > most_bytes:
            size = f"it declares {entry.file_size} bytes, at most {most_bytes} are expected"
            raise damaged(f"the entry {shown(entry.filename)} is too large", size)

    def _read_entry(self, entry: zipfile.ZipInfo) -> bytes:
        """The bytes of an entry, if it can have as many as it declares."""
        name = shown(entry.filename)
        if entry.flag_bits & _ENCRYPTED:
            raise damaged(f"the entry {name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged(
                f"the entry {name} is compressed with method {entry.compress_type}", "torch does not compress"
            )
        possible = entry.compress_size * (_MOST_DEFLATED if entry.compress_type else 1)
        room = self._size_bytes - entry.header_offset
        if entry.file_size > possible or not 0 <= entry.compress_size <= room:
            raise damaged(
                f"the entry {name} declares more bytes than the file has",
                f"{entry.file_size} bytes from {entry.compress_size} bytes at {entry.header_offset} "
                f"in a file of {self._size_bytes}",
            )
        try:
            data = self._archive.read(entry)
        except _ZIP_FAULTS as fault:
            raise damaged(f"the entry {name} cannot be read", f"zip: {fault}") from None
        if len(data) != entry.file_size:
            raise damaged(
                f"the entry {name} ends early", f"{entry.file_size} bytes expected, {len(data)} found"
            )
        return data


class LegacyContainer:
    """A file that `torch.save` wrote before version 1.6, or later without its zip format."""

    byte_order: ByteOrder = "<"  # on every machine

    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._storages: dict[str, Storage] = {}
        self._check_head()
        self.content = self._next_pickle()
        self._places = self._find_places(self._next_pickle())

    def read(self, storage: Storage) -> bytes:
        place = self._places.get(storage.key)
        if place is None:
            raise damaged(f"the file has no storage {shown(storage.key)}")
        size_bytes = storage.element.size_bytes
        begin = place + storage.start * size_bytes
        return self._view[begin : begin + storage.size * size_bytes]

    def _next_pickle(self) -> object:
        return interpret(cast(IO[bytes], self._view), CONSTRUCTORS, self._describe_storage)

    def _describe_storage(self, persistent_id: object) -> object:
        storage = describe_storage(persistent_id)
        if isinstance(storage, Storage):
            self._storages.setdefault(storage.key, storage)
        return storage

    def _check_head(self) -> None:
        if self._view[257:262] == b"ustar":
            remedy = "load it with torch 1.x or 2.x, save it again with `torch.save`, then quantize it"
            raise foreign("the file is a tar archive, as torch before 0.4 wrote them", remedy=remedy)
        self._view.seek(0)
        try:
            magic = self._next_pickle()
        except UnreadableError:
            magic = None
        if magic != _LEGACY_MAGIC:
            begin = f"it begins with the bytes {self._view[:8].hex(' ')}"
            raise foreign("the file is neither a zip archive nor a legacy file of `torch.save`", begin)
        protocol = self._next_pickle()
        if protocol != _LEGACY_PROTOCOL:
            found = protocol if isinstance(protocol, int) else "something else"
            raise damaged(
                "the protocol of the file is unknown", f"{_LEGACY_PROTOCOL} expected, {found} found"
            )
        self._next_pickle()  # the sizes of C types where it was written; torch does not use them either

    def _find_places(self, keys: object) -> dict[str, int]:
        """Where the elements of each storage begin, in bytes."""
        if not isinstance(keys, list):
            raise damaged("the list of storages is missing")
        places: dict[str, int] = {}
        place = self._view.tell()
        for key in keys:
            storage = self._storages.get(key) if isinstance(key, str) else None
            if storage is None or key in places:
                raise damaged("the list of storages names one that the content does not, or one twice")
            places[key] = place + 8
            self._check_storage(storage, place)
            place += 8 + storage.total * storage.element.size_bytes
        return places

    def _check_storage(self, storage: Storage, place: int) -> None:
        count = int.from_bytes(self._view[place : place + 8], "little")
        end = place + 8 + storage.total * storage.element.size_bytes
        if end > len(self._view):
            size = f"its storages reach to byte {end} at least, the file has {len(self._view)} bytes"
            raise damaged("the file is cut off", size)
        if count != storage.total or not storage.element.size_bytes:
            raise damaged(
                f"the storage {shown(storage.key)} has the wrong size",
                f"{storage.total} values of type {storage.element.name} expected, {count} found",
            )
