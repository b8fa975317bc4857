"""Whatever torch writes, in either format, is read back with the same values."""

import hashlib
import io
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim.checkpoint import read_checkpoint

State = OrderedDict[str, torch.Tensor]
Save = Callable[..., Path]


@pytest.mark.parametrize("legacy", [False, True])
def test_all_parts_of_a_checkpoint_are_read(save: Save, state: State, legacy: bool) -> None:
    path = save(
        {"arch": "ai85net", "epoch": 7, "state_dict": state, "optimizer_type": torch.optim.Adam}, legacy
    )
    checkpoint = read_checkpoint(path)
    assert (checkpoint.path, checkpoint.arch, checkpoint.epoch) == (str(path), "ai85net", 7)
    assert [layer.name for layer in checkpoint.layers] == ["conv1", "fc"]
    conv1, fc = checkpoint.layers
    assert conv1.weight_key == "conv1.op.weight"
    assert conv1.weight.shape == (4, 2, 3, 3)
    assert conv1.weight.dtype == np.int64
    assert conv1.weight.ravel().tolist() == list(range(-36, 36))
    assert conv1.bias is not None
    assert conv1.bias.tolist() == [128, -256, 0, 384]
    assert (conv1.output_shift, conv1.weight_bits) == (-1, 8)
    assert (fc.output_shift, fc.weight_bits, fc.bias) == (0, 4, None)
    assert checkpoint.diagnostics == ()


def test_both_formats_give_equal_layers(save: Save, state: State) -> None:
    content = {"arch": "net", "epoch": 1, "state_dict": state}
    zipped, legacy = (read_checkpoint(save(content, legacy=old, name=f"{old}.pth")) for old in (False, True))
    assert zipped.layers == legacy.layers
    assert hash(zipped.layers) == hash(legacy.layers)
    assert zipped != legacy  # another path


def test_equality_sees_every_value(save_state: Save, state: State) -> None:
    first = read_checkpoint(save_state(state))
    for key in ("conv1.op.weight", "conv1.op.bias", "conv1.output_shift"):
        changed = OrderedDict(state)
        changed[key] = state[key] + (128 if key.endswith("bias") else 1)
        assert read_checkpoint(save_state(changed)) != first
    del state["conv1.op.bias"]
    assert read_checkpoint(save_state(state)) != first
    assert first.layers[0] != "conv1"


def test_arrays_are_read_only(save_state: Save, state: State) -> None:
    conv1 = read_checkpoint(save_state(state)).layers[0]
    for array in (conv1.weight, conv1.bias):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("conv1.op.weight", "conv1"),
        ("module.conv1.op.weight", "conv1"),
        ("_orig_mod.module.conv1.op.weight", "conv1"),
        ("module._orig_mod.module.conv1.op.weight", "conv1"),
        ("conv1.conv2d.weight", "conv1"),
        ("up.convtranspose2d.weight", "up"),
        ("fc.linear.weight", "fc"),
        ("fc.weight", "fc"),
        ("block.0.conv1.op.weight", "block.0.conv1"),
        ("op.weight", "op"),
    ],
)
def test_names_of_layers(save_state: Save, key: str, name: str) -> None:
    prefix = key[: key.index(name)]
    state = {
        key: torch.ones(2, 2),
        key.removesuffix("weight") + "bias": torch.tensor([2, 4]),
        f"{prefix}{name}.output_shift": torch.tensor(3.0),
        f"{prefix}{name}.weight_bits": torch.tensor([2]),
    }
    (found,) = read_checkpoint(save_state(state)).layers
    assert (found.name, found.weight_key, found.output_shift, found.weight_bits) == (name, key, 3, 2)
    assert found.bias is not None


@pytest.mark.parametrize(("prefix", "name"), [("module.", "fc"), ("", "features.3")])
def test_settings_that_the_loader_overlooks_are_not_read(save_state: Save, prefix: str, name: str) -> None:
    """Without an operator level the loader looks one level too high; golden `keys/` has such files."""
    state = {
        f"{prefix}{name}.weight": torch.ones(2, 2),
        f"{prefix}{name}.output_shift": torch.tensor(3.0),
        f"{prefix}{name}.weight_bits": torch.tensor([2]),
    }
    (found,) = read_checkpoint(save_state(state)).layers
    assert (found.name, found.output_shift, found.weight_bits) == (name, None, None)


