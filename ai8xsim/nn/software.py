"""Layers that run on the microcontroller's core, outside the accelerator. Source: `spec/TRAINING.md` 2.5."""

import torch
from torch import Tensor, nn

from ai8xsim.nn import arithmetic
from ai8xsim.nn.setting import current_setting

WIDEST = 1 << 15  # its output has 16 bits


class FusedSoftwareLinearReLU(nn.Module):
    """A fully connected layer and its activation, in software. It is not quantized.

    In evaluation the sum of integers is divided by 128, rounded half up and saturated to 16 bits.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool | None = None, relu: bool = True
    ) -> None:
        super().__init__()
        self.setting = current_setting()
        self.op = nn.Linear(in_features, out_features, bias is True)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) -> (N, out_features)."""
        y: Tensor = self.op(x)
        y = torch.relu(y) if self.relu else y
        if self.setting.simulate:
            return arithmetic.round_half_up(y / 128).clamp(-WIDEST, WIDEST - 1)
        return y.clamp(-1, 127 / 128)


class SoftwareLinear(FusedSoftwareLinearReLU):
    """The same without activation."""

    def __init__(self, in_features: int, out_features: int, bias: bool | None = None) -> None:
        super().__init__(in_features, out_features, bias, relu=False)
