"""The generator of the depthwise micro-kernel: each channel of a pixel has an output of its own.

    sum[p][c] = start[c] + a[p][tap 0][c] * w[tap 0][c] + a[p][tap 1][c] * w[tap 1][c] + ...

for a few pixels p and one vector of channels c. No activation serves two outputs, so nothing is broadcast; the
weights of a tap serve all pixels of the block.
"""

from typing import Any

from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    cgutils,
    fields_of,
    load,
    times,
    vector,
)
from ai8xsim.kernels.generated.microkernel import Job, emit_results, input_address
from ai8xsim.kernels.generated.targets import Target, target_of

PIXELS = 4  # of a block


@intrinsic
def multiply_channels(typing_context: Any, target: Any, job: Any) -> Any:
    """Compute a block of PIXELS pixels and a vector of channels.

    The job's weights are int16, a vector of channels for each tap.
    """
    facts = target_of(target.instance_class)

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        fields = fields_of(builder, args[1], Job)
        sums = _emit_sums(builder, facts, fields)
        emit_results(builder, facts, fields, [[values] for values in sums])
        return context.get_dummy_value()

    return types.void(target, job), generate


def _emit_sums(builder: Builder, target: Target, job: Job) -> list[Value]:
    sums_kind, weights_kind = vector(I32, target.lanes), vector(I16, target.lanes)
    start = load(builder, job.starts, sums_kind, 4)
    sums = [cgutils.alloca_once_value(builder, start) for _ in range(PIXELS)]
    inputs = [input_address(builder, target, job, pixel) for pixel in range(PIXELS)]
    with cgutils.for_range(builder, job.tap_count) as tap:
        place = builder.add(job.weights, times(builder, tap.index, 2 * target.lanes))
        weights = builder.sext(load(builder, place, weights_kind, 2), sums_kind)
        offset = builder.sext(load(builder, builder.add(job.taps, times(builder, tap.index, 4)), I32, 4), I64)
        step = times(builder, offset, target.value_bytes)
        for address, total in zip(inputs, sums, strict=True):
            activations = _widened(builder, target, builder.add(address, step))
            product = builder.mul(activations, weights)
            builder.store(builder.add(builder.load(total), product), total)
    return [builder.load(total) for total in sums]


def _widened(builder: Builder, target: Target, address: Value) -> Value:
    kind = vector(I32, target.lanes)
    if target.marker.zero:
        return builder.zext(load(builder, address, vector(I8, target.lanes)), kind)
    return builder.sext(load(builder, address, vector(I16, target.lanes)), kind)
