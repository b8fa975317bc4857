"""Counters that threads share."""

from typing import Any

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.instructions import I64, Builder, Value


@intrinsic
def add_shared(typing_context: Any, address: Any, number: Any) -> Any:
    """Add to the int64 at an address that threads share; returns what it was."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def read_shared(typing_context: Any, address: Any) -> Any:
    """The int64 at an address that threads share; what its writer wrote before is visible afterwards."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        return builder.load_atomic(pointer, "acquire", 8, typ=I64)

    return types.int64(types.int64), generate
