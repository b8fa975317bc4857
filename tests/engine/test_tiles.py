"""Convolutions by tiles: exact wherever they are possible, and taken where they are faster."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78002, Program, Simulator
from ai8xsim.engine import convolution, run
from ai8xsim.engine.lower import lower
from ai8xsim.engine.tensor import laid_out
from ai8xsim.engine.tiles import can_be_tiled, tile_corners
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from benchmarks.layers import convolution as convolution_shape
from benchmarks.layers import layer_case
from tests.simulator.networks_drawn import DrawnNetwork, networks
from tests.simulator.small_programs import program_of, random_int8
from tests.simulator.test_three_roads import DRAWN, check_outputs

on_every_target = pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)


@pytest.fixture
def tiles_everywhere() -> Iterator[None]:
    """Tiles compute every convolution that they can, however slow that is."""

    def possible(_: Target, geometry: object, weight: object, __: object, output: object) -> bool:
        return can_be_tiled(geometry, weight, output)  # type: ignore[arg-type]

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


@on_every_target
@pytest.mark.usefixtures("tiles_everywhere")
@given(network=networks())
@settings(DRAWN, max_examples=40)
def test_drawn_networks_come_out_with_tiles_as_on_the_slow_machine(
    target: Target, network: DrawnNetwork
) -> None:
    everything = Simulator(network.program, target=target.name).run(network.samples)
    check_outputs(network, everything, target.name)


@cache
def extreme_program(channels: int) -> Program:
    """Its sums are the largest for which tiles are exact, of both signs, or just beyond."""
    every = np.full((4, channels, 3, 3), -128)
    every[1], every[2, ::2], every[3, :, ::2] = 127, 127, 127
    keys = "pad: 1, output_shift: -15"
    return program_of(f"- {{op: conv2d, {keys}}}", every, input_shape=(channels, 5, 6), device=MAX78002)


@on_every_target
@pytest.mark.parametrize(("channels", "tiled"), [(114, True), (115, False), (900, False)])
@pytest.mark.usefixtures("tiles_everywhere")
def test_sums_beyond_the_limit_are_not_left_to_tiles(target: Target, channels: int, tiled: bool) -> None:
    program = extreme_program(channels)
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
    [(64, 64, 32, True), (64, 64, 8, True), (128, 16, 3, False), (3, 16, 32, False), (1, 1, 64, False)],
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
