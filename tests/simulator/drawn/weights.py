"""Weights for a layer and the many ways in which a checkpoint and a description can say the same of them."""

from math import log2, sqrt

import numpy as np
from hypothesis import strategies as st

from ai8xsim.checkpoint import CheckpointLayer

from .sketch import Kernel, Sketch, chance
from .values import BINARY, WIDTHS, Int64s, draw_samples, draw_weights

SHIFTS = (-15, 15)
STORED_WIDTHS = st.sampled_from((None, 0, 1, 2, 4, 8))


def draw_kernel(
    draw: st.DrawFn, sketch: Sketch, operation: str, shape: tuple[int, ...], groups: int
) -> Kernel:
    """Weights of a shape, a bias or none, and a shift that saturates some outputs and leaves others."""
    widths = (*WIDTHS, BINARY) if sketch.device.supports_binary_weights else WIDTHS
    weight = draw_weights(draw, shape, draw(st.sampled_from(widths)))
    outputs = shape[1] * groups if operation == "convtranspose2d" else shape[0]
    bias = draw_samples(draw, (outputs,)) if chance(draw, 60) else None
    shift = _total_shift(draw, weight, operation == "convtranspose2d")
    return Kernel(operation, weight, bias, shift, groups)


def _total_shift(draw: st.DrawFn, weight: Int64s, is_transposed: bool) -> int:
    """Mostly one that brings usual sums, of inputs around 90, into int8 or a little beyond."""
    if chance(draw, 10):
        return draw(st.integers(*SHIFTS))
    squares = (weight**2).sum(axis=(0, 2, 3) if is_transposed else (1, 2, 3)).max()
    wanted = round(log2(128 * 128 / (90 * sqrt(float(squares) + 1)))) + draw(st.integers(-2, 2))
    return max(SHIFTS[0], min(SHIFTS[1], wanted))


def store(draw: st.DrawFn, sketch: Sketch, index: int, kernel: Kernel) -> dict[str, str]:
    """Put the weights of the layer `index` into the checkpoint; the keys that its description then needs."""
    keys, weight_bits, bits = _widths(draw, sketch, kernel.weight)
    own = kernel.shift - 8 + bits
    stored_shift: int | None = own
    if chance(draw, 30):
        keys["output_shift"] = str(own)
        stored_shift = draw(st.sampled_from((None, 0, 5, -9)))
    elif own == 0 and chance(draw, 50):
        stored_shift = None
    name = f"layer_{index}"
    sketch.kernels[index] = kernel
    sketch.stored[index] = CheckpointLayer(
        name=name,
        weight_key=f"{name}.op.weight",
        weight=_read_only(_stored_shape(draw, kernel)),
        bias=None if kernel.bias is None else _read_only(_scaled_bias(draw, kernel.bias, weight_bits or 8)),
        output_shift=stored_shift,
        weight_bits=weight_bits,
    )
    return keys


def _widths(draw: st.DrawFn, sketch: Sketch, weight: Int64s) -> tuple[dict[str, str], int | None, int]:
    """The `quantization` key or none, the checkpoint's weight_bits, and the width that follows from both."""
    low, high = int(weight.min()), int(weight.max())
    fitting = [width.bits for width in WIDTHS if width.low <= low and high <= width.high]
    is_plus_minus_one = bool((abs(weight) == 1).all())
    is_binary = is_plus_minus_one and sketch.device.supports_binary_weights
    if is_binary and chance(draw, 30):
        word = draw(st.sampled_from(("bin", "binary", "Binary")))
        return {"quantization": word}, draw(STORED_WIDTHS), 1
    if chance(draw, 40):
        bits = draw(st.sampled_from(fitting))
        return {"quantization": str(bits)}, draw(STORED_WIDTHS), bits
    if is_binary or not weight.any():
        return {}, draw(STORED_WIDTHS), 1
    bits = draw(st.sampled_from(fitting))
    return {}, draw(st.sampled_from((None, 0, 8))) if bits == 8 else bits, bits


def _stored_shape(draw: st.DrawFn, kernel: Kernel) -> Int64s:
    """A Linear layer is stored without kernel axes, a Conv1d with one; more axes of one do no harm."""
    plain = {"linear": 2, "conv1d": 3}.get(kernel.operation, 4)
    axes = 4 if chance(draw, 15) else plain
    return kernel.weight.reshape(kernel.weight.shape[:axes])


def _scaled_bias(draw: st.DrawFn, bias: Int64s, weight_bits: int) -> Int64s:
    """As trained: scaled with the weights. What the scale leaves below one is rounded down."""
    scale = 1 << weight_bits - 1
    return bias * scale + draw(st.sampled_from((0, 0, scale // 2, scale - 1)))


def _read_only(values: Int64s) -> Int64s:
    values = np.array(values)
    values.flags.writeable = False
    return values
