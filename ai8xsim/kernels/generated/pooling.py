"""The generators of pooling; the maximum over a single tap is a copy."""

from collections.abc import Sequence
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
    cgutils,
    fields_of,
    held_in_memory,
    load,
    maximum,
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
    """Write the maximum over the taps of each pixel, channel by channel."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        fields = fields_of(builder, args[1], PoolJob)
        lanes = [count for count in _LANES if count * facts.value_bytes <= _LANES[0]]
        _emit_vectors(builder, facts, fields, lanes, _emit_maximum)
        return context.get_dummy_value()

    return types.void(target, job), generate


@intrinsic
def take_average(typing_context: Any, target: Any, job: Any) -> Any:
    """Write the average over the taps of each pixel, channel by channel: its magnitude truncated, or rounded half up.

    A window has at most 256 taps, so that a reciprocal of 24 bits divides every sum exactly.
    """
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        _emit_vectors(builder, facts, fields_of(builder, args[1], PoolJob), _LANES_OF_SUMS, _emit_average)
        return context.get_dummy_value()

    return types.void(target, job), generate


def _emit_vectors(builder: Builder, target: Target, job: PoolJob, choices: Sequence[int], emit: Any) -> None:
    """Go through the channels in vectors of the largest length that they fill; for each, through all pixels."""
    larger = None
    for lanes in choices:
        length = ir.Constant(I64, lanes)
        fills = builder.icmp_unsigned(">=", job.channels, length)
        chosen = fills if larger is None else builder.and_(fills, builder.not_(larger))
        larger = fills
        with builder.if_then(chosen):
            count = builder.udiv(builder.add(job.channels, ir.Constant(I64, lanes - 1)), length)
            with cgutils.for_range(builder, count) as part:
                start, last = builder.mul(part.index, length), builder.sub(job.channels, length)
                first = builder.select(builder.icmp_unsigned("<", start, last), start, last)
                done = times(builder, first, target.value_bytes)
                _emit_pixels(builder, target, job, done, (lanes, emit))


def _emit_pixels(builder: Builder, target: Target, job: PoolJob, done: Value, how: tuple[int, Any]) -> None:
    """The same vector of channels, `done` bytes from the first, of every pixel; `how`: its length, what is done."""
    lanes, emit = how
    values, outputs = builder.add(job.values, done), builder.add(job.outputs, done)
    with cgutils.for_range(builder, job.pixel_count) as pixel:
        row = builder.add(job.pixels, times(builder, pixel.index, 8))
        start = moved(builder, values, after(builder, row, 4), target.value_bytes)
        place = moved(builder, outputs, row, target.value_bytes)
        store(builder, emit(builder, target, job, start, lanes), place)


def _emit_maximum(builder: Builder, target: Target, job: PoolJob, start: Value, lanes: int) -> Value:
    is_signed = target.marker.zero == 0
    return _reduced(
        builder,
        job,
        lambda tap: _at_tap(builder, target, start, tap, lanes),
        lambda best, seen: maximum(builder, seen, best, signed=is_signed),
    )


def _emit_average(builder: Builder, target: Target, job: PoolJob, start: Value, lanes: int) -> Value:
    numbers = vector(I32, lanes)
    widen = builder.sext if target.marker.zero == 0 else builder.zext
    held = _reduced(
        builder, job, lambda tap: widen(_at_tap(builder, target, start, tap, lanes), numbers), builder.add
    )
    zeros = builder.trunc(times(builder, job.tap_count, target.marker.zero), I32)
    total = builder.sub(held, splat(builder, zeros, lanes))
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


def _reduced(builder: Builder, job: PoolJob, load_tap: Any, fold: Any) -> Value:
    """The values of all taps of a window, folded."""
    total = cgutils.alloca_once_value(builder, load_tap(job.taps))
    with cgutils.for_range(builder, job.tap_count, start=ir.Constant(I64, 1)) as tap:
        place = builder.add(job.taps, times(builder, tap.index, 4))
        builder.store(fold(builder.load(total), load_tap(place)), total)
    return builder.load(total)


def _at_tap(builder: Builder, target: Target, start: Value, tap: Value, lanes: int) -> Value:
    kind = vector(I8 if target.value_bytes == 1 else I16, lanes)
    return load(builder, moved(builder, start, tap, target.value_bytes), kind)
