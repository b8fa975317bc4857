"""Planted faults: each is found at the layer where it lies, with the cause that it is."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ai8xsim.nn as ai8x
from ai8xsim import (
    MAX78000,
    CheckpointError,
    Options,
    Simulator,
    Trace,
    load_trace,
    read_checkpoint,
    read_network,
    resolve,
)
from ai8xsim.compare import compare, measure, torch_trace
from ai8xsim.compare.causes import diagnose
from ai8xsim.compare.measures import Observed, observed
from ai8xsim.compare.model import Factory, match, observe, trained_model
from ai8xsim.compare.operators import Arithmetic, Run, computed
from tests.command_line import Shown, ai8xsim

NETWORK = """
arch: tiny
dataset: planted
layers:
  - {name: conv1, op: conv2d, kernel_size: 3x3, pad: 1, activate: ReLU, processors: 0xf, out_offset: 0x2000}
  - {name: conv2, op: conv2d, avg_pool: 2, pool_stride: 2, kernel_size: 3x3, pad: 1, activate: ReLU,
     processors: 0xff, out_offset: 0}
  - {name: conv3, op: conv2d, kernel_size: 1x1, pad: 0, processors: 0xff, out_offset: 0x2000}
  - {name: fc, op: linear, flatten: true, processors: 0x3f, out_offset: 0, output_width: 32}
"""
MODEL = """
import ai8x
import torch


class Tiny(torch.nn.Module):
    def __init__(self, num_classes, num_channels, dimensions, bias, **given):
        super().__init__()
        self.conv1 = ai8x.FusedConv2dReLU(num_channels, 8, 3, padding=1, bias=bias, **given)
        self.conv2 = ai8x.FusedAvgPoolConv2dReLU(8, 8, 3, padding=1, bias=bias, **given)
        self.conv3 = ai8x.Conv2d(8, 6, 1, bias=bias, **given)
        self.fc = ai8x.Linear(6 * 9, num_classes, bias=bias, wide=True, **given)

    def forward(self, x):
        return self.fc(self.conv3(self.conv2(self.conv1(x))).flatten(1))


def tiny(pretrained=False, **given):
    return Tiny(**given)
