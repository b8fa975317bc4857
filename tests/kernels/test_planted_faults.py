"""The tests themselves: a fault planted into the slow function makes the drawn comparison fail.

Fast and slow enter a comparison alike, so a fault that is seen in one would be seen in the other.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ai8xsim.kernels import reference
from ai8xsim.kernels.geometry import ConvolutionGeometry, Pair, PoolGeometry
from tests.kernels import cases
from tests.kernels.cases import Array

Requantize = Callable[[int, int, str], int]
Pool = Callable[[Array, str, PoolGeometry, bool], Array]
average = reference.average


def test_without_a_fault_nothing_is_detected() -> None:
    assert not cases.is_detected(cases.accumulators(), cases.requantize_agrees)
    assert not cases.is_detected(cases.convolutions(), cases.convolve_agrees)


# Requantization: acc, output_shift, activation


def ties(goes_up: Callable[[int], bool]) -> Requantize:
    """Requantization that asks, for a tie above an integer, whether to go up."""

    def requantize(acc: int, output_shift: int, activation: str) -> int:
        below, rest = divmod(acc << max(0, output_shift - 7), step(output_shift))
        tie = 2 * rest == step(output_shift)
        up = goes_up(below) if tie else 2 * rest > step(output_shift)
        return reference.activate(reference.saturate(below + up), activation)

    return requantize


def between(low: int, high: int) -> Requantize:
    def requantize(acc: int, output_shift: int, activation: str) -> int:
        rounded = (acc * 2 ** max(0, output_shift - 7) + step(output_shift) // 2) // step(output_shift)
        return reference.activate(max(low, min(high, rounded)), activation)

    return requantize


def step(output_shift: int) -> int:
    return 2 ** max(0, 7 - output_shift)


def abs_before_rounding(acc: int, output_shift: int, activation: str) -> int:
    return cases.slow_requantize(abs(acc) if activation == "abs" else acc, output_shift, activation)


def abs_of_minus_128_is_itself(acc: int, output_shift: int, activation: str) -> int:
    value = reference.requantize(acc, output_shift)
    return value if value == -128 and activation == "abs" else reference.activate(value, activation)


REQUANTIZE_FAULTS: dict[str, Requantize] = {
    "ties toward minus infinity": ties(lambda below: False),
    "ties to even": ties(lambda below: below % 2 == 1),
    "ties away from zero": ties(lambda below: below >= 0),
    "ties toward zero": ties(lambda below: below < 0),
    "no rounding": lambda acc, shift, activation: cases.slow_requantize(
        acc // step(shift) * step(shift), shift, activation
    ),
    "saturated at -127": between(-127, 127),
    "saturated at 128": between(-128, 128),
    "wrapped, not saturated": lambda acc, shift, activation: reference.activate(
        (((acc << max(0, shift - 7)) + step(shift) // 2) // step(shift) + 128) % 256 - 128, activation
    ),
    "accumulator of 16 bit": lambda acc, shift, activation: cases.slow_requantize(
        (acc + 2**15) % 2**16 - 2**15, shift, activation
    ),
    "shift off by one": lambda acc, shift, activation: cases.slow_requantize(acc, shift + 1, activation),
    "shift reversed": lambda acc, shift, activation: cases.slow_requantize(acc, -shift, activation),
    "large shifts ignored": lambda acc, shift, activation: cases.slow_requantize(
        acc, min(shift, 7), activation
    ),
    "carry lost at the end of int32": lambda acc, shift, activation: cases.slow_requantize(
        (acc + step(shift) // 2 + 2**31) % 2**32 - 2**31 - step(shift) // 2, shift, activation
    ),
    "absolute value before rounding": abs_before_rounding,
    "absolute value of -128 is -128": abs_of_minus_128_is_itself,
    "no ReLU": lambda acc, shift, activation: cases.slow_requantize(
        acc, shift, activation.replace("relu", "none")
    ),
}


@pytest.mark.parametrize("fault", REQUANTIZE_FAULTS)
def test_a_fault_in_requantization_is_detected(fault: str) -> None:
    slow = REQUANTIZE_FAULTS[fault]
    assert cases.is_detected(cases.accumulators(), lambda case: cases.requantize_agrees(case, slow))


# Convolution: x_chw, weight, bias, geometry

Geometry = ConvolutionGeometry


def with_geometry(change: Callable[[Geometry], Geometry]) -> cases.Convolve:
    return lambda x, w, b, g: reference.convolve(x, w, b, change(g))


def flipped(pair: Pair) -> Pair:
    return (pair[1], pair[0])


def moved_padding(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    """One row of padding too many above, one too few below."""
    if g.padding[0] == 0:
        return reference.convolve(x, w, b, g)
    padded = np.pad(x, ((0, 0), (g.padding[0] + 1, g.padding[0] - 1), (0, 0)))
    return reference.convolve(padded, w, b, g._replace(padding=(0, g.padding[1])))


def padded_with(value: int) -> cases.Convolve:
    def convolve(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
        border = ((0, 0), (g.padding[0],) * 2, (g.padding[1],) * 2)
        return reference.convolve(np.pad(x, border, constant_values=value), w, b, g._replace(padding=(0, 0)))

    return convolve


def unscaled_bias(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    return reference.convolve(x, w, None, g) + (0 if b is None else b.astype(int)[:, None, None])


def early_saturation(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    """The sum of the products saturates before the bias comes."""
    acc = reference.convolve(x, w, None, g).clip(-(2**15), 2**15 - 1)
    return acc + (0 if b is None else 128 * b.astype(int)[:, None, None])


def reversed_groups(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    groups = x.reshape(g.groups, -1, *x.shape[1:])[::-1]
    return reference.convolve(groups.reshape(x.shape), w, b, g)


def interleaved_groups(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    """Output o belongs to group o mod groups."""
    order = np.arange(len(w)).reshape(g.groups, -1).T.ravel()
    return reference.convolve(x, w[order], None if b is None else b[order], g)


CONVOLVE_FAULTS: dict[str, cases.Convolve] = {
    "kernel axes swapped": lambda x, w, b, g: reference.convolve(
        x, w.swapaxes(2, 3) if w.shape[2] == w.shape[3] else w, b, g
    ),
    "data axes swapped": lambda x, w, b, g: reference.convolve(
        x.swapaxes(1, 2) if x.shape[1] == x.shape[2] else x, w, b, g
    ),
    "kernel turned round": lambda x, w, b, g: reference.convolve(x, w[:, :, ::-1, ::-1], b, g),
    "channels reversed": lambda x, w, b, g: reference.convolve(x, w[:, ::-1], b, g),
    "padding moved by one": moved_padding,
    "padded with ones": padded_with(1),
    "padded with -128": padded_with(-128),
    "padding off by one": with_geometry(lambda g: g._replace(padding=(g.padding[0] + 1, g.padding[1]))),
    "stride axes swapped": with_geometry(lambda g: g._replace(stride=flipped(g.stride))),
    "dilation axes swapped": with_geometry(lambda g: g._replace(dilation=flipped(g.dilation))),
    "dilation ignored": with_geometry(lambda g: g._replace(dilation=(1, 1))),
    "bias not scaled": unscaled_bias,
    "bias forgotten": lambda x, w, b, g: reference.convolve(x, w, None, g),
    "bias unsigned": lambda x, w, b, g: reference.convolve(
        x, w, None if b is None else b.astype(np.uint8), g
    ),
    "data unsigned": lambda x, w, b, g: reference.convolve(x.astype(np.uint8), w, b, g),
    "weight -128 taken as -127": lambda x, w, b, g: reference.convolve(x, np.maximum(w, -127), b, g),
    "saturated early": early_saturation,
    "groups reversed": reversed_groups,
    "groups interleaved": interleaved_groups,
}


@pytest.mark.parametrize("fault", CONVOLVE_FAULTS)
def test_a_fault_in_convolution_is_detected(fault: str) -> None:
    slow = CONVOLVE_FAULTS[fault]
    assert cases.is_detected(cases.convolutions(), lambda case: cases.convolve_agrees(case, slow))


def padding_in_front(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    """The additional output row before the others, not behind them."""
    acc = reference.convolve_transposed(x, w, b, g._replace(padding=(0, 0), output_padding=(0, 0)))
    rows, columns = g.transposed_output_size((x.shape[1], x.shape[2]))
    first = [max(0, g.padding[axis] - g.output_padding[axis]) for axis in (0, 1)]
    return acc[:, first[0] : first[0] + rows, first[1] : first[1] + columns]


def in_and_out_swapped(x: Array, w: Array, b: Array | None, g: Geometry) -> Array:
    swap = g.groups == 1 and w.shape[0] == w.shape[1]
    return reference.convolve_transposed(x, w.swapaxes(0, 1) if swap else w, b, g)


TRANSPOSED_FAULTS: dict[str, cases.Convolve] = {
    "kernel not turned round": lambda x, w, b, g: reference.convolve_transposed(x, w[:, :, ::-1, ::-1], b, g),
    "in and out swapped": in_and_out_swapped,
    "output padding in front": padding_in_front,
    "no output padding": lambda x, w, b, g: reference.convolve_transposed(
        x, w, b, g._replace(output_padding=(0, 0))
    ),
    "padding of an ordinary convolution": lambda x, w, b, g: reference.convolve_transposed(
        x, w, b, g._replace(padding=(g.kernel_size[0] - 1 - g.padding[0], g.padding[1]))
    ),
    "kernel axes swapped": lambda x, w, b, g: reference.convolve_transposed(
        x, w.swapaxes(2, 3) if w.shape[2] == w.shape[3] else w, b, g
    ),
    "bias forgotten": lambda x, w, b, g: reference.convolve_transposed(x, w, None, g),
}


@pytest.mark.parametrize("fault", TRANSPOSED_FAULTS)
def test_a_fault_in_transposed_convolution_is_detected(fault: str) -> None:
    slow = TRANSPOSED_FAULTS[fault]
    drawn = cases.transposed_convolutions()
    assert cases.is_detected(drawn, lambda case: cases.convolve_transposed_agrees(case, slow))


# Pooling: x_chw, kind, geometry, rounding


def averaging(other: Callable[[list[int], bool], int]) -> Pool:
    """The reference with another average."""

    def pool(x: Array, kind: str, geometry: PoolGeometry, rounding: bool) -> Array:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "average", other)
            return reference.pool(x, kind, geometry, rounding)

    return pool


def with_pool_geometry(change: Callable[[PoolGeometry], PoolGeometry]) -> Pool:
    """The reference with another geometry, where this one fits the data."""

    def pool(x: Array, kind: str, geometry: PoolGeometry, rounding: bool) -> Array:
        changed = change(geometry)
        fits = changed.fits((x.shape[1], x.shape[2]))
        return reference.pool(x, kind, changed if fits else geometry, rounding)

    return pool


def rounded_down(window: list[int], rounding: bool) -> int:
    return average(window, True) if rounding else sum(window) // len(window)


def half_up(window: list[int], rounding: bool) -> int:
    count = len(window)
    return (2 * sum(window) + count) // (2 * count) if rounding else average(window, False)


def half_to_even(window: list[int], rounding: bool) -> int:
    return round(Fraction(sum(window), len(window))) if rounding else average(window, False)


def maximum_from_zero(x: Array, kind: str, geometry: PoolGeometry, rounding: bool) -> Array:
    pooled = reference.pool(x, kind, geometry, rounding)
    return np.maximum(pooled, 0) if kind == "max" else pooled


POOL_FAULTS: dict[str, Pool] = {
    "average rounded down": averaging(rounded_down),
    "rounding ignored": averaging(lambda window, rounding: average(window, False)),
    "always rounded": averaging(lambda window, rounding: average(window, True)),
    "halves go up": averaging(half_up),
    "halves go to even": averaging(half_to_even),
    "stride axes swapped": with_pool_geometry(lambda g: g._replace(stride=flipped(g.stride))),
    "window axes swapped": with_pool_geometry(lambda g: g._replace(kernel_size=flipped(g.kernel_size))),
    "dilation ignored": with_pool_geometry(lambda g: g._replace(dilation=(1, 1))),
    "maximum starts at zero": maximum_from_zero,
    "average for maximum": lambda x, kind, g, rounding: reference.pool(
        x, kind.replace("max", "average"), g, rounding
    ),
    "data unsigned": lambda x, kind, g, rounding: reference.pool(x.astype(np.uint8), kind, g, rounding),
}


@pytest.mark.parametrize("fault", POOL_FAULTS)
def test_a_fault_in_pooling_is_detected(fault: str) -> None:
    slow = POOL_FAULTS[fault]
    assert cases.is_detected(cases.pools(), lambda case: cases.pool_agrees(case, slow))


# Combining: operands, operation


def from_the_right(operands: Array, operation: str) -> Array:
    return reference.combine(operands[::-1], operation)


def saturated_each_time(operands: Array, operation: str) -> Array:
    total: Any = operands[0].astype(int)
    for operand in operands[1:]:
        total = reference.combine([total, operand], operation).clip(-128, 127)
    return np.asarray(total)


def renamed(**names: str) -> Callable[[Array, str], Array]:
    return lambda operands, operation: reference.combine(operands, names.get(operation, operation))


COMBINE_FAULTS: dict[str, Callable[[Array, str], Array]] = {
    "folded from the right": from_the_right,
    "saturated at every step": saturated_each_time,
    "or for xor": renamed(xor="or"),
    "add for or": renamed(**{"or": "add"}),
    "wrapped to 8 bit": lambda operands, operation: reference.combine(operands, operation).astype(np.int8),
    "last operand forgotten": lambda operands, operation: reference.combine(
        operands[: max(1, len(operands) - 1)], operation
    ),
}


@pytest.mark.parametrize("fault", COMBINE_FAULTS)
def test_a_fault_in_combining_is_detected(fault: str) -> None:
    slow = COMBINE_FAULTS[fault]
    assert cases.is_detected(cases.combinations(), lambda case: cases.combine_agrees(case, slow))
