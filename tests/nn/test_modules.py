"""Modules against the simulator: one road through PyTorch, the other through our kernels."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ai8xsim.nn as ai8x
from ai8xsim import MAX78002, Options, Simulator, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.network import parse_network
from ai8xsim.nn.stub import stub
from ai8xsim.nn.table import POOLS, Kind, kinds

KINDS = [kind for kind in kinds() if not kind.has_batchnorm]
OPERATIONS = {
    "Conv1d": "conv1d",
    "Conv2d": "conv2d",
    "ConvTranspose2d": "convtranspose2d",
    "Linear": "linear",
}


class Case:
    """A module with random integers, and the same layer as the simulator has it."""

    def __init__(self, kind: Kind, data: st.DataObject) -> None:
        draw, self.kind = data.draw, kind
        self.bits = draw(st.sampled_from([8, 8, 4, 2, 1]))
        self.shift = draw(st.integers(-8, 4))
        self.round_avg = draw(st.booleans())
        self.wide = kind.activation is None and draw(st.booleans())
        self.int8 = draw(st.booleans())
        seed = draw(st.integers(0, 1 << 30))
        self.generator = np.random.default_rng(seed)
        channels = draw(st.sampled_from([1, 2, 5]))
        self.inputs = self.outputs = channels
        if not kind.is_depthwise:
            self.outputs = draw(st.sampled_from([1, 3, 4]))
        is_1d, is_flat = kind.operation == "Conv1d", kind.operation == "Linear"
        self.kernel = draw(
            st.sampled_from([1, 2, 5] if is_1d else [3] if "Transpose" in kind.operation else [1, 3])
        )
        self.padding = draw(st.integers(0, min(2, self.kernel - 1))) if not is_flat else 0
        self.size = (1, 1) if is_flat else (20, 1) if is_1d else (11, 12)
        self.pool = draw(st.integers(2, 3)), draw(st.integers(1, 3))
        low = -(1 << self.bits - 1)
        taps = () if is_flat else (self.kernel,) if is_1d else (self.kernel, self.kernel)
        share = self.inputs // (self.inputs if kind.is_depthwise else 1)
        ends = (self.inputs, self.outputs // (self.inputs if kind.is_depthwise else 1))
        ends = ends if "Transpose" in kind.operation else (self.outputs, share)
        self.weight = self.generator.integers(low, -low, (*ends, *taps))
        self.bias = self.generator.integers(-128, 128, self.outputs) * (1 << self.bits - 1)
        shape = (
            (2, self.inputs) if is_flat else (2, self.inputs, 20) if is_1d else (2, self.inputs, *self.size)
        )
        edges = np.array([-128, -127, -1, 0, 1, 127])
        uniform = self.generator.integers(-128, 128, shape)
        self.x = np.where(self.generator.random(shape) < 0.4, self.generator.choice(edges, shape), uniform)

    def module(self, behaviour: str) -> torch.nn.Module:
        given: dict[str, Any] = {"bias": True, "wide": self.wide}
        if self.kind.operation != "Linear":
            given |= {"kernel_size": self.kernel, "padding": self.padding}
        if self.kind.pooling:
            given |= {"pool_size": self.pool[0], "pool_stride": self.pool[1]}
        bits = {"weight_bits": self.bits, "bias_bits": self.bits, "quantize_activation": True}
        given_setting: Any = {"round_avg": self.round_avg, "behaviour": behaviour, "int8": self.int8}
        with ai8x.setting("MAX78002", simulate=True, **given_setting):
            module = getattr(ai8x, self.kind.name)(self.inputs, self.outputs, **given, **bits)
        module.op.weight.data = torch.from_numpy(self.weight).float()
        module.op.bias.data = torch.from_numpy(self.bias).float()
        module.output_shift.data = torch.tensor([float(self.shift)])
        return module  # type: ignore[no-any-return]

    def by_module(self, behaviour: str = "chip") -> Any:
        with torch.no_grad():
            return self.module(behaviour)(torch.from_numpy(self.x).float()).numpy()

    def by_simulator(self) -> Any:
        lines = [f"op: {OPERATIONS[self.kind.operation]}", "processors: 1", "out_offset: 0"]
        lines += [f"quantization: {self.bits}", f"output_shift: {self.shift}"]
        lines += [f"activate: {self.kind.activation}", f"output_width: {32 if self.wide else 8}"]
        if self.kind.operation != "Linear":
            is_1d = self.kind.operation == "Conv1d"
            lines += [
                f"kernel_size: {self.kernel}" + ("" if is_1d else f"x{self.kernel}"),
                f"pad: {self.padding}",
            ]
        if self.kind.pooling:
            lines += [f"{self.kind.pooling.lower()}_pool: {self.pool[0]}", f"pool_stride: {self.pool[1]}"]
        if self.kind.is_depthwise:
            lines.append(f"groups: {self.inputs}")
        network = parse_network(f"arch: a\ndataset: d\nlayers:\n  - {{{', '.join(lines)}}}\n").network
        assert network is not None
        stored = CheckpointLayer("conv", "conv.op.weight", self.weight, self.bias, 0, self.bits)
        shape = self.x.shape[1:] if self.x.ndim > 2 else (*self.x.shape[1:], 1, 1)
        options = Options(avg_pool_rounding=self.round_avg)
        program = resolve(network, Checkpoint("x", None, None, (stored,)), MAX78002, shape, options)
        return Simulator(program).run(self.x.reshape(-1, *shape)).output

    def agrees(self, behaviour: str = "chip") -> bool:
        ours, theirs = self.by_simulator(), self.by_module(behaviour)
        return np.array_equal(ours.reshape(theirs.shape), theirs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_chip_behaviour_is_the_simulators(kind: Kind, data: st.DataObject) -> None:
    assert Case(kind, data).agrees()


@pytest.mark.parametrize("kind", [k for k in KINDS if k.activation != "Abs"], ids=lambda kind: kind.name)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_vendor_behaviour_is_the_same_but_for_rounded_averages(kind: Kind, data: st.DataObject) -> None:
    case = Case(kind, data)
    if kind.pooling != "Avg" or not case.round_avg:
        assert case.agrees("vendor")


def evaluated(module: torch.nn.Module, *values: float) -> list[float]:
    x = torch.tensor(values).reshape(1, 1, -1, 1)
    with torch.no_grad():
        return [float(v) for v in module(x).flatten()]


def identity(name: str, behaviour: str, weight: float = 1.0, bias: float = 0.0, shift: float = 0.0) -> Any:
    bits = {"weight_bits": 8, "bias_bits": 8, "quantize_activation": True}
    with ai8x.setting("MAX78000", simulate=True, behaviour=behaviour):  # type: ignore[arg-type]
        module = getattr(ai8x, name)(1, 1, kernel_size=1, **bits)
    module.op.weight.data.fill_(weight)
    module.op.bias.data.fill_(bias)
    module.output_shift.data.fill_(shift)
    return module


def test_where_the_vendors_evaluation_differs_from_the_chip() -> None:
    """Abs of a negative tie; a bias that is not a multiple of 128."""
    assert evaluated(identity("FusedConv2dAbs", "chip", 64), -1.0) == [0.0]
    assert evaluated(identity("FusedConv2dAbs", "vendor", 64), -1.0) == [1.0]
    assert evaluated(identity("Conv2d", "chip", 1, bias=127), 0.0) == [0.0]
    assert evaluated(identity("Conv2d", "vendor", 1, bias=127), 0.0) == [1.0]
    for behaviour, wanted in (("chip", [3.0, -3.0]), ("vendor", [2.0, -2.0])):
        with ai8x.setting("MAX78000", simulate=True, round_avg=True, behaviour=behaviour):  # type: ignore[arg-type]
            pool = ai8x.AvgPool2d((2, 1), 1)
        assert evaluated(pool, 2.0, 3.0) == wanted[:1]
        assert evaluated(pool, -2.0, -3.0) == wanted[1:]


def test_long_sums_are_exact_in_chip_behaviour() -> None:
    """Partial sums beyond 2**24 do not fit float32."""
    bits = {"weight_bits": 8, "bias_bits": 8, "quantize_activation": True}
    with ai8x.setting("MAX78002", simulate=True):
        module = ai8x.Conv2d(1024, 1, kernel_size=3, wide=True, bias=False, **bits)
    generator = np.random.default_rng(1)
    weight, x = generator.integers(100, 128, (1, 1024, 3, 3)), generator.integers(100, 128, (1, 1024, 3, 3))
    module.op.weight.data = torch.from_numpy(weight).float()
    with torch.no_grad():
        y = module(torch.from_numpy(x).float())
    assert int(y.item()) == int((weight * x).sum()) > 1 << 24


def test_every_kind_has_its_class_and_the_stub_names_it() -> None:
    names = {kind.name for kind in kinds()} | set(POOLS)
    assert names < set(ai8x.__all__)
    assert {
        "FusedMaxPoolConv2dBNReLU",
        "FusedDepthwiseConv2dReLU",
        "FusedLinearReLU",
        "DepthwiseConv2d",
    } < names
    written = Path(ai8x.__file__).with_name("modules.pyi").read_text()
    assert written == stub()


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.name)
def test_every_module_can_be_made_trained_and_pickled(kind: Kind) -> None:
    torch.manual_seed(0)
    given: dict[str, Any] = {} if kind.operation == "Linear" else {"kernel_size": 3, "padding": 1}
    with ai8x.setting("MAX78002"):
        module = getattr(ai8x, kind.name)(4, 4, bias=True, **given)
    x = torch.rand(2, 4, *{"Linear": (), "Conv1d": (8,)}.get(kind.operation, (8, 8))) * 2 - 1
    y = module(x)
    y.square().sum().backward()
    assert module.op.weight.grad is not None
    assert float(y.detach().max()) <= 127 / 128
    again = pickle.loads(pickle.dumps(module))
    assert type(again) is type(module)
    assert list(again.state_dict()) == list(module.state_dict())


def test_the_setting_belongs_to_its_thread_and_its_block() -> None:
    seen = []
    with ai8x.setting("MAX78002", simulate=True):
        assert (ai8x.dev.device, ai8x.dev.WEIGHT_DEPTH, ai8x.dev.simulate) == (87, 5120, True)
        thread = threading.Thread(target=lambda: seen.append(ai8x.dev.device))
        thread.start()
        thread.join()
        with ai8x.setting("ai85"):
            assert ai8x.dev.device == 85
        assert ai8x.dev.device == 87
    assert seen == [85]
    assert not ai8x.dev.simulate
    with pytest.raises(AttributeError, match="no 'nothing'"):
        _ = ai8x.dev.nothing
    with pytest.raises(ValueError, match="no device"):
        ai8x.set_device("MAX123", False, False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ai8x.Conv2d(1, 1, kernel_size=5), "kernel_size is 5"),
        (lambda: ai8x.Conv2d(1, 1, kernel_size=3, padding=3), "padding is 3"),
        (lambda: ai8x.FusedConv2dReLU(1, 1, kernel_size=3, wide=True), "wide output"),
        (lambda: ai8x.FusedConv2dBN(1, 1, kernel_size=3, bias=False), "needs `bias=True`"),
        (lambda: ai8x.Linear(2000, 3), "at most 1024"),
        (lambda: ai8x.Conv2d(1, 1, (3, 1)), "and square"),
        (lambda: ai8x.Conv2d(1, 1, 3, stride=4), "stride is 4; it must be 1 or 2 or 3"),
        (lambda: ai8x.FusedMaxPoolConv2d(1, 1, 3, stride=2), "stride is 2; it must be 1 here"),
        (lambda: ai8x.Conv2d(1, 1, 3, dilation=2), "dilation is 2"),
        (lambda: ai8x.ConvTranspose2d(1, 1, 3, stride=1), "stride is 1; it must be 2 here"),
        (lambda: ai8x.Conv2d(1, 1, 3, op="Conv3d"), "op is 'Conv3d'"),
        (lambda: ai8x.Conv2d(1, 1, 3, pooling="Min"), "pooling is 'Min'"),
        (lambda: ai8x.Conv2d(1, 1, 3, batchnorm=True), "batchnorm is True"),
        (lambda: ai8x.Conv1d(1, 1, 3, stride=2), "stride is 2; it must be 1 here"),
        (lambda: ai8x.Conv1d(1, 1, 9, dilation=2), "dilation is 2, too large for kernel_size 9"),
        (lambda: ai8x.MaxPool2d(2, (1, 2)), "same for rows and columns"),
        (lambda: ai8x.MaxPool2d((2, 3)), "same for rows and columns"),
        (lambda: ai8x.MaxPool2d((2, 2, 2)), "pool_size is"),
        (lambda: ai8x.MaxPool1d((2, 2)), "pool_size is"),
        (lambda: ai8x.Conv2d(1, 1, 3, op="Linear"), "op is 'Linear'"),
        (lambda: ai8x.MaxPool2d(2, activation="ReLU"), "activation"),
        (lambda: ai8x.DepthwiseConv2d(4, 4, 3, groups=2), "says by its name groups"),
        (lambda: ai8x.AvgPool2d(2, pool_dilation=2), "pool_dilation"),
        (lambda: ai8x.Linear(4, 4, batchnorm="Affine"), "no batch normalization"),
        (lambda: ai8x.Conv2d(1, 1), "needs kernel_size"),
        (lambda: ai8x.Conv2d(1, 1, 3, in_channels=2), "given two in_channels"),
        (lambda: ai8x.FusedMaxPoolConv2d(1, 1, 3, pooling="Avg"), "says by its name pooling"),
        (
            lambda: ai8x.Conv2d(1, 1, 3, weight_bits=8, bias_bits=3, quantize_activation=True),
            "bias_bits is 3",
        ),
        (lambda: ai8x.Fire(1, 1, 1, 1, True, True), "may follow"),
        (lambda: ai8x.MaxPool2d(17), "must be 1 to 16"),
        (lambda: ai8x.DepthwiseConv2d(4, 4, kernel_size=3), "MAX78002"),
        (lambda: ai8x.Conv2d(1, 1, kernel_size=3, weight_bits=8), "together"),
        (lambda: ai8x.Conv2d(1, 1, kernel_size=3, colour=1), "takes no colour"),
    ],
)
def test_what_the_hardware_cannot_do_is_refused(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_a_padded_conv1d_of_many_channels_is_not_for_the_max78002() -> None:
    assert ai8x.Conv1d(65, 1, 3, padding=1).op.padding == (1,)
    with ai8x.setting("MAX78002"), pytest.raises(ValueError, match="more than 64 channels has none"):
        ai8x.Conv1d(65, 1, 3, padding=1)


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "names of a Linear": (
        lambda: ai8x.Linear(in_features=4, out_features=3),
        "Linear(in_features=4, out_features=3, bias=False)",
    ),
    "places of a Linear": (
        lambda: ai8x.Linear(4, 3, None, True),
        "Linear(in_features=4, out_features=3, bias=True)",
    ),
    "another operation": (
        lambda: ai8x.Conv2d(4, 3, 3, op="ConvTranspose2d", stride=2),
        "ConvTranspose2d(4, 3, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))",
    ),
    "places of a Conv2d": (
        lambda: ai8x.Conv2d(4, 3, 3, "Conv2d", "Max", 2, 2, 1, 1, 1),
        "Conv2d(4, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
    ),
    "places of a Conv1d": (
        lambda: ai8x.Conv1d(4, 3, 5, "Avg", 2, 2, 1, 1, 2),
        "Conv1d(4, 3, kernel_size=(5,), stride=(1,), padding=(2,))",
    ),
    "a pool": (lambda: ai8x.FusedMaxPoolConv2d(0, 0, None), "None"),
    "a wide pool": (lambda: ai8x.MaxPool2d(2, wide=True), "None"),
    "in software": (
        lambda: ai8x.SoftwareLinear(4, 3, True),
        "Linear(in_features=4, out_features=3, bias=True)",
    ),
}


@pytest.mark.parametrize(("call", "operation"), CALLS.values(), ids=CALLS)
def test_modules_are_called_as_the_vendors(call: Callable[[], Any], operation: str) -> None:
    assert str(call().op) == operation


def test_what_a_call_says_is_what_the_module_is() -> None:
    made = ai8x.Conv2d(4, 3, 3, pooling="Max", pool_size=3, activation="ReLU", batchnorm="NoAffine")
    assert (made.pooling, made.activation, made.pool.kernel_size, made.bn.affine) == ("Max", "ReLU", 3, False)
    assert made.kind.name == "FusedMaxPoolConv2dReLU"


def test_blocks_take_biases_by_their_place() -> None:
    with ai8x.setting("MAX78002"):
        assert ai8x.Fire(4, 4, 3, 1, False).expand1x1_layer.op.bias is None
        assert ai8x.ResidualBottleneck(4, 4, 2, 1, True).conv3.op.bias is not None
        assert ai8x.MBConvBlock(4, 4, 3, 1, True).project_conv.op.bias is not None


def test_modules_are_what_they_specialise() -> None:
    assert issubclass(ai8x.FusedMaxPoolConv2dBNReLU, ai8x.Conv2d)
    assert issubclass(ai8x.FusedConvTranspose2dReLU, ai8x.ConvTranspose2d)
    assert issubclass(ai8x.ConvTranspose2d, ai8x.Conv2d)
    assert issubclass(ai8x.MaxPool2d, ai8x.FusedMaxPoolConv2d)
    assert not issubclass(ai8x.Linear, ai8x.Conv2d)


def test_a_class_of_the_users_may_extend_a_pool() -> None:
    class Own(ai8x.MaxPool2d):
        pass

    assert Own(3, 1).pool.kernel_size == 3


def test_a_normalization_is_no_arithmetic_of_the_chip() -> None:
    with ai8x.setting("MAX78000", simulate=True):
        module = ai8x.FusedConv2dBNReLU(1, 1, 3)
    with pytest.raises(RuntimeError, match="fuse_bn_layers"):
        module(torch.zeros(1, 1, 8, 8))


FOLDED = {
    "FusedConv1dBN": (4, 6, 3),
    "FusedConv2dBN": (4, 6, 3),
    "FusedDepthwiseConv2dBN": (4, 8, 3),
    "FusedConvTranspose2dBN": (4, 6, 3),
    "FusedDepthwiseConvTranspose2dBN": (4, 8, 3),
}


@pytest.mark.parametrize(("name", "sizes"), FOLDED.items(), ids=FOLDED)
def test_a_folded_normalization_is_the_same_function(name: str, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    with ai8x.setting("MAX78002"):
        module = getattr(ai8x, name)(*sizes, bias=True)
    norm = module.bn
    for values in (norm.weight, norm.bias, norm.running_mean):
        values.data.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    x = torch.rand(2, 4, 9, 9)[..., : 9 if "2d" in name else 1].squeeze(-1) - 0.5
    with torch.no_grad():
        before = module.eval()(x)
        ai8x.fuse_bn_layers(module)
        assert module.bn is None
        assert torch.allclose(module(x), before, atol=1e-5)


def test_an_empty_batch_has_an_empty_output() -> None:
    with ai8x.setting("MAX78000", simulate=True):
        module = ai8x.Conv2d(1, 2, 3)
    assert module(torch.zeros(0, 1, 8, 8)).shape == (0, 2, 6, 6)


def test_software_divides_rounds_and_saturates_to_16_bits() -> None:
    with ai8x.setting("MAX78000", simulate=True):
        layer, rectified = ai8x.SoftwareLinear(1, 3), ai8x.FusedSoftwareLinearReLU(1, 3)
    for module in (layer, rectified):
        module.op.weight.data = torch.tensor([[1.0], [-1.0], [1e6]])
    x = torch.tensor([[64.0]])
    assert layer(x).tolist() == [[1.0, 0.0, 32767.0]]
    assert rectified(-x).tolist() == [[0.0, 1.0, 0.0]]


def test_biases_may_be_trained_at_another_width() -> None:
    given: dict[str, Any] = {"weight_bits": 8, "bias_bits": 4, "quantize_activation": True}
    module = ai8x.Conv2d(1, 1, 1, **given)
    assert (module.weight_bits.item(), module.bias_bits.item()) == (8, 4)


def test_elementwise_operations_saturate_once() -> None:
    with ai8x.setting("MAX78000", simulate=True):
        add, sub, xor, or_ = ai8x.Add(), ai8x.Sub(), ai8x.BitwiseXor(), ai8x.BitwiseOr()
    a, b, c = (torch.tensor([v]) for v in (100.0, 100.0, -100.0))
    assert add(a, b, c).tolist() == [100.0]
    assert sub(c, a).tolist() == [-128.0]
    values = torch.arange(-128.0, 128.0)
    left, right = torch.meshgrid(values, values, indexing="ij")
    assert torch.equal(xor(left, right), (left.int() ^ right.int()).float())
    assert torch.equal(or_(left, right), (left.int() | right.int()).float())


ALL_PAIRS = tuple(
    grid.reshape(1, -1).float() for grid in torch.meshgrid(*[torch.arange(-128, 128)] * 2, indexing="ij")
)


@pytest.mark.parametrize(
    ("name", "simulate", "wrong"),
    [("BitwiseXor", True, 65280), ("BitwiseXor", False, 65280), ("BitwiseOr", False, 39502)],
)
def test_the_vendors_bits_differ_where_they_were_measured_to(name: str, simulate: bool, wrong: int) -> None:
    """Over all pairs of operands. Source: `spec/TRAINING.md` 10."""
    unit = 1 if simulate else 128
    results = []
    for behaviour in ("chip", "vendor"):
        with ai8x.setting("MAX78000", simulate=simulate, behaviour=behaviour):  # type: ignore[arg-type]
            results.append(getattr(ai8x, name)()(*(operand / unit for operand in ALL_PAIRS)) * unit)
    assert int((results[0] != results[1]).sum()) == wrong


def test_the_vendors_or_is_right_in_evaluation() -> None:
    results = []
    for behaviour in ("chip", "vendor"):
        with ai8x.setting("MAX78000", simulate=True, behaviour=behaviour):  # type: ignore[arg-type]
            results.append(ai8x.BitwiseOr()(*ALL_PAIRS))
    a, b = (operand.int() for operand in ALL_PAIRS)
    assert torch.equal(results[0], (a | b).float())
    assert torch.equal(results[1], results[0])


@pytest.mark.parametrize(
    "name", ["FusedMaxPoolConv1dBNAbs", "FusedAvgPoolConv1dBNAbs", "FusedMaxPoolConv2dBNAbs"]
)
def test_the_vendors_missing_abs_is_missing(name: str) -> None:
    """Source: `spec/TRAINING.md` 2.5. The class for two dimensions has its activation."""
    is_1d = "1d" in name
    shape = (1, 2, 12) if is_1d else (1, 2, 12, 12)
    lowest = {}
    for behaviour in ("chip", "vendor"):
        with ai8x.setting("MAX78000", simulate=True, behaviour=behaviour):  # type: ignore[arg-type]
            module = getattr(ai8x, name)(2, 2, 3, weight_bits=8, bias_bits=8, quantize_activation=True)
            ai8x.fuse_bn_layers(module)
        module.op.weight.data = -torch.ones_like(module.op.weight)
        module.op.bias.data = torch.zeros_like(module.op.bias)
        with torch.no_grad():
            lowest[behaviour] = float(module(torch.full(shape, 100.0)).min())
    assert lowest["chip"] > 0
    assert (lowest["vendor"] < 0) == is_1d
