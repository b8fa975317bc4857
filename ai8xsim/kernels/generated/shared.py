"""Counters that threads share, and waiting for them."""

import os
from typing import Any

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import compiled_part, intrinsic
from ai8xsim.kernels.generated.instructions import I32, I64, Builder, Value, declared

# Looks at a counter before the processor is given to another thread: about 20 microseconds, longer than most waits.
LOOKS = 20_000


@intrinsic
def add_shared(typing_context: Any, address: Any, number: Any) -> Any:
    """Add to the int64 at an address that threads share; returns what it was."""
    return _atomic("add")


@intrinsic
def set_shared(typing_context: Any, address: Any, bits: Any) -> Any:
    """Set bits of the int64 at an address that threads share; returns what it was."""
    return _atomic("or")


def _atomic(operation: str) -> tuple[Any, Any]:
    """The signature and the code of an operation on the int64 at an address."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        return builder.atomic_rmw(operation, pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@compiled_part
def claim(address: int, number: int) -> bool:
    """Whether this is the first claim to a number, below 63; the int64 at the address has a bit for each."""
    bit = 1 << number
    return bool(set_shared(address, bit) & bit == 0)


@intrinsic
def read_shared(typing_context: Any, address: Any) -> Any:
    """The int64 at an address that threads share; what its writer wrote before is visible afterwards."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        return builder.load_atomic(pointer, "acquire", 8, typ=I64)

    return types.int64(types.int64), generate


@intrinsic
def write_shared(typing_context: Any, address: Any, number: Any) -> Any:
    """Write the int64 at an address that threads share; what was written before is visible to its readers."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def change_shared(typing_context: Any, address: Any, expected: Any, number: Any) -> Any:
    """Write the int64 at an address that threads share if it is what is expected; whether it was."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        pointer = builder.inttoptr(args[0], ir.PointerType(I64))
        found = builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@compiled_part
def wait_for(address: int, count: int) -> None:
    """Wait until the int64 at an address that threads share has reached a number.

    Mostly the others are about to finish. Where they do not even run, because there are fewer processors than
    threads, they get this one.
    """
    looks = 0
    while read_shared(address) < count:
        looks += 1
        if looks > LOOKS:
            _give_way()
            looks = 0


@intrinsic
def _give_way(typing_context: Any) -> Any:
    """Let another thread run; nothing, where the system has no such call."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        if hasattr(os, "sched_yield"):
            builder.call(declared(builder, "sched_yield", ir.FunctionType(I32, [])), [])
        return context.get_dummy_value()

    return types.void(), generate
