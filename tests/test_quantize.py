"""The quantizer: the vendor's pairs bit for bit, the rules one by one, and a round trip through our own reader."""

import io
import json
import re
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import CheckpointError, ResolveError, read_checkpoint
from ai8xsim.checkpoint.state import read_state
from ai8xsim.cli.app import cli
from ai8xsim.network import parse_network
from ai8xsim.quantize import CLIPS, QuantizeOptions, quantize, save_quantized

from .conftest import GOLDEN, ROOT

PAIRS = sorted([*GOLDEN.glob("quantize/*/trained.pth.tar"), *GOLDEN.glob("projects/*/trained.pth.tar")])


@pytest.mark.skipif(not PAIRS, reason="the golden vectors are not beside this repository")
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.parent.name)
def test_a_pair_of_the_vendors_is_reproduced_bit_for_bit(path: Path) -> None:
    wanted, got = read_state(path.with_name("quantized.pth.tar")).tensors, quantize(path).state
    assert list(got) == list(wanted)
    for key, values in wanted.items():
        assert got[key].dtype == values.dtype, key
        assert np.array_equal(got[key], values), key
        assert got[key].tobytes() == values.tobytes(), key


def saved(folder: Path, **tensors: Any) -> Path:
    state = OrderedDict((key.replace("__", "."), torch.as_tensor(value)) for key, value in tensors.items())
    path = folder / "trained.pth.tar"
    torch.save({"arch": "net", "epoch": 3, "state_dict": state, "extras": {"best_top1": 9.5}}, path)
    return path


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("largest", "bits", "shift", "stored"),
    [(0.3, 8, -1, 77), (0.6, 8, 0, 77), (0.5, 8, -1, 127), (1.5, 8, 1, 96), (0.3, 4, -1, 5), (0.3, 1, -1, 0)],
)
def test_the_largest_weight_fills_the_width(
    tmp_path: Path, largest: float, bits: int, shift: int, stored: int
) -> None:
    """0.5 is exactly a power of two: it would be 128 and saturates."""
    path = saved(tmp_path, conv__op__weight=weights(largest, -largest / 4))
    quantized = quantize(path, options=QuantizeOptions(bits=bits))
    assert quantized.layers[0].output_shift == shift
    assert int(quantized.state["conv.op.weight"].ravel()[0]) == stored
    assert quantized.state["conv.weight_bits"].tolist() == [bits]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([1, 2, 4, 8]), st.sampled_from(CLIPS), st.floats(1e-3, 4))
def test_a_quantized_layer_is_the_trained_one_up_to_half_a_unit(
    seed: int, bits: int, clip: Any, spread: float
) -> None:
    generator = np.random.default_rng(seed)
    weight, bias = generator.normal(0, spread, (5, 3, 3, 3)), generator.normal(0, spread, 5)
    tensors = {"conv.op.weight": torch.tensor(weight).float(), "conv.op.bias": torch.tensor(bias).float()}
    file = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trained.pth.tar")
        torch.save({"arch": "net", "epoch": 0, "state_dict": tensors}, path)
        quantized = quantize(path, options=QuantizeOptions(bits=bits, clip=clip))
        save_quantized(quantized, file)
        path.write_bytes(file.getvalue())
        (layer,) = read_checkpoint(path).layers
    assert layer.bias is not None
    unit = 2.0 ** (layer.output_shift or 0) / 2 ** (bits - 1)
    limit = (2 ** (bits - 1) - 0.5) * unit
    inside = np.abs(weight) < limit
    assert np.abs(layer.weight * unit - weight)[inside].max(initial=0) <= unit * 0.5001
    within = np.abs(bias) < limit
    kept = layer.bias / (2.0 ** (bits - 8) * 128) * unit
    assert np.abs(kept - bias)[within].max(initial=0) <= unit * 0.5001
    assert layer.weight.min() >= -(2 ** (bits - 1))
    assert layer.weight.max() <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("is_transposed", [False, True])
