"""Faults planted where steps are made of layers: some network must notice each of them.

A plan is made anew for each `Simulator`, so what is replaced here takes effect; compiled kernels stay what they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from inspect import cleandoc
from typing import Any

import numpy as np
import pytest

from ai8xsim import MAX78000, Options, Program, Simulator, resolve
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.engine import build, convolution, lower, places, run, spared, taps
from ai8xsim.engine.build import Builder
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.tensor import Tensor
from ai8xsim.kernels import conv
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.activations import channel_order
from ai8xsim.kernels.generated.held import MOST, ZERO
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import LANES, Target, available_targets
from tests.simulator.small_programs import (
    WINDOW,
    mixed_program,
    network_of,
    program_of,
    random_int8,
    stored_layer,
)
from tests.simulator.test_three_roads import (
    Case,
    Fault,
    Patch,
    WrittenNetwork,
    case_of,
    departure,
    drawn_round,
    replaced,
    rolling_windows,
)


def with_bias(layers: str, weight: Any, bias: Any, shape: tuple[int, ...], rounding: bool = False) -> Program:
    """A program whose only weights have a bias."""
    stored = Checkpoint("x.pth.tar", None, None, (stored_layer("layer0", weight, bias),))
    return resolve(network_of(cleandoc(layers)), stored, MAX78000, shape, Options(avg_pool_rounding=rounding))


def buffer_program() -> Program:
    """Its last layer has much room to write to, once the buffer has been read."""
    layers = """
    - {op: linear, flatten: true, buffer_insert: 1, output_shift: -3}
    - {name: moved, op: none, in_sequences: window, buffer_shift: 1}
    - {op: conv1d, kernel_size: 1, in_sequences: moved, output_shift: -1}
    """
    weights = random_int8(14, 2, 32), random_int8(15, 60, 2, 1)
    return program_of(cleandoc(layers), *weights, buffers=WINDOW)


def written_programs() -> list[Program]:
    """What is drawn too seldom, or too small, to notice a fault."""
    many, deep = random_int8(1, 68, 3, 1, 1), random_int8(3, 40, 20)
    return [
        mixed_program(),
        buffer_program(),
        with_bias(
            "- {op: conv2d, kernel_size: 1x1, pad: 0, output_shift: -2}",
            many,
            random_int8(2, 68),
            (3, 2, 5),
        ),
        with_bias(
            "- {op: linear, flatten: true, output_shift: -4, activate: ReLU}",
            deep,
            random_int8(4, 40),
            (5, 2, 2),
        ),
        with_bias(
            "- {op: conv2d, groups: 20, pad: 1, output_shift: -1}",
            random_int8(5, 20, 1, 3, 3),
            random_int8(6, 20),
            (20, 4, 5),
        ),
        with_bias(
            "- {op: convtranspose2d, output_shift: -2}",
            random_int8(7, 5, 18, 3, 3),
            random_int8(8, 18),
            (5, 3, 4),
        ),
        with_bias(
            "- {op: conv2d, pad: 2, avg_pool: [2, 3], pool_stride: 1, output_shift: -2, activate: Abs}",
            random_int8(9, 4, 6, 3, 3),
            random_int8(10, 4),
            (6, 5, 6),
            rounding=True,
        ),
        program_of(
            "- {op: conv2d, pad: 1, output_shift: -1}", random_int8(20, 16, 3, 3, 3), input_shape=(3, 3, 8)
        ),
        program_of(  # adjacent pixels
            "- {op: conv2d, pad: 1, output_shift: -1}", random_int8(24, 16, 2, 3, 3), input_shape=(2, 3, 8)
        ),
        with_bias(  # the last channels apart
            "- {op: conv2d, pad: 1, output_shift: -3}",
            random_int8(26, 20, 20, 3, 3),
            random_int8(27, 20),
            (20, 3, 6),
        ),
        program_of(  # stacked
            "- {op: conv2d, pad: 1, output_shift: -1}", random_int8(25, 20, 3, 3, 3), input_shape=(3, 8, 9)
        ),
        program_of(  # by tiles, of which the last ones overlap those before
            "- {op: conv2d, pad: 1, output_shift: -3}", random_int8(23, 31, 62, 3, 3), input_shape=(62, 15, 8)
        ),
        program_of(
            "- {op: conv2d, pad: 1, output_shift: -1}\n- {op: conv2d, pad: 1, output_shift: -1}",
            random_int8(21, 16, 16, 3, 3),
            random_int8(22, 7, 16, 3, 3),
            input_shape=(16, 3, 5),
        ),
        program_of(
            "- {op: conv2d, pad: 1, dilation: 2, groups: 2, avg_pool: [3, 2], pool_stride: 1, output_shift: -1}",
            random_int8(16, 6, 3, 3, 3),
            input_shape=(6, 9, 8),
        ),
        program_of(
            cleandoc("""
            - {name: left, op: conv2d, pad: 1, output_shift: -2}
            - {name: right, op: conv2d, pad: 1, output_shift: -1, in_sequences: input}
            - {name: minus, op: sub, in_sequences: [left, right]}
            - {op: conv2d, kernel_size: 1x1, pad: 0, in_sequences: [left, right], output_shift: -2}
            - {op: none, in_sequences: minus, in_dim: [3, 10], in_crop: [0, 1]}
            """),
            *(random_int8(seed, 5, 3, 3, 3) for seed in (17, 18)),
            random_int8(19, 4, 10, 1, 1),
            input_shape=(3, 5, 6),
        ),
        program_of(
            cleandoc("""
            - {op: conv2d, pad: 1, output_shift: -2, activate: ReLU}
            - {op: conv2d, pad: 1, output_shift: -2}
            - {op: conv2d, pad: 1, output_shift: -2, max_pool: 2, pool_stride: 2}
            """),
            *(random_int8(seed, 6, 6, 3, 3) for seed in (11, 12, 13)),
            input_shape=(6, 6, 6),
        ),
    ]


@cache
def cases() -> tuple[Case, ...]:
    """Written networks, which are quick to notice something, and then drawn ones."""
    written = [
        WrittenNetwork(program, random_int8(place, 3, *program.input_shape.array_shape))
        for place, program in enumerate(written_programs())
    ]
    return (*map(case_of, written), *rolling_windows(), *map(case_of, drawn_round(0)))


def is_noticed(case: Case, target: str) -> bool:
    """Whether a value, digest or count departs from the slow machine's, in a run or in a session."""
    machine, samples = Simulator(case.network.program, target=target), case.network.samples
    if departure(machine.run(samples), case.run) is not None:
        return True
    for layer in machine.run(samples, keep="outputs"):
        if layer.digests != case.run[layer.index].digests:
            return True
    return (
        case.session is not case.run and departure(machine.session().run(samples), case.session) is not None
    )


