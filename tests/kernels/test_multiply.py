"""The micro-kernels of convolution, block by block, against NumPy: every target that runs here."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.activations import channel_order
from ai8xsim.kernels.generated.depthwise import multiply_channels
from ai8xsim.kernels.generated.microkernel import Job, multiply_block
from ai8xsim.kernels.generated.narrow import multiply_narrow_block
from ai8xsim.kernels.generated.split import multiply_split_block
from ai8xsim.kernels.generated.targets import FOUR, LANES, TARGETS, Target, available_targets
from tests.kernels.cases import Array, seeds, values
from tests.kernels.generated import (
    OUTSIDE,
    address_of,
    changed_only,
    compiled,
    held,
    memory,
    numbers,
    on_every_target,
    scaled_half_up,
)

BLOCKS = [(target, number) for target in available_targets() for number in range(len(target.blocks))]
NARROW_BLOCKS = [
    (target, number) for target in available_targets() for number in range(len(target.narrow_blocks))
]
SPLIT_BLOCKS = [
    (target, number) for target in available_targets() for number in range(len(target.split_blocks))
]
REACH = 200  # values between the first and the last tap, and between pixels, at most

drawn = settings(
    derandomize=True, deadline=None, database=None, max_examples=40, suppress_health_check=list(HealthCheck)
)


@compiled
def multiply(target: Any, block: int, job: Job) -> None:
    multiply_block(target, block, job)


@compiled
def multiply_narrow(target: Any, block: int, job: Job) -> None:
    multiply_narrow_block(target, block, job)


@compiled
def multiply_split(target: Any, block: int, job: Job) -> None:
    multiply_split_block(target, block, job)


@compiled
def multiply_depthwise(target: Any, job: Job) -> None:
    multiply_channels(target, job)


class Case(NamedTuple):
    """A block's work, as it is drawn; `lanes_off`: how many lanes of the last vector have no channel."""

    seed: int
    taps: int
    run: int
    lanes_off: int
    shift: int | None  # None: sums are stored
    floor: int
    has_bias: bool
    passed_over: int = 0  # groups of weights behind each tap's


@st.composite
def works(draw: st.DrawFn) -> Case:
    return Case(
        seed=draw(seeds),
        taps=draw(st.sampled_from([0, 1, 1, 2, 3, 5, 9])),
        run=draw(st.one_of(st.integers(1, 20), st.sampled_from([48, 64, 144]))),
        lanes_off=draw(st.one_of(st.just(0), st.integers(0, 15))),
        shift=draw(st.one_of(st.none(), st.integers(0, 22))),
        floor=draw(st.sampled_from([-128, 0])),
        has_bias=draw(st.booleans()),
        passed_over=draw(st.integers(0, 3)),
    )


