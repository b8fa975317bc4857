"""The bundled network as a PyTorch model, written as the vendor's training software wants model files.

`network.yaml` describes the same five layers for the chip; `ai8xsim compare --model` holds the two together.
"""

from typing import Any

import ai8x
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Scores (N, 10) for images (N, 1, 8, 8).

    num_classes, num_channels, dimensions and bias are what the training software gives every factory; kwargs says
    whether the layers are made for quantized weights.
    """

    def __init__(
        self,
        num_classes: int = 10,
        num_channels: int = 1,
        dimensions: tuple[int, int] = (8, 8),
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        pixels = (dimensions[0] // 2) * (dimensions[1] // 2)  # conv3 pools once
        self.conv1 = ai8x.FusedConv2dReLU(num_channels, 16, 3, padding=1, bias=bias, **kwargs)
        self.conv2 = ai8x.FusedConv2dReLU(16, 32, 3, padding=1, bias=bias, **kwargs)
        self.conv3 = ai8x.FusedMaxPoolConv2dReLU(32, 32, 3, padding=1, bias=bias, **kwargs)
        self.conv4 = ai8x.FusedConv2dReLU(32, 16, 1, bias=bias, **kwargs)
        self.fc = ai8x.Linear(16 * pixels, num_classes, bias=bias, wide=True, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """One layer after the other."""
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x)
        scores: Tensor = self.fc(x.flatten(1))
        return scores


def ai8xsim_digits(pretrained: bool = False, **kwargs: Any) -> DigitsNet:
    """The factory; its name is the `arch` of description and checkpoint."""
    assert not pretrained, "there are no weights to download"
    return DigitsNet(**kwargs)


models = [{"name": "ai8xsim_digits", "min_input": 1, "dim": 2}]
