"""Drawn networks through three roads that share nothing but the program: simulator, slow machine, PyTorch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from ai8xsim import Ai8xsimError, Simulator, Trace
from ai8xsim.compare import torch_trace
from ai8xsim.engine import blocks, portable
from ai8xsim.kernels import conv, eltwise, pool, requantize
from ai8xsim.program import Layer, Program, flow, path
from ai8xsim.program import layer as program_layer
from ai8xsim.program import weights as program_weights
from ai8xsim.program.operations import Activation, Join, PoolKind, Source

from .expectations import contradictions
from .networks_drawn import DrawnNetwork, networks
from .slow_machine import slow_trace
from .small_programs import WINDOW, program_of, random_int8

FEW, FEW_SESSIONS = 700, 150
A_ROUND, ROUNDS, MOST_ROUNDS, OFTEN = 100, 6, 15, 3
DRAWN = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """For data this small, threads that wait for each other cost more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def departure(fast: Trace, slow: Trace) -> str | None:
    """Where the simulator's trace is not the slow machine's: values, digests, saturation counts; or None."""
    difference = fast.first_difference(slow)
    if difference is not None:
        return str(difference)
    for ours, theirs in zip(fast, slow, strict=True):
        if (ours.index, ours.name, ours.operator) != (theirs.index, theirs.name, theirs.operator):
            return f"{ours.title} is called {theirs.title}"
        if ours.digests != theirs.digests:
            return f"{ours.title}: the digests are not those of the values"
        if ours.saturated != theirs.saturated:
            return f"{ours.title}: {ours.saturated} saturated values, not {theirs.saturated}"
    return None


def check(network: DrawnNetwork) -> None:
    """The simulator, the slow machine and PyTorch agree, and the program says what was drawn."""
    assert contradictions(network.program, network.expected) == []
    fast = Simulator(network.program).run(network.samples)
    assert departure(fast, slow_trace(network.program, network.samples)) is None
    assert fast.first_difference(torch_trace(network.program, network.samples)) is None
    assert tuple(fast.outputs) == network.outputs
    check_outputs(network, fast)


def check_outputs(network: DrawnNetwork, everything: Trace, target: str | None = None) -> None:
    """Where only outputs are kept, and other kernels make them, they are those of the whole trace."""
    kept = Simulator(network.program, target=target).run(network.samples, keep="outputs")
    assert [layer.index for layer in kept] == list(everything.outputs)
    for layer in kept:
        wanted = everything.outputs[layer.index]
        assert np.array_equal(layer.output, wanted), layer.title
        assert layer.output.dtype == wanted.dtype


def check_session(network: DrawnNetwork, target: str | None = None) -> None:
    """A session over the samples, one by one and then all at once, is the slow machine going on."""
    session = Simulator(network.program, target=target).session()
    singles = [session.run(sample) for sample in network.samples]
    together = session.run(network.samples)
    samples = [*network.samples, *network.samples]
    slow = slow_trace(network.program, samples, keeps_buffers=True)
    for place, layer in enumerate(slow):
        fast = [*(single.layers[place].digest for single in singles), *together.layers[place].digests]
        assert fast == list(layer.digests), layer.title


@given(networks())
@settings(DRAWN, max_examples=FEW)
def test_three_roads_agree(network: DrawnNetwork) -> None:
    check(network)


@pytest.mark.deep
@given(networks())
@settings(DRAWN, max_examples=10 * FEW)
def test_three_roads_agree_on_ten_times_as_many(network: DrawnNetwork) -> None:
    check(network)


@given(networks(with_window=True))
@settings(DRAWN, max_examples=FEW_SESSIONS)
def test_a_session_goes_on_where_the_run_before_it_ended(network: DrawnNetwork) -> None:
    check_session(network)


@pytest.mark.deep
@given(networks(with_window=True))
@settings(DRAWN, max_examples=10 * FEW_SESSIONS)
def test_ten_times_as_many_sessions(network: DrawnNetwork) -> None:
    check_session(network)


