"""Element-wise operations: activations in, values of full width out."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPERATIONS = MappingProxyType({"add": np.add, "sub": np.subtract, "or": np.bitwise_or, "xor": np.bitwise_xor})


def combine(operands: Sequence[NDArray[Any]] | NDArray[Any], operation: str) -> NDArray[Any]:
    """Operands folded from the left, value by value, at full width; `requantize.saturate` comes next.

    operands: 1..16 arrays of one shape, or one array whose first axis counts them; int8 or int64 (wide).
    operation: "add", "sub", "or", "xor".
    Returns int32, int64 if any operand is wide. Raises ValueError for another operation or unequal shapes.

    >>> combine(np.array([[100, 1], [100, 2], [100, 4]], np.int8), "sub")
    array([-100,   -5], dtype=int32)
    """
    if operation not in OPERATIONS or len({operand.shape for operand in operands}) != 1:
        raise ValueError(f"cannot combine by {operation!r}: {[operand.shape for operand in operands]}")
    fold = OPERATIONS[operation]
    wide = any(operand.dtype == np.int64 for operand in operands)
    total = operands[0].astype(np.int64 if wide else np.int32)
    for operand in operands[1:]:
        fold(total, operand, out=total)
    return total
