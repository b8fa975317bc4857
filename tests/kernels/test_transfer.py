"""The ways into the arena and out of it: every target, any number of channels, samples with any strides."""

from dataclasses import replace
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai8xsim import Program, Simulator
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target
from ai8xsim.kernels.generated.transfer import (
    InputPlanes,
    Pixels,
    copy_in,
    copy_out,
    interleave_in,
    take_in,
)
from ai8xsim.program.operations import Shape
from tests.kernels.cases import Array, seeds, values
from tests.kernels.generated import (
    address_of,
    changed_only,
    compiled,
    held,
    memory,
    numbers,
    on_every_target,
)
from tests.simulator.small_programs import program_of

MOST = 40  # channels, pixels in a row
MANY_CHANNELS = (64, 85, 130)
LONGEST = 150  # row, some of the time: several of the largest blocks, and a rest
AXES = tuple(permutations(range(4)))
STEPS = (1, 1, 2, -1, -3)

drawn = settings(
    derandomize=True, deadline=None, database=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


@compiled
def take_1_of_16(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    take_in(target, 1, 16, planes, pixels)


@compiled
def take_4_of_16(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    take_in(target, 4, 16, planes, pixels)


@compiled
def take_16_of_16(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    take_in(target, 16, 16, planes, pixels)


@compiled
def take_16_of_64(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    take_in(target, 16, 64, planes, pixels)


@compiled
def take_64_of_16(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    take_in(target, 64, 16, planes, pixels)


@compiled
def interleave_16(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    interleave_in(target, 3, 16, planes, pixels)


@compiled
def interleave_64(target: Any, planes: InputPlanes, pixels: Pixels) -> None:
    interleave_in(target, 3, 64, planes, pixels)


@compiled
def into(target: Any, source: int, output: int, count: int) -> None:
    copy_in(target, source, output, count)


@compiled
def out_of(target: Any, source: int, output: int, count: int) -> None:
    copy_out(target, source, output, count)


TAKEN_TOGETHER = {
    (1, 16): take_1_of_16,
    (4, 16): take_4_of_16,
    (16, 16): take_16_of_16,
    (16, 64): take_16_of_64,
    (64, 16): take_64_of_16,
}


@on_every_target
@pytest.mark.parametrize(("channels", "count"), TAKEN_TOGETHER)
@pytest.mark.parametrize(("plane_gap", "pixel_gap"), [(0, 0), (1, 3), (84, 48)])
def test_planes_become_pixels(
    target: Target, channels: int, count: int, plane_gap: int, pixel_gap: int
) -> None:
    """Planes in front are left alone; pixels may lie anywhere."""
    plane_step, pixel_step, front = count + plane_gap, channels + pixel_gap, 2
    planes = values(plane_step, ((front + channels) * plane_step,))
    before = held(target, values(1, (count * pixel_step + 100,)))
    arena = before.copy()
    offsets = np.random.default_rng(count).permutation(count).astype(np.int32) * pixel_step
    pixels = Pixels(address_of(arena, 50 - front), address_of(offsets))
    source = InputPlanes(address_of(planes), plane_step, front)
    TAKEN_TOGETHER[channels, count](target.marker, source, pixels)
    places = 50 + offsets[:, None] + np.arange(channels)
    wanted = planes[(front + np.arange(channels)) * plane_step + np.arange(count)[:, None]]
    assert np.array_equal(numbers(target, arena[places]), wanted)
    assert changed_only(before, arena, places)


@on_every_target
@pytest.mark.parametrize(("interleave", "count"), [(interleave_16, 16), (interleave_64, 64)])
@pytest.mark.parametrize("plane_gap", [0, 1, 84])
def test_three_planes_are_interleaved(target: Target, interleave: Any, count: int, plane_gap: int) -> None:
    plane_step = count + plane_gap
    planes = values(plane_step, (3 * plane_step,))
    before = held(target, values(1, (3 * count + 100,)))
    arena = before.copy()
    offsets = 20 + 3 * np.arange(count, dtype=np.int32)
    pixels = Pixels(address_of(arena, 30), address_of(offsets))
    interleave(target.marker, InputPlanes(address_of(planes), plane_step, 0), pixels)
    wanted = planes[np.arange(3) * plane_step + np.arange(count)[:, None]]
    places = 50 + np.arange(3 * count)
    assert np.array_equal(numbers(target, arena[places]), wanted.ravel())
    assert changed_only(before, arena, places)


@on_every_target
def test_a_copy_in_or_out_takes_just_so_many_values(target: Target) -> None:
    for count in [*range(100), 128, 129, 191, 192, 200, 255]:
        outside = values(count + 8, (400,))
        arena = memory(target, values(count + 16, (400,)), 50)
        before = arena.held.copy()
        into(target.marker, address_of(outside, 70), arena.address, count)
        assert np.array_equal(numbers(target, arena.held[50 : 50 + count]), outside[70 : 70 + count])
        assert changed_only(before, arena.held, 50 + np.arange(count))
        unchanged = outside.copy()
        out_of(target.marker, address_of(arena.held, 20), address_of(outside, 9), count)
        assert np.array_equal(outside[9 : 9 + count], numbers(target, arena.held[20 : 20 + count]))
        assert changed_only(unchanged, outside, 9 + np.arange(count))


class Layout(NamedTuple):
    """How samples lie in memory: the order of the axes, the outermost first, and a step along each axis."""

    axes: tuple[int, ...]
    steps: tuple[int, ...]

    def of(self, x_nchw: Array) -> Array:
        """The same samples, in memory like this, among other values."""
        lengths = [n * abs(step) for n, step in zip(x_nchw.shape, self.steps, strict=True)]
        outer = values(1, [lengths[axis] for axis in self.axes]).transpose(np.argsort(self.axes))
        view = outer[tuple(slice(None, None, step) for step in self.steps)]
        view[...] = x_nchw
        return view


PLAIN = Layout((0, 1, 2, 3), (1, 1, 1, 1))
CHANNELS_LAST = Layout((0, 2, 3, 1), (1, 1, 1, 1))


@cache
def passthrough() -> Program:
    return program_of("- {op: none}", input_shape=(1, 1, 1))


def identity(shape: Shape) -> Program:
    """A program that gives back what it gets."""
    layer = replace(passthrough().layers[0], operand_shape=shape, pooled_shape=shape, output_shape=shape)
    return replace(passthrough(), input_shape=shape, layers=(layer,))


def comes_back(target: Target, shape: Shape, samples: int, layouts: list[Layout], seed: int) -> bool:
    machine = Simulator(identity(shape), target=target.name)
    x_nchw = values(seed, (samples, *shape.chw))
    wanted = x_nchw.reshape(samples, *shape.array_shape)
    return all(np.array_equal(machine.run(layout.of(x_nchw)).output, wanted) for layout in layouts)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    channels = draw(st.one_of(st.integers(1, MOST), st.sampled_from(MANY_CHANNELS)))
    is_1d = draw(st.booleans())
    if is_1d:
        return Shape(channels, draw(st.integers(1, LONGEST)), 1, is_1d=True)
    columns = draw(st.one_of(st.integers(1, MOST), st.integers(1, LONGEST)))
    return Shape(channels, draw(st.integers(1, 4)), columns)


layouts = st.builds(Layout, st.sampled_from(AXES), st.tuples(*[st.sampled_from(STEPS) for _ in range(4)]))


@on_every_target
@given(shape=shapes(), samples=st.integers(1, 5), layout=layouts, seed=seeds)
@drawn
def test_samples_with_any_strides_come_back(
    target: Target, shape: Shape, samples: int, layout: Layout, seed: int
) -> None:
    assert comes_back(target, shape, samples, [layout, PLAIN, CHANNELS_LAST], seed)


@on_every_target
@pytest.mark.parametrize(
    ("rows", "columns", "runs"), [(4, 16, 1), (8, 24, 1), (6, 32, 3), (8, 48, 2), (3, 64, 3), (5, 20, 5)]
)
def test_rows_that_fill_blocks_together_are_loaded_together(
    target: Target, rows: int, columns: int, runs: int
) -> None:
    several = [PLAIN, CHANNELS_LAST, Layout((0, 1, 2, 3), (1, 2, -1, -1)), Layout((1, 0, 2, 3), (1, 1, 1, 2))]
    for channels in (1, 2, 3, 17, 48, 64, 70):
        shape = Shape(channels, rows, columns)
        steps = lower(identity(shape), target, keep_all=False).plan.steps
        assert [step["pixel_count"] for step in steps if step["kind"] == Kind.LOAD] == [runs]
        assert comes_back(target, shape, 3, several, channels)


@on_every_target
@given(shape=shapes(), layout=layouts, seed=seeds)
@settings(drawn, max_examples=40)
def test_a_padded_convolution_reads_samples_with_any_strides(
    target: Target, shape: Shape, layout: Layout, seed: int
) -> None:
    """The border lies between the rows, and of data in one column between the pixels."""
    program, samples = padded(shape), values(seed, (2, *shape.chw))
    wanted = Simulator(program, target="portable").run(samples)
    assert Simulator(program, target=target.name).run(layout.of(samples)).first_difference(wanted) is None


def padded(shape: Shape) -> Program:
    if shape.is_1d:
        return program_of(
            "- {op: conv1d, kernel_size: 3, pad: 2}", values(3, (5, shape.channels, 3)), input_shape=shape[:2]
        )
    weight = values(3, (5, shape.channels, 3, 3))
    return program_of("- {op: conv2d, kernel_size: 3x3, pad: 1}", weight, input_shape=shape.chw)


@on_every_target
def test_one_sample_of_the_same_value_everywhere_comes_back(target: Target) -> None:
    """Its strides are 0."""
    x_nchw = np.broadcast_to(np.int8(-128), (3, 5, 4, 20))
    assert (Simulator(identity(Shape(5, 4, 20)), target=target.name).run(x_nchw).output == -128).all()


@pytest.mark.deep
@on_every_target
@pytest.mark.parametrize("columns", range(1, MOST + 1))
def test_all_channels_and_rows_come_back(target: Target, columns: int) -> None:
    several = [PLAIN, CHANNELS_LAST, Layout((3, 1, 2, 0), (1, 1, 1, 1)), Layout((0, 1, 2, 3), (1, 2, -1, -1))]
    for channels in range(1, MOST + 1):
        assert comes_back(target, Shape(channels, 2, columns), 2, several, channels)