@dataclass(frozen=True)
class WrittenNetwork:
    """A program written by hand, with its samples."""

    program: Program
    samples: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Case:
    """A network and what the slow machine makes of its samples, in a run and, with buffers, in a session."""

    network: DrawnNetwork | WrittenNetwork
    run: Trace
    session: Trace


@cache
def corpus() -> tuple[Case, ...]:
    """Drawn networks, always the same for the same sources: round after round, until nothing is rare any more.

    Hypothesis draws constants of the sources more often, so that any change of them changes what is drawn.
    """
    found: list[Case] = []
    for number in range(MOST_ROUNDS):
        found += (case_of(network) for network in drawn_round(number))
        met = features_met(found)
        if number + 1 >= ROUNDS and all(met[feature] >= OFTEN for feature in wanted_features()):
            break
    return tuple(found)


@cache
def drawn_round(number: int) -> tuple[DrawnNetwork, ...]:
    drawn: list[DrawnNetwork] = []

    @seed(number)
    @given(networks())
    @settings(DRAWN, max_examples=A_ROUND, phases=[Phase.generate])
    def collect(network: DrawnNetwork) -> None:
        drawn.append(network)

    collect()
    return tuple(drawn)


def features_met(cases: Iterable[Case]) -> Counter[str]:
    return Counter(
        feature for case in cases for layer in case.network.program.layers for feature in features(layer)
    )


@cache
def rolling_windows() -> tuple[Case, ...]:
    """The ways of a TCN through its window, which are drawn too seldom."""
    moved = """
    - {op: none, buffer_insert: 4}
    - {op: none, in_sequences: window, buffer_shift: 1}
    - {op: none, in_sequences: window}
    - {op: none, in_sequences: input, in_crop: [3, 0], buffer_insert: 1}
    - {op: none, in_sequences: window}
    """
    repeated = """
    - {op: none, buffer_insert: 3}
    - {op: none, in_sequences: window}
    """
    programs = {
        length: program_of(cleandoc(layers), input_shape=(2, length), buffers=WINDOW)
        for length, layers in ((4, moved), (1, repeated))
    }
    return tuple(case_of(WrittenNetwork(p, random_int8(5, 3, 2, length))) for length, p in programs.items())


def case_of(network: DrawnNetwork | WrittenNetwork) -> Case:
    run = slow_trace(network.program, network.samples)
    has_windows = bool(network.program.buffers)
    session = slow_trace(network.program, network.samples, keeps_buffers=True) if has_windows else run
    return Case(network, run, session)


# What is drawn


def features(layer: Layer) -> Iterator[str]:
    """What a layer has of the language."""
    yield f"{layer.operator}"
    yield f"join {layer.join} {min(len(layer.inputs), 3)}"
    yield from (f"reads {source.source}" for source in layer.inputs)
    yield from filter(layer.gives, ("in_dim", "weight_source", "bypass", "simulated_sequence"))
    if any(layer.crop):
        yield "crop in front" if layer.crop[0] else "crop behind"
    if layer.flatten:
        yield "flatten"
    if layer.elementwise is not None:
        in_flight = "in flight" if layer.convolution else "alone"
        yield f"{layer.elementwise.operation} {in_flight}"
        yield f"pool first {layer.elementwise.pool_first}"
        yield f"{layer.elementwise.operands} operands"
    if layer.pooling is not None:
        yield f"pool {layer.pooling.kind}"
        yield f"pool dilated {layer.pooling.geometry.dilation != (1, 1)} {layer.pooling.kind}"
        yield f"pool rounded {layer.pooling.rounding}"
    if layer.buffer_update is not None:
        yield "shift" if layer.buffer_update.shift else "insert"
    if layer.convolution is not None:
        weights, geometry = layer.convolution.weights, layer.convolution.geometry
        yield f"weights {'binary' if weights.is_binary else weights.bits}"
        yield f"bias {weights.bias is not None}"
        yield f"bits {layer.output_stage.bits} {layer.output_stage.activation}"
        yield f"dilated {geometry.dilation != (1, 1)} {layer.operator}"
        yield "groups" if geometry.groups > 1 else "no groups"
        yield "many inputs" if layer.pooled_shape.channels > 48 else "few inputs"


