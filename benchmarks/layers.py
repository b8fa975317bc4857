"""Single layers of the shapes that networks are made of, as real programs with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log2, prod
from types import MappingProxyType

import numpy as np

from ai8xsim import MAX78000, MAX78002, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.network import parse_network
from benchmarks.cases import Case

SAMPLES = 16
SPREAD = 74 * 74  # the standard deviation of a product of two evenly drawn bytes


@dataclass(frozen=True)
class LayerShape:
    """A layer's words in the description, its weights' shape as PyTorch has it, and its input's."""

    keys: str
    weight: tuple[int, ...]
    input_shape: tuple[int, ...]
    device: Device = field(default=MAX78000)

    @property
    def products(self) -> int:
        """How many products a sum has."""
        return prod(self.weight[1:])


def convolution(channels: int, outputs: int, side: int, kernel_size: int = 3) -> LayerShape:
    """A square Conv2d that keeps the image's size, with ReLU."""
    keys = f"op: conv2d, kernel_size: {kernel_size}x{kernel_size}, pad: {kernel_size // 2}, activate: ReLU"
    return LayerShape(keys, (outputs, channels, kernel_size, kernel_size), (channels, side, side))


def linear(inputs: int, outputs: int) -> LayerShape:
    """A Linear layer without activation."""
    return LayerShape("op: linear, flatten: true", (outputs, inputs), (inputs, 1, 1))


LAYERS: Mapping[str, LayerShape] = MappingProxyType(
    {
        "32>32 3x3 at 32x32": convolution(32, 32, 32),
        "32>64 3x3 at 32x32": convolution(32, 64, 32),
        "64>64 3x3 at 32x32": convolution(64, 64, 32),
        "64>128 3x3 at 16x16": convolution(64, 128, 16),
        "48>64 3x3 at 88x88": convolution(48, 64, 88),
        "32>16 3x3 at 16x16": convolution(32, 16, 16),
        "3>64 3x3 at 32x32": convolution(3, 64, 32),
        "1>60 3x3 at 28x28": convolution(1, 60, 28),
        "64>64 1x1 at 8x8": convolution(64, 64, 8, 1),
        "512>512 1x1 at 8x8": convolution(512, 512, 8, 1),
        "Conv1d 128>64 k3 at 128": LayerShape(
            "op: conv1d, kernel_size: 3, pad: 1, activate: ReLU", (64, 128, 3), (128, 128)
        ),
        "depthwise 64 3x3 at 32x32": LayerShape(
            "op: conv2d, kernel_size: 3x3, pad: 1, groups: 64, activate: ReLU",
            (64, 1, 3, 3),
            (64, 32, 32),
            MAX78002,
        ),
        "ConvTranspose2d 64>64 at 22x22": LayerShape(
            "op: convtranspose2d, kernel_size: 3x3, pad: 1, activate: ReLU", (64, 64, 3, 3), (64, 22, 22)
        ),
        "Linear 1024>1024": linear(1024, 1024),
        "Linear 512>10": linear(512, 10),
    }
)


def layer_case(name: str, shape: LayerShape, samples: int = SAMPLES) -> Case:
    """The layer as a network of its own, with evenly drawn weights and samples.

    Its processor map is a stub: the functional level never looks at it, and so sizes that no memory holds can be
    measured too.
    """
    random = np.random.default_rng(0)
    shift = -max(0, round(log2(shape.products**0.5 * SPREAD / 128 / 64)))  # most sums stay within int8
    text = (
        "arch: layer\ndataset: none\nlayers:\n"
        f"- {{name: layer, processors: 1, out_offset: 0, output_shift: {max(shift, -15)}, {shape.keys}}}\n"
    )
    reading = parse_network(text)
    if reading.network is None:
        raise ValueError("; ".join(found.sentence() for found in reading.diagnostics))
    weight = random.integers(-128, 128, shape.weight)
    bias = random.integers(-128, 128, _outputs(shape)) * 128
    stored = Checkpoint("drawn", None, None, (CheckpointLayer("layer", "layer.weight", weight, bias),))
    program = resolve(reading.network, stored, shape.device, shape.input_shape)
    return Case(name, program, random.integers(-128, 128, (samples, *shape.input_shape)).astype(np.int8))


def _outputs(shape: LayerShape) -> int:
    return shape.weight[1] if "convtranspose" in shape.keys else shape.weight[0]
