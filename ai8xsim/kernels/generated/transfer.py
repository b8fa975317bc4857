"""The generators of the ways in and out of the arena: samples in planes of channels, outputs in int8."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    Builder,
    Value,
    Vectors,
    after,
    fields_of,
    held_in_memory,
    in_vectors,
    load,
    moved,
    prefetch,
    splat_constant,
    store,
    times,
    vector,
)
from ai8xsim.kernels.generated.targets import Target, target_of

PIXELS = 16  # of a plane that are loaded at a time, or a multiple of it
_COPIED_TOGETHER = (64, 16, 1)  # values


class InputPlanes(NamedTuple):
    """Channels of a sample; the int8 pixels of each lie side by side."""

    address: int  # of channel 0
    step: int  # bytes from channel to channel
    first: int  # number of the channel that is taken first


class Pixels(NamedTuple):
    """Where they go in the arena."""

    address: int
    offsets: int  # address of int32: from there to channel 0 of each pixel, in activations


@intrinsic(prefer_literal=True)
def take_in(typing_context: Any, target: Any, channels: Any, count: Any, planes: Any, pixels: Any) -> Any:
    """Write `count` pixels of some channels; both are literals: 1, 4, 16 or 64 channels; PIXELS or a multiple of it."""
    facts, lanes = target_of(target.instance_class), int(count.literal_value)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        *_, channel = fields_of(builder, args[3], InputPlanes)
        arena, offsets = fields_of(builder, args[4], Pixels)
        output = builder.add(arena, times(builder, channel, facts.value_bytes))
        loaded = _loaded(builder, args[3], int(channels.literal_value), lanes)
        for pixel, values in _transposed(builder, loaded):
            place = moved(builder, output, after(builder, offsets, 4 * pixel), facts.value_bytes)
            store(builder, held_in_memory(builder, facts, values), place)
        return context.get_dummy_value()

    return types.void(target, channels, count, planes, pixels), generate


@intrinsic
def fetch_ahead(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which will be read soon."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        prefetch(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic(prefer_literal=True)
def interleave_in(
    typing_context: Any, target: Any, channels: Any, count: Any, planes: Any, pixels: Any
) -> Any:
    """Write `count` pixels that have no more channels than these, and so lie side by side; both are literals, as of
    `take_in`."""
    facts, lanes = target_of(target.instance_class), int(count.literal_value)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        arena, offsets = fields_of(builder, args[4], Pixels)
        output = moved(builder, arena, offsets, facts.value_bytes)
        loaded = _loaded(builder, args[3], int(channels.literal_value), lanes)
        for number, values in enumerate(_interleaved(builder, loaded)):
            place = after(builder, output, lanes * number * facts.value_bytes)
            store(builder, held_in_memory(builder, facts, values), place)
        return context.get_dummy_value()

    return types.void(target, channels, count, planes, pixels), generate


@intrinsic
def copy_in(typing_context: Any, target: Any, source: Any, output: Any, count: Any) -> Any:
    """Copy int8 side by side to activations side by side; addresses, and the number of values."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        _emit_copy(
            builder, args[1:], (1, facts.value_bytes), lambda values: held_in_memory(builder, facts, values)
        )
        return context.get_dummy_value()

    return types.void(target, types.int64, types.int64, types.int64), generate


@intrinsic
def copy_out(typing_context: Any, target: Any, source: Any, output: Any, count: Any) -> Any:
    """Copy activations side by side to int8 side by side; addresses, and the number of values."""
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        _emit_copy(builder, args[1:], (facts.value_bytes, 1), lambda values: _numbers(builder, facts, values))
        return context.get_dummy_value()

    return types.void(target, types.int64, types.int64, types.int64), generate


def _emit_copy(builder: Builder, places: list[Value], sizes: tuple[int, int], change: Any) -> None:
    """places: addresses of source and output, and the count.   sizes: bytes of a value in each."""
    source, output, count = places
    kind = I8 if sizes[0] == 1 else I16

    def copy(vectors: Vectors) -> None:
        with vectors.each() as first:
            place = builder.add(source, times(builder, first, sizes[0]))
            values = load(builder, place, vector(kind, vectors.length))
            store(builder, change(values), builder.add(output, times(builder, first, sizes[1])))

    in_vectors(builder, count, _COPIED_TOGETHER, copy)


def _numbers(builder: Builder, target: Target, values: Value) -> Value:
    """What memory holds as numbers; the reverse of `held_in_memory`."""
    octets = vector(I8, values.type.count)
    held = values if values.type == octets else builder.trunc(values, octets)
    return builder.sub(splat_constant(I8, ZERO, values.type.count), held)