# The faults

Starts = Callable[..., Any]
Change = Callable[[Draft], Draft | None]


def started(change: Callable[[Target, Any, Any, int | None], Any]) -> Fault:
    """Starts with something added: from the target, the weights (out, all others), the bias and the shift."""

    def starts(step: Starts, target: Target, weight_ok: Any, bias: Any, shift: int | None) -> Any:
        found = step(target, weight_ok, bias, shift)
        found[: len(weight_ok)] += np.asarray(change(target, weight_ok, bias, shift), np.int32)
        return found

    return replaced(packing, "starts", starts)


def drafted(kind: Kind, change: Change) -> Fault:
    """Steps of a kind changed, or left out where the change gives None."""

    def add(step: Any, builder: Builder, draft: Draft) -> None:
        changed = change(draft) if draft.kind is kind else draft
        if changed is not None:
            step(builder, changed)

    return replaced(Builder, "add", add)


def given(name: str, number: Callable[[int], int]) -> Change:
    """A field of a step with another number."""
    return lambda draft: replace(draft, fields=draft.fields | {name: number(draft.fields[name])})


def _rounding_half(target: Target, _: Any, __: Any, shift: int | None) -> int:
    return 1 << (shift - 1) if shift else 0


def _zero_of_the_result(target: Target, _: Any, __: Any, shift: int | None) -> int:
    return 0 if shift is None else -ZERO << shift


