"""Tiles of 4x4 outputs, in integers of any size and modulo 2**32: they are what a convolution is."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai8xsim.kernels.generated import winograd
from ai8xsim.kernels.generated.winograd import (
    INPUTS,
    LARGEST_SHIFT,
    LIMIT,
    OUTPUTS,
    PRODUCTS,
    SHIFTS,
    STARTING_PLANE,
    factor_of_output,
    is_exact,
    plane_starts,
    transform_inputs,
    transform_kernels,
    transform_products,
)

Array = Any
EDGES = st.sampled_from([-128, -127, -1, 0, 1, 126, 127])
POINTS = (0, 1, -1, 2, -2)
EDGE = OUTPUTS - 1
LARGEST_VALUE = 255
FACTORS = np.array([[factor_of_output(down + across) for across in SHIFTS] for down in SHIFTS])


def squares(side: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[Array]:
    row = st.lists(values, min_size=side, max_size=side)
    return st.lists(row, min_size=side, max_size=side).map(lambda rows: np.array(rows, np.int64))


def on_both_sides(grid: Array, transform: Any) -> Array:
    """A transform of the columns, then of the rows."""
    columns = np.stack(transform(list(grid)))
    return np.stack(transform(list(columns.T))).T


def by_tiles(d: Array, g: Array, start: int = 0) -> Array:
    """The outputs of a tile as the kernels compute them: products and sums modulo 2**32."""
    kernels = transform_kernels(g[None, None].astype(np.int8)).reshape(INPUTS, INPUTS)
    wrapped = (on_both_sides(d, transform_inputs) * kernels).astype(np.int32)
    wrapped.reshape(-1)[STARTING_PLANE] += plane_starts(np.array([start], np.int32))[0]
    total = on_both_sides(wrapped, transform_products)
    return (total.astype(np.int64) * FACTORS).astype(np.int32) >> LARGEST_SHIFT


def directly(d: Array, g: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(d, g.shape)
    return np.einsum("rckl,kl->rc", windows, g)


@given(
    squares(INPUTS, st.one_of(EDGES, st.integers(-128, 127))),
    squares(3, st.one_of(EDGES, st.integers(-128, 127))),
)
def test_a_tile_of_signed_values_is_its_convolution(d: Array, g: Array) -> None:
    assert np.array_equal(by_tiles(d, g), directly(d, g))


@given(squares(INPUTS, st.sampled_from([0, 1, 128, 254, 255])), squares(3, EDGES))
def test_a_tile_of_values_without_a_sign_is_its_convolution(d: Array, g: Array) -> None:
    assert np.array_equal(by_tiles(d, g), directly(d, g))


@given(
    squares(INPUTS, st.integers(0, 255)),
    squares(3, EDGES),
    st.one_of(st.integers(-100, 100), st.integers(-(2**24), 2**24)),
)
def test_a_start_is_added_to_every_output(d: Array, g: Array, start: int) -> None:
    assert np.array_equal(by_tiles(d, g, start), directly(d, g) + start)


def test_transforms_are_those_of_the_points() -> None:
    """At a point t, a kernel is g0 + g1 t + g2 t**2 and an output weighs t**i; the scales cancel with the shifts."""
    a = np.array(transform_products(list(np.eye(INPUTS, dtype=int))))
    for column, t in enumerate(POINTS):
        kernel = winograd.OF_KERNEL[column]
        assert [Fraction(int(kernel[at]), int(kernel[0])) for at in range(3)] == [t**at for at in range(3)]
        others = np.prod([t - other for other in POINTS if other != t])
        divisor = [3 * 2**shift for shift in SHIFTS]
        assert [
            Fraction(int(a[at, column]) * int(kernel[0]), divisor[at]) * int(others) for at in range(4)
        ] == [t**at for at in range(4)]


def test_what_is_multiplied_fits_16_bits() -> None:
    b = np.array(transform_inputs(list(np.eye(INPUTS, dtype=int))))
    both = np.einsum("ar,bc->abrc", b, b).reshape(PRODUCTS, -1)
    largest = LARGEST_VALUE * np.where(both > 0, both, 0).sum(axis=1).max()
    least = LARGEST_VALUE * np.where(both < 0, both, 0).sum(axis=1).min()
    assert (least, largest) == (-12750, 17340)
    extremes = np.where(np.einsum("ar,bc->abrc", winograd.OF_KERNEL, winograd.OF_KERNEL) > 0, -128, 127)
    kernels = transform_kernels(extremes.reshape(PRODUCTS, 1, 3, 3).astype(np.int8))
    assert abs(kernels.astype(int)).max() == 49 * 128
    assert 2 * largest * 49 * 128 < 2**31  # a pair is added before it can wrap round


@pytest.mark.parametrize(("channels", "exact"), [(113, True), (114, True), (115, False)])
def test_the_limit_is_kept(channels: int, exact: bool) -> None:
    weight, none = np.full((2, channels, 3, 3), -128, np.int8), np.zeros(2, np.int32)
    weight[1] = 0
    assert is_exact(weight, none) is exact
    assert (channels * 9 * 128 * LARGEST_VALUE < LIMIT) is exact


@pytest.mark.parametrize("sign", [1, -1])
def test_starts_count_with_what_is_added_to_them(sign: int) -> None:
    weight = np.zeros((2, 1, 3, 3), np.int8)
    weight[1, 0, 0] = 1, -2, 3
    most = LIMIT - 1 - LARGEST_VALUE * (1 + 3 if sign > 0 else 2)
    for start, exact in ((most, True), (most + 1, False)):
        assert is_exact(weight, np.array([0, sign * start], np.int32)) is exact
        assert is_exact(weight, np.array([sign * start, 0], np.int32))


@given(st.integers(-LIMIT, LIMIT - 1), st.sampled_from(SHIFTS), st.sampled_from(SHIFTS))
def test_every_output_below_the_limit_survives(y: int, down: int, across: int) -> None:
    wrapped = (9 * y * 2 ** (down + across) + 2**31) % 2**32 - 2**31
    even = (wrapped * factor_of_output(down + across) + 2**31) % 2**32 - 2**31
    assert even >> LARGEST_SHIFT == y
