"""How data reaches a layer's operation: join, split, crop, reshape, pool. Shapes only.

Each step returns the shape it makes, or None after it has said why there is none.
Source: `spec/ARITHMETIC.md`, "Exact order and small print" 1, 10, 11.
"""

from math import prod

from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.kernels.geometry import PoolGeometry
from ai8xsim.network import LayerDescription
from ai8xsim.program.operations import Join, Pooling, PoolKind, Shape

Found = list[Diagnostic]


def joined(layer: LayerDescription, shapes: list[Shape], found: Found) -> tuple[Join, Shape] | None:
    """The inputs as one: along the channels if their pixels agree, else along the pixels."""
    first = shapes[0]
    if all((s.rows, s.columns) == (first.rows, first.columns) for s in shapes):
        return Join.CHANNELS, first._replace(channels=sum(s.channels for s in shapes))
    if all(s.channels == first.channels for s in shapes) and layer.in_dim:
        return Join.PIXELS, Shape(first.channels, sum(s.pixels for s in shapes), 1, is_1d=True)
    span = layer.in_sequences.span if layer.in_sequences else layer.span
    sizes = ", ".join(map(str, shapes))
    why = "equal rows and columns join along the channels; equal channels along the pixels, with `in_dim`"
    message = f"{layer.title} joins inputs of {sizes}, which do not fit together"
    found.append(error("concatenation", message, span, notes=(why,)))
    return None


def operand(layer: LayerDescription, data: Shape, operands: int, found: Found) -> Shape | None:
    """One of several equal blocks of channels."""
    if data.channels % operands == 0:
        return data._replace(channels=data.channels // operands)
    given = layer.operands or layer.eltwise or layer.op
    message = f"{layer.title} splits {data.channels} channels into {operands} operands, which leaves a rest"
    found.append(error("operands", message, given.span if given else layer.span))
    return None


def cropped(layer: LayerDescription, data: Shape, found: Found) -> Shape | None:
    """Without the rows that `in_crop` drops in front and behind.

    UNVERIFIED: a crop on one side only; the vendor's loader computes nothing for [a, 0].
    """
    if layer.in_crop is None:
        return data
    rows = data.rows - sum(layer.in_crop.value)
    if rows > 0:
        return data._replace(rows=rows)
    message = f"{layer.title} crops {sum(layer.in_crop.value)} of {data.rows} rows: nothing is left"
    found.append(error("crop", message, layer.in_crop.span))
    return None


def reshaped(layer: LayerDescription, data: Shape, found: Found) -> Shape | None:
    """In the dimensions that `in_dim` states; the number of channels follows from the number of values."""
    if layer.in_dim is None:
        return data
    rows, *columns = layer.in_dim.value
    is_1d = not columns or (columns[0] == 1 and (layer.operation == "conv1d" or data.is_1d))
    pixels = prod(layer.in_dim.value)
    channels, rest = divmod(data.channels * data.pixels, pixels)
    if rest == 0:
        return Shape(channels, rows, columns[0] if columns else 1, is_1d)
    values = data.channels * data.pixels
    message = (
        f"{layer.title}: `in_dim` has {pixels} pixels, and {values} values ({data}) are no multiple of that"
    )
    found.append(error("reshape", message, layer.in_dim.span))
    return None


def one_dimensional(layer: LayerDescription, data: Shape, found: Found) -> Shape | None:
    """The data as Conv1d takes it; other operations take it as it is."""
    if layer.operation != "conv1d":
        return data
    if data.columns == 1:
        return data._replace(is_1d=True)
    why = "Conv1d works on 1D data (channels, length)"
    mend = f"reshape it, for example with `in_dim: {data.pixels}`"
    message = f"{layer.title} is a Conv1d and gets 2D data of {data}"
    found.append(error("dimensions", message, layer.span, notes=(why,), help=mend))
    return None


def pooling_of(layer: LayerDescription, data: Shape, rounding: bool) -> Pooling | None:
    """The layer's pool, or None. 1D pools have one column; a pool of 1 that moves by 1 is none."""
    pool = layer.max_pool or layer.avg_pool
    size = pool.value if pool else (1, 1)
    stride = layer.pool_stride.value if layer.pool_stride else (1, 1)
    dilation = layer.pool_dilation.value if layer.pool_dilation else (1, 1)
    if data.is_1d or (data.columns == 1 and not layer.has_convolution):
        size, stride, dilation = (size[0], 1), (stride[0], 1), (dilation[0], 1)
    if size == stride == dilation == (1, 1):
        return None
    kind = PoolKind.NONE
    if size != (1, 1):
        kind = PoolKind.MAX if layer.max_pool else PoolKind.AVERAGE
    return Pooling(kind, PoolGeometry(size, stride, dilation), rounding and kind is PoolKind.AVERAGE)


def pooled(layer: LayerDescription, data: Shape, pooling: Pooling | None, found: Found) -> Shape | None:
    """What the pool leaves."""
    if pooling is None:
        return data
    geometry = pooling.geometry
    if geometry.fits((data.rows, data.columns)):
        rows, columns = geometry.output_size((data.rows, data.columns))
        return data._replace(rows=rows, columns=columns)
    given = layer.max_pool or layer.avg_pool or layer.pool_stride
    size = "x".join(map(str, geometry.kernel_size))
    message = f"{layer.title} pools {size} windows out of {data.rows}x{data.columns} pixels: none fits"
    if min(geometry.output_size((data.rows, data.columns))) > 0:
        message = f"{layer.title} pools {data.rows}x{data.columns} pixels, and dilated windows reach outside"
    found.append(error("pool-window", message, given.span if given else layer.span, f"of {data}"))
    return None


def entering(layer: LayerDescription, pooled: Shape) -> Shape:
    """What enters the operation: flattened, every value is a channel."""
    return Shape(pooled.channels * pooled.pixels, 1, 1) if layer.is_flattened else pooled


def check_stated_channels(layer: LayerDescription, data: Shape, found: Found) -> None:
    """Say if `in_channels` is not what arrives; flattened, channels times pixels may be stated too."""
    if layer.in_channels is None or layer.in_channels.value == data.channels:
        return
    if layer.is_flattened and layer.in_channels.value == data.channels * data.pixels:
        return
    message = f"{layer.title} states {layer.in_channels.value} input channels and gets {data.channels}"
    why = f"its input is {data}"
    mend = f"if its input is what is meant, write `in_channels: {data.channels}`, or remove it"
    found.append(error("channel-mismatch", message, layer.in_channels.span, notes=(why,), help=mend))
