"""Convolutions by tiles: some of them at a time, so that all that is made of them stays in the cache."""

from typing import Any, NamedTuple

import numpy as np

from ai8xsim.kernels.compiled import Array, compiled_part, inlined
from ai8xsim.kernels.generated.handles import address_of, offset_address, offset_at, value_address
from ai8xsim.kernels.generated.microkernel import Results
from ai8xsim.kernels.generated.steps import Run
from ai8xsim.kernels.generated.targets import TILE_VECTORS, TILES_TOGETHER
from ai8xsim.kernels.generated.tiles import PlaneJob, Planes, multiply_plane, put_together, take_apart
from ai8xsim.kernels.generated.winograd import PRODUCTS, STARTING_PLANE

Step = Any  # a row of the table of steps
Range = tuple[int, int]

LINE = 64  # bytes of the cache; one more from plane to plane, lest all planes claim the same few lines
INPUT_BYTES, SUM_BYTES = 2, 4


class Matrices(NamedTuple):
    """The planes of the tiles that are computed together: addresses and steps in bytes."""

    memory: Array  # in which they lie; an address alone does not keep it
    inputs: int
    input_step: int  # from tile to tile
    input_plane: int  # from plane to plane
    sums: int
    sum_step: int
    sum_plane: int


@compiled_part
def multiply_tiles(run: Run, step: Step, tiles: Range) -> None:
    """The activations of tiles of outputs, which are the step's pixels."""
    lanes = run.target.lanes
    vectors = (step.groups + lanes - 1) // lanes  # of inputs, which hold twice as many
    input_step, sum_step = vectors * lanes * 2 * INPUT_BYTES, step.vectors * lanes * SUM_BYTES
    input_plane, sum_plane = TILES_TOGETHER * input_step + LINE, TILES_TOGETHER * sum_step + LINE
    memory = np.empty((PRODUCTS * (input_plane + sum_plane) + LINE) // SUM_BYTES, np.int32)
    first = (address_of(memory, 0) + LINE - 1) // LINE * LINE
    matrices = Matrices(
        memory, first, input_step, input_plane, first + PRODUCTS * input_plane, sum_step, sum_plane
    )
    for tile in range(tiles[0], tiles[1], TILES_TOGETHER):
        part = (tile, min(tile + TILES_TOGETHER, tiles[1]))
        _take_apart(run, step, part, vectors, matrices)
        _multiply(run, step, part[1] - part[0], matrices)
        _put_together(run, step, part, matrices)


@inlined
def _take_apart(run: Run, step: Step, tiles: Range, vectors: int, matrices: Matrices) -> None:
    plan, lanes = run.plan, 2 * run.target.lanes
    inputs = offset_address(plan, step.taps)
    for tile in range(tiles[0], tiles[1]):
        source = step.source + offset_at(plan, step.pixels + 2 * tile + 1)
        output = matrices.inputs + (tile - tiles[0]) * matrices.input_step
        for vector in range(vectors):
            place = Planes(output + vector * lanes * INPUT_BYTES, matrices.input_plane)
            take_apart(run.target, value_address(run, source + vector * lanes), inputs, place)


@inlined
def _multiply(run: Run, step: Step, tiles: int, matrices: Matrices) -> None:
    vector_bytes = run.target.lanes * SUM_BYTES
    starts = run.plan.starts + SUM_BYTES * step.starts
    weight_bytes = step.groups * vector_bytes  # of a vector of outputs, whose lanes have pairs of weights
    for plane in range(PRODUCTS):
        for first in range(0, step.vectors, TILE_VECTORS):
            vectors = min(TILE_VECTORS, step.vectors - first)
            job = PlaneJob(
                matrices.inputs + plane * matrices.input_plane,
                matrices.input_step,
                matrices.sums + plane * matrices.sum_plane + first * vector_bytes,
                matrices.sum_step,
                tiles,
                step.groups,
                run.plan.weights + step.weights + (plane * step.vectors + first) * weight_bytes,
                starts + first * vector_bytes if plane == STARTING_PLANE else 0,
            )
            multiply_plane(run.target, vectors, job)


@inlined
def _put_together(run: Run, step: Step, tiles: Range, matrices: Matrices) -> None:
    plan, lanes = run.plan, run.target.lanes
    pixels = offset_address(plan, step.taps + PRODUCTS)
    for tile in range(tiles[0], tiles[1]):
        output = step.output + offset_at(plan, step.pixels + 2 * tile)
        sums = matrices.sums + (tile - tiles[0]) * matrices.sum_step
        for vector in range(step.vectors):
            channel = vector * lanes
            results = Results(
                value_address(run, output + channel),
                pixels,
                step.shift,
                step.ceiling,
                step.channels - channel,
                step.is_together,
            )
            put_together(run.target, Planes(sums + channel * SUM_BYTES, matrices.sum_plane), results)
