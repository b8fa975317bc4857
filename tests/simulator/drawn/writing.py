"""What a layer does with its result: output stage, rolling buffers; and keys that must change nothing."""

from hypothesis import strategies as st

from ai8xsim.program.operations import Shape

from .sketch import LONGEST_SIDE, Kernel, Pen, Window, divisors

ACTIVATIONS = {"none": "None", "relu": "ReLU", "abs": "Abs"}
WITHOUT_EFFECT = {
    "in_offset": ("0x2000",),
    "write_gap": ("1", "3"),
    "read_gap": ("1",),
    "streaming": ("true", "false"),
    "in_channel_skip": ("2",),
    "bias_group": ("0", "[0, 1]"),
    "tcalc": ("true",),
    "readahead": ("true",),
    "calcx4": ("true",),
    "data_format": ("HWC", "chw"),
}


def draw_output_stage(pen: Pen, kernel: Kernel | None) -> tuple[int, str]:
    """Bits and activation. A last layer with 32 bits has no activation."""
    if kernel is None:
        return 8, "none"
    activation, bits = pen.one_of(("none", "none", "relu", "abs")), 8
    if pen.chance(30 if pen.is_last else 12):
        bits = 32
        activation = "none" if pen.is_last else activation
        _say_width(pen)
    if activation != "none" or pen.chance(20):
        pen.keys["activate"] = ACTIVATIONS[activation]
    return bits, activation


def _say_width(pen: Pen) -> None:
    """Wide by its key; the last layer also by an option, which overrides the key."""
    if not pen.is_last or not pen.chance(40):
        pen.keys["output_width"] = "32"
        return
    pen.sketch.output_width = 32
    if pen.chance(20):
        pen.keys["output_width"] = "8"


def draw_insertion(pen: Pen, output: Shape, bound: int) -> None:
    """Write the output into the last rows of a window, of one that is made to fit, or nowhere."""
    if "buffer_shift" in pen.keys or not pen.chance(25):
        return
    fitting = [(w, rows) for w in pen.sketch.windows for rows in _rows_that_fit(w.shape, output)]
    if fitting:
        window, rows = pen.one_of(fitting)
    elif len(pen.sketch.windows) < 2 and output.pixels <= LONGEST_SIDE:
        window, rows = _fitting_window(pen, output)
    else:
        return
    window.bound = max(window.bound, bound)
    pen.keys |= {"buffer_insert": str(rows), "output_processors": hex(window.processors)}
    pen.keys["out_offset"] = hex(pen.one_of((window.offset, window.last_word)))


def _rows_that_fit(window: Shape, output: Shape) -> list[int]:
    if output.channels != window.channels:
        return []
    possible = range(1, window.rows + 1)
    return [rows for rows in possible if output.pixels in {window.columns, rows * window.columns}]


def _fitting_window(pen: Pen, output: Shape) -> tuple[Window, int]:
    rows = pen.one_of(divisors(output.pixels))
    columns = output.pixels // rows
    if rows == 1:  # then one row may stand for several
        rows = pen.one_of((1, 1, 2))
    length = min(rows + pen.one_of(range(4)), LONGEST_SIDE)
    shape = Shape(output.channels, length, columns, is_1d=columns == 1 and pen.chance(50))
    return add_window(pen.draw, pen.sketch.windows, shape), rows


def add_window(draw: st.DrawFn, windows: list[Window], shape: Shape) -> Window:
    """A new rolling buffer, behind the others; a layer writes to the one that lies where it writes."""
    number = len(windows)
    processors = draw(st.sampled_from((0xF0, 0xF000)))
    windows.append(Window(f"Window{number}", shape, processors, 0x4000 + number * 0x2000))
    return windows[-1]


def say_what_has_no_effect(pen: Pen) -> None:
    """Keys that concern addresses, speed or generated code."""
    pen.keys.setdefault("out_offset", "0x1000")
    if pen.chance(15):
        pen.keys["output"] = pen.one_of(("true", "false"))
    if pen.chance(15):
        key = pen.one_of(sorted(WITHOUT_EFFECT))
        pen.keys[key] = pen.one_of(WITHOUT_EFFECT[key])
