"""Convolutions by tiles: exact wherever they are possible, and taken where they are faster."""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78002, Program, Simulator
from ai8xsim.engine import convolution, run
from ai8xsim.engine.build import Builder
from ai8xsim.engine.lower import lower
from ai8xsim.engine.tensor import laid_out
from ai8xsim.engine.tiles import can_be_tiled, tile_corners
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import TILE_VECTORS, TILES_TOGETHER, Target, available_targets
from ai8xsim.kernels.generated.winograd import LIMIT
from benchmarks.layers import convolution as convolution_shape
from benchmarks.layers import layer_case
from tests.engine.own_process import in_own_process
from tests.simulator.small_programs import program_of, random_int8

EXTREME_SHIFT = 16  # to the right

on_every_target = pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)


@pytest.fixture
def tiles_everywhere() -> Iterator[None]:
    """Tiles compute every convolution that they can, however slow that is."""

    def possible(builder: Builder, geometry: Any, weight: Any, starts: Any, tensors: Any) -> bool:
        return can_be_tiled(builder.target, geometry, weight, starts, tensors[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "worth_tiles", possible)
        patch.setattr(run, "WORTH_THREADS", 0)
        yield


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """One convolution with a 3x3 kernel, or two."""
    channels, outputs, more = (draw(st.one_of(st.integers(1, 9), st.integers(1, 70))) for _ in range(3))
    pad, rows, columns = draw(st.integers(0, 2)), draw(st.integers(6, 14)), draw(st.integers(6, 14))
    activation, shift = draw(st.sampled_from(["", ", activate: ReLU"])), draw(st.integers(-4, 0))
    first = f"- {{op: conv2d, pad: {pad}, output_shift: {shift}{activation}}}"
    layers = [first, *(["- {op: conv2d, pad: 1, output_shift: -3}"] * draw(st.integers(0, 1)))]
    seed = draw(st.integers(0, 99))
    weights = random_int8(seed, outputs, channels, 3, 3), random_int8(seed + 1, more, outputs, 3, 3)
    return program_of("\n".join(layers), *weights[: len(layers)], input_shape=(channels, rows, columns))


def kinds_of(program: Program, target: Target) -> set[int]:
    return set(lower(program, target, keep_all=False).plan.steps["kind"])


@on_every_target
@pytest.mark.usefixtures("tiles_everywhere")
@given(program=programs(), count=st.integers(1, 5), threads=st.integers(1, 2), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_tiles_compute_what_the_portable_kernels_do(
    target: Target, program: Program, count: int, threads: int, seed: int
) -> None:
    samples = random_int8(seed, count, *program.input_shape.array_shape)
    assert Kind.MULTIPLY_TILES in kinds_of(program, target)
    found = Simulator(program, threads, target.name).run(samples, keep="outputs")
    expected = Simulator(program, target="portable").run(samples, keep="outputs")
    assert np.array_equal(found.output, expected.output)


SOURCES = {  # what a convolution reads: the layers before it, and how many channels they make of 6
    "joined": ("- {name: a, op: conv2d, pad: 1}\n- {name: b, op: none, in_sequences: [input, a]}", 11),
    "pooled": ("- {name: b, op: none, max_pool: 2, pool_stride: 1}", 6),
    "combined": ("- {name: a, op: none}\n- {name: b, op: sub, in_sequences: [input, a]}", 6),
    "cropped": ("- {name: b, op: none, in_crop: [1, 2], in_dim: [9, 7]}", 6),
    "reshaped": ("- {name: b, op: none, in_dim: [7, 12]}", 6),
    "several readers": ("- {name: b, op: none}\n- {op: conv2d, pad: 0, in_sequences: b, output: true}", 6),
}


@on_every_target
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.usefixtures("tiles_everywhere")
def test_tiles_read_whatever_a_convolution_reads(target: Target, source: str) -> None:
    layers, channels = SOURCES[source]
    before = [random_int8(seed, 5, 6, 3, 3) for seed in range(layers.count("conv2d"))]
    for pad in range(3):
        last = f"- {{op: conv2d, pad: {pad}, in_sequences: b, output_shift: -2}}"
        weights = *before, random_int8(7, 13, channels, 3, 3)
        program = program_of(f"{layers}\n{last}", *weights, input_shape=(6, 12, 7))
        assert Kind.MULTIPLY_TILES in kinds_of(program, target)
        samples = random_int8(pad, 3, 6, 12, 7)
        found, expected = (
            Simulator(program, target=name).run(samples, keep="outputs") for name in (target.name, "portable")
        )
        assert [layer.digests for layer in found] == [layer.digests for layer in expected]


def _agrees_with_portable_kernels(target: str) -> bool:
    """Whether many tiles do, which need much memory."""
    case = layer_case("layer", convolution_shape(64, 64, 32))
    found, expected = (
        Simulator(case.program, target=name).run(case.samples, keep="outputs").output
        for name in (target, "portable")
    )
    return np.array_equal(found, expected)


@on_every_target
def test_memory_is_not_given_back_before_its_time(target: Target) -> None:
    """Where glibc returns what is freed to the system at once; elsewhere these variables mean nothing."""
    at_once = {"MALLOC_MMAP_THRESHOLD_": "4096", "MALLOC_PERTURB_": "165"}
    assert in_own_process(_agrees_with_portable_kernels, target.name, environment=at_once)


@on_every_target
def test_blocks_of_tiles_do_not_go_beyond_their_memory(target: Target) -> None:
    assert len(target.tile_blocks) == TILE_VECTORS
    for blocks, tiles in product(target.tile_blocks, range(1, TILES_TOGETHER + 1)):
        large = (tiles + blocks.tiles - blocks.rest - 1) // blocks.tiles
        small = tiles > large * blocks.tiles
        assert tiles <= large * blocks.tiles + small * blocks.rest <= TILES_TOGETHER


@cache
def extreme_program(channels: int) -> Program:
    """Its sums are large, of both signs."""
    every = np.full((4, channels, 3, 3), -128)
    every[1], every[2, ::2], every[3, :, ::2] = 127, 127, 127
    keys = f"pad: 1, output_shift: {7 - EXTREME_SHIFT}"
    return program_of(f"- {{op: conv2d, {keys}}}", every, input_shape=(channels, 5, 6), device=MAX78002)


def most_channels() -> int:
    """For which the sums, with what is added to them before the shift, stay below the limit of tiles."""
    added = (128 << EXTREME_SHIFT) - 1 - (1 << EXTREME_SHIFT - 1)
    positive, negative = 127 * 128 * 9, 128 * 128 * 9  # what sums are held as, before that is added
    return min((LIMIT - 1 - added) // positive, (LIMIT - 1 + added) // negative)


@on_every_target
@pytest.mark.parametrize(("more", "tiled"), [(0, True), (1, False), (600, False)])
@pytest.mark.usefixtures("tiles_everywhere")
def test_sums_beyond_the_limit_are_not_left_to_tiles(target: Target, more: int, tiled: bool) -> None:
    program = extreme_program(most_channels() + more)
    assert (Kind.MULTIPLY_TILES in kinds_of(program, target)) is tiled
    shape = program.input_shape.array_shape
    checked = np.where(np.indices(shape).sum(axis=0) % 2, 127, -128)
    samples = np.stack([np.full(shape, -128), np.full(shape, 127), checked, random_int8(3, *shape)])
    found, expected = (
        Simulator(program, target=name).run(samples, keep="outputs").output
        for name in (target.name, "portable")
    )
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 2


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (4, 9), (13, 8), (11, 6)])
def test_tiles_cover_every_output_and_nothing_else(rows: int, columns: int) -> None:
    covered = np.zeros((rows, columns), int)
    for row, column in tile_corners(laid_out(0, (rows, columns, 1), 1, (0, 0))):
        part = covered[row : row + 4, column : column + 4]
        assert part.shape == (4, 4)
        part += 1
    assert covered.min() == 1


@on_every_target
@pytest.mark.parametrize(
    ("channels", "outputs", "side", "tiled"),
    [
        (64, 64, 32, True),
        (64, 64, 8, True),
        (128, 16, 3, False),
        (3, 16, 32, False),
        (1, 1, 64, False),
        (1024, 1024, 4, False),  # its weights would outgrow all caches
    ],
)
def test_tiles_are_taken_where_they_save_time(
    target: Target, channels: int, outputs: int, side: int, tiled: bool
) -> None:
    program = layer_case("layer", convolution_shape(channels, outputs, side)).program
    assert (Kind.MULTIPLY_TILES in kinds_of(program, target)) is tiled


@pytest.mark.parametrize(
    "keys",
    ["kernel_size: 1x1, pad: 0", "dilation: 2, pad: 2", "groups: 32", "activate: Abs", "output_width: 32"],
)
def test_other_convolutions_are_not_tiled(keys: str) -> None:
    size, inputs = (1, 32) if "1x1" in keys else (3, 1 if "groups" in keys else 32)
    program = program_of(
        f"- {{op: conv2d, {keys if 'pad' in keys else keys + ', pad: 1'}}}",
        random_int8(0, 32, inputs, size, size),
        input_shape=(32, 16, 16),
    )
    assert Kind.MULTIPLY_TILES not in kinds_of(program, available_targets()[0])
