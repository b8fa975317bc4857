"""The generator of the depthwise micro-kernel: each channel of a pixel has an output of its own.

    sum[p][c] = start[c] + a[p][tap 0][c] * w[tap 0][c] + a[p][tap 1][c] * w[tap 1][c] + ...

for the pixels p of a block and some vectors of channels c. No activation serves two outputs, so nothing is broadcast;
the weights of a tap serve all pixels of the block.

With masked stores, a vector of activations holds 64 channels, and vpdpbusd adds 4 products to each sum, of which one
is wanted. It is fast enough to make the others in vain: the sums of every fourth channel are a vector, and in its
weights the other channels are zeros. So activations are multiplied as they lie in memory; only results are put in
order. Otherwise they are widened to 32 bits, and each is multiplied alone.
"""

from typing import Any

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.activations import pack_rows
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    after,
    apart,
    bytes_within_quarters,
    fields_of,
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
    emit_by_width,
    emit_results,
    for_each_block,
    input_address,
    store_packed,
    sums_address,
)
from ai8xsim.kernels.generated.targets import FOUR, Target, target_of

Rows = list[list[Value]]


@intrinsic
def multiply_channels(typing_context: Any, target: Any, job: Any) -> Any:
    """Compute a job's blocks: the pixels and the vectors of channels that the target takes together.

    The weights are those of `packing.pack_channel_weights`.
    """
    facts = target_of(target.instance_class)

    def emit(builder: Builder, args: list[Value]) -> None:
        fields = fields_of(builder, args[0], Job)
        emit_block = _emit_fours if facts.masked_stores else _emit_singly
        for_each_block(
            builder, fields, facts.marker.channel_pixels, lambda job: emit_block(builder, facts, job)
        )

    return types.void(target, job), apart("multiply_channels", emit)


def _emit_singly(builder: Builder, target: Target, job: Job) -> None:
    """Activations are multiplied one by one."""
    emit_results(builder, target, job, _emit_sums(builder, target, job, _products_of_each))


def _emit_fours(builder: Builder, target: Target, job: Job) -> None:
    """Activations are multiplied by fours, of which one counts."""
    rows = _emit_sums(builder, target, job, _products_of_fours)
    emit_by_width(
        builder,
        job,
        lambda: _store_sums(builder, target, job, rows),
        lambda: _store_activations(builder, target, job, rows),
    )


def _emit_sums(builder: Builder, target: Target, job: Job, products: Any) -> Rows:
    """The sums of each pixel, in vectors.   products: adds those of a tap to the sums of every pixel."""
    pixels, vectors = range(target.marker.channel_pixels), range(target.marker.channel_vectors)
    kind, size = vector(I32, target.lanes), 4 * target.lanes
    weight_bytes = target.marker.channel_weight_bytes * target.lanes * len(vectors)  # of a tap
    starts = [load(builder, after(builder, job.starts, size * at), kind, 4) for at in vectors]
    sums = [[variable(builder, start) for start in starts] for _ in pixels]
    inputs = [input_address(builder, target, job, pixel) for pixel in pixels]
    with rolled(builder, job.tap_count) as tap:
        offset = builder.sext(load(builder, builder.add(job.taps, times(builder, tap, 4)), I32, 4), I64)
        step = times(builder, offset, target.value_bytes)
        weights = builder.add(job.weights, times(builder, tap, weight_bytes))
        products(builder, target, weights, [builder.add(address, step) for address in inputs], sums)
    return [[builder.load(total) for total in row] for row in sums]


def _products_of_each(
    builder: Builder, target: Target, weights: Value, inputs: list[Value], sums: Rows
) -> None:
    kept = vector(I16, target.lanes)
    factors = builder.sext(load(builder, weights, kept, 2), vector(I32, target.lanes))
    for address, (total,) in zip(inputs, sums, strict=True):
        product = builder.mul(_widened(builder, target, address), factors)
        builder.store(builder.add(builder.load(total), product), total)


def _products_of_fours(
    builder: Builder, target: Target, weights: Value, inputs: list[Value], sums: Rows
) -> None:
    size = FOUR * target.lanes
    octets = vector(I8, size)
    factors = [load(builder, after(builder, weights, size * at), octets, 4) for at in range(FOUR)]
    for address, row in zip(inputs, sums, strict=True):
        activations = load(builder, address, octets)
        for total, factor in zip(row, factors, strict=True):
            builder.store(multiply_add_bytes(builder, builder.load(total), activations, factor), total)


def _widened(builder: Builder, target: Target, address: Value) -> Value:
    kept = vector(I8 if target.value_bytes == 1 else I16, target.lanes)
    return builder.zext(load(builder, address, kept), vector(I32, target.lanes))


def _store_activations(builder: Builder, target: Target, job: Job, rows: Rows) -> None:
    packed = pack_rows(builder, rows, job.shift, job.ceiling)
    ordered = [_bytes_in_order(builder, octets) for octets in packed]
    store_packed(builder, target, job, ordered, (len(rows), FOUR))


def _bytes_in_order(builder: Builder, octets: Value) -> Value:
    """Packed activations, of which each quarter has four of the first vector, four of the second, ..., by channel."""
    places = [FOUR * (place % FOUR) + place // FOUR for place in range(FOUR * FOUR)]
    return bytes_within_quarters(builder, octets, ir.Constant(octets.type, places * FOUR))


def _store_sums(builder: Builder, target: Target, job: Job, rows: Rows) -> None:
    """Those of vectors in which a channel is, by channel."""
    lanes = target.lanes
    for pixel, (first, second, third, fourth) in enumerate(rows):
        halves = [_one_behind_another(builder, *pair) for pair in ((first, second), (third, fourth))]
        every = _one_behind_another(builder, *halves)
        address = sums_address(builder, job, pixel)
        for part in range(0, FOUR * lanes, lanes):
            by_channel = [channel % FOUR * lanes + channel // FOUR for channel in range(part, part + lanes)]
            with builder.if_then(builder.icmp_signed(">", job.width, ir.Constant(I64, part))):
                sums = builder.neg(lanes_of(builder, every, by_channel))
                store(builder, sums, after(builder, address, 4 * part))


def _one_behind_another(builder: Builder, left: Value, right: Value) -> Value:
    """Two vectors as one of twice the length."""
    lanes = range(2 * left.type.count)
    return builder.shuffle_vector(left, right, ir.Constant(vector(I32, len(lanes)), list(lanes)))
