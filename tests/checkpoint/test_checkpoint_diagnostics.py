"""Every diagnostic of the checkpoint reader: a made file, and what the user then reads."""

import io
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ai8xsim.checkpoint import read_checkpoint
from ai8xsim.errors import CheckpointError

State = OrderedDict[str, torch.Tensor]
Save = Callable[..., Path]
Read = Callable[[Path], str]
SOURCES = Path(__file__).resolve().parents[2] / "ai8xsim" / "checkpoint"


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "net.pth.tar"
    path.write_bytes(data)
    return path


def zip_of(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"net/{name.replace('__', '/').replace('_', '.')}", data)
    return file.getvalue()


def pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


# empty-checkpoint, not-a-checkpoint


def test_empty_file(tmp_path: Path, refusal: Read) -> None:
    text = refusal(write(tmp_path, b""))
    assert "error[empty-checkpoint]: the file is empty (0 bytes)" in text
    assert "net.pth.tar" in text


@pytest.mark.parametrize(
    "data", [b"hello", b"\x93NUMPY\x01\x00", b"P", b"\x00" * 1000, b"%YAML 1.2\n---\n", pickled({})]
)
def test_other_files(tmp_path: Path, refusal: Read, data: bytes) -> None:
    text = refusal(write(tmp_path, data))
    assert (
        "error[not-a-checkpoint]: the file is neither a zip archive nor a legacy file of `torch.save`" in text
    )
    assert f"= note: it begins with the bytes {data[:8].hex(' ')}" in text


def test_other_zip_archives(tmp_path: Path, refusal: Read) -> None:
    np.savez(tmp_path / "x.npz", weight=np.zeros(3))
    text = refusal(tmp_path / "x.npz")
    assert "error[not-a-checkpoint]: the file is a zip archive without `data.pkl`" in text
    assert "= note: it holds `weight.npy`" in text
    assert "it holds nothing" in refusal(write(tmp_path, b"PK\x05\x06" + b"\0" * 18))


def test_torchscript(tmp_path: Path, refusal: Read) -> None:
    data = zip_of(data_pkl=b"\x80\x02}.", constants_pkl=b"\x80\x02).", code__net_py=b"")
    assert "error[not-a-checkpoint]: the file is a TorchScript archive" in refusal(write(tmp_path, data))


def test_tar_of_ancient_torch(tmp_path: Path, refusal: Read) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    text = refusal(write(tmp_path, file.getvalue()))
    assert "error[not-a-checkpoint]: the file is a tar archive, as torch before 0.4 wrote them" in text


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_module(save: Save, refusal: Read, legacy: bool) -> None:
    text = refusal(save(torch.nn.Linear(2, 2), legacy))
    expected = "the file holds a pickled object, `torch.nn.modules.linear.Linear`, not a dictionary"
    assert f"error[not-a-checkpoint]: {expected}" in text
    assert '"state_dict": model.state_dict()}, path)`, then quantize it (`ai8xsim quantize`)' in text


@pytest.mark.parametrize(
    ("content", "kind"), [([1], "list"), (torch.zeros(2), "tensor"), (None, "NoneType"), ("net", "str")]
)
def test_content_that_is_no_dictionary(save: Save, refusal: Read, content: object, kind: str) -> None:
    assert f"error[not-a-checkpoint]: the file holds a {kind}, not a dictionary" in refusal(save(content))


def test_bare_state_dictionary(save: Save, refusal: Read, state: State) -> None:
    text = refusal(save(state))
    assert "error[not-a-checkpoint]: the file holds a bare state dictionary, without `state_dict`" in text
    assert (
        '= help: wrap it: `torch.save({"arch": name, "epoch": epoch, "state_dict": state_dict}, path)`'
        in text
    )


def test_state_dictionary_under_another_name(save: Save, refusal: Read, state: State) -> None:
    text = refusal(save({"epoch": 3, "model": state}))
    assert "error[not-a-checkpoint]: the checkpoint has no `state_dict`" in text
    assert "= note: its keys are `epoch`, `model`" in text
    assert "= help: save what is under `model` as `state_dict`" in text


def test_no_state_dictionary(save: Save, refusal: Read) -> None:
    assert "= note: it has no keys" in refusal(save({}))
    assert "`state_dict` is not a dictionary" in refusal(save({"state_dict": [1]}))


# damaged-checkpoint


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_zip_that_is_cut_off(
    save_state: Save, tmp_path: Path, refusal: Read, state: State, share: float
) -> None:
    data = save_state(state).read_bytes()
    kept = int(len(data) * share)
    text = refusal(write(tmp_path, data[:kept]))
    assert (
        "error[damaged-checkpoint]: the file begins like a zip archive, but has no table of contents" in text
    )
    assert f"= note: the file has {kept} bytes and may be cut off" in text
    assert "= help: copy or download the file again" in text


