"""Crop, reshape, pool, flatten: what happens to a layer's data before it is convolved."""

from ai8xsim.program.operations import Shape

from .sketch import LONGEST_SIDE, MOST_CHANNELS, Pen, Pool, divisors, pair_text

POOLS = ("max_pool", "avg_pool", "avg_pool", "max_pool avg_pool", "")


def draw_crop(pen: Pen, shape: Shape) -> tuple[int, int]:
    """Rows to drop in front and behind; one at least is left."""
    if shape.rows < 2 or not pen.chance(20):
        return (0, 0)
    front = pen.one_of(range(shape.rows))
    behind = pen.one_of(range(shape.rows - front))
    pen.keys["in_crop"] = f"[{front}, {behind}]"
    return front, behind


def draw_reshape(pen: Pen, shape: Shape, must: bool) -> Shape:
    """The data in other dimensions, or as it is; a Conv1d gets one column."""
    is_conv1d = pen.operation == "conv1d"
    if must or (is_conv1d and shape.columns > 1) or pen.chance(20):
        shape = _in_dim(pen, shape)
    return shape._replace(is_1d=True) if is_conv1d else shape


def _in_dim(pen: Pen, shape: Shape) -> Shape:
    values, channels = shape.channels * shape.pixels, shape.channels
    if pen.chance(40):
        possible = [n for n in divisors(values) if n <= MOST_CHANNELS and values // n <= LONGEST_SIDE]
        channels = pen.one_of(possible or [channels])
    pixels = values // channels
    if pen.chance(30):
        pen.keys["in_dim"] = str(pixels)
        return Shape(channels, pixels, 1, is_1d=True)
    is_conv1d = pen.operation == "conv1d"
    rows = pixels if is_conv1d else pen.one_of(divisors(pixels))
    pen.keys["in_dim"] = f"[{rows}, {pixels // rows}]"
    return Shape(channels, rows, pixels // rows, is_1d=rows == pixels and (is_conv1d or shape.is_1d))


def draw_pool(pen: Pen, shape: Shape) -> Pool | None:
    """A pool as the program must have it, or None; 1D data is pooled along its only axis."""
    if not pen.chance(60 if pen.element else 35):
        return None
    keys = pen.one_of(POOLS)
    has_one_axis = shape.is_1d or (shape.columns == 1 and pen.operation == "passthrough")
    rows = _window(pen, shape.rows, bool(keys))
    columns = _window(pen, 16 if has_one_axis else shape.columns, bool(keys))  # the second one may not count
    size, stride, dilation = ((rows[i], columns[i]) for i in range(3))
    pen.keys |= {key: pair_text(pen.draw, size) for key in keys.split()}
    if stride != (1, 1) or pen.chance(50):
        pen.keys["pool_stride"] = pair_text(pen.draw, stride)
    if keys and (dilation != (1, 1) or pen.chance(10)):
        pen.keys["pool_dilation"] = pair_text(pen.draw, dilation)
    if pen.element and keys and size != (1, 1) and pen.chance(75):
        pen.keys["pool_first"] = pen.one_of(("false", "false", "true"))
    if has_one_axis:
        size, stride, dilation = (size[0], 1), (stride[0], 1), (dilation[0], 1)
    if size == stride == dilation == (1, 1):
        return None
    reduction = "max" if keys.startswith("max") else "average"
    return Pool("none" if size == (1, 1) else reduction, size, stride, dilation)


def _window(pen: Pen, extent: int, is_pool: bool) -> tuple[int, int, int]:
    """Size, stride and dilation along an axis: some window fits, and none reads outside of the data."""
    size = pen.one_of(range(1, 1 + min(extent, 16 if pen.chance(20) else 3))) if is_pool else 1
    stride = pen.one_of((1, 2, 2, 3, 16))
    dilation = pen.one_of((1, 1, 1, 2, 3)) if is_pool else 1
    windows = _windows(extent, size, stride, dilation)
    reach = (windows - 1) * stride + (size - 1) * dilation + 1
    return size, stride, dilation if windows > 0 and reach <= extent else 1


def _windows(extent: int, size: int, stride: int, dilation: int) -> int:
    return (extent + stride - size - dilation + 1) // stride


def after_pool(shape: Shape, pool: Pool | None) -> Shape:
    """The shape that a pool leaves."""
    if pool is None:
        return shape
    rows = _windows(shape.rows, pool.size[0], pool.stride[0], pool.dilation[0])
    columns = _windows(shape.columns, pool.size[1], pool.stride[1], pool.dilation[1])
    return shape._replace(rows=rows, columns=columns)


def draw_flatten(pen: Pen, operand: Shape, pooled: Shape) -> Shape:
    """Every value a channel, or the data as it is; a Linear layer takes one pixel."""
    flatten = (pen.operation == "linear" and pooled.pixels > 1) or pen.chance(12)
    if flatten:
        pen.keys["flatten"] = "true"
    if pen.chance(15):
        stated = [operand.channels, operand.channels * operand.pixels] if flatten else [operand.channels]
        pen.keys["in_channels"] = str(pen.one_of(stated))
    return Shape(pooled.channels * pooled.pixels, 1, 1) if flatten else pooled
