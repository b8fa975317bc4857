"""Files from strangers: nothing is executed, and whatever the bytes, the answer comes soon."""

import builtins
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ai8xsim.checkpoint import Checkpoint, read_checkpoint
from ai8xsim.checkpoint.pickle_machine import _HANDLERS
from ai8xsim.errors import CheckpointError

State = OrderedDict[str, torch.Tensor]
Save = Callable[..., Path]
Read = Callable[[Path], str]
MUTATIONS = 200


def zip_with(
    pickled: bytes, storages: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"net/data/{key}", data)
    return file.getvalue()


def legacy_with(pickled: bytes) -> bytes:
    head = (pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    return b"".join((*head, pickled, pickle.dumps([], protocol=2)))


def outcome(path: Path) -> Checkpoint | CheckpointError:
    """What reading gives; any other exception fails the test."""
    try:
        return read_checkpoint(path)
    except CheckpointError as refused:
        return refused


@contextmanager
def limits(seconds: float = 5.0, mebibytes: int = 64) -> Iterator[None]:
    """Fails if the block takes longer, or more memory at any one time."""
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        yield
        assert time.perf_counter() - begin < seconds
        assert tracemalloc.get_traced_memory()[1] < mebibytes << 20
    finally:
        tracemalloc.stop()


# nothing is executed


class Call:
    """Is pickled as a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> object:
        return self.call


def attacks(target: Path) -> list[Call]:
    code = f"open({str(target)!r}, 'w').close()"
    return [
        Call(os.system, f"touch {target}"),
        Call(builtins.exec, code),
        Call(builtins.eval, code),
        Call(open, str(target), "w"),
        Call(subprocess.run, ["touch", str(target)]),
        Call(torch.load, str(target)),
    ]


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("legacy", [False, True])
def test_calls_in_a_pickle_are_never_made(
    save: Save, state: State, tmp_path: Path, index: int, legacy: bool
) -> None:
    target = tmp_path / "created"
    attack = attacks(target)[index]
    beside = read_checkpoint(save({"extras": attack, "state_dict": state}, legacy))
    assert len(beside.layers) == 2
    assert isinstance(outcome(save(attack, legacy)), CheckpointError)
    assert isinstance(outcome(save({"state_dict": attack}, legacy)), CheckpointError)
    assert isinstance(outcome(save({"state_dict": {"a.weight": attack}}, legacy)), CheckpointError)
    assert not target.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cposix\nsystem\n(S'touch {0}'\ntR.",
        b"(S'touch {0}'\niposix\nsystem\n.",
        b"(cposix\nsystem\nS'touch {0}'\no.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93(\x8c{1}touch {0}t\x81.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93(\x8c{1}touch {0}t}\x92.",
        b"c__builtin__\nobject\n)\x81}S'__setstate__'\ncposix\nsystem\nsbS'touch {0}'\nb.",
        b"\x82\x01(S'touch {0}'\ntR.",
    ],
)
@pytest.mark.parametrize("wrap", [zip_with, legacy_with])
def test_every_opcode_that_calls_is_inert(
    tmp_path: Path, opcodes: bytes, wrap: Callable[[bytes], bytes]
) -> None:
    target = tmp_path / "created"
    length = bytes([len(f"touch {target}")])
    path = tmp_path / "net.pth"
    path.write_bytes(wrap(opcodes.replace(b"{0}", str(target).encode()).replace(b"{1}", length)))
    assert isinstance(outcome(path), CheckpointError)
    assert not target.exists()


def test_the_machine_has_an_answer_to_every_opcode() -> None:
    assert {opcode.name for opcode in pickletools.opcodes} == {*_HANDLERS, "STOP"}


def test_reading_imports_nothing_that_the_file_names(save: Save, state: State) -> None:
    path = save({"state_dict": state, "optimizer": torch.optim.SGD, "x": Call(pickletools.dis, b".")})
    code = (
        "import sys, ai8xsim.checkpoint; "
        "before = set(sys.modules); ai8xsim.checkpoint.read_checkpoint(sys.argv[1]); "
        "print(sorted(set(sys.modules) - before))"
    )
    printed = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "torch" not in printed.stdout


# bombs


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02}r\xff\xff\xff\xff.",  # LONG_BINPUT, the last index
        b"}p99999999999999999999\n.",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",  # BINUNICODE8
        b"\x80\x04\x8e" + struct.pack("<Q", (1 << 63) - 1) + b"x.",  # BINBYTES8
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"x.",  # BYTEARRAY8
        b"\x80\x02B\xff\xff\xff\x7fx.",
        b"\x80\x02T\xff\xff\xff\x7fx.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"}.",  # FRAME
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",  # LONG4
        b"L" + b"9" * 100_000 + b"L\n.",
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.",  # a state dictionary that holds itself
    ],
)
@pytest.mark.parametrize("wrap", [zip_with, legacy_with])
def test_small_pickles_cannot_ask_for_much(
    tmp_path: Path, opcodes: bytes, wrap: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(wrap(opcodes))
    with limits():
        outcome(path)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"]" * 300_000 + b"a" * 299_999 + b".",  # lists
        b")" + b"\x85" * 300_000 + b".",  # tuples
        b"})" + b"\x85" * 300_000 + b"K\x01s.",  # tuples, as a key: hashing them would overflow C's stack
        b"}U\x01a" * 100_000 + b"N" + b"s" * 100_000 + b".",  # dictionaries
        b"cx\ny\n)" + b"\x81)" * 300_000 + b"0.",  # objects whose classes are objects
    ],
)
@pytest.mark.parametrize("wrap", [zip_with, legacy_with])
def test_depth_is_harmless(tmp_path: Path, opcodes: bytes, wrap: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(wrap(b"\x80\x02" + opcodes))
    begin = time.perf_counter()
    outcome(path)
    assert time.perf_counter() - begin < 5


def test_work_that_multiplies_is_counted(tmp_path: Path, refusal: Read) -> None:
    """10,000 dictionaries from one list of 10,000 pairs."""
    pairs = b"\x80\x02](" + b"X\x01\x00\x00\x00aN\x86" * 10_000 + b"e\x85q\x00"
    calls = b"ccollections\nOrderedDict\nh\x00R0" * 10_000
    path = tmp_path / "net.pth"
    path.write_bytes(zip_with(pairs + calls + b"}."))
    begin = time.perf_counter()
    assert "more than 2097152 steps" in refusal(path)
    assert time.perf_counter() - begin < 5


def test_a_long_pickle_ends_after_a_while(tmp_path: Path, refusal: Read) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(zip_with(b"\x80\x02" + b"N0" * 4_000_000 + b"}.", method=zipfile.ZIP_DEFLATED))
    begin = time.perf_counter()
    assert "more than 2097152 steps" in refusal(path)
    assert time.perf_counter() - begin < 5


def tensor_pickle(shape: tuple[int, ...], stride: tuple[int, ...], elements: int, offset: int = 0) -> bytes:
    """A checkpoint with one weight, as torch would describe it."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> object:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, stride, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", elements) if isinstance(obj, Storage) else None

    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"state_dict": {"a.op.weight": Tensor()}})
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "stride", "elements", "offset", "code"),
    [
        ((1 << 40, 1), (1, 1), 1 << 40, 0, "too-many-weights"),
        ((1 << 40, 1), (1, 1), 4, 0, "damaged-checkpoint"),
        ((1 << 40, 1), (0, 0), 4, 0, "too-many-weights"),
        ((1 << 60, 1 << 60), (0, 0), 4, 0, "too-many-weights"),
        ((2, 2), (2, 1), 4, 1, "damaged-checkpoint"),
        ((2, 2), (3, 1), 4, 0, "damaged-checkpoint"),
        ((2, 2), (1 << 62, 1), 4, 0, "damaged-checkpoint"),
        ((1, 1), (1 << 62, 1 << 62), 4, 3, ""),
        ((1, 1), (1, 1), 4, 4, "damaged-checkpoint"),
        ((2, 2), (2, 1), 5, 0, "damaged-checkpoint"),
        ((2, -2), (2, 1), 4, 0, "damaged-checkpoint"),
        ((2, 2), (-2, 1), 4, 3, "damaged-checkpoint"),
        ((2, 2), (2, 1), 4, -1, "damaged-checkpoint"),
        ((2, 2), (2, 1), -4, 0, "damaged-checkpoint"),
        ((2, 2), (2,), 4, 0, "damaged-checkpoint"),
        ((1 << 63, 1), (0, 0), 4, 0, "damaged-checkpoint"),
        ((1,) * 65, (1,) * 65, 4, 0, "damaged-checkpoint"),
        ((1,) * 40, (1,) * 40, 4, 0, "invalid-layer-value"),
        ((1 << 62, 0), (1, 1), 4, 0, "invalid-layer-value"),
    ],
)
def test_windows_are_checked_against_their_storage(
    tmp_path: Path, shape: tuple[int, ...], stride: tuple[int, ...], elements: int, offset: int, code: str
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(zip_with(tensor_pickle(shape, stride, elements, offset), {"0": bytes(16)}))
    with limits():
        found = outcome(path)
    codes = [d.code for d in found.diagnostics]
    assert codes == ([code] if code else ["all-zero-weights"])


def test_an_entry_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, refusal: Read) -> None:
    """A weight of 4 GiB, of which the archive has 4 MiB of zeros, deflated, and claims the rest."""
    elements = 1 << 30
    data = bytearray(
        zip_with(tensor_pickle((1 << 15, 1 << 15), (1 << 15, 1), elements), {"0": bytes(1 << 22)}, 8)
    )
    size_at = data.rindex(b"PK\x01\x02") + 24
    data[size_at : size_at + 4] = struct.pack("<I", (1 << 32) - 16)
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with limits():
        assert "error[too-many-weights]" in refusal(path)


