"""Outputs at the border leave out a part of the kernel: what is left out meets padding only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai8xsim.engine import convolution
from ai8xsim.engine.lower import lower
from ai8xsim.engine.run import GeneratedExecutor
from ai8xsim.engine.spared import Part, parts_along
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from ai8xsim.kernels.geometry import ConvolutionGeometry
from benchmarks import layers

SMALL = st.integers(1, 5)


@given(st.sampled_from((0, 1)), SMALL, st.integers(0, 6), SMALL, SMALL, st.integers(1, 12))
def test_every_output_meets_all_of_the_kernel_that_meets_data(
    axis: int, kernel: int, padding: int, stride: int, dilation: int, inputs: int
) -> None:
    def pair(along: int, across: int) -> tuple[int, int]:
        return (along, across) if axis == 0 else (across, along)

    geometry = ConvolutionGeometry(pair(kernel, 1), pair(padding, 0), pair(stride, 1), pair(dilation, 1))
    outputs = max(1, geometry.output_size(pair(inputs, 1))[axis])
    parts = parts_along(axis, geometry, inputs, outputs)
    assert [place for part in parts for place in part.outputs] == list(range(outputs))
    for part in parts:
        for place in part.outputs:
            met = {tap for tap in range(kernel) if 0 <= place * stride - padding + tap * dilation < inputs}
            assert met <= set(part.kernel) <= set(range(kernel))


def test_eight_rows_leave_out_a_row_of_the_kernel_at_the_top_and_at_the_bottom() -> None:
    assert parts_along(0, ConvolutionGeometry((3, 3), (1, 1)), 8, 8) == [
        Part(range(1), range(1, 3)),
        Part(range(1, 7), range(3)),
        Part(range(7, 8), range(2)),
    ]


def test_a_large_image_is_not_cut() -> None:
    parts = parts_along(1, ConvolutionGeometry((3, 3), (1, 1)), 88, 88)
    assert parts == [Part(range(88), range(3))]


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
def test_a_small_image_multiplies_no_padding_but_in_its_corners(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "worth_tiles", lambda *_: False)
    side, channels = 8, 16
    shape = layers.convolution(channels, 32, side)
    steps = lower(layers.layer_case("cut", shape).program, target, keep_all=False).plan.steps
    steps = steps[steps["kind"] == Kind.MULTIPLY]
    inside = steps["pixel_count"] * steps["tap_count"] * steps["groups"]
    met = sum(
        (3 - (row in (0, side - 1))) * (3 - (at in (0, side - 1)))
        for row in range(side)
        for at in range(side)
    )
    corners = 4 * 2  # whose rows are left out and whose columns are not
    assert int(np.sum(inside)) * target.products == (met + corners) * channels


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize(("side", "is_cut"), [(4, False), (16, True)])
def test_a_single_sample_is_cut_only_where_that_spares_more_than_steps_cost(
    target: Target, side: int, is_cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "worth_tiles", lambda *_: False)
    program = layers.layer_case("cut", layers.convolution(64, 64, side)).program
    single, batch = (
        sum(lower(program, target, keep_all=False, is_single=is_single).plan.steps["kind"] == Kind.MULTIPLY)
        for is_single in (True, False)
    )
    assert batch == 5  # rows and columns at the border, and what is inside
    assert single == (5 if is_cut else 1)


def test_a_sample_alone_has_a_plan_of_its_own_and_the_same_outputs() -> None:
    shape = layers.convolution(64, 64, 4)
    case = layers.layer_case("cut", shape)
    executor = GeneratedExecutor(case.program, available_targets()[0], 1)
    samples = case.batch(3)
    (together,) = executor.prepared(3, "outputs", is_batch=True)(samples, None)
    run = executor.prepared(1, "outputs", is_batch=False)
    alone = [run(samples[[place]], None)[0].output for place in range(3)]
    assert np.array_equal(together.output, np.stack(alone))
    assert len(executor._engines) == 2
