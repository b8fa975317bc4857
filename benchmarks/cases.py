"""What is measured: real networks, each with a real sample."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim import DEVICES, MAX78000, Options, Program, read_checkpoint, read_network, resolve
from ai8xsim.program import Layer

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

# Golden networks at other sizes of image: name -> (golden network, input shape). No digest is known for them.
RESIZED: Mapping[str, tuple[str, tuple[int, int, int]]] = MappingProxyType(
    {"unet-352x352-folded": ("demo-camvid_unet-max78000", (48, 88, 88))}
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

    @property
    def weight_bytes(self) -> int:
        """What a run reads besides the samples."""
        return sum(
            layer.convolution.weights.weight.size for layer in self.program.layers if layer.convolution
        )

    @property
    def macs(self) -> int:
        """Products of one sample: those with padding count, those with the zeros that a transposed convolution
        stuffs do not. Counting them would let a share of the peak exceed 1.
        """
        return sum(_products(layer) for layer in self.program.layers)

    def batch(self, size: int) -> Samples:
        """So many samples. Where there are fewer, they come again with their columns rotated, to be different."""
        rounds = range(-(-size // len(self.samples)))
        return np.concatenate([np.roll(self.samples, turn, axis=-1) for turn in rounds])[:size]


def _products(layer: Layer) -> int:
    if layer.convolution is None or not layer.convolution.is_transposed:
        return layer.macs
    return layer.convolution.weights.weight.size * layer.pooled_shape.pixels


def bundled_case(folder: Path = DIGITS) -> Case:
    """The network that comes with the package. Raises OSError where a file is missing."""
    with np.load(folder / "samples.npz", allow_pickle=False) as archive:
        images = archive["images"]
    network = read_network(folder / "network.yaml")
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    return Case(BUNDLED, resolve(network, checkpoint, MAX78000, images.shape[1:]), images)


def golden_case(folder: Path) -> Case:
    """A case of the golden data, told apart by its folder. Raises OSError where a file is missing."""
    facts = _facts(folder)
    sample = np.load(folder / "sample.npy", allow_pickle=False)
    program = _golden_program(folder, facts, sample.shape)
    samples = sample.reshape(1, *program.input_shape.array_shape)
    return Case(folder.name, program, samples, facts["output"]["sha256"], NETWORKS.get(folder.name))


def resized_case(golden: Path, name: str) -> Case:
    """A golden network on a larger image, which is its sample again and again. Raises OSError."""
    network, shape = RESIZED[name]
    folder = golden / "networks" / network
    sample = np.load(folder / "sample.npy", allow_pickle=False)
    tiles = [-(-wanted // size) for wanted, size in zip(shape, sample.shape, strict=True)]
    channels, rows, columns = shape
    enlarged = np.ascontiguousarray(np.tile(sample, tiles)[:channels, :rows, :columns])
    return Case(name, _golden_program(folder, _facts(folder), shape), enlarged[np.newaxis])


def network_case(name: str, golden: Path = GOLDEN) -> Case:
    """The case of this name. Raises OSError where a file is missing."""
    if name == BUNDLED:
        return bundled_case()
    return resized_case(golden, name) if name in RESIZED else golden_case(golden / "networks" / name)


def is_present(name: str, golden: Path) -> bool:
    """Whether the case's files are there."""
    folder = RESIZED[name][0] if name in RESIZED else name
    return name == BUNDLED or (golden / "networks" / folder).is_dir()


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return facts


def _golden_program(folder: Path, facts: Mapping[str, Any], input_shape: Sequence[int]) -> Program:
    network, checkpoint = (
        read_network(folder / "network.yaml"),
        read_checkpoint(folder / "checkpoint.pth.tar"),
    )
    return resolve(network, checkpoint, DEVICES[facts["device"]], input_shape, Options(**facts["options"]))
