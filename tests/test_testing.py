"""The strategies of `ai8xsim.testing`, and what they drive: parser, rules, resolver and both levels."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Ai8xsimError, Machine, Severity, Simulator, check, render, resolve
from ai8xsim.network import parse_network
from ai8xsim.testing import DrawnNetwork, int8_arrays, networks


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