def wanted_features() -> set[str]:
    convolutions = ("conv1d", "conv2d", "convtranspose2d", "linear")
    return {
        *convolutions,
        "passthrough",
        *(f"join {join} {count}" for join in Join for count in (2, 3)),
        *(f"reads {source}" for source in Source),
        *("in_dim", "weight_source", "bypass", "simulated_sequence"),
        *("crop in front", "crop behind", "flatten"),
        *(
            f"{operation} {how}"
            for operation in ("add", "sub", "or", "xor")
            for how in ("alone", "in flight")
        ),
        *("pool first True", "pool first False", "2 operands", "3 operands", "16 operands"),
        *(f"pool {kind}" for kind in PoolKind),
        *(f"pool dilated {dilated} {kind}" for dilated in (True, False) for kind in PoolKind),
        *("pool rounded True", "pool rounded False", "shift", "insert"),
        *(f"weights {width}" for width in (1, 2, 4, 8, "binary")),
        *("bias True", "bias False", "groups", "many inputs", "few inputs"),
        *(f"bits {bits} {activation}" for bits in (8, 32) for activation in Activation),
        *(f"dilated {dilated} {op}" for dilated in (True, False) for op in ("conv1d", "conv2d")),
    }


def test_the_whole_language_is_drawn() -> None:
    met = features_met(corpus())
    assert {feature for feature in wanted_features() if not met[feature]} == set()
    programs = [case.network.program for case in corpus()]
    assert {len(program.layers) for program in programs} == {1, 2, 3, 4, 5}
    assert {program.device.name for program in programs} == {"MAX78000", "MAX78002"}
    assert sum(bool(program.idle) for program in programs) > 20
    assert sum(later < earlier for p in programs for earlier, later in pairwise(p.order)) > 20
    assert sum(len(case.network.outputs) > 1 for case in corpus()) > 20
    assert sum(bool(program.options.start_layer) for program in programs) > 10


def test_outputs_are_saturated_often_and_not_always() -> None:
    layers = [layer for case in corpus() for layer in case.run]
    counts = [(layer.saturated, layer.output.size) for layer in layers if layer.saturated is not None]
    assert sum(count > 0 for count, _ in counts) > len(counts) / 4
    assert sum(count < size / 2 for count, size in counts) > len(counts) / 4
    assert sum(layer.output.any() for layer in layers) > len(layers) / 2


# Planted faults: each is one wrong step, and some drawn network must notice it


def replaced(owner: object, name: str, change: Callable[..., Any]) -> Fault:
    """Puts `change` in the place of a step; it gets the true step first, then the step's arguments."""

    def plant(patch: Patch) -> None:
        true_step = getattr(owner, name)
        patch.setattr(owner, name, lambda *given, **named: change(true_step, *given, **named))

    return plant


def _operand_channels_interleaved(step: Any, data: Any, layer: Layer) -> Any:
    if layer.elementwise is None or not layer.elementwise.pool_first:
        return step(data, layer)
    return [data[..., i :: layer.elementwise.operands] for i in range(layer.elementwise.operands)]


def _pool_first_turned_round(step: Any, layer: Layer, *rest: Any) -> Any:
    if layer.elementwise is None:
        return step(layer, *rest)
    e = layer.elementwise
    return step(replace(layer, elementwise=replace(e, pool_first=not e.pool_first)), *rest)


def _reshaped_pixel_by_pixel(step: Any, data: Any, layer: Layer) -> Any:
    cropped = data[:, layer.crop[0] : data.shape[1] - layer.crop[1]]
    shape = layer.operand_shape
    return np.ascontiguousarray(cropped).reshape(-1, shape.rows, shape.columns, shape.channels)


