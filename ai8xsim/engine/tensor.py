"""Where a layer's data lies in the arena."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
Border = tuple[int, int]  # rows above and below, columns left and right

NO_BORDER: Border = (0, 0)


@dataclass(frozen=True)
class Region:
    """A piece of the arena: `size` values for each sample. Regions whose lives do not overlap share memory."""

    number: int
    size: int
    is_sums: bool = False
    is_kept: bool = False  # from the first step to the last, and on to the next run


@dataclass(frozen=True)
class Tensor:
    """Data of (rows, columns, channels) in a region; offsets count values from the region's start.

    A border around the data holds zeros, so that a convolution with padding reads on without looking.
    """

    region: Region
    rows: int
    columns: int
    channels: int
    origin: int  # of row 0, column 0, channel 0
    row_step: int
    pixel_step: int
    border: Border = NO_BORDER

    def offset(self, row: int, column: int = 0) -> int:
        """Of a pixel; beyond the data it lies in the border."""
        return self.origin + row * self.row_step + column * self.pixel_step

    def pixels(self, first: Border = (0, 0), step: Border = (1, 1), count: Border | None = None) -> Offsets:
        """Of a grid of pixels, row by row: from `first` on, every `step`, `count` of them (rows, columns)."""
        rows, columns = count or (self.rows, self.columns)
        down = self.offset(*first) + np.arange(rows) * step[0] * self.row_step
        across = np.arange(columns) * step[1] * self.pixel_step
        return np.asarray((down[:, None] + across).reshape(-1), np.int64)

    def elements(self) -> Offsets:
        """Of every value, in the order channel, row, column."""
        return np.asarray((np.arange(self.channels)[:, None] + self.pixels()).reshape(-1), np.int64)

    def cropped(self, front: int, behind: int) -> "Tensor":
        """Without rows in front and behind. What was cropped is no border: it does not hold zeros."""
        if front == behind == 0:
            return self
        rows = self.rows - front - behind
        return replace(self, origin=self.offset(front), rows=rows, border=NO_BORDER)

    def channel_block(self, first: int, channels: int) -> "Tensor":
        """Some of the channels."""
        return replace(self, origin=self.origin + first, channels=channels, border=NO_BORDER)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, columns, channels)"""
        return self.rows, self.columns, self.channels

    @property
    def has_border(self) -> bool:
        return self.border != NO_BORDER

    def border_runs(self) -> list[tuple[int, int]]:
        """The border as runs of values side by side: (offset, length)."""
        rows, columns = self.border
        side = columns * self.pixel_step
        first = self.offset(-rows, -columns)
        runs = [(first, rows * self.row_step + side)]
        if side:
            runs += [(self.offset(row, self.columns), 2 * side) for row in range(self.rows - 1)]
        last = self.offset(self.rows - 1, self.columns)
        return [*runs, (last, side + rows * self.row_step)]


def laid_out(region_number: int, shape: tuple[int, int, int], pixel_step: int, border: Border) -> Tensor:
    """A tensor that fills a region of its own, border included."""
    rows, columns, channels = shape
    row_step = (columns + 2 * border[1]) * pixel_step
    region = Region(region_number, (rows + 2 * border[0]) * row_step)
    origin = border[0] * row_step + border[1] * pixel_step
    return Tensor(region, rows, columns, channels, origin, row_step, pixel_step, border)
