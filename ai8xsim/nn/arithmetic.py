"""Integers in floating-point tensors, as the chip and as the vendor's evaluation compute with them.

Values are integers in [-128, 127] that a float tensor holds exactly; so are all sums, in float32 up to 2**24.
Source: `spec/TRAINING.md` 2 and 9; `spec/ARITHMETIC.md`, "One layer".
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST_EXACT = 1 << 24  # of float32


class _StraightThrough(torch.autograd.Function):
    """Rounds forward; backward it is not there."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2); the gradient passes as if nothing were rounded.

    >>> round_half_up(torch.tensor([-0.5, 0.5, 1.4])).tolist()
    [0.0, 1.0, 1.0]
    """
    rounded: Tensor = _StraightThrough.apply(x)  # type: ignore[no-untyped-call]
    return rounded


def saturate(x: Tensor) -> Tensor:
    """To int8."""
    return x.clamp(-128, 127)


def toward_zero(x: Tensor) -> Tensor:
    """Truncated; the gradient passes."""
    return x + (torch.trunc(x) - x).detach()


def half_away_from_zero(x: Tensor) -> Tensor:
    """Rounded as the chip rounds average pools; the gradient passes."""
    rounded = torch.sign(x) * torch.floor(x.abs() + 0.5)
    return x + (rounded - x).detach()


def half_even(x: Tensor) -> Tensor:
    """Rounded as PyTorch rounds; the gradient passes."""
    return x + (torch.round(x) - x).detach()


def exact_dtype(weight: Tensor, bias: Tensor, outputs_axis: int) -> torch.dtype:
    """float32 if no sum of a layer can leave what it holds exactly, else float64.

    Data lie in int8. A look at the largest weight settles it for most layers; the others sum up each output.
    """
    largest = torch.stack(weight.detach().aminmax()).abs().max().item() * 128
    inputs = weight.numel() // weight.shape[outputs_axis]
    biases = bias.detach().abs()
    if largest * inputs + biases.max().item() < LARGEST_EXACT:
        return torch.float32
    magnitudes = weight.detach().abs().double().transpose(0, outputs_axis).flatten(1).sum(1) * 128
    return torch.float32 if float((magnitudes + biases).max()) < LARGEST_EXACT else torch.float64


def in_pieces(compute: Callable[[Tensor], Tensor], x: Tensor, samples: int) -> Tensor:
    """`compute` over a batch, so many samples at a time."""
    if len(x) <= samples:
        return compute(x)
    first = compute(x[:samples])
    y = first.new_empty((len(x), *first.shape[1:]))
    y[:samples] = first
    for start in range(samples, len(x), samples):
        y[start : start + samples] = compute(x[start : start + samples])
    return y