def _joined_column_by_column(step: Any, join: Join, inputs: Any) -> Any:
    return step(join, [data.swapaxes(1, 2) for data in inputs] if join is Join.PIXELS else inputs)


def _read_from_the_first_row(step: Any, source: Any, *rest: Any) -> Any:
    return step(replace(source, first_row=0), *rest)[:, : -source.first_row or None]


def _moved_the_other_way(step: Any, buffers: Any, update: Any, output: Any) -> None:
    buffers[update.index] = buffers[update.index][:, ::-1]
    step(buffers, replace(update, insert=0), output)
    buffers[update.index] = buffers[update.index][:, ::-1].copy()
    step(buffers, replace(update, shift=0), output)


def _rotated(step: Any, buffers: Any, update: Any, output: Any) -> None:
    buffers[update.index] = np.roll(buffers[update.index], -update.shift, axis=1)
    step(buffers, replace(update, shift=0), output)


def _inserted_in_front(step: Any, buffers: Any, update: Any, output: Any) -> None:
    step(buffers, update, output)
    buffers[update.index] = np.roll(buffers[update.index], update.insert, axis=1)


def _inserted_backwards(step: Any, buffers: Any, update: Any, output: Any) -> None:
    step(buffers, update, output[:, ::-1])


def _inserted_once(step: Any, buffers: Any, update: Any, output: Any) -> None:
    """One row that stands for several goes into the first of them only."""
    step(buffers, update, output)
    if update.insert > 1 and output[0, ..., 0].size == buffers[update.index].shape[2]:
        buffers[update.index][:, len(buffers[update.index][0]) - update.insert + 1 :] = 0


def _counted_behind_the_activation(step: Any, acc: Any, shift: int, activation: str) -> Any:
    y, count = step(acc, shift, activation)
    kept = step(acc, shift, "none")[0] == y
    return y, min(count, int(np.count_nonzero(kept & ((y == 127) | (y == -128)))))


def _counted_at_the_limits(step: Any, *given: Any) -> Any:
    y, _ = step(*given)
    return y, int(np.count_nonzero((y == 127) | (y == -128)))


def _rounded(rounding: Callable[[Any], Any]) -> Callable[..., Any]:
    def requantized(step: Any, acc: Any, shift: int, activation: str) -> Any:
        """Through a multiple of 128, which the true step rounds to itself."""
        return step(rounding(acc * 2.0 ** (shift - 7)).astype(np.int64) * 128, 0, activation)

    return requantized


def _absolute_before_rounding(step: Any, acc: Any, shift: int, activation: str) -> Any:
    return step(np.abs(acc.astype(np.int64)) if activation == "abs" else acc, shift, activation)


def _absolute_wraps(step: Any, acc: Any, shift: int, activation: str) -> Any:
    y, count = step(acc, shift, "none")
    changed = {"abs": np.abs, "relu": lambda v: v.clip(0), "none": lambda v: v}[activation](y)
    return changed, count


def _saturated_at_every_step(step: Any, operands: Any, operation: str) -> Any:
    total = operands[0]
    for operand in operands[1:]:
        total = step([total, operand], operation).clip(-128, 127)
    return total


def _average_floors(step: Any, x: Any, kind: str, geometry: Any, rounding: bool) -> Any:
    if kind != "average" or rounding:
        return step(x, kind, geometry, rounding)
    return -step(-x.astype(np.int64), kind, geometry, rounding) + (step(x, "max", geometry) * 0 - 1)


def _subsampled_at_the_far_end(step: Any, x: Any, kind: str, geometry: Any, rounding: bool) -> Any:
    pooled = step(x, kind, geometry, rounding)
    return step(x[:, ::-1], kind, geometry, rounding) if kind == "none" else pooled


def _kernel_turned_round(step: Any, weight: Any, geometry: Any) -> Any:
    return step(weight[:, :, ::-1, ::-1], geometry)


