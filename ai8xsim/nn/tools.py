"""What a training script does to a whole model: refresh, fold batch normalizations, begin quantization.

Every layer is reached, however deep it lies. (The vendor's tools of 2024 overlook layers that stand directly in a
Sequential or a ModuleList: `spec/TRAINING.md` 3.)
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ai8xsim.checkpoint.names import split_prefix
from ai8xsim.nn.elementwise import Eltwise
from ai8xsim.nn.layer import Layer
from ai8xsim.nn.setting import current_setting
from ai8xsim.nn.software import FusedSoftwareLinearReLU

VENDOR_DIVISOR = 4  # by which training with batch normalization shrinks an output


def update_model(model: nn.Module) -> None:
    """Let all layers compute by the setting that holds here."""
    for module in model.modules():
        if isinstance(module, Layer | Eltwise | FusedSoftwareLinearReLU):
            module.setting = current_setting()


def fuse_bn_layers(model: nn.Module) -> None:
    """Fold every batch normalization into weight and bias, along the outputs; they are gone afterwards.

    Source: `spec/TRAINING.md` 4; other than there, a transposed convolution is folded along its outputs too.
    """
    for module in model.modules():
        if isinstance(module, Layer) and module.bn is not None and module.op is not None:
            _fold(module)


def _fold(layer: Layer) -> None:
    norm: Any = layer.bn
    op: Any = layer.op
    mean, variance = norm.running_mean, norm.running_var
    gamma = norm.weight if norm.affine else torch.ones_like(mean)
    beta = norm.bias if norm.affine else torch.zeros_like(mean)
    with torch.no_grad():
        scale = gamma / VENDOR_DIVISOR / torch.sqrt(variance + norm.eps)
        bias = op.bias if op.bias is not None else torch.zeros_like(mean)
        op.weight.mul_(_by_output(op, scale))
        op.bias = nn.Parameter((bias - mean) * scale + beta / VENDOR_DIVISOR)
    layer.bn = None


def _by_output(op: Any, values: Tensor) -> Tensor:
    """One value for each output, in a shape that multiplies the weight. A transposed one is (in, out / groups, ...)."""
    taps = [1] * (op.weight.dim() - 2)
    if not isinstance(op, nn.ConvTranspose2d):
        return values.reshape(-1, 1, *taps)
    by_group = values.reshape(op.groups, -1).repeat_interleave(len(op.weight) // op.groups, dim=0)
    return by_group.reshape(len(op.weight), -1, *taps)


def initiate_qat(model: nn.Module, qat_policy: Mapping[str, Any], export: bool = False) -> None:
    """Begin quantization-aware training by a policy: `weight_bits`, and where given `shift_quantile` and `overrides`.

    overrides: by the name of a module, its `weight_bits`.
    """
    overrides = qat_policy.get("overrides", {})
    quantile = float(qat_policy.get("shift_quantile", 1.0))
    for name, module in model.named_modules():
        if isinstance(module, Layer):
            own = overrides.get(split_prefix(name)[1], {})
            bits = int(own.get("weight_bits", qat_policy["weight_bits"]))
            module.set_bits(bits, float(own.get("shift_quantile", quantile)))


def update_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer of the same kind for the model's parameters of now, with the state of those it had before.

    It holds those too that are not trained, as the vendor's does: the state that a checkpoint keeps numbers them all.
    """
    settings = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    known = dict(optimizer.defaults) | {key: settings[key] for key in optimizer.defaults if key in settings}
    parameters = list(model.parameters())
    made = type(optimizer)(parameters, **known)
    for parameter in parameters:
        if parameter in optimizer.state:
            made.state[parameter] = optimizer.state[parameter]
    return made
