"""Convolutions over a range of pixels, block after block."""

from typing import Any

from ai8xsim.kernels.compiled import compiled_part, inlined
from ai8xsim.kernels.generated.depthwise import multiply_channels
from ai8xsim.kernels.generated.handles import offset_address, offset_at, value_address
from ai8xsim.kernels.generated.microkernel import Job, multiply_block
from ai8xsim.kernels.generated.narrow import multiply_narrow_block
from ai8xsim.kernels.generated.split import multiply_split_block
from ai8xsim.kernels.generated.steps import Kind, Run
from ai8xsim.kernels.generated.targets import CHAINS, FOUR

Step = Any  # a row of the table of steps
Range = tuple[int, int]

WEIGHT_BYTES = 4  # of a lane, for a group of inputs, on every target
START_BYTES = 4


@compiled_part
def multiply_pixels(run: Run, step: Step, pixels: Range) -> None:
    """The sums or activations of pixels, all output channels.

    Group by group of these, so that the weights of a group stay close while all pixels meet them.

    A group takes the largest blocks that the remaining pixels fill. A block for a single pixel serves steps that have
    only one; elsewhere the last block may reach beyond the range, and computes pixels of the next one, or the last
    pixel again.
    """
    plan, (first_pixel, end) = run.plan, _whole_units(step, pixels)
    is_single = pixels[1] - pixels[0] == step.pixel_count == 1 and step.groups % CHAINS == 0
    first, most = 0, run.target.most_vectors
    while first < step.vectors:
        left = step.vectors - first
        vectors = most - 1 if left == most + 1 else min(left, most)  # as in `packing.group_sizes`
        job, pixel = _job(run, step, first, vectors), first_pixel
        sizes, block = offset_at(plan, 0), _first_block(run, step, vectors)
        smallest = offset_at(plan, vectors + 1) - (1 if is_single else 2)
        while pixel < end:
            while block < smallest and offset_at(plan, sizes + block) > end - pixel:
                block += 1
            size = offset_at(plan, sizes + block)
            blocks = max(1, (end - pixel) // size)
            at_pixel = _at_pixel(job, offset_address(plan, step.pixels + 2 * pixel), blocks)
            multiply_block(run.target, block, at_pixel)
            pixel += blocks * size
        first += vectors


@compiled_part
def multiply_few(run: Run, step: Step, pixels: Range) -> None:
    """What pixels become in few output channels; the last block may likewise reach beyond the range."""
    plan, job, block = run.plan, _job_of_few(run, step), step.first_block
    pixel, end = _whole_units(step, pixels)
    while pixel < end:
        while block < step.last_block and offset_at(plan, step.block_pixels + block) > end - pixel:
            block += 1
        size = offset_at(plan, step.block_pixels + block)
        blocks = max(1, (end - pixel) // size)
        at_pixel = _at_pixel(job, offset_address(plan, step.pixels + 2 * pixel), blocks)
        if step.kind == Kind.MULTIPLY_NARROW:
            multiply_narrow_block(run.target, block, at_pixel)
        else:
            multiply_split_block(run.target, block, at_pixel)
        pixel += blocks * size


@compiled_part
def multiply_depthwise(run: Run, step: Step, pixels: Range) -> None:
    """The sums or activations of pixels, each channel by itself; the last block may reach beyond the range."""
    together = run.target.channel_pixels
    blocks = (pixels[1] - pixels[0] + together - 1) // together
    for vector in range(0, step.vectors, run.target.channel_vectors):
        job = _channel_job(run, step, vector)
        at_pixels = _at_pixel(job, offset_address(run.plan, step.pixels + 2 * pixels[0]), blocks)
        multiply_channels(run.target, at_pixels)


@inlined
def _first_block(run: Run, step: Step, vectors: int) -> int:
    """The largest of so many vectors that the step may take."""
    return offset_at(run.plan, vectors if step.pixel_step else 1 + run.target.most_vectors + vectors)


@inlined
def _whole_units(step: Step, pixels: Range) -> Range:
    """The range with all pixels of the units that it meets."""
    return pixels[0] & -step.unit, (pixels[1] + step.unit - 1) & -step.unit


@compiled_part
def _job(run: Run, step: Step, first: int, vectors: int) -> Job:
    """The work of a group of vectors of output channels, from vector `first` on."""
    plan, channel = run.plan, first * run.target.lanes
    group_bytes = run.target.lanes * WEIGHT_BYTES  # for each vector
    before = first * step.all_taps * step.all_groups
    before += vectors * (step.first_tap * step.all_groups + step.first_group)
    return Job(
        value_address(run, step.source),
        _outputs(run, step, channel),
        0,
        0,
        offset_address(plan, step.taps),
        step.tap_count,
        step.groups,
        plan.weights + step.weights + before * group_bytes,
        vectors * (step.all_groups - step.groups) * group_bytes,
        plan.starts + START_BYTES * (step.starts + channel),
        step.shift,
        step.ceiling,
        step.channels - channel,
        step.is_together or (vectors == FOUR and step.channels - channel >= FOUR * run.target.lanes),
        step.is_wide,
        step.pixel_step,
    )


@compiled_part
def _job_of_few(run: Run, step: Step) -> Job:
    """The work of a step with few output channels."""
    plan, before = run.plan, step.first_tap * step.all_groups + step.first_group
    return Job(
        value_address(run, step.source),
        _outputs(run, step, 0),
        0,
        0,
        offset_address(plan, step.taps),
        step.tap_count,
        step.groups,
        plan.weights + step.weights + before * step.group_bytes,
        (step.all_groups - step.groups) * step.group_bytes,
        plan.starts + START_BYTES * step.starts,
        step.shift,
        step.ceiling,
        step.channels,
        step.is_together,
        step.is_wide,
        step.pixel_step,
    )


@compiled_part
def _channel_job(run: Run, step: Step, vector: int) -> Job:
    """The work of a block's vectors of channels; their inputs as well as their outputs lie further on."""
    plan, channel = run.plan, vector * run.target.lanes
    width = step.channels - channel
    return Job(
        value_address(run, step.source + channel),
        _outputs(run, step, channel),
        0,
        0,
        offset_address(plan, step.taps),
        step.tap_count,
        1,
        plan.weights + step.weights + channel * step.tap_count * run.target.channel_weight_bytes,
        0,
        plan.starts + START_BYTES * (step.starts + channel),
        step.shift,
        step.ceiling,
        width,
        width >= FOUR * run.target.lanes,
        step.is_wide,
        0,
    )


@compiled_part
def _outputs(run: Run, step: Step, channel: int) -> int:
    if step.is_wide:
        sums: int = run.arena.sums + START_BYTES * (step.output + channel)
        return sums
    return value_address(run, step.output + channel)


@inlined
def _at_pixel(job: Job, pixels: int, blocks: int) -> Job:
    return Job(
        job.activations,
        job.outputs,
        pixels,
        blocks,
        job.taps,
        job.tap_count,
        job.groups,
        job.weights,
        job.passed_over,
        job.starts,
        job.shift,
        job.ceiling,
        job.width,
        job.is_together,
        job.is_wide,
        job.input_step,
    )