def _loaded(builder: Builder, planes: Value, channels: int, pixels: int) -> list[Value]:
    """A vector of pixels for each channel."""
    address, step, first = fields_of(builder, planes, InputPlanes)
    start = builder.add(address, builder.mul(step, first))
    places = [builder.add(start, times(builder, step, channel)) for channel in range(channels)]
    return [load(builder, place, vector(I8, pixels)) for place in places]


def _interleaved(builder: Builder, planes: list[Value]) -> Iterator[Value]:
    """All values when pixels lie side by side: within each 16 pixels, 16 bytes at a time, which then are put in order.

    Processors move bytes only within 16 of them, and larger pieces anywhere.
    """
    count, channels = planes[0].type.count, len(planes)
    within = range(0, count, PIXELS)
    parts = []
    for first in range(0, PIXELS * channels, PIXELS):
        wanted = [divmod(place, channels) for place in range(first, first + PIXELS)]  # pixel, channel
        parts.append(
            _merged(builder, planes, [(channel, at + pixel) for at in within for pixel, channel in wanted])
        )
    pieces = [(part, at) for at in within for part in range(channels)]
    for first in range(0, len(pieces), len(within)):
        own = pieces[first : first + len(within)]
        yield _merged(builder, parts, [(part, at + byte) for part, at in own for byte in range(PIXELS)])


def _merged(builder: Builder, vectors: list[Value], places: list[tuple[int, int]]) -> Value:
    """A vector of places (vector, lane) in vectors of its own length, which are merged in one after the other.

    A lane may hold anything until the turn of its vector comes.
    """
    merged, count = vectors[0], len(places)
    for number in range(1, len(vectors)):
        kept = range(count) if number > 1 else [lane for _, lane in places]
        lanes = [
            count + lane if theirs == number else here
            for here, (theirs, lane) in zip(kept, places, strict=True)
        ]
        merged = builder.shuffle_vector(merged, vectors[number], ir.Constant(vector(I32, count), lanes))
    return merged


def _transposed(builder: Builder, planes: list[Value]) -> Iterator[tuple[int, Value]]:
    """From a vector of pixels for each channel to each pixel and the vector of its channels."""
    count = planes[0].type.count
    if len(planes) < PIXELS:
        joined = _joined(builder, planes)
        for pixel in range(count):
            places = [count * channel + pixel for channel in range(len(planes))]
            yield pixel, _picked(builder, joined, places)
        return
    if len(planes) > PIXELS:  # squares side by side, each of whose bytes are channels of the same pixel
        joined = [_joined(builder, planes[first::PIXELS]) for first in range(PIXELS)]
        yield from enumerate(_transposed_squares(builder, joined))
        return
    for place, values in enumerate(_transposed_squares(builder, planes)):
        for first in range(0, count, PIXELS):
            yield first + place, _picked(builder, values, list(range(first, first + PIXELS)))


def _transposed_squares(builder: Builder, planes: list[Value]) -> list[Value]:
    """Interleaving vector i with vector i + 8, four times, brings byte c of vector p to byte p of vector c.

    Longer vectors are interleaved in parts of 16 bytes, each of which becomes a square of its own.
    """
    count, half = planes[0].type.count, PIXELS // 2
    within = [lane // 2 + count * (lane % 2) for lane in range(PIXELS)]
    low = [part + place for part in range(0, count, PIXELS) for place in within]
    high = [place + half for place in low]
    mixed = planes
    for _ in range(4):
        mixed = [
            builder.shuffle_vector(mixed[at], mixed[at + half], ir.Constant(vector(I32, count), places))
            for at in range(half)
            for places in (low, high)
        ]
    return mixed


def _joined(builder: Builder, planes: list[Value]) -> Value:
    """One vector, plane after plane."""
    joined = planes[0]
    for plane in planes[1:]:
        lanes, more = joined.type.count, plane.type.count
        longer = _picked(builder, plane, [min(lane, more) for lane in range(lanes)])
        order = ir.Constant(vector(I32, lanes + more), list(range(lanes + more)))
        joined = builder.shuffle_vector(joined, longer, order)
    return joined


def _picked(builder: Builder, values: Value, places: list[int]) -> Value:
    """The values at these places; what stands at a place behind the last value does not count."""
    undefined = ir.Constant(values.type, ir.Undefined)
    return builder.shuffle_vector(values, undefined, ir.Constant(vector(I32, len(places)), places))
