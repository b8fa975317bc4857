"""Widely dilated Conv1d layers: the chip runs them as a Conv2d, which writes more than their output.

From (taps - 1) * dilation = 9 on a kernel cannot be stretched by zeros. The chip then takes the values as rows of
`dilation` pixels, pads them by 1, and runs the taps as the middle column of a 3x3 kernel. It writes as many whole
rows as it reads. Of three taps, the windows of the first row begin in the padding: that row is written in front of
the output; behind it follows what windows beyond the end of the data make.
Source: `spec/ARITHMETIC.md`, "Limits"; what the vendor's loader programs, read from it and not verified on silicon.
"""

from typing import NamedTuple

from ai8xsim.device import WORD_BYTES
from ai8xsim.layout import pass_count
from ai8xsim.program import Layer
from ai8xsim.program.operations import Operator

STRETCHED = 9  # (taps - 1) * dilation below that fits into a kernel of the Conv1d hardware


class Surplus(NamedTuple):
    """What a widely dilated Conv1d writes beside its output: so many pixels in front of it, and behind it.

    width: the pixels of a row, 0 where the layer is none.
    """

    width: int
    before: int
    behind: int


def surplus(layer: Layer) -> Surplus:
    """What the layer writes beside its output; nothing unless it is a widely dilated Conv1d of two or three taps."""
    if layer.operator is not Operator.CONV1D or layer.convolution is None:
        return Surplus(0, 0, 0)
    geometry = layer.convolution.geometry
    taps, dilation = geometry.kernel_size[0], geometry.dilation[0]
    if (taps - 1) * dilation < STRETCHED or taps > 3:
        return Surplus(0, 0, 0)
    rows = -(-layer.pooled_shape.rows // dilation)
    before = dilation if taps == 3 else 0
    return Surplus(dilation, before, max(0, rows * dilation - before - layer.output_shape.pixels))


def bytes_before(layer: Layer) -> int:
    """How far in front of `out_offset` the layer begins to write, in bytes of each memory instance.

    UNVERIFIED: with 32-bit output, or a `write_gap`, a row takes more than that, and the loader goes back no
    further; we say that the output lies at `out_offset`, where the loader unloads it.
    """
    return surplus(layer).before * pass_count(layer.output_shape.channels) * WORD_BYTES


def row_bytes(layer: Layer) -> int:
    """How many bytes a row that a widely dilated Conv1d writes takes in each memory instance, with its gaps."""
    per_pixel = pass_count(layer.output_shape.channels) * WORD_BYTES * layer.output_stage.bits // 8
    return surplus(layer).width * per_pixel * (layer.placement.write_gap + 1)


def bytes_behind(layer: Layer) -> int:
    """How many bytes behind its output the layer must have in each memory instance.

    The loader counts all rows from `out_offset` on, also the one in front of it.
    """
    extra = surplus(layer)
    per_pixel = pass_count(layer.output_shape.channels) * WORD_BYTES * layer.output_stage.bits // 8
    return (extra.before + extra.behind) * per_pixel
