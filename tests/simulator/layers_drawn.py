"""One layer, drawn step by step in the order in which the chip works: its keys, and what is expected of it.

Every step looks at the data that arrives and draws only what fits, so that nearly every network resolves.
"""

from collections.abc import Callable, Iterable
from math import isqrt, prod

from hypothesis import strategies as st

from ai8xsim.program.operations import Shape, Source

from .sketch import (
    INT8_BOUND,
    Expected,
    Kernel,
    Origin,
    Pool,
    Sketch,
    Window,
    any_case,
    chance,
    layer_reference,
    pair_text,
)
from .weights_drawn import draw_kernel, store

OPERATIONS = ("conv2d",) * 4 + ("conv1d",) * 3 + ("linear",) * 2 + ("convtranspose2d", "passthrough", "passthrough")
READING = ("before",) * 6 + ("one",) * 3 + ("channels",) * 3 + ("operands",) * 2 + ("pixels",) * 2 + ("shift",)
SPELLINGS = {
    "conv1d": ("Conv1d", "conv1d"),
    "conv2d": ("Conv2d", "conv2d", "CONV2D"),
    "convtranspose2d": ("ConvTranspose2d", "convtranspose2d"),
    "linear": ("Linear", "FC", "mlp"),
    "passthrough": ("Passthrough", "none"),
    "add": ("Add", "add"),
    "sub": ("Sub", "sub"),
    "or": ("Or", "bitwise_or"),
    "xor": ("Xor", "BitwiseXor"),
}
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
MOST_VALUES, MOST_CHANNELS, MOST_PRODUCTS = 420, 72, 5000
BYPASS_SHIFT = 7

Element = tuple[str, int]