def _without_bias(step: Any, x: Any, packed: Any, bias: Any, geometry: Any) -> Any:
    return step(x, packed, None, geometry)


def _half_a_bias(step: Any, x: Any, packed: Any, bias: Any, geometry: Any) -> Any:
    return (step(x, packed, bias, geometry) + step(x, packed, None, geometry)) // 2


FAULTS: dict[str, Fault] = {
    "operands in reverse order": replaced(blocks, "_operands", lambda step, *given: step(*given)[::-1]),
    "operands interleaved": replaced(blocks, "_operands", _operand_channels_interleaved),
    "pool_first turned round": replaced(portable, "run_layer", _pool_first_turned_round),
    "crop at the wrong end": replaced(
        blocks, "_shaped", lambda step, data, layer: step(data, replace(layer, crop=layer.crop[::-1]))
    ),
    "reshape pixel by pixel": replaced(blocks, "_shaped", _reshaped_pixel_by_pixel),
    "flatten pixel by pixel": replaced(
        portable, "_flattened", lambda _, data: data.reshape(len(data), 1, 1, -1)
    ),
    "inputs in reverse order": replaced(blocks, "_joined", lambda step, join, given: step(join, given[::-1])),
    "pixels joined column by column": replaced(blocks, "_joined", _joined_column_by_column),
    "buffer read from its first row": replaced(portable, "_fetch", _read_from_the_first_row),
    "buffer moved the other way": replaced(portable, "_update_buffer", _moved_the_other_way),
    "buffer rotated": replaced(portable, "_update_buffer", _rotated),
    "buffer insert in front": replaced(portable, "_update_buffer", _inserted_in_front),
    "buffer insert backwards": replaced(portable, "_update_buffer", _inserted_backwards),
    "buffer insert into one row only": replaced(portable, "_update_buffer", _inserted_once),
    "buffer never changed": replaced(portable, "_update_buffer", lambda *_: None),
    "buffer not empty at first": replaced(
        portable, "_empty_buffer", lambda step, *given: step(*given) + np.int8(1)
    ),
    "saturation counted behind the activation": replaced(
        requantize, "requantize", _counted_behind_the_activation
    ),
    "values at the limits counted": replaced(requantize, "requantize", _counted_at_the_limits),
    "element-wise limits counted": replaced(requantize, "saturate", _counted_at_the_limits),
    "ties to even": replaced(requantize, "requantize", _rounded(np.rint)),
    "ties down": replaced(requantize, "requantize", _rounded(lambda v: np.ceil(v - 0.5))),
    "ties away from zero": replaced(
        requantize, "requantize", _rounded(lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5))
    ),
    "no rounding": replaced(requantize, "requantize", _rounded(np.floor)),
    "-127 instead of -128": replaced(
        requantize, "requantize", lambda step, *given: (np.maximum(step(*given)[0], -127), step(*given)[1])
    ),
    "absolute value before rounding": replaced(requantize, "requantize", _absolute_before_rounding),
    "absolute value of -128 wraps": replaced(requantize, "requantize", _absolute_wraps),
    "ReLU forgotten": replaced(
        requantize, "requantize", lambda step, acc, shift, _: step(acc, shift, "none")
    ),
    "one shift too many": replaced(
        requantize, "requantize", lambda step, acc, s, a: step(acc, min(s + 1, 15), a)
    ),
    "element-wise saturates at every step": replaced(eltwise, "combine", _saturated_at_every_step),
    "element-wise wraps": replaced(
        eltwise, "combine", lambda step, *given: step(*given).astype(np.int8).astype(np.int32)
    ),
    "average floors": replaced(pool, "pool", _average_floors),
    "average always rounds": replaced(pool, "pool", lambda step, x, kind, g, _: step(x, kind, g, True)),
    "average never rounds": replaced(pool, "pool", lambda step, x, kind, g, _: step(x, kind, g, False)),
    "subsampling takes the far end": replaced(pool, "pool", _subsampled_at_the_far_end),
    "average is the maximum": replaced(
        pool, "pool", lambda step, x, kind, g, r: step(x, kind.replace("average", "max"), g, r)
    ),
    "wide output saturates": replaced(portable, "_wide", lambda step, *given: step(*given).clip(-128, 127)),
    "wide output ignores its activation": replaced(
        portable, "_wide", lambda step, acc, _: step(acc, Activation.NONE)
    ),
    "wide ReLU does not saturate": replaced(
        portable,
        "_wide",
        lambda step, acc, a: step(acc.clip(0) if a is Activation.RELU else acc, Activation.NONE),
    ),
    "transposed kernel not turned round": replaced(conv, "pack_transposed", _kernel_turned_round),
    "kernel turned round": replaced(conv, "pack", _kernel_turned_round),
    "bias forgotten": replaced(conv, "convolve", _without_bias),
    "transposed bias forgotten": replaced(conv, "convolve_transposed", _without_bias),
    "bias times 64": replaced(conv, "convolve", _half_a_bias),
}


