"""The generators of pooling; the maximum over a single tap is a copy."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    Vectors,
    after,
    cgutils,
    fields_of,
    held_in_memory,
    in_vectors,
    least,
    load,
    moved,
    splat,
    splat_constant,
    store,
    times,
    vector,
)
from ai8xsim.kernels.generated.targets import Target, target_of

# Values of a pixel that are worked on at a time. The largest number that a pixel has serves all of it: the last
# vector takes some values again.
_LANES = (64, 32, 16, 8, 4, 2, 1)
_LANES_OF_SUMS = (16, 8, 4, 2, 1)
_USUAL = 4  # taps of a window
OFFSET_BYTES = 4


class PoolJob(NamedTuple):
    """What to pool. Addresses are in bytes, offsets in values."""

    values: int  # address that the offsets of inputs count from
    outputs: int  # likewise for the outputs
    pixels: int  # address of int32 pairs: offset of each pixel's output, offset of its input
    pixel_count: int
    taps: int  # address of int32 offsets from a pixel to the values of its window
    tap_count: int
    channels: int
    half: int = 0  # of the number of taps, where an average rounds


@intrinsic
def take_maximum(typing_context: Any, target: Any, job: Any) -> Any:
    """Write the maximum over the taps of each pixel, channel by channel: the least of what memory holds."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        fields = fields_of(builder, args[1], PoolJob)
        lanes = [count for count in _LANES if count * facts.value_bytes <= _LANES[0]]
        _emit_pooling(builder, facts, fields, lanes, _emit_maximum)
        return context.get_dummy_value()

    return types.void(target, job), generate


