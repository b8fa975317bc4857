"""A layer's own numbers, and what is prepared of them once, until somebody changes one."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ai8xsim.nn import arithmetic


class Numbers(NamedTuple):
    """All that a layer's output depends on beside its input: tensors as a checkpoint holds them, and the rest.

    bits: of the weights. shift: the output's. steps: stride, padding, dilation and groups of the operation.
    wide: 32-bit output.
    """

    weight: Tensor
    bias: Tensor | None
    bits: int
    shift: float
    steps: tuple[object, ...] = ()
    activation: str | None = None
    wide: bool = False

    def same(self, other: "Numbers") -> bool:
        """Whether each number is equal: whoever changes a parameter need not tell."""
        if self[2:] != other[2:] or self.weight.device != other.weight.device:
            return False
        if self.bias is None or other.bias is None:
            has_same_bias = self.bias is other.bias
        else:
            has_same_bias = _equal(self.bias, other.bias)
        return has_same_bias and _equal(self.weight, other.weight)

    def kept(self) -> "Numbers":
        """The same in tensors that nobody else has."""
        bias = None if self.bias is None else self.bias.clone()
        return self._replace(weight=self.weight.clone(), bias=bias)


def _equal(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and values; by NumPy where it can, four times as fast."""
    if tensor.device.type == "cpu" and tensor.dtype == other.dtype == torch.float32:
        is_same = tensor.shape == other.shape and tensor.detach().numpy() == other.detach().numpy()
        return bool(np.all(is_same))
    return torch.equal(tensor, other)


class Operands(NamedTuple):
    """What a layer multiplies by and adds, in the accumulator's units, and what one of them is worth in the output."""

    weight: Tensor
    bias: Tensor
    unit: float


class Scaled(NamedTuple):
    """The operands in the output's units, with the half that rounds up, in a type in which all sums are exact."""

    numbers: Numbers
    weight: Tensor
    bias: Tensor


def steps_of(op: Any) -> tuple[object, ...]:
    """How an operation goes over its input."""
    return tuple(getattr(op, name, None) for name in ("stride", "padding", "dilation", "groups"))


def operands_of(op: Any, numbers: Numbers) -> Operands:
    """The quantized parameters as the chip multiplies and adds them: without the bits of a bias that it drops."""
    outputs = op.out_features if isinstance(op, nn.Linear) else op.out_channels
    stored = numbers.weight.new_zeros(outputs) if numbers.bias is None else numbers.bias
    unit = 1.0 if numbers.wide else float(2.0 ** (numbers.shift + 1 - numbers.bits))
    return Operands(numbers.weight, torch.floor(stored / 2.0 ** (numbers.bits - 1)) * 128, unit)


def scaled(op: Any, numbers: Numbers) -> Scaled:
    """The shift is a power of two: it goes into the parameters, and all that is left to do is to drop the fraction."""
    weight, bias, unit = operands_of(op, numbers)
    if unit < 1:
        bias = bias + 0.5 / unit
    dtype = arithmetic.exact_dtype(weight, bias, 1 if isinstance(op, nn.ConvTranspose2d) else 0)
    return Scaled(numbers, weight.to(dtype) * unit, bias.to(dtype) * unit)