def _operands_reversed(draft: Draft) -> Draft:
    pixels = np.concatenate([draft.pixels[:, :1], draft.pixels[:, :0:-1]], axis=1)
    return replace(draft, sources=draft.sources[::-1], pixels=pixels)


def _read_one_late(draft: Draft) -> Draft:
    return replace(draft, pixels=draft.pixels + np.array([0, 1]))


def _written_in_reverse(draft: Draft) -> Draft:
    return replace(draft, pixels=np.stack([draft.pixels[::-1, 0], draft.pixels[:, 1]], axis=1))


def _ceiling_always(ceiling: int) -> Fault:
    def fields(step: Any, *given: Any) -> dict[str, int]:
        found: dict[str, int] = step(*given)
        return found | {"ceiling": ceiling}

    return replaced(convolution._Work, "_fields", fields)


def _phases_swapped(step: Any, *given: Any) -> Any:
    phases = list(step(*given))
    firsts = [phase.first for phase in phases]
    return [phase._replace(first=first) for phase, first in zip(phases, firsts[::-1], strict=True)]


def _every_sample_reads_the_first(step: Any, tables: Any, draft: Draft) -> Any:
    return step(tables, replace(draft, sources=tuple(replace(region, size=0) for region in draft.sources)))


def _samples_one_at_a_time_at_one_place(patch: Patch) -> None:
    patch.setattr(build, "MOST_TOGETHER", 1)
    drafted(Kind.EMIT, given("size", lambda _: 0))(patch)


def _taken_for_adjacent(
    step: Any, target: Target, channels: int, run: int, *, is_adjacent: bool = False
) -> Any:
    return step(target, channels, 1, is_adjacent=True)


def _one_row_step_less(step: Any, x: Tensor, geometry: Any) -> Any:
    return step(replace(x, row_step=x.row_step - x.pixel_step), geometry)


def _groups_interleaved(step: Any, weight: Any, groups: int) -> Any:
    dense = step(weight, groups)
    return dense.reshape(len(dense), groups, -1, *dense.shape[2:]).swapaxes(1, 2).reshape(dense.shape)


def _pixel_by_pixel(_: Any, x: Tensor) -> Any:
    return (x.pixels()[:, None] + np.arange(x.channels)).reshape(-1)


def _strictly_later(_: Any, life: tuple[int, int], other: tuple[int, int]) -> bool:
    return life[0] < other[1] and other[0] < life[1]


def _buffers_live_as_long_as_anything_else(patch: Patch) -> None:
    """Of several samples' places a session needs the first, which is far from the next region's."""
    patch.setattr(build, "MOST_TOGETHER", 1)
    replaced(Builder, "region", lambda step, *given, **named: step(*given, **(named | {"is_kept": False})))(
        patch
    )


def _fills_no_borders(draft: Draft) -> Draft | None:
    return draft if draft.output is not None and draft.output.is_kept else None


def _border_smaller_by_one(step: Any, *given: Any) -> Any:
    return tuple(max(0, width - 1) for width in step(*given))


def _never_cleared_again(step: Any, *given: Any, **named: Any) -> Any:
    return replace(step(*given, **named), clear_steps=0)


@dataclass(frozen=True)
class Planted:
    """A fault, and the targets for which it is one."""

    fault: Fault
    is_one: Callable[[Target], bool] = lambda target: True


def _without_gap(draft: Draft) -> Draft:
    return replace(draft, fields=draft.fields | {"all_groups": draft.fields["groups"]})


def _has_narrow_blocks(target: Target) -> bool:
    return bool(target.narrow_blocks)


def _has_split_blocks(target: Target) -> bool:
    return bool(target.split_blocks)


