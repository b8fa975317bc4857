"""What is measured: real networks, each with a real sample."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim import DEVICES, MAX78000, Options, Program, read_checkpoint, read_network, resolve

Samples = npt.NDArray[np.integer[Any]]

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden"
DIGITS = ROOT / "networks" / "digits"
BUNDLED = "digits"

# Golden networks, and how many times faster than NumPy we promise to be on one sample; None is no promise: where
# a run takes a fraction of a millisecond, it is the work around the kernels that is measured.
NETWORKS: Mapping[str, float | None] = MappingProxyType(
    {
        "demo-mnist-max78000": None,
        "demo-kws20_v3-max78000": None,
        "demo-cifar-10-max78000": None,
        "demo-cats-dogs-max78000": 10.0,
        "demo-faceid-max78000": None,
        "demo-camvid_unet-max78000": 10.0,
        "demo-svhn_tinierssd-max78000": 10.0,
    }
)


@dataclass(frozen=True)
class Case:
    """A network with its samples, (N, C, H, W) or (N, C, L).

    expected: the digest of the first sample's output, where somebody else has computed it.
    goal: the promised ratio at batch 1.
    """

    name: str
    program: Program
    samples: Samples
    expected: str | None = None
    goal: float | None = None

    def batch(self, size: int) -> Samples:
        """So many samples. Where there are fewer, they come again with their columns rotated, to be different."""
        rounds = range(-(-size // len(self.samples)))
        return np.concatenate([np.roll(self.samples, turn, axis=-1) for turn in rounds])[:size]


def bundled_case(folder: Path = DIGITS) -> Case:
    """The network that comes with the package. Raises OSError where a file is missing."""
    with np.load(folder / "samples.npz", allow_pickle=False) as archive:
        images = archive["images"]
    network = read_network(folder / "network.yaml")
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    return Case(BUNDLED, resolve(network, checkpoint, MAX78000, images.shape[1:]), images)


def golden_case(folder: Path) -> Case:
    """A case of the golden data, told apart by its folder. Raises OSError where a file is missing."""
    facts = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    sample = np.load(folder / "sample.npy", allow_pickle=False)
    program = resolve(
        read_network(folder / "network.yaml"),
        read_checkpoint(folder / "checkpoint.pth.tar"),
        DEVICES[facts["device"]],
        sample.shape,
        Options(**facts["options"]),
    )
    samples = sample.reshape(1, *program.input_shape.array_shape)
    return Case(folder.name, program, samples, facts["output"]["sha256"], NETWORKS.get(folder.name))