def test_a_pickle_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, refusal: Read) -> None:
    data = bytearray(zip_with(b"\x80\x02}." + b"N" * (1 << 22), method=8))
    size_at = data.rindex(b"PK\x01\x02") + 24
    data[size_at : size_at + 4] = struct.pack("<I", 1 << 31)
    path = tmp_path / "net.pth"
    path.write_bytes(data)
    with limits():
        assert "it declares 2147483648 bytes, at most 67108864 are expected" in refusal(path)


def test_one_storage_under_many_names_is_read_once(tmp_path: Path, save_state: Save) -> None:
    shared = torch.ones(1 << 16, 2, dtype=torch.int8)
    path = save_state({f"layer{i}.weight": shared for i in range(10)})
    with limits():
        assert isinstance(outcome(path), Checkpoint)
    path = save_state({f"layer{i}.weight": shared for i in range(4000)})
    with limits(mebibytes=400):
        assert isinstance(outcome(path), CheckpointError)


# mutations


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The data with one to four small accidents."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) or 1)
        length = chance.choice((1, 1, 2, 4, 16))
        match chance.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at : at + length] = b""
            case 2:
                changed[at:at] = chance.randbytes(length)
            case 3:
                changed[at:] = b""
            case 4:
                changed[at : at + length] = b"\xff" * length
            case 5:
                changed[at:at] = changed[at : at + 64]
    return bytes(changed)


