"""Layers whose last few output channels are computed apart: as the portable kernels compute them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Simulator
from ai8xsim.engine.costs import split_lanes
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
    samples = random_int8(seed, count, *program.input_shape.array_shape)
    found, expected = (
        Simulator(program, target=name).run(samples, keep="outputs").output
        for name in (target.name, "portable")
    )
    assert np.array_equal(found, expected)


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
    steps = lower(program, target, keep_all=False).plan.steps
    apart = steps[steps["kind"] == Kind.MULTIPLY_SPLIT]
    first = outputs // LANES * LANES
    found = {
        (first + int(number), int(step["channels"]))
        for number, step in zip(_firsts(apart), apart, strict=True)
    }
    assert found == expected


def _firsts(steps: np.ndarray) -> np.ndarray:
    return np.cumsum([0, *steps["channels"]])[: len(steps)]


def test_a_few_pixels_alone_are_not_worth_a_step_of_their_own(target: Target) -> None:
    for outputs, side, is_worth in [(8, 1, False), (8, 2, False), (40, 3, False), (40, 16, True)]:
        weight = random_int8(0, outputs, 256, 1, 1)
        program = program_of(
            "- {op: conv2d, kernel_size: 1x1, pad: 0}", weight, input_shape=(256, side, side)
        )
        steps = lower(program, target, keep_all=False, is_single=True).plan.steps
        assert (Kind.MULTIPLY_SPLIT in steps["kind"]) is is_worth


def test_parts_have_room_for_all_channels_and_fit_into_a_pixel(target: Target) -> None:
    for outputs in range(1, 100):
        lanes = split_lanes(target, outputs)
        channels = outputs // LANES * LANES + sum(LANES // number for number in lanes)
        assert not lanes or outputs <= channels <= target.channel_step(outputs)
        assert list(lanes) == sorted(lanes)
