"""Where a layer's data comes from: the layer before, other layers, the sample, rolling buffers; operands."""

from collections.abc import Callable

from ai8xsim.program.operations import Shape, Source

from .sketch import LONGEST_SIDE, Origin, Pen, any_case, layer_reference

READING = (
    ("before",) * 6 + ("one",) * 3 + ("channels",) * 3 + ("operands",) * 2 + ("pixels",) * 3 + ("shift",)
)
MOST_VALUES = 500
ELEMENTWISE = {
    "add": ("add", "Add"),
    "sub": ("sub", "Sub"),
    "or": ("or", "bitwise_or"),
    "xor": ("xor", "BitwiseXor"),
}
SAME: dict[str, Callable[[Shape], object]] = {
    "channels": lambda shape: (shape.rows, shape.columns),
    "pixels": lambda shape: shape.channels,
    "operands": lambda shape: shape.chw,
}


def draw_input(pen: Pen) -> tuple[Shape, int, bool]:
    """The inputs as one, the largest magnitude in them, and whether they need to be reshaped by `in_dim`."""
    mode = pen.one_of(READING)
    if any(window.bound for window in pen.sketch.windows) and pen.chance(40):
        mode = pen.one_of(("shift", "window"))  # what was written there shall be read
    if mode == "shift" and (shifted := _shifted_window(pen)):
        return shifted
    if mode in {"before", "shift"}:  # no buffer to shift
        place = pen.place
        origins = [pen.sketch.done[pen.sketch.order[place - 1]] if place else pen.sketch.sample]
    else:
        origins = _gathered(pen, mode)
        pen.keys["in_sequences"] = _references(pen, origins)
    pen.reads = tuple((origin.source, origin.index, 0) for origin in origins)
    shape, along_pixels = _joined([origin.shape for origin in origins])
    _draw_elementwise(pen, mode, origins, shape)
    return shape, max(origin.bound for origin in origins), along_pixels


def _gathered(pen: Pen, mode: str) -> list[Origin]:
    """Several origins that fit together; some of them may be the same."""
    origins = pen.sketch.origins()
    if mode == "window":
        return [pen.one_of([origin for origin in origins if origin.source is Source.BUFFER])]
    anchor = pen.one_of(origins)
    if mode == "one":
        return [anchor]
    same = SAME[mode]
    fitting = [origin for origin in origins if same(origin.shape) == same(anchor.shape)]
    if mode == "pixels":  # equal pixels would be joined along the channels
        fitting = [o for o in fitting if o.shape[1:3] != anchor.shape[1:3]] or fitting
    wanted = pen.one_of((2, 2, 2, 3, 4, 16) if mode == "operands" else (2, 2, 3))
    wanted = min(wanted, max(2, MOST_VALUES // (anchor.shape.channels * anchor.shape.pixels)))
    gathered = [anchor, *(pen.one_of(fitting) for _ in range(wanted - 1))]
    is_longer = mode == "pixels" and sum(origin.shape.pixels for origin in gathered) > LONGEST_SIDE
    return [anchor] if is_longer else gathered


def _shifted_window(pen: Pen) -> tuple[Shape, int, bool] | None:
    """A rolling buffer without its first rows, which leave it; only a pass-through layer may do that."""
    windows = [o for o in pen.sketch.origins() if o.source is Source.BUFFER and o.shape.rows > 1]
    if not windows:
        return None
    window = pen.one_of(windows)
    rows = pen.one_of(range(1, window.shape.rows))
    pen.operation = "passthrough"
    pen.reads = ((window.source, window.index, rows),)
    pen.keys |= {"buffer_shift": str(rows), "in_sequences": _references(pen, [window])}
    return window.shape._replace(rows=window.shape.rows - rows), window.bound, False


def _references(pen: Pen, origins: list[Origin]) -> str:
    texts = [_reference(pen, origin) for origin in origins]
    return texts[0] if len(texts) == 1 and not pen.chance(40) else f"[{', '.join(texts)}]"


def _reference(pen: Pen, origin: Origin) -> str:
    if origin.source is Source.SAMPLE:
        return pen.one_of(("-1", "input", "Input"))
    if origin.source is Source.BUFFER:
        return any_case(pen.draw, pen.sketch.windows[origin.index].name)
    return layer_reference(pen.draw, pen.sketch.slots[origin.index])


def _joined(shapes: list[Shape]) -> tuple[Shape, bool]:
    """The shape of several inputs as one, and whether they are joined along the pixels."""
    first = shapes[0]
    if len({(shape.rows, shape.columns) for shape in shapes}) == 1:
        return first._replace(channels=sum(shape.channels for shape in shapes)), False
    return Shape(first.channels, sum(shape.pixels for shape in shapes), 1, is_1d=True), True


def _draw_elementwise(pen: Pen, mode: str, origins: list[Origin], shape: Shape) -> None:
    """An element-wise operation over the inputs, or over blocks of the channels; or none."""
    operands = len(origins) if mode == "operands" else 0
    if not operands and pen.chance(50 if pen.operation == "passthrough" else 25):
        operands = pen.one_of(_block_counts(origins, shape) or [0])
    if not operands:
        return
    operation = pen.one_of(sorted(ELEMENTWISE))
    pen.element = (operation, operands)
    if operands != 2 or pen.chance(50):
        pen.keys["operands"] = str(operands)
    if pen.operation == "passthrough" and not pen.chance(30):
        pen.keys["op"] = pen.one_of(ELEMENTWISE[operation])
    else:
        pen.keys["eltwise"] = operation


def _block_counts(origins: list[Origin], shape: Shape) -> list[int]:
    """How many operands the channels of a single input can be divided into; several inputs are the operands."""
    return [n for n in range(2, 17) if shape.channels % n == 0 and len(origins) == 1]
