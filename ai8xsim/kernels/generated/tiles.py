"""The generator for tiles of 4x4 outputs (see `winograd`): what is done to a vector of channels, in three parts.

Tiles are taken apart into 36 planes, which are matrices of tiles and channels of 16 bits; each is multiplied with its
own matrix of weights; and the outputs are put together from the 36 products.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    after,
    apart,
    cgutils,
    emit_chosen,
    fields_of,
    keep_pairs_whole,
    load,
    moved,
    multiply_add_pairs,
    prefetch,
    splat,
    splat_constant,
    store,
    times,
    variable,
    vector,
)
from ai8xsim.kernels.generated.microkernel import Results, emit_activations
from ai8xsim.kernels.generated.targets import FOUR, Target, target_of
from ai8xsim.kernels.generated.winograd import (
    INPUTS,
    LARGEST_SHIFT,
    SHIFTS,
    factor_of_output,
    transform_inputs,
    transform_products,
)

OFFSET_BYTES = 4


@dataclass(frozen=True)
class Lanes:
    """A vector that is computed with."""

    builder: Builder
    value: Value

    def __add__(self, other: "Lanes") -> "Lanes":
        return Lanes(self.builder, self.builder.add(self.value, other.value))

    def __sub__(self, other: "Lanes") -> "Lanes":
        return Lanes(self.builder, self.builder.sub(self.value, other.value))

    def __lshift__(self, bits: int) -> "Lanes":
        kind = self.value.type
        return Lanes(
            self.builder, self.builder.shl(self.value, splat_constant(kind.element, bits, kind.count))
        )


class Planes(NamedTuple):
    """A vector of channels of a tile, in every plane. Addresses and steps are in bytes."""

    address: int
    step: int


class PlaneJob(NamedTuple):
    """A plane of tiles, times a few vectors of output channels."""

    inputs: int  # address of the first tile's values, 16 bits each
    input_step: int  # bytes from tile to tile
    outputs: int  # address of the first tile's sums
    output_step: int
    tiles: int
    groups: int  # of two inputs
    weights: int  # address: by group, vector, lane, input
    starts: int  # address of int32, one for each output channel, that are added to its sums; 0 where none are


@intrinsic
def take_apart(typing_context: Any, target: Any, source: Any, offsets: Any, planes: Any) -> Any:
    """Transform a tile's inputs, for a vector of 16-bit values.

    source: address of its first value.   offsets: address of int32, from there to each of the 36 inputs, row by row,
    in values.
    """
    facts = target_of(target.instance_class)

    def emit(builder: Builder, args: list[Value]) -> None:
        columns = [transform_inputs(_column(builder, facts, args, number)) for number in range(INPUTS)]
        place, step = fields_of(builder, args[2], Planes)
        for row in zip(*columns, strict=True):
            for lanes in transform_inputs(row):
                store(builder, lanes.value, place)
                place = builder.add(place, step)

    return types.void(target, types.int64, types.int64, planes), apart("take_apart", emit)


@intrinsic
def multiply_plane(typing_context: Any, target: Any, vectors: Any, job: Any) -> Any:
    """Multiply a plane with so many vectors of output channels. The last block of tiles may go beyond the end."""
    facts = target_of(target.instance_class)

    def emit(builder: Builder, args: list[Value]) -> None:
        if facts.products == FOUR:
            keep_pairs_whole(builder)
        fields = fields_of(builder, args[1], PlaneJob)
        number, choices = builder.sub(args[0], ir.Constant(I64, 1)), range(1, len(facts.tile_blocks) + 1)
        emit_chosen(builder, number, choices, lambda vectors: _emit_plane(builder, facts, vectors, fields))

    return types.void(target, types.int64, job), apart("multiply_plane", emit)


@intrinsic
def put_together(typing_context: Any, target: Any, planes: Any, outputs: Any) -> Any:
    """The activations of a tile, for a vector of output channels."""
    facts = target_of(target.instance_class)

    def emit(builder: Builder, args: list[Value]) -> None:
        job = fields_of(builder, args[1], Results)
        place = fields_of(builder, args[0], Planes)
        columns = [transform_products(_products(builder, facts, place, number)) for number in range(INPUTS)]
        sums = [
            [_times(lanes, factor_of_output(down + across))]
            for row, down in zip(zip(*columns, strict=True), SHIFTS, strict=True)
            for lanes, across in zip(transform_products(row), SHIFTS, strict=True)
        ]
        shift = builder.add(job.shift, ir.Constant(I64, LARGEST_SHIFT))
        emit_activations(builder, facts, job._replace(shift=shift), sums)

    return types.void(target, planes, outputs), apart("put_together", emit)


def _column(builder: Builder, target: Target, args: list[Value], number: int) -> list[Lanes]:
    """A column of a tile's inputs, in 16 bits, from the arguments of `take_apart`."""
    offsets = [after(builder, args[1], OFFSET_BYTES * (INPUTS * row + number)) for row in range(INPUTS)]
    places = [moved(builder, args[0], offset, target.value_bytes) for offset in offsets]
    kept, lanes = (I8 if target.value_bytes == 1 else I16), 2 * target.lanes
    inputs = [load(builder, place, vector(kept, lanes)) for place in places]
    if target.value_bytes == 1:
        inputs = [builder.zext(values, vector(I16, lanes)) for values in inputs]
    return [Lanes(builder, values) for values in inputs]


