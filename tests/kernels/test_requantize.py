"""Rounding, saturation and activation, and the worked examples of the vendor's document (README.md)."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given

from ai8xsim.kernels import reference
from ai8xsim.kernels.requantize import requantize, saturate
from tests.kernels.cases import RequantizeCase, accumulators, requantize_agrees, thorough

SHIFTS = range(-15, 16)


def both(acc: int, output_shift: int = 0, activation: str = "none") -> int:
    """What fast and slow agree on."""
    fast = [
        requantize(np.array([acc], number), output_shift, activation)[0].item() for number in ("i4", "i8")
    ]
    slow = reference.activate(reference.requantize(acc, output_shift), activation)
    assert fast == [slow, slow]
    return slow


@thorough
@given(accumulators())
def test_requantizing_equals_the_reference(case: RequantizeCase) -> None:
    assert requantize_agrees(case)


@thorough
@given(accumulators())
def test_saturated_values_are_counted_before_the_activation(case: RequantizeCase) -> None:
    rounded = [
        (acc + 2 ** (6 - case.output_shift)) >> (7 - case.output_shift)
        if case.output_shift <= 6
        else acc << (case.output_shift - 7)
        for acc in case.acc.tolist()
    ]
    assert requantize(*case)[1] == sum(not -128 <= value <= 127 for value in rounded)


@pytest.mark.parametrize("output_shift", SHIFTS)
@pytest.mark.parametrize("number", [np.int32, np.int64])
def test_every_tie_and_its_neighbours(output_shift: int, number: type[np.signedinteger]) -> None:
    """All halves between -130 and 129, one more and one less, and the ends of int32."""
    halves = np.arange(-260, 260)[:, None] * (2 ** max(0, 7 - output_shift)) // 2
    ends = [-(2**31), -(2**31) + 1, 2**31 - 2, 2**31 - 1]
    acc = np.concatenate([np.add(halves, [-1, 0, 1]).ravel(), ends]).clip(-(2**31), 2**31 - 1)
    expected = [reference.requantize(value, output_shift) for value in acc.tolist()]
    assert requantize(acc.astype(number), output_shift)[0].tolist() == expected


@pytest.mark.parametrize("output_shift", [-15, -1, 0, 5, 6, 7, 8, 15])
def test_rounding_is_the_floor_of_a_half_more(output_shift: int) -> None:
    """The definition in exact fractions, by another road than shifting."""
    for acc in [*range(-700, 700), -(2**31), 2**31 - 1]:
        exact = floor(Fraction(acc) * Fraction(2) ** output_shift / 128 + Fraction(1, 2))
        assert both(acc, output_shift) == max(-128, min(127, exact))


@pytest.mark.parametrize("value", range(-128, 128))
def test_activations_of_every_int8(value: int) -> None:
    assert both(value * 128) == value
    assert both(value * 128, activation="relu") == max(value, 0)
    assert both(value * 128, activation="abs") == min(abs(value), 127)


def test_the_absolute_value_is_taken_after_rounding() -> None:
    """-0.5 rounds to 0, then |0| = 0; the training code takes |-0.5| first and gets 1."""
    assert both(-64, activation="abs") == 0
    assert both(-192, activation="abs") == 1


def test_any_shape_and_layout() -> None:
    acc = (np.arange(24, dtype=np.int32).reshape(2, 3, 4) * 128).transpose(2, 0, 1)
    acc.flags.writeable = False
    assert np.array_equal(requantize(acc, 0)[0], np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1))
    assert requantize(np.empty((0, 3), np.int32), 0)[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("output_shift", "activation", "number"),
    [(16, "none", "i4"), (-16, "none", "i4"), (0, "tanh", "i4"), (0, "none", "f8")],
)
def test_what_no_layer_has_is_refused(output_shift: int, activation: str, number: str) -> None:
    with pytest.raises(ValueError, match=r"shift|type"):
        requantize(np.zeros(3, number), output_shift, activation)


# README "Rounding"

TABLE = [
    ((+3.5,), +4),
    ((+3.25, +3.0, +2.75, +2.5), +3),
    ((+2.25, +2.0, +1.75, +1.5), +2),
    ((+1.25, +1.0, +0.75, +0.5), +1),
    ((+0.25, 0.0, -0.25, -0.5), 0),
    ((-0.75, -1.0, -1.25, -1.5), -1),
    ((-1.75, -2.0, -2.25, -2.5), -2),
    ((-2.75, -3.0, -3.25, -3.5), -3),
]


@pytest.mark.parametrize(("exact", "rounded"), [(exact, row[1]) for row in TABLE for exact in row[0]])
def test_rounding_table_of_the_document(exact: float, rounded: int) -> None:
    for output_shift in range(-15, 6):  # from 6 on an accumulator has no quarters
        assert both(int(exact * 2 ** (7 - output_shift)), output_shift) == rounded


# README "Addition" and "Saturation and Clipping": units of 1/128, no rounding


@pytest.mark.parametrize(
    ("operands", "expected"),
    [((2, 64), 0b01000010), ((127, 127), 0b01111111), ((-128, -128), -128), ((127, 1), 127)],
)
def test_additions_of_the_document(operands: tuple[int, int], expected: int) -> None:
    fast, saturated = saturate(np.array([sum(operands)], np.int32))
    assert fast.item() == reference.saturate(sum(operands)) == expected
    assert saturated == (sum(operands) != expected)


# README "Multiplication" and "Sign Bit": one product, both operands in units of 1/128


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ((2, 64), 0b00000001),  # 1/64 * 1/2 = 1/128
        ((-2, 32), 0),  # -1/64 * 1/4 = -1/256, a tie: up to 0, as printed, though by "truncate"
        ((-2, 64), -1),  # -1/64 * 1/2 = -1/128
    ],
)
def test_products_of_the_document(operands: tuple[int, int], expected: int) -> None:
    assert both(operands[0] * operands[1]) == expected


@pytest.mark.parametrize(
    ("operands", "printed", "computed"),
    [
        # 1/64 * 1/4 = 1/256 is a tie, so the chip goes up; the document prints "shift, truncate" and 0, against
        # its own section on rounding and against its own step "round up/down depending on r'[6]" (r' = 64).
        ((2, 32), 0, 1),
        # 127/128 * 1/128 is 0.992/128; the document prints "saturation" and 127/128, which is not the product
        # but the saturated sum 127/128 + 1/128 (above), or the product with 1.
        ((127, 1), 127, 1),
    ],
)
def test_products_where_the_document_contradicts_itself(
    operands: tuple[int, int], printed: int, computed: int
) -> None:
    assert both(operands[0] * operands[1]) == computed != printed