def test_legacy_file_that_is_cut_off(save_state: Save, tmp_path: Path, refusal: Read, state: State) -> None:
    data = save_state(state, legacy=True).read_bytes()
    text = refusal(write(tmp_path, data[:-9]))
    assert "error[damaged-checkpoint]: the file is cut off" in text
    assert re.search(rf"reach to byte \d+ at least, the file has {len(data) - 9} bytes", text)
    text = refusal(write(tmp_path, data[: len(data) // 3]))
    assert "error[damaged-checkpoint]: the pickle in it cannot be read to its end" in text
    assert re.search(r"= note: near byte \d+: ", text)


def test_legacy_protocol_and_storage_list(
    save_state: Save, tmp_path: Path, refusal: Read, state: State
) -> None:
    data = save_state(state, legacy=True).read_bytes()
    other = data.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xea\x03.")
    assert "the protocol of the file is unknown" in refusal(write(tmp_path, other))
    head = b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1001, {}, {"state_dict": {}})))
    assert "the list of storages is missing" in refusal(write(tmp_path, head + pickled(None)))
    assert "names one that the content does not" in refusal(write(tmp_path, head + pickled(["7"])))


def test_storage_of_the_wrong_size(save_state: Save, tmp_path: Path, refusal: Read, state: State) -> None:
    def change(path: Path, suffix: str, edit: Callable[[bytes], bytes | None]) -> Path:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                changed = edit(data) if name.endswith(suffix) else data
                if changed is not None:
                    archive.writestr(name, changed)
        return path

    text = refusal(change(save_state(state), "data/2", lambda data: data[:-4]))
    assert "error[damaged-checkpoint]: the entry `checkpoint.pth/data/2` has the wrong size" in text
    assert "= note: 72 values of type float32 take 288 bytes, the entry has 284" in text
    assert "= note: needed for `conv1.op.weight`" in text
    text = refusal(change(save_state(state), "data/6", lambda data: None))
    assert "error[damaged-checkpoint]: the archive has no entry `checkpoint.pth/data/6`" in text
    assert "= note: needed for `fc.op.weight`" in text
    text = refusal(change(save_state(state), "byteorder", lambda data: b"middle"))
    assert "it holds b'middle', `little` or `big` is expected" in text


def test_wrong_checksum_encryption_and_methods(
    save_state: Save, tmp_path: Path, refusal: Read, state: State
) -> None:
    data = save_state(state).read_bytes()
    weight = state["conv1.op.weight"].numpy().tobytes()
    assert "zip: Bad CRC-32 for file" in refusal(write(tmp_path, data.replace(weight, weight[::-1])))
    entry = data.index(b"PK\x01\x02")
    locked = data[: entry + 8] + b"\x01" + data[entry + 9 :]
    assert "data.pkl` is encrypted" in refusal(write(tmp_path, locked))
    squeezed = data[: entry + 10] + b"\x0e" + data[entry + 11 :]
    assert "data.pkl` is compressed with method 14" in refusal(write(tmp_path, squeezed))
    long = data[: entry + 20] + b"\xff\xff\xff\x03" * 2 + data[entry + 28 :]
    assert "data.pkl` declares more bytes than the file has" in refusal(write(tmp_path, long))


def test_several_damaged_tensors_are_all_named(save_state: Save, refusal: Read, state: State) -> None:
    path = save_state(state)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data[:1] if "/data/" in name else data)
    text = refusal(path)
    assert text.count("error[damaged-checkpoint]") == len(state)


# unquantized-checkpoint, unfused-batchnorm, no-weights


def test_unquantized(save_state: Save, refusal: Read, state: State) -> None:
    state["fc.op.weight"] = torch.tensor([[0.25, -0.5], [1.0, 0.0]])
    text = refusal(save_state(state))
    assert "error[unquantized-checkpoint]: the checkpoint is not quantized: 2 of 4 weights and biases" in text
    assert "= note: 1 of 2 layers are affected: `fc`" in text
    assert "= note: for example, `fc.op.weight`[0, 0] is 0.25" in text
    assert "= help: quantize it first: `ai8xsim quantize`" in text


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e-30, 126.99999])
def test_one_value_that_is_no_integer(save_state: Save, refusal: Read, state: State, bad: float) -> None:
    state["conv1.op.weight"][3, 1, 2, 0] = bad
    text = refusal(save_state(state))
    assert "error[unquantized-checkpoint]" in text
    assert f"`conv1.op.weight`[3, 1, 2, 0] is {np.float32(bad):.9g}" in text


