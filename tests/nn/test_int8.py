"""The road on bytes: the same values as on floats, and tensors that nobody can tell from others."""

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ai8xsim.nn as ai8x
from ai8xsim.nn import int8
from ai8xsim.nn.activations import Activations

from ..conftest import ROOT
from .test_modules import KINDS, Case

ON_BYTES = [kind for kind in KINDS if kind.operation in {"Conv1d", "Conv2d"}]


def layer(made: Any = ai8x.FusedConv2dReLU, inputs: int = 3, outputs: int = 8, **given: Any) -> Any:
    """A quantized layer with drawn weights."""
    generator = torch.Generator().manual_seed(inputs)
    bits = {"weight_bits": 8, "bias_bits": 8, "quantize_activation": True}
    sizes = {} if made is ai8x.FusedLinearReLU else {"kernel_size": 3, "padding": 1}
    with ai8x.setting("MAX78002", simulate=True):
        module = made(inputs, outputs, **{**sizes, "bias": True, **bits, **given})
    module.op.weight.data = torch.randint(-128, 128, module.op.weight.shape, generator=generator).float()
    module.op.bias.data = torch.randint(-128, 128, (outputs,), generator=generator).float() * 128
    module.output_shift.data = torch.tensor([-4.0])
    return module.eval()


def batch(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(1)).float()


X = batch(2, 3, 9, 10)


@pytest.fixture(scope="module")
def activations() -> Activations:
    """What a layer gives here, if anything multiplies bytes exactly here."""
    with torch.no_grad():
        y = layer()(X)
    if not isinstance(y, Activations):
        pytest.skip("this processor, or this PyTorch, has no exact 8-bit products")
    return y


@pytest.fixture
def y(activations: Activations) -> Activations:
    """Activations at which nobody has looked."""
    with torch.no_grad():
        fresh = layer()(X)
    assert isinstance(fresh, Activations)
    return fresh


@pytest.mark.parametrize("kind", ON_BYTES, ids=lambda kind: kind.name)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_bytes_and_floats_are_the_same(kind: Any, data: st.DataObject) -> None:
    case = Case(kind, data)
    case.int8 = True
    module, x = case.module("chip"), torch.from_numpy(case.x).float()
    with torch.no_grad():
        assert torch.equal(module(x), module._on_floats(x))


@pytest.mark.parametrize("shift", range(-15, 16))
def test_every_shift_is_the_same_at_its_ties(shift: int) -> None:
    module = layer(ai8x.Conv2d, 4, 64, kernel_size=1, padding=0)
    weights = torch.arange(-128, 128).float()
    module.op.weight.data = weights.reshape(64, 4, 1, 1)
    module.output_shift.data = torch.tensor([float(shift)])
    x = torch.arange(-128, 128).float().reshape(1, 1, 16, 16).repeat(1, 4, 1, 1) * torch.tensor(
        [1, -1, 0, 1]
    ).reshape(4, 1, 1)
    with torch.no_grad():
        assert torch.equal(module(x.clamp(-128, 127)), module._on_floats(x.clamp(-128, 127)))


def test_a_model_stays_on_bytes(activations: Activations) -> None:
    first, second = layer(), layer(ai8x.FusedMaxPoolConv2dReLU, 8, 5)
    with torch.no_grad():
        y = first(X)
        z = second(y)
        assert isinstance(z, Activations)
        assert y._floats is None
        assert torch.equal(z, second._on_floats(first._on_floats(X)))


def test_a_pool_alone_stays_on_bytes(y: Activations) -> None:
    expected = nn.functional.max_pool2d(layer()._on_floats(X), 2)
    with ai8x.setting("MAX78000", simulate=True), torch.no_grad():
        pooled = ai8x.MaxPool2d(2, 2)(y)
    assert isinstance(pooled, Activations)
    assert y._floats is None
    assert torch.equal(pooled, expected)