def test_batch_normalization_is_folded_along_the_outputs(tmp_path: Path, is_transposed: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    make = torch.nn.ConvTranspose2d if is_transposed else torch.nn.Conv2d
    operation, norm = make(2, 3, 3, padding=1), torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            values.copy_(torch.rand(3, generator=generator) + 0.5)
    path = saved(
        tmp_path, conv__op__weight=operation.weight.detach(), conv__op__bias=operation.bias.detach(),
        **{f"conv__bn__{name}": value for name, value in norm.state_dict().items()},
    )  # fmt: skip
    op = "convtranspose2d" if is_transposed else "conv2d"
    text = f"arch: net\ndataset: d\nlayers:\n  - {{op: {op}, processors: 3, out_offset: 0}}\n"
    quantized = quantize(path, parse_network(text).network)
    (layer,) = quantized.layers
    x = torch.rand(1, 2, 6, 6, generator=generator)
    with torch.no_grad():
        wanted = norm.eval()(operation(x)) / 4
        unit = 2.0**layer.output_shift / 128
        operation.weight.copy_(torch.from_numpy(quantized.state["conv.op.weight"]) * unit)
        operation.bias.copy_(torch.from_numpy(quantized.state["conv.op.bias"]) / 128 * unit)
        got = operation(x)
    assert float((got - wanted).abs().max()) < 20 * unit
    assert not [key for key in quantized.state if ".bn." in key]
    assert "batch normalization folded" in layer.notes[0]


def test_widths_come_from_the_layers_of_the_description(tmp_path: Path) -> None:
    """A pass-through between them takes no weights, and no place in the count."""
    path = saved(tmp_path, a__op__weight=weights(0.9, 0.1), b__op__weight=weights(0.9, 0.2))
    text = """
arch: net
dataset: d
layers:
  - {op: conv2d, kernel_size: 1x1, pad: 0, processors: 1, out_offset: 0, quantization: 4}
  - {op: none, processors: 3, out_offset: 0}
  - {op: conv2d, kernel_size: 1x1, pad: 0, processors: 3, out_offset: 0, quantization: 2}
"""
    quantized = quantize(path, parse_network(text).network)
    assert [layer.bits for layer in quantized.layers] == [4, 2]


def batchnorm(count: int) -> dict[str, torch.Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {
        f"conv__bn__{name}": torch.rand(count, generator=torch.Generator().manual_seed(3)) for name in names
    }


WEIGHT = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(2)) - 0.5
FAULTY: dict[str, tuple[dict[str, Any], str, str]] = {
    "3 bits": ({"conv__weight_bits": [3.0]}, "invalid-layer-value", "`conv.weight_bits` is 3;"),
    "16 bits": ({"conv__weight_bits": [16.0]}, "invalid-layer-value", "is 16; weights have 1, 2, 4 or 8 bits"),
    "negative bits": ({"conv__weight_bits": [-8.0]}, "invalid-layer-value", "is -8"),
    "no bits": ({"conv__weight_bits": [float("nan")]}, "weights-not-finite", "`conv.weight_bits` holds"),
    "quantile": ({"conv__shift_quantile": [1.5]}, "invalid-layer-value", "is 1.5; it is a share"),
    "negative quantile": ({"conv__shift_quantile": [-0.5]}, "invalid-layer-value", "is -0.5"),
    "shift": ({"conv__output_shift": [99.0]}, "invalid-layer-value", "is 99; shifts lie in -15..15"),
    "no number": ({"conv__op__weight": WEIGHT * float("nan")}, "weights-not-finite", "`conv.op.weight` holds"),
    "infinite": ({"conv__op__weight": torch.full((4, 3, 3, 3), float("inf"))}, "weights-not-finite", "weight` holds"),
    "infinite bias": ({"conv__op__bias": [float("-inf")] * 4}, "weights-not-finite", "`conv.op.bias` holds"),
    "bias": ({"conv__op__bias": [0.0] * 7}, "invalid-layer-value", "has 7 values, the weights are 4x3x3x3"),
    "statistics": (batchnorm(5), "invalid-layer-value", "`conv.bn.running_mean` has 5 values"),
    "variance": ({**batchnorm(4), "conv__bn__running_var": [-1.0] * 4}, "invalid-layer-value", "running_var` is neg"),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "code", "words"), FAULTY.values(), ids=list(FAULTY))
