"""Element-wise operations of two or more operands: combined from the left at full width, saturated once."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from ai8xsim.nn import arithmetic
from ai8xsim.nn.setting import current_setting


class Eltwise(nn.Module):
    """The common part. In evaluation the operands are integers, in training they lie in [-1, 1)."""

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.combine = combine
        self.setting = current_setting()

    def forward(self, *operands: Tensor) -> Tensor:
        """Two to sixteen operands of the same shape."""
        y = reduce(self.combine, operands)
        return arithmetic.saturate(y) if self.setting.simulate else y.clamp(-1, 127 / 128)


class Add(Eltwise):
    """The sum."""

    def __init__(self) -> None:
        super().__init__(torch.add)


class Sub(Eltwise):
    """The first operand less all others."""

    def __init__(self) -> None:
        super().__init__(torch.sub)


class _Bitwise(Eltwise):
    """On the 8 bits of each value. UNVERIFIED in training: no gradient passes, as none would mean anything.

    The vendor's modules compute something else here (`spec/TRAINING.md` 9 E); both behaviours compute the bits.
    """

    def forward(self, *operands: Tensor) -> Tensor:
        scale = 1.0 if self.setting.simulate else 128.0
        bits = [torch.round(x * scale).to(torch.int32) for x in operands]
        y: Any = reduce(self.combine, bits)
        combined: Tensor = y.to(operands[0].dtype) / scale
        return combined


class BitwiseXor(_Bitwise):
    """Exclusive or."""

    def __init__(self) -> None:
        super().__init__(torch.bitwise_xor)


class BitwiseOr(_Bitwise):
    """Or."""

    def __init__(self) -> None:
        super().__init__(torch.bitwise_or)