USES: dict[str, Callable[[Any], Any]] = {
    "view": lambda y: y.view(len(y), -1),
    "slice": lambda y: y[:, 1:3, ::2],
    "sum": lambda y: y.sum(),
    "item": lambda y: torch.tensor(y[0, 0, 0, 0].item()),
    "cat": lambda y: torch.cat([y, y], dim=1),
    "where": lambda y: torch.where(y > 3, y, -y),
    "add": lambda y: y + X.new_ones(()),
    "pool": lambda y: nn.functional.max_pool2d(y, 2),
    "linear": lambda y: nn.functional.linear(y, torch.eye(10)),
    "dropout": lambda y: nn.functional.dropout(y, training=False),
    "double": lambda y: y.detach().double(),
    "numpy": lambda y: torch.from_numpy(y.numpy()),
    "asarray": lambda y: torch.from_numpy(np.asarray(y)),
    "list": lambda y: torch.tensor(y.tolist()),
    "iterate": lambda y: torch.stack(list(y)),
    "copy": copy.deepcopy,
    "clone": lambda y: y.clone(),
    "pickle": lambda y: pickle.loads(pickle.dumps(y)),
    "dlpack": torch.from_dlpack,
    "layout": lambda y: y.contiguous(memory_format=torch.channels_last),
    "in place": lambda y: y.mul_(2).sub_(1),
    "new axis in place": lambda y: y.unsqueeze_(0),
    "transposed in place": lambda y: y.transpose_(1, 3),
    "resized in place": lambda y: y.squeeze_().resize_(2, 4),
    "applied": lambda y: y.apply_(lambda value: value + 1),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_is_of_the_floats(y: Activations, use: Callable[[Any], Any]) -> None:
    expected = use(layer()._on_floats(X).detach())
    with torch.no_grad():
        found = use(y)
    assert type(found) is torch.Tensor or isinstance(found, Activations)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["new axis in place", "transposed in place", "resized in place"])
def test_a_shape_that_was_changed_in_place_is_the_shape(y: Activations, name: str) -> None:
    expected = layer()._on_floats(X).detach()
    with torch.no_grad():
        USES[name](expected)
        USES[name](y)
        assert y.shape == expected.shape
        assert torch.equal(y.clone(), expected)


def test_metadata_need_no_floats(y: Activations) -> None:
    assert (y.shape, y.size(1), y.dim(), len(y)) == (torch.Size([2, 8, 9, 10]), 8, 4, 2)
    assert (y.dtype, y.device.type, y.numel(), y.is_contiguous()) == (torch.float32, "cpu", 1440, True)
    assert y._floats is None


def test_what_is_written_into_activations_counts(y: Activations) -> None:
    after = layer(ai8x.Conv2d, 8, 4)
    with torch.no_grad():
        expected = layer()._on_floats(X)
        for tensor in (y, expected):
            tensor[:, 2] = 77
            tensor.view(-1)[5:9] = -3
            tensor.add_(1)
        assert torch.equal(after(y), after._on_floats(expected))


def test_activations_are_saved_as_any_tensor(y: Activations) -> None:
    file = io.BytesIO()
    torch.save({"y": y}, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True)["y"], y)


def test_printed_as_any_tensor(y: Activations) -> None:
    assert repr(y[0, 0]) == repr(y.floats()[0, 0])
    assert repr(y).startswith("tensor(")


@pytest.mark.parametrize("value", [0.5, 128.0, -129.0, 1e9, float("inf"), float("nan")])
def test_other_values_go_through_floats(value: float) -> None:
    module, x = layer(), X.clone()
    x[1, 2, 3, 4] = value
    with torch.no_grad():
        y = module(x)
        assert type(y) is torch.Tensor
        assert torch.equal(y.nan_to_num(), module._on_floats(x).nan_to_num())


@pytest.mark.parametrize("value", [0.5, 1e-40, 128.0, float("nan"), float("-inf")])
@pytest.mark.parametrize("layout", ["planes", "channels_last", "reversed"])
@pytest.mark.parametrize("sample", [0, 36])  # the last one lies in a piece that is not full
def test_a_single_value_that_is_no_int8_is_found(value: float, layout: str, sample: int) -> None:
    x = torch.randint(-128, 128, (37, 16, 31, 33)).float()
    x[1] = -0.0
    laid_out = {
        "planes": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "reversed": x.transpose(2, 3),
    }[layout]
    found = int8.bytes_of(laid_out)
    assert found is not None
    assert torch.equal(found.int() - 128, laid_out.int())
    assert found.is_contiguous(memory_format=torch.channels_last)
    laid_out[sample, 15, 30, 30] = value
    assert int8.bytes_of(laid_out) is None