def test_what_cannot_be_quantized_is_refused(
    tmp_path: Path, tensors: dict[str, Any], code: str, words: str
) -> None:
    path = saved(tmp_path, **{"conv__op__weight": WEIGHT, **tensors})
    with pytest.raises(CheckpointError, match=re.escape(words)) as caught:
        quantize(path)
    assert {d.code for d in caught.value.diagnostics} >= {code}
    quantize(saved(tmp_path, conv__op__weight=WEIGHT, **batchnorm(4)))


def test_all_faults_of_a_checkpoint_are_said(tmp_path: Path) -> None:
    path = saved(
        tmp_path, a__op__weight=WEIGHT, a__weight_bits=[3.0], b__op__weight=WEIGHT / 0, b__shift_quantile=[2.0]
    )  # fmt: skip
    with pytest.raises(CheckpointError) as caught:
        quantize(path)
    assert [d.code for d in caught.value.diagnostics] == [
        "weights-not-finite", "invalid-layer-value", "invalid-layer-value",
    ]  # fmt: skip


def test_weights_larger_than_any_shift_are_not_taken_for_integers(tmp_path: Path) -> None:
    quantized = quantize(saved(tmp_path, conv__op__weight=WEIGHT * 1e12))
    assert quantized.layers[0].saturated == WEIGHT.numel()
    assert "most of its values saturate" in quantized.layers[0].notes


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (3, 3)])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_without_a_description_the_sizes_tell_the_axis(
    tmp_path: Path, sizes: tuple[int, int], is_transposed: bool
) -> None:
    """Where they do not, a convolution is taken, and said so; the description ends the doubt."""
    inputs, outputs = sizes
    weight = torch.rand(sizes if is_transposed else sizes[::-1], generator=torch.Generator().manual_seed(1))
    path = saved(
        tmp_path, conv__op__weight=weight[..., None, None].expand(-1, -1, 3, 3), **batchnorm(outputs)
    )
    quantized = quantize(path)
    is_square = inputs == outputs
    axis = 1 if is_transposed and not is_square else 0
    assert f"folded along axis {axis}" in quantized.layers[0].notes[0]
    codes = [(d.severity.value, d.code) for d in quantized.diagnostics]
    assert codes == ([("warning", "batchnorm-axis")] if is_square else [])
    op = "convtranspose2d" if is_transposed else "conv2d"
    text = f"arch: net\ndataset: d\nlayers:\n  - {{op: {op}, processors: 7, out_offset: 0}}\n"
    told = quantize(path, parse_network(text).network)
    assert f"folded along axis {int(is_transposed)}" in told.layers[0].notes[0]
    assert not told.diagnostics


def test_a_depthwise_transposed_convolution_is_folded_along_its_channels(tmp_path: Path) -> None:
    path = saved(tmp_path, conv__op__weight=WEIGHT[:, :1], **batchnorm(4))
    text = "arch: net\ndataset: d\nlayers:\n  - {op: convtranspose2d, processors: 15, out_offset: 0, groups: 4}\n"
    assert "along axis 0" in quantize(path, parse_network(text).network).layers[0].notes[0]


def described(*kernels: str, arch: str = "net", more: str = "") -> Any:
    layers = "".join(
        f"  - {{op: conv2d, kernel_size: {kernel}, pad: 0, processors: 7, out_offset: 0{more}}}\n"
        for kernel in kernels
    )
    return parse_network(f"arch: {arch}\ndataset: d\nlayers:\n{layers}").network


def test_a_description_of_another_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, a__op__weight=WEIGHT, b__op__weight=WEIGHT)
    assert quantize(path, described("3x3", "3x3", arch="Net")).diagnostics == ()
    wrong = {
        "arch-mismatch": described("3x3", "3x3", arch="other"), "kernel-mismatch": described("3x3", "1x1"),
        "missing-weights": described("3x3", "3x3", "3x3"),
    }  # fmt: skip
    for code, network in wrong.items():
        with pytest.raises(ResolveError) as caught:
            quantize(path, network)
        assert [d.code for d in caught.value.diagnostics] == [code]
    (found,) = quantize(path, described("3x3")).diagnostics
    assert (found.severity.value, found.code) == ("warning", "unused-weights")
    assert found.notes == ("left over: `b`",)


def test_another_width_than_it_was_trained_for_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path, a__op__weight=WEIGHT, a__weight_bits=[8.0], b__op__weight=WEIGHT)
    layers = quantize(path, described("3x3", "3x3", more=", quantization: 4")).layers
    assert [layer.notes for layer in layers] == [("it was trained for 8 bits; the description says 4",), ()]


