"""Drawn cases for the kernels, and the comparisons that hold the fast functions to the slow ones.

A comparison takes the slow function as an argument: property tests pass the reference, the tests of the tests
pass a faulty variant of it and want the comparison to fail.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, assume, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from numpy.typing import NDArray

from ai8xsim.kernels import conv, eltwise, pool, reference, requantize
from ai8xsim.kernels.geometry import ConvolutionGeometry, Pair, PoolGeometry

Array = NDArray[Any]
Case = TypeVar("Case")

EDGES = np.array([-128, -127, -1, 0, 1, 127])
WIDE_EDGES = np.array([-(2**31), -129, -1, 0, 1, 128, 2**31 - 1])
WORK = 50_000  # products per drawn case at most, for the reference is slow

thorough = settings(
    derandomize=True, deadline=None, max_examples=400, suppress_health_check=list(HealthCheck)
)


class ConvolutionCase(NamedTuple):
    x: Array  # (samples, rows, columns, in)
    weight: Array  # (out, in / groups, rows, columns), transposed (in, out / groups, rows, columns)
    bias: Array | None
    geometry: ConvolutionGeometry


class PoolCase(NamedTuple):
    x: Array
    kind: str
    geometry: PoolGeometry
    rounding: bool


class CombineCase(NamedTuple):
    operands: Array  # (operands, samples, rows, columns, channels)
    operation: str


class RequantizeCase(NamedTuple):
    acc: Array
    output_shift: int
    activation: str


# Drawing


def values(seed: int, shape: Sequence[int], wide: bool = False) -> Array:
    """int8 (wide: 32-bit values as int64), half of them at the edges; in one array of eight all of them."""
    rng = np.random.default_rng(seed)
    edges, low, high = (WIDE_EDGES, -(2**31), 2**31) if wide else (EDGES, -128, 128)
    at_edge = rng.random(shape) < (1.0 if seed % 8 == 0 else 0.5)
    drawn = np.where(at_edge, rng.choice(edges, shape), rng.integers(low, high, shape))
    return drawn.astype(np.int64 if wide else np.int8)


seeds = st.integers(0, 2**32 - 1)
few = st.integers(1, 6)
many = st.one_of(st.integers(1, 20), st.sampled_from([16, 32, 48, 64, 128]))


def pairs(numbers: st.SearchStrategy[int], flat: bool, other: int) -> st.SearchStrategy[Pair]:
    """Two numbers, or for one-dimensional data a number and what its single column needs."""
    return st.tuples(numbers, st.just(other) if flat else numbers)


@st.composite
def channels(draw: st.DrawFn) -> tuple[int, int, int]:
    """Groups, inputs and outputs; some are depthwise, some have other groups."""
    kind = draw(st.sampled_from(["wide", "deep", "small", "small", "depthwise", "groups"]))
    if kind == "depthwise":
        count = draw(st.integers(2, 40))
        return count, count, count
    groups = draw(st.integers(2, 4)) if kind == "groups" else 1
    inputs = groups * draw(many if kind == "deep" else few)
    return groups, inputs, groups * draw(many if kind == "wide" else few)


@st.composite
def convolutions(draw: st.DrawFn) -> ConvolutionCase:
    flat = draw(st.booleans())
    groups, inputs, outputs = draw(channels())
    geometry = ConvolutionGeometry(
        kernel_size=draw(pairs(st.integers(1, 9) if flat else st.sampled_from([1, 3, 3, 2]), flat, 1)),
        padding=draw(pairs(st.integers(0, 2), flat, 0)),
        stride=draw(pairs(st.sampled_from([1, 1, 1, 1, 2, 3]), flat, 1)),
        dilation=draw(pairs(st.sampled_from([1, 1, 2, 3]), flat, 1)),
        groups=groups,
    )
    extra = draw(pairs(st.one_of(few, st.integers(8, 20)), flat, 0))
    least = [geometry.span(axis) - 2 * geometry.padding[axis] for axis in (0, 1)]
    rows, columns = (max(1, least[axis] + extra[axis]) for axis in (0, 1))
    weight = values(draw(seeds), (outputs, inputs // groups, *geometry.kernel_size))
    work = int(np.prod(geometry.output_size((rows, columns)))) * weight.size
    return draw(filled((rows, columns, inputs), weight, outputs, geometry, work))


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> ConvolutionCase:
    flat = draw(st.booleans())
    groups, inputs, outputs = draw(channels())
    kernel_size = draw(pairs(st.sampled_from([3, 3, 3, 1, 2, 4]), flat, 1))
    stride = draw(pairs(st.sampled_from([2, 2, 2, 1, 3]), flat, 1))
    geometry = ConvolutionGeometry(
        kernel_size=kernel_size,
        padding=(draw(st.integers(0, kernel_size[0] - 1)), draw(st.integers(0, kernel_size[1] - 1))),
        stride=stride,
        groups=groups,
        output_padding=(min(1, stride[0] - 1), min(1, stride[1] - 1)),
    )
    rows, columns = draw(pairs(st.integers(1, 6), flat, 1))
    assume(min(geometry.transposed_output_size((rows, columns))) > 0)
    weight = values(draw(seeds), (inputs, outputs // groups, *kernel_size))
    return draw(filled((rows, columns, inputs), weight, outputs, geometry, rows * columns * weight.size))


@st.composite
def filled(
    draw: st.DrawFn,
    shape: Sequence[int],
    weight: Array,
    outputs: int,
    geometry: ConvolutionGeometry,
    work: int,
) -> ConvolutionCase:
    """The case with data and bias, and with as many samples as the reference has time for."""
    assume(work <= WORK)
    samples = min(draw(st.integers(1, 3)), WORK // work)
    x = values(draw(seeds), (samples, *shape), wide=draw(st.sampled_from([False, False, False, True])))
    bias = values(draw(seeds), (outputs,)) if draw(st.booleans()) else None
    return ConvolutionCase(x, weight, bias, geometry)


@st.composite
def pools(draw: st.DrawFn) -> PoolCase:
    flat = draw(st.booleans())
    kind = draw(st.sampled_from(["max", "average", "average", "none"]))
    size = st.one_of(st.integers(1, 4), st.integers(1, 16))
    geometry = PoolGeometry(
        kernel_size=(1, 1) if kind == "none" else draw(pairs(size, flat, 1)),
        stride=draw(pairs(size, flat, 1)),
        dilation=draw(pairs(st.sampled_from([1, 1, 1, 2, 3]), flat, 1)),
    )
    extra = draw(pairs(st.integers(0, 9), flat, 0))
    reach = [(geometry.kernel_size[axis] - 1) * geometry.dilation[axis] + 1 for axis in (0, 1)]
    rows, columns = (reach[axis] + extra[axis] for axis in (0, 1))
    assume(geometry.fits((rows, columns)))
    shape = (draw(st.integers(1, 3)), rows, columns, draw(st.integers(1, 5)))
    x = values(draw(seeds), shape, wide=draw(st.sampled_from([False, False, False, True])))
    return PoolCase(x, kind, geometry, draw(st.booleans()))


@st.composite
def combinations(draw: st.DrawFn) -> CombineCase:
    shape = (draw(st.one_of(few, st.integers(2, 16))), *draw(st.tuples(few, few, few, few)))
    operation = draw(st.sampled_from(["add", "sub", "or", "xor"]))
    return CombineCase(values(draw(seeds), shape, wide=draw(st.booleans())), operation)


@st.composite
def accumulators(draw: st.DrawFn) -> RequantizeCase:
    """Around multiples and halves of the step between two activations, around the ends of int8 and of int32."""
    output_shift = draw(st.integers(-15, 15))
    wide = draw(st.sampled_from([False, False, True]))
    step = 2 ** max(0, 7 - output_shift)
    corners = [-(2**31), 2**31 - 1, -128 * step, 127 * step, -129 * step, 128 * step]
    near = st.one_of(
        st.builds(lambda halves, by: halves * step // 2 + by, st.integers(-300, 300), st.integers(-1, 1)),
        st.builds(int.__add__, st.sampled_from(corners), st.integers(-2, 2)),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**51), 2**51) if wide else st.integers(-200, 200),
    )
    drawn = draw(st.lists(near, min_size=1, max_size=40))
    bounded = drawn if wide else [max(-(2**31), min(2**31 - 1, acc)) for acc in drawn]
    activation = draw(st.sampled_from(["none", "relu", "abs"]))
    return RequantizeCase(np.array(bounded, np.int64 if wide else np.int32), output_shift, activation)


# Comparing

Convolve = Callable[[Array, Array, Array | None, ConvolutionGeometry], Array]


def chw(sample_hwc: Array) -> Array:
    """Channels first, as the reference has them."""
    return sample_hwc.transpose(2, 0, 1)


def same(fast: Array, slow: Sequence[Array]) -> bool:
    """Whether each sample of the fast result equals the slow one, shape included."""
    return len(fast) == len(slow) and all(
        np.array_equal(chw(one), other) for one, other in zip(fast, slow, strict=True)
    )


def convolve_agrees(case: ConvolutionCase, slow: Convolve = reference.convolve) -> bool:
    fast = conv.convolve(case.x, conv.pack(case.weight, case.geometry), case.bias, case.geometry)
    assert fast.dtype == (np.int64 if case.x.dtype == np.int64 else np.int32)
    return same(fast, [slow(chw(x), case.weight, case.bias, case.geometry) for x in case.x])


def convolve_transposed_agrees(case: ConvolutionCase, slow: Convolve = reference.convolve_transposed) -> bool:
    packed = conv.pack_transposed(case.weight, case.geometry)
    fast = conv.convolve_transposed(case.x, packed, case.bias, case.geometry)
    assert fast.dtype == (np.int64 if case.x.dtype == np.int64 else np.int32)
    return same(fast, [slow(chw(x), case.weight, case.bias, case.geometry) for x in case.x])


def pool_agrees(
    case: PoolCase, slow: Callable[[Array, str, PoolGeometry, bool], Array] = reference.pool
) -> bool:
    fast = pool.pool(case.x, case.kind, case.geometry, case.rounding)
    assert fast.dtype == case.x.dtype
    return same(fast, [slow(chw(x), case.kind, case.geometry, case.rounding) for x in case.x])


def combine_agrees(case: CombineCase, slow: Callable[[Array, str], Array] = reference.combine) -> bool:
    fast = eltwise.combine(case.operands, case.operation)
    assert fast.dtype == (np.int64 if case.operands.dtype == np.int64 else np.int32)
    return np.array_equal(fast, slow(case.operands, case.operation))


def slow_requantize(acc: int, output_shift: int, activation: str) -> int:
    return reference.activate(reference.requantize(acc, output_shift), activation)


def requantize_agrees(case: RequantizeCase, slow: Callable[[int, int, str], int] = slow_requantize) -> bool:
    fast, _ = requantize.requantize(*case)
    assert fast.dtype == np.int8
    return fast.tolist() == [slow(acc, case.output_shift, case.activation) for acc in case.acc.tolist()]


def is_detected(cases: st.SearchStrategy[Case], agrees: Callable[[Case], bool]) -> bool:
    """Whether as many cases as a property test draws contain one that does not agree."""
    search = settings(thorough, phases=[Phase.generate], database=None)
    try:
        find(cases, lambda case: not agrees(case), settings=search, random=random.Random(0))
    except NoSuchExample:
        return False
    return True
