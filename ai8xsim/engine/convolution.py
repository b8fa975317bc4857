"""Convolutions as steps: which pixels meet which taps, and the weights in the matching order."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder
from ai8xsim.engine.costs import STEP, Use
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.packed import PackedTaps, packed_taps
from ai8xsim.engine.spared import Part, parts_along
from ai8xsim.engine.stacks import Operands, stacked, worth_stacking
from ai8xsim.engine.taps import Met, tap_offsets, taps_of
from ai8xsim.engine.tensor import Border, Offsets, Region, Tensor
from ai8xsim.engine.tiles import Starts, tile_corners, tile_inputs, tile_outputs, worth_tiles
from ai8xsim.kernels import conv
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.held import MOST, ZERO
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import FOUR, Target
from ai8xsim.kernels.generated.winograd import plane_starts
from ai8xsim.kernels.geometry import ConvolutionGeometry
from ai8xsim.program.operations import Activation, Convolution, Layer, OutputStage

Int8 = npt.NDArray[np.int8]
INT32_LIMIT = 2**31
LARGEST_PRODUCT = 128 * 128


class Results(NamedTuple):
    """Where a convolution's results go, the biases, and how a kernel makes activations of sums; None for sums."""

    output: Tensor
    bias: Int8 | None
    stage: OutputStage | None

    @property
    def are_sums(self) -> bool:
        return self.stage is None

    def of_channels(self, channels: range) -> "Results":
        """Some channels of them."""
        bias = None if self.bias is None else self.bias[channels.start : channels.stop]
        return Results(self.output.channel_block(channels.start, len(channels)), bias, self.stage)


@dataclass(frozen=True)
class Sums:
    """Sums of 32 bits in a region, `step` values from pixel to pixel."""

    region: Region
    step: int


def flattens_itself(layer: Layer) -> bool:
    """Whether the convolution of flattened data can as well be one with a kernel of the data's size."""
    convolution = layer.convolution
    if convolution is None or convolution.is_transposed or convolution.geometry.groups != 1:
        return False
    return convolution.geometry.kernel_size == (1, 1) and convolution.geometry.padding == (0, 0)


def border_for(convolution: Convolution, size: Border) -> Border:
    """The zeros that a convolution reads around data of `size` (rows, columns)."""
    geometry = convolution.geometry
    if not convolution.is_transposed:
        return geometry.padding
    outputs = geometry.transposed_output_size(size)
    reach = [0, 0]
    for axis in (0, 1):
        for phase in conv.axis_phases(geometry, axis):
            last = len(range(phase.first, outputs[axis], geometry.stride[axis])) - 1
            behind = last + phase.offset + len(phase.taps) - size[axis]
            reach[axis] = max(reach[axis], -phase.offset, behind)
    return reach[0], reach[1]


def add_convolution(
    builder: Builder, layer: Layer, x: Tensor, output: Tensor | None, count: int
) -> Sums | None:
    """The steps of a layer's convolution of `x`.

    output: where its activations go, or None where sums are the result, which are returned.
    count: where saturated values are counted, or -1.
    """
    convolution, stage = layer.convolution, layer.output_stage
    assert convolution is not None
    fused = output is not None and count < 0 and _can_fuse(convolution, stage)
    work, bias = _Work(builder, layer, x), convolution.weights.bias
    if fused:
        assert output is not None
        work.add_steps(Results(output, bias, stage))
        return None
    pixels = layer.output_shape.pixels
    step = packing.vectors_of(builder.target, layer.output_shape.channels) * builder.target.lanes
    sums = Sums(builder.region(pixels * step, is_sums=True), step)
    target = Tensor(
        sums.region,
        layer.output_shape.rows,
        layer.output_shape.columns,
        layer.output_shape.channels,
        0,
        layer.output_shape.columns * step,
        step,
    )
    work.add_steps(Results(target, bias, None))
    if output is None:
        return sums
    _add_requantization(builder, stage, target, output, count)
    return None


def _products(convolution: Convolution) -> int:
    weight = convolution.weights.weight
    inputs = weight.shape[0] if convolution.is_transposed else weight.shape[1] * convolution.geometry.groups
    return int(inputs * weight.shape[2] * weight.shape[3])


def fits_32_bits(convolution: Convolution) -> bool:
    """Whether no sum leaves 32 bits, whatever the data."""
    return _largest_sum(convolution) < INT32_LIMIT


