"""Our own descriptions: sound, the same on both levels, and with the vendor's trained weights bit for bit the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import (
    DEVICES,
    Machine,
    NetworkDescription,
    Options,
    Severity,
    Simulator,
    check,
    read_checkpoint,
    read_network,
    render,
    resolve,
)
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.program.invent import random_checkpoint

from .conftest import GOLDEN, ROOT
from .test_golden import expected


@dataclass(frozen=True)
class Described:
    """One description, what it runs on, and the golden case whose trained weights it takes."""

    file: str
    device: str
    input_shape: tuple[int, ...]
    case: str = ""
    fifo: bool = False

    @property
    def network(self) -> NetworkDescription:
        return read_network(ROOT / "networks" / self.file)

    @property
    def options(self) -> Options:
        return Options(fifo=self.fifo)

    @property
    def folder(self) -> Path:
        return GOLDEN / "networks" / self.case

    def checkpoint(self) -> Checkpoint:
        return random_checkpoint(self.network, DEVICES[self.device], self.input_shape, 0, self.options)


NETWORKS = (
    Described("digits/network.yaml", "MAX78000", (1, 8, 8)),
    Described("mnist.yaml", "MAX78000", (1, 28, 28), "demo-mnist-max78000"),
    Described("cifar10.yaml", "MAX78000", (3, 32, 32), "demo-cifar-10-max78000"),
    Described("cats_dogs.yaml", "MAX78000", (3, 128, 128), "demo-cats-dogs-max78000", fifo=True),
    Described("kws20_v3.yaml", "MAX78000", (128, 128), "demo-kws20_v3-max78000"),
    Described("faceid.yaml", "MAX78000", (3, 160, 120), "demo-faceid-max78000", fifo=True),
    Described("tiny_ssd.yaml", "MAX78000", (3, 74, 74), "demo-svhn_tinierssd-max78000"),
    Described("unet_folded.yaml", "MAX78000", (48, 48, 48), "demo-camvid_unet-max78000"),
    Described("autoencoder.yaml", "MAX78000", (256, 3), "demo-autoencoder-max78000"),
    Described("residual.yaml", "MAX78000", (3, 32, 32), "rnd-cifar-100-residual-max78000"),
    Described("mobilenet_v2.yaml", "MAX78002", (3, 32, 32), "rnd-cifar-100-mobilenet-v2-0.5-max78002"),
    Described("bayer_to_rgb.yaml", "MAX78002", (4, 64, 64)),
    Described("action_tcn.yaml", "MAX78000", (48, 60, 60)),
    Described("streaming.yaml", "MAX78000", (3, 240, 320), fifo=True),
    Described("effnet.yaml", "MAX78002", (3, 64, 64)),
)
TRAINED = [entry for entry in NETWORKS if entry.case]


def name_of(entry: Described) -> str:
    return entry.file


def test_every_description_is_in_the_table() -> None:
    paths = (path for path in ROOT.glob("networks/**/*.yaml") if path.stem != "qat_policy")
    files = {path.relative_to(ROOT / "networks").as_posix() for path in paths}
    assert {entry.file for entry in NETWORKS} == files


def faults(entry: Described, checkpoint: Checkpoint, sample: Any) -> list[str]:
    """What `check` says of the description, notes left out, and what the checkpoint says of itself."""
    findings = check(entry.network, DEVICES[entry.device], checkpoint, sample, entry.options)
    assert not findings.not_run
    own = set(checkpoint.diagnostics)
    return [render(d) for d in findings if d.severity is not Severity.NOTE and d not in own]


@pytest.mark.parametrize("entry", NETWORKS, ids=name_of)
def test_it_is_sound_and_both_levels_agree_with_random_weights(entry: Described) -> None:
    checkpoint = entry.checkpoint() if entry.file != "digits/network.yaml" else bundled()
    sample = np.random.default_rng(1).integers(-128, 128, entry.input_shape)
    assert faults(entry, checkpoint, sample) == []
    program = resolve(entry.network, checkpoint, DEVICES[entry.device], entry.input_shape, entry.options)
    samples = np.stack([sample, -1 - sample])
    trace = Machine(program).run(samples, keep_memory=True)
    assert trace.misreads == ((), ())
    assert Simulator(program).session().run(samples).first_difference(trace) is None
    assert any(layer.output.any() for layer in trace), "all outputs are zero"


def bundled() -> Checkpoint:
    return read_checkpoint(ROOT / "networks" / "digits" / "checkpoint.pth.tar")


@pytest.mark.parametrize("entry", TRAINED, ids=name_of)
def test_the_vendors_weights_give_the_vendors_outputs(entry: Described) -> None:
    if not entry.folder.is_dir():
        pytest.skip("the golden vectors are not beside this repository")
    checkpoint, sample = (
        read_checkpoint(entry.folder / "checkpoint.pth.tar"),
        np.load(entry.folder / "sample.npy"),
    )
    assert faults(entry, checkpoint, sample) == []
    program = resolve(entry.network, checkpoint, DEVICES[entry.device], sample.shape, entry.options)
    wanted = [(layer["shape"], layer["sha256"]) for layer in expected(entry.folder)["layers"]]
    got = [(list(layer.shape), layer.digest) for layer in Simulator(program).run(sample)]
    if entry.case == "demo-autoencoder-max78000":
        wanted, got = wanted[:3], got[:3]
    assert got == wanted
    assert not Machine(program).run(sample).misreads[0]


def test_the_autoencoder_follows_its_model_and_the_vendors_description_does_not() -> None:
    """The vendor's YAML has a ReLU on the bottleneck that the trained model lacks: it loses every negative value."""
    entry = next(entry for entry in NETWORKS if entry.file == "autoencoder.yaml")
    if not entry.folder.is_dir():
        pytest.skip("the golden vectors are not beside this repository")
    checkpoint, sample = (
        read_checkpoint(entry.folder / "checkpoint.pth.tar"),
        np.load(entry.folder / "sample.npy"),
    )
    device = DEVICES[entry.device]
    ours = Simulator(resolve(entry.network, checkpoint, device, sample.shape)).run(sample)
    theirs = read_network(entry.folder / "network.yaml")
    vendor = Simulator(resolve(theirs, checkpoint, device, sample.shape)).run(sample)
    difference = ours.first_difference(vendor)
    assert difference is not None
    assert difference.layer == 3
    bottleneck = ours.layers[3].output
    assert np.array_equal(np.maximum(bottleneck, 0), vendor.layers[3].output)
    assert (bottleneck < 0).any()
    assert int((ours.output != vendor.output).sum()) == 698  # `spec/TRAINING.md`, 10: 698 of 768
