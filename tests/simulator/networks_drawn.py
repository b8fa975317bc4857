"""Random small networks over the whole description language: YAML text, checkpoint, samples, options.

`networks()` draws a network layer by layer along its path and keeps account of every shape, weight and shift,
so that nearly everything it draws resolves, and so that what the program must say is known without the resolver.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002, Options, Program, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.network import parse_network
from ai8xsim.program.operations import Shape, Source

from .drawn.convolving import draw_convolution, idle_keys
from .drawn.reading import draw_input
from .drawn.shaping import after_pool, draw_crop, draw_flatten, draw_pool, draw_reshape
from .drawn.sketch import (
    INT8_BOUND,
    INT32_BOUND,
    Expected,
    Origin,
    Pen,
    Sketch,
    Slot,
    chance,
    layer_reference,
)
from .drawn.values import Int64s, draw_samples
from .drawn.weights import draw_kernel, store
from .drawn.writing import add_window, draw_insertion, draw_output_stage, say_what_has_no_effect

OPERATIONS = (
    *(("conv2d",) * 4 + ("conv1d",) * 3 + ("linear",) * 2),
    "convtranspose2d",
    *("passthrough",) * 3,
)
CHANNELS = (1, 2, 3, 4, 6, 8, 12, 16, 48, 64, 65)
EXTENTS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 20)
NAMES = ("conv_a", "Conv_B", "head", "UPPER", "e5")
SYNONYMS = {
    "op": ("operation", "operator", "convolution"),
    "activate": ("activation",),
    "groups": ("conv_groups",),
    "read_gap": ("in_skip",),
    "bias_group": ("bias_quadrant",),
}
PROCESSORS = ("1", "0x3", "0xf00f.0000.0000.0001")
MOST_INPUT_VALUES = 300


@dataclass(frozen=True, eq=False)
class DrawnNetwork:
    """A network, its checkpoint, samples for it, and what the program must say of its executed layers."""

    text: str
    checkpoint: Checkpoint
    device: Device
    options: Options
    input_shape: tuple[int, ...]
    samples: Int64s
    expected: tuple[Expected, ...]
    outputs: tuple[int, ...]

    @cached_property
    def program(self) -> Program:
        """The program, resolved once."""
        return self.resolved()

    def resolved(self) -> Program:
        """The program, resolved anew. Raises ResolveError."""
        reading = parse_network(self.text)
        assert reading.network is not None, [d.sentence() for d in reading.diagnostics]
        return resolve(reading.network, self.checkpoint, self.device, self.input_shape, self.options)

    def __repr__(self) -> str:
        """Everything that is needed to repeat it by hand."""
        stored = "\n".join(map(str, self.checkpoint.layers))
        return (
            f"{self.device}, {self.options}, input {self.input_shape}\n{self.text}\n{stored}\n{self.samples}"
        )


@st.composite
def networks(draw: st.DrawFn, with_window: bool = False) -> DrawnNetwork:
    """One to five layers, executed in any order, with a batch of one to three samples.

    with_window: the network surely has a rolling buffer.
    """
    sketch = _draw_sketch(draw, with_window)
    for place in range(len(sketch.order)):
        _draw_layer(Pen(draw, sketch, place, draw(st.sampled_from(OPERATIONS)), {}))
    _draw_idle_layers(draw, sketch)
    _draw_path(draw, sketch)
    shape = sketch.input_shape.array_shape
    options = Options(
        avg_pool_rounding=chance(draw, 40), output_width=sketch.output_width, start_layer=sketch.order[0]
    )
    return DrawnNetwork(
        text=_text(draw, sketch),
        checkpoint=_checkpoint(draw, sketch),
        device=sketch.device,
        options=options,
        input_shape=shape,
        samples=draw_samples(draw, (draw(st.integers(1, 3)), *shape)),
        expected=tuple(sketch.expected),
        outputs=_outputs(sketch),
    )


def _draw_sketch(draw: st.DrawFn, with_window: bool) -> Sketch:
    slots = _draw_slots(draw)
    sketch = Sketch(
        device=draw(st.sampled_from((MAX78000, MAX78002))),
        slots=slots,
        order=_draw_order(draw, len(slots)),
        input_shape=_draw_input_shape(draw),
        windows=[],
    )
    if with_window or chance(draw, 30):
        rows, columns = draw(st.integers(2, 5)), draw(st.sampled_from((1, 1, 2, 3)))
        is_1d = columns == 1 and chance(draw, 50)
        add_window(draw, sketch.windows, Shape(draw(st.sampled_from((1, 2, 3, 4))), rows, columns, is_1d))
    return sketch


def _draw_slots(draw: st.DrawFn) -> tuple[Slot, ...]:
    """Sequence numbers that may have gaps, and names for some layers."""
    count = draw(st.sampled_from((1, 1, 2, 2, 3, 3, 4, 5)))
    gaps = [draw(st.sampled_from((0, 0, 0, 1, 6))) for _ in range(count)]
    names = draw(st.permutations(NAMES))
    return tuple(
        Slot(index, index + sum(gaps[: index + 1]), names[index] if chance(draw, 50) else None)
        for index in range(count)
    )


def _draw_order(draw: st.DrawFn, count: int) -> tuple[int, ...]:
    """The executed layers: from the first one (or a later one) on, in turn or in jumps, to the end or to a stop."""
    first = draw(st.integers(0, count - 1)) if chance(draw, 10) else 0
    others = list(range(first + 1, count))
    if chance(draw, 25):
        others = list(draw(st.permutations(others)))
    if chance(draw, 25):
        others = others[: draw(st.integers(0, len(others)))]
    return (first, *others)


def _draw_input_shape(draw: st.DrawFn) -> Shape:
    channels = draw(st.sampled_from(CHANNELS))
    most = max(1, MOST_INPUT_VALUES // channels)
    rows = draw(st.sampled_from([n for n in (*EXTENTS, 33) if n <= most]))
    if chance(draw, 30):
        return Shape(channels, rows, 1, is_1d=True)
    columns = draw(st.sampled_from([n for n in EXTENTS if n * rows <= max(rows, most)]))
    return Shape(channels, rows, columns)


def _draw_layer(pen: Pen) -> None:
    """One layer, in the order in which the chip works."""
    joined, bound, must_reshape = draw_input(pen)
    operands = pen.element[1] if pen.element else 1
    split = joined._replace(channels=joined.channels // operands)
    crop = draw_crop(pen, split)
    operand = draw_reshape(pen, split._replace(rows=split.rows - sum(crop)), must_reshape)
    pool = draw_pool(pen, operand)
    entering = draw_flatten(pen, operand, after_pool(operand, pool))
    bound = INT8_BOUND if pen.element else bound
    kernel, output = draw_convolution(pen, entering)
    bits, activation = draw_output_stage(pen, kernel)
    if kernel is not None:
        is_wide = bits == 32 and activation == "none"
        bound = min(kernel.largest_sum(bound), INT32_BOUND) if is_wide else INT8_BOUND
    draw_insertion(pen, output, bound)
    say_what_has_no_effect(pen)
    pen.sketch.keys[pen.index] = {"processors": pen.one_of(PROCESSORS), **pen.keys}
    pen.sketch.done[pen.index] = Origin(Source.LAYER, pen.index, output, bound)
    slot = pen.sketch.slots[pen.index]
    pen.sketch.expected.append(
        Expected(
            index=slot.index,
            number=slot.number,
            name=slot.name,
            operator=pen.operation,
            inputs=pen.reads,
            element=pen.element and (*pen.element, pen.keys.get("pool_first") != "false"),
            crop=crop,
            operand_shape=operand,
            pool=pool,
            flatten="flatten" in pen.keys,
            kernel=kernel,
            padding=pen.padding,
            dilation=pen.dilation,
            bits=bits,
            activation=activation,
            output_shape=output,
        )
    )


def _draw_idle_layers(draw: st.DrawFn, sketch: Sketch) -> None:
    """Layers beside the path; those behind the first executed one take weights, which nobody may use."""
    for slot in list(sketch.idle()):
        kernel = draw_kernel(draw, sketch, "conv2d", (2, 3, 1, 1), groups=1)
        sketch.keys[slot.index] = {"processors": "1", "op": "none"}
        if chance(draw, 60):
            sketch.keys[slot.index] = idle_keys(kernel) | store(draw, sketch, slot.index, kernel)
    for slot in sketch.slots:
        sketch.keys.setdefault(slot.index, {"processors": "1", "op": "linear"})


def _draw_path(draw: st.DrawFn, sketch: Sketch) -> None:
    """`next_sequence` wherever the path does not simply go on; `simulated_sequence` counts before it."""
    for place, index in enumerate(sketch.order):
        following = sketch.order[place + 1 : place + 2]
        goes_on = following == (index + 1,) or (not following and index == len(sketch.slots) - 1)
        if goes_on and not chance(draw, 20):
            continue
        target = layer_reference(draw, sketch.slots[following[0]]) if following else _end(draw, sketch)
        if chance(draw, 25):
            sketch.keys[index]["simulated_sequence"] = target
            target = draw(st.sampled_from(("stop", str(sketch.slots[0].number))))
        sketch.keys[index]["next_sequence"] = target


def _end(draw: st.DrawFn, sketch: Sketch) -> str:
    return draw(st.sampled_from(("stop", "Stop", "-1", str(sketch.slots[-1].number + 1))))


def _outputs(sketch: Sketch) -> tuple[int, ...]:
    last = sketch.order[-1]
    return tuple(i for i in sketch.order if i == last or sketch.keys[i].get("output") == "true")


def _checkpoint(draw: st.DrawFn, sketch: Sketch) -> Checkpoint:
    """The weights in the order of the description, and perhaps some that nobody uses."""
    layers = [sketch.stored[index] for index in sorted(sketch.stored)]
    if chance(draw, 10):
        unused = np.ones((1, 1, 3, 3), np.int64)
        layers.append(CheckpointLayer("unused", "unused.op.weight", unused))
    arch = draw(st.sampled_from((None, "drawn", "DRAWN")))
    return Checkpoint("drawn.pth.tar", arch, None, tuple(layers))


def _text(draw: st.DrawFn, sketch: Sketch) -> str:
    lines = ["arch: Drawn", "dataset: none", *_buffer_lines(sketch), "layers:"]
    slots = list(sketch.slots)
    is_shuffled = chance(draw, 20)
    if is_shuffled:
        slots = list(draw(st.permutations(slots)))
    counted = 0
    for slot in slots:
        keys = {} if slot.name is None else {"name": slot.name}
        if is_shuffled or slot.number != counted or chance(draw, 30):
            keys["sequence"] = str(slot.number)
        counted = slot.number + 1
        lines += _entry_lines({_spelled(draw, k): v for k, v in (keys | sketch.keys[slot.index]).items()})
    return "\n".join(lines) + "\n"


def _spelled(draw: st.DrawFn, key: str) -> str:
    return draw(st.sampled_from((key, key, *SYNONYMS[key]))) if key in SYNONYMS else key


def _buffer_lines(sketch: Sketch) -> list[str]:
    lines = ["data_buffer:"] if sketch.windows else []
    for window in sketch.windows:
        shape = window.shape
        dim = str(shape.rows) if shape.is_1d else f"[{shape.rows}, {shape.columns}]"
        keys = {"name": window.name, "processors": hex(window.processors), "offset": hex(window.offset)}
        lines += _entry_lines(keys | {"channels": str(shape.channels), "dim": dim})
    return lines


def _entry_lines(keys: dict[str, str]) -> list[str]:
    return [
        f"  {'-' if place == 0 else ' '} {key}: {value}" for place, (key, value) in enumerate(keys.items())
    ]
