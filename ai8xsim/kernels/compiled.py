"""How the functions of this folder are compiled: by Numba, without the GIL, kept on disk between runs."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

Array = Any  # an array inside of a compiled function, where Numba infers the types


def compiled(function: Function) -> Function:
    """The function, compiled when it is first called with arguments of new types.

    Numba keeps the result next to the source, or in the user's cache folder where that place is read-only. Where
    both are, as in some containers, it is compiled anew in each process.
    """
    try:
        return cast("Function", njit(cache=True, nogil=True)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast("Function", njit(nogil=True)(function))
