"""One module: pool, operation, batch normalization, shift, activation, rounding.

In evaluation (`simulate`) the data are integers and the parameters those of a quantized checkpoint. In training, data
lie in [-1, 1) and parameters are real; quantization-aware training rounds both as the chip will.
Source: `spec/TRAINING.md` 2.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ai8xsim.nn import arithmetic, int8, operands
from ai8xsim.nn.activations import Activations, is_usable, is_watched
from ai8xsim.nn.setting import Setting, current_setting

WIDTHS = (1, 2, 4, 8)
WIDE_LIMIT = float(1 << 29)
PIECE_VALUES = 1 << 20  # measured: 4 MiB of float32, from which both cores still read fast


class Parts(NamedTuple):
    """What a layer is made of, each None where it is not there. pooling: "Max" or "Avg"."""

    pooling: str | None = None
    pool: nn.Module | None = None
    op: nn.Module | None = None
    bn: nn.Module | None = None


class Layer(nn.Module):
    """The common part of all modules with quantization.

    activation: "ReLU", "Abs" or None. wide: 32-bit output.
    Its own numbers (output_shift, weight_bits, ...) are parameters that are not trained: checkpoints carry them.
    """

    def __init__(self, parts: Parts, activation: str | None, wide: bool) -> None:
        super().__init__()
        if wide and activation is not None:
            raise ValueError("wide output is the accumulator as it is: it cannot have an activation")
        if activation not in {None, "ReLU", "Abs"}:
            raise ValueError(f"activation is {activation!r}; it must be 'ReLU', 'Abs' or None")
        self.pooling, self.activation, self.wide = parts.pooling, activation, wide
        self.pool, self.op, self.bn = parts.pool, parts.op, parts.bn
        self.setting: Setting = current_setting()
        self.final_scale = 0.0  # of training software of 2025: a power of two behind the output
        self.activation_threshold = (
            0.0  # of the same: by how much less training shifts; quantizing takes it in
        )
        self.output_shift = _fixed(0.0)
        self._packed: int8.Packed | None = None
        self._scaled: operands.Scaled | None = None
        self.set_bits(None)

    def set_bits(self, bits: int | None, shift_quantile: float = 1.0, bias_bits: int | None = None) -> None:
        """Quantize to this width from now on; None: not yet. bias_bits: another width in training, for biases."""
        for name, width in (("weight_bits", bits), ("bias_bits", bias_bits)):
            if width is not None and width not in WIDTHS:
                raise ValueError(f"{name} is {width}; it must be one of {WIDTHS}")
        is_on = bits is not None
        self.weight_bits = _fixed(bits or 0)
        self.bias_bits = _fixed(bias_bits or bits or 0)
        self.quantize_activation = _fixed(is_on)
        self.adjust_output_shift = _fixed(is_on and not self.setting.simulate)
        self.shift_quantile = _fixed(shift_quantile)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is prepared of the parameters."""
        return {**self.__dict__, "_packed": None, "_scaled": None}

    @property
    def bits(self) -> int:
        """The width of the weights; 0 as long as they are not quantized."""
        return int(self.weight_bits.item())

    def _parameters_of(self) -> tuple[Tensor, Tensor | None]:
        """The operation's weight, and its bias if it has one."""
        op: Any = self.op
        return op.weight, op.bias

    def forward(self, x: Tensor) -> Tensor:
        """Data in, data out: (N, C, H, W) or (N, C, L), integers in evaluation."""
        if self.setting.simulate:
            return self._evaluate(x)
        return self._train(x)

    # evaluation

    def _evaluate(self, x: Tensor) -> Tensor:
        """On bytes where that is exact, else on floats. Raises RuntimeError where there is still a normalization."""
        if self.bn is not None:
            raise RuntimeError("evaluation knows no batch normalization; fold it with `fuse_bn_layers` first")
        if self.setting.behaviour == "chip" and self.setting.int8 and is_usable(x):
            y = self._on_bytes(x)
            if y is not None:
                return y
        return self._on_floats(x)

    def _on_bytes(self, x: Tensor) -> Tensor | None:
        """Like `_on_floats`, several times as fast; None where it could not be exact."""
        op, pool = self.op, self.pool
        is_possible = not self.wide and (op is None or type(op) in int8.CONVOLUTIONS)
        is_possible = is_possible and (pool is None or int8.is_usual(pool))
        if not is_possible or x.dim() != int8.axes_of(op or pool):
            return None
        data = int8.bytes_of(x)
        if data is not None and pool is not None:
            data = int8.pooled(data, pool, self.setting.round_avg)
        if data is not None and op is not None:
            data = self._multiplied(op, data)
        return None if data is None or data.numel() == 0 else Activations(data, x.dim())

    def _multiplied(self, op: Any, data: Tensor) -> Tensor | None:
        """Bytes to bytes, by weights that are packed when they are new."""
        if data.numel() == 0:
            return None
        numbers, packed = self._numbers(op), self._packed
        if packed is None or not packed.numbers.same(numbers):
            packed = self._packed = int8.Packed(op, numbers)
        products = packed.products(data, self._chip_output)
        return None if products is None else products(data)

    def _on_floats(self, x: Tensor) -> Tensor:
        """A batch goes through in pieces that a core's cache holds: several times as fast as in one."""
        axes = {nn.Conv1d: 3, nn.Conv2d: 4, nn.ConvTranspose2d: 4}.get(type(self.op))
        if x.dim() != axes:
            return self._evaluate_piece(x)
        op: Any = self.op
        values = max(op.in_channels, op.out_channels * op.stride[0] ** 2) * x.shape[2:].numel()
        return arithmetic.in_pieces(self._evaluate_piece, x, max(1, PIECE_VALUES // max(values, 1)))

    def _evaluate_piece(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = self._evaluated_pool(x)
        if self.op is None:
            return x
        if self.setting.behaviour == "vendor":
            return self._vendor_output(x)
        return self._chip_output(x)

    def _evaluated_pool(self, x: Tensor) -> Tensor:
        assert self.pool is not None
        pooled: Tensor = self.pool(x)
        if self.pooling != "Avg":
            return pooled
        if not self.setting.round_avg:
            pooled = arithmetic.toward_zero(pooled)
        elif self.setting.behaviour == "vendor":
            pooled = arithmetic.half_even(pooled)
        else:
            pooled = arithmetic.half_away_from_zero(pooled)
        return arithmetic.saturate(pooled)

    def _numbers(self, op: Any) -> operands.Numbers:
        shift, steps = float(self.output_shift.item()), operands.steps_of(op)
        return operands.Numbers(op.weight, op.bias, self.bits or 8, shift, steps, self.activation, self.wide)

    def _prepared(self) -> operands.Scaled:
        """Prepared once, until a number changes; each time for those who want gradients."""
        numbers, ready = self._numbers(self.op), self._scaled
        if is_watched():
            return operands.scaled(self.op, numbers)
        if ready is None or not ready.numbers.same(numbers):
            ready = self._scaled = operands.scaled(self.op, numbers.kept())
        return ready

    def _chip_output(self, x: Tensor) -> Tensor:
        """The accumulator in the units of the chip; shifted, rounded, saturated, then activated."""
        _, weight, bias = self._prepared()
        acc = self._operate(x.to(weight.dtype), weight, bias)
        if self.wide:
            return acc
        least = 0 if self.activation == "ReLU" else -128
        y = acc.floor_().clamp_(least, 127).to(x.dtype)
        return y.abs_().clamp_(max=127) if self.activation == "Abs" else y

    def _vendor_output(self, x: Tensor) -> Tensor:
        """As the vendor's modules: float32 throughout, activated before it is rounded."""
        bits = self.bits or 8
        factor = 2.0 ** (8 - bits)
        stored_weight, stored = self._parameters_of()
        weight = arithmetic.round_half_up(stored_weight * factor)
        bias = None if stored is None else arithmetic.round_half_up(stored * factor * factor)
        acc = self._operate(x, weight, bias)
        if not self.wide:
            acc = torch.floor(acc * 2.0 ** float(self.output_shift.item()))
        acc = self._activated(acc)
        if self.wide:
            y = torch.floor(acc / factor + 0.5).clamp(-WIDE_LIMIT, WIDE_LIMIT - 1)
        else:
            y = arithmetic.saturate(torch.floor(acc / 128 + 0.5))
        return y * 2.0**self.final_scale if self.final_scale else y

    @property
    def is_never_activated_by_vendor(self) -> bool:
        """Whether `vendor` behaviour leaves the activation out, by an oversight in the vendor's class."""
        return False

    def _activated(self, x: Tensor) -> Tensor:
        if self.setting.behaviour == "vendor" and self.is_never_activated_by_vendor:
            return x
        if self.activation == "ReLU":
            return torch.relu(x)
        return x.abs() if self.activation == "Abs" else x

    def _operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The operation with other parameters than its own."""
        op: Any = self.op
        if isinstance(op, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        if isinstance(op, nn.ConvTranspose2d):
            steps: Any = (op.stride, op.padding, op.output_padding, op.groups, op.dilation)
            return nn.functional.conv_transpose2d(x, weight, bias, *steps)
        convolve = nn.functional.conv1d if isinstance(op, nn.Conv1d) else nn.functional.conv2d
        return convolve(x, weight, bias, op.stride, op.padding, op.dilation, op.groups)

    # training

    def _train(self, x: Tensor) -> Tensor:
        is_quantized = bool(self.quantize_activation.item())
        if self.pool is not None:
            x = self._trained_pool(x, is_quantized)
        if self.op is None:
            return x
        weight, bias = self._parameters_of()
        if bool(self.adjust_output_shift.item()):
            self.output_shift.data = self._fitting_shift(weight, bias)
        shift = self.output_shift.detach()
        if self.bits:
            scale = torch.exp2(-shift) if bool(self.adjust_output_shift.item()) else torch.ones_like(shift)
            weight = _rounded(weight * scale, self.bits)
            bias = None if bias is None else _rounded(bias * scale, int(self.bias_bits.item()))
        y = self._operate(x, weight, bias)
        if self.bn is not None:
            normed: Tensor = self.bn(y)
            y = normed / 4
        if not self.wide:
            threshold = self.activation_threshold
            y = y * torch.exp2((shift - threshold).clamp(-15, 15) if threshold else shift)
        y = self._activated(y)
        if is_quantized:
            steps = float(1 << 14) if self.wide else 128.0
            y = arithmetic.round_half_up(y * steps) / steps
        y = y.clamp(-32768, 32768) if self.wide else y.clamp(-1, 127 / 128)
        return y * 2.0**self.final_scale if self.final_scale else y

    def _trained_pool(self, x: Tensor, is_quantized: bool) -> Tensor:
        assert self.pool is not None
        pooled: Tensor = self.pool(x)
        if self.pooling != "Avg":
            return pooled
        if is_quantized:
            rounding = arithmetic.half_even if self.setting.round_avg else arithmetic.toward_zero
            pooled = rounding(pooled * 128) / 128
        return pooled.clamp(-1, 127 / 128)

    def _fitting_shift(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The shift with which the largest parameter just fits: -floor(log2(1 / limit)), within -15..15."""
        parameters = weight.detach().flatten()
        if bias is not None:
            parameters = torch.cat((parameters, bias.detach().flatten()))
        limit = _quantile(parameters.abs(), float(self.shift_quantile.item()))
        return -torch.floor(torch.log2(1.0 / limit)).clamp(-15, 15).reshape(1)


def _fixed(value: float | bool) -> nn.Parameter:
    """A parameter of one value that is not trained."""
    return nn.Parameter(torch.tensor([value]), requires_grad=False)


def _rounded(parameter: Tensor, bits: int) -> Tensor:
    """To multiples of 2**(1 - bits) in [-1, 1)."""
    unit = 2.0 ** (bits - 1)
    rounded = arithmetic.round_half_up(parameter * unit) / unit
    return rounded.clamp(-1, 1 - 1 / unit)


def _quantile(x: Tensor, q: float) -> Tensor:
    """The quantile by the plotting positions (2 i + 1) / 2 n; the largest value for q = 1.

    Source: `spec/TRAINING.md` 2.4, the training's own way.
    """
    if q == 1.0:
        return x.max()
    ordered, n = torch.sort(x)[0], x.numel()
    positions = (2 * torch.arange(n, device=x.device) + 1) / (2 * n)
    place = int(torch.clamp((positions <= q).sum(), 1, n - 1)) - 1
    fraction = q * (n - 1) - place
    return ordered[place] + fraction * (ordered[place + 1] - ordered[place])
