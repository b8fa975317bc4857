"""The generator of micro-kernels for fewer output channels than a vector has lanes: each sum is split over lanes.

Here each of 16 / D output channels has D lanes beside each other; lane d takes every D-th group of 4 inputs from the
d-th on, and in the end their sums are added ("split-K"). For P pixels, per 4 * D inputs:

    One vector of weights is loaded; of each pixel the next 4 * D inputs, again for each channel; P instructions
    multiply and add.

No lane is idle, and what a narrow block (see `narrow`) gathers from four pixels is one load here. In return sums must
be added, log2(D) times: of two vectors, the sums of neighbouring lanes become one vector. So D vectors of one pixel
each end as one of D pixels.

A block writes its 16 / D channels, also those that are missing: pixels must have room for them (`costs.split_parts`
sees to that). It writes no others, since other steps may do so at the same time.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.activations import PACKED, pack_rows
from ai8xsim.kernels.generated.instructions import (
    I32,
    I64,
    Builder,
    Value,
    after,
    lanes_of,
    load,
    multiply_add_bytes,
    rolled,
    store,
    times,
    variable,
    vector,
)
from ai8xsim.kernels.generated.microkernel import (
    Job,
    code_of_blocks,
    emit_by_width,
    input_address,
    output_address,
    sums_address,
)
from ai8xsim.kernels.generated.narrow import VECTOR
from ai8xsim.kernels.generated.targets import FOUR, LANES, SplitBlock, Target, target_of

Lanes = npt.NDArray[np.int64]


class _Sums(NamedTuple):
    """Vectors of sums, and the pixel and the channel to which each lane of all of them belongs: (vectors, lanes)."""

    vectors: list[Value]
    pixels: Lanes
    channels: Lanes


@intrinsic
def multiply_split_block(typing_context: Any, target: Any, block: Any, job: Any) -> Any:
    """Compute blocks like number `block` of the target's split ones; a group has the inputs that one takes at once."""
    facts = target_of(target.instance_class)
    code = code_of_blocks("multiply_split_block", facts, facts.split_blocks, _emit_block)
    return types.void(target, types.int64, job), code


def _emit_block(builder: Builder, target: Target, block: SplitBlock, job: Job) -> None:
    sums = _added(builder, block, _emit_sums(builder, target, block, job))
    emit_by_width(
        builder,
        job,
        lambda: _emit_stores(builder, job, block, sums),
        lambda: _emit_activations(builder, target, job, block, sums),
    )


def _emit_sums(builder: Builder, target: Target, block: SplitBlock, job: Job) -> list[Value]:
    """Of each pixel a vector, in which the lanes of a channel have parts of its sum."""
    places = [input_address(builder, target, job, pixel) for pixel in range(block.pixels)]
    start = load(builder, job.starts, vector(I32, LANES), 4)
    sums, weights = [variable(builder, start) for _ in places], variable(builder, job.weights)
    with rolled(builder, job.tap_count) as tap:
        offset = load(builder, builder.add(job.taps, times(builder, tap, 4)), I32, 4)
        runs = [builder.add(place, builder.sext(offset, I64)) for place in places]
        with rolled(builder, job.groups) as group:
            at, place = times(builder, group, block.inputs), builder.load(weights)
            weight = load(builder, place, vector(I32, LANES))
            for run, values in zip(runs, sums, strict=True):
                inputs = _in_turn(builder, builder.add(run, at), block.lanes)
                builder.store(multiply_add_bytes(builder, builder.load(values), inputs, weight), values)
            builder.store(after(builder, place, VECTOR), weights)
        builder.store(builder.add(builder.load(weights), job.passed_over), weights)
    return [builder.load(values) for values in sums]


def _in_turn(builder: Builder, address: Value, count: int) -> Value:
    """The 32-bit values that lie at an address, so many, again and again."""
    loaded = load(builder, address, vector(I32, count))
    return lanes_of(builder, loaded, [lane % count for lane in range(LANES)])


