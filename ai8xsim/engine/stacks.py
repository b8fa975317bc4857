"""Which convolutions read pixels that hold those below them too, and how such pixels are made."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder
from ai8xsim.engine.costs import Use, narrow_numbers
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.tensor import Tensor
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.stacking import CHANNELS, ROWS, STACKED, TOGETHER
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import FOUR
from ai8xsim.kernels.geometry import ConvolutionGeometry

Int8 = npt.NDArray[np.int8]

STACKING = 80  # what a stacked pixel takes, in products (measured on Emerald Rapids); see `build.EFFORT`


class Operands(NamedTuple):
    """What a convolution is computed of."""

    x: Tensor
    weight_oihw: Int8
    geometry: ConvolutionGeometry


def worth_stacking(builder: Builder, operands: Operands, *, are_sums: bool) -> bool:
    """Whether a convolution can read stacked pixels, and is faster with the time that they take to make.

    are_sums: whether its results are, which narrow blocks do not make.
    """
    x, weight_oihw, geometry = operands
    target = builder.target
    pixels, outputs = _size(x, geometry), len(weight_oihw)
    if target.value_bytes > 1 or pixels < TOGETHER or not _can_be_stacked(x, geometry):
        return False
    rows, columns = geometry.output_size((x.rows, x.columns))
    use = Use(rows * columns, are_sums, is_adjacent=columns % FOUR == 0)
    if narrow_numbers(target, builder.costs, (outputs, ROWS, ROWS * CHANNELS), use):
        return False
    row, kernel = (packing.products_of(target, outputs, ROWS * values) for values in (CHANNELS, STACKED))
    return rows * columns * (ROWS * row - kernel) > pixels * STACKING


def _can_be_stacked(x: Tensor, geometry: ConvolutionGeometry) -> bool:
    """Whether outputs meet three runs of nine values, which are apart: rows of three pixels are one run as they are."""
    is_plain = geometry.stride == geometry.dilation == (1, 1)
    are_apart = x.row_step > ROWS * CHANNELS
    has_channels = x.channels == x.pixel_step == CHANNELS
    return is_plain and geometry.kernel_size == (ROWS, ROWS) and has_channels and are_apart


def stacked(builder: Builder, operands: Operands) -> Operands:
    """The same convolution over stacked pixels: a kernel of one row, over the channels of three.

    The last pixels that go together may be partly those before: who stacks them writes the same values again.
    """
    x, weight_oihw, geometry = operands
    up, left = geometry.padding
    pixels = _size(x, geometry)
    region = builder.region(pixels * STACKED)
    firsts = np.minimum(np.arange(0, pixels, TOGETHER), pixels - TOGETHER)
    builder.add(
        Draft(
            Kind.STACK,
            region,
            (x.region,),
            np.stack([firsts * STACKED, x.offset(-up, -left) + firsts * CHANNELS], axis=1),
            taps=np.arange(ROWS) * x.row_step,
            fields={"channels": TOGETHER * STACKED},
        )
    )
    made = Tensor(
        region,
        rows=x.rows + 2 * up - (ROWS - 1),
        columns=x.columns,
        channels=STACKED,
        origin=left * STACKED,
        row_step=x.row_step // CHANNELS * STACKED,
        pixel_step=STACKED,
        border=(0, left),
    )
    kernels = weight_oihw.transpose(0, 2, 1, 3).reshape(len(weight_oihw), STACKED, 1, ROWS)
    return Operands(made, kernels, ConvolutionGeometry((1, ROWS), padding=(0, left)))


def _size(x: Tensor, geometry: ConvolutionGeometry) -> int:
    """Pixels in memory from the first that is stacked to the last, borders between rows included."""
    up, left = geometry.padding
    between = x.rows + 2 * up - ROWS
    return between * (x.row_step // CHANNELS) + x.columns + 2 * left
