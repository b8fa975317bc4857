"""The compiled sums of products behind `conv`.

Three roads to the same accumulators. All read data that already has its zero padding, as one long run of
integers in which a `Walk` finds the way:

- `by_dot_products` copies the values that an output sees into a row (a "patch") and multiplies four patches by
  the weights of four output channels at a time: sixteen sums stay in registers, and every value loaded serves
  four products. The loop over the products is what the compiler turns into vector instructions.
- `by_planes` serves a few products per output (the first layer of an image network), where that loop would be
  over before it pays: vectors of neighbouring pixels instead of vectors of products.
- `by_channels` serves depthwise convolutions: vectors of channels.

`number` is the type of the accumulators: int32 for int8 data, int64 for wide data. It stands around every
intermediate result because Numba would compute in 64 bits otherwise, at a quarter of the speed.
"""

from typing import Any, NamedTuple

import numpy as np

from ai8xsim.kernels.compiled import Array, compiled

PATCHES = 32  # pixels per tile of `by_dot_products`: their patches stay in the cache while the weights pass
PIXELS = 512  # per tile of `by_planes`, or one row where rows are longer


class Walk(NamedTuple):
    """Where the values that an output sees lie in the data; steps are counted in elements."""

    rows: int  # outputs per image
    columns: int
    origin: int  # first tap of the first output
    image_step: int  # from an output to the same one in the next image
    row_step: int  # from an output to the one below
    column_step: int  # from an output to the next in its row
    tap_rows: int
    tap_columns: int
    tap_row_step: int
    tap_column_step: int
    run: int  # values per tap
    run_step: int  # from one of them to the next
    groups: int  # of channels; their runs follow each other

    def start(self, pixel: int) -> int:
        """Place of the first tap of an output, counted over rows and images."""
        row, column = divmod(pixel, self.columns)
        image, row = divmod(row, self.rows)
        return self.origin + image * self.image_step + row * self.row_step + column * self.column_step


_start = compiled(Walk.start)


@compiled
def by_dot_products(data: Array, weight: Array, bias: Array, walk: Walk, acc: Array) -> None:
    """Fill acc (pixels, out) with bias (out) plus the products of data and weight (out, products)."""
    pixels, outputs = acc.shape
    per_group = outputs // walk.groups
    patches = np.empty((min(PATCHES, pixels), weight.shape[1]), data.dtype)
    for first in range(0, pixels, PATCHES):
        tile = acc[first : first + PATCHES]
        for group in range(walk.groups):
            for row in range(len(tile)):
                _gather(data, _start(walk, first + row) + group * walk.run, walk, patches[row])
            mine = slice(group * per_group, (group + 1) * per_group)
            _multiply(patches[: len(tile)], weight[mine], bias[mine], tile[:, mine])


@compiled
def _gather(data: Array, start: int, walk: Walk, patch: Array) -> None:
    """Copy what one output sees into its patch, in the order (row, column, channel)."""
    filled = 0
    for tap_row in range(walk.tap_rows):
        for tap_column in range(walk.tap_columns):
            place = start + tap_row * walk.tap_row_step + tap_column * walk.tap_column_step
            seen = data[place : place + walk.run]
            target = patch[filled : filled + walk.run]
            for index in range(walk.run):
                target[index] = seen[index]
            filled += walk.run


@compiled
def _multiply(patches: Array, weight: Array, bias: Array, acc: Array) -> None:
    """Fill acc (patches, out) with bias plus the dot product of every patch with every weight row.

    Where fewer than four patches or outputs remain, the last is computed several times: same place, same value.
    """
    number = acc.dtype.type
    last_patch, last_output = len(patches) - 1, len(weight) - 1
    nothing = (number(0), number(0), number(0), number(0))
    for o in range(0, len(weight), 4):
        outs = (o, min(o + 1, last_output), min(o + 2, last_output), min(o + 3, last_output))
        w0, w1, w2, w3 = weight[outs[0]], weight[outs[1]], weight[outs[2]], weight[outs[3]]
        for p in range(0, len(patches), 4):
            rows = (p, min(p + 1, last_patch), min(p + 2, last_patch), min(p + 3, last_patch))
            x0, x1, x2, x3 = patches[rows[0]], patches[rows[1]], patches[rows[2]], patches[rows[3]]
            s0 = s1 = s2 = s3 = nothing
            for k in range(patches.shape[1]):
                w = (w0[k], w1[k], w2[k], w3[k])
                s0 = _add_products(number, s0, x0[k], w)
                s1 = _add_products(number, s1, x1[k], w)
                s2 = _add_products(number, s2, x2[k], w)
                s3 = _add_products(number, s3, x3[k], w)
            for i in range(4):
                acc[rows[0], outs[i]] = s0[i] + bias[outs[i]]
                acc[rows[1], outs[i]] = s1[i] + bias[outs[i]]
                acc[rows[2], outs[i]] = s2[i] + bias[outs[i]]
                acc[rows[3], outs[i]] = s3[i] + bias[outs[i]]


