"""Pooling and element-wise operations: fast equals slow, PyTorch, and the document's 2x2 example."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from ai8xsim.kernels import reference
from ai8xsim.kernels.eltwise import combine
from ai8xsim.kernels.geometry import PoolGeometry
from ai8xsim.kernels.pool import pool
from ai8xsim.kernels.requantize import saturate
from tests.kernels.cases import (
    CombineCase,
    PoolCase,
    combinations,
    combine_agrees,
    pool_agrees,
    pools,
    thorough,
    values,
)

SQUARE = PoolGeometry((2, 2), stride=(2, 2))


@thorough
@given(pools())
def test_pooling_equals_the_reference(case: PoolCase) -> None:
    assert pool_agrees(case)


@thorough
@given(combinations())
def test_combining_equals_the_reference(case: CombineCase) -> None:
    assert combine_agrees(case)


@thorough
@given(case=pools())
def test_pooling_equals_torch(torch: Any, case: PoolCase) -> None:
    """Without dilation PyTorch counts windows as the chip does; float64 holds these sums exactly."""
    assume(case.geometry.dilation == (1, 1) and case.kind != "none")
    x = torch.from_numpy(case.x.transpose(0, 3, 1, 2).astype(np.float64))
    window = (case.geometry.kernel_size, case.geometry.stride)
    if case.kind == "max":
        expected = torch.nn.functional.max_pool2d(x, *window)
    else:
        total = torch.nn.functional.avg_pool2d(x, *window, divisor_override=1)
        count = window[0][0] * window[0][1]
        half = total.sign() * (count // 2) if case.rounding else 0
        expected = torch.div(total + half, count, rounding_mode="trunc")
    assert np.array_equal(pool(*case), expected.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("number", [np.int8, np.int64])
@pytest.mark.parametrize(
    ("window", "truncated", "rounded"),
    [
        ([0, 0, 0, 3], 0, 1),  # the document's example: 0.75
        ([0, 0, 0, -3], 0, -1),
        ([0, 0, 0, 2], 0, 1),  # a half goes away from zero
        ([0, 0, 0, -2], 0, -1),
        ([0, 0, 0, 1], 0, 0),
        ([127, 127, 127, 126], 126, 127),
        ([-128, -128, -128, -128], -128, -128),
        ([-1, -1, -1, -2], -1, -1),
    ],
)
def test_averages(number: type[np.signedinteger], window: list[int], truncated: int, rounded: int) -> None:
    x = np.array(window, number).reshape(1, 2, 2, 1)
    for rounding, expected in ((False, truncated), (True, rounded)):
        assert pool(x, "average", SQUARE, rounding).item() == expected
        assert reference.pool(x[0].transpose(2, 0, 1), "average", SQUARE, rounding).item() == expected


@pytest.mark.parametrize(
    ("size", "pool_size", "stride", "dilation", "windows"),
    [(9, 2, 2, 1, 4), (8, 3, 1, 2, 5), (8, 2, 2, 2, 3), (7, 1, 2, 2, 3), (16, 16, 16, 1, 1), (5, 1, 3, 1, 2)],
)
def test_windows_are_counted_as_the_chip_counts_them(
    size: int, pool_size: int, stride: int, dilation: int, windows: int
) -> None:
    """n = (in + stride - pool - dilation + 1) // stride."""
    geometry = PoolGeometry((pool_size, 1), (stride, 1), (dilation, 1))
    assert geometry.output_size((size, 1)) == (windows, 1)


def test_subsampling_keeps_the_first_of_each_step() -> None:
    x = np.arange(35, dtype=np.int8).reshape(1, 7, 5, 1)
    kept = pool(x, "none", PoolGeometry((1, 1), (3, 2)))
    assert kept[0, :, :, 0].tolist() == [[0, 2, 4], [15, 17, 19], [30, 32, 34]]


@pytest.mark.parametrize(
    ("kind", "geometry"),
    [
        ("max", PoolGeometry((3, 1), (1, 1), (3, 1))),  # counts a window that reads row 6 of 6
        ("max", PoolGeometry((7, 1))),
        ("median", SQUARE),
    ],
)
def test_a_window_outside_of_the_data_is_refused(kind: str, geometry: PoolGeometry) -> None:
    with pytest.raises(ValueError, match="cannot pool"):
        pool(np.zeros((1, 6, 6, 1), np.int8), kind, geometry)


def test_data_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="type"):
        pool(np.zeros((1, 6, 6, 1), np.float32), "max", SQUARE)


def test_sixteen_operands_saturate_once_at_the_end() -> None:
    operands = np.full((16, 1, 1, 1, 2), 127, np.int8)
    operands[8:] = -128
    assert combine(operands, "add").tolist() == [[[[-8, -8]]]]
    assert saturate(combine(operands[:2], "add"))[0].tolist() == [[[[127, 127]]]]


def test_operands_stay_as_they_are() -> None:
    operands = values(1, (3, 1, 2, 2, 2), wide=True)
    before = operands.copy()
    combine(list(operands), "sub")
    assert np.array_equal(operands, before)


@pytest.mark.parametrize(
    ("shapes", "operation"), [([(1, 2, 2, 1), (1, 2, 2, 2)], "add"), ([(1, 1, 1, 1)] * 2, "mul"), ([], "add")]
)
def test_operands_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], operation: str) -> None:
    with pytest.raises(ValueError, match="cannot combine"):
        combine([np.zeros(shape, np.int8) for shape in shapes], operation)