@pytest.mark.filterwarnings("error")
def test_signalling_nan(save_state: Save, refusal: Read, state: State) -> None:
    state["fc.op.weight"] = torch.tensor([[0x7FA00000, 0]], dtype=torch.int32).view(torch.float32)
    assert "`fc.op.weight`[0, 0] is nan" in refusal(save_state(state))


def test_bias_that_is_not_finite(save_state: Save, refusal: Read, state: State) -> None:
    state["conv1.op.bias"][2] = float("nan")
    text = refusal(save_state(state))
    assert "error[unquantized-checkpoint]" in text
    assert "`conv1.op.bias`[2] is nan" in text


def test_unfused_batch_normalisation(save_state: Save, refusal: Read, state: State) -> None:
    bn = {"weight": torch.ones(4), "bias": torch.zeros(4), "running_mean": torch.zeros(4)}
    state |= {f"conv1.bn.{name}": tensor for name, tensor in bn.items()}
    state |= {"bn7.running_var": torch.ones(4), "norm.weight": torch.ones(4)}
    text = refusal(save_state(state))
    expected = "batch normalisation is not folded into the weights of `conv1`, `bn7`, `norm`"
    assert f"error[unfused-batchnorm]: {expected}" in text
    assert "= note: `conv1.bn.weight` has 1 axis; the chip's weights have 2 to 4" in text
    assert text.count("error[") == 1


def test_unfused_and_unquantized_are_two_faults(save_state: Save, refusal: Read) -> None:
    state = {"a.op.weight": torch.rand(2, 2), "a.bn.running_mean": torch.rand(2)}
    text = refusal(save_state(state))
    assert "error[unfused-batchnorm]" in text
    assert "error[unquantized-checkpoint]" in text


def test_no_weights(save_state: Save, refusal: Read, remarks: Read) -> None:
    text = refusal(save_state({"encoder.scale": torch.ones(3)}))
    assert "error[no-weights]: the checkpoint's `state_dict` has no weights" in text
    assert "= note: its keys are `encoder.scale`" in text
    for state in ({}, {"add.output_shift": torch.zeros(1)}):
        text = remarks(save_state(state))
        assert "warning[no-weights]" in text
        assert "only for a network of pooling and element-wise layers" in text


# weights-out-of-range, invalid-layer-value, too-many-weights


def test_weights_out_of_range(save_state: Save, refusal: Read, state: State) -> None:
    state["conv1.op.weight"][1, 0, 2, 1] = 200
    state["conv1.op.weight"][3, 0, 0, 0] = -129
    text = refusal(save_state(state))
    assert "error[weights-out-of-range]: `conv1.op.weight`[1, 0, 2, 1] is 200, outside -128..127" in text
    assert "= note: 2 of the 72 weights of layer `conv1` are outside int8" in text


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("output_shift", torch.tensor([1.5]), "`conv1.output_shift` is 1.5"),
        ("output_shift", torch.tensor([float("nan")]), "`conv1.output_shift` is nan"),
        ("output_shift", torch.tensor(1e300, dtype=torch.float64), "`conv1.output_shift` is 1e+300"),
        ("output_shift", torch.tensor([1.0, 2.0]), "`conv1.output_shift` has the shape `2`"),
        ("output_shift", torch.zeros(0), "`conv1.output_shift` has the shape `0`"),
        ("output_shift", "one", "`conv1.output_shift` is no number"),
        ("output_shift", None, "`conv1.output_shift` is no number"),
        ("output_shift", 1 << 100, "`conv1.output_shift` is 1267650600228229401496703205376"),
        ("weight_bits", torch.tensor([3]), "`conv1.weight_bits` is 3"),
        ("weight_bits", torch.tensor([-1.0]), "`conv1.weight_bits` is -1"),
        ("op.weight", torch.ones(1, 1, 1, 1, 1), "`conv1.op.weight` has the shape `1x1x1x1x1`"),
        ("op.weight", torch.tensor(1.0), "`conv1.op.weight` has the shape `[]`"),
        ("op.weight", torch.ones(0, 2), "`conv1.op.weight` has the shape `0x2`"),
        ("op.weight", 5, "`conv1.op.weight` is no plain tensor, but `int`"),
        (
            "op.weight",
            torch.ones(2, 2).to_sparse(),
            "no plain tensor, but `torch._utils._rebuild_sparse_tensor`",
        ),
        (
            "op.weight",
            torch.ones(2, 2, dtype=torch.complex64),
            "values of type `complex64` are not supported",
        ),
        ("op.bias", torch.zeros(2, 2), "`conv1.op.bias` has the shape `2x2`"),
        ("op.bias", torch.tensor([1 << 40, 0, 0, 0]), "`conv1.op.bias`[0] is 1099511627776, outside int32"),
    ],
)
def test_invalid_values(
    save_state: Save, refusal: Read, state: State, key: str, value: object, expected: str
) -> None:
    text = refusal(save_state({**state, f"conv1.{key}": value}))
    assert "error[invalid-layer-value]: " in text
    assert expected in text
    assert text.count("error[") == 1


