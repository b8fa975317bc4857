"""Depthwise layers, whose blocks take several pixels as one: as the portable kernels compute them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78002, Simulator, Trace
from ai8xsim.engine.executor import Keep
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from ai8xsim.program import Program
from tests.simulator.small_programs import program_of, random_int8

TARGETS = available_targets()

on_every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def depthwise_program(channels: int, columns: int, keys: str = "pad: 1") -> Program:
    weight = random_int8(channels, channels, 1, 3, 3)
    layer = f"- {{op: conv2d, groups: {channels}, {keys}}}"
    return program_of(layer, weight, input_shape=(channels, 5, columns), device=MAX78002)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    channels = draw(st.one_of(st.integers(2, 70), st.sampled_from([16, 32, 48, 64, 96, 128, 144])))
    columns = draw(st.one_of(st.integers(3, 9), st.sampled_from([4, 8, 16])))
    pad = draw(st.integers(0, 2))
    result = draw(st.sampled_from([", activate: ReLU", ", activate: Abs", ", output_width: 32", ""]))
    shift = "" if "width" in result else f", output_shift: {draw(st.integers(-5, 3))}"
    return depthwise_program(channels, columns, f"pad: {pad}{shift}{result}")


@st.composite
def programs_of_several(draw: st.DrawFn) -> Program:
    """Depthwise layers, some dilated or of one dimension, and a layer behind, whose borders they must not touch."""
    channels, columns = draw(st.sampled_from([5, 16, 32, 64, 80, 96])), draw(st.sampled_from([6, 7, 8, 16]))
    groups = f"groups: {channels}, activate: ReLU"
    if draw(st.booleans()):
        layers = (
            f"- {{op: conv1d, kernel_size: 3, pad: 1, {groups}}}\n- {{op: conv1d, kernel_size: 3, pad: 2}}"
        )
        weights = random_int8(0, channels, 1, 3), random_int8(1, 4, channels, 3)
        return program_of(layers, *weights, input_shape=(channels, columns), device=MAX78002)
    dilation = draw(st.sampled_from(["", "pad: 2, dilation: 2, "]))
    layers = f"- {{op: conv2d, {dilation or 'pad: 1, '}{groups}}}\n- {{op: conv2d, pad: 1}}"
    weights = random_int8(0, channels, 1, 3, 3), random_int8(1, 4, channels, 3, 3)
    return program_of(layers, *weights, input_shape=(channels, 6, columns), device=MAX78002)


def traces(target: Target, program: Program, seed: int, keep: Keep) -> tuple[Trace, Trace]:
    """Of the target and of the portable kernels, for one to five samples."""
    samples = random_int8(seed, 1 + seed % 5, *program.input_shape.array_shape)
    found, expected = (
        Simulator(program, target=name).run(samples, keep) for name in (target.name, "portable")
    )
    return found, expected


@on_every_target
@given(program=programs(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_depthwise_layers_are_as_the_portable_kernels_compute_them(
    target: Target, program: Program, seed: int
) -> None:
    found, expected = traces(target, program, seed, "all")
    assert found.first_difference(expected) is None
    assert found.layers[-1].saturated == expected.layers[-1].saturated


@on_every_target
@given(program=programs_of_several(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_layers_behind_read_what_depthwise_layers_left(target: Target, program: Program, seed: int) -> None:
    found, expected = traces(target, program, seed, "outputs")
    assert found.first_difference(expected) is None


@on_every_target
@pytest.mark.parametrize(
    ("channels", "columns", "together"),
    [(16, 8, 4), (32, 8, 2), (48, 4, 4), (64, 8, 1), (96, 6, 2), (16, 6, 1), (20, 16, 1), (144, 4, 4)],
)
def test_pixels_go_together_where_their_channels_fill_blocks(
    target: Target, channels: int, columns: int, together: int
) -> None:
    lowered = lower(depthwise_program(channels, columns), target, keep_all=False)
    (step,) = (step for step in lowered.plan.steps if step["kind"] == Kind.MULTIPLY_CHANNELS)
    wanted = together if target.masked_stores else 1
    assert (step["channels"], step["pixel_count"]) == (wanted * channels, 5 * columns // wanted)


@on_every_target
def test_the_largest_sums_are_exact(target: Target) -> None:
    weight = np.full((64, 1, 3, 3), -128)
    layer = "- {op: conv2d, groups: 64, pad: 1, output_width: 32}"
    program = program_of(layer, weight, input_shape=(64, 3, 3), device=MAX78002)
    for value in (-128, 127):
        output = Simulator(program, target=target.name).run(np.full((64, 3, 3), value, np.int8)).output
        assert (output[:, 1, 1] == 9 * -128 * value).all()