def _added(builder: Builder, block: SplitBlock, vectors: list[Value]) -> _Sums:
    """The parts of each sum added: in each turn every two vectors become one."""
    pixels = np.repeat(np.arange(len(vectors)), LANES).reshape(-1, LANES)
    channels = np.tile(np.arange(LANES) // block.lanes, (len(vectors), 1))
    for turn in range(block.lanes.bit_length() - 1):
        first, second = _neighbours(turn)
        vectors = [
            builder.add(_mixed(builder, pair, first), _mixed(builder, pair, second))
            for pair in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        pixels, channels = (part.reshape(-1, 2 * LANES)[:, first] for part in (pixels, channels))
    return _Sums(vectors, pixels, channels)


def _neighbours(turn: int) -> tuple[Lanes, Lanes]:
    """The lanes of two vectors that a turn adds: the first ones of neighbours, the second ones.

    In the first two turns neighbours are lanes of a quarter, which then belongs to one channel, and thereafter
    quarters: processors move values within quarters, or whole quarters, at once. With 4 lanes for a channel, of two
    vectors a and b a quarter becomes

        a0+a1 a2+a3 b0+b1 b2+b3      and with the same of c and d:      a0+a1+a2+a3 b0+... c0+... d0+...
    """
    lanes = np.arange(2 * LANES)
    if turn < 2:
        pairs = lanes.reshape(2, FOUR, 2, 2).swapaxes(0, 1).reshape(LANES, 2)  # by quarter, vector, pair
        return pairs[:, 0], pairs[:, 1]
    quarters = lanes.reshape(FOUR, 2, FOUR)
    return quarters[:, 0].ravel(), quarters[:, 1].ravel()


def _mixed(builder: Builder, pair: tuple[Value, Value], lanes: Lanes) -> Value:
    return builder.shuffle_vector(*pair, ir.Constant(vector(I32, LANES), lanes.tolist()))


def _emit_stores(builder: Builder, job: Job, block: SplitBlock, sums: _Sums) -> None:
    for values, pixels, channels in zip(*sums, strict=True):
        ordered = lanes_of(builder, builder.neg(values), np.lexsort((channels, pixels)).tolist())
        places = [sums_address(builder, job, int(pixel)) for pixel in np.unique(pixels)]
        _deal_out(builder, ordered, block.channels, places)


def _emit_activations(builder: Builder, target: Target, job: Job, block: SplitBlock, sums: _Sums) -> None:
    packed = pack_rows(builder, [[values] for values in sums.vectors], job.shift, job.ceiling)
    together = PACKED * block.lanes  # pixels
    for number, octets in enumerate(packed):
        pixels = range(number * together, min((number + 1) * together, block.pixels))
        places = [output_address(builder, target, job, pixel) for pixel in pixels]
        _deal_out(builder, _by_pixel(builder, octets, sums, number), block.channels, places)


def _by_pixel(builder: Builder, octets: Value, sums: _Sums, number: int) -> Value:
    """Activations, which `pack_rows` has dealt out by quarters, pixel by pixel; what is missing comes last."""
    own = slice(PACKED * number, PACKED * (number + 1))
    missing = ((0, PACKED - len(sums.vectors[own])), (0, 0))
    behind = int(sums.pixels.max()) + 1
    pixels, channels = (
        np.pad(part[own], missing, constant_values=behind) for part in (sums.pixels, sums.channels)
    )
    pixels, channels = (
        part.reshape(PACKED, FOUR, FOUR).transpose(1, 0, 2).reshape(-1) for part in (pixels, channels)
    )
    return lanes_of(builder, octets, np.lexsort((channels, pixels)).tolist())


def _deal_out(builder: Builder, values: Value, count: int, addresses: list[Value]) -> None:
    """Store so many values of a vector at each address."""
    bits = ir.IntType(count * values.type.element.width)
    for place, address in enumerate(addresses):
        own = lanes_of(builder, values, list(range(count * place, count * (place + 1))))
        store(builder, builder.bitcast(own, bits), address)