def mutate_pickle(data: bytes, chance: random.Random) -> bytes:
    """The archive with an accident in its pickle or byte order, and with right checksums again."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as changed:
        for name in archive.namelist():
            entry = archive.read(name)
            hit = name.endswith("data.pkl") or (name.endswith("byteorder") and chance.random() < 0.1)
            changed.writestr(name, mutate(entry, chance) if hit else entry)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["zip", "pickle", "legacy"])
def test_mutated_files_give_a_result_or_a_diagnostic(
    save: Save, state: State, tmp_path: Path, kind: str
) -> None:
    content = {
        "arch": "net",
        "epoch": 2,
        "state_dict": state,
        "extras": {"best": 0.5},
        "type": torch.optim.Adam,
    }
    original = save(content, legacy=kind == "legacy").read_bytes()
    path = tmp_path / "mutated.pth"
    for seed in range(MUTATIONS):
        chance = random.Random(f"{kind} {seed}")
        path.write_bytes((mutate_pickle if kind == "pickle" else mutate)(original, chance))
        begin = time.perf_counter()
        outcome(path)
        assert time.perf_counter() - begin < 5, seed


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_random_opcodes_give_a_result_or_a_diagnostic(tmp_path: Path, protocol: int) -> None:
    """Not bytes but opcodes at random: these get further into the machine."""
    codes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes if opcode.proto <= protocol]
    path = tmp_path / "net.pth"
    for seed in range(100):
        chance = random.Random(f"{protocol} {seed}")
        words = (
            chance.choice(codes) + chance.choice((b"", b"\x00", b"\x01a", b"1\n", b"x\ny\n"))
            for _ in range(80)
        )
        path.write_bytes(zip_with(b"(((}]" + b"".join(words) + b"."))
        outcome(path)