def _products(builder: Builder, target: Target, planes: Planes, number: int) -> list[Lanes]:
    """A column of a tile's products; those of the next vector are asked for, since the planes fill the first cache."""
    size = 4 * target.lanes
    steps = [times(builder, planes.step, INPUTS * row + number) for row in range(INPUTS)]
    places = [builder.add(planes.address, step) for step in steps]
    for place in places:
        prefetch(builder, after(builder, place, size))
    return [Lanes(builder, load(builder, place, vector(I32, target.lanes))) for place in places]


def _times(lanes: Lanes, factor: int) -> Value:
    return lanes.builder.mul(lanes.value, splat_constant(I32, factor, lanes.value.type.count))


def _emit_plane(builder: Builder, target: Target, vectors: int, job: PlaneJob) -> None:
    """Large blocks, one more where the rest is larger than the smaller block; else that one takes the rest."""
    sizes = target.tile_blocks[vectors - 1]
    missing = ir.Constant(I64, sizes.tiles - sizes.rest - 1)
    blocks = builder.udiv(builder.add(job.tiles, missing), ir.Constant(I64, sizes.tiles))
    inputs, outputs = variable(builder, job.inputs), variable(builder, job.outputs)
    with cgutils.for_range(builder, blocks):
        _emit_tiles(builder, target, job, (sizes.tiles, vectors), (inputs, outputs))
    is_rest = builder.icmp_signed(">", job.tiles, times(builder, blocks, sizes.tiles))
    with builder.if_then(is_rest):
        _emit_tiles(builder, target, job, (sizes.rest, vectors), (inputs, outputs))


def _emit_tiles(
    builder: Builder, target: Target, job: PlaneJob, shape: tuple[int, int], places: tuple[Value, Value]
) -> None:
    """A block of tiles and vectors.   places: variables, where its inputs and outputs begin; they go on."""
    inputs, outputs = places
    sums = _emit_sums(builder, target, job, shape, builder.load(inputs))
    with builder.if_then(builder.icmp_unsigned("!=", job.starts, ir.Constant(I64, 0)), likely=False):
        _add_starts(builder, target, job, sums)
    place = builder.load(outputs)
    for row in sums:
        for at, total in enumerate(row):
            store(builder, builder.load(total), after(builder, place, 4 * target.lanes * at))
        place = builder.add(place, job.output_step)
    builder.store(place, outputs)
    step = times(builder, job.input_step, shape[0])
    builder.store(builder.add(builder.load(inputs), step), inputs)


def _add_starts(builder: Builder, target: Target, job: PlaneJob, sums: list[list[Value]]) -> None:
    """One plane of many: sums that began with starts would cost copies of registers in all of them."""
    for row in sums:
        for at, total in enumerate(row):
            place = after(builder, job.starts, 4 * target.lanes * at)
            start = load(builder, place, vector(I32, target.lanes), 4)
            builder.store(builder.add(builder.load(total), start), total)


def _emit_sums(
    builder: Builder, target: Target, job: PlaneJob, shape: tuple[int, int], inputs: Value
) -> list[list[Value]]:
    """The products of a block, from the first tile's inputs on: variables, by tile and vector."""
    tiles, vectors = (range(size) for size in shape)
    pairs, size = vector(I16, 2 * target.lanes), 4 * target.lanes
    addresses = [builder.add(inputs, times(builder, job.input_step, tile)) for tile in tiles]
    zero = splat_constant(I32, 0, target.lanes)
    sums = [[variable(builder, zero) for _ in vectors] for _ in tiles]
    with cgutils.for_range(builder, job.groups) as group:
        at, place = (times(builder, group.index, step) for step in (4, size * len(vectors)))
        place = builder.add(job.weights, place)
        weights = [load(builder, after(builder, place, size * number), pairs) for number in vectors]
        for address, row in zip(addresses, sums, strict=True):
            x = splat(builder, load(builder, builder.add(address, at), I32), target.lanes)
            for total, weight in zip(row, weights, strict=True):
                product = multiply_add_pairs(builder, target, builder.load(total), x, weight)
                builder.store(product, total)
    return sums
