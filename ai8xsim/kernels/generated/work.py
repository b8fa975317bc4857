"""What each kind of step does: compiled functions over a range of its pixels, so that threads can share a step.

`pixels` is (first, end), counted over all samples in the arena; `first_sample` is the one in the arena's first place.
"""

from typing import Any

import numpy as np

from ai8xsim.kernels.compiled import Array, compiled_part, inlined
from ai8xsim.kernels.generated.handles import (
    offset_address,
    offset_at,
    sums_at,
    value_address,
    value_bytes,
    values_at,
)
from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.pooling import PoolJob, take_average, take_maximum, take_maximum_of_squares
from ai8xsim.kernels.generated.products import multiply_depthwise, multiply_few, multiply_pixels
from ai8xsim.kernels.generated.products_of_tiles import multiply_tiles
from ai8xsim.kernels.generated.stacking import stack_rows
from ai8xsim.kernels.generated.steps import Kind, Plan, Run, Samples
from ai8xsim.kernels.generated.targets import FOUR
from ai8xsim.kernels.generated.transfer import (
    PIXELS,
    InputPlanes,
    Pixels,
    copy_in,
    copy_out,
    fetch_ahead,
    interleave_in,
    take_in,
)
from ai8xsim.kernels.requantize import shift_left, shift_right

Step = Any  # a row of the table of steps
Range = tuple[int, int]

CACHE_LINE = 64
INT32 = 4  # bytes


@inlined
def work(run: Run, step: Step, pixels: Range, first_sample: int) -> int:
    """Do a step's work for a range of pixels; returns how many values saturated, where it counts them."""
    if step.kind == Kind.MULTIPLY:
        multiply_pixels(run, step, pixels)
    elif step.kind in (Kind.MULTIPLY_NARROW, Kind.MULTIPLY_SPLIT):
        multiply_few(run, step, pixels)
    elif step.kind == Kind.MULTIPLY_TILES:
        multiply_tiles(run, step, pixels)
    elif step.kind == Kind.MULTIPLY_CHANNELS:
        multiply_depthwise(run, step, pixels)
    elif step.kind == Kind.REQUANTIZE:
        return _requantize(run, step, pixels)
    elif step.kind == Kind.COMBINE:
        return _combine(run, step, pixels)
    elif step.kind == Kind.MAXIMUM:
        _maximum(run, step, pixels)
    elif step.kind == Kind.AVERAGE:
        _average(run, step, pixels)
    else:
        _move(run, step, pixels, first_sample)
    return 0


@inlined
def _move(run: Run, step: Step, pixels: Range, first_sample: int) -> None:
    """The steps that compute nothing, or next to nothing."""
    if step.kind == Kind.LOAD:
        _load(run, step, pixels, first_sample)
    elif step.kind == Kind.STACK:
        _stack(run, step, pixels)
    elif step.kind == Kind.FILL:
        _fill(run, step, pixels)
    elif step.kind == Kind.ROLL:
        _roll(run, step, pixels)
    else:
        _emit(run, step, pixels, first_sample)


@compiled_part
def _requantize(run: Run, step: Step, pixels: Range) -> int:
    saturated = 0
    for pixel in range(pixels[0], pixels[1]):
        output, source = _output(run.plan, step, pixel), _input(run.plan, step, pixel, 1)
        sums = sums_at(run.arena.sums, source, step.channels)
        values = values_at(run, output, step.channels)
        if step.shift > 0:
            saturated += shift_right(sums, step.shift, step.activation, values)
        else:
            saturated += shift_left(sums, -step.shift, step.activation, values)
        _hold(values)
    return saturated


@compiled_part
def _combine(run: Run, step: Step, pixels: Range) -> int:
    saturated = 0
    line = np.empty(step.channels, np.int32)  # of this call's own: threads share the arena
    for pixel in range(pixels[0], pixels[1]):
        for operand in range(step.tap_count):
            source = _input(run.plan, step, pixel, 1 + operand) + offset_at(run.plan, step.taps + operand)
            _fold(values_at(run, source, step.channels), step.operation, operand, line)
        values = values_at(run, _output(run.plan, step, pixel), step.channels)
        saturated += shift_left(line, 0, 0, values)
        _hold(values)
    return saturated


@compiled_part
def _fold(values: Array, operation: int, operand: int, line: Array) -> None:
    """Fold an operand into the line; the first one stands."""
    for i in range(len(line)):
        value = ZERO - values[i]
        if operand == 0:
            line[i] = value
        elif operation == 0:
            line[i] += value
        elif operation == 1:
            line[i] -= value
        elif operation == 2:
            line[i] |= value
        else:
            line[i] ^= value


