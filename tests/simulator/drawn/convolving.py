"""A layer's convolution: its geometry, and weights of its own, of another layer, or all ones."""

from math import prod

import numpy as np

from ai8xsim.program.operations import Shape

from .sketch import MOST_CHANNELS, Kernel, Pen, divisors, layer_reference, pair_text
from .weights import draw_kernel, store

MOST_PRODUCTS, MOST_OUTPUTS = 5000, 420
BYPASS_SHIFT = 7
DILATIONS = ((1, 1),) * 4 + ((2, 2), (3, 1), (1, 2), (7, 7))
SPELLINGS = {
    "conv1d": ("conv1d", "Conv1d"),
    "conv2d": ("conv2d", "Conv2d", "CONV2D"),
    "convtranspose2d": ("convtranspose2d", "ConvTranspose2d"),
    "linear": ("linear", "Linear", "FC", "mlp"),
    "passthrough": ("passthrough", "none", "None"),
}


def draw_convolution(pen: Pen, entering: Shape) -> tuple[Kernel | None, Shape]:
    """The weights and the output's shape; pass-through layers have none and change none."""
    if pen.operation == "passthrough":
        pen.keys.setdefault("op", pen.one_of(SPELLINGS["passthrough"]))
        return None, entering
    if pen.is_transposed and entering.pixels > 20:
        pen.operation = "conv2d"
    kernel = _shared(pen, entering) or _bypass(pen, entering) or _own(pen, entering)
    if pen.operation != "conv2d" or not pen.chance(30):
        pen.keys["op"] = pen.one_of(SPELLINGS[pen.operation])
    _say_kernel(pen, kernel)
    rows, columns = _output_size(pen, entering, kernel.kernel_size)
    if pen.chance(15):
        pen.keys["out_channels"] = str(kernel.outputs)
    if pen.is_transposed and pen.chance(30):
        pen.keys |= {"stride": "2", "output_pad": "1"}
    return kernel, Shape(kernel.outputs, rows, columns, is_1d=pen.operation == "conv1d")


def _shared(pen: Pen, entering: Shape) -> Kernel | None:
    """The weights of another layer, which may have them from a third one, and need not be executed."""
    fitting = [entry for entry in pen.sketch.kernels.items() if _fits(pen, entry[1], entering)]
    if not fitting or not pen.chance(60):
        return None
    index, kernel = pen.one_of(fitting)
    pen.keys["weight_source"] = layer_reference(pen.draw, pen.sketch.slots[index])
    if pen.chance(40):
        pen.keys |= {"output_shift": "3", "quantization": "8"}  # beside `weight_source` they do not count
    pen.sketch.kernels[pen.index] = kernel
    _draw_geometry(pen, entering, kernel.kernel_size)
    return kernel


def _fits(pen: Pen, kernel: Kernel, entering: Shape) -> bool:
    alike = {"conv2d", "linear"} if pen.operation in {"conv2d", "linear"} else {pen.operation}
    return (
        kernel.operation in alike
        and kernel.inputs == entering.channels
        and (pen.operation != "linear" or kernel.kernel_size == (1, 1))
        and kernel.kernel_size[0] <= entering.rows + 4
        and kernel.weight.size * _most_outputs(pen, entering) <= MOST_PRODUCTS
    )


def _most_outputs(pen: Pen, entering: Shape) -> int:
    """A bound of the output's pixels, as wide as padding can make it."""
    factor = 2 if pen.is_transposed else 1
    return (factor * entering.rows + 4) * (
        factor * entering.columns + (0 if pen.operation == "conv1d" else 4)
    )


def _bypass(pen: Pen, entering: Shape) -> Kernel | None:
    """Weights that are all one, as many as the layer has inputs and outputs."""
    if not pen.chance(8):
        return None
    size, channels = _draw_kernel_size(pen, entering), entering.channels
    groups = channels if pen.operation != "linear" and pen.chance(30) else 1
    outputs = channels
    is_much = channels**2 * prod(size) * entering.pixels > MOST_PRODUCTS
    if groups == 1 and (is_much or pen.chance(50)):
        outputs = pen.one_of((1, 2, 3))
        pen.keys["out_channels"] = str(outputs)
    shift = pen.one_of((BYPASS_SHIFT,) * 8 + tuple(range(-3, 7)))
    pen.keys["bypass"] = "true"
    if shift != BYPASS_SHIFT:
        pen.keys["output_shift"] = str(shift)
    _draw_geometry(pen, entering, size)
    ends = _ends(pen, channels, outputs, groups)
    return Kernel(pen.operation, np.ones((*ends, *size), np.int64), None, shift, groups)


