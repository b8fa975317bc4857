"""How the functions of this folder are compiled: by Numba, without the GIL, kept on disk between runs."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic as _intrinsic

from ai8xsim.kernels.cache import Cache
from ai8xsim.kernels.parts import PartCompiler

Function = TypeVar("Function", bound=Callable[..., Any])

Array = Any  # an array inside of a compiled function, where Numba infers the types

# Numba's types lack options that are used here, and that callers leave out an intrinsic's context.
njit: Any = numba.njit
intrinsic: Any = _intrinsic


def compiled(function: Function) -> Function:
    """The function, compiled when it is first called with arguments of new types, and kept on disk."""
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = Cache(function)
    return cast("Function", dispatcher)


def compiled_for(*kinds: Any) -> Callable[[Function], Function]:
    """The function, compiled at once for arguments of these types and for no others, and kept on disk.

    Arrays of layout "A" stand for all arrays of their type, which spares compiling the function for each layout.
    """

    def compile_now(function: Function) -> Function:
        dispatcher: Any = compiled(function)
        dispatcher.compile(kinds)
        dispatcher.disable_compile()
        return cast("Function", dispatcher)

    return compile_now


def compiled_part(function: Function) -> Function:
    """A function that only compiled functions call; it is compiled and kept as a part of them."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    options = {"nogil": True, "error_model": "numpy", "pipeline_class": PartCompiler, **wrappers}
    return cast("Function", njit(**options)(function))


def inlined(function: Function) -> Function:
    """A function that compiled functions take in where they call it, which spares compiling it apart."""
    return cast("Function", njit(nogil=True, error_model="numpy", inline="always")(function))
