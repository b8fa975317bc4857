"""The vendor's and our own golden checkpoints: each loads, or is refused for what is wrong with it."""

import functools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ai8xsim.checkpoint import Checkpoint, read_checkpoint
from ai8xsim.errors import CheckpointError

FOLDERS = ("networks", "layers", "random", "keys", "negative", "silicon", "quantize", "projects")
UNQUANTIZED = frozenset(
    {"ckpt_unquantized", "ai85-catsdogs-qat8", "ai85-kws20_v3-qat8", "ai85-mnist-qat8", "yades"}
)


def outcome(path: Path) -> str:
    try:
        read_checkpoint(path)
    except CheckpointError as refused:
        return ",".join(sorted({d.code for d in refused.diagnostics}))
    return "fine"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_golden_checkpoint_loads_unless_it_was_never_quantized(golden: Path, folder: str) -> None:
    paths = sorted(golden.glob(f"{folder}/**/*.pth.tar"))
    assert paths
    for path in paths:
        trained = path.name == "trained.pth.tar" or path.parent.name == "ckpt_unquantized"
        assert not trained or path.parent.name in UNQUANTIZED
        assert outcome(path) == ("unquantized-checkpoint" if trained else "fine"), path


@functools.cache
def sample(golden: Path) -> tuple[Path, ...]:
    paths = [path for path in sorted(golden.glob("**/checkpoint.pth.tar")) if outcome(path) == "fine"]
    large = [
        p for folder in ("networks", "silicon") for p in sorted(golden.glob(f"{folder}/*/checkpoint.pth.tar"))
    ]
    return tuple(dict.fromkeys([*large, *paths[::12]]))


def assert_as_torch_reads_it(checkpoint: Checkpoint, path: Path) -> None:
    stored = torch.load(path, map_location="cpu", weights_only=False)
    state = stored["state_dict"]
    assert (checkpoint.arch, checkpoint.epoch) == (stored.get("arch"), stored.get("epoch"))
    for layer in checkpoint.layers:
        weight, bias = state[layer.weight_key], state.get(layer.weight_key.removesuffix("weight") + "bias")
        np.testing.assert_array_equal(layer.weight, weight.numpy(), strict=False)
        assert (layer.bias is None) == (bias is None)
        if layer.bias is not None:
            np.testing.assert_array_equal(layer.bias, np.floor(bias.numpy()))
        stem = layer.weight_key[: layer.weight_key.index(layer.name)] + layer.name
        for key, value in (("output_shift", layer.output_shift), ("weight_bits", layer.weight_bits)):
            setting = state.get(f"{stem}.{key}")
            assert value == (None if setting is None else int(setting))


def test_values_equal_what_torch_reads(golden: Path) -> None:
    for path in sample(golden):
        assert_as_torch_reads_it(read_checkpoint(path), path)


def test_a_network_stored_twice_is_read_once_and_without_the_noise(golden: Path) -> None:
    path = golden / "quantize" / "ai85-kws20_v3-qat8" / "quantized.pth.tar"
    checkpoint = read_checkpoint(path)
    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    assert "voice_conv1.op.bias" in state  # the noise
    assert "module.voice_conv1.op.bias" not in state
    assert all(layer.weight_key.startswith("module.") and layer.bias is None for layer in checkpoint.layers)
    assert max(Counter(layer.name for layer in checkpoint.layers).values()) == 1


def test_both_formats_are_among_the_golden_files(golden: Path) -> None:
    zipped = Counter(path.read_bytes()[:2] == b"PK" for path in golden.glob("**/*.pth.tar"))
    assert min(zipped[False], zipped[True]) > 10


def test_biases_of_old_quantizers_draw_a_warning(golden: Path) -> None:
    checkpoint = read_checkpoint(golden / "quantize" / "ai85-mnist-qat8" / "quantized.pth.tar")
    assert [d.code for d in checkpoint.diagnostics] == ["inexact-bias"]
