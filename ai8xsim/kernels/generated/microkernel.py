"""The generator of micro-kernels: a block of pixels times vectors of output channels, summed in registers.

For P pixels and V vectors of L output channels, with the activations a and the weights w of K inputs,

    sum[p][c] = start[c] + a[p][0] * w[c][0] + ... + a[p][K-1] * w[c][K-1]       p < P, c < V * L

where activations are what memory holds (see `held`), and then either -sum, or what is held of the result: (sum >>
shift), saturated, not above the ceiling. The rounding and whatever else is constant per channel is part of `start` (see
`packing.starts`). Inputs come in runs that lie side by side in memory, one for each tap, and are multiplied a group of
`products` at a time. Per group:

    V vectors of weights are loaded once, P pixels are broadcast, P * V instructions multiply and add.

P * V sums, V weights and one pixel fill the registers; no other value stays there through the loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.activations import pack, pack_pixels
from ai8xsim.kernels.generated.instructions import (
    I1,
    I8,
    I32,
    I64,
    Builder,
    EvenAddresses,
    Value,
    after,
    apart,
    emit_chosen,
    fields_of,
    lanes_of,
    load,
    moved,
    multiply_add,
    rolled,
    store,
    store_first,
    times,
    variable,
    vector,
)
from ai8xsim.kernels.generated.targets import FOUR, Block, NarrowBlock, SplitBlock, Target, target_of

Sized = TypeVar("Sized", Block, NarrowBlock, SplitBlock)

PAIR_BYTES = 8  # of a pixel's offsets


class Job(NamedTuple):
    """The work of some blocks. Addresses are in bytes, offsets in values from the first address of each kind."""

    activations: int  # address of the values that offsets count from
    outputs: int  # likewise for the outputs
    pixels: int  # address of int32 pairs: offset of each pixel's output, offset of its input
    blocks: int  # that follow one another
    taps: int  # address of int32 offsets from a pixel to the runs of its inputs
    tap_count: int
    groups: int  # of inputs in a run that a block multiplies at a time
    weights: int  # address of the packed weights
    passed_over: int  # bytes of weights behind those of each tap
    starts: int  # address of int32: what each sum starts from
    shift: int
    ceiling: int  # the most that memory may hold: ZERO with ReLU, otherwise MOST
    width: int  # channels to store, of the block's vectors
    is_together: int  # whether what is packed together, of four pixels or of fewer, lies side by side
    is_wide: int  # whether the sums are stored, not activations
    input_step: int  # of every four pixels, where a block relies on it: values from pixel to pixel


class Results(NamedTuple):
    """Where activations go, as in a job."""

    outputs: int
    pixels: int  # only the outputs' offsets count
    shift: int
    ceiling: int
    width: int
    is_together: int


@intrinsic
def multiply_block(typing_context: Any, target: Any, block: Any, job: Any) -> Any:
    """Compute blocks like number `block` of the target's table."""
    facts = target_of(target.instance_class)
    code = code_of_blocks("multiply_block", facts, facts.blocks, _emit_block)
    return types.void(target, types.int64, job), code


def code_of_blocks(
    name: str,
    target: Target,
    blocks: Sequence[Sized],
    emit_block: Callable[[Builder, Target, Sized, Job], None],
) -> Callable[..., Value]:
    """What an intrinsic does that takes a number and a job: it computes blocks like the one of this number.

    emit_block: makes the code of one of them.
    """

    def emit(builder: Builder, args: list[Value]) -> None:
        number, job = args[0], fields_of(builder, args[1], Job)

        def emit_blocks(block: Sized) -> None:
            for_each_block(builder, job, block.pixels, lambda own: emit_block(builder, target, block, own))

        emit_chosen(builder, number, blocks, emit_blocks)

    return apart(name, emit)


def for_each_block(builder: Builder, job: Job, pixels: int, emit: Callable[[Job], None]) -> None:
    """The code of a job's blocks, each of so many pixels."""
    with rolled(builder, job.blocks) as number:
        emit(job._replace(pixels=builder.add(job.pixels, times(builder, number, PAIR_BYTES * pixels))))


def _emit_block(builder: Builder, target: Target, block: Block, job: Job) -> None:
    firsts = range(0, block.pixels, FOUR if block.is_even else 1)
    inputs = [input_address(builder, target, job, pixel) for pixel in firsts]
    emit_results(builder, target, job, _emit_sums(builder, target, block, job, inputs))


def emit_results(builder: Builder, target: Target, job: Job, sums: list[list[Value]]) -> None:
    """Store each pixel's sums, or the activations that they make."""
    emit_by_width(
        builder,
        job,
        lambda: _emit_stores(builder, target, job, sums),
        lambda: emit_activations(builder, target, job, sums),
    )


def emit_by_width(
    builder: Builder, job: Job, emit_sums: Callable[[], None], emit_saturated: Callable[[], None]
) -> None:
    """The code for jobs whose results are sums, and for others."""
    is_wide = builder.icmp_signed("!=", job.is_wide, ir.Constant(I64, 0))
    with builder.if_else(is_wide, likely=False) as (wide, saturated):
        with wide:
            emit_sums()
        with saturated:
            emit_saturated()