def _largest_sum(convolution: Convolution) -> int:
    return (_products(convolution) + 1) * LARGEST_PRODUCT  # the bias counts 128 * 128 at most


def _can_fuse(convolution: Convolution, stage: OutputStage) -> bool:
    """Whether a kernel makes activations itself: no left shift, no absolute value, and nothing leaves 32 bits."""
    shift = 7 - stage.shift
    largest = _largest_sum(convolution) + (129 << max(shift, 0))
    return stage.activation is not Activation.ABS and shift >= 0 and largest < INT32_LIMIT


def _add_requantization(
    builder: Builder, stage: OutputStage, sums: Tensor, output: Tensor, count: int
) -> None:
    fields = {
        "channels": output.channels,
        "shift": 7 - stage.shift,
        "activation": list(Activation).index(stage.activation),
        "counter": count,
    }
    pixels = np.stack([output.pixels(), sums.pixels()], axis=1)
    builder.add(Draft(Kind.REQUANTIZE, output.region, (sums.region,), pixels, fields=fields))


class _Work:
    """The steps of one convolution."""

    def __init__(self, builder: Builder, layer: Layer, x: Tensor) -> None:
        assert layer.convolution is not None
        self._builder, self._x = builder, x
        self._convolution = layer.convolution
        self._is_flattened = layer.flatten and flattens_itself(layer)

    def add_steps(self, results: Results) -> None:
        geometry, weight = self._convolution.geometry, self._convolution.weights.weight
        if self._convolution.is_transposed:
            self._add_phases(results)
        elif geometry.groups == weight.shape[0] == self._x.channels > 1:
            self._add_depthwise(results)
        else:
            if self._is_flattened:
                weight = weight.reshape(len(weight), self._x.channels, self._x.rows, self._x.columns)
                geometry = ConvolutionGeometry((self._x.rows, self._x.columns))
            weight = _dense(weight, geometry.groups)
            starts = self._starts(weight.reshape(len(weight), -1), results)
            tensors = self._x, results.output
            if not results.are_sums and worth_tiles(self._builder, geometry, weight, starts, tensors):
                self._add_tiles(weight, starts, geometry, results)
            else:
                operands = Operands(self._x, weight, geometry)
                if worth_stacking(self._builder, operands, are_sums=results.are_sums):
                    operands = stacked(self._builder, operands)
                self._add_rows(operands, results)

    def _add_tiles(
        self, weight_oihw: Int8, starts: Starts, geometry: ConvolutionGeometry, results: Results
    ) -> None:
        """A convolution by tiles of outputs."""
        target, x, output = self._builder.target, self._x, results.output
        corners, offsets = tile_corners(output), tile_outputs(output)
        outputs = [output.offset(row, column) for row, column in corners]
        inputs = [x.offset(row, column) for row, column in corners - geometry.padding]
        pixels = np.stack([offsets, np.zeros_like(offsets)], axis=1)
        draft = Draft(
            Kind.MULTIPLY_TILES,
            output.region,
            (x.region,),
            np.array([outputs, inputs], np.int64).T,
            taps=np.concatenate([tile_inputs(x), pixels.reshape(-1)]),
            weights=packing.pack_tile_weights(target, weight_oihw),
            starts=plane_starts(starts),
            fields=self._fields(results)
            | {
                "groups": packing.pairs_of(weight_oihw.shape[1]),
                "is_together": int(output.pixel_step == output.channels == target.lanes),
            },
        )
        self._builder.add(draft)

    def _add_rows(self, operands: Operands, results: Results) -> None:
        """An ordinary convolution; pixels at the border may leave out what meets padding only."""
        (x, weight_oihw, geometry), size = operands, results.output.shape[:2]
        is_adjacent = geometry.stride[1] == 1 and size[1] % FOUR == 0 and x.pixel_step <= FOUR
        use = Use(size[0] * size[1], results.are_sums, is_adjacent)
        for packed in packed_taps(self._builder, taps_of(x, weight_oihw, geometry), use):
            self._add_channels(packed, operands, results.of_channels(packed.channels))

    def _add_channels(self, packed: PackedTaps, operands: Operands, results: Results) -> None:
        (x, _, geometry), output, costs = operands, results.output, self._builder.costs
        # Samples of a batch share what a step costs only as far as they go together: so many steps for so few
        # channels would often cost more than they spare.
        step = STEP if packed.kind is Kind.MULTIPLY_SPLIT else costs.step
        cut = step + costs.weight_byte * packed.weights.size
        for (rows, _), (columns, _), met in _parts(packed, geometry, x, output, cut):
            first = (rows.start * geometry.stride[0], columns.start * geometry.stride[1])
            count = (len(rows), len(columns))
            corner = (first[0] - geometry.padding[0], first[1] - geometry.padding[1])
            inputs = x.pixels(corner, geometry.stride, count)
            outputs = output.pixels((rows.start, columns.start), (1, 1), count)
            self._add(np.stack([outputs, inputs], axis=1), packed, met, results)

    def _add_phases(self, results: Results) -> None:
        """A transposed convolution: an ordinary one for each phase of its stride, into every stride-th pixel."""
        geometry, output = self._convolution.geometry, results.output
        weight = conv.outputs_first(self._convolution.weights.weight, geometry.groups)
        weight = _dense(weight, geometry.groups)
        for row, column in product(conv.axis_phases(geometry, 0), conv.axis_phases(geometry, 1)):
            part = weight[:, :, row.taps][..., column.taps]
            count = (
                len(range(row.first, output.rows, geometry.stride[0])),
                len(range(column.first, output.columns, geometry.stride[1])),
            )
            if min(count) < 1:
                continue
            taps = taps_of(self._x, part, ConvolutionGeometry((part.shape[2], part.shape[3])))
            inputs = self._x.pixels((row.offset, column.offset), (1, 1), count)
            for packed in packed_taps(self._builder, taps, Use(len(inputs), results.are_sums)):
                own = results.of_channels(packed.channels)
                outputs = own.output.pixels((row.first, column.first), geometry.stride, count)
                self._add(np.stack([outputs, inputs], axis=1), packed, taps.all, own)

    def _add_depthwise(self, results: Results) -> None:
        geometry, weight = self._convolution.geometry, self._convolution.weights.weight
        target, x, output = self._builder.target, self._x, results.output
        first = (-geometry.padding[0], -geometry.padding[1])
        inputs = x.pixels(first, geometry.stride, (output.rows, output.columns))
        together = _pixels_as_one(target, geometry, x, output)
        weight_ct = weight.reshape(len(weight), -1)
        starts = np.tile(self._starts(weight_ct, results), together)
        channels = together * output.channels
        draft = Draft(
            Kind.MULTIPLY_CHANNELS,
            output.region,
            (x.region,),
            np.stack([output.pixels(), inputs], axis=1)[::together],
            taps=tap_offsets(x, geometry).reshape(-1),
            weights=packing.pack_channel_weights(target, np.tile(weight_ct, (together, 1))),
            starts=packing.by_channel_vector(target, starts),
            fields=self._fields(results)
            | {"channels": channels, "vectors": packing.vectors_of(target, channels)},
        )
        self._builder.add(draft)

    def _add(self, pixels: npt.NDArray[Any], packed: PackedTaps, met: Met, results: Results) -> None:
        """The pixels that meet a part of the kernel."""
        taps, output = packed.taps, results.output
        weight_otr = taps.weight_otr[:, met.taps.start : met.taps.stop, met.run.start : met.run.stop]
        starts = self._starts(weight_otr.reshape(len(weight_otr), -1), results)
        is_whole, is_together = met.run == taps.all.run, self._is_together(packed, pixels, output)
        pixel_step = _step_of_fours(pixels[:, 1]) if self._may_be_even(packed) else 0
        numbers = {
            "groups": packed.groups if is_whole else len(met.run) // packed.inputs,
            "all_groups": packed.groups,
            "first_group": met.run.start // packed.inputs,
            "first_tap": met.taps.start,
            "all_taps": len(taps.offsets),
            "unit": FOUR if is_together or pixel_step else packed.unit,
            "is_together": int(is_together),
            "pixel_step": pixel_step,
        }
        draft = Draft(
            packed.kind,
            output.region,
            (taps.region,),
            pixels,
            taps=taps.offsets[met.taps.start : met.taps.stop] + met.run.start,
            weights=packed.weights,
            starts=packed.in_order(self._builder.target, starts, are_sums=results.are_sums),
            fields=self._fields(results) | packed.fields(self._builder.target) | numbers,
        )
        self._builder.add(draft)

    def _may_be_even(self, packed: PackedTaps) -> bool:
        """Whether blocks may rely on how far apart the inputs of every four pixels are."""
        if packed.kind is Kind.MULTIPLY:
            return len(packed.channels) <= self._builder.target.lanes  # as only blocks of one vector do
        return packed.kind is Kind.MULTIPLY_NARROW

    def _is_together(self, packed: PackedTaps, pixels: npt.NDArray[Any], output: Tensor) -> bool:
        """Whether the activations of every four pixels lie side by side, and blocks pack all of a pixel's together."""
        target, channels = self._builder.target, output.channels
        is_packed = packed.kind is Kind.MULTIPLY and channels in (target.lanes, 2 * target.lanes)
        may_be = (is_packed or packed.kind is Kind.MULTIPLY_NARROW) and target.masked_stores
        return may_be and _step_of_fours(pixels[:, 0]) == channels

    def _starts(self, weight_ok: Int8, results: Results) -> Starts:
        shift = None if results.stage is None else 7 - results.stage.shift
        return packing.starts(self._builder.target, weight_ok, results.bias, shift)

    def _fields(self, results: Results) -> dict[str, int]:
        target, (output, _, stage) = self._builder.target, results
        is_rectified = stage is not None and stage.activation is Activation.RELU
        return {
            "is_wide": int(stage is None),
            "channels": output.channels,
            "vectors": packing.vectors_of(target, output.channels),
            "shift": 0 if stage is None else 7 - stage.shift,
            "ceiling": ZERO if is_rectified else MOST,
        }


