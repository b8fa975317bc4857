"""The generator of micro-kernels for few output channels: a vector of sums holds 4 channels of each of 4 pixels.

A vector of 16 channels is wasted on fewer of them, and for a single vector each input is broadcast too often. Here the
quarters of a vector belong to pixels. For P pixels and F times 4 output channels, per 16 inputs:

    P / 4 vectors take the 16 inputs of 4 pixels, each pixel's in its quarter. Four times, F vectors of weights are
    loaded, the same 4 outputs in each quarter; the next 4 inputs of each pixel are repeated in its quarter, and
    P / 4 * F instructions multiply and add.

P / 4 * F sums, P / 4 vectors of inputs, F of weights and one of repeated inputs fill the registers.
"""

from typing import Any

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.instructions import (
    I32,
    I64,
    Builder,
    Value,
    after,
    at_least,
    cgutils,
    keep_apart,
    lanes_of,
    load,
    multiply_add_bytes,
    pack_four,
    splat,
    store,
    times,
    variable,
    vector,
)
from ai8xsim.kernels.generated.microkernel import Job, input_address, job_of, output_address
from ai8xsim.kernels.generated.targets import NARROW_INPUTS, NarrowBlock, Target, target_of

FOUR = 4  # pixels of a vector, output channels of a pixel in it, and inputs that one instruction multiplies
LANES = 16  # of a vector
_QUARTER = vector(I32, FOUR)
_REPEATED = tuple(lane % FOUR for lane in range(LANES))  # a quarter in all quarters


@intrinsic
def multiply_narrow_block(typing_context: Any, target: Any, block: Any, job: Any) -> Any:
    """Compute block number `block` of the target's narrow ones; the job's groups are of NARROW_INPUTS inputs."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        keep_apart(builder)
        fields = job_of(builder, args[2])
        done = builder.append_basic_block("done")
        switch = builder.switch(args[1], done)
        for number, shape in enumerate(facts.narrow_blocks):
            case = builder.append_basic_block(f"narrow_{shape.pixels}x{shape.fours}")
            switch.add_case(ir.Constant(I64, number), case)
            builder.position_at_end(case)
            _emit_block(builder, facts, shape, fields)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(target, types.int64, job), generate


def _emit_block(builder: Builder, target: Target, block: NarrowBlock, job: Job) -> None:
    sums = _emit_sums(builder, target, block, job)
    shift = splat(builder, builder.trunc(job.shift, I32), target.lanes)
    shifted = [[builder.ashr(values, shift) for values in row] for row in sums]
    for first in range(0, block.fours, FOUR):
        _emit_activations(builder, target, job, [row[first : first + FOUR] for row in shifted], first)


def _emit_sums(builder: Builder, target: Target, block: NarrowBlock, job: Job) -> list[list[Value]]:
    """For every four pixels, the sums of every four channels."""
    inputs = [input_address(builder, target, job, pixel) for pixel in range(block.pixels)]
    starts = [_repeated(builder, after(builder, job.starts, 4 * FOUR * at)) for at in range(block.fours)]
    sums = [[variable(builder, start) for start in starts] for _ in range(0, block.pixels, FOUR)]
    weights = variable(builder, job.weights)
    with cgutils.for_range(builder, job.tap_count) as tap:
        offset = load(builder, builder.add(job.taps, times(builder, tap.index, 4)), I32, 4)
        runs = [builder.add(address, builder.sext(offset, I64)) for address in inputs]
        with cgutils.for_range(builder, job.groups) as group:
            at = times(builder, group.index, NARROW_INPUTS)
            _emit_group(builder, weights, [builder.add(run, at) for run in runs], sums)
        builder.store(builder.add(builder.load(weights), job.passed_over), weights)
    return [[builder.load(values) for values in row] for row in sums]


def _emit_group(builder: Builder, weights: Value, addresses: list[Value], sums: list[list[Value]]) -> None:
    """Multiply and add NARROW_INPUTS inputs of every pixel, and go on to the next weights."""
    inputs = [_of_four_pixels(builder, addresses[at : at + FOUR]) for at in range(0, len(addresses), FOUR)]
    place, fours = builder.load(weights), len(sums[0])
    for turn in range(FOUR):
        first = NARROW_INPUTS * fours * turn
        loaded = [
            _repeated(builder, after(builder, place, first + NARROW_INPUTS * at)) for at in range(fours)
        ]
        for four_pixels, row in zip(inputs, sums, strict=True):
            next_inputs = lanes_of(builder, four_pixels, [lane - lane % FOUR + turn for lane in range(LANES)])
            for values, weight in zip(row, loaded, strict=True):
                builder.store(multiply_add_bytes(builder, builder.load(values), next_inputs, weight), values)
    builder.store(after(builder, place, NARROW_INPUTS * fours * FOUR), weights)


def _emit_activations(
    builder: Builder, target: Target, job: Job, sums: list[list[Value]], first: int
) -> None:
    """Store up to four times 4 channels, from four times `first` on; sums: by every four pixels and four channels.

    Four vectors are packed at once, from as many pixels as it takes to find them.
    """
    fours = len(sums[0])
    together = FOUR // fours
    for at in range(0, len(sums), together):
        rows = sums[at : at + together]
        vectors = [values for row in rows for values in row]
        octets = pack_four(builder, vectors + vectors[:1] * (FOUR - len(vectors)))
        words = builder.bitcast(at_least(builder, octets, job.floor), vector(I32, LANES))
        for place, quarter in ((place, quarter) for place in range(len(rows)) for quarter in range(FOUR)):
            lanes = [FOUR * quarter + fours * place + four for four in range(fours)]
            address = output_address(builder, target, job, FOUR * (at + place) + quarter)
            store(builder, lanes_of(builder, words, lanes), after(builder, address, FOUR * first))


def _of_four_pixels(builder: Builder, addresses: list[Value]) -> Value:
    """The NARROW_INPUTS inputs of each of four pixels, in its quarter."""
    quarters = [load(builder, address, _QUARTER) for address in addresses]
    halves = [_side_by_side(builder, quarters[at], quarters[at + 1]) for at in (0, 2)]
    return _side_by_side(builder, *halves)


def _side_by_side(builder: Builder, left: Value, right: Value) -> Value:
    lanes = 2 * left.type.count
    return builder.shuffle_vector(left, right, ir.Constant(vector(I32, lanes), list(range(lanes))))


def _repeated(builder: Builder, address: Value) -> Value:
    """What lies at an address, the same in each quarter."""
    return lanes_of(builder, load(builder, address, _QUARTER), list(_REPEATED))
