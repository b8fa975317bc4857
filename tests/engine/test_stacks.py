"""Convolutions over pixels that hold those below them: as the portable kernels compute them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Program, Simulator
from ai8xsim.engine import run
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated.stacking import TOGETHER
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from tests.simulator.small_programs import program_of, random_int8

TARGETS = [target for target in available_targets() if target.value_bytes == 1]
OTHERS = [target for target in available_targets() if target.value_bytes > 1]

on_targets_that_stack = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
needs_one = pytest.mark.skipif(not TARGETS, reason="this processor has no target that stacks")


@pytest.fixture
def shared_everywhere() -> Iterator[None]:
    """Threads share even what is small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "WORTH_THREADS", 0)
        patch.setattr(run, "_processors", lambda: 2)
        yield


def kinds_of(program: Program, target: Target) -> set[int]:
    return set(lower(program, target, keep_all=False).plan.steps["kind"])


def agree(program: Program, target: Target, count: int, threads: int = 1) -> bool:
    samples = random_int8(count, count, *program.input_shape.array_shape)
    expected = Simulator(program, target="portable").run(samples)
    simulator = Simulator(program, threads, target.name)
    outputs = simulator.run(samples, keep="outputs").outputs
    return simulator.run(samples).first_difference(expected) is None and all(
        np.array_equal(output, expected[index].output) for index, output in outputs.items()
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A convolution of three channels."""
    pad, rows, columns = draw(st.integers(0, 2)), draw(st.integers(8, 20)), draw(st.integers(9, 40))
    outputs = draw(st.one_of(st.integers(8, 70), st.sampled_from([8, 16, 32, 64])))
    activation, shift = (
        draw(st.sampled_from(["", ", activate: ReLU", ", activate: Abs"])),
        draw(st.integers(-4, 1)),
    )
    keys = f"pad: {pad}, output_shift: {shift}{activation}"
    weight = random_int8(draw(st.integers(0, 99)), outputs, 3, 3, 3)
    return program_of(f"- {{op: conv2d, {keys}}}", weight, input_shape=(3, rows, columns))


@needs_one
@pytest.mark.usefixtures("shared_everywhere")
@on_targets_that_stack
@given(program=programs(), count=st.integers(1, 5), threads=st.integers(1, 2))
@settings(max_examples=100, deadline=None)
def test_stacked_convolutions_compute_what_the_portable_kernels_do(
    target: Target, program: Program, count: int, threads: int
) -> None:
    assert agree(program, target, count, threads)


class Source(NamedTuple):
    """What a convolution reads: the layers before it, the channels of the sample, and those that convolutions make."""

    layers: str
    channels: int = 3
    made: int = 3
    is_stacked: bool = True


SOURCES = {
    "the samples": Source("- {name: b, op: none}"),
    "a convolution": Source("- {name: b, op: conv2d, pad: 1}", 5, is_stacked=False),
    "channels side by side": Source(
        "- {name: a, op: conv2d, pad: 1}\n- {name: b, op: none, in_sequences: [input, a]}", 2, 1
    ),
    "pooled": Source("- {name: b, op: none, max_pool: 2, pool_stride: 1}"),
    "combined": Source("- {name: a, op: none}\n- {name: b, op: sub, in_sequences: [input, a]}"),
    "cropped": Source("- {name: b, op: none, in_crop: [1, 2], in_dim: [12, 20]}"),
    "with a wider border": Source(
        "- {name: b, op: none}\n- {op: conv2d, pad: 2, in_sequences: b, output: true}", made=16
    ),
}


@needs_one
@on_targets_that_stack
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("pad", range(3))
def test_whatever_a_convolution_reads_can_be_stacked(target: Target, source: str, pad: int) -> None:
    layers, channels, made, is_stacked = SOURCES[source]
    before = [random_int8(seed, made, channels, 3, 3) for seed in range(layers.count("conv2d"))]
    last = f"- {{op: conv2d, pad: {pad}, in_sequences: b, output_shift: -2}}"
    program = program_of(
        f"{layers}\n{last}", *before, random_int8(7, 64, 3, 3, 3), input_shape=(channels, 15, 20)
    )
    assert (Kind.STACK in kinds_of(program, target)) is is_stacked
    assert agree(program, target, 3)


@needs_one
@on_targets_that_stack
@pytest.mark.parametrize(
    ("channels", "keys", "stacked"),
    [
        (3, "pad: 1", True),
        (3, "pad: 0", True),
        (2, "pad: 1", False),
        (4, "pad: 1", False),
        (3, "kernel_size: 1x1, pad: 0", False),
        (3, "pad: 1, dilation: 2", False),
    ],
)
def test_only_3x3_kernels_over_three_channels_are_stacked(
    target: Target, channels: int, keys: str, stacked: bool
) -> None:
    side = 1 if "1x1" in keys else 3
    weight = random_int8(0, 64, channels, side, side)
    program = program_of(f"- {{op: conv2d, {keys}}}", weight, input_shape=(channels, 16, 20))
    assert (Kind.STACK in kinds_of(program, target)) is stacked


@needs_one
@on_targets_that_stack
@pytest.mark.parametrize(("columns", "pad"), [(1, 1), (3, 0)])
def test_rows_that_follow_each_other_are_not_stacked(target: Target, columns: int, pad: int) -> None:
    weight = random_int8(0, 64, 3, 3, 3)
    program = program_of(f"- {{op: conv2d, pad: {pad}}}", weight, input_shape=(3, 80, columns))
    assert Kind.STACK not in kinds_of(program, target)
    assert agree(program, target, 2)


@needs_one
@on_targets_that_stack
def test_few_pixels_are_not_stacked(target: Target) -> None:
    weight = random_int8(0, 64, 3, 3, 3)
    for rows in (TOGETHER // 16, TOGETHER // 16 - 1):
        program = program_of("- {op: conv2d, pad: 1}", weight, input_shape=(3, rows, 14))
        assert (Kind.STACK in kinds_of(program, target)) is (16 * rows >= TOGETHER)
        assert agree(program, target, 2)


@pytest.mark.parametrize("target", OTHERS, ids=lambda target: target.name)
def test_targets_that_multiply_pairs_do_not_stack(target: Target) -> None:
    program = program_of("- {op: conv2d, pad: 1}", random_int8(0, 64, 3, 3, 3), input_shape=(3, 16, 20))
    assert Kind.STACK not in kinds_of(program, target)