"""
SHAPES = {"conv1": (8, 4, 3, 3), "conv2": (8, 8, 3, 3), "conv3": (6, 8, 1, 1), "fc": (5, 54)}
State = dict[str, torch.Tensor]


def state(seed: int = 1) -> State:
    generator = torch.Generator().manual_seed(seed)
    made: State = {}
    for name, shape in SHAPES.items():
        made[f"{name}.output_shift"] = torch.tensor([-2.0 if name != "fc" else 0.0])
        made[f"{name}.weight_bits"] = made[f"{name}.bias_bits"] = torch.tensor([8])
        made[f"{name}.quantize_activation"] = made[f"{name}.shift_quantile"] = torch.tensor([1.0])
        made[f"{name}.adjust_output_shift"] = torch.tensor([0.0])
        made[f"{name}.op.weight"] = torch.randint(-128, 128, shape, generator=generator).float()
        made[f"{name}.op.bias"] = 128 * torch.randint(-100, 100, shape[:1], generator=generator).float()
    return made


class Project:
    """The files of a user."""

    def __init__(self, folder: Path, network: str = NETWORK, model: str = MODEL) -> None:
        self.network, self.checkpoint = folder / "network.yaml", folder / "checkpoint.pth.tar"
        self.model, self.sample = folder / "model.py", folder / "sample.npy"
        self.network.write_text(network)
        self.model.write_text(model)
        self.save(state())
        self.values = np.random.default_rng(5).integers(-128, 128, (4, 6, 6))
        np.save(self.sample, self.values)

    def save(self, tensors: Mapping[str, Any], name: str = "checkpoint.pth.tar") -> Path:
        path = self.checkpoint.parent / name
        torch.save({"arch": "tiny", "epoch": 1, "state_dict": tensors, "extras": {}}, path)
        return path

    def program(self, checkpoint: Path | None = None) -> Any:
        stored = read_checkpoint(checkpoint or self.checkpoint)
        return resolve(read_network(self.network), stored, MAX78000, self.values.shape)

    def trace(self, checkpoint: Path | None = None) -> Trace:
        return Simulator(self.program(checkpoint)).run(self.values)

    def causes(self, theirs: Trace) -> list[str]:
        """Where and why, as `code:layer`."""
        stored = read_checkpoint(self.checkpoint)
        found = diagnose(self.program(), self.values, observed(theirs), stored)
        return [f"{d.code}:{d.message.split('`')[1]}" for d in found]

    def model_causes(self, behaviour: Any = "chip") -> list[str]:
        stored, program = read_checkpoint(self.checkpoint), self.program()
        with ai8x.setting("MAX78000", simulate=True, behaviour=behaviour):
            model, _ = trained_model(Factory(f"{self.model}:tiny"), program, stored)
            matched = match(program, observe(model, program, self.values))
        assert matched.unmatched == ()
        found = diagnose(program, self.values, matched.layers, stored)
        return [f"{d.code}:{d.message.split('`')[1]}" for d in found]

    def run(self, *arguments: str) -> Shown:
        files = ("--checkpoint", self.checkpoint, "--sample", self.sample)
        return ai8xsim("compare", self.network, *files, *arguments)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_model_that_agrees_has_no_cause(project: Project) -> None:
    assert project.model_causes() == []
    assert project.causes(torch_trace(project.program(), project.values)) == []


RESIDUAL = """
arch: tiny
dataset: planted
layers:
  - {name: conv1, op: conv2d, kernel_size: 3x3, pad: 1, activate: ReLU, processors: 0xf, output_processors: 0xff,
     out_offset: 0x2000}
  - {name: conv2, op: conv2d, kernel_size: 3x3, pad: 1, processors: 0xff, output_processors: 0xff, out_offset: 0x4000,
     write_gap: 1}
  - {name: copy, op: passthrough, in_sequences: conv1, processors: 0xff, in_offset: 0x2000, out_offset: 0x4004,
     write_gap: 1}
  - {name: sum, op: none, eltwise: add, operands: 2, in_sequences: [copy, conv2], processors: 0xff, in_offset: 0x4000,
     out_offset: 0}
  - {name: pool, op: passthrough, avg_pool: 2, pool_stride: 2, processors: 0xff, out_offset: 0x2000}
"""
RESIDUAL_MODEL = """
import ai8x
import torch


class Body(torch.nn.Module):
    def __init__(self, num_channels, **given):
        super().__init__()
        self.conv1 = ai8x.FusedConv2dReLU(num_channels, 8, 3, padding=1, **given)
        self.conv2 = ai8x.Conv2d(8, 8, 3, padding=1, **given)
        self.add = ai8x.Add()
        self.pool = ai8x.AvgPool2d(2)

    def forward(self, x):
        x = self.conv1(x)
        return self.pool(self.add(x, self.conv2(x)))


class Tiny(torch.nn.Module):
    def __init__(self, num_classes, num_channels, dimensions, **given):
        super().__init__()
        self.body = Body(num_channels, **given)

    def forward(self, x):
        return self.body(x)


def tiny(pretrained=False, **given):
    return Tiny(**given)
