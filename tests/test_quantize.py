"""The quantizer: the vendor's pairs bit for bit, the rules one by one, and a round trip through our own reader."""

import io
import json
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

from ai8xsim import CheckpointError, read_checkpoint
from ai8xsim.checkpoint.state import read_state
from ai8xsim.cli.app import cli
from ai8xsim.network import parse_network
from ai8xsim.quantize import CLIPS, QuantizeOptions, quantize, save_quantized

from .conftest import GOLDEN

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


def test_what_is_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    path = saved(tmp_path, conv__op__weight=weights(77.0, -19.0))
    with pytest.raises(CheckpointError, match="quantized already") as caught:
        quantize(path)
    assert [d.code for d in caught.value.diagnostics] == ["already-quantized"]
    with pytest.raises(CheckpointError, match="no weights"):
        quantize(saved(tmp_path, conv__op__bias=torch.zeros(3)))


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