def _with_cut_parts(fault: Fault) -> Fault:
    """Where steps cost nothing, the last few channels leave out what meets padding only, too."""

    def plant(patch: Patch) -> None:
        patch.setattr(convolution, "STEP", 0)
        fault(patch)

    return plant


def _lanes_first(step: Any, weight_otr: Any, lanes: int) -> Any:
    packed = step(weight_otr, lanes).reshape(-1, LANES // lanes, lanes, 4)
    return np.ascontiguousarray(packed.swapaxes(1, 2)).ravel()


def _first(results: Any, channels: range) -> Any:
    return None if results.bias is None else results.bias[: len(channels)]


def _shares_vectors(target: Target) -> bool:
    return target.masked_stores


def _stacks(target: Target) -> bool:
    return target.value_bytes == 1


def _kernels_by_channels(step: Any, builder: Builder, operands: Any) -> Any:
    made = step(builder, operands)
    outputs, _, rows, columns = made.weight_oihw.shape
    by_channels = made.weight_oihw.reshape(outputs, 3, 3, columns).swapaxes(1, 2)
    return made._replace(weight_oihw=by_channels.reshape(outputs, -1, rows, columns))


def _outputs_first(step: Any, weight_otr: Any, inputs: int) -> Any:
    packed = step(weight_otr, inputs).reshape(-1, 4, 4)
    return np.ascontiguousarray(packed.transpose(0, 2, 1)).ravel()


def _deals_out_channels(target: Target) -> bool:
    return channel_order(target, 2) != list(range(2 * target.lanes))


FAULTS: dict[str, Planted] = {
    "zero offset not compensated": Planted(
        started(lambda _, weight_ok, *__: ZERO * weight_ok.sum(axis=1, dtype=np.int64))
    ),
    "zero offset missing in the result": Planted(started(_zero_of_the_result)),
    "rounding half missing": Planted(started(_rounding_half)),
    "sums one too large": Planted(started(lambda *_: 1)),
    "bias counted by 127": Planted(started(lambda _, __, bias, ___: 0 if bias is None else bias)),
    "ReLU forgotten": Planted(_ceiling_always(MOST)),
    "ReLU everywhere": Planted(_ceiling_always(ZERO)),
    "border smaller by one": Planted(replaced(lower, "border_for", _border_smaller_by_one)),
    "borders not filled": Planted(drafted(Kind.FILL, _fills_no_borders)),
    "taps in rows too short": Planted(replaced(taps, "tap_offsets", _one_row_step_less)),
    "taps not dilated": Planted(
        replaced(taps, "tap_offsets", lambda step, x, g: step(x, g._replace(dilation=(1, 1))))
    ),
    "groups interleaved": Planted(replaced(convolution, "_dense", _groups_interleaved)),
    "depthwise taps turned round": Planted(
        replaced(packing, "pack_channel_weights", lambda step, t, w: step(t, w[:, ::-1]))
    ),
    "depthwise channels turned round": Planted(
        replaced(packing, "pack_channel_weights", lambda step, t, w: step(t, w[::-1]))
    ),
    "channels in natural order": Planted(
        replaced(packing, "channel_order", lambda _, target, vectors: range(vectors * target.lanes)),
        _deals_out_channels,
    ),
    "starts in natural order": Planted(
        replaced(packing, "in_lane_order", lambda _, target, starts, is_wide: starts), _deals_out_channels
    ),
    "channels of narrow blocks turned round": Planted(
        replaced(packing, "pack_narrow_weights", lambda step, w, inputs: step(w[::-1], inputs)), _has_narrow_blocks
    ),
    "weights of narrow blocks dealt out by outputs first": Planted(
        replaced(packing, "pack_narrow_weights", _outputs_first), _has_narrow_blocks
    ),
    "pixels that are not adjacent taken for adjacent": Planted(
        replaced(Target, "narrow_numbers", _taken_for_adjacent),
        _has_narrow_blocks,
    ),
    "adjacent pixels taken for others": Planted(
        drafted(Kind.MULTIPLY_NARROW, given("pixel_step", lambda step: step - 1)), _has_narrow_blocks
    ),
    "activations of narrow blocks taken to lie side by side": Planted(
        drafted(Kind.MULTIPLY_NARROW, given("is_together", lambda _: 1)), _has_narrow_blocks
    ),
    "channels of split blocks turned round": Planted(
        replaced(packing, "pack_split_weights", lambda step, w, lanes: step(w[::-1], lanes)), _has_split_blocks
    ),
    "weights of split blocks dealt out by lanes first": Planted(
        replaced(packing, "pack_split_weights", _lanes_first), _has_split_blocks
    ),
    "starts of split blocks in every lane": Planted(
        replaced(packing, "in_split_lanes", lambda _, starts, lanes: np.repeat(starts[: LANES // lanes], lanes)),
        _has_split_blocks,
    ),
    "the last few channels forgotten": Planted(
        replaced(convolution, "packed_taps", lambda step, *given: list(step(*given))[:1]), _has_split_blocks
    ),
    "the last few channels with the first biases": Planted(
        replaced(
            convolution.Results,
            "of_channels",
            lambda step, results, channels: step(results, channels)._replace(bias=_first(results, channels)),
        ),
        _has_split_blocks,
    ),
    "the last few channels in the place of the first": Planted(
        replaced(
            convolution.Results,
            "of_channels",
            lambda step, results, channels: step(results, channels)._replace(
                output=step(results, range(len(channels))).output
            ),
        ),
        _has_split_blocks,
    ),
    "weights of the last few channels from the kernel's first row on": Planted(
        _with_cut_parts(drafted(Kind.MULTIPLY_SPLIT, given("first_tap", lambda _: 0))), _has_split_blocks
    ),
    "weights of the last few channels from the kernel's first column on": Planted(
        _with_cut_parts(drafted(Kind.MULTIPLY_SPLIT, given("first_group", lambda _: 0))), _has_split_blocks
    ),
    "weights of the last few channels without a gap between the taps": Planted(
        _with_cut_parts(drafted(Kind.MULTIPLY_SPLIT, given("group_bytes", lambda _: 0))), _has_split_blocks
    ),
    "activations taken to lie side by side": Planted(
        drafted(Kind.MULTIPLY, given("is_together", lambda _: 1)), _shares_vectors
    ),
    "activations of tiles taken to lie side by side": Planted(
        drafted(Kind.MULTIPLY_TILES, given("is_together", lambda _: 1)), _shares_vectors
    ),
    "small groups of vectors first": Planted(
        replaced(packing, "group_sizes", lambda step, *given: step(*given)[::-1])
    ),
    "a tap too many left out at the border": Planted(
        replaced(spared, "_kernel_met", lambda step, *given: step(*given)[:2])
    ),
    "weights of the border from the kernel's first column on": Planted(
        drafted(Kind.MULTIPLY, given("first_group", lambda _: 0))
    ),
    "weights of the border without a gap between the taps": Planted(
        drafted(Kind.MULTIPLY, _without_gap)
    ),
    "stacked in reverse": Planted(
        drafted(Kind.STACK, lambda draft: replace(draft, taps=draft.taps[::-1])), _stacks
    ),
    "stacked one value late": Planted(drafted(Kind.STACK, _read_one_late), _stacks),
    "the last stacked pixels forgotten": Planted(
        drafted(Kind.STACK, lambda draft: replace(draft, pixels=draft.pixels[:-1])), _stacks
    ),
    "kernels of stacked pixels by channels": Planted(
        replaced(convolution, "stacked", _kernels_by_channels), _stacks
    ),
    "the last tile forgotten": Planted(
        replaced(convolution, "tile_corners", lambda step, output: step(output)[:-1])
    ),
    "tiles in each other's place": Planted(drafted(Kind.MULTIPLY_TILES, _written_in_reverse)),
    "a tile's inputs column by column": Planted(
        replaced(convolution, "tile_inputs", lambda step, x: step(x).reshape(6, 6).T.ravel())
    ),
    "a tile's outputs column by column": Planted(
        replaced(convolution, "tile_outputs", lambda step, x: step(x).reshape(4, 4).T.ravel())
    ),
    "kernels of tiles turned round": Planted(
        replaced(packing, "transform_kernels", lambda step, w: step(w[..., ::-1, ::-1]))
    ),
    "kernels of tiles with inputs exchanged": Planted(
        replaced(packing, "transform_kernels", lambda step, w: step(w[:, np.arange(w.shape[1]) ^ 1]))
    ),
    "an input of tiles forgotten": Planted(
        drafted(Kind.MULTIPLY_TILES, given("groups", lambda pairs: pairs - 1))
    ),
    "transposed phases swapped": Planted(replaced(conv, "axis_phases", _phases_swapped)),
    "averages never rounded": Planted(drafted(Kind.AVERAGE, given("operation", lambda _: 0))),
    "averages always rounded": Planted(drafted(Kind.AVERAGE, given("operation", lambda _: 1))),
    "the last tap of a maximum forgotten": Planted(
        drafted(Kind.MAXIMUM, lambda draft: replace(draft, taps=draft.taps[: max(1, len(draft.taps) - 1)]))
    ),
    "operands in reverse order": Planted(drafted(Kind.COMBINE, _operands_reversed)),
    "sub for add": Planted(drafted(Kind.COMBINE, given("operation", lambda operation: operation ^ 1))),
    "an absolute value is made by no kernel": Planted(
        replaced(convolution, "_can_fuse", lambda _, __, stage: stage.shift <= 7)
    ),
    "one shift too many": Planted(drafted(Kind.REQUANTIZE, given("shift", lambda shift: shift - 1))),
    "activation forgotten": Planted(drafted(Kind.REQUANTIZE, given("activation", lambda _: 0))),
    "all layers counted together": Planted(
        drafted(Kind.REQUANTIZE, given("counter", lambda counter: min(counter, 0)))
    ),
    "emitted one value late": Planted(drafted(Kind.EMIT, _read_one_late)),
    "emitted in reverse": Planted(drafted(Kind.EMIT, _written_in_reverse)),
    "every sample reads the first": Planted(
        replaced(build._Tables, "_for_all_samples", _every_sample_reads_the_first)
    ),
    "every sample's outputs in one place": Planted(_samples_one_at_a_time_at_one_place),
    "all regions in one place": Planted(replaced(places, "_meet", lambda *_: False)),
    "an output in the place of its input": Planted(replaced(places, "_meet", _strictly_later)),
    "a buffer in the place of something else": Planted(_buffers_live_as_long_as_anything_else),
    "a buffer moved too little": Planted(drafted(Kind.ROLL, given("shift", lambda shift: shift - 1))),
    "nothing inserted": Planted(replaced(lower._Lowering, "_insert", lambda *_: None)),
    "a session forgets": Planted(replaced(run, "lower", _never_cleared_again)),
    "flattened pixel by pixel": Planted(replaced(Tensor, "elements", _pixel_by_pixel)),
    "joined channels over each other": Planted(
        replaced(Tensor, "channel_block", lambda step, tensor, _, channels: step(tensor, 0, channels))
    ),
    "cropped at the wrong end": Planted(
        replaced(Tensor, "cropped", lambda step, tensor, front, behind: step(tensor, behind, front))
    ),
}  # fmt: skip


@pytest.mark.usefixtures("own_ports")
@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
def test_without_a_fault_nothing_is_noticed(target: Target) -> None:
    assert not any(is_noticed(case, target.name) for case in cases())


@pytest.mark.usefixtures("own_ports")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: Patch) -> None:
    """On the fastest target for which it is a fault."""
    concerned = [target.name for target in available_targets() if FAULTS[fault].is_one(target)]
    if not concerned:
        pytest.skip("it is no fault of the targets that run here")
    cases()
    FAULTS[fault].fault(monkeypatch)
    assert any(is_noticed(case, concerned[0]) for case in cases())
