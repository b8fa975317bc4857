"""Drawn networks on the targets that are not chosen by themselves; `test_three_roads` runs the one that is."""

from collections.abc import Iterable, Iterator
from functools import cache
from inspect import cleandoc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Program, Simulator
from ai8xsim.engine import run as engine_run
from tests.engine.targets import NAMES, OTHERS
from tests.simulator.networks_drawn import DrawnNetwork, networks
from tests.simulator.slow_machine import slow_trace
from tests.simulator.small_programs import program_of, random_int8
from tests.simulator.test_three_roads import DRAWN, check_outputs, check_session, departure

FEW, FEW_SESSIONS, FEW_BATCHES = 150, 40, 25
LONG_BATCH = 70  # more than go through a network together
REPETITIONS = 12  # threads do not meet in every run

on_every_target = pytest.mark.parametrize("target", NAMES)
on_every_other_target = pytest.mark.parametrize("target", OTHERS)


def check(network: DrawnNetwork, target: str) -> None:
    """The target's kernels agree with the slow machine, whatever is kept."""
    fast = Simulator(network.program, target=target).run(network.samples)
    assert departure(fast, slow_trace(network.program, list(network.samples))) is None
    check_outputs(network, fast, target)


@on_every_other_target
@given(network=networks())
@settings(DRAWN, max_examples=FEW)
def test_every_target_agrees_with_the_slow_machine(target: str, network: DrawnNetwork) -> None:
    check(network, target)


@pytest.mark.deep
@on_every_other_target
@given(network=networks())
@settings(DRAWN, max_examples=10 * FEW)
def test_every_target_agrees_on_ten_times_as_many(target: str, network: DrawnNetwork) -> None:
    check(network, target)


@on_every_other_target
@given(network=networks(with_window=True))
@settings(DRAWN, max_examples=FEW_SESSIONS)
def test_a_session_goes_on_on_every_target(target: str, network: DrawnNetwork) -> None:
    check_session(network, target)


@pytest.mark.deep
@on_every_other_target
@given(network=networks(with_window=True))
@settings(DRAWN, max_examples=10 * FEW_SESSIONS)
def test_ten_times_as_many_sessions_on_every_target(target: str, network: DrawnNetwork) -> None:
    check_session(network, target)


@pytest.fixture
def threads_for_anything() -> Iterator[None]:
    """However little there is to do, all threads take part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_run, "WORTH_THREADS", 0)
        yield


def check_batch(network: DrawnNetwork, target: str, threads: int, order: npt.NDArray[np.int64]) -> None:
    """A long batch of samples that come again and again gives each of them what it gives alone."""
    alone = [slow_trace(network.program, [sample]) for sample in network.samples]
    machine, samples = Simulator(network.program, threads, target), network.samples[order]
    everything, kept = machine.run(samples), machine.run(samples, keep="outputs")
    for place, fast in enumerate(everything):
        parts = [alone[sample].layers[place] for sample in order]
        assert fast.digests == tuple(part.digest for part in parts), fast.title
        assert fast.saturated == total(part.saturated for part in parts), fast.title
    for layer in kept:
        assert layer.digests == everything[layer.index].digests, layer.title


def total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


@on_every_target
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("threads_for_anything")
@given(network=networks(), seed=st.integers(0, 1000), count=st.sampled_from([1, 2, 5, 63, LONG_BATCH]))
@settings(DRAWN, max_examples=FEW_BATCHES)
def test_a_batch_of_any_length_equals_its_samples(
    target: str, threads: int, network: DrawnNetwork, seed: int, count: int
) -> None:
    order = np.random.default_rng(seed).integers(0, len(network.samples), count)
    check_batch(network, target, threads, order)


@cache
def large_program() -> Program:
    """Each kind of step has enough to do for several threads, even for a single sample."""
    layers = """
    - {op: conv2d, pad: 1, output_shift: -3}
    - {op: conv2d, pad: 1, groups: 40, output_shift: -1, activate: ReLU}
    - {name: half, op: conv2d, pad: 1, max_pool: 2, pool_stride: 2, output_shift: -3, output: true}
    - {op: convtranspose2d, output_shift: -3}
    - {op: conv2d, pad: 1, avg_pool: 2, pool_stride: 2, in_sequences: half, activate: Abs, output_shift: -3}
    - {name: sums, op: conv2d, kernel_size: 1x1, pad: 0, in_sequences: half, output_shift: -2}
    - {op: add, in_sequences: [half, sums]}
    - {op: linear, flatten: true, output_width: 32}
    """
    weights = [
        random_int8(1, 40, 12, 3, 3),
        random_int8(2, 40, 1, 3, 3),
        random_int8(3, 36, 40, 3, 3),
        random_int8(4, 36, 20, 3, 3),
        random_int8(5, 8, 36, 3, 3),
        random_int8(6, 36, 36, 1, 1),
        random_int8(7, 10, 36 * 16 * 20),
    ]
    return program_of(cleandoc(layers), *weights, input_shape=(12, 32, 40))


@on_every_target
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_threads_share_the_work_on_large_samples(target: str, samples: int) -> None:
    """Fewer samples than threads, or more; again and again in the same memory."""
    x_nchw = random_int8(samples, samples, 12, 32, 40)
    wanted = Simulator(large_program(), target="portable").run(x_nchw)
    machine = Simulator(large_program(), threads=3, target=target)
    for _ in range(REPETITIONS):
        got = machine.run(x_nchw)
        assert got.first_difference(wanted) is None
        assert [layer.saturated for layer in got] == [layer.saturated for layer in wanted]
        kept = machine.run(x_nchw, keep="outputs")
        assert all(np.array_equal(kept.outputs[i], wanted.outputs[i]) for i in wanted.outputs)


@on_every_target
@pytest.mark.parametrize("operation", ["add", "sub", "or", "xor"])
def test_threads_share_an_element_wise_operation(target: str, operation: str) -> None:
    x_chw = random_int8(1, 64, 64, 64)
    program = program_of(f"- {{op: {operation}, operands: 2}}", input_shape=x_chw.shape)
    wanted = Simulator(program, target="portable").run(x_chw)
    machine = Simulator(program, threads=3, target=target)
    for _ in range(5 * REPETITIONS):
        got = machine.run(x_chw)
        assert got.first_difference(wanted) is None
        assert got.layers[0].saturated == wanted.layers[0].saturated