@compiled
def _add_products(number: Any, sums: Any, x: Any, w: Any) -> Any:
    """The four sums with x times each of the four weights added."""
    return (
        number(sums[0] + number(x * w[0])),
        number(sums[1] + number(x * w[1])),
        number(sums[2] + number(x * w[2])),
        number(sums[3] + number(x * w[3])),
    )


@compiled
def by_channels(data: Array, weight: Array, bias: Array, walk: Walk, acc: Array) -> None:
    """Fill acc (pixels, channels) of a depthwise convolution; weight is (taps, channels)."""
    number = acc.dtype.type
    for pixel in range(len(acc)):
        start = _start(walk, pixel)
        sums = acc[pixel]
        for channel in range(len(sums)):
            sums[channel] = bias[channel]
        for tap in range(len(weight)):
            row, column = divmod(tap, walk.tap_columns)
            place = start + row * walk.tap_row_step + column * walk.tap_column_step
            x, w = data[place : place + len(sums)], weight[tap]
            for channel in range(len(sums)):
                sums[channel] = number(sums[channel] + number(x[channel] * w[channel]))


@compiled
def by_planes(data: Array, weight: Array, bias: Array, walk: Walk, acc: Array) -> None:
    """Fill acc (pixels, out) as `by_dot_products` does, from data whose channels are planes."""
    outputs, products = weight.shape
    full_weight = np.zeros(((outputs + 3) // 4 * 4, (products + 3) // 4 * 4), weight.dtype)
    for o in range(outputs):
        for k in range(products):
            full_weight[o, k] = weight[o, k]
    band = max(1, PIXELS // walk.columns) * walk.columns
    patches = np.zeros((full_weight.shape[1], band), data.dtype)
    sums = np.empty((4, band), acc.dtype)
    for first in range(0, len(acc), band):
        tile = acc[first : first + band]
        for pixel in range(0, len(tile), walk.columns):
            _gather_row(data, _start(walk, first + pixel), walk, patches[:, pixel : pixel + walk.columns])
        for o in range(0, outputs, 4):
            sums.fill(0)
            for k in range(0, products, 4):
                _add_planes(patches[k : k + 4], full_weight[o : o + 4, k : k + 4], sums)
            _spread(sums, bias, o, tile)


@compiled
def _gather_row(data: Array, start: int, walk: Walk, patches: Array) -> None:
    """Copy what a row of outputs sees into patches (products, outputs)."""
    filled = 0
    for tap_row in range(walk.tap_rows):
        for tap_column in range(walk.tap_columns):
            for index in range(walk.run):
                place = start + tap_row * walk.tap_row_step + tap_column * walk.tap_column_step
                seen, target = data[place + index * walk.run_step :], patches[filled]
                for column in range(len(target)):
                    target[column] = seen[column]
                filled += 1


@compiled
def _add_planes(patches: Array, weight: Array, sums: Array) -> None:
    """Add to sums (4, pixels) the products of weight (4, 4) and patches (4, pixels)."""
    number = sums.dtype.type
    x0, x1, x2, x3 = patches[0], patches[1], patches[2], patches[3]
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    w0 = (weight[0, 0], weight[1, 0], weight[2, 0], weight[3, 0])
    w1 = (weight[0, 1], weight[1, 1], weight[2, 1], weight[3, 1])
    w2 = (weight[0, 2], weight[1, 2], weight[2, 2], weight[3, 2])
    w3 = (weight[0, 3], weight[1, 3], weight[2, 3], weight[3, 3])
    for p in range(len(s0)):
        s = (s0[p], s1[p], s2[p], s3[p])
        s = _add_products(number, s, x0[p], w0)
        s = _add_products(number, s, x1[p], w1)
        s = _add_products(number, s, x2[p], w2)
        s = _add_products(number, s, x3[p], w3)
        s0[p], s1[p], s2[p], s3[p] = s


@compiled
def _spread(sums: Array, bias: Array, first: int, acc: Array) -> None:
    """Write sums (4, pixels) plus bias to four outputs of acc (pixels, out), the first of them last.

    Where fewer than four remain, the sums past them go to the last one too, which is then written over.
    """
    last = acc.shape[1] - 1
    o0, o1, o2, o3 = first, min(first + 1, last), min(first + 2, last), min(first + 3, last)
    for pixel in range(len(acc)):
        acc[pixel, o3] = sums[3, pixel] + bias[o3]
        acc[pixel, o2] = sums[2, pixel] + bias[o2]
        acc[pixel, o1] = sums[1, pixel] + bias[o1]
        acc[pixel, o0] = sums[0, pixel] + bias[o0]