def _ends(pen: Pen, inputs: int, outputs: int, groups: int) -> tuple[int, int]:
    return (inputs, outputs // groups) if pen.is_transposed else (outputs, inputs // groups)


def _own(pen: Pen, entering: Shape) -> Kernel:
    """New weights, in the place of this layer or of an idle one that this layer names as their source."""
    size, channels = _draw_kernel_size(pen, entering), entering.channels
    _draw_geometry(pen, entering, size)
    groups = 1
    if pen.operation != "linear" and pen.chance(25):
        groups = pen.one_of((channels, channels, *divisors(channels)))
    ends = _ends(pen, channels, _draw_outputs(pen, entering, size, groups), groups)
    kernel = draw_kernel(pen.draw, pen.sketch, pen.operation, (*ends, *size), groups)
    owner = next(pen.sketch.idle(), None)
    if owner is None or not pen.chance(50):
        pen.keys |= store(pen.draw, pen.sketch, pen.index, kernel)
        return kernel
    pen.sketch.keys[owner.index] = idle_keys(kernel) | store(pen.draw, pen.sketch, owner.index, kernel)
    pen.keys["weight_source"] = layer_reference(pen.draw, owner)
    pen.sketch.kernels[pen.index] = kernel
    return kernel


def _draw_outputs(pen: Pen, entering: Shape, size: tuple[int, int], groups: int) -> int:
    """How many outputs: few enough for the slow machine, divided by the groups."""
    pixels = prod(_output_size(pen, entering, size))
    products = prod(size) * (entering.channels // groups) * pixels
    most = min(MOST_PRODUCTS // products, MOST_OUTPUTS // pixels, MOST_CHANNELS)
    wanted = (
        groups
        if groups == entering.channels
        else pen.one_of((entering.channels, 1, 2, 3, 4, entering.channels, 8, 17, 64, 65))
    )
    return groups * max(1, min(wanted, most) // groups)


def _draw_kernel_size(pen: Pen, entering: Shape) -> tuple[int, int]:
    if pen.operation == "linear":
        return 1, 1
    if pen.is_transposed:
        return 3, 3
    if pen.operation == "conv1d":
        return pen.one_of([length for length in (1, 2, 3, 5, 8, 9) if length <= entering.rows + 4]), 1
    return pen.one_of(((1, 1), (3, 3), (3, 3)))


def _draw_geometry(pen: Pen, entering: Shape, size: tuple[int, int]) -> None:
    """Padding and dilation with which the kernel finds a place; they become keys unless they are defaults."""
    is_linear, is_conv1d = pen.operation == "linear", pen.operation == "conv1d"
    wanted_pad = 0 if is_linear else pen.one_of((1, 0, 2))
    wanted = (1, 1) if is_linear or pen.is_transposed else pen.one_of(DILATIONS)
    for dilation, pad in ((wanted, wanted_pad), (wanted, 2), ((1, 1), 2), ((1, 1), 1)):
        pen.dilation = (dilation[0], 1) if is_conv1d else dilation
        pen.padding = (pad, 0) if is_conv1d else (pad, pad)
        if min(_output_size(pen, entering, size)) > 0:
            break
    _say_geometry(pen)


def _say_geometry(pen: Pen) -> None:
    pad = pen.padding[0]
    if pad != (0 if pen.operation == "linear" else 1) or pen.chance(50):
        pen.keys["pad"] = str(pad)
    if pen.dilation != (1, 1):
        is_conv1d = pen.operation == "conv1d"
        pen.keys["dilation"] = str(pen.dilation[0]) if is_conv1d else pair_text(pen.draw, pen.dilation)


def _output_size(pen: Pen, entering: Shape, size: tuple[int, int]) -> tuple[int, int]:
    return _extent(pen, entering.rows, size[0], 0), _extent(pen, entering.columns, size[1], 1)


def _extent(pen: Pen, extent: int, taps: int, axis: int) -> int:
    padding = 2 * pen.padding[axis]
    if pen.is_transposed:
        return 2 * (extent - 1) - padding + 4
    return extent + padding - (taps - 1) * pen.dilation[axis]


def _say_kernel(pen: Pen, kernel: Kernel) -> None:
    default = {"conv1d": (9, 1), "linear": (1, 1)}.get(pen.operation, (3, 3))
    if pen.operation != "linear" and (kernel.kernel_size != default or pen.chance(50)):
        pen.keys["kernel_size"] = _size_text(pen.operation, kernel)
    if kernel.groups > 1 or pen.chance(5):
        pen.keys["groups"] = str(kernel.groups)


def _size_text(operation: str, kernel: Kernel) -> str:
    rows, columns = kernel.kernel_size
    return str(rows) if operation == "conv1d" else f"{rows}x{columns}"


def idle_keys(kernel: Kernel) -> dict[str, str]:
    """What a layer says that is never executed and only holds weights."""
    keys = {"processors": "0x1", "op": kernel.operation, "groups": str(kernel.groups)}
    if kernel.operation != "linear":
        keys["kernel_size"] = _size_text(kernel.operation, kernel)
    return keys
