"""Pixels below each other, side by side: just as many as go together, from rows that are anywhere."""

from typing import Any

import numpy as np
import pytest

from ai8xsim.kernels.generated.stacking import CHANNELS, ROWS, STACKED, TOGETHER, stack_rows
from ai8xsim.kernels.generated.targets import Target, available_targets
from tests.kernels.cases import values
from tests.kernels.generated import address_of, changed_only, compiled, held, numbers

TARGETS = [target for target in available_targets() if target.value_bytes == 1]

pytestmark = pytest.mark.skipif(not TARGETS, reason="this processor has no target that stacks")


@compiled
def stack(target: Any, rows: tuple[int, int, int], output: int) -> None:
    stack_rows(target, rows, output)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("gap", [0, 1, 6, 84])
@pytest.mark.parametrize("place", [50, 64, 81])
def test_each_pixel_holds_those_below_it(target: Target, gap: int, place: int) -> None:
    length = TOGETHER * CHANNELS
    image = held(target, values(gap, (ROWS + 1, length + gap)))  # the last row is read a little
    before = held(target, values(1, (TOGETHER * STACKED + 200,)))
    arena = before.copy()
    rows = tuple(address_of(image, row * (length + gap)) for row in range(ROWS))
    stack(target.marker, rows, address_of(arena, place))
    pixels = image[:ROWS, :length].reshape(ROWS, TOGETHER, CHANNELS)
    wanted = numbers(target, pixels.transpose(1, 0, 2).ravel())
    places = place + np.arange(TOGETHER * STACKED)
    assert np.array_equal(numbers(target, arena[places]), wanted)
    assert changed_only(before, arena, places)