def test_other_weights_go_through_floats() -> None:
    module = layer()
    module.op.weight.data[0, 0, 0, 0] += 0.25
    with torch.no_grad():
        assert type(module(X)) is torch.Tensor


CHANGES: dict[str, Callable[[Any], None]] = {
    "weight": lambda module: module.op.weight.data.flatten()[0].sub_(100),
    "bias": lambda module: module.op.bias.data[0].sub_(12800),
    "no bias": lambda module: setattr(module.op, "bias", None),
    "shift": lambda module: module.output_shift.data.sub_(2),
    "bits": lambda module: (module.weight_bits.data.fill_(4), module.output_shift.data.sub_(4)),
    "activation": lambda module: setattr(module, "activation", "Abs"),
    "stride": lambda module: setattr(module.op, "stride", (3, 3)),
    "padding": lambda module: setattr(module.op, "padding", (0, 0)),
    "double": lambda module: module.double(),
}
MADE: dict[str, Callable[[], Any]] = {
    "Conv2d": lambda: layer(ai8x.FusedConv2dReLU),
    "ConvTranspose2d": lambda: layer(ai8x.FusedConvTranspose2dReLU),
    "Linear": lambda: layer(ai8x.FusedLinearReLU, 10, 8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_changed_numbers_are_noticed(made: Callable[[], Any], change: Callable[[Any], None]) -> None:
    module = made()
    with torch.no_grad():
        before = module(X)
        change(module)
        fresh = copy.deepcopy(module)  # which takes along nothing that was prepared
        after = module(X)
        assert torch.equal(after, fresh(X))
    is_without = isinstance(module.op, nn.Linear) and change in {CHANGES["stride"], CHANGES["padding"]}
    if change is not CHANGES["double"] and not is_without:
        assert after.shape != before.shape or not torch.equal(after, before)


@pytest.mark.parametrize("shape", [(3, 9, 10), (0, 3, 9, 10), (2, 4, 9, 10), (2, 3, 1, 10), (3,)])
def test_shapes_of_no_batch_are_met_as_floats_meet_them(shape: tuple[int, ...]) -> None:
    module = layer(ai8x.FusedMaxPoolConv2dReLU)

    def outcome(run: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        try:
            return run(batch(*shape)).tolist()
        except (RuntimeError, IndexError) as fault:
            return str(fault)

    with torch.no_grad():
        assert outcome(module) == outcome(module._on_floats)
        module(X)  # from now on the weights are packed
        assert outcome(module) == outcome(module._on_floats)


def test_gradients_pass_through_what_comes_after(y: Activations) -> None:
    weight = torch.ones(8, 1, 1, requires_grad=True)
    (y * weight).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad.flatten(), y.floats().sum((0, 2, 3)))


def test_who_wants_gradients_has_floats() -> None:
    assert type(layer()(X)) is torch.Tensor


def test_who_wants_floats_has_them() -> None:
    module = layer()
    with ai8x.setting("MAX78002", simulate=True, int8=False), torch.no_grad():
        ai8x.update_model(module)
        assert type(module(X)) is torch.Tensor


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_who_traces_sees_floats() -> None:
    module = layer()
    with torch.no_grad():
        assert torch.equal(torch.jit.trace(module, (X,))(X), module._on_floats(X))


def test_inference_mode_is_on_bytes(activations: Activations) -> None:
    with torch.inference_mode():
        y = layer()(X)
        assert isinstance(y, Activations)
        assert torch.equal(y, activations)


POOLS: dict[str, Callable[[Any], None]] = {
    "padding": lambda module: setattr(module.pool, "padding", 1),
    "ceil": lambda module: setattr(module.pool, "ceil_mode", True),
    "adaptive": lambda module: setattr(module, "pool", nn.AdaptiveMaxPool2d(3)),
    "several": lambda module: setattr(module, "pool", nn.Sequential(nn.MaxPool2d(2))),
    "hooked": lambda module: module.pool.register_forward_hook(lambda _, __, y: -y),
}


@pytest.mark.parametrize("change", POOLS.values(), ids=POOLS)
def test_pools_that_users_made_their_own_are_theirs(change: Callable[[Any], None]) -> None:
    module = layer(ai8x.FusedMaxPoolConv2dReLU, pool_size=3)
    change(module)
    with torch.no_grad():
        assert torch.equal(module(X), module._on_floats(X))


@pytest.mark.parametrize("size", [[2, 2], [3, 2], (2, 3)])
def test_sizes_of_pools_may_be_lists(size: Any) -> None:
    module = layer(ai8x.FusedMaxPoolConv2dReLU, pool_size=size)
    with torch.no_grad():
        assert torch.equal(module(X), module._on_floats(X))


def test_a_layer_for_several_shapes_is_packed_once(
    activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    right = int8.Products
    monkeypatch.setattr(int8, "Products", lambda *given: made.append(given) or right(*given))
    module = layer()
    with torch.no_grad():
        for size in (9, 12, 9, 12, 2):
            x = batch(1, 3, size, size)
            assert torch.equal(module(x), module._on_floats(x))
    assert len(made) == 2  # the largest products, and its own


@pytest.mark.filterwarnings("ignore:.*batching rule:UserWarning")
def test_under_vmap_there_are_floats() -> None:
    module = layer()
    with torch.no_grad():
        assert torch.equal(torch.vmap(module)(X[None])[0], module._on_floats(X))


def test_a_default_device_changes_nothing() -> None:
    module, x = layer(), X.clone()
    with torch.no_grad(), torch.device("meta"):
        y = module(x)
    assert torch.equal(y, module._on_floats(X).detach())


def test_operations_are_counted_as_floats_have_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for run in (layer(), layer()._on_floats):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(X)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("bias", [1 << 22, (1 << 22) - 128])
def test_a_bias_at_the_bound_is_the_same(bias: int) -> None:
    module = layer(ai8x.Conv2d, 1, 1, kernel_size=1, padding=0)
    module.op.weight.data.fill_(1)
    module.op.bias.data.fill_(-float(bias))
    module.output_shift.data.fill_(6)
    x = batch(2, 1, 9, 10)
    with torch.no_grad():
        assert torch.equal(module(x), module._on_floats(x))


SLOW_PROCESSOR = """
import torch
from tests.nn.test_int8 import Activations, ai8x, layer
torch.manual_seed(1)
for number in range(120):
    inputs, outputs = (int(torch.randint(1, 9, ())) for _ in range(2))
    module = layer(ai8x.Conv2d, inputs, outputs, padding=number % 3, kernel_size=1 + 2 * (number % 2))
    module.op.weight.data = torch.randint(-128, 128, module.op.weight.shape).float()
    module.output_shift.data = torch.tensor([float(torch.randint(-6, 2, ()))])
    x = torch.where(torch.rand(16, inputs, 6, 6) < 0.5, 127.0, torch.randint(-128, 128, (16, inputs, 6, 6)).float())
    with torch.no_grad():
        assert torch.equal(module(x), module._on_floats(x)), (number, type(module(x)))
"""


@pytest.mark.parametrize("limit", ["SSE41", "AVX2", "AVX512_CORE"])
def test_where_products_saturate_there_are_floats(limit: str) -> None:
    """oneDNN held to older processors' instructions, which add two products in 16 bits."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    command = [sys.executable, "-c", SLOW_PROCESSOR]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert shown.returncode == 0, shown.stderr


def test_a_model_that_was_evaluated_can_be_copied_and_pickled() -> None:
    module = layer()
    with torch.no_grad():
        y = module(X)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(X), y)


def test_products_that_saturate_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = int8.Products.__call__
    monkeypatch.setattr(int8.Products, "__call__", lambda self, data: right(self, data).clamp_(max=250))
    module = layer(ai8x.Conv2d)
    module.output_shift.data = torch.tensor([0.0])
    with torch.no_grad():
        y = module(X)
    assert type(y) is torch.Tensor
    assert y.max() > 122


def test_what_was_found_out_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = int8.Packed
    monkeypatch.setattr(int8, "Packed", lambda *given: calls.append(given) or right(*given))
    module = layer()
    module.op.weight.data[0, 0, 0, 0] += 0.25  # not for bytes
    with torch.no_grad():
        for _ in range(3):
            module(X)
    assert len(calls) == 1


def test_a_pytorch_without_the_operation_has_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise AttributeError("no such operation")

    monkeypatch.setattr(int8.Products, "__init__", missing)
    with torch.no_grad():
        assert type(layer()(X)) is torch.Tensor