def _emit_stores(builder: Builder, target: Target, job: Job, sums: list[list[Value]]) -> None:
    for pixel, row in enumerate(sums):
        address = sums_address(builder, job, pixel)
        for place, values in enumerate(row):
            store(builder, builder.neg(values), after(builder, address, 4 * target.lanes * place))


def sums_address(builder: Builder, job: Job, pixel: int) -> Value:
    """Where the sums of a pixel go."""
    return moved(builder, job.outputs, after(builder, job.pixels, PAIR_BYTES * pixel), 4)


def input_address(builder: Builder, target: Target, job: Job, pixel: int) -> Value:
    """Where the inputs of a pixel begin."""
    return moved(
        builder, job.activations, after(builder, job.pixels, PAIR_BYTES * pixel + 4), target.value_bytes
    )


def output_address(builder: Builder, target: Target, job: Job | Results, pixel: int) -> Value:
    """Where the activations of a pixel go."""
    return moved(builder, job.outputs, after(builder, job.pixels, PAIR_BYTES * pixel), target.value_bytes)


def _emit_sums(
    builder: Builder, target: Target, block: Block, job: Job, inputs: list[Value]
) -> list[list[Value]]:
    """The sums of each pixel, in vectors; LLVM keeps them in registers, since they are only read and written whole.

    inputs: where those of each pixel begin, or of every fourth one in an even block.
    """
    kind, size = vector(I32, target.lanes), 4 * target.lanes
    starts = [load(builder, after(builder, job.starts, size * at), kind, 4) for at in range(block.vectors)]
    zero = ir.Constant(kind, [0] * target.lanes)
    sums = [
        [
            [variable(builder, starts[at] if chain == 0 else zero) for chain in range(block.chains)]
            for at in range(block.vectors)
        ]
        for _ in range(block.pixels)
    ]
    weights = variable(builder, job.weights)
    with rolled(builder, job.tap_count) as tap:
        offset = load(builder, builder.add(job.taps, times(builder, tap, 4)), I32, 4)
        step = times(builder, builder.sext(offset, I64), target.value_bytes)
        runs = [builder.add(address, step) for address in inputs]
        input_step = times(builder, job.input_step, target.value_bytes)
        fours = EvenAddresses(builder, runs, input_step) if block.is_even else None
        groups = builder.udiv(job.groups, ir.Constant(I64, block.chains))
        with rolled(builder, groups) as group:
            for chain in range(block.chains):
                at = builder.add(times(builder, group, 4 * block.chains), ir.Constant(I64, 4 * chain))
                places = fours.following(4) if fours else [builder.add(run, at) for run in runs]
                _emit_group(builder, target, weights, places, sums, chain)
        builder.store(builder.add(builder.load(weights), job.passed_over), weights)
    return [[_total(builder, chains) for chains in row] for row in sums]


def _emit_group(
    builder: Builder, target: Target, weights: Value, addresses: list[Value], sums: Any, chain: int
) -> None:
    """Multiply and add one group of inputs of every pixel, and go on to the next group's weights."""
    octets, size = vector(I8, 4 * target.lanes), 4 * target.lanes
    place, vectors = builder.load(weights), len(sums[0])
    loaded = [load(builder, after(builder, place, size * at), octets, 4) for at in range(vectors)]
    for address, row in zip(addresses, sums, strict=True):
        x = load(builder, address, I32)
        for at in range(vectors):
            variable = row[at][chain]
            builder.store(multiply_add(builder, target, builder.load(variable), x, loaded[at]), variable)
    builder.store(after(builder, place, size * vectors), weights)


def emit_activations(builder: Builder, target: Target, job: Job | Results, sums: list[list[Value]]) -> None:
    """Store the activations that each pixel's sums make."""
    if target.masked_stores:
        packed = pack_pixels(builder, sums, job.shift, job.ceiling)
        store_packed(builder, target, job, packed, (len(sums), len(sums[0])))
        return
    for pixel, row in enumerate(sums):
        place = output_address(builder, target, job, pixel)
        for activations in pack(builder, target, row, job.shift, job.ceiling):
            store(builder, activations, place)
            place = after(builder, place, target.value_bytes * activations.type.count)


def store_packed(
    builder: Builder, target: Target, job: Job | Results, packed: list[Value], shape: tuple[int, int]
) -> None:
    """Store whole vectors of activations, where they lie side by side, or of each pixel the channels that there are.

    packed: 64 bytes each.   shape: pixels, and the vectors of sums that each of them had.
    """
    pixels, vectors = shape
    together = FOUR // vectors
    size = FOUR * target.lanes // together  # bytes of a pixel
    is_together = builder.icmp_signed("!=", job.is_together, ir.Constant(I64, 0))
    if FOUR % vectors or pixels % together:
        is_together = ir.Constant(I1, 0)
    with builder.if_else(is_together) as (whole, apart):
        with whole:
            for place, octets in enumerate(packed):
                store(builder, octets, output_address(builder, target, job, place * together))
        with apart:
            for pixel in range(pixels):
                at = pixel % together * size
                own = lanes_of(builder, packed[pixel // together], list(range(at, at + size)))
                address = output_address(builder, target, job, pixel)
                store_first(builder, own, address, job.width, vectors * target.lanes)


def _total(builder: Builder, chains: list[Value]) -> Value:
    total = builder.load(chains[0])
    for chain in chains[1:]:
        total = builder.add(total, builder.load(chain))
    return total