def test_an_operator_of_any_name_belongs_to_the_layer_with_the_settings(save_state: Save) -> None:
    state = {"stem.filter.weight": torch.ones(2, 2), "stem.output_shift": torch.tensor([1.0])}
    (found,) = read_checkpoint(save_state(state)).layers
    assert (found.name, found.output_shift) == ("stem", 1)


def test_the_first_form_of_a_layer_counts_with_its_own_settings(save_state: Save) -> None:
    state = {
        "module.conv1.op.weight": torch.full((2, 2), 3.0),
        "conv1.op.weight": torch.full((2, 2), 5.0),
        "conv1.op.bias": torch.tensor([0.1, 0.2]),
        "conv1.output_shift": torch.tensor([4.0]),
        "conv1.weight_bits": torch.tensor([2.0]),
        "conv2.op.weight": torch.full((2, 2), 7.0),
    }
    first, second = read_checkpoint(save_state(state)).layers
    assert (first.weight_key, first.weight[0, 0]) == ("module.conv1.op.weight", 3)
    assert (first.bias, first.output_shift, first.weight_bits) == (None, None, None)
    assert second.weight_key == "conv2.op.weight"


def test_what_stands_under_the_form_that_does_not_count_is_ignored(save_state: Save) -> None:
    noise = {
        "a.op.weight": torch.rand(2, 2),
        "a.bn.running_mean": torch.rand(2),
        "a.weight_bits": torch.rand(3),
    }
    checkpoint = read_checkpoint(save_state({"module.a.op.weight": torch.ones(2, 2), **noise}))
    assert (len(checkpoint.layers), checkpoint.diagnostics) == (1, ())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.uint8,
        torch.bool,
    ],
)
def test_element_types(save_state: Save, dtype: torch.dtype, legacy: bool) -> None:
    weight = torch.tensor([[0, 1], [100, 127]]).to(dtype)
    (found,) = read_checkpoint(save_state({"a.weight": weight}, legacy)).layers
    np.testing.assert_array_equal(found.weight, weight.double().numpy())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_element_types_without_a_storage_class(save_state: Save, dtype: torch.dtype, legacy: bool) -> None:
    weight = torch.tensor([[0, 1], [100, 127]]).to(dtype)
    (found,) = read_checkpoint(save_state({"a.weight": weight}, legacy)).layers
    assert found.weight.tolist() == [[0, 1], [100, 127]]


class Special(torch.Tensor):
    """A user's tensor class, which the reader cannot import and need not."""


def test_parameters_and_subclasses_of_tensor(save_state: Save) -> None:
    parameter, special = torch.nn.Parameter(torch.ones(2, 3)), torch.ones(1, 2).as_subclass(Special)
    special.note = "makes torch write the attributes, too"
    layers = read_checkpoint(save_state({"a.weight": parameter, "b.weight": special})).layers
    assert [layer.weight.shape for layer in layers] == [(2, 3), (1, 2)]


VIEWS = (
    lambda x: x,
    lambda x: x.transpose(0, 1),
    lambda x: x[1:],
    lambda x: x[:, ::2],
    lambda x: x[:1].expand(3, *x.shape[1:]),
    lambda x: x.permute(*reversed(range(x.dim()))),
    lambda x: x.narrow(0, 1, 1),
)
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int32, torch.int64)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(2, 4), min_size=2, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    weight = torch.randint(-128, 128, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
    return draw(st.sampled_from(VIEWS))(weight)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(tensors(), min_size=1, max_size=4),
    legacy=st.booleans(),
    protocol=st.sampled_from((2, 3, 4, 5)),
)
def test_any_state_dictionary_is_read_back(weights: list[torch.Tensor], legacy: bool, protocol: int) -> None:
    state = OrderedDict((f"layer{i}.op.weight", weight) for i, weight in enumerate(weights))
    state["again.op.weight"] = weights[0].transpose(0, 1)  # shares its storage
    with TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pth")
        torch.save(
            {"state_dict": state}, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol
        )
        layers = read_checkpoint(path).layers
    assert [layer.weight_key for layer in layers] == list(state)
    for found, stored in zip(layers, state.values(), strict=True):
        np.testing.assert_array_equal(found.weight, stored.double().numpy(), strict=False)
        assert found.weight.shape == tuple(stored.shape)


def test_legacy_views_of_one_storage(tmp_path: Path) -> None:
    """torch before 0.4 stored a storage once and described others as views of it."""
    path = tmp_path / "old.pth"
    path.write_bytes(legacy_file_with_a_view())
    (found,) = read_checkpoint(path).layers
    assert found.weight.tolist() == [[4, 5], [6, 7]]