@intrinsic
def take_maximum_of_squares(typing_context: Any, target: Any, job: Any) -> Any:
    """Likewise over squares of 2x2 values side by side, for pixels of `channels_of_squares`, four at a time."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        fields = fields_of(builder, args[1], PoolJob)
        for channels in channels_of_squares(facts):
            with builder.if_then(builder.icmp_signed("==", fields.channels, ir.Constant(I64, channels))):
                _emit_squares(builder, facts, fields, channels)
        return context.get_dummy_value()

    return types.void(target, job), generate


def channels_of_squares(target: Target) -> tuple[int, int]:
    """Channels of which two or four pixels fill a vector."""
    values = _LANES[0] // target.value_bytes
    return values // 2, values // 4


@intrinsic
def take_average(typing_context: Any, target: Any, job: Any) -> Any:
    """Write the average over the taps of each pixel, channel by channel: its magnitude truncated, or rounded half up.

    A window has at most 256 taps, so that a reciprocal of 24 bits divides every sum exactly.
    """
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        _emit_pooling(builder, facts, fields_of(builder, args[1], PoolJob), _LANES_OF_SUMS, _emit_average)
        return context.get_dummy_value()

    return types.void(target, job), generate


def _emit_pooling(builder: Builder, target: Target, job: PoolJob, lengths: Sequence[int], emit: Any) -> None:
    """All pixels, whatever the number of channels. Windows of four, the usual ones, go faster."""
    is_usual = builder.icmp_signed("==", job.tap_count, ir.Constant(I64, _USUAL))

    def emit_pixels(vectors: Vectors) -> None:
        if vectors.length < _LANES_OF_SUMS[0]:
            _emit_pixels(builder, target, _Window(job, vectors), emit)
            return
        with builder.if_else(is_usual) as (usual, other):
            with usual:
                places = [after(builder, job.taps, OFFSET_BYTES * tap) for tap in range(_USUAL)]
                taps = [_offset(builder, target, place) for place in places]
                _emit_pixels(builder, target, _Window(job, vectors, taps), emit)
            with other:
                _emit_pixels(builder, target, _Window(job, vectors), emit)

    in_vectors(builder, job.channels, lengths, emit_pixels)


class _Window(NamedTuple):
    """The values that make one, in vectors of channels.

    offsets: of each tap in bytes, if their number is known when the code is made.
    """

    job: PoolJob
    vectors: Vectors
    offsets: Sequence[Value] = ()

    @property
    def lanes(self) -> int:
        return self.vectors.length


def _emit_pixels(builder: Builder, target: Target, window: _Window, emit: Any) -> None:
    """All channels of every pixel, pixel by pixel, so that what lies side by side is read together."""
    job = window.job
    with cgutils.for_range(builder, job.pixel_count) as pixel:
        row = builder.add(job.pixels, times(builder, pixel.index, 2 * OFFSET_BYTES))
        start = moved(builder, job.values, after(builder, row, OFFSET_BYTES), target.value_bytes)
        place = moved(builder, job.outputs, row, target.value_bytes)
        with window.vectors.each() as first:
            done = times(builder, first, target.value_bytes)
            pooled = emit(builder, target, window, builder.add(start, done))
            store(builder, pooled, builder.add(place, done))


def _emit_maximum(builder: Builder, target: Target, window: _Window, start: Value) -> Value:
    kind = _held(target, window.lanes)
    return _reduced(
        builder,
        target,
        window,
        lambda offset: load(builder, builder.add(start, offset), kind),
        lambda best, seen: least(builder, seen, best),
    )


def _emit_squares(builder: Builder, target: Target, job: PoolJob, channels: int) -> None:
    """First the least of two rows, then of two pixels, which vectors of even and of odd ones bring together."""
    lanes = _LANES[0] // target.value_bytes
    rows = [_offset(builder, target, after(builder, job.taps, OFFSET_BYTES * tap)) for tap in (0, 2)]
    vectors = 2 * _USUAL * channels // lanes

    with cgutils.for_range(builder, builder.udiv(job.pixel_count, ir.Constant(I64, _USUAL))) as four:
        offsets = builder.add(job.pixels, times(builder, four.index, 2 * OFFSET_BYTES * _USUAL))
        start = moved(builder, job.values, after(builder, offsets, OFFSET_BYTES), target.value_bytes)
        place = moved(builder, job.outputs, offsets, target.value_bytes)
        starts = [builder.add(start, row) for row in rows]
        pairs = [[after(builder, row, _LANES[0] * at) for row in starts] for at in range(vectors)]
        folded = [least(builder, *(load(builder, at, _held(target, lanes)) for at in pair)) for pair in pairs]
        for number in range(vectors // 2):
            halves = [
                _every_other_pixel(builder, folded[2 * number : 2 * number + 2], channels, first)
                for first in (0, 1)
            ]
            store(builder, least(builder, *halves), after(builder, place, _LANES[0] * number))


def _every_other_pixel(builder: Builder, pair: Sequence[Value], channels: int, first: int) -> Value:
    """Of two vectors of pixels, in one."""
    pixels = range(first, 2 * pair[0].type.count // channels, 2)
    lanes = [pixel * channels + channel for pixel in pixels for channel in range(channels)]
    return builder.shuffle_vector(*pair, ir.Constant(vector(I32, len(lanes)), lanes))


def _emit_average(builder: Builder, target: Target, window: _Window, start: Value) -> Value:
    job, lanes = window.job, window.lanes
    numbers, kind = vector(I32, lanes), _held(target, lanes)
    held = _reduced(
        builder,
        target,
        window,
        lambda offset: builder.zext(load(builder, builder.add(start, offset), kind), numbers),
        builder.add,
    )
    zeros = builder.trunc(times(builder, job.tap_count, ZERO), I32)
    total = builder.sub(splat(builder, zeros, lanes), held)
    none = splat_constant(I32, 0, lanes)
    is_negative = builder.icmp_signed("<", total, none)
    magnitude = builder.select(is_negative, builder.sub(none, total), total)
    quotient = _divided(builder, job, magnitude, lanes)
    average = builder.select(is_negative, builder.sub(none, quotient), quotient)
    return held_in_memory(builder, target, average)


def _divided(builder: Builder, job: PoolJob, magnitude: Value, lanes: int) -> Value:
    """(magnitude + half) / tap_count by the reciprocal, in 64 bits."""
    wide = vector(I64, lanes)
    one = ir.Constant(I64, 1 << 24)
    rounded_up = builder.sub(builder.add(one, job.tap_count), ir.Constant(I64, 1))
    reciprocal = splat(builder, builder.udiv(rounded_up, job.tap_count), lanes)
    raised = builder.add(magnitude, splat(builder, builder.trunc(job.half, I32), lanes))
    product = builder.mul(builder.zext(raised, wide), reciprocal)
    return builder.trunc(builder.lshr(product, splat_constant(I64, 24, lanes)), magnitude.type)


def _reduced(builder: Builder, target: Target, window: _Window, load_tap: Any, fold: Any) -> Value:
    """The values of all taps of a window, folded."""
    if window.offsets:
        return reduce(fold, map(load_tap, window.offsets))
    taps, count = window.job.taps, window.job.tap_count
    total = cgutils.alloca_once_value(builder, load_tap(_offset(builder, target, taps)))
    with cgutils.for_range(builder, count, start=ir.Constant(I64, 1)) as tap:
        place = builder.add(taps, times(builder, tap.index, OFFSET_BYTES))
        value = load_tap(_offset(builder, target, place))
        builder.store(fold(builder.load(total), value), total)
    return builder.load(total)


def _offset(builder: Builder, target: Target, place: Value) -> Value:
    """A tap's offset in bytes."""
    return times(builder, builder.sext(load(builder, place, I32, OFFSET_BYTES), I64), target.value_bytes)


def _held(target: Target, lanes: int) -> Any:
    """A vector of activations in memory."""
    return vector(I8 if target.value_bytes == 1 else I16, lanes)