class Work:
    """A drawn case over memory of its own, and what NumPy makes of it."""

    def __init__(self, target: Target, case: Case, pixels: int, width: int) -> None:
        self.target, self.case, self.width, self.input_step = target, case, width, 0
        self.is_together, self.blocks, self.filled = False, 1, 0
        self.random = np.random.default_rng(case.seed)
        self.inputs = memory(target, values(case.seed, (2 * OUTSIDE + 4 * REACH,)), OUTSIDE + REACH)
        self.taps = self.random.integers(-REACH, REACH, max(case.taps, 1)).astype(np.int32)
        self.bias = values(case.seed + 1, (width,)) if case.has_bias else None
        self.vectors = packing.vectors_of(target, width)
        self.step = self.vectors * target.lanes
        self.outputs = self._memory_of_outputs(pixels)
        self.pixels = np.stack([self._output_offsets(pixels), self._input_offsets(pixels)], 1)

    def _memory_of_outputs(self, pixels: int) -> Array:
        values = self.random.integers(-128, 128, (pixels + 2) * (self.step + 3) + 2 * OUTSIDE)
        return values.astype(np.int32) if self.case.shift is None else held(self.target, values)

    def _output_offsets(self, pixels: int) -> Array:
        """Distinct ones, in any order, with gaps of any length between what may be written."""
        gaps = self.random.integers(0, 3, pixels) + self.step
        return self.random.permutation(np.cumsum(gaps)).astype(np.int32)

    def _input_offsets(self, pixels: int) -> Array:
        return self.random.integers(0, REACH, pixels).astype(np.int32)

    def repeat(self, blocks: int) -> "Work":
        """Divided into so many blocks, which follow one another."""
        self.blocks = blocks
        return self

    def fill(self, channels: int) -> "Work":
        """So many channels may be written, of which the last ones mean nothing."""
        self.filled = channels
        return self

    def lay_side_by_side(self, step: int) -> None:
        """Every four pixels read `step` values apart."""
        self.input_step = step
        self.pixels[:, 1] = np.repeat(self.pixels[::FOUR, 1], FOUR) + step * (
            np.arange(len(self.pixels)) % FOUR
        )

    def write_side_by_side(self, count: int) -> None:
        """Every so many pixels write next to each other, but follow those before at any distance."""
        self.is_together = True
        firsts = self.random.permutation(len(self.pixels) // count) * count * self.width
        self.pixels[:, 0] = np.repeat(firsts, count) + self.width * (np.arange(len(self.pixels)) % count)

    def job(self, groups: int, weights: Array, starts: Array, group_bytes: int | None = None) -> Job:
        return Job(
            activations=self.inputs.address,
            outputs=address_of(self.outputs, OUTSIDE),
            pixels=address_of(self.pixels),
            blocks=self.blocks,
            taps=address_of(self.taps),
            tap_count=self.case.taps,
            groups=groups,
            weights=address_of(weights),
            passed_over=self.case.passed_over * (group_bytes or 4 * self.step),
            starts=address_of(starts),
            shift=self.case.shift or 0,
            ceiling=127 - self.case.floor,
            width=self.width,
            is_wide=int(self.case.shift is None),
            input_step=self.input_step,
            is_together=int(self.is_together),
        )

    def starts(self, weight_ok: Array) -> Array:
        return packing.starts(self.target, weight_ok, self.bias, self.case.shift)

    def wanted(self, sums: Array) -> Array:
        """From sums of products (pixels, width)."""
        biased = np.asarray(sums) + (0 if self.bias is None else 128 * self.bias.astype(np.int64))
        if self.case.shift is None:
            return np.asarray(biased)
        return np.asarray(scaled_half_up(biased, self.case.shift).clip(self.case.floor, 127))

    def gathered(self, run: int) -> Array:
        """The numbers that each pixel's taps meet: (pixels, taps, run)."""
        first = self.inputs.first + self.pixels[:, 1, None, None] + self.taps[: self.case.taps, None]
        return np.asarray(self.inputs.numbers[first + np.arange(run)].astype(np.int64))

    def check(self, before: Array, sums: Array) -> None:
        """What was written is what is wanted, and nothing else was written."""
        first = OUTSIDE + self.pixels[:, 0]
        stored = self.outputs[first[:, None] + np.arange(self.width)]
        got = stored if self.case.shift is None else numbers(self.target, stored)
        assert np.array_equal(got, self.wanted(sums))
        may = first[:, None] + np.arange(self._may_write())
        assert changed_only(before, self.outputs, may)

    def _may_write(self) -> int:
        if self.filled:
            return self.filled
        if self.case.shift is None:
            return self.step
        return self.width if self.target.masked_stores else self.target.channel_step(self.width)


@pytest.mark.parametrize(
    ("target", "number"),
    BLOCKS,
    ids=[
        f"{target.name}-{target.blocks[number].pixels}x{target.blocks[number].vectors}"
        for target, number in BLOCKS
    ],
)
@given(case=works(), blocks=st.integers(1, 3), step=st.integers(1, 64), is_together=st.booleans())
@drawn
def test_blocks_sum_what_numpy_sums(
    target: Target, number: int, case: Case, blocks: int, step: int, is_together: bool
) -> None:
    block = target.blocks[number]
    shares_vectors = (
        target.masked_stores and FOUR % block.vectors == 0 and block.pixels * block.vectors >= FOUR
    )
    is_together = is_together and shares_vectors and case.shift is not None
    width = block.vectors * target.lanes - (0 if is_together else case.lanes_off % target.lanes)
    work = Work(target, case, blocks * block.pixels, width).repeat(blocks)
    if block.is_even:
        work.lay_side_by_side(step)
    if is_together:
        work.write_side_by_side(FOUR // block.vectors)
    weight_otr = values(case.seed + 2, (width, case.taps, case.run))
    groups = packing.inputs_together(target, case.run, single_pixel=block.chains > 1)
    others = _with_others_behind(target.products, case, weight_otr, groups)
    weights = packing.pack_weights(target, *others, is_wide=case.shift is None)
    starts = work.starts(weight_otr.reshape(width, -1))
    starts = packing.in_lane_order(target, starts, is_wide=case.shift is None)
    before = work.outputs.copy()
    multiply(target.marker, number, work.job(groups, weights, starts))
    work.check(before, np.einsum("ptr,otr->po", work.gathered(case.run), weight_otr.astype(np.int64)))


@pytest.mark.parametrize(
    ("target", "number"),
    NARROW_BLOCKS,
    ids=[
        f"{target.name}-{'-'.join(map(str, target.narrow_blocks[number]))}"
        for target, number in NARROW_BLOCKS
    ],
)
@given(case=works(), blocks=st.integers(1, 3), step=st.integers(1, FOUR), is_together=st.booleans())
@drawn
def test_narrow_blocks_sum_what_numpy_sums(
    target: Target, number: int, case: Case, blocks: int, step: int, is_together: bool
) -> None:
    block = target.narrow_blocks[number]
    width, case = FOUR * block.fours, case._replace(shift=case.shift or 0)
    work = Work(target, case, blocks * block.pixels, width).repeat(blocks)
    if block.is_adjacent:
        work.lay_side_by_side(step)
    if is_together and block.fours <= FOUR:
        work.write_side_by_side(FOUR)
    weight_otr = values(case.seed + 2, (width, case.taps, case.run))
    groups = -(-case.run // block.inputs)
    padded, _ = _with_others_behind(block.inputs, case, weight_otr, groups)
    weights = packing.pack_narrow_weights(padded, block.inputs)
    before = work.outputs.copy()
    job = work.job(groups, weights, work.starts(weight_otr.reshape(width, -1)), FOUR * width * block.inputs)
    multiply_narrow(target.marker, number, job)
    work.check(before, np.einsum("ptr,otr->po", work.gathered(case.run), weight_otr.astype(np.int64)))


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
def test_the_largest_sums_of_narrow_blocks_are_exact(target: Target) -> None:
    """As above, where a sum is an activation: 18432 products of 255 and 128 do not saturate on the way."""
    taps, run = 9, 2048
    for number, block in enumerate(target.narrow_blocks):
        for activation, weight in [(127, -128), (127, 127), (-128, -128), (-128, 127)]:
            case = Case(0, taps, run, 0, 22, -128, False)
            work = Work(target, case, block.pixels, FOUR * block.fours)
            work.lay_side_by_side(1)
            data = np.full(2 * OUTSIDE + 4 * REACH + taps * run, activation, np.int8)
            work.inputs = memory(target, data, OUTSIDE + REACH)
            weight_otr = np.full((work.width, taps, run), weight, np.int8)
            weights = packing.pack_narrow_weights(weight_otr, block.inputs)
            starts = work.starts(weight_otr.reshape(work.width, -1))
            multiply_narrow(target.marker, number, work.job(-(-run // block.inputs), weights, starts))
            stored = work.outputs[OUTSIDE + work.pixels[:, 0, None] + np.arange(work.width)]
            sums = np.int64(activation) * weight * taps * run
            assert (numbers(target, stored) == scaled_half_up(sums, 22).clip(-128, 127)).all()


@pytest.mark.parametrize(
    ("target", "number"),
    SPLIT_BLOCKS,
    ids=[
        f"{target.name}-{'-'.join(map(str, target.split_blocks[number]))}" for target, number in SPLIT_BLOCKS
    ],
)
@given(case=works(), blocks=st.integers(1, 3))
@drawn
def test_split_blocks_sum_what_numpy_sums(target: Target, number: int, case: Case, blocks: int) -> None:
    """Channels that are missing are written as if their weights were zero."""
    block = target.split_blocks[number]
    width = block.channels - case.lanes_off % block.channels
    work = Work(target, case, blocks * block.pixels, width).repeat(blocks).fill(block.channels)
    weight_otr = values(case.seed + 2, (width, case.taps, case.run))
    groups = -(-case.run // block.inputs)
    padded, _ = _with_others_behind(block.inputs, case, weight_otr, groups)
    weights = packing.pack_split_weights(padded, block.lanes)
    starts = packing.in_split_lanes(work.starts(weight_otr.reshape(width, -1)), block.lanes)
    before = work.outputs.copy()
    multiply_split(target.marker, number, work.job(groups, weights, starts, FOUR * LANES))
    work.check(before, np.einsum("ptr,otr->po", work.gathered(case.run), weight_otr.astype(np.int64)))


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("shift", [None, 22])
def test_the_largest_sums_of_split_blocks_are_exact(target: Target, shift: int | None) -> None:
    """As above, and as sums: neither the parts that lanes have nor what they are together leave 32 bits."""
    taps, run = 9, 2048
    for number, block in enumerate(target.split_blocks):
        for activation, weight in [(127, -128), (127, 127), (-128, -128), (-128, 127)]:
            work = Work(target, Case(0, taps, run, 0, shift, -128, False), block.pixels, block.channels)
            data = np.full(2 * OUTSIDE + 4 * REACH + taps * run, activation, np.int8)
            work.inputs = memory(target, data, OUTSIDE + REACH)
            weight_otr = np.full((work.width, taps, run), weight, np.int8)
            weights = packing.pack_split_weights(weight_otr, block.lanes)
            starts = packing.in_split_lanes(work.starts(weight_otr.reshape(work.width, -1)), block.lanes)
            multiply_split(target.marker, number, work.job(-(-run // block.inputs), weights, starts))
            stored = work.outputs[OUTSIDE + work.pixels[:, 0, None] + np.arange(work.width)]
            sums = np.int64(activation) * weight * taps * run
            found = stored if shift is None else numbers(target, stored)
            assert (found == (sums if shift is None else scaled_half_up(sums, 22).clip(-128, 127))).all()


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
@pytest.mark.parametrize("shift", range(23))
@pytest.mark.parametrize("floor", [-128, 0])
def test_every_shift_is_exact_where_results_change(target: Target, shift: int, floor: int) -> None:
    """What memory holds of sums, here their starts: at every bound of 16 bits and of a result that is not saturated."""
    bounds = np.array([-(2**31), -(2**16), -(2**15), 0, 2**15, 2**16, 255 << shift, 256 << shift, 2**31 - 1])
    steps = np.array([0, 1, 127, 128, 254, 255])[:, None] << shift
    edges = np.unique(np.concatenate([bounds, steps.ravel()])[:, None] + np.array([-1, 0, 1]))
    edges = edges[(edges >= -(2**31)) & (edges < 2**31)]
    for number, block in enumerate(target.blocks):
        width = block.vectors * target.lanes
        for first in range(0, len(edges), width):
            sums = np.resize(edges[first:], width).astype(np.int32)
            case = Case(0, 0, 1, 0, shift, floor, False)
            work = Work(target, case, block.pixels, width)
            starts = packing.in_lane_order(target, sums, is_wide=False)
            multiply(target.marker, number, work.job(0, np.zeros(0, np.uint8), starts))
            stored = work.outputs[OUTSIDE + work.pixels[:, 0, None] + np.arange(width)]
            assert (stored == (sums >> shift).clip(0, 127 - floor)).all()


def _with_others_behind(inputs: int, case: Case, weight_otr: Array, groups: int) -> tuple[Array, int]:
    """The weights of each tap and, behind their groups of inputs, others that must not be multiplied; all groups."""
    width, taps, run = weight_otr.shape
    others = values(case.seed + 3, (width, taps, case.passed_over * inputs))
    unused = np.zeros((width, taps, groups * inputs - run), np.int8)
    return np.concatenate([weight_otr, unused, others], axis=2), groups + case.passed_over


@on_every_target
@given(case=works(), vectors=st.integers(1, 4), blocks=st.integers(1, 3))
@settings(drawn, max_examples=150)
def test_a_block_of_channels_sums_what_numpy_sums(
    target: Target, case: Case, vectors: int, blocks: int
) -> None:
    """Depthwise: channel c of a pixel meets the weights of output c alone."""
    vectors = min(vectors, target.marker.channel_vectors)
    width = vectors * target.lanes - case.lanes_off % target.lanes
    work = Work(target, case, blocks * target.marker.channel_pixels, width).repeat(blocks)
    work.is_together = width == target.marker.channel_vectors * target.lanes
    weight_ct = values(case.seed + 2, (width, case.taps))
    weights = packing.pack_channel_weights(target, weight_ct)
    starts = packing.by_channel_vector(target, work.starts(weight_ct))
    before = work.outputs.copy()
    multiply_depthwise(target.marker, work.job(1, weights, starts))
    work.check(before, np.einsum("ptc,ct->pc", work.gathered(width), weight_ct.astype(np.int64)))


@on_every_target
def test_the_largest_sums_of_unsigned_activations_are_exact(target: Target) -> None:
    """18432 products of 255 and 128, as memory holds 127, and of 0, as it holds -128; each block alone."""
    taps, run = 9, 2048
    for number, block in enumerate(target.blocks):
        width = block.vectors * target.lanes
        for activation, weight in [(127, -128), (127, 127), (-128, -128), (-128, 127)]:
            case = Case(0, taps, run, 0, None, -128, False)
            work = Work(target, case, block.pixels, width)
            data = np.full(2 * OUTSIDE + 4 * REACH + taps * run, activation, np.int8)
            work.inputs = memory(target, data, OUTSIDE + REACH)
            weight_otr = np.full((width, taps, run), weight, np.int8)
            weights = packing.pack_weights(target, weight_otr, run // target.products, is_wide=True)
            starts = work.starts(weight_otr.reshape(width, -1))
            multiply(target.marker, number, work.job(run // target.products, weights, starts))
            stored = work.outputs[OUTSIDE + work.pixels[:, 0, None] + np.arange(width)]
            assert (stored == activation * weight * taps * run).all()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_channels_are_dealt_out_to_lanes_once_each(target: Target) -> None:
    for vectors in range(1, 9):
        order = channel_order(target, vectors)
        assert sorted(order) == list(range(vectors * target.lanes))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_groups_of_vectors_are_few_and_the_last_one_is_not_alone(target: Target) -> None:
    for vectors in range(1, 70):
        sizes = packing.group_sizes(target, vectors)
        assert sum(sizes) == vectors
        assert 1 <= min(sizes) <= max(sizes) <= target.vectors
        assert len(sizes) == -(-vectors // target.vectors)
        assert len(sizes) == 1 or sizes[-1] > 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("outputs", [1, 5, 17, 64, 65, 100, 129])
def test_every_weight_is_packed_once(target: Target, outputs: int) -> None:
    """Sorted, what is packed is what was given, and zeros."""
    taps, run = 2, 7
    weight_otr = values(outputs, (outputs, taps, run))
    groups = packing.inputs_together(target, run, single_pixel=False)
    number = np.int8 if target.products == 4 else np.int16
    full = packing.vectors_of(target, outputs) * target.lanes * taps * groups * target.products
    zeros = np.zeros(full - weight_otr.size, np.int64)
    for is_wide in (False, True):
        packed = packing.pack_weights(target, weight_otr, groups, is_wide=is_wide).view(number)
        assert np.array_equal(np.sort(packed), np.sort(np.concatenate([weight_otr.ravel(), zeros])))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_narrow_blocks_of_some_channels_stand_together_the_largest_first(target: Target) -> None:
    for channels, run, is_adjacent in product(range(1, 30), (1, 3, 6, 9, 12, 16, 24, 96), (False, True)):
        numbers = target.narrow_numbers(channels, run, is_adjacent=is_adjacent)
        found = [target.narrow_blocks[number] for number in numbers]
        alike = [block for block in target.narrow_blocks if found and block[1:] == found[0][1:]]
        assert found == sorted(alike, reverse=True)
        assert {FOUR * block.fours for block in found} <= {channels}
        assert is_adjacent or not any(block.is_adjacent for block in found)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_split_blocks_of_some_lanes_stand_together_the_largest_first(target: Target) -> None:
    for lanes in target.lanes_of_split_blocks:
        found = [target.split_blocks[number] for number in target.split_numbers(lanes)]
        assert found == sorted((b for b in target.split_blocks if b.lanes == lanes), reverse=True)
        assert all(block.pixels % lanes == 0 for block in found)


def test_short_runs_meet_few_zeros() -> None:
    target = TARGETS[0]
    for run, is_adjacent, inputs in [
        (3, True, 4),
        (3, False, 12),
        (9, True, 12),
        (20, False, 12),
        (32, True, 16),
    ]:
        numbers = target.narrow_numbers(16, run, is_adjacent=is_adjacent)
        assert {target.narrow_blocks[number].inputs for number in numbers} == {inputs}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 64, 65])
def test_a_pixel_has_room_for_what_a_kernel_writes(target: Target, count: int) -> None:
    step = target.channel_step(count)
    assert step >= count
    assert step % target.products == 0
    if not target.masked_stores:
        assert step == packing.vectors_of(target, count) * target.lanes