def test_a_width_that_no_layer_gets_is_warned_of(tmp_path: Path) -> None:
    target = str(tmp_path / "quantized.pth.tar")

    def codes(path: Path, *words: str) -> list[str]:
        every = ["quantize", str(path), target, "--force", "--json", *words]
        shown = CliRunner().invoke(cli, every, standalone_mode=False, catch_exceptions=False)
        return [d["code"] for d in json.loads(shown.stdout)["diagnostics"]]

    stated = saved(tmp_path, a__op__weight=WEIGHT, a__weight_bits=[4.0])
    assert codes(stated, "--bits", "2") == ["unused-bits"]
    assert codes(stated, "--bits", "4") == codes(stated) == []
    assert codes(saved(tmp_path, a__op__weight=WEIGHT), "--bits", "2") == []


def test_what_is_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    path = saved(tmp_path, conv__op__weight=weights(77.0, -19.0))
    with pytest.raises(CheckpointError, match="quantized already") as caught:
        quantize(path)
    assert [d.code for d in caught.value.diagnostics] == ["already-quantized"]
    with pytest.raises(CheckpointError, match="no weights"):
        quantize(saved(tmp_path, conv__op__bias=torch.zeros(3)))


@pytest.mark.parametrize("widths", [(1, 1), (8, 1), (2, 2)])
def test_narrow_weights_are_not_quantized_again_either(widths: tuple[int, int], tmp_path: Path) -> None:
    parts = {f"{name}__op__weight": WEIGHT for name in "ab"}
    bits = {f"{name}__weight_bits": [float(width)] for name, width in zip("ab", widths, strict=True)}
    done = tmp_path / "done.pth.tar"
    with done.open("wb") as file:
        save_quantized(quantize(saved(tmp_path, **parts, **bits)), file)
    with pytest.raises(CheckpointError, match="quantized already"):
        quantize(done)


def test_whole_numbers_alone_are_no_sign_of_quantization(tmp_path: Path) -> None:
    assert quantize(saved(tmp_path, a__op__weight=weights(1.0, -1.0))).layers


def test_the_command_shows_warnings_and_refuses_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path, conv__op__weight=WEIGHT[:, :1].expand(-1, 4, -1, -1), **batchnorm(4))
    words = ["quantize", str(path), str(tmp_path / "quantized.pth.tar")]
    shown = CliRunner().invoke(cli, [*words, "--json"], standalone_mode=False, catch_exceptions=False)
    assert "warning[batchnorm-axis]" in shown.stderr
    assert [d["code"] for d in json.loads(shown.stdout)["diagnostics"]] == ["batchnorm-axis"]
    quiet = CliRunner().invoke(cli, [*words, "--force", "--quiet"], standalone_mode=False)
    assert quiet.output == ""
    other = ROOT / "networks" / "mnist.yaml"
    refused = CliRunner().invoke(cli, [*words, "--force", "--network", str(other)], standalone_mode=False)
    assert isinstance(refused.exception, ResolveError)
    assert "the description is for `ai85net5`" in str(refused.exception)


def test_the_command_writes_a_checkpoint_that_the_reader_takes(tmp_path: Path) -> None:
    path = saved(tmp_path, conv__op__weight=weights(0.3, -0.1), conv__op__bias=torch.tensor([0.1, -0.2]))
    target = tmp_path / "quantized.pth.tar"
    words = ["quantize", str(path), str(target)]
    shown = CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    assert "conv" in shown.output
    assert "rms error" in shown.output
    checkpoint = read_checkpoint(target)
    assert (checkpoint.arch, checkpoint.epoch) == ("net", 3)
    assert checkpoint.layers[0].weight.ravel().tolist() == [77, -26]
    assert checkpoint.layers[0].bias is not None
    assert checkpoint.layers[0].bias.tolist() == [26 * 128, -51 * 128]
    again = CliRunner().invoke(cli, words, standalone_mode=False)
    assert "exists" in str(again.exception)
    record = CliRunner().invoke(cli, [*words, "--force", "--json"], standalone_mode=False).output
    assert json.loads(record)["layers"][0]["output_shift"] == -1
