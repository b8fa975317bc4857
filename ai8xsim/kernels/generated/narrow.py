"""The generator of micro-kernels for few output channels: a vector of sums holds 4 channels of each of 4 pixels.

A vector of 16 channels is wasted on fewer of them, and for a single vector each input is broadcast too often. Here the
quarters of a vector belong to pixels. For P pixels and F times 4 output channels, per 16 inputs:

    P / 4 vectors take the 16 inputs of 4 pixels, each pixel's in its quarter. Four times, F vectors of weights are
    loaded, the same 4 outputs in each quarter; the next 4 inputs of each pixel are repeated in its quarter, and
    P / 4 * F instructions multiply and add.

Blocks for shorter runs take 12 inputs at a time, and repeat that three times, or 4: where 4 pixels are adjacent and
have at most 4 channels each, the next 4 inputs of all of them lie within 16 bytes, which are loaded into every quarter
and each picks out its own.

What moves data between quarters takes a multiplier's slot on Zen 5. Loads into some quarters and moves within each do
not, nor do loads of whole vectors; so weights lie in memory four times.

P / 4 * F sums, P / 4 vectors of inputs, F of weights and one of repeated inputs fill the registers.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.activations import pack_rows
from ai8xsim.kernels.generated.instructions import (
    I32,
    I64,
    Builder,
    Value,
    after,
    bytes_within_quarters,
    lanes_of,
    load,
    load_lanes,
    multiply_add_bytes,
    rolled,
    splat,
    splat_constant,
    store,
    times,
    variable,
    vector,
)
from ai8xsim.kernels.generated.microkernel import Job, code_of_blocks, input_address, output_address
from ai8xsim.kernels.generated.targets import FOUR, LANES, NarrowBlock, Target, target_of

VECTOR = 64  # bytes
_QUARTER = vector(I32, FOUR)
_REPEATED = tuple(lane % FOUR for lane in range(LANES))  # a quarter in all quarters


@intrinsic
def multiply_narrow_block(typing_context: Any, target: Any, block: Any, job: Any) -> Any:
    """Compute blocks like number `block` of the target's narrow ones; a group has the inputs that one takes at once."""
    facts = target_of(target.instance_class)
    code = code_of_blocks("multiply_narrow_block", facts, facts.narrow_blocks, _emit_block)
    return types.void(target, types.int64, job), code


def _emit_block(builder: Builder, target: Target, block: NarrowBlock, job: Job) -> None:
    sums = _emit_sums(builder, target, block, job)
    packed = list(_packed(builder, job, sums))
    is_together = builder.icmp_signed("!=", job.is_together, ir.Constant(I64, 0))
    with builder.if_else(is_together) as (together, apart):
        with together:
            for entry in packed:
                _store_together(builder, target, job, entry)
        with apart:
            for entry in packed:
                _store_apart(builder, target, job, entry)


