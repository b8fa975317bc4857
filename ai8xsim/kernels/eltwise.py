"""Element-wise operations: activations in, values of full width out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def combine(operands: Sequence[NDArray[Any]] | NDArray[Any], operation: str) -> NDArray[Any]:
    """Operands folded from the left at full width: "add", "sub", "or", "xor"; int32, int64 if any is int64."""
    wide = any(operand.dtype == np.int64 for operand in operands)
    fold = {"add": np.add, "sub": np.subtract, "or": np.bitwise_or, "xor": np.bitwise_xor}[operation]
    total: NDArray[Any] = operands[0].astype(np.int64 if wide else np.int32)
    for operand in operands[1:]:
        total = fold(total, operand)
    return total
