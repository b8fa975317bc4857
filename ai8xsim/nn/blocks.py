"""Blocks of several modules, as `ai8x_blocks` has them; the names of their parts are those of checkpoints."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ai8xsim.nn import modules
from ai8xsim.nn.elementwise import Add

_MADE: Any = modules  # its classes come from a table, which no type checker sees


def _with_rest(names: Sequence[str], rest: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
    """Named arguments, and those that were given by their place behind the others."""
    stated = dict(zip(names, rest, strict=False))
    if len(rest) > len(names) or stated.keys() & given.keys():
        raise TypeError(f"at most {', '.join(names)} may follow, each once")
    return {**given, **stated}


class Empty(nn.Module):
    """Hands on what it gets."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """The first of its arguments."""
        return x


class Fire(nn.Module):
    """Squeeze to few channels by 1x1, expand by 1x1 and by 3x3, and lay the two side by side."""

    def __init__(
        self,
        in_planes: int,
        squeeze_planes: int,
        expand1x1_planes: int,
        expand3x3_planes: int,
        *bias: bool,
        **given: Any,
    ) -> None:
        super().__init__()
        given = _with_rest(("bias",), bias, given)
        self.squeeze_layer = _MADE.FusedConv2dReLU(in_planes, squeeze_planes, 1, **given)
        self.expand1x1_layer = _MADE.FusedConv2dReLU(squeeze_planes, expand1x1_planes, 1, **given)
        self.expand3x3_layer = _MADE.FusedConv2dReLU(squeeze_planes, expand3x3_planes, 3, padding=1, **given)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_planes, H, W) -> (N, expand1x1_planes + expand3x3_planes, H, W)."""
        squeezed = self.squeeze_layer(x)
        return torch.cat((self.expand1x1_layer(squeezed), self.expand3x3_layer(squeezed)), 1)


class _Bottleneck(nn.Module):
    """Expand by 1x1 where that changes the channels; add the input where the output has its shape."""

    def __init__(
        self, channels: tuple[int, int], expansion: float, stride: int, given: dict[str, Any]
    ) -> None:
        super().__init__()
        inputs, outputs = channels
        self.stride = stride
        self.hidden = round(inputs * expansion)
        is_expanded = self.hidden != inputs
        self.conv1 = _MADE.FusedConv2dBNReLU(inputs, self.hidden, 1, **given) if is_expanded else Empty()
        self.resid = Add() if stride == 1 and inputs == outputs else Empty()

    def _pool(self) -> dict[str, int]:
        """A stride is a pool in front."""
        return {} if self.stride == 1 else {"pool_size": self.stride, "pool_stride": self.stride}


class ResidualBottleneck(_Bottleneck):
    """1x1 expansion, depthwise 3x3, 1x1 projection, and the input added. For the MAX78002."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion_factor: float,
        stride: int = 1,
        *biases: bool,
        **given: Any,
    ) -> None:
        given = _with_rest(("bias", "depthwise_bias"), biases, given)
        bias, depthwise_bias = given.pop("bias", False), given.pop("depthwise_bias", False)
        super().__init__((in_channels, out_channels), expansion_factor, stride, {**given, "bias": bias})
        pool, norm = "" if stride == 1 else "MaxPool", "BN" if depthwise_bias else ""
        made = getattr(_MADE, f"Fused{pool}DepthwiseConv2d{norm}ReLU")
        self.conv2 = made(
            self.hidden, self.hidden, 3, padding=1, bias=depthwise_bias, **self._pool(), **given
        )
        self.conv3 = _MADE.FusedConv2dBN(self.hidden, out_channels, 1, bias=bias, **given)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        y: Tensor = self.resid(self.conv3(self.conv2(self.conv1(x))), x)
        return y


class ConvResidualBottleneck(_Bottleneck):
    """1x1 expansion, full 3x3 projection, and the input added."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion_factor: float,
        stride: int = 1,
        *biases: bool,
        **given: Any,
    ) -> None:
        given = _with_rest(("bias", "depthwise_bias"), biases, given)
        bias, depthwise_bias = given.pop("bias", False), given.pop("depthwise_bias", False)
        super().__init__((in_channels, out_channels), expansion_factor, stride, {**given, "bias": bias})
        pool, norm = "" if stride == 1 else "MaxPool", "BN" if depthwise_bias else ""
        made = getattr(_MADE, f"Fused{pool}Conv2d{norm}" if pool or norm else "Conv2d")
        self.conv2 = made(
            self.hidden, out_channels, 3, padding=1, bias=depthwise_bias, **self._pool(), **given
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        y: Tensor = self.resid(self.conv2(self.conv1(x)), x)
        return y


class MBConvBlock(nn.Module):
    """Expansion, depthwise 3x3 (or a full one, `fused`), perhaps squeeze and excitation, projection, input added.

    Squeeze and excitation (`se_ratio`) is no integer arithmetic and no hardware has it: for training only.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *rest: Any,
        **given: Any,
    ) -> None:
        super().__init__()
        given = _with_rest(("bias", "se_ratio", "expand_ratio", "fused"), rest, given)
        bias = given.pop("bias", False)
        se_ratio, expand_ratio = given.pop("se_ratio", None), given.pop("expand_ratio", 1)
        self.fused, self.expand_ratio = given.pop("fused", False), expand_ratio
        self.has_se = se_ratio is not None and 0 < se_ratio <= 1
        self.is_residual = stride == 1 and in_channels == out_channels
        hidden = in_channels * expand_ratio
        normed = {"bias": bias, "eps": 1e-3, "momentum": 0.01, **given}
        if expand_ratio != 1:
            expansion = {"kernel_size": kernel_size, "padding": 1} if self.fused else {"kernel_size": 1}
            self.expand_conv = _MADE.FusedConv2dBNReLU(in_channels, hidden, **expansion, **normed)
        if not self.fused:
            self.depthwise_conv = _MADE.FusedConv2dBNReLU(
                hidden, hidden, kernel_size, padding=1, stride=stride, groups=hidden, **normed
            )
        if self.has_se:
            squeezed = max(1, int(in_channels * se_ratio))
            self.se_reduce = _MADE.FusedConv2dReLU(hidden, squeezed, 1, bias=bias, **given)
            self.se_expand = _MADE.Conv2d(squeezed, hidden, 1, bias=bias, **given)
        self.project_conv = _MADE.FusedConv2dBN(hidden, out_channels, 1, **normed)
        self.resid = Add()

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        x = self.expand_conv(inputs) if self.expand_ratio != 1 else inputs
        x = x if self.fused else self.depthwise_conv(x)
        if self.has_se:
            mean = nn.functional.adaptive_avg_pool2d(x, 1)
            x = torch.sigmoid(self.se_expand(self.se_reduce(mean))) * x
        projected: Tensor = self.project_conv(x)
        added: Tensor = self.resid(projected, inputs) if self.is_residual else projected
        return added