def _emit_sums(builder: Builder, target: Target, block: NarrowBlock, job: Job) -> list[list[Value]]:
    """For every four pixels, the sums of every four channels."""
    loaded_at = range(0, block.pixels, FOUR if block.is_adjacent else 1)
    places = [input_address(builder, target, job, pixel) for pixel in loaded_at]
    starts = [_repeated(builder, after(builder, job.starts, 4 * FOUR * at)) for at in range(block.fours)]
    sums = [[variable(builder, start) for start in starts] for _ in range(0, block.pixels, FOUR)]
    own, weights = _own_bytes(builder, job.input_step), variable(builder, job.weights)
    with rolled(builder, job.tap_count) as tap:
        offset = load(builder, builder.add(job.taps, times(builder, tap, 4)), I32, 4)
        runs = [builder.add(place, builder.sext(offset, I64)) for place in places]
        with rolled(builder, job.groups) as group:
            at = times(builder, group, block.inputs)
            addresses = [builder.add(run, at) for run in runs]
            if block.is_adjacent:
                turns = [[_of_adjacent_pixels(builder, address, own) for address in addresses]]
            else:
                turns = _turns_of_pixels(builder, addresses, block.inputs // FOUR)
            for inputs in turns:
                _emit_products(builder, weights, inputs, sums)
        builder.store(builder.add(builder.load(weights), job.passed_over), weights)
    return [[builder.load(values) for values in row] for row in sums]


def _emit_products(builder: Builder, weights: Value, inputs: list[Value], sums: list[list[Value]]) -> None:
    """Multiply and add 4 inputs of every pixel, and go on to the next weights."""
    place, fours = builder.load(weights), len(sums[0])
    loaded = [load(builder, after(builder, place, VECTOR * at), vector(I32, LANES)) for at in range(fours)]
    for four_pixels, row in zip(inputs, sums, strict=True):
        for values, weight in zip(row, loaded, strict=True):
            builder.store(multiply_add_bytes(builder, builder.load(values), four_pixels, weight), values)
    builder.store(after(builder, place, VECTOR * fours), weights)


def _turns_of_pixels(builder: Builder, addresses: list[Value], turns: int) -> list[list[Value]]:
    """So many times the next 4 inputs of the pixels at these addresses, each in all of its quarter."""
    fours = [_of_four_pixels(builder, addresses[at : at + FOUR]) for at in range(0, len(addresses), FOUR)]
    return [
        [lanes_of(builder, inputs, [lane - lane % FOUR + turn for lane in range(LANES)]) for inputs in fours]
        for turn in range(turns)
    ]


def _of_adjacent_pixels(builder: Builder, address: Value, own: Value) -> Value:
    """The next 4 inputs of four adjacent pixels, the first one's at the address, each in all of its quarter."""
    return bytes_within_quarters(builder, _repeated(builder, address), own)


def _own_bytes(builder: Builder, step: Value) -> Value:
    """Where the inputs of each quarter's pixel lie behind those of the first pixel: step * pixel, and the next 3."""
    kind = vector(I32, LANES)
    pixels = ir.Constant(kind, [lane // FOUR * 0x01010101 for lane in range(LANES)])
    steps = splat(builder, builder.trunc(step, I32), LANES)
    return builder.add(builder.mul(pixels, steps), splat_constant(I32, 0x03020100, LANES))


class _Packed(NamedTuple):
    """Activations of four pixels from `pixel` on, each one's in its quarter of `words`: `lanes` of it."""

    words: Value
    lanes: range
    pixel: int


def _packed(builder: Builder, job: Job, sums: list[list[Value]]) -> Iterator[_Packed]:
    """The activations that sums make, by every four pixels; the sums come by every four pixels and four channels.

    Four vectors are packed at once, from as many pixels as it takes to find them.
    """
    fours = len(sums[0])
    together = FOUR // fours
    packed = pack_rows(builder, sums, job.shift, job.ceiling)
    words = [builder.bitcast(octets, vector(I32, LANES)) for octets in packed]
    for row in range(len(sums)):
        number, place = divmod(row, together)
        lanes = range(fours * place, fours * (place + 1))
        yield _Packed(words[number], lanes, FOUR * row)


def _store_together(builder: Builder, target: Target, job: Job, packed: _Packed) -> None:
    """Where all channels of the four pixels lie side by side."""
    lanes = [FOUR * quarter + lane for quarter in range(FOUR) for lane in packed.lanes]
    address = output_address(builder, target, job, packed.pixel)
    store(builder, lanes_of(builder, packed.words, lanes), address)


def _store_apart(builder: Builder, target: Target, job: Job, packed: _Packed) -> None:
    for quarter in range(FOUR):
        lanes = [FOUR * quarter + lane for lane in packed.lanes]
        address = output_address(builder, target, job, packed.pixel + quarter)
        store(builder, lanes_of(builder, packed.words, lanes), address)


def _of_four_pixels(builder: Builder, addresses: list[Value]) -> Value:
    """The next 16 inputs of each of four pixels, in its quarter."""
    halves = []
    for at in (0, 2):
        first = load(builder, addresses[at], _QUARTER)
        both = lanes_of(builder, first, list(_REPEATED[: 2 * FOUR]))
        second = after(builder, addresses[at + 1], -FOUR * FOUR)
        halves.append(load_lanes(builder, second, both, range(FOUR, 2 * FOUR)))
    return builder.shuffle_vector(*halves, ir.Constant(vector(I32, LANES), list(range(LANES))))


def _repeated(builder: Builder, address: Value) -> Value:
    """What lies at an address, the same in each quarter."""
    return lanes_of(builder, load(builder, address, _QUARTER), list(_REPEATED))
