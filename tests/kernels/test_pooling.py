"""The generated pooling kernels against NumPy: every target that runs here."""

from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78002, Simulator
from ai8xsim.engine import run
from ai8xsim.kernels import reference
from ai8xsim.kernels.generated.pooling import (
    PoolJob,
    channels_of_squares,
    take_average,
    take_maximum,
    take_maximum_of_squares,
)
from ai8xsim.kernels.generated.targets import Target
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
)
from tests.simulator.small_programs import program_of

MOST_TAPS = 256  # 16 x 16

drawn = settings(
    derandomize=True, deadline=None, database=None, max_examples=200, suppress_health_check=list(HealthCheck)
)


@compiled
def maximum(target: Any, job: PoolJob) -> None:
    take_maximum(target, job)


@compiled
def average(target: Any, job: PoolJob) -> None:
    take_average(target, job)


@compiled
def maximum_of_squares(target: Any, job: PoolJob) -> None:
    take_maximum_of_squares(target, job)


class Case(NamedTuple):
    seed: int
    kind: str  # "max", "average", "rounded"
    channels: int
    pixels: int
    taps: int


@st.composite
def pools(draw: st.DrawFn) -> Case:
    return Case(
        seed=draw(seeds),
        kind=draw(st.sampled_from(["max", "average", "rounded"])),
        channels=draw(st.one_of(st.integers(1, 20), st.integers(1, 140))),
        pixels=draw(st.integers(1, 7)),
        taps=draw(st.one_of(st.integers(1, 9), st.integers(1, MOST_TAPS))),
    )


def averages(sums: Array, count: int, rounds: bool) -> Array:
    """The magnitude, truncated or rounded half up, with its sign."""
    raised = 2 * abs(sums) + (count if rounds else 0)
    return np.asarray(np.sign(sums) * (raised // (2 * count)))


@on_every_target
@given(case=pools())
@drawn
def test_pooling_is_what_numpy_pools(target: Target, case: Case) -> None:
    random = np.random.default_rng(case.seed)
    inputs = memory(target, values(case.seed, (1000,)))
    taps = random.integers(-100, 100, case.taps).astype(np.int32)
    gaps = case.channels + random.integers(0, 3, case.pixels)
    offsets = np.stack([random.permutation(np.cumsum(gaps)), random.integers(0, 100, case.pixels)], 1)
    pixels = np.ascontiguousarray(offsets, np.int32)
    outputs = held(target, values(case.seed + 1, (int(gaps.sum()) + case.channels + 2 * OUTSIDE,)))
    before = outputs.copy()
    job = PoolJob(
        values=inputs.address,
        outputs=address_of(outputs, OUTSIDE),
        pixels=address_of(pixels),
        pixel_count=case.pixels,
        taps=address_of(taps),
        tap_count=case.taps,
        channels=case.channels,
        half=case.taps // 2 if case.kind == "rounded" else 0,
    )
    (maximum if case.kind == "max" else average)(target.marker, job)
    places = inputs.first + offsets[:, 1, None, None] + taps[:, None] + np.arange(case.channels)
    windows = inputs.numbers[places].astype(np.int64)
    pooled = windows.max(1) if case.kind == "max" else None
    if pooled is None:
        pooled = averages(windows.sum(1), case.taps, case.kind == "rounded")
    written = OUTSIDE + offsets[:, 0, None] + np.arange(case.channels)
    assert np.array_equal(numbers(target, outputs[written]), pooled)
    assert changed_only(before, outputs, written)


@on_every_target
@pytest.mark.parametrize("fours", [1, 2, 5])
@pytest.mark.parametrize("row_gap", [0, 1, 77])
@pytest.mark.parametrize("number", [0, 1])
def test_squares_side_by_side_are_pooled(target: Target, number: int, fours: int, row_gap: int) -> None:
    channels, count = channels_of_squares(target)[number], 4 * fours
    row_step = 2 * channels * count + row_gap
    inputs = memory(target, values(row_gap, (2 * row_step,)), 0)
    written = OUTSIDE + 9 + np.arange(count * channels)
    before = held(target, values(fours, (count * channels + 9 + 2 * OUTSIDE,)))
    outputs = before.copy()
    taps = np.array([0, channels, row_step, row_step + channels], np.int32)
    pixels = np.stack([9 + channels * np.arange(count), 2 * channels * np.arange(count)], 1).astype(np.int32)
    job = PoolJob(
        values=inputs.address,
        outputs=address_of(outputs, OUTSIDE),
        pixels=address_of(pixels),
        pixel_count=count,
        taps=address_of(taps),
        tap_count=4,
        channels=channels,
    )
    maximum_of_squares(target.marker, job)
    rows = [inputs.numbers[first : first + 2 * channels * count] for first in (0, row_step)]
    pooled = np.stack(rows).reshape(2, count, 2, channels).max(axis=(0, 2))
    assert np.array_equal(numbers(target, outputs[written]), pooled.ravel())
    assert changed_only(before, outputs, written)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(8, 4, 8), (16, 6, 16), (32, 4, 24), (16, 7, 9), (32, 9, 7), (64, 4, 8)])
