"""Layers with few output channels, on blocks in which pixels share a vector: as the portable kernels compute them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Simulator
from ai8xsim.engine import costs
from ai8xsim.engine.costs import OWN_PORTS, SHARED_PORTS, STEP, WEIGHT_BYTE, Costs, costs_of
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from ai8xsim.program import Program
from tests.simulator.small_programs import program_of, random_int8

TARGETS = [target for target in available_targets() if target.narrow_blocks]

pytestmark = pytest.mark.skipif(not TARGETS, reason="this processor has no target with such blocks")


@st.composite
def programs(draw: st.DrawFn) -> Program:
    channels = draw(st.one_of(st.integers(1, 4), st.sampled_from([5, 8, 16, 20, 32])))
    outputs = 4 * draw(st.integers(1, 6))
    kernel, pad = draw(st.sampled_from([(1, 0), (3, 0), (3, 1), (3, 2)]))
    rows, columns = draw(st.integers(3, 9)), draw(st.one_of(st.integers(3, 30), st.sampled_from([4, 8, 16])))
    activation, shift = draw(st.sampled_from(["", ", activate: ReLU"])), draw(st.integers(-3, 2))
    keys = f"kernel_size: {kernel}x{kernel}, pad: {pad}, output_shift: {shift}{activation}"
    weight = random_int8(draw(st.integers(0, 99)), outputs, channels, kernel, kernel)
    return program_of(f"- {{op: conv2d, {keys}}}", weight, input_shape=(channels, rows, columns))


@pytest.mark.usefixtures("own_ports")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@given(program=programs(), count=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_few_channels_are_as_the_portable_kernels_compute_them(
    target: Target, program: Program, count: int, seed: int
) -> None:
    samples = random_int8(seed, count, *program.input_shape.array_shape)
    found, expected = (
        Simulator(program, target=name).run(samples, keep="outputs").output
        for name in (target.name, "portable")
    )
    assert np.array_equal(found, expected)


@pytest.mark.usefixtures("own_ports")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(
    ("outputs", "channels", "columns", "inputs"),
    [
        (16, 1, 8, 4),
        (16, 1, 9, None),
        (16, 3, 8, 12),
        (16, 3, 9, 12),
        (16, 4, 8, 12),
        (16, 32, 9, 16),
        (20, 16, 7, 16),
        (17, 16, 8, 16),
        (31, 16, 8, None),
    ],
)
def test_blocks_are_taken_where_they_multiply_no_more_zeros(
    target: Target, outputs: int, channels: int, columns: int, inputs: int | None
) -> None:
    weight = random_int8(0, outputs, channels, 3, 3)
    program = program_of("- {op: conv2d, pad: 1}", weight, input_shape=(channels, 6, columns))
    assert narrow_inputs(program, target) == (set() if inputs is None else {inputs})


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(
    ("processor", "outputs", "channels", "inputs"),
    [
        ("znver5", 16, 32, {16}),
        ("emeraldrapids", 16, 32, set()),
        ("znver5", 20, 32, {16}),
        ("emeraldrapids", 20, 32, set()),
        ("emeraldrapids", 8, 3, {4}),
    ],
)
def test_blocks_are_not_taken_where_it_takes_longer_to_gather_their_inputs(
    monkeypatch: pytest.MonkeyPatch,
    target: Target,
    processor: str,
    outputs: int,
    channels: int,
    inputs: set[int],
) -> None:
    monkeypatch.setattr(costs, "processor", lambda: processor)
    weight = random_int8(0, outputs, channels, 3, 3)
    program = program_of("- {op: conv2d, pad: 1}", weight, input_shape=(channels, 6, 8))
    assert narrow_inputs(program, target) == inputs


@pytest.mark.parametrize(
    ("name", "expected"), [("znver5", OWN_PORTS), ("emeraldrapids", SHARED_PORTS), ("generic", SHARED_PORTS)]
)
def test_costs_are_those_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: Costs
) -> None:
    monkeypatch.setattr(costs, "processor", lambda: name)
    for target in TARGETS:
        assert costs_of(target, is_single=False) == expected
        assert costs_of(target, is_single=True) == expected._replace(step=STEP, weight_byte=WEIGHT_BYTE)


def narrow_inputs(program: Program, target: Target) -> set[int]:
    """How many inputs the narrow blocks of a program take at a time."""
    steps = lower(program, target, keep_all=False).plan.steps
    return {int(step["inputs"]) for step in steps if step["kind"] == Kind.MULTIPLY_NARROW}
