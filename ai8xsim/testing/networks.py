"""Descriptions drawn from a grammar: layer by layer, each with a place in memory that nobody else needs."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import MAX78000, MAX78002, Device
from ai8xsim.layout import pass_count, processors_per_pass
from ai8xsim.network import NetworkDescription, parse_network
from ai8xsim.program import Options, Program, resolve
from ai8xsim.program.invent import random_checkpoint

CHANNELS = (1, 3, 4, 4, 8, 8, 12, 16, 20, 60, 64, 65, 100)
MOST_FLATTENED, MOST_INPUTS = 256, 1024  # pixels, and values, of a Linear layer
LARGEST_SIDE = 12
MOST_WORDS = 500  # of weight memory that a drawn network may take


@dataclass(frozen=True)
class DrawnNetwork:
    """A description that its device can carry out, and what it takes."""

    text: str
    device: Device
    input_shape: tuple[int, ...]
    options: Options = field(default_factory=Options)
    seed: int = 0

    def description(self) -> NetworkDescription:
        """The description, parsed."""
        reading = parse_network(self.text)
        if reading.network is None:
            raise AssertionError([d.sentence() for d in reading.diagnostics])
        return reading.network

    def checkpoint(self) -> Checkpoint:
        """Random weights."""
        return random_checkpoint(self.description(), self.device, self.input_shape, self.seed, self.options)

    def program(self) -> Program:
        """The program with these weights."""
        return resolve(self.description(), self.checkpoint(), self.device, self.input_shape, self.options)


@dataclass(frozen=True)
class _Data:
    """What a layer left in memory, and how a reader gets at it."""

    name: str
    channels: int
    rows: int
    columns: int
    is_1d: bool
    processors: int
    offset: int
    gap: int = 0
    bits: int = 8

    @property
    def end(self) -> int:
        words = self.rows * self.columns * pass_count(self.channels) * (self.gap + 1) * self.bits // 8
        return self.offset + 4 * words


class _Drawing:
    """A network while it is being drawn: its layers so far, and the data that is still needed."""

    def __init__(self, draw: st.DrawFn, device: Device) -> None:
        self.draw, self.device = draw, device
        self.layers: list[dict[str, Any]] = []
        self.words = 0

    def place(self, data: _Data, alive: list[_Data]) -> _Data | None:
        """The data where nobody is in its way, None if there is no such place."""
        starts = sorted({0, *(other.end for other in alive)})
        slack = 4 * self.draw(st.sampled_from([0, 0, 1, 5, 64]))
        for start in starts:
            moved = replace(data, offset=start + slack)
            is_free = all(moved.end <= other.offset or other.end <= moved.offset for other in alive)
            if is_free and moved.end <= self.device.data_memory_bytes:
                return moved
        return None

    def processors(self, channels: int) -> int:
        """A map for so many channels, mostly from processor 0 on."""
        count = processors_per_pass(channels)
        first = self.draw(st.sampled_from([0, 0, 0, 4, 8, 16, 32]))
        return (1 << count) - 1 << min(first, 64 - count) // 4 * 4

    def name(self) -> str:
        return f"layer_{len(self.layers)}"

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent


@st.composite
def networks(draw: st.DrawFn, device: Device | None = None, most_blocks: int = 5) -> DrawnNetwork:
    """Networks that `check` finds no fault with: convolutions of all kinds, pools, residual additions, concatenations.

    device: for which device; None draws one. most_blocks: a block is one to four layers.
    Each states its channels, so that `random_checkpoint` can make weights for it.
    """
    chosen = device or draw(st.sampled_from([MAX78000, MAX78002]))
    drawing = _Drawing(draw, chosen)
    is_1d = drawing.chance(25)
    side = st.integers(1, LARGEST_SIDE)
    rows, columns = draw(side), 1 if is_1d else draw(side)
    channels = draw(st.sampled_from(CHANNELS))
    processors = (1 << processors_per_pass(channels)) - 1
    data = _Data("input", channels, rows, columns, is_1d, processors, 0)
    shape = (channels, rows) if is_1d else (channels, rows, columns)
    for _ in range(draw(st.integers(1, most_blocks))):
        following = _draw_block(drawing, data)
        if following is None:
            break
        data = following
    if not drawing.layers:
        data = _first_resort(drawing, data)
    _finish(drawing)
    return DrawnNetwork(_text(drawing.layers), chosen, shape, seed=draw(st.integers(0, 99)))


def _draw_block(drawing: _Drawing, data: _Data) -> _Data | None:
    blocks = [_convolution, _convolution, _pass_through]
    if not data.is_1d:
        blocks += [_transposed, _linear]
    if data.channels <= 64 and not data.is_1d and drawing.layers:
        blocks += [_residual, _concatenation]
    block = drawing.draw(st.sampled_from(blocks))
    return block(drawing, data)


def _base(drawing: _Drawing, source: _Data) -> dict[str, Any]:
    return {
        "name": drawing.name(),
        "in_sequences": source.name,
        "processors": f"{source.processors:#018x}",
        "in_offset": f"{source.offset:#06x}",
    }


def _write(drawing: _Drawing, layer: dict[str, Any], output: _Data, alive: list[_Data]) -> _Data | None:
    """Add the layer if its output finds a place."""
    placed = drawing.place(replace(output, name=layer["name"]), alive)
    if placed is None:
        return None
    written = {
        "output_processors": f"{placed.processors:#018x}",
        "out_offset": f"{placed.offset:#06x}",
        **({"write_gap": placed.gap} if placed.gap else {}),
    }
    drawing.layers.append(layer | written)
    return placed


def _weighted(drawing: _Drawing, layer: dict[str, Any], inputs: int, outputs: int, taps: int) -> bool:
    """Say what belongs to the weights, if they find room."""
    bits = drawing.draw(st.sampled_from([8, 8, 8, 4, 2, 1]))
    kernels = processors_per_pass(outputs) * pass_count(outputs) * pass_count(inputs)
    words = -(-(kernels + 8) * taps * bits // 72) + 8
    if drawing.words + words > MOST_WORDS:
        return False
    drawing.words += words
    activation = drawing.draw(st.sampled_from(["None", "ReLU", "Abs"]))
    layer |= {"quantization": bits, "activate": activation, "out_channels": outputs}
    if drawing.chance(30):
        layer["output_shift"] = drawing.draw(st.integers(-8, 2))
    return True


def _pooled(drawing: _Drawing, layer: dict[str, Any], data: _Data) -> _Data:
    """Perhaps a pool in front; the data that it leaves."""
    largest = min(4, data.rows, data.rows if data.is_1d else data.columns)
    if largest < 2 or not drawing.chance(40):
        return data
    size, stride = drawing.draw(st.integers(2, largest)), drawing.draw(st.integers(1, 4))
    kind = drawing.draw(st.sampled_from(["max_pool", "avg_pool"]))
    layer |= {kind: size, "pool_stride": stride}
    rows, columns = ((extent - size) // stride + 1 for extent in (data.rows, max(data.columns, size)))
    return replace(data, rows=rows, columns=1 if data.is_1d else columns)


def _convolution(drawing: _Drawing, data: _Data) -> _Data | None:
    layer = _base(drawing, data)
    pooled = _pooled(drawing, layer, data)
    kernel = drawing.draw(st.sampled_from([1, 2, 3, 5, 9] if data.is_1d else [1, 3, 3]))
    most = 0 if data.is_1d and data.channels > 64 else min(2, kernel - 1)
    pad = drawing.draw(st.integers(0, most))
    rows = pooled.rows + 2 * pad - kernel + 1
    columns = 1 if data.is_1d else pooled.columns + 2 * pad - kernel + 1
    if min(rows, columns) < 1:
        kernel, pad, rows, columns = 1, 0, pooled.rows, pooled.columns
    outputs = drawing.draw(st.sampled_from(CHANNELS))
    processors = drawing.processors(outputs)
    can_be_depthwise = drawing.device.supports_depthwise and data.channels <= 64 and not data.is_1d
    if can_be_depthwise and drawing.chance(30):
        outputs, processors = data.channels, data.processors
        layer["groups"] = outputs
    if not _weighted(drawing, layer, data.channels, outputs, 9):
        return None
    size = kernel if data.is_1d else f"{kernel}x{kernel}"
    layer |= {"op": "conv1d" if data.is_1d else "conv2d", "kernel_size": size, "pad": pad}
    output = _Data("", outputs, rows, columns, data.is_1d, processors, 0)
    return _write(drawing, layer, output, [data])


def _transposed(drawing: _Drawing, data: _Data) -> _Data | None:
    layer, pad = _base(drawing, data), drawing.draw(st.integers(0, 2))
    rows, columns = (2 * (extent - 1) - 2 * pad + 4 for extent in (data.rows, data.columns))
    outputs = drawing.draw(st.sampled_from([1, 4, 8, 16]))
    if not 1 <= min(rows, columns) <= max(rows, columns) <= 2 * LARGEST_SIDE:
        return None
    if not _weighted(drawing, layer, data.channels, outputs, 9):
        return None
    layer |= {"op": "convtranspose2d", "kernel_size": "3x3", "pad": pad}
    output = _Data("", outputs, rows, columns, False, drawing.processors(outputs), 0)
    return _write(drawing, layer, output, [data])


def _linear(drawing: _Drawing, data: _Data) -> _Data | None:
    layer, outputs = _base(drawing, data), drawing.draw(st.sampled_from([1, 4, 10, 64, 65]))
    pixels = data.rows * data.columns
    if pixels > MOST_FLATTENED or data.channels * pixels > MOST_INPUTS:
        return None
    if not _weighted(drawing, layer, data.channels, outputs, pixels):
        return None
    layer |= {"op": "linear"} | ({"flatten": "true"} if pixels > 1 else {})
    output = _Data("", outputs, 1, 1, False, drawing.processors(outputs), 0)
    return _write(drawing, layer, output, [data])


def _pass_through(drawing: _Drawing, data: _Data) -> _Data | None:
    layer = _base(drawing, data) | {"op": "passthrough"}
    pooled = _pooled(drawing, layer, data) if data.channels <= 64 else data
    return _write(drawing, layer, replace(pooled, gap=0), [data])


def _same_size(drawing: _Drawing, source: _Data, outputs: int) -> dict[str, Any] | None:
    """A 3x3 convolution that keeps rows and columns."""
    layer = _base(drawing, source)
    if not _weighted(drawing, layer, source.channels, outputs, 9):
        return None
    return layer | {"op": "conv2d", "kernel_size": "3x3", "pad": 1}


def _residual(drawing: _Drawing, data: _Data) -> _Data | None:
    """Copy with a gap, convolve with a gap beside it, combine the two."""
    space = drawing.place(replace(data, name="", gap=1), [data])
    convolved = _same_size(drawing, data, data.channels)
    if space is None or convolved is None:
        return None
    copy = _base(drawing, data) | {"op": "passthrough", **_written(space)}
    drawing.layers.append(copy)
    beside = replace(space, offset=space.offset + 4)
    drawing.layers.append(convolved | {"name": drawing.name()} | _written(beside))
    operands = replace(space, name=f"[{copy['name']}, {drawing.layers[-1]['name']}]")
    operation = drawing.draw(st.sampled_from(["add", "sub", "xor", "or"]))
    layer = _base(drawing, operands) | {"op": operation}
    whole = replace(space, gap=0)
    taken = replace(space, rows=space.rows + 1)  # the second operand ends a word later
    return _write_or_undo(drawing, layer, whole, taken)


def _concatenation(drawing: _Drawing, data: _Data) -> _Data | None:
    """Two convolutions side by side, and one that reads both."""
    channels = drawing.draw(st.sampled_from([4, 8, 16]))  # equal counts: the vendor's loader demands it
    space = drawing.place(replace(data, name="", channels=4, gap=0), [data])
    ours, theirs = _same_size(drawing, data, channels), _same_size(drawing, data, channels)
    if space is None or ours is None or theirs is None:
        return None
    left = replace(space, channels=channels, processors=(1 << channels) - 1)
    right = replace(left, processors=left.processors << channels)
    drawing.layers.append(ours | _written(left))
    drawing.layers.append(theirs | {"name": drawing.name()} | _written(right))
    names = f"[{drawing.layers[-2]['name']}, {drawing.layers[-1]['name']}]"
    both = replace(space, name=names, channels=2 * channels, processors=left.processors | right.processors)
    reader = _same_size(drawing, both, 8)
    output = replace(both, channels=8, processors=drawing.processors(8))
    return _write_or_undo(drawing, reader, output, both)


def _written(data: _Data) -> dict[str, Any]:
    gap = {"write_gap": data.gap} if data.gap else {}
    return {"output_processors": f"{data.processors:#018x}", "out_offset": f"{data.offset:#06x}", **gap}


def _write_or_undo(
    drawing: _Drawing, layer: dict[str, Any] | None, output: _Data, taken: _Data
) -> _Data | None:
    """Add the last of three layers that belong together; if it finds no place, take the other two back."""
    placed = None if layer is None else _write(drawing, layer | {"name": drawing.name()}, output, [taken])
    if placed is None:
        del drawing.layers[-2:]
    return placed


def _first_resort(drawing: _Drawing, data: _Data) -> _Data:
    """A layer that always fits, where nothing else did."""
    layer = _base(drawing, data) | {"op": "passthrough"}
    return _write(drawing, layer, data, [data]) or data


def _finish(drawing: _Drawing) -> None:
    """Perhaps 32-bit output of the last layer."""
    last = drawing.layers[-1]
    offset, limit = int(last["out_offset"], 16), drawing.device.data_memory_bytes
    has_room = offset < limit - 16 * 4 * LARGEST_SIDE * LARGEST_SIDE
    is_wide = "quantization" in last and has_room and offset > int(last["in_offset"], 16)
    if is_wide and drawing.chance(40):
        last |= {"output_width": 32, "activate": "None"}
        last.pop("output_shift", None)


def _text(layers: list[dict[str, Any]]) -> str:
    lines = ["arch: drawn", "dataset: none", "layers:"]
    for layer in layers:
        entries = [f"{key}: {value}" for key, value in layer.items()]
        lines += [f"  - {entries[0]}", *(f"    {entry}" for entry in entries[1:])]
    return "\n".join(lines) + "\n"