def is_noticed(case: Case) -> bool:
    """Whether some value, digest or count of the portable kernels departs from the slow machine's."""
    machine, samples = Simulator(case.network.program, target="portable"), case.network.samples
    if departure(machine.run(samples), case.run) is not None:
        return True
    return (
        case.session is not case.run and departure(machine.session().run(samples), case.session) is not None
    )


def test_without_a_fault_nothing_is_noticed() -> None:
    assert not any(is_noticed(case) for case in (*rolling_windows(), *corpus()))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: Patch) -> None:
    FAULTS[fault](monkeypatch)
    assert any(is_noticed(case) for case in (*rolling_windows(), *corpus()))


def _floor_forgotten(_: Any, stored: Any) -> Any:
    scale = 1 << program_weights.stored_bits(stored) - 1
    return np.trunc(stored.bias / scale).astype(np.int64)


def _crop_behind_the_reshape(patch: Patch) -> None:
    cropped, reshaped = flow.cropped, flow.reshaped
    patch.setattr(flow, "cropped", reshaped)
    patch.setattr(flow, "reshaped", cropped)


def _next_sequence_first(_: Any, layer: Any) -> Any:
    return layer.next_sequence or layer.simulated_sequence


def _second_axis_of_1d_data(step: Any, layer: Any, data: Any, rounding: bool) -> Any:
    return step(layer, data._replace(is_1d=False, columns=2), rounding)


def _own_shift_beside_a_weight_source(step: Any, around: Any, layer: Any) -> Any:
    shift = step(around, layer)
    return layer.output_shift.value if layer.weight_source and layer.output_shift else shift


RESOLVER_FAULTS: dict[str, Fault] = {
    "bypass shift": lambda patch: patch.setattr(program_layer, "BYPASS_SHIFT", 6),
    "bias truncated": replaced(program_weights, "bias_values", _floor_forgotten),
    "bias scaled by 8 bits": replaced(program_weights, "stored_bits", lambda *_: 8),
    "zero weights of 8 bits": replaced(
        program_weights, "_width", lambda step, layer, s, d: step(layer, replace(s, weight=s.weight + 2), d)
    ),
    "crop behind the reshape": _crop_behind_the_reshape,
    "next_sequence counts first": replaced(path, "_jump", _next_sequence_first),
    "second axis of 1D pools": replaced(flow, "pooling_of", _second_axis_of_1d_data),
    "own shift beside weight_source": replaced(
        program_layer, "_total_shift", _own_shift_beside_a_weight_source
    ),
}


def is_contradicted(network: DrawnNetwork) -> bool:
    try:
        return contradictions(network.resolved(), network.expected) != []
    except Ai8xsimError:
        return True


@pytest.mark.parametrize("fault", RESOLVER_FAULTS)
def test_a_fault_planted_in_the_resolver_is_noticed(fault: str, monkeypatch: Patch) -> None:
    RESOLVER_FAULTS[fault](monkeypatch)
    assert any(is_contradicted(case.network) for case in corpus())