@pytest.mark.parametrize("pool", ["pool_stride: 2", "pool_stride: 1", "pool_stride: 2, pool_dilation: 2"])
@on_every_target
def test_pools_of_two_by_two(
    target: Target, pool: str, shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether their windows are squares side by side or not, and however threads divide them."""
    monkeypatch.setattr(run, "WORTH_THREADS", 0)
    program = program_of(f"- {{op: none, max_pool: 2, {pool}}}", input_shape=shape, device=MAX78002)
    samples = values(sum(shape), (3, *shape))
    expected = Simulator(program, target="portable").run(samples).output
    machine = Simulator(program, threads, target.name)
    assert np.array_equal(machine.run(samples).output, expected)
    assert np.array_equal(machine.run(samples[1]).output, expected[1])


def windows_of(sums: Array, count: int) -> tuple[Array, tuple[int, int, int]]:
    """Three int8 for each sum, and how often each of them must be added; the three counts make `count`."""
    often = max(0, count - 1 - isqrt(count))
    seldom = count - 1 - often
    base = np.sign(sums) * -(-abs(sums) // count)  # away from zero, so that what is missing leads back
    missing = sums - count * base
    found = []
    for times in (often, seldom, 1):
        digit = np.sign(missing) * (abs(missing) // times) if times else np.zeros_like(missing)
        missing -= times * digit
        found.append(base + digit)
    assert not missing.any()
    parts = np.stack(found)
    assert -128 <= parts.min() <= parts.max() <= 127
    return parts.astype(np.int8), (often, seldom, 1)


def wrong_averages(target: Target, count: int, rounds: bool) -> Array:
    """The sums of so many int8, of all that there are, whose average is wrong."""
    sums = np.arange(-128 * count, 127 * count + 1)
    parts, counts = windows_of(sums, count)
    inputs = memory(target, parts.reshape(-1), 0)
    taps = np.repeat(np.arange(3, dtype=np.int32) * len(sums), counts).astype(np.int32)
    outputs, pixels = np.zeros(len(sums), target.value), np.zeros((1, 2), np.int32)
    addresses = inputs.address, address_of(outputs), address_of(pixels)
    half = count // 2 if rounds else 0
    average(target.marker, PoolJob(*addresses, 1, address_of(taps), count, len(sums), half))
    return np.asarray(sums[numbers(target, outputs) != averages(sums, count, rounds)])


@on_every_target
@pytest.mark.parametrize("rounds", [False, True], ids=["truncated", "rounded"])
def test_every_sum_of_every_window_has_its_average(target: Target, rounds: bool) -> None:
    for count in range(1, MOST_TAPS + 1):
        assert wrong_averages(target, count, rounds).size == 0, count


@pytest.mark.parametrize("rounds", [False, True], ids=["truncated", "rounded"])
def test_averages_here_are_those_of_the_reference(rounds: bool) -> None:
    for count in (1, 2, 3, 4, 9):
        for total in range(-128 * count, 127 * count + 1):
            window = [total, *[0] * (count - 1)]
            assert averages(np.array([total]), count, rounds).item() == reference.average(window, rounds)
