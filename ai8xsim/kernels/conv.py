"""Convolutions: activations and weights in, accumulators out.

Weights are packed once and used often. Accumulators have full width and include the bias; `requantize` reduces
them to activations. Data is (samples, rows, columns, channels), int8, or int64 where a hidden layer with 32-bit
output feeds this one ("wide" data).
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai8xsim.kernels.accumulate import Walk, by_channels, by_dot_products, by_planes
from ai8xsim.kernels.geometry import ConvolutionGeometry, Pair

IntegerArray = NDArray[Any]

# Products that a sum of 32 bits surely holds, each 128 * 128 at most; the bias counts as one more.
PRODUCTS_IN_32_BITS = 2**31 // (128 * 128) - 2

# Vectors of pixels beat vectors of products where there are few products per output, few channels to turn into
# planes, and rows that are not too short (measured on Zen 5).
FEW_PRODUCTS, FEW_CHANNELS, ROW_OF_PIXELS = 128, 96, 8


class PackedWeight(NamedTuple):
    """The weight of a convolution in the order in which a compiled kernel reads it; made by `pack`."""

    data: NDArray[np.int8]  # (out, rows * columns * in / groups); depthwise (rows * columns, channels)
    kernel_size: Pair
    inputs: int
    outputs: int
    groups: int

    @property
    def products(self) -> int:
        """Of an output."""
        return self.inputs // self.groups * self.kernel_size[0] * self.kernel_size[1]

    @property
    def depthwise(self) -> bool:
        """Whether every channel has an output of its own."""
        return self.groups == self.inputs == self.outputs > 1


class AxisPhase(NamedTuple):
    """Along one axis, the outputs of a transposed convolution that meet the same taps."""

    first: int  # of these outputs; the next one is a stride away
    taps: tuple[int, ...]  # that they meet, in the order of the inputs
    offset: int  # from output to input: output `first + stride * n` meets input `n + offset` first


class Phase(NamedTuple):
    """The outputs of a transposed convolution that meet the same taps, and the weight that does their work."""

    row: AxisPhase
    column: AxisPhase
    weight: PackedWeight


class PackedTransposedWeight(NamedTuple):
    """The weight of a transposed convolution as one convolution per phase; made by `pack_transposed`."""

    phases: tuple[Phase, ...]
    inputs: int
    outputs: int


def pack(weight_oihw: ArrayLike, geometry: ConvolutionGeometry) -> PackedWeight:
    """The weight of a convolution, (out, in / groups, rows, columns), as `convolve` wants it.

    Raises ValueError for values outside int8 and for shapes that contradict the geometry.
    """
    weight = _int8(weight_oihw)
    outputs, _, *kernel_size = weight.shape
    _expect(tuple(kernel_size) == geometry.kernel_size, weight.shape, geometry)
    _expect(outputs % geometry.groups == 0, weight.shape, geometry)
    return _pack(weight, geometry.groups)


def pack_transposed(weight_iohw: ArrayLike, geometry: ConvolutionGeometry) -> PackedTransposedWeight:
    """The weight of a transposed convolution, (in, out / groups, rows, columns), for `convolve_transposed`.

    With stride s, the outputs 0, s, 2s, ... meet only some of the taps, the outputs 1, s + 1, ... the others:
    each such phase is an ordinary convolution with the kernel turned round, and no product with a stuffed zero
    is ever computed.
    Raises ValueError for values outside int8 and for shapes that contradict the geometry.
    """
    weight = _int8(weight_iohw)
    inputs, outputs_per_group, *kernel_size = weight.shape
    groups = geometry.groups
    _expect(tuple(kernel_size) == geometry.kernel_size, weight.shape, geometry)
    _expect(inputs % groups == 0 and geometry.dilation == (1, 1), weight.shape, geometry)
    oihw = outputs_first(weight, groups)
    phases = tuple(
        Phase(row, column, _pack(oihw[:, :, row.taps][..., column.taps], groups))
        for row, column in product(axis_phases(geometry, 0), axis_phases(geometry, 1))
    )
    return PackedTransposedWeight(phases, inputs, groups * outputs_per_group)


def outputs_first(weight_iohw: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    """The weight of a transposed convolution, (in, out / groups, ...), as (out, in / groups, ...)."""
    inputs, outputs_per_group, *kernel_size = weight_iohw.shape
    split = weight_iohw.reshape(groups, inputs // groups, outputs_per_group, *kernel_size)
    return split.swapaxes(1, 2).reshape(groups * outputs_per_group, inputs // groups, *kernel_size)


def convolve(
    x_nhwc: IntegerArray, packed: PackedWeight, bias: ArrayLike | None, geometry: ConvolutionGeometry
) -> IntegerArray:
    """Accumulators of a convolution: the sum of products at full resolution, plus 128 times the bias.

    x_nhwc: (samples, rows, columns, in), int8 or wide.   bias: one int8 per output, or None.
    Returns (samples, rows, columns, out), in units of 2**-14: int32; int64 for wide data, and where a sum may not
    fit 32 bits.
    Raises ValueError for shapes that contradict each other.
    Source: README "Saturation and Clipping" (nothing saturates before the end).

    >>> geometry = ConvolutionGeometry((1, 1))
    >>> packed = pack(np.full((1, 2, 1, 1), -128), geometry)
    >>> convolve(np.full((1, 1, 1, 2), -128, np.int8), packed, [1], geometry).item()
    32896
    """
    size = (x_nhwc.shape[1], x_nhwc.shape[2])
    outputs = geometry.output_size(size)
    _expect(min(outputs) >= 1 and packed.inputs == x_nhwc.shape[3], x_nhwc.shape, geometry)
    _expect((packed.kernel_size, packed.groups) == (geometry.kernel_size, geometry.groups), geometry)
    if packed.products > PRODUCTS_IN_32_BITS:
        x_nhwc = x_nhwc.astype(np.int64)
    start = _start(bias, packed.outputs, x_nhwc.dtype)
    if size[0] > size[1] == geometry.kernel_size[1] == 1 and geometry.padding[1] == 0:
        # One-dimensional data is a column of pixels; lying down as a row it has its taps side by side.
        lying, outputs = geometry.swapped(), (outputs[1], outputs[0])
        return _convolve(x_nhwc.swapaxes(1, 2), packed, start, lying, outputs).swapaxes(1, 2)
    return _convolve(x_nhwc, packed, start, geometry, outputs)


def convolve_transposed(
    x_nhwc: IntegerArray,
    packed: PackedTransposedWeight,
    bias: ArrayLike | None,
    geometry: ConvolutionGeometry,
) -> IntegerArray:
    """Accumulators of a transposed convolution, plus 128 times the bias; shapes and units as for `convolve`.

    Source: PyTorch's ConvTranspose2d, whose inputs and outputs change places in the weight.
    """
    size = (x_nhwc.shape[1], x_nhwc.shape[2])
    rows, columns = geometry.transposed_output_size(size)
    _expect(min(rows, columns) >= 1 and packed.inputs == x_nhwc.shape[3], x_nhwc.shape, geometry)
    _expect(len(packed.phases) == geometry.stride[0] * geometry.stride[1], geometry)
    start = _start(bias, packed.outputs, x_nhwc.dtype)
    # No phase reaches farther beyond the data than a kernel, and behind it the output padding.
    before = geometry.kernel_size
    behind = (before[0] + geometry.output_padding[0], before[1] + geometry.output_padding[1])
    padded = _pad(x_nhwc, before, behind)
    acc = np.empty((len(x_nhwc), rows, columns, packed.outputs), start.dtype)
    for row, column, weight in packed.phases:
        target = acc[:, row.first :: geometry.stride[0], column.first :: geometry.stride[1]]
        origin = (before[0] + row.offset, before[1] + column.offset)
        plain = ConvolutionGeometry(weight.kernel_size, groups=weight.groups)
        target[:] = _accumulate(padded, weight, start, plain, (origin, target.shape[1:3]))
    return acc


def _convolve(
    x_nhwc: IntegerArray,
    packed: PackedWeight,
    start: IntegerArray,
    geometry: ConvolutionGeometry,
    outputs: Pair,
) -> IntegerArray:
    few = packed.data.shape[1] <= FEW_PRODUCTS and packed.inputs <= FEW_CHANNELS
    in_rows = packed.groups == geometry.stride[1] == 1 and outputs[1] >= ROW_OF_PIXELS
    planes = few and in_rows and x_nhwc.dtype == np.int8
    padded = _pad(x_nhwc, geometry.padding, geometry.padding, planes=planes)
    return _accumulate(padded, packed, start, geometry, ((0, 0), outputs), planes=planes)


def _accumulate(
    padded: IntegerArray,
    packed: PackedWeight,
    start: IntegerArray,
    geometry: ConvolutionGeometry,
    place: tuple[Pair, Pair],
    planes: bool = False,
) -> IntegerArray:
    """Accumulators of a convolution over data that has its padding; `place`: its origin, its output size."""
    acc = np.empty((len(padded), *place[1], packed.outputs), start.dtype)
    walk = _walk(padded, packed, geometry, place)
    kernel = by_planes if planes else by_channels if packed.depthwise else by_dot_products
    kernel(padded.ravel("K"), packed.data, start, walk, acc.reshape(-1, packed.outputs))
    return acc


def _walk(
    padded: IntegerArray, packed: PackedWeight, geometry: ConvolutionGeometry, place: tuple[Pair, Pair]
) -> Walk:
    """How a kernel finds its values in the data, whether its channels lie side by side or in planes."""
    origin, outputs = place
    image, row, column, channel = (stride // padded.itemsize for stride in padded.strides)
    tap_columns, run = geometry.kernel_size[1], packed.inputs // packed.groups
    if channel == packed.groups == geometry.dilation[1] == 1:  # the taps of a row lie side by side
        tap_columns, run = 1, run * tap_columns
    return Walk(
        rows=outputs[0],
        columns=outputs[1],
        origin=origin[0] * row + origin[1] * column,
        image_step=image,
        row_step=row * geometry.stride[0],
        column_step=column * geometry.stride[1],
        tap_rows=geometry.kernel_size[0],
        tap_columns=tap_columns,
        tap_row_step=row * geometry.dilation[0],
        tap_column_step=column * geometry.dilation[1],
        run=run,
        run_step=channel,
        groups=packed.groups,
    )


def _pack(weight_oihw: NDArray[np.int8], groups: int) -> PackedWeight:
    outputs, inputs_per_group, rows, columns = weight_oihw.shape
    packed = PackedWeight(weight_oihw, (rows, columns), inputs_per_group * groups, outputs, groups)
    if packed.depthwise:
        data = weight_oihw.transpose(2, 3, 1, 0).reshape(rows * columns, outputs)
    else:
        data = weight_oihw.transpose(0, 2, 3, 1).reshape(outputs, rows * columns * inputs_per_group)
    return packed._replace(data=np.ascontiguousarray(data))


def axis_phases(geometry: ConvolutionGeometry, axis: int) -> list[AxisPhase]:
    """Which taps meet an input at each phase: input = (output + padding - tap) / stride, without remainder."""
    stride, padding = geometry.stride[axis], geometry.padding[axis]
    phases = []
    for first in range(stride):
        taps = [tap for tap in range(geometry.kernel_size[axis]) if (first + padding - tap) % stride == 0]
        offset = (first + padding - taps[-1]) // stride if taps else 0
        phases.append(AxisPhase(first, tuple(reversed(taps)), offset))
    return phases


def _pad(x_nhwc: IntegerArray, before: Pair, behind: Pair, planes: bool = False) -> IntegerArray:
    """The data with zeros around it, channels side by side, or as planes of pixels; writable and without gaps."""
    if not planes and not any(before) and not any(behind):
        return np.require(x_nhwc, requirements=("C", "W"))
    samples, rows, columns, channels = x_nhwc.shape
    shape = (samples, rows + before[0] + behind[0], columns + before[1] + behind[1], channels)
    if planes:
        padded = np.zeros((shape[0], shape[3], shape[1], shape[2]), x_nhwc.dtype).transpose(0, 2, 3, 1)
    else:
        padded = np.zeros(shape, x_nhwc.dtype)
    padded[:, before[0] : before[0] + rows, before[1] : before[1] + columns] = x_nhwc
    return padded


def _start(bias: ArrayLike | None, outputs: int, dtype: np.dtype[Any]) -> IntegerArray:
    """What each accumulator starts from, in the type of the accumulators of such data."""
    _expect(dtype in (np.int8, np.int64), dtype)
    number = np.int64 if dtype == np.int64 else np.int32
    if bias is None:
        return np.zeros(outputs, number)
    start: IntegerArray = np.multiply(bias, 128, dtype=number)
    _expect(start.shape == (outputs,), "bias", start.shape, outputs)
    return start


def _int8(values: ArrayLike) -> NDArray[np.int8]:
    array = np.asarray(values)
    integral = np.issubdtype(array.dtype, np.integer) and array.ndim == 4 and array.size > 0
    _expect(integral and array.min() >= -128 and array.max() <= 127, "weight", array.shape, array.dtype)
    return array.astype(np.int8)


def _expect(condition: bool, *what: object) -> None:
    """The caller has checked its input and told its user; this keeps compiled code inside of its arrays."""
    if not condition:
        raise ValueError(f"these do not fit together: {', '.join(map(str, what))}")
