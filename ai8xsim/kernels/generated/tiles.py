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
    INVERSE_OF_ODD_PART,
    OUTPUTS,
    PRODUCTS,
    SHIFTS,
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


@intrinsic
def take_apart(typing_context: Any, target: Any, source: Any, offsets: Any, planes: Any) -> Any:
    """Transform a tile's inputs, for a vector of 16-bit values.

    source: address of its first value.   offsets: address of int32, from there to each of the 36 inputs, row by row,
    in values.
    """
    facts = target_of(target.instance_class)

    def emit(builder: Builder, args: list[Value]) -> None:
        kind = vector(I16, 2 * facts.lanes)
        columns = _Grid(builder, kind)
        with cgutils.for_range(builder, ir.Constant(I64, INPUTS)) as column:
            first = builder.add(args[1], times(builder, column.index, OFFSET_BYTES))
            places = [after(builder, first, OFFSET_BYTES * INPUTS * row) for row in range(INPUTS)]
            inputs = [_input(builder, facts, args[0], place) for place in places]
            columns.put(column.index, transform_inputs(inputs))
        address, step = fields_of(builder, args[2], Planes)
        with cgutils.for_range(builder, ir.Constant(I64, INPUTS)) as row:
            plane = builder.mul(row.index, times(builder, step, INPUTS))
            place = builder.add(address, plane)
            for lanes in transform_inputs(columns.across(row.index)):
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
        kind = vector(I32, facts.lanes)
        columns = _Grid(builder, kind)
        address, step = fields_of(builder, args[0], Planes)
        with cgutils.for_range(builder, ir.Constant(I64, INPUTS)) as column:
            place = builder.add(address, builder.mul(step, column.index))
            rows = [builder.add(place, times(builder, step, INPUTS * row)) for row in range(INPUTS)]
            products = [Lanes(builder, load(builder, row, kind)) for row in rows]
            columns.put(column.index, transform_products(products))
        start = Lanes(builder, load(builder, job.starts, kind, 4))
        with cgutils.for_range(builder, ir.Constant(I64, OUTPUTS)) as row:
            outputs_of_row = transform_products(columns.across(row.index))
            divided = [
                _divided(lanes, row.index, bits) + start
                for lanes, bits in zip(outputs_of_row, SHIFTS, strict=True)
            ]
            pixels = builder.add(job.pixels, times(builder, row.index, OUTPUTS * 2 * OFFSET_BYTES))
            sums = [[lanes.value] for lanes in divided]
            emit_activations(builder, facts, job._replace(pixels=pixels), sums)

    return types.void(target, planes, outputs), apart("put_together", emit)


class _Grid:
    """Vectors in as many columns as a tile has inputs; in registers, where LLVM finds room."""

    def __init__(self, builder: Builder, kind: Any) -> None:
        self._builder = builder
        self._memory = cgutils.alloca_once(builder, ir.ArrayType(kind, PRODUCTS))

    def put(self, column: Value, rows: list[Lanes]) -> None:
        """A column, from the first row on."""
        for row, lanes in enumerate(rows):
            self._builder.store(lanes.value, self._place(ir.Constant(I64, row), column))

    def across(self, row: Value) -> list[Lanes]:
        """A row."""
        places = [self._place(row, ir.Constant(I64, column)) for column in range(INPUTS)]
        return [Lanes(self._builder, self._builder.load(place)) for place in places]

    def _place(self, row: Value, column: Value) -> Value:
        number = self._builder.add(times(self._builder, row, INPUTS), column)
        return self._builder.gep(self._memory, [ir.Constant(I64, 0), number])


def _input(builder: Builder, target: Target, source: Value, offset: Value) -> Lanes:
    """A vector of values in 16 bits; `offset` is an address."""
    address = moved(builder, source, offset, target.value_bytes)
    lanes = 2 * target.lanes
    if target.value_bytes == 2:
        return Lanes(builder, load(builder, address, vector(I16, lanes)))
    return Lanes(builder, builder.zext(load(builder, address, vector(I8, lanes)), vector(I16, lanes)))


def _divided(lanes: Lanes, row: Value, bits: int) -> Lanes:
    """Without the divisor, an odd part and factors of two: those of the row, and `bits` of the column."""
    builder, count = lanes.builder, lanes.value.type.count
    odd = builder.mul(lanes.value, splat_constant(I32, INVERSE_OF_ODD_PART, count))
    of_row = ir.Constant(vector(I32, OUTPUTS), list(SHIFTS))
    down = builder.extract_element(of_row, builder.trunc(row, I32))
    shift = builder.add(down, ir.Constant(I32, bits))
    return Lanes(builder, builder.ashr(odd, splat(builder, shift, count)))


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
    place = builder.load(outputs)
    for row in sums:
        for at, total in enumerate(row):
            store(builder, builder.load(total), after(builder, place, 4 * target.lanes * at))
        place = builder.add(place, job.output_step)
    builder.store(place, outputs)
    step = times(builder, job.input_step, shape[0])
    builder.store(builder.add(builder.load(inputs), step), inputs)


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