class PersistentId:
    """Stands for a storage while `legacy_file_with_a_view` pickles."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts


class LegacyPickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return obj.parts if isinstance(obj, PersistentId) else None


class Rebuilt:
    """A tensor of two rows and two columns on a view of four elements that begins at element 3."""

    def __reduce__(self) -> tuple[object, ...]:
        view = ("view", 3, 4)
        storage = PersistentId("storage", torch.FloatStorage, "root", "cpu", 8, view)
        return torch._utils._rebuild_tensor, (storage, 0, (2, 2), (2, 1))


def legacy_file_with_a_view() -> bytes:
    file = io.BytesIO()
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    for part in (*head, {"state_dict": {"a.weight": Rebuilt()}}, ["root"]):
        LegacyPickler(file, protocol=2).dump(part)
    file.write((8).to_bytes(8, "little") + np.arange(1, 9, dtype="<f4").tobytes())
    return file.getvalue()


def rewrite_zip(
    path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], method: int = 0
) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = [change(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry in entries:
            if entry:
                archive.writestr(*entry)


def test_big_endian_files(save_state: Save) -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, 100.0]])
    path = save_state({"a.weight": weight})

    def swap(name: str, data: bytes) -> tuple[str, bytes]:
        if name.endswith("byteorder"):
            return name, b"big"
        return name, np.frombuffer(data, "<f4").astype(">f4").tobytes() if name.endswith("data/0") else data

    rewrite_zip(path, swap)
    assert read_checkpoint(path).layers[0].weight.tolist() == weight.tolist()


def test_files_before_the_byteorder_record_and_compressed_copies(save_state: Save, state: State) -> None:
    path = save_state(state)
    layers = read_checkpoint(path).layers
    rewrite_zip(
        path, lambda name, data: None if name.endswith("byteorder") else (name, data), zipfile.ZIP_DEFLATED
    )
    assert read_checkpoint(path).layers == layers


def test_the_folder_in_the_archive_may_have_any_name(save_state: Save, state: State) -> None:
    path = save_state(state)
    layers = read_checkpoint(path).layers
    rewrite_zip(path, lambda name, data: ("x y/" + name.partition("/")[2], data))
    assert read_checkpoint(path).layers == layers


def test_the_optimizer_is_never_read(save: Save, state: State) -> None:
    moments = torch.zeros(1000)
    path = save({"state_dict": state, "optimizer_state_dict": {"state": {0: {"exp_avg": moments}}}})

    def drop_moments(name: str, data: bytes) -> tuple[str, bytes] | None:
        return None if len(data) == 4000 else (name, data)

    rewrite_zip(path, drop_moments)
    assert len(read_checkpoint(path).layers) == 2


@pytest.mark.parametrize(
    ("arch", "epoch"),
    [(None, None), (7, "seven"), (["net"], 1.5), (torch.zeros(1), True), ({}, torch.ones(1))],
)
def test_arch_and_epoch_of_the_wrong_type_count_as_missing(
    save: Save, state: State, arch: object, epoch: object
) -> None:
    checkpoint = read_checkpoint(save({"arch": arch, "epoch": epoch, "state_dict": state}))
    assert (checkpoint.arch, checkpoint.epoch) == (None, None)


def test_arch_and_epoch_may_be_missing(save: Save, state: State) -> None:
    checkpoint = read_checkpoint(save({"state_dict": state}))
    assert (checkpoint.arch, checkpoint.epoch, checkpoint.diagnostics) == (None, None, ())


def test_zero_bits_are_kept_and_plain_numbers_are_taken(save_state: Save) -> None:
    state = {"a.op.weight": torch.ones(2, 2), "a.weight_bits": torch.tensor([0]), "a.output_shift": -2}
    (found,) = read_checkpoint(save_state(state)).layers
    assert (found.weight_bits, found.output_shift) == (0, -2)


def test_a_path_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(OSError, match="directory"):
        read_checkpoint(tmp_path)


def test_reading_needs_neither_torch_nor_numba() -> None:
    code = "import sys, ai8xsim.checkpoint; print(sorted({'torch', 'numba', 'yaml'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_reading_leaves_the_file_as_it_was(save_state: Save, state: State) -> None:
    path = save_state(state)
    before = hashlib.sha256(path.read_bytes()).digest()
    read_checkpoint(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