def _parts(
    packed: PackedTaps, geometry: ConvolutionGeometry, x: Tensor, output: Tensor, cut: float
) -> Iterator[tuple[Part, Part, Met]]:
    """Rows and columns of outputs, and what they meet.   cut: what one more step takes, in products.

    Where a tap is a row of the kernel, fewer rows are fewer taps. Where its run is that row's columns, and each of
    them fills groups of inputs, fewer columns are a shorter run; but adjacent pixels stay together.
    """
    taps, step = packed.taps, x.pixel_step
    by_rows = len(taps.offsets) == geometry.kernel_size[0]
    is_row = by_rows and len(taps.all.run) == geometry.kernel_size[1] * step
    by_columns = is_row and step % packed.inputs == 0 and packed.unit == 1
    rows = [Part(range(output.rows), taps.all.taps)]
    columns = every_column = [Part(range(output.columns), range(geometry.kernel_size[1]))]
    if by_rows:
        rows = parts_along(0, geometry, x.rows, output.rows, cut / (output.columns * packed.products))
    if by_columns:
        products = output.rows * len(taps.offsets) * packed.products / geometry.kernel_size[1]
        columns = parts_along(1, geometry, x.columns, output.columns, cut / products)
    for row in rows:
        is_inside = row.kernel == taps.all.taps  # corners are not worth a step of their own
        for column in columns if is_inside else every_column:
            met = column.kernel
            run = range(met.start * step, met.stop * step) if by_columns else taps.all.run
            yield row, column, Met(row.kernel, run)