def test_all_faults_are_named_at_once(save_state: Save, refusal: Read, state: State) -> None:
    state["conv1.weight_bits"] = torch.tensor([5.0])
    state["conv1.output_shift"] = torch.tensor([0.5])
    state["fc.op.weight"] = torch.tensor([[0.0, 300.0]])
    text = refusal(save_state(state))
    assert re.findall(r"error\[(.*?)\]", text) == [
        "invalid-layer-value",
        "invalid-layer-value",
        "weights-out-of-range",
    ]


def test_too_many_weights(save_state: Save, refusal: Read) -> None:
    text = refusal(save_state({"a.weight": torch.ones(1, dtype=torch.int8).expand(1 << 13, 1 << 13)}))
    assert "error[too-many-weights]: the declared weights and biases take more than 256 MiB" in text
    text = refusal(save_state({f"layer{i}.weight": 0 for i in range(5000)}))
    assert "error[too-many-weights]: the checkpoint has 5000 layers with weights" in text


# warnings


def test_inexact_bias(save_state: Save, remarks: Read, state: State) -> None:
    state["conv1.op.bias"] = torch.tensor([128.0, -100.0, 0.5, 0.0])
    path = save_state(state)
    text = remarks(path)
    assert "warning[inexact-bias]: 2 of the 4 biases of layer `conv1` are no multiples of 128" in text
    assert "= note: for example, `conv1.op.bias`[1] is -100" in text
    assert "= note: the chip keeps floor(bias / 128), PyTorch computes with the whole bias" in text
    bias = read_checkpoint(path).layers[0].bias
    assert bias is not None
    assert bias.tolist() == [128, -100, 0, 0]


@pytest.mark.parametrize(("bits", "unit"), [(0, 128), (None, 128), (8, 128), (4, 8), (2, 2)])
def test_unit_of_a_bias(save_state: Save, remarks: Read, bits: int | None, unit: int) -> None:
    state = {"a.weight": torch.ones(2, 2), "a.bias": torch.tensor([unit, -unit])}
    state |= {} if bits is None else {"a.weight_bits": torch.tensor([bits])}
    assert remarks(save_state(state)) == ""
    state["a.bias"] = state["a.bias"] - 1
    assert f"no multiples of {unit}" in remarks(save_state(state))


def test_all_zero_weights(save_state: Save, remarks: Read, state: State) -> None:
    state["fc.op.weight"] = torch.zeros(2, 2)
    text = remarks(save_state(state))
    assert "warning[all-zero-weights]: all weights of `fc` are zero" in text


def test_unread_layer_values(save_state: Save, remarks: Read) -> None:
    state = {"module.fc.weight": torch.ones(2, 2), "module.fc.output_shift": torch.tensor(3.0)}
    text = remarks(save_state(state))
    assert "warning[unread-layer-values]: the vendor's loader does not find `module.fc.output_shift`" in text
    assert "it looks for `module.output_shift`, else takes shift 0 and 8-bit weights" in text
    assert "save the weight as `module.fc.op.weight`" in text


# the whole


def test_every_code_of_the_reader_has_a_test_here() -> None:
    made = set()
    for path in SOURCES.glob("*.py"):
        made |= set(re.findall(r"\b(?:error|warning)\(\s*\"([a-z-]+)\"", path.read_text()))
    tested = set(re.findall(r"(?:error|warning)\[([a-z-]+)\]", Path(__file__).read_text()))
    assert made == tested


def test_the_exception_says_it_in_one_sentence(save_state: Save, state: State) -> None:
    state["conv1.op.weight"][0, 0, 0, 0] = 128
    path = save_state(state)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(
        f"{path}: `conv1.op.weight`[0, 0, 0, 0] is 128, outside -128..127; quantize"
    )


def test_names_from_a_stranger_cannot_fill_or_confuse_a_terminal(save_state: Save, refusal: Read) -> None:
    text = refusal(save_state({"\x1b[2J" + "x" * 100_000 + ".weight": torch.full((2, 2), 999.0)}))
    assert "\x1b" not in text
    assert len(text) < 2000
