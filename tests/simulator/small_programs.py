"""Programs that a test can read at a glance: a few lines of YAML and the weights they need."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ai8xsim import MAX78000, Options, Program, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.network import NetworkDescription, parse_network

WINDOW = "- {name: window, processors: 0xf0, channels: 2, dim: 4, offset: 0x4000}"


def program_of(
    layers: str,
    *weights: npt.ArrayLike,
    input_shape: Sequence[int] = (2, 4, 4),
    device: Device = MAX78000,
    options: Options = Options(),  # noqa: B008  (frozen)
    buffers: str = "",
) -> Program:
    """The program of layers (YAML flow mappings, one a line); the weights are stored in their order."""
    stored = tuple(stored_layer(f"layer{place}", weight) for place, weight in enumerate(weights))
    return resolve(
        network_of(layers, buffers), Checkpoint("x.pth.tar", None, None, stored), device, input_shape, options
    )


def network_of(layers: str, buffers: str = "") -> NetworkDescription:
    """The description with these layers and rolling buffers."""
    entries = "\n".join(_entry(line.strip()) for line in layers.strip().split("\n"))
    text = f"arch: small\ndataset: none\nlayers:\n{entries}\n"
    if buffers:
        text += f"data_buffer:\n{buffers.strip()}\n"
    reading = parse_network(text)
    assert reading.network is not None, [d.sentence() for d in reading.diagnostics]
    return reading.network


def _entry(line: str) -> str:
    """A layer's line, with one processor and offset 0 where it says nothing else."""
    defaults = {"processors": 1, "out_offset": 0}
    missing = [
        f"{key}: {value}, " for key, value in defaults.items() if not re.search(rf"(?<!_){key}:", line)
    ]
    return line.replace("- {", "- {" + "".join(missing), 1)


def stored_layer(name: str, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> CheckpointLayer:
    """Weights as a checkpoint holds them, of 8 bits."""
    scaled = None if bias is None else np.asarray(bias, np.int64) * 128
    return CheckpointLayer(name, f"{name}.weight", np.asarray(weight, np.int64), scaled)


def random_int8(seed: int, *shape: int) -> npt.NDArray[np.int8]:
    """int8 values, a third of them at the ends of the range."""
    random = np.random.default_rng(seed)
    values = random.integers(-128, 128, shape)
    ends = random.choice([-128, 127], shape)
    return np.where(random.random(shape) < 0.33, ends, values).astype(np.int8)


def mixed_program() -> Program:
    """Six layers, two of them outputs: pool, saturation, element-wise, Conv1d, a rolling buffer, Linear."""
    layers = """
    - {name: first, op: conv2d, pad: 1, max_pool: 2, pool_stride: 2, output_shift: -1, activate: ReLU, output: true}
    - {name: sum, op: add, in_sequences: [first, first]}
    - {name: window_in, op: linear, flatten: true, output_shift: -3, buffer_insert: 1, output_processors: 0xf0}
    - {name: Length, op: conv1d, kernel_size: 3, pad: 1, in_sequences: window, output_shift: -1}
    - {name: moved, op: none, in_sequences: window, buffer_shift: 1}
    - {name: last, op: linear, flatten: true, in_sequences: Length, output_width: 32}
    """
    weights = [
        random_int8(1, 3, 2, 3, 3),
        random_int8(2, 2, 12),
        random_int8(3, 4, 2, 3),
        random_int8(4, 5, 16),
    ]
    return program_of("\n".join(map(str.strip, layers.split("\n"))), *weights, buffers=WINDOW)