def _pixels_as_one(target: Target, geometry: ConvolutionGeometry, x: Tensor, output: Tensor) -> int:
    """How many pixels that lie side by side are one with more channels, which fill the blocks of a depthwise step."""
    channels, block = output.channels, target.marker.channel_vectors * target.lanes
    together = block // gcd(channels, block)
    fits = output.columns % together == 0 and channels % target.lanes == 0
    is_dense = geometry.stride[1] == 1 and x.pixel_step == output.pixel_step == channels
    return together if fits and is_dense else 1


def _step_of_fours(offsets: Offsets) -> int:
    """How far apart every four offsets are; 0 where that differs."""
    if len(offsets) % FOUR:
        return 0
    steps = np.unique(np.diff(offsets.reshape(-1, FOUR), axis=1))
    return int(steps[0]) if len(steps) == 1 else 0


def _dense(weight_oihw: Int8, groups: int) -> Int8:
    """The weight of a grouped convolution as that of one group, with zeros where an output does not look."""
    if groups == 1:
        return weight_oihw
    outputs, inputs, *kernel_size = weight_oihw.shape
    dense = np.zeros((outputs, inputs * groups, *kernel_size), np.int8)
    per_group = outputs // groups
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        dense[rows, group * inputs : (group + 1) * inputs] = weight_oihw[rows]
    return dense
