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

    The vendor's modules take data to lie in [-0.5, 0.5) and to be offset by a half, which it is neither in training
    nor in evaluation: `vendor` behaviour gives what they give (`spec/TRAINING.md` 9 E).
    """

    def forward(self, *operands: Tensor) -> Tensor:
        if self.setting.behaviour == "vendor":
            y = reduce(self._combined_by_vendor, operands)
            return arithmetic.saturate(y) if self.setting.simulate else y.clamp(-1, 127 / 128)
        scale = 1.0 if self.setting.simulate else 128.0
        bits = [torch.round(x * scale).to(torch.int32) for x in operands]
        combined: Any = reduce(self.combine, bits)
        values: Tensor = combined.to(operands[0].dtype) / scale
        return values

    def _combined_by_vendor(self, a: Tensor, b: Tensor) -> Tensor:
        bytes_ = [torch.round((x + 0.5) * 256).to(torch.int32) for x in (a, b)]
        return self.combine(*bytes_) / 256 - 0.5


class BitwiseXor(_Bitwise):
    """Exclusive or."""

    def __init__(self) -> None:
        super().__init__(torch.bitwise_xor)


class BitwiseOr(_Bitwise):
    """Or."""

    def __init__(self) -> None:
        super().__init__(torch.bitwise_or)
