"""The strategies of `ai8xsim.testing`, and what they drive: parser, rules, resolver and both levels."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ai8xsim.nn as ai8x
from ai8xsim import Ai8xsimError, Machine, Severity, Simulator, check, data, render, resolve
from ai8xsim.network import parse_network
from ai8xsim.nn import setting
from ai8xsim.testing import (
    DrawnLayer,
    DrawnNetwork,
    check_fold,
    check_module,
    check_normalize,
    images,
    int8_arrays,
    layers,
    networks,
    reference_output,
    weights,
)


@settings(max_examples=150, deadline=None)
@given(networks(), st.data())
def test_a_drawn_network_is_sound_and_both_levels_agree(network: DrawnNetwork, data: st.DataObject) -> None:
    sample = data.draw(int8_arrays(network.input_shape))
    findings = check(network.description(), network.device, network.checkpoint(), sample)
    faults = [render(d) for d in findings if d.severity is not Severity.NOTE]
    assert not faults, f"{network.text}\n" + "\n".join(faults)
    assert not findings.not_run
    program = network.program()
    trace = Machine(program).run(sample)
    assert trace.misreads == ((),)
    assert Simulator(program).run(sample).first_difference(trace) is None


def test_the_grammar_reaches_every_kind_of_layer() -> None:
    met: set[str] = set()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(networks())
    def look(network: DrawnNetwork) -> None:
        program = network.program()
        for layer in program.layers:
            met.add(layer.operator.value)
            met.update({"pool"} if layer.pooling else set())
            met.update({"eltwise"} if layer.elementwise else set())
            met.update({"concatenation"} if len(layer.inputs) > 1 and not layer.elementwise else set())
            met.update({"passes"} if layer.operand_shape.channels > 64 else set())
            met.update({"wide"} if layer.output_stage.bits == 32 else set())
            if layer.convolution:
                met.update({"depthwise"} if layer.convolution.geometry.groups > 1 else set())
                met.add(f"{layer.convolution.weights.bits} bits")

    look()
    assert met == {
        "conv1d", "conv2d", "convtranspose2d", "linear", "passthrough", "pool", "eltwise", "concatenation",
        "passes", "wide", "depthwise", "1 bits", "2 bits", "4 bits", "8 bits",
    }  # fmt: skip


SPOILERS = (
    lambda line, r: line.replace("0x", "0x1", 1),
    lambda line, r: line + "0",
    lambda line, r: line[: r.randrange(len(line) + 1)],
    lambda line, r: line.replace(": ", f": {r.randrange(-2, 70)} #"),
    lambda line, r: "",
    lambda line, r: line.replace("layer_0", "layer_1"),
    lambda line, r: line + "\n" + line,
    lambda line, r: line.replace("conv2d", r.choice(["conv1d", "linear", "passthrough", "add"])),
    lambda line, r: line.replace("true", "false").replace("None", "ReLU"),
    lambda line, r: line.replace(
        "pad", r.choice(["stride", "dilation", "groups", "read_gap", "in_dim", "in_crop"])
    ),
)


@settings(max_examples=300, deadline=None)
@given(networks(most_blocks=3), st.integers(0, 1 << 30), st.integers(1, 4))
def test_a_spoiled_network_draws_diagnostics_or_runs(network: DrawnNetwork, seed: int, faults: int) -> None:
    """Never a traceback, never a silent wrong output: parser, rules, resolver and both levels."""
    choose = random.Random(seed)
    checkpoint = network.checkpoint()
    lines = network.text.split("\n")
    for _ in range(faults):
        place = choose.randrange(3, len(lines))
        lines[place] = choose.choice(SPOILERS)(lines[place], choose)
    reading = parse_network("\n".join(lines))
    assert reading.network or any(d.severity is Severity.ERROR for d in reading.diagnostics)
    if reading.network is None:
        return
    sample = np.random.default_rng(seed).integers(-128, 128, network.input_shape)
    check(reading.network, network.device)
    check(reading.network, network.device, checkpoint)
    findings = check(reading.network, network.device, checkpoint, sample)
    try:
        program = resolve(reading.network, checkpoint, network.device, network.input_shape)
        trace = Machine(program).run(sample)
    except Ai8xsimError as fault:
        assert findings.has_errors, [d.sentence() for d in fault.diagnostics]
        return
    difference = Simulator(program).run(sample).first_difference(trace)
    assert difference is None or trace.misreads[0]
    assert difference is None or any(d.severity is not Severity.NOTE for d in findings)


@settings(max_examples=300, deadline=None)
@given(layers())
def test_drawn_modules_compute_what_the_slow_reference_does(layer: DrawnLayer) -> None:
    assert np.array_equal(layer.output(), layer.expected())


@given(st.sampled_from([1, 2, 4, 8]).flatmap(lambda bits: st.tuples(st.just(bits), weights((3, 4), bits))))
def test_weights_keep_to_their_width(drawn: tuple[int, Any]) -> None:
    bits, values = drawn
    assert values.min() >= -(1 << bits - 1)
    assert values.max() <= (1 << bits - 1) - 1


@given(images(channels=1, multiple_of=4))
def test_images_are_pixels_and_can_be_folded(image: Any) -> None:
    assert image.dtype == np.uint8
    assert image.shape[1] % 4 == image.shape[2] % 4 == 0


def test_edges_are_met_in_every_width() -> None:
    met: dict[int, set[int]] = {1: set(), 8: set()}

    @settings(max_examples=100, database=None, derandomize=True)
    @given(weights((4,), 1), weights((4,), 8))
    def look(narrow: Any, full: Any) -> None:
        met[1].update(narrow.tolist())
        met[8].update(full.tolist())

    look()
    assert met[1] == {-1, 0}
    assert {-128, -127, -1, 0, 1, 126, 127} <= met[8]


@pytest.mark.parametrize(
    ("normalize", "reason"),
    [
        (lambda pixels: pixels / 255, "the range is not used"),
        (lambda pixels: pixels.astype(int) - 127, "the range is not used"),
        (lambda pixels: np.where(pixels == 9, -128, pixels.astype(int) - 128), "becomes less than"),
        (
            lambda pixels: pixels.astype(float) * (255 / 255) - 128 + (pixels == 77) * 0.5,
            "between the chip's integers",
        ),
        (lambda pixels: np.where(pixels < 128, -128, 127), "steps apart"),
        (lambda pixels: np.sort((pixels.astype(int) - 128).reshape(-1)).reshape(pixels.shape), "beside it"),
    ],
)
def test_a_wrong_normalize_is_found(normalize: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_normalize(normalize)


def test_right_normalizes_pass_in_both_modes() -> None:
    check_normalize(lambda pixels: pixels.astype(int) - 128)  # as firmware does
    check_normalize(lambda pixels: (pixels.astype(int) - 128) / 128, act_mode_8bit=False)
    check_normalize(lambda pixels: data.normalize(pixels, act_mode_8bit=False), act_mode_8bit=False)


@pytest.mark.parametrize(
    ("fold", "unfold", "reason"),
    [
        (lambda x: x, None, "the shape is"),
        (
            lambda x: np.concatenate([x[:, i::2, j::2] for j in range(2) for i in range(2)]),
            None,
            "does not hold",
        ),
        (lambda x: data.fold(x, 2), lambda y: data.unfold(y, 2)[:, ::-1], "does not give the image back"),
    ],
)
def test_a_wrong_fold_is_found(fold: Any, unfold: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_fold(fold, unfold)


def test_modules_are_held_to_the_reference_or_to_any_other() -> None:
    torch = pytest.importorskip("torch")
    with setting("MAX78000", simulate=True):
        layer = ai8x.FusedAvgPoolConv2dReLU(2, 3, 3, weight_bits=8, bias_bits=8, quantize_activation=True)
    layer.op.weight.data = torch.arange(-27.0, 27).reshape(3, 2, 3, 3)
    layer.op.bias.data = torch.tensor([0.0, 128.0, -1280.0])
    check_module(layer, (2, 8, 8))
    check_module(layer, (2, 8, 8), lambda x: reference_output(layer, x))
    with pytest.raises(AssertionError, match="differ"):
        check_module(
            torch.nn.Sequential(layer, torch.nn.Hardtanh(-5, 5)),
            (2, 8, 8),
            lambda x: reference_output(layer, x),
        )
    with pytest.raises(AssertionError, match="fractions"):
        check_module(torch.nn.AvgPool2d(2), (2, 8, 8), lambda x: x)
