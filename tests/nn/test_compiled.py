"""Modules under `torch.compile`, and on a GPU where there is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import ai8xsim.nn as ai8x


class Small(nn.Module):
    """Both kinds of pools, a residual addition, a wide output."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.conv1 = ai8x.FusedConv2dBNReLU(2, 4, 3, padding=1, bias=True, **given)
        self.conv2 = ai8x.FusedMaxPoolConv2dReLU(4, 4, 3, padding=1, bias=True, **given)
        self.conv3 = ai8x.FusedAvgPoolConv2dAbs(4, 4, 1, pool_size=1, pool_stride=1, bias=True, **given)
        self.add = ai8x.Add()
        self.fc = ai8x.Linear(4 * 16, 3, bias=True, wide=True, **given)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        scores: torch.Tensor = self.fc(self.add(y, self.conv3(y)).flatten(1))
        return scores


def trained(device: str = "cpu", wrap: Callable[[nn.Module], Any] = lambda model: model) -> list[float]:
    """The losses of a few steps of floats, and a few with quantization."""
    torch.manual_seed(5)
    with ai8x.setting("MAX78000"):
        model = Small().to(device)
    x = (torch.randint(-128, 128, (8, 2, 8, 8)).float() / 128).to(device)
    target = torch.arange(8, device=device) % 3
    losses = []
    for is_quantized in (False, True):
        if is_quantized:
            ai8x.fuse_bn_layers(model)
            ai8x.initiate_qat(model, {"weight_bits": 8})
            model.to(device)
        computed, optimizer = wrap(model), torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(computed(x), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


def evaluated(device: str = "cpu", wrap: Callable[[nn.Module], Any] = lambda model: model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    with ai8x.setting("MAX78000", simulate=True):
        model = Small(weight_bits=8, bias_bits=8, quantize_activation=True)
        ai8x.fuse_bn_layers(model)
    for module in model.modules():
        if isinstance(module, ai8x.Layer) and module.op is not None:
            op: Any = module.op
            op.weight.data = torch.randint(-128, 128, op.weight.shape, generator=generator).float()
            op.bias.data = torch.randint(-128, 128, op.bias.shape, generator=generator).float() * 128
            module.output_shift.data = torch.tensor([-3.0])
    x = torch.randint(-128, 128, (8, 2, 8, 8), generator=generator).float()
    with torch.no_grad():
        y: torch.Tensor = wrap(model.to(device).eval())(x.to(device))
    return y.cpu()


def compiled(model: nn.Module) -> Any:
    """By PyTorch's tracer; without a C++ compiler the graphs run as they are."""
    torch.compiler.reset()
    return torch.compile(model, backend="aot_eager")


@pytest.mark.deep
def test_training_may_be_compiled() -> None:
    assert trained(wrap=compiled) == pytest.approx(trained(), abs=1e-5)


def test_evaluation_may_be_compiled() -> None:
    assert torch.equal(evaluated(wrap=compiled), evaluated())


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@NO_GPU
def test_training_runs_on_a_gpu() -> None:
    assert trained("cuda") == pytest.approx(trained(), abs=2e-2)


@NO_GPU
def test_evaluation_on_a_gpu_has_the_same_bits() -> None:
    assert torch.equal(evaluated("cuda"), evaluated())


@NO_GPU
def test_compiled_evaluation_on_a_gpu_has_the_same_bits() -> None:
    assert torch.equal(evaluated("cuda", compiled), evaluated())
