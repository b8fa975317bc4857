"""The generator of stacking, which puts the values of three pixels below each other side by side.

Products take four inputs at a time. A row of a 3x3 kernel over three channels meets nine values, which take three
products; so a pixel's kernel takes nine for 27 values. Where each pixel also holds the two below it, the kernel's
columns follow each other and take seven.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import types

from ai8xsim.kernels.compiled import intrinsic
from ai8xsim.kernels.generated.instructions import I8, I32, Builder, Value, after, load, store, vector
from ai8xsim.kernels.generated.targets import FOUR, target_of

ROWS = CHANNELS = 3
STACKED = ROWS * CHANNELS  # values of a pixel
TOGETHER = 64  # pixels, which fill whole vectors


@intrinsic
def stack_rows(typing_context: Any, target: Any, rows: Any, output: Any) -> Any:
    """Write as many pixels as go together, for targets that hold activations in bytes.

    rows: addresses of the first pixel in each row, behind whose last pixel a few bytes are read as well.
    """
    length = FOUR * target_of(target.instance_class).lanes

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        starts = [builder.extract_value(args[1], row) for row in range(ROWS)]
        for first in range(0, TOGETHER * STACKED, length):
            values = _stacked(builder, starts, range(first, first + length))
            store(builder, values, after(builder, args[2], first))
        return context.get_dummy_value()

    return types.void(target, rows, output), generate


def _stacked(builder: Builder, rows: list[Value], values: range) -> Value:
    """A vector of these values of the stacked pixels.

    Half of it is enough of each row. Two rows fill a vector, and instructions take bytes from two vectors in any order.
    """
    pixel, half = values.start // STACKED, len(values) // 2
    read = [load(builder, after(builder, row, CHANNELS * pixel), vector(I8, half)) for row in rows]
    pairs = [builder.shuffle_vector(*two, _lanes(range(2 * half))) for two in (read[:2], [read[2]] * 2)]
    wanted = [divmod(value - STACKED * pixel, STACKED) for value in values]
    lanes = [half * (value // CHANNELS) + CHANNELS * column + value % CHANNELS for column, value in wanted]
    return builder.shuffle_vector(*pairs, _lanes(lanes))


def _lanes(numbers: Sequence[int]) -> Value:
    return ir.Constant(vector(I32, len(numbers)), list(numbers))
