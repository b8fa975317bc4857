"""Layers whose last few output channels are computed apart: as the portable kernels compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Simulator
from ai8xsim.engine import convolution
from ai8xsim.engine.build import Plan
from ai8xsim.engine.costs import split_parts
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import LANES, Target, available_targets
from ai8xsim.program import Program
from tests.simulator.small_programs import program_of, random_int8

TARGETS = [target for target in available_targets() if target.split_blocks]

pytestmark = [
    pytest.mark.skipif(not TARGETS, reason="this processor has no target with such blocks"),
    pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name),
]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Layers of every kind with many inputs for few outputs, beside full vectors of outputs or not."""
    outputs = draw(st.integers(1, 12)) + LANES * draw(st.integers(0, 2))
    channels, seed = draw(st.sampled_from([20, 33, 64, 96])), draw(st.integers(0, 99))
    width = draw(st.sampled_from(["", ", output_width: 32"]))
    shift, activation = draw(st.integers(-4, 2)), draw(st.sampled_from(["", ", activate: ReLU"]))
    keys = width or f", output_shift: {shift}{activation}"
    if draw(st.booleans()):
        weight = random_int8(seed, outputs, 4 * channels)
        return program_of(f"- {{op: linear, flatten: true{keys}}}", weight, input_shape=(channels, 2, 2))
    rows, columns = draw(st.integers(3, 8)), draw(st.integers(3, 12))
    operator = draw(
        st.sampled_from(["conv2d, pad: 0", "conv2d, pad: 1", "conv2d, pad: 2", "convtranspose2d"])
    )
    shape = (channels, outputs) if operator == "convtranspose2d" else (outputs, channels)
    weight = random_int8(seed, *shape, 3, 3)
    return program_of(f"- {{op: {operator}{keys}}}", weight, input_shape=(channels, rows, columns))


@given(program=programs(), count=st.sampled_from([1, 2, 3, 17, 40]), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_the_last_channels_are_as_the_portable_kernels_compute_them(
    target: Target, program: Program, count: int, seed: int
) -> None:
    assert_equal_roads(target, program, count, seed)


@pytest.mark.parametrize(
    ("outputs", "channels", "side"), [(8, 128, 30), (7, 200, 16), (2, 256, 12), (20, 128, 3)]
)
def test_parts_of_the_kernel_are_as_the_portable_kernels_compute_them(
    target: Target, monkeypatch: pytest.MonkeyPatch, outputs: int, channels: int, side: int
) -> None:
    """Where a step costs nothing, pixels at the border leave out what meets padding only."""
    monkeypatch.setattr(convolution, "STEP", 0)
    weight = random_int8(0, outputs, channels, 3, 3)
    program = program_of(
        "- {op: conv2d, pad: 1, output_shift: -3}", weight, input_shape=(channels, side, side)
    )
    steps = steps_apart(lower(program, target, keep_all=False).plan)
    assert (steps["tap_count"] < 3).any()
    assert (steps["groups"] < steps["all_groups"]).any()
    assert_equal_roads(target, program, 2, 1)


def test_the_border_is_not_worth_steps_of_its_own(target: Target) -> None:
    """For few channels, even in batches."""
    program = program_of("- {op: conv2d, pad: 1}", random_int8(0, 8, 128, 3, 3), input_shape=(128, 16, 16))
    assert len(steps_apart(lower(program, target, keep_all=False).plan)) == 1


def assert_equal_roads(target: Target, program: Program, count: int, seed: int) -> None:
    samples = random_int8(seed, count, *program.input_shape.array_shape)
    found, expected = (
        Simulator(program, target=name).run(samples, keep="outputs").output
        for name in (target.name, "portable")
    )
    assert np.array_equal(found, expected)


def steps_apart(plan: Plan) -> Any:
    return plan.steps[plan.steps["kind"] == Kind.MULTIPLY_SPLIT]


def first_channel(plan: Plan, step: Any) -> int:
    """Of those that a step computes, where there is one pixel, at whose first channel others begin."""
    return int(plan.offsets[step["pixels"]])


@pytest.mark.parametrize("keys", ["", ", output_width: 32"])
@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (2, {(0, 2)}),
        (10, {(0, 8), (8, 2)}),
        (16, set()),
        (21, {(16, 5)}),
        (28, {(16, 8), (24, 4)}),
        (30, set()),
        (100, {(96, 4)}),
    ],
)
def test_channels_behind_full_vectors_are_computed_apart(
    target: Target, outputs: int, keys: str, expected: set[tuple[int, int]]
) -> None:
    """expected: the first channel of each part, and how many there are."""
    program = program_of(
        f"- {{op: linear, flatten: true{keys}}}", random_int8(0, outputs, 512), input_shape=(512, 1, 1)
    )
    plan = lower(program, target, keep_all=False).plan
    found = {(first_channel(plan, step), int(step["channels"])) for step in steps_apart(plan)}
    assert found == expected


def test_a_few_pixels_alone_are_not_worth_a_step_of_their_own(target: Target) -> None:
    """Where only a few go together, a block multiplies as if there were more, however many inputs they have."""
    for inputs, side, is_worth in [(256, 3, False), (16384, 1, False), (256, 16, True)]:
        weight = random_int8(0, 8, inputs, 1, 1)
        program = program_of(
            "- {op: conv2d, kernel_size: 1x1, pad: 0}", weight, input_shape=(inputs, side, side)
        )
        plan = lower(program, target, keep_all=False, is_single=True).plan
        assert bool(len(steps_apart(plan))) is is_worth


def test_parts_have_room_for_all_channels_and_fit_into_a_pixel(target: Target) -> None:
    for outputs in range(1, 100):
        parts = split_parts(target, outputs)
        channels = outputs // LANES * LANES + sum(LANES // lanes for lanes in parts)
        assert not parts or outputs <= channels <= target.channel_step(outputs)
        assert list(parts) == sorted(parts)