class LayerDrawing:
    """Draws the layer at a place of the path into the sketch."""

    def __init__(self, draw: st.DrawFn, sketch: Sketch, place: int) -> None:
        self._draw, self._sketch = draw, sketch
        self._place, self._index = place, sketch.order[place]
        self._is_last = place == len(sketch.order) - 1
        self._keys: dict[str, str] = {"processors": draw(st.sampled_from(("1", "0x3", "0xf00f.0000.0000.0001")))}
        self._operation: str = draw(st.sampled_from(OPERATIONS))
        self._reads: list[tuple[Source, int, int]] = []
        self._element: Element | None = None
        self._padding, self._dilation = (0, 0), (1, 1)

    def run(self) -> None:
        """Draw the layer; the sketch then has its keys, its output and what the program must say of it."""
        joined, bound, must_reshape = self._read()
        split = joined if self._element is None else _divided(joined, self._element[1])
        crop = self._crop(split)
        operand = self._reshape(split._replace(rows=split.rows - sum(crop)), must_reshape)
        pool = self._pool(operand)
        pooled = operand if pool is None else _after_pool(operand, pool)
        entering = self._flatten(operand, pooled)
        bound = bound if self._element is None else INT8_BOUND
        kernel, output = self._convolve(entering, bound)
        bits, activation = self._output_stage(kernel, bound)
        reached = kernel.largest_sum(bound) if kernel and bits == 32 else INT8_BOUND
        bound = (reached if activation == "none" else INT8_BOUND) if kernel else bound
        self._insert(output, bound)
        self._say_what_has_no_effect(output)
        slot = self._sketch.slots[self._index]
        self._sketch.keys[self._index] = self._keys
        self._sketch.done[self._index] = Origin(Source.LAYER, self._index, output, bound)
        self._sketch.expected.append(
            Expected(
                index=slot.index,
                number=slot.number,
                name=slot.name,
                operator=self._operation,
                inputs=tuple(self._reads),
                crop=crop,
                operand_shape=operand,
                pool=pool,
                output_shape=output,
                bits=bits,
                activation=activation,
                kernel=kernel,
                padding=self._padding,
                dilation=self._dilation,
            )
        )

    # Reading

    def _read(self) -> tuple[Shape, int, bool]:
        """The joined input, its bound, and whether its keys must reshape it."""
        mode = self._draw(st.sampled_from(READING))
        before = self._sketch.done[self._sketch.order[self._place - 1]] if self._place else self._sketch.sample
        shift = self._shifted_window() if mode == "shift" else None
        if shift is not None:
            origins, first_row = [shift[0]], shift[1]
        else:
            origins, first_row = ([before] if mode == "before" else self._gather(mode)), 0
        self._reads = [(origin.source, origin.index, first_row) for origin in origins]
        if origins != [before] or mode != "before":
            self._keys["in_sequences"] = self._references(origins)
        shape, is_joined_along_pixels = _joined([origin.shape for origin in origins])
        if first_row:
            shape = shape._replace(rows=shape.rows - first_row)
        self._combine(mode, origins, shape, is_joined_along_pixels)
        return shape, max(origin.bound for origin in origins), is_joined_along_pixels

    def _gather(self, mode: str) -> list[Origin]:
        origins = self._sketch.origins()
        anchor = self._draw(st.sampled_from(origins))
        if mode == "one":
            return [anchor]
        mates: dict[str, Callable[[Shape], object]] = {
            "channels": lambda shape: (shape.rows, shape.columns),
            "pixels": lambda shape: shape.channels,
            "operands": lambda shape: shape.chw,
        }
        trait = mates[mode]
        fitting = [origin for origin in origins if trait(origin.shape) == trait(anchor.shape)]
        wanted = self._draw(st.sampled_from((2, 2, 2, 3, 4, 16) if mode == "operands" else (2, 3)))
        chosen = [anchor, *(self._draw(st.sampled_from(fitting)) for _ in range(wanted - 1))]
        if mode == "operands":
            return chosen
        while sum(origin.shape.channels * origin.shape.pixels for origin in chosen) > MOST_VALUES and len(chosen) > 1:
            chosen.pop()
        return chosen

    def _shifted_window(self) -> tuple[Origin, int] | None:
        windows = [o for o in self._sketch.origins() if o.source is Source.BUFFER and o.shape.rows > 1]
        if not windows:
            return None
        window = self._draw(st.sampled_from(windows))
        rows = self._draw(st.integers(1, window.shape.rows - 1))
        self._operation = "passthrough"
        self._keys["buffer_shift"] = str(rows)
        return window, rows

    def _references(self, origins: list[Origin]) -> str:
        texts = [self._reference(origin) for origin in origins]
        return texts[0] if len(texts) == 1 and not chance(self._draw, 40) else f"[{', '.join(texts)}]"

    def _reference(self, origin: Origin) -> str:
        if origin.source is Source.SAMPLE:
            return self._draw(st.sampled_from(("-1", "input", "Input")))
        if origin.source is Source.BUFFER:
            return any_case(self._draw, self._sketch.windows[origin.index].name)
        return layer_reference(self._draw, self._sketch.slots[origin.index])

    def _combine(self, mode: str, origins: list[Origin], shape: Shape, along_pixels: bool) -> None:
        """An element-wise operation over the inputs, or over blocks of the input's channels; or none."""
        counts = [n for n in range(2, 17) if shape.channels % n == 0]
        if len({origin.shape.channels for origin in origins}) > 1:
            counts = [n for n in counts if n != len(origins)]
        operands = len(origins) if mode == "operands" else 0
        if not operands and counts and not along_pixels and chance(self._draw, 25):
            operands = self._draw(st.sampled_from(counts))
        if not operands:
            return
        operation = self._draw(st.sampled_from(("add", "sub", "or", "xor")))
        self._element = (operation, operands)
        if operands != 2 or chance(self._draw, 50):
            self._keys["operands"] = str(operands)
        if self._operation == "passthrough" and not chance(self._draw, 30):
            self._keys["op"] = self._draw(st.sampled_from(SPELLINGS[operation]))
        else:
            self._keys["eltwise"] = operation

    # Shaping

    def _crop(self, shape: Shape) -> tuple[int, int]:
        if shape.rows < 2 or not chance(self._draw, 20):
            return (0, 0)
        front = self._draw(st.integers(0, shape.rows - 1))
        behind = self._draw(st.integers(0, shape.rows - 1 - front))
        self._keys["in_crop"] = f"[{front}, {behind}]"
        return front, behind

    def _reshape(self, shape: Shape, must: bool) -> Shape:
        is_conv1d = self._operation == "conv1d"
        if must or (is_conv1d and shape.columns > 1) or chance(self._draw, 20):
            shape = self._in_dim(shape, needs_one_column=is_conv1d)
        return shape._replace(is_1d=True) if is_conv1d else shape

    def _in_dim(self, shape: Shape, needs_one_column: bool) -> Shape:
        values = shape.channels * shape.pixels
        channels = shape.channels
        if chance(self._draw, 40):
            channels = self._draw(st.sampled_from([n for n in range(1, MOST_CHANNELS + 1) if values % n == 0]))
        pixels = values // channels
        if chance(self._draw, 30):
            self._keys["in_dim"] = self._draw(st.sampled_from((str(pixels), f"[{pixels}]"))[:1][0])
            return Shape(channels, pixels, 1, is_1d=True)
        rows = pixels if needs_one_column else self._draw(st.sampled_from(_divisors(pixels)))
        columns = pixels // rows
        self._keys["in_dim"] = f"[{rows}, {columns}]"
        return Shape(channels, rows, columns, is_1d=columns == 1 and (needs_one_column or shape.is_1d))

    def _pool(self, shape: Shape) -> Pool | None:
        if not chance(self._draw, 40):
            return None
        kind = self._draw(st.sampled_from(("max_pool", "avg_pool", "avg_pool", "max_pool avg_pool", "")))
        has_one_axis = shape.is_1d or (shape.columns == 1 and self._operation == "passthrough")
        rows = self._window(shape.rows, kind != "")
        columns = self._window(shape.columns, kind != "") if not has_one_axis else self._any_window()
        size, stride, dilation = zip(rows, columns, strict=True)
        self._keys |= {key: pair_text(self._draw, size) for key in kind.split()}
        if stride != (1, 1) or chance(self._draw, 50):
            self._keys["pool_stride"] = pair_text(self._draw, stride)
        if kind and (dilation != (1, 1) or chance(self._draw, 10)):
            self._keys["pool_dilation"] = pair_text(self._draw, dilation)
        if self._element and kind and size != (1, 1) and chance(self._draw, 50):
            self._keys["pool_first"] = self._draw(st.sampled_from(("false", "false", "true")))
        dilation = dilation if kind else (1, 1)
        if has_one_axis:
            size, stride, dilation = (size[0], 1), (stride[0], 1), (dilation[0], 1)
        if size == stride == dilation == (1, 1):
            return None
        reduction = "max" if kind.startswith("max") else "average"
        return Pool("none" if size == (1, 1) else reduction, size, stride, dilation)

    def _window(self, extent: int, is_pool: bool) -> tuple[int, int, int]:
        """Size, stride and dilation along an axis: some window fits, and none reads outside of the data."""
        size = self._draw(st.integers(1, min(extent, 4 if chance(self._draw, 80) else 16))) if is_pool else 1
        stride = self._draw(st.sampled_from((1, 2, 2, 3, 16)))
        dilation = self._draw(st.sampled_from((1, 1, 1, 2, 3))) if is_pool else 1
        windows = (extent + stride - size - dilation + 1) // stride
        reach = (windows - 1) * stride + (size - 1) * dilation + 1
        return (size, stride, dilation) if windows > 0 and reach <= extent else (size, stride, 1)

    def _any_window(self) -> tuple[int, int, int]:
        """For the second axis of 1D data, which does not count."""
        return self._draw(st.sampled_from(((1, 1, 1), (2, 2, 1), (5, 3, 2))))

    def _flatten(self, operand: Shape, pooled: Shape) -> Shape:
        must = self._operation == "linear" and pooled.pixels > 1
        flatten = must or chance(self._draw, 12)
        if flatten:
            self._keys["flatten"] = "true"
        if chance(self._draw, 15):
            counts = [operand.channels, operand.channels * operand.pixels] if flatten else [operand.channels]
            self._keys["in_channels"] = str(self._draw(st.sampled_from(counts)))
        return Shape(pooled.channels * pooled.pixels, 1, 1) if flatten else pooled

    # Convolving

    def _convolve(self, entering: Shape, bound: int) -> tuple[Kernel | None, Shape]:
        if self._operation == "passthrough":
            if "op" not in self._keys:
                self._keys["op"] = self._draw(st.sampled_from(SPELLINGS["passthrough"]))
            return None, entering
        if self._operation == "convtranspose2d" and entering.pixels > 20:
            self._operation = "conv2d"
        kernel = self._shared(entering) or self._bypass(entering) or self._own(entering)
        if self._operation != "conv2d" or not chance(self._draw, 30):
            self._keys["op"] = self._draw(st.sampled_from(SPELLINGS[self._operation]))
        self._say_kernel_size(kernel)
        if kernel.groups > 1 or chance(self._draw, 5):
            self._keys["groups"] = str(kernel.groups)
        rows, columns = self._output_size(entering, kernel.kernel_size)
        output = Shape(kernel.outputs, rows, columns, is_1d=self._operation == "conv1d")
        if chance(self._draw, 15):
            self._keys["out_channels"] = str(output.channels)
        if bound == INT8_BOUND and self._operation == "convtranspose2d" and chance(self._draw, 30):
            self._keys |= {"stride": "2", "output_pad": "1"}
        return kernel, output

    def _shared(self, entering: Shape) -> Kernel | None:
        """The weights of another layer, itself with weights of its own or not, executed or not."""
        alike = {"conv2d", "linear"} if self._operation in {"conv2d", "linear"} else {self._operation}
        fitting = [
            (index, kernel)
            for index, kernel in self._sketch.kernels.items()
            if kernel.operation in alike
            and kernel.inputs == entering.channels
            and (self._operation != "linear" or kernel.kernel_size == (1, 1))
            and entering.rows + 4 >= kernel.kernel_size[0]
            and _products(kernel, entering) <= MOST_PRODUCTS
        ]
        if not fitting or not chance(self._draw, 40):
            return None
        index, kernel = self._draw(st.sampled_from(fitting))
        self._keys["weight_source"] = layer_reference(self._draw, self._sketch.slots[index])
        if chance(self._draw, 20):
            self._keys |= {"output_shift": "3", "quantization": "8"}  # they do not count
        self._sketch.kernels[self._index] = kernel
        self._place_kernel(entering, kernel.kernel_size)
        return kernel

    def _bypass(self, entering: Shape) -> Kernel | None:
        if not chance(self._draw, 8) or entering.channels > 24:
            return None
        size = self._kernel_size(entering)
        groups = entering.channels if chance(self._draw, 30) else 1
        outputs = entering.channels
        if groups == 1 and chance(self._draw, 50):
            outputs = self._draw(st.integers(1, 4))
            self._keys["out_channels"] = str(outputs)
        shift = BYPASS_SHIFT
        self._keys["bypass"] = "true"
        if chance(self._draw, 60):
            shift = self._draw(st.integers(-3, 6))
            self._keys["output_shift"] = str(shift)
        ends = (entering.channels, outputs // groups) if self._is_transposed else (outputs, entering.channels // groups)
        self._place_kernel(entering, size)
        return Kernel(self._operation, _ones((*ends, *size)), None, shift, groups)

    def _own(self, entering: Shape) -> Kernel:
        size, channels = self._kernel_size(entering), entering.channels
        self._place_kernel(entering, size)
        pixels = prod(self._output_size(entering, size))
        groups = 1
        if self._operation != "linear" and chance(self._draw, 25):
            groups = self._draw(st.sampled_from([channels, channels, *_divisors(channels)]))
        most = max(1, MOST_PRODUCTS // (prod(size) * channels // groups * pixels))
        wanted = groups if groups == channels else self._draw(st.sampled_from((1, 2, 3, 4, channels, 8, 17, 64, 65)))
        outputs = groups * max(1, min(wanted, most, MOST_CHANNELS) // groups)
        shape = (channels, outputs // groups, *size) if self._is_transposed else (outputs, channels // groups, *size)
        kernel = draw_kernel(self._draw, self._sketch, self._operation, shape, groups)
        owner = next(self._sketch.idle(), None)
        if owner is None or not chance(self._draw, 50):
            self._keys |= store(self._draw, self._sketch, self._index, kernel)
            return kernel
        self._sketch.keys[owner.index] = idle_keys(kernel) | store(self._draw, self._sketch, owner.index, kernel)
        self._keys["weight_source"] = layer_reference(self._draw, owner)
        self._sketch.kernels[self._index] = kernel
        return kernel

    @property
    def _is_transposed(self) -> bool:
        return self._operation == "convtranspose2d"

    def _kernel_size(self, entering: Shape) -> tuple[int, int]:
        if self._operation == "linear":
            return 1, 1
        if self._is_transposed:
            return 3, 3
        if self._operation == "conv1d":
            return self._draw(st.sampled_from([k for k in (1, 2, 3, 5, 8, 9) if k <= entering.rows + 4])), 1
        return self._draw(st.sampled_from(((1, 1), (3, 3), (3, 3))))

    def _place_kernel(self, entering: Shape, size: tuple[int, int]) -> None:
        """Padding and dilation with which the kernel finds a place; they become keys unless they are defaults."""
        default = 0 if self._operation == "linear" else 1
        paddings = (0,) if self._operation == "linear" else (1, 0, 2)
        dilations = ((1, 1),) * 4 + ((2, 2), (3, 1), (1, 2), (7, 7))
        self._dilation = (1, 1) if self._is_transposed else self._draw(st.sampled_from(dilations))
        pad = self._draw(st.sampled_from(paddings))
        for self._dilation, pad in ((self._dilation, pad), (self._dilation, 2), ((1, 1), pad), ((1, 1), 2)):
            self._padding = (pad, 0 if self._operation == "conv1d" else pad)
            if min(self._output_size(entering, size)) > 0:
                break
        if pad != default or chance(self._draw, 50):
            self._keys["pad"] = str(pad)
        if self._operation == "conv1d":
            self._keys |= {} if self._dilation == (1, 1) else {"dilation": str(self._dilation[0])}
            self._dilation = (self._dilation[0], 1)
        elif self._dilation != (1, 1):
            self._keys["dilation"] = pair_text(self._draw, self._dilation)

    def _output_size(self, entering: Shape, size: tuple[int, int]) -> tuple[int, int]:
        sizes = (entering.rows, entering.columns)
        if self._is_transposed:
            rows, columns = (2 * (sizes[axis] - 1) - 2 * self._padding[axis] + 4 for axis in (0, 1))
        else:
            rows, columns = (
                sizes[axis] + 2 * self._padding[axis] - (size[axis] - 1) * self._dilation[axis] for axis in (0, 1)
            )
        return rows, columns

    def _say_kernel_size(self, kernel: Kernel) -> None:
        rows, columns = kernel.kernel_size
        default = {"conv1d": (9, 1), "linear": (1, 1)}.get(self._operation, (3, 3))
        if self._operation != "linear" and ((rows, columns) != default or chance(self._draw, 50)):
            self._keys["kernel_size"] = str(rows) if self._operation == "conv1d" else f"{rows}x{columns}"

    # Writing

    def _output_stage(self, kernel: Kernel | None, bound: int) -> tuple[int, str]:
        """Bits and activation. A last layer with 32 bits has no activation; a sum must fit into 32 bits."""
        if kernel is None:
            return 8, "none"
        activation = self._draw(st.sampled_from(("none", "none", "relu", "abs")))
        bits = 8
        if kernel.largest_sum(bound) < 1 << 31 and chance(self._draw, 30 if self._is_last else 10):
            bits = 32
            activation = "none" if self._is_last else activation
            self._say_width()
        if activation != "none" or chance(self._draw, 20):
            self._keys["activate"] = ACTIVATIONS[activation]
        return bits, activation

    def _say_width(self) -> None:
        """Wide by its key; the last layer also by an option, which overrides the key."""
        if self._is_last and chance(self._draw, 40):
            self._sketch.output_width = 32
            if chance(self._draw, 20):
                self._keys["output_width"] = "8"
        else:
            self._keys["output_width"] = "32"

    def _insert(self, output: Shape, bound: int) -> None:
        """Write the output into the last rows of a window, or into one that is made to fit."""
        if "buffer_shift" in self._keys or not chance(self._draw, 25):
            return
        fitting = [
            (window, rows)
            for window in self._sketch.windows
            for rows in range(1, window.shape.rows + 1)
            if output.channels == window.shape.channels
            and output.pixels in {window.shape.columns, rows * window.shape.columns}
        ]
        if fitting:
            window, rows = self._draw(st.sampled_from(fitting))
        elif len(self._sketch.windows) < 2:
            window, rows = self._fitting_window(output)
        else:
            return
        window.bound = max(window.bound, bound)
        self._keys["buffer_insert"] = str(rows)
        self._keys["output_processors"] = hex(window.processors)

    def _fitting_window(self, output: Shape) -> tuple[Window, int]:
        rows = self._draw(st.sampled_from(_divisors(output.pixels)))
        columns = output.pixels // rows
        if rows == 1:  # then one row may stand for several
            rows = self._draw(st.sampled_from((1, 1, 2)))
        number = len(self._sketch.windows)
        length = rows + self._draw(st.integers(0, 3))
        shape = Shape(output.channels, length, columns, is_1d=columns == 1 and chance(self._draw, 50))
        self._sketch.windows.append(Window(f"window{number}", shape, 0xF0 << 4 * number))
        return self._sketch.windows[-1], rows

    def _say_what_has_no_effect(self, output: Shape) -> None:
        self._keys.setdefault("out_offset", "0x1000")
        if output.channels <= MOST_CHANNELS and chance(self._draw, 15):
            self._keys["output"] = self._draw(st.sampled_from(("true", "false")))
        if chance(self._draw, 15):
            key = self._draw(st.sampled_from(sorted(WITHOUT_EFFECT)))
            self._keys[key] = self._draw(st.sampled_from(WITHOUT_EFFECT[key]))


def idle_keys(kernel: Kernel) -> dict[str, str]:
    """What a layer says that is never executed and only holds weights."""
    keys = {"processors": "0x1", "op": kernel.operation}
    rows, columns = kernel.kernel_size
    if kernel.operation != "linear":
        keys["kernel_size"] = str(rows) if kernel.operation == "conv1d" else f"{rows}x{columns}"
    return keys if kernel.groups == 1 else keys | {"groups": str(kernel.groups)}


def _joined(shapes: list[Shape]) -> tuple[Shape, bool]:
    """The shape of several inputs as one, and whether they are joined along the pixels."""
    first = shapes[0]
    if len({(shape.rows, shape.columns) for shape in shapes}) == 1:
        return first._replace(channels=sum(shape.channels for shape in shapes)), False
    return Shape(first.channels, sum(shape.pixels for shape in shapes), 1, is_1d=True), True


def _divided(shape: Shape, operands: int) -> Shape:
    return shape._replace(channels=shape.channels // operands)


def _after_pool(shape: Shape, pool: Pool) -> Shape:
    rows, columns = (
        (extent + stride - size - dilation + 1) // stride
        for extent, size, stride, dilation in zip(
            (shape.rows, shape.columns), pool.size, pool.stride, pool.dilation, strict=True
        )
    )
    return shape._replace(rows=rows, columns=columns)


def _products(kernel: Kernel, entering: Shape) -> int:
    grown = 4 if kernel.is_transposed else 1
    return int(kernel.weight.size) * (entering.pixels + 4 * isqrt(entering.pixels) + 4) * grown


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _ones(shape: Iterable[int]) -> "object":
    raise NotImplementedError