"""


def test_a_residual_model_agrees_and_its_copy_is_no_layer(tmp_path: Path) -> None:
    project = Project(tmp_path, RESIDUAL, RESIDUAL_MODEL)
    layers = {name: value for name, value in state().items() if name.startswith(("conv1", "conv2"))}
    project.save({f"body.{name}": value for name, value in layers.items()})
    shown = project.run("--model", f"{project.model}:tiny")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "not compared: layer 2 (`copy`), they have no such layer" in shown.stdout
    assert project.model_causes() == []
    project.model.write_text(RESIDUAL_MODEL.replace("ai8x.Add()", "ai8x.Sub()"))
    assert project.model_causes() == ["elementwise-differs:sum"]


RIGHT = RESIDUAL.replace("eltwise: add,", "eltwise: add, pool_first: false, max_pool: 2, pool_stride: 2,") + (
    "  - {name: last, op: conv2d, kernel_size: 1x1, pad: 0, processors: 0xff, out_offset: 0, output_width: 32}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "cause", "mend"),
    [
        ("eltwise: add", "eltwise: sub", "elementwise-differs:sum", "write `eltwise: add`"),
        ("eltwise: add", "eltwise: xor", "elementwise-differs:sum", "write `eltwise: add`"),
        ("max_pool: 2", "avg_pool: 2", "pooling-differs:sum", "write `max_pool` in the place of `avg_pool`"),
        ("avg_pool: 2", "max_pool: 2", "pooling-differs:pool", "write `avg_pool` in the place of `max_pool`"),
        ("pool_first: false", "pool_first: true", "elementwise-differs:sum", "write `pool_first: false`"),
        (", output_width: 32", "", "output-width-differs:last", "write `output_width: 32`"),
    ],
    ids=["sub", "xor", "average", "maximum", "pool-first", "width"],
)
def test_another_operation_is_named_both_ways(
    tmp_path: Path, old: str, new: str, cause: str, mend: str
) -> None:
    assert old in RIGHT
    layers = {name: value for name, value in state().items() if name.startswith(("conv1", "conv2"))}
    layers |= {f"last{name[5:]}": value for name, value in state(2).items() if name.startswith("conv2")}
    layers["last.op.weight"] = layers["last.op.weight"][:, :, :1, :1]
    traces = []
    for network in (RIGHT, RIGHT.replace(old, new)):
        project = Project(tmp_path, network)
        project.save(layers)
        traces.append(project.trace())
    stored = read_checkpoint(project.checkpoint)
    (found,) = diagnose(project.program(), project.values, observed(traces[0]), stored)
    assert (f"{found.code}:{found.message.split('`')[1]}", found.help[: len(mend)]) == (cause, mend)
    project.network.write_text(RIGHT)
    assert project.causes(traces[1]) == [cause]


def test_operands_that_are_pooled_first_end_with_the_addition(tmp_path: Path) -> None:
    network = RESIDUAL.partition("  - {name: pool")[0].replace(
        "op: none, eltwise: add", "op: none, max_pool: 2, pool_stride: 2, eltwise: add"
    )
    model = RESIDUAL_MODEL.replace("AvgPool2d", "MaxPool2d").replace(
        "self.pool(self.add(x, self.conv2(x)))", "self.add(self.pool(x), self.pool(self.conv2(x)))"
    )
    project = Project(tmp_path, network, model)
    layers = {name: value for name, value in state().items() if name.startswith(("conv1", "conv2"))}
    project.save({f"body.{name}": value for name, value in layers.items()})
    shown = project.run("--model", f"{project.model}:tiny")
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_additions_in_a_block_are_seen() -> None:
    with ai8x.setting("MAX78002", simulate=True):
        block = ai8x.MBConvBlock(4, 4, 3, 1, True, expand_ratio=2)
    ai8x.fuse_bn_layers(block)
    seen: list[str] = []
    block.resid.register_forward_hook(lambda *_: seen.append("resid"))
    with torch.no_grad():
        block(torch.zeros(1, 4, 8, 8))
    assert seen == ["resid"]


FAILING = {
    "return Tiny(**given)": ("raise KeyError('weights')", "the factory `tiny` failed", "KeyError: 'weights'"),
    "def tiny(pretrained=False, **given)": (
        "def tiny(num_classes)",
        "the factory `tiny` failed",
        "a factory is called as",
    ),
    "    return Tiny(**given)": (
        "    return None",
        "`tiny` makes a NoneType, no model",
        "the module that is the network",
    ),
    "return self.fc(self": ("return torch.cat(x, x) + self.fc(self", "the model failed", "torch.cat(x, x)"),
    "ai8x.Conv2d(8": ("ai8x.Conv2D(8", "the factory `tiny` failed", "did you mean `Conv2d`?"),
    "return self.fc(": ("return 1 // 0 + self.fc(", "the model failed", "ZeroDivisionError"),
    "import torch\n": ("import torch\nimport nowhere\n", "cannot be imported", "No module named 'nowhere'"),
    "super().__init__()": (
        "super().__init__(); raise SystemExit(3)",
        "the factory `tiny` failed",
        "it ended the program",
    ),
}


@pytest.mark.parametrize(("part", "instead"), FAILING.items(), ids=[text.strip() for text in FAILING])
def test_what_a_model_raises_is_said_with_its_line(
    project: Project, part: str, instead: tuple[str, ...]
) -> None:
    text, message, reason = instead
    assert part in MODEL
    project.model.write_text(MODEL.replace(part, text))
    shown = project.run("--model", f"{project.model}:tiny")
    assert shown.returncode == 1, shown.stderr
    assert message in shown.stderr
    assert reason in shown.stderr
    assert ("error[model-failed]" in shown.stderr) != ("error[not-importable]" in shown.stderr)
    assert "Traceback" not in shown.stderr


def test_a_failing_part_of_a_sequence_is_found(project: Project) -> None:
    project.model.write_text(
        MODEL.replace("return self.fc(", "return 1 // 0 + self.fc(").replace(
            "return Tiny(**given)", "return torch.nn.Sequential(Tiny(**given))"
        )
    )
    project.save({f"0.{name}": value for name, value in state().items()})
    shown = project.run("--model", f"{project.model}:tiny")
    assert "model.py:15:" in shown.stderr, shown.stderr


def test_a_factory_may_import_late(project: Project) -> None:
    late = MODEL.replace("import ai8x\n", "").replace("super().__init__()", "import ai8x; super().__init__()")
    late = late.replace("class Tiny", "ai8x = None\n\n\nclass Tiny")
    project.model.write_text(late)
    assert project.model_causes() == []


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrapper", ["torch.nn.DataParallel", "torch.compile"])
def test_a_wrapped_model_is_the_model(project: Project, wrapper: str) -> None:
    project.model.write_text(MODEL.replace("return Tiny(**given)", f"return {wrapper}(Tiny(**given))"))
    if wrapper == "torch.compile":
        with ai8x.setting("MAX78000", simulate=True):
            model = ai8x.load_model(f"{project.model}:tiny", 5, 4, (6, 6), bias=True)
        loaded = ai8x.load_checkpoint(model, project.checkpoint)
        assert not loaded.diagnostics
    else:
        assert project.model_causes() == []


def test_a_weight_of_another_shape_is_refused(project: Project) -> None:
    with ai8x.setting("MAX78000", simulate=True):
        model = ai8x.load_model(f"{project.model}:tiny", 5, 4, (6, 6), bias=True)
    turned = state()
    turned["conv3.op.weight"] = turned["conv3.op.weight"].transpose(0, 1)
    with pytest.raises(CheckpointError, match="other sizes"):
        ai8x.load_checkpoint(model, project.save(turned, "turned.pth.tar"))


def test_json_has_no_nan(project: Project) -> None:
    project.model.write_text(MODEL.replace("return self.fc(", "return float('nan') * self.fc("))
    shown = project.run("--model", f"{project.model}:tiny", "--json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    last = json.loads(shown.stdout, parse_constant=refuse)["layers"][-1]
    assert last["index"] == 3


def flip_a_bit(tensors: State) -> None:
    weight = tensors["conv2.op.weight"]
    weight[3, 2, 1, 1] = float(int(weight[3, 2, 1, 1]) ^ 0x40)


def shift_more(tensors: State) -> None:
    tensors["conv2.output_shift"] -= 1


@pytest.mark.parametrize(
    ("plant", "cause"),
    [(flip_a_bit, "weights-differ:conv2"), (shift_more, "output-shift-differs:conv2")],
    ids=["weight-bit", "shift"],
)
def test_another_checkpoint_is_found_at_its_layer(
    project: Project, plant: Callable[[State], None], cause: str
) -> None:
    tensors = state()
    plant(tensors)
    assert project.causes(project.trace(project.save(tensors, "other.pth.tar"))) == [cause]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("FusedConv2dReLU(", "Conv2d(", "activation-differs:conv1"),
        ("ai8x.Conv2d(8, 6", "ai8x.FusedConv2dReLU(8, 6", "activation-differs:conv3"),
        ("ai8x.Conv2d(8, 6", "ai8x.FusedConv2dAbs(8, 6", "activation-differs:conv3"),
        ("self.conv1(x)", "self.conv1(x.transpose(2, 3))", "sample-differs:conv1"),
        ("self.conv1(x)", "self.conv1(x + 128)", "sample-differs:conv1"),
        ("self.conv1(x)", "self.conv1(x[:, [0, 2, 1, 3]])", "sample-differs:conv1"),
        ("self.conv1(x)", "self.conv1(x / 128)", "sample-differs:conv1"),
    ],
    ids=["no-relu", "relu-added", "abs-added", "transposed", "not-normalized", "fold", "scaled"],
)
def test_another_model_is_found_at_its_layer(tmp_path: Path, old: str, new: str, cause: str) -> None:
    assert old in MODEL
    assert Project(tmp_path, model=MODEL.replace(old, new)).model_causes() == [cause]


def test_a_pool_of_pytorchs_own_keeps_fractions(tmp_path: Path) -> None:
    plain = MODEL.replace("ai8x.FusedAvgPoolConv2dReLU(", "ai8x.FusedConv2dReLU(").replace(
        "self.conv2(self.conv1(x))", "self.conv2(torch.nn.functional.avg_pool2d(self.conv1(x), 2))"
    )
    assert Project(tmp_path, model=plain).model_causes() == ["plain-pooling:conv2"]


def test_averages_that_are_rounded_half_to_even_are_the_vendors(project: Project) -> None:
    """The chip of this program truncates; the same program that rounds differs from half to even alone."""
    rounding = resolve(
        read_network(project.network), read_checkpoint(project.checkpoint), MAX78000, project.values.shape,
        Options(avg_pool_rounding=True),
    )  # fmt: skip
    assert project.causes(Simulator(rounding).run(project.values)) == ["average-rounding:conv2"]
    with ai8x.setting("MAX78000", simulate=True, round_avg=True, behaviour="vendor"):
        stored = read_checkpoint(project.checkpoint)
        model, _ = trained_model(Factory(f"{project.model}:tiny"), rounding, stored)
        matched = match(rounding, observe(model, rounding, project.values))
    (found,) = diagnose(rounding, project.values, matched.layers, stored)
    assert (found.code, "half to even" in found.message) == ("average-rounding", True)


def test_biases_with_low_bits_are_the_vendors_alone(project: Project) -> None:
    tensors = state()
    tensors["conv3.op.bias"] += 65
    project.save(tensors)
    assert project.model_causes() == []
    assert project.model_causes("vendor") == ["exact-bias:conv3"]


def test_an_unfused_batch_normalization_is_named(project: Project) -> None:
    tensors = state() | {f"conv1.bn.{part}": torch.ones(8) for part in ("running_mean", "running_var")}
    project.save(tensors)
    shown = project.run("--model", f"{project.model}:tiny")
    assert shown.returncode == 1
    assert "unfused-batchnorm" in shown.stderr


def test_a_scaled_wide_output_and_an_unknown_fault(project: Project) -> None:
    ours = project.trace()
    theirs = observed(ours)
    last = theirs[3]
    scaled = {**theirs, 3: Observed(last.name, last.values / 4)}
    (found,) = diagnose(project.program(), project.values, scaled)
    assert found.code == "wide-output-scaled"
    strange = {**theirs, 1: Observed("conv2", theirs[1].values[:, :, ::-1])}
    codes = [d.code for d in diagnose(project.program(), project.values, strange)]
    assert codes == ["unexplained-difference"] * 2  # the layer behind it did not read that


@pytest.mark.parametrize("rounding", [torch.round, torch.floor, torch.trunc], ids=["even", "down", "zero"])
def test_another_rounding_of_the_output_is_named(project: Project, rounding: Any) -> None:
    tensors = state()
    tensors["conv2.op.weight"] = tensors["conv2.op.weight"].sign() * 64  # so that ties are common
    project.save(tensors)
    program = project.program()
    theirs = observed(project.trace())
    run = Run(program, torch.from_numpy(project.values[None]).double())
    run.layer(program.layers[0])
    conv2 = program.layers[1]
    values = computed(conv2, run.inputs(conv2), Arithmetic(requantize=rounding)).numpy()
    other = {0: theirs[0], 1: Observed("conv2", values)}
    assert [d.code for d in diagnose(program, project.values, other)] == ["output-rounding"]


def test_layers_that_only_pass_on_a_difference_are_not_blamed(project: Project) -> None:
    tensors = state()
    flip_a_bit(tensors)
    theirs = project.trace(project.save(tensors, "other.pth.tar"))
    comparison = compare(project.trace(), observed(theirs))
    assert [layer.is_equal for layer in comparison.layers] == [True, False, False, False]
    assert not comparison.is_equal


def test_measures_are_what_they_are_called() -> None:
    found = measure(np.array([[3, 4], [0, 0]]), np.array([[3, 2], [0, 0]]))
    assert (found.different, found.first, found.ours, found.theirs) == (1, (0, 1), 4, 2.0)
    assert (found.largest, found.mean) == (2, 0.5)
    assert found.sqnr_db == pytest.approx(10 * np.log10(25 / 4))
    assert found.cosine == pytest.approx(17 / (5 * 13**0.5))
    zeros = measure(np.zeros(3), np.zeros(3))
    assert (zeros.sqnr_db, zeros.cosine, zeros.first) == (float("inf"), 1.0, None)


def test_the_command_compares_with_a_model_a_trace_an_output_and_plain_operators(
    project: Project, tmp_path: Path
) -> None:
    trace = project.trace()
    trace.save(tmp_path / "trace.npz")
    np.save(tmp_path / "output.npy", trace.output.astype(np.float32))
    for arguments in (
        (),
        ("--model", f"{project.model}:tiny"),
        ("--against", str(tmp_path / "trace.npz")),
        ("--against", str(tmp_path / "output.npy")),
    ):
        shown = project.run(*arguments)
        assert (shown.returncode, shown.stderr) == (0, ""), arguments
        assert "every value of every compared layer is equal" in shown.stdout
    assert load_trace(tmp_path / "trace.npz").first_difference(trace) is None


def test_a_trace_with_a_layer_more_is_paired_by_names(project: Project, tmp_path: Path) -> None:
    ours = project.trace()
    first, *rest = ours.layers
    copy = replace(first, index=1, name="copy")
    more = Trace((first, copy, *(replace(layer, index=layer.index + 1) for layer in rest)), (4,))
    more.save(tmp_path / "more.npz")
    shown = project.run("--against", str(tmp_path / "more.npz"))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "theirs alone, or part of other layers of ours: copy" in shown.stdout


def test_a_trace_of_more_samples_is_called_that(project: Project, tmp_path: Path) -> None:
    project.trace().repeated(2).save(tmp_path / "two.npz")
    shown = project.run("--against", str(tmp_path / "two.npz"))
    assert shown.returncode == 1
    assert "layer 0 (`conv1`), they have 2 samples, ours 1" in shown.stdout


def test_the_command_says_where_and_why_in_json_too(tmp_path: Path) -> None:
    project = Project(tmp_path, model=MODEL.replace("FusedConv2dReLU(", "Conv2d("))
    shown = project.run("--model", f"{project.model}:tiny")
    assert shown.returncode == 1
    assert "error[activation-differs]: layer 0 (`conv1`)" in shown.stderr
    assert "sqnr_db: " in shown.stdout
    shown = project.run("--model", f"{project.model}:tiny", "--json")
    record = json.loads(shown.stdout)
    assert (shown.returncode, record["schema_version"], record["equal"]) == (1, 1, False)
    assert [layer["equal"] for layer in record["layers"]] == [False] * 4
    assert [d["code"] for d in record["diagnostics"]] == ["activation-differs"]
    assert record["layers"][0]["measures"]["different"] > 0


def test_wrong_usage_is_said_without_a_traceback(project: Project, tmp_path: Path) -> None:
    for arguments, code, text in (
        (("--model", "nothing"), 2, "FILE:NAME"),
        (("--model", f"{project.model}:tiny", "--against", "x.npz"), 2, "one of"),
        (("--model", f"{project.model}:tiny", "--model-argument", "x"), 2, "NAME=VALUE"),
        (("--model", f"{project.model}:nobody"), 1, "nobody"),
        (("--model", str(tmp_path / "absent.py") + ":tiny"), 2, "absent.py"),
        (("--against", str(tmp_path / "absent.npz")), 2, "absent.npz"),
    ):
        shown = project.run(*arguments)
        assert shown.returncode == code, shown.stderr
        assert text in shown.stderr
        assert "Traceback" not in shown.stderr
