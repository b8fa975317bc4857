"""From addresses to what lies there, inside of compiled code."""

from typing import Any

import numba
from numba.core import types as _types

from ai8xsim.kernels.compiled import Array, compiled, compiled_part, inlined, intrinsic
from ai8xsim.kernels.generated.instructions import I32, I64, Builder, Value, load
from ai8xsim.kernels.generated.steps import STEP, Arena, Handle, Outputs, Plan, Run, Samples
from ai8xsim.kernels.generated.targets import target_of

# Numba's types lack these.
carray: Any = numba.carray  # type: ignore[attr-defined]
from_dtype: Any = numba.from_dtype
types: Any = _types

_INTEGERS = types.int64[::1]
CALL_TYPES = (
    _INTEGERS,
    types.Array(types.int8, 4, "A", readonly=True),
    _INTEGERS,
    _INTEGERS,
)  # of `tell_call`
_ANY_LENGTH = 1 << 40  # of arrays whose length nobody asks for
_INT32 = 4  # bytes


@inlined
def address_of(array: Array, index: int) -> int:
    """The address of an array's value."""
    address: int = array.ctypes.data + index * array.itemsize
    return address


@compiled
def first_address(array: Array) -> int:
    """The address of an array's first value, for arrays of few types; NumPy takes five times as long to tell."""
    address: int = array.ctypes.data
    return address


@compiled
def tell_call(handles: Array, samples: Array, outputs: Array, numbers: Array) -> None:
    """Complete the handles of an arena for a call; compiled code finds addresses and steps sooner than NumPy tells.

    numbers: int64, the handles from `Handle.WIDE` on.
    """
    handles[Handle.SAMPLES] = samples.ctypes.data
    handles[Handle.SAMPLE_STEP] = samples.strides[0]
    handles[Handle.CHANNEL_STEP] = samples.strides[1]
    handles[Handle.PIXEL_STEP] = samples.strides[2] if samples.shape[3] == 1 else samples.strides[3]
    handles[Handle.SAMPLE_COUNT] = samples.shape[0]
    handles[Handle.OUTPUTS] = outputs.ctypes.data
    for place, number in enumerate(numbers):
        handles[Handle.WIDE + place] = number


@compiled_part
def run_of(target: Any, handles: Array) -> Run:
    """What the handles of a call stand for."""
    results = handles[Handle.OUTPUTS]
    return Run(
        target,
        Plan(
            handles[Handle.STEPS],
            handles[Handle.OFFSETS],
            handles[Handle.WEIGHTS],
            handles[Handle.STARTS],
        ),
        Arena(handles[Handle.VALUES], handles[Handle.SUMS]),
        Samples(
            handles[Handle.SAMPLES],
            handles[Handle.SAMPLE_STEP],
            handles[Handle.CHANNEL_STEP],
            handles[Handle.PIXEL_STEP],
            handles[Handle.SAMPLE_COUNT],
        ),
        Outputs(results + handles[Handle.ACTIVATIONS], results + handles[Handle.WIDE], results),
    )


@compiled_part
def handles_at(address: int) -> Array:
    """The handles that lie at an address."""
    return carray(_int64_at(address), _ANY_LENGTH)


@inlined
def step_at(plan: Plan, number: int) -> Any:
    """A step, as a record."""
    return carray(_steps_at(plan.steps), _ANY_LENGTH)[number]


@inlined
def offset_address(plan: Plan, index: int) -> int:
    """The address of an entry of the table of offsets."""
    return plan.offsets + _INT32 * index


@inlined
def offset_at(plan: Plan, index: int) -> int:
    """An entry of the table of offsets."""
    offset: int = _load_int32(offset_address(plan, index))
    return offset


@inlined
def value_address(run: Run, index: int) -> int:
    """The address of an activation in the arena."""
    address: int = run.arena.values + index * value_bytes(run.target)
    return address


@inlined
def values_at(run: Run, first: int, count: int) -> Array:
    """So many activations in the arena."""
    return carray(_activations_at(run.target, value_address(run, first)), count)


@inlined
def sums_at(address: int, first: int, count: int) -> Array:
    """So many of the sums that lie at an address."""
    return carray(_int32_at(address + _INT32 * first), count)


@intrinsic
def value_bytes(typing_context: Any, target: Any) -> Any:
    """Of an activation in memory."""
    size = target_of(target.instance_class).value_bytes
    return types.int64(target), lambda context, builder, signature, args: I64(size)


@intrinsic
def _load_int32(typing_context: Any, address: Any) -> Any:
    """The int32 at an address."""

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        return builder.sext(load(builder, args[0], I32, _INT32), I64)

    return types.int64(types.int64), generate


def _pointer(kind: Any) -> Any:
    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        return builder.inttoptr(args[-1], context.get_value_type(signature.return_type))

    return types.CPointer(kind), generate


@intrinsic
def _steps_at(typing_context: Any, address: Any) -> Any:
    kind, generate = _pointer(from_dtype(STEP))
    return kind(types.int64), generate


@intrinsic
def _int64_at(typing_context: Any, address: Any) -> Any:
    kind, generate = _pointer(types.int64)
    return kind(types.int64), generate


@intrinsic
def _int32_at(typing_context: Any, address: Any) -> Any:
    kind, generate = _pointer(types.int32)
    return kind(types.int64), generate


@intrinsic
def _activations_at(typing_context: Any, target: Any, address: Any) -> Any:
    kind, generate = _pointer(from_dtype(target_of(target.instance_class).value))
    return kind(target, types.int64), generate
