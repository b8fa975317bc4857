"""Generated kernels, called one at a time from Python, over memory in which everything else must stay as it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from ai8xsim.kernels.compiled import njit
from ai8xsim.kernels.generated.targets import Target, available_targets
from tests.kernels.cases import Array

on_every_target = pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)

OUTSIDE = 300  # values around everything that is given to a kernel, which may read there


class Memory(NamedTuple):
    """Activations in the middle of other ones; offsets count from `first`."""

    numbers: Array  # int8, as they are meant
    held: Array  # as the target holds them
    first: int

    @property
    def address(self) -> int:
        return address_of(self.held, self.first)


def memory(target: Target, values: Array, first: int = OUTSIDE) -> Memory:
    """Memory that holds these numbers, and what `first` counts from."""
    return Memory(values, held(target, values), first)


def held(target: Target, numbers: Array) -> Array:
    """Numbers as memory holds them."""
    return (127 - numbers.astype(np.int64)).astype(target.value)


def numbers(target: Target, values: Array) -> Array:
    """What memory holds as numbers."""
    return np.asarray(127 - values.astype(np.int64))


def address_of(array: Array, index: int = 0) -> int:
    """The address of an array's value, which may lie behind its end."""
    return int(array.ctypes.data) + index * array.itemsize


def scaled_half_up(sums: Array, shift: int) -> Array:
    """sums / 2**shift, rounded half up; doubles are exact here."""
    return np.floor(sums * 2.0**-shift + 0.5).astype(np.int64)


def changed_only(before: Array, after: Array, places: Array) -> bool:
    """Whether nothing but the values at these places differs."""
    kept = np.ones(before.shape, bool)
    kept[places] = False
    return bool((before == after)[kept].all())


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled anew in each process: nothing on disk would notice that a generator has changed."""
    return njit(error_model="numpy")(function)
