"""Fixtures of the checkpoint tests: small checkpoints, written by torch itself."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ai8xsim.checkpoint import read_checkpoint
from ai8xsim.diagnostics import render
from ai8xsim.errors import CheckpointError

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes an object as torch does, `legacy` or as a zip archive, and gives the path."""

    def write(content: object, legacy: bool = False, name: str = "checkpoint.pth.tar") -> Path:
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        return path

    return write


@pytest.fixture
def save_state(save: Save) -> Save:
    """Writes a state dictionary as a checkpoint."""
    return lambda state, legacy=False: save({"arch": "net", "epoch": 1, "state_dict": state}, legacy)


@pytest.fixture
def state() -> OrderedDict[str, torch.Tensor]:
    """A quantized network of two layers, all keys present."""
    weight = torch.arange(-36, 36, dtype=torch.float32).reshape(4, 2, 3, 3)
    return OrderedDict(
        {
            "conv1.output_shift": torch.tensor([-1.0]),
            "conv1.weight_bits": torch.tensor([8.0]),
            "conv1.op.weight": weight,
            "conv1.op.bias": torch.tensor([128.0, -256.0, 0.0, 384.0]),
            "fc.output_shift": torch.tensor([-0.0]),
            "fc.weight_bits": torch.tensor([4]),
            "fc.op.weight": torch.tensor([[1.0, -8.0], [7.0, 0.0]]),
        }
    )


@pytest.fixture
def refusal() -> Callable[[Path], str]:
    """The rendered diagnostics with which a file is refused; a file that is accepted fails the test."""

    def read(path: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        return "\n".join(render(d) for d in caught.value.diagnostics)

    return read


@pytest.fixture
def remarks() -> Callable[[Path], str]:
    """The rendered warnings of a file that is accepted."""
    return lambda path: "\n".join(render(d) for d in read_checkpoint(path).diagnostics)