@compiled_part
def _maximum(run: Run, step: Step, pixels: Range) -> None:
    job = _pool_job(run, step, pixels, 0)
    if step.is_together and pixels[0] % FOUR == pixels[1] % FOUR == 0:
        take_maximum_of_squares(run.target, job)
    else:
        take_maximum(run.target, job)


@compiled_part
def _average(run: Run, step: Step, pixels: Range) -> None:
    take_average(run.target, _pool_job(run, step, pixels, step.tap_count // 2 if step.operation else 0))


@compiled_part
def _pool_job(run: Run, step: Step, pixels: Range, half: int) -> PoolJob:
    return PoolJob(
        value_address(run, step.source),
        value_address(run, step.output),
        offset_address(run.plan, step.pixels + 2 * pixels[0]),
        pixels[1] - pixels[0],
        offset_address(run.plan, step.taps),
        step.tap_count,
        step.channels,
        half,
    )


@compiled_part
def _load(run: Run, step: Step, pixels: Range, first_sample: int) -> None:
    """Bring samples into the arena; a pixel of this step is a run of their pixels, each with an offset of its own."""
    samples, offsets = run.samples, offset_address(run.plan, step.taps)
    is_whole = samples.channel_step == 1 or step.channels == step.pixel_step == 1
    together = max(1, (pixels[1] - pixels[0]) // step.pixel_count)
    sample, run_of_sample = first_sample + pixels[0] // step.pixel_count, pixels[0] % step.pixel_count
    for number in range(pixels[0], pixels[1]):
        first = run_of_sample * step.tap_count * samples.pixel_step
        source = samples.address + sample * samples.sample_step + first
        output = value_address(run, _output(run.plan, step, number))
        if samples.pixel_step == 1 and sample + together < samples.total:
            _fetch_run(step, samples, source + together * samples.sample_step)
        if is_whole:
            _load_pixels(run, step, (source, output))
        elif samples.pixel_step == 1 and step.tap_count >= PIXELS:
            _load_planes(run.target, step, (source, samples.channel_step), Pixels(output, offsets))
        else:
            _load_values(run, step, (source, output))
        run_of_sample += 1
        if run_of_sample == step.pixel_count:
            sample, run_of_sample = sample + 1, 0


@compiled_part
def _fetch_run(step: Step, samples: Samples, source: int) -> None:
    """Ask for the pixels of a sample in planes that come next, so that they are here when their turn comes."""
    for channel in range(step.channels):
        first = source + channel * samples.channel_step
        for byte in range(0, step.tap_count, CACHE_LINE):
            fetch_ahead(first + byte)


@compiled_part
def _load_pixels(run: Run, step: Step, places: Range) -> None:
    """Where the channels of each pixel lie side by side, or the pixels of the only channel."""
    source, output = places
    if step.channels == step.pixel_step == 1 and run.samples.pixel_step == 1:
        copy_in(run.target, source, output, step.tap_count)
        return
    for pixel in range(step.tap_count):
        place = output + offset_at(run.plan, step.taps + pixel) * value_bytes(run.target)
        copy_in(run.target, source + pixel * run.samples.pixel_step, place, step.channels)


@compiled_part
def _load_values(run: Run, step: Step, places: Range) -> None:
    source, output = places
    for pixel in range(step.tap_count):
        for channel in range(step.channels):
            at = source + pixel * run.samples.pixel_step + channel * run.samples.channel_step
            place = output + (offset_at(run.plan, step.taps + pixel) + channel) * value_bytes(run.target)
            copy_in(run.target, at, place, 1)


@compiled_part
def _load_planes(target: Any, step: Step, planes: Range, pixels: Pixels) -> None:
    """Where each channel is a plane: by blocks of pixels, of which the last may take some pixels again.

    planes: address of the first one, bytes to the next.
    """
    is_interleaved = step.channels == step.pixel_step == 3
    block = _pixels_together(step, is_interleaved)
    for start in range(0, step.tap_count, block):
        first = min(start, step.tap_count - block)
        source = InputPlanes(planes[0] + first, planes[1], 0)
        output = _from_pixel(pixels, first)
        if is_interleaved and block == 4 * PIXELS:
            interleave_in(target, 3, 64, source, output)
        elif is_interleaved:
            interleave_in(target, 3, 16, source, output)
        else:
            _load_block(target, (step.channels, block), source, output)


@inlined
def _pixels_together(step: Step, is_interleaved: bool) -> int:
    """Of a block: the most that a run has, where they are interleaved, or there are enough channels, but for those
    that fill blocks of 64 channels."""
    is_worth_while = is_interleaved or (step.channels >= 16 and step.channels % 64 > 0)
    return 4 * PIXELS if is_worth_while and step.tap_count >= 4 * PIXELS else PIXELS


@compiled_part
def _load_block(target: Any, shape: Range, source: InputPlanes, output: Pixels) -> None:
    """shape: channels, pixels."""
    channels, count = shape
    channel = 0
    while channels - channel >= 64 and count == PIXELS:
        take_in(target, 64, 16, _from_channel(source, channel), output)
        channel += 64
    while channels - channel >= 16:
        planes = _from_channel(source, channel)
        if count == 4 * PIXELS:
            take_in(target, 16, 64, planes, output)
        else:
            take_in(target, 16, 16, planes, output)
        channel += 16
    for first in range(0, count, PIXELS):
        rest = InputPlanes(source.address + first, source.step, channel)
        _load_rest(target, channels, rest, _from_pixel(output, first))


@compiled_part
def _load_rest(target: Any, channels: int, source: InputPlanes, output: Pixels) -> None:
    """The channels of PIXELS pixels that are too few for a large block."""
    channel = source.first
    while channel < channels:
        planes = _from_channel(source, channel)
        if channels - channel >= 4:
            take_in(target, 4, 16, planes, output)
            channel += 4
        else:
            take_in(target, 1, 16, planes, output)
            channel += 1


@inlined
def _from_channel(planes: InputPlanes, channel: int) -> InputPlanes:
    return InputPlanes(planes.address, planes.step, channel)


@inlined
def _from_pixel(pixels: Pixels, first: int) -> Pixels:
    return Pixels(pixels.address, pixels.offsets + INT32 * first)


@compiled_part
def _stack(run: Run, step: Step, pixels: Range) -> None:
    """Stack pixels whose values are bytes: offsets are distances in memory."""
    plan, taps = run.plan, step.taps
    for pixel in range(pixels[0], pixels[1]):
        output = value_address(run, _output(plan, step, pixel))
        first = value_address(run, _input(plan, step, pixel, 1))
        rows = (
            first + offset_at(plan, taps),
            first + offset_at(plan, taps + 1),
            first + offset_at(plan, taps + 2),
        )
        stack_rows(run.target, rows, output)


@compiled_part
def _fill(run: Run, step: Step, pixels: Range) -> None:
    for pixel in range(pixels[0], pixels[1]):
        output, length = _output(run.plan, step, pixel), offset_at(run.plan, step.pixels + 2 * pixel + 1)
        values_at(run, output, length)[:] = ZERO


@compiled_part
def _roll(run: Run, step: Step, pixels: Range) -> None:
    """Move the values of a buffer to the front, and fill up with zeros."""
    kept = step.channels - step.shift
    for pixel in range(pixels[0], pixels[1]):
        values = values_at(run, _output(run.plan, step, pixel), step.channels)
        for i in range(kept):
            values[i] = values[i + step.shift]
        values[kept:] = ZERO


@compiled_part
def _emit(run: Run, step: Step, pixels: Range, first_sample: int) -> None:
    """Copy results to the run's outputs."""
    base = step.output * run.samples.total + first_sample * step.size
    for pixel in range(pixels[0], pixels[1]):
        row = step.pixels + 2 * pixel
        output, source = base + offset_at(run.plan, row), step.source + offset_at(run.plan, row + 1)
        if step.is_wide:
            results = sums_at(run.outputs.sums, output, step.channels)
            sums = sums_at(run.arena.sums, source, step.channels)
            for i in range(step.channels):
                results[i] = _wide(sums[i], step.activation)
        else:
            place = run.outputs.activations + output
            copy_out(run.target, value_address(run, source), place, step.channels)


@compiled_part
def _wide(value: int, activation: int) -> int:
    """A sum as it is, or saturated to 0..127 by an activation, as the loader computes a 32-bit layer."""
    if activation == 0:
        return value
    return min(max(abs(value) if activation == 2 else value, 0), 127)


@compiled_part
def _hold(values: Array) -> None:
    """Bring numbers into the form in which memory holds them; a byte wraps round."""
    for i in range(len(values)):
        values[i] = ZERO - values[i]


@inlined
def _output(plan: Plan, step: Step, pixel: int) -> int:
    place: int = step.output + offset_at(plan, step.pixels + step.columns * pixel)
    return place


@inlined
def _input(plan: Plan, step: Step, pixel: int, column: int) -> int:
    place: int = step.source + offset_at(plan, step.pixels + step.columns * pixel + column)
    return place
