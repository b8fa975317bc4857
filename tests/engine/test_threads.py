"""Threads: whoever shares the work, and whoever runs at the same time, the results are the same."""

import atexit
import faulthandler
import gc
import json
import random
import re
import shutil
import signal
import threading
import time
import timeit
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ai8xsim import Program, Simulator, Trace
from ai8xsim.engine import run as engine
from ai8xsim.engine.executor import Keep
from ai8xsim.engine.lower import lower
from ai8xsim.kernels.generated import driver
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import available_targets, choose_target

from ..simulator.networks_drawn import DrawnNetwork, networks
from ..simulator.small_programs import mixed_program, program_of, random_int8
from .own_process import ROOT, in_own_process

LIMIT = 100  # seconds
KEEPS: tuple[Keep, ...] = get_args(Keep)
SHAPE = (48, 40, 40)
PICTURE = (3, 64, 72)
DRAWN = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def a_hang_ends_the_process() -> Iterator[None]:
    """Compiled code that waits for another thread cannot be interrupted otherwise."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def there_are_more_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or so it seems: otherwise no more threads than there are would share the work."""
    monkeypatch.setattr(engine, "_processors", lambda: 8)


@pytest.fixture
def all_work_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small it is."""
    monkeypatch.setattr(engine, "WORTH_THREADS", 0)


Facts = list[tuple[Any, ...]]


def facts(trace: Trace) -> Facts:
    """All that a run computes."""
    return [(layer.title, list(layer.digests), layer.saturated) for layer in trace]


@cache
def large_program() -> Program:
    """Each layer is enough work for several threads, but for those that have a single pixel."""
    layers = """
    - {name: wide, op: conv2d, pad: 1, output_shift: -2}
    - {name: sum, op: add, in_sequences: [wide, input]}
    - {name: differ, op: xor, in_sequences: [sum, wide]}
    - {name: each, op: conv2d, groups: 48, pad: 1}
    - {name: most, op: none, max_pool: 2, pool_stride: 1}
    - {name: mean, op: none, avg_pool: 2, pool_stride: 1}
    - {name: less, op: sub, max_pool: 2, pool_stride: 1, pool_first: true, in_sequences: [mean, mean]}
    - {name: few, op: conv2d, pad: 1, in_sequences: mean, output: true}
    - {name: last, op: conv2d, pad: 1, output_width: 32}
    """
    weights = [
        random_int8(1, 48, 48, 3, 3),
        random_int8(2, 48, 1, 3, 3),
        random_int8(3, 8, 48, 3, 3),
        random_int8(4, 40, 8, 3, 3),
    ]
    return program_of("\n".join(map(str.strip, layers.split("\n"))), *weights, input_shape=SHAPE)


@cache
def large_picture_program(outputs: int) -> Program:
    """Likewise of samples with three channels."""
    return program_of(
        "- {op: conv2d, pad: 1, output_shift: -2}", random_int8(5, outputs, 3, 3, 3), input_shape=PICTURE
    )


@cache
def large_samples() -> Any:
    return random_int8(0, 7, *SHAPE)


@cache
def large_facts() -> list[Facts]:
    """Of each sample alone, by a single thread."""
    machine = Simulator(large_program(), threads=1)
    return [facts(machine.run(sample)) for sample in large_samples()]


def departure(machine: Simulator, program: Program, batches: list[Any]) -> str | None:
    """Where a machine's results are not those of a single thread."""
    alone = Simulator(program, threads=1)
    for batch in batches:
        for keep in KEEPS:
            if facts(machine.run(batch, keep)) != facts(alone.run(batch, keep)):
                return f"{batch.shape}, {keep}"
    return None


# Any number of threads


@pytest.mark.usefixtures("all_work_is_shared")
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_batches_of_1_to_50_are_the_same_with_any_number_of_threads(threads: int) -> None:
    batches = [random_int8(count, count, 2, 4, 4) for count in range(1, 51)]
    machine = Simulator(mixed_program(), threads=threads)
    assert departure(machine, mixed_program(), batches) is None


@pytest.mark.usefixtures("all_work_is_shared")
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_adjacent_pixels_stay_together(threads: int) -> None:
    program = program_of(
        "- {op: conv2d, pad: 1, output_shift: -1}", random_int8(0, 16, 3, 3, 3), input_shape=(3, 9, 12)
    )
    samples = [random_int8(count, count, 3, 9, 12) for count in (1, 1, 2, 3, 50)]
    assert departure(Simulator(program, threads=threads), program, samples) is None


def test_every_kind_of_step_is_large_enough_to_be_shared() -> None:
    """Or else the tests below would prove little."""
    target = choose_target()
    assert target is not None
    programs = large_program(), large_picture_program(8), large_picture_program(40)
    plans = [
        lower(program, target, keep_all=keep_all).plan for program in programs for keep_all in (True, False)
    ]
    shared = {
        Kind(step["kind"])
        for plan in plans
        for step in plan.steps
        if step["work"] * step["pixel_count"] > driver.WORTH_SHARING
    }
    missing = set() if target.narrow_blocks else {Kind.MULTIPLY_NARROW}
    missing |= set() if target.split_blocks else {Kind.MULTIPLY_SPLIT}
    missing |= set() if target.value_bytes == 1 else {Kind.STACK}
    assert shared >= set(Kind) - {Kind.ROLL} - missing


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("keep", KEEPS)
def test_a_single_large_sample_is_the_same_each_time(keep: Keep, threads: int) -> None:
    picture = random_int8(6, *PICTURE)
    pictures = [(large_picture_program(outputs), picture) for outputs in (8, 40)]
    for program, sample in [(large_program(), large_samples()[0]), *pictures]:
        machine, expected = (
            Simulator(program, threads=threads),
            facts(Simulator(program, threads=1).run(sample, keep)),
        )
        for _ in range(30):
            assert facts(machine.run(sample, keep)) == expected


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_large_batches_are_the_same_with_any_number_of_threads(threads: int) -> None:
    batches = [large_samples()[:count] for count in range(1, 8)]
    assert departure(Simulator(large_program(), threads=threads), large_program(), batches) is None


@pytest.mark.usefixtures("all_work_is_shared")
@pytest.mark.parametrize("count", [1, 2, 33])
def test_saturated_values_are_counted_once_whoever_meets_them(count: int) -> None:
    batch = random_int8(count, count, 2, 4, 4)
    counts = [
        [layer.saturated for layer in Simulator(mixed_program(), threads=threads).run(batch)]
        for threads in (1, 2, 3, 5)
    ]
    assert counts == [counts[0]] * 4
    assert any(counts[0])


def test_more_threads_than_cores_come_to_an_end() -> None:
    machine, sample = Simulator(large_program(), threads=16), large_samples()[0]
    for _ in range(10):
        assert facts(machine.run(sample)) == large_facts()[0]
    assert departure(machine, large_program(), [large_samples()]) is None


def test_progress_grows_up_to_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WORTH_A_REPORT", 0)
    told: list[tuple[int, int]] = []
    samples = random_int8(0, 300, 8, 24, 24)
    program = program_of("- {op: conv2d, pad: 1}", random_int8(1, 64, 8, 3, 3), input_shape=(8, 24, 24))
    machine = Simulator(program, threads=3)
    reported = machine.run(samples, progress=lambda done, total: told.append((done, total)))
    assert facts(reported) == facts(Simulator(program, threads=1).run(samples))
    assert len(told) > 3
    assert told == sorted(set(told))
    assert told[-1] == (300, 300)


def test_a_run_that_its_progress_ends_leaves_the_simulator_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WORTH_A_REPORT", 0)
    machine = Simulator(large_program(), threads=2)

    def refuse(done: int, total: int) -> None:
        raise LookupError(f"{done} of {total}")

    for _ in range(3):
        with pytest.raises(LookupError):
            machine.run(large_samples(), progress=refuse)
        assert facts(machine.run(large_samples()[1])) == large_facts()[1]


# How many threads there are


def started_by(work: Callable[[], object]) -> int:
    """How many threads run after the work that did not run before."""
    before = set(threading.enumerate())
    work()
    return len(set(threading.enumerate()) - before)


def test_small_work_starts_no_thread() -> None:
    machine = Simulator(mixed_program(), threads=5)
    assert started_by(lambda: [machine.run(random_int8(0, 3, 2, 4, 4)) for _ in range(20)]) == 0


def test_large_work_starts_as_many_threads_as_are_asked_for_and_only_once() -> None:
    machine = Simulator(large_program(), threads=4)
    assert (
        started_by(lambda: [machine.run(large_samples()[:count], "outputs") for count in (1, 7, 1, 7)]) == 3
    )


def test_one_thread_starts_no_other() -> None:
    machine = Simulator(large_program(), threads=1)
    assert started_by(lambda: machine.run(large_samples())) == 0


def test_the_environment_variable_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI8XSIM_THREADS", "3")
    machine = Simulator(large_program())
    assert started_by(lambda: machine.run(large_samples()[0])) == 2
    assert facts(machine.run(large_samples()[0])) == large_facts()[0]


def test_an_argument_counts_more_than_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI8XSIM_THREADS", "x")
    machine = Simulator(large_program(), threads=2)
    assert started_by(lambda: machine.run(large_samples()[0])) == 1


def test_an_empty_environment_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI8XSIM_THREADS", "")
    machine = Simulator(large_program())
    assert started_by(lambda: machine.run(large_samples()[0])) == 0


@pytest.mark.parametrize("nonsense", ["0", "-2", "x", "1.5", "1e3", "two", "0x2"])
def test_nonsense_in_the_environment_variable_is_refused(
    nonsense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI8XSIM_THREADS", nonsense)
    with pytest.raises(ValueError, match=re.escape(nonsense)):
        Simulator(mixed_program())


def wait_until(holds: Callable[[], bool], limit: float = 10) -> bool:
    """Whether something holds within some seconds."""
    end = time.monotonic() + limit
    while not holds() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return holds()


def test_threads_end_with_their_simulator() -> None:
    before = set(threading.enumerate())
    machines = [Simulator(large_program(), threads=3) for _ in range(5)]
    for machine in machines:
        machine.run(large_samples()[0])
    started = set(threading.enumerate()) - before
    assert len(started) == 10
    del machine, machines
    assert wait_until(lambda: not any(thread.is_alive() for thread in started))


def test_threads_that_come_late_keep_no_results_alive() -> None:
    """With many more threads than cores, most find the work done."""
    machine, sample = Simulator(large_program(), threads=16), large_samples()[0]
    alive = [weakref.ref(machine.run(sample)["wide"].output.base) for _ in range(300)]
    assert sum(reference() is not None for reference in alive) < 100
    assert wait_until(lambda: all(reference() is None for reference in alive))


# Several at once


@pytest.mark.usefixtures("all_work_is_shared")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_eight_threads_may_run_one_simulator_with_different_samples(threads: int) -> None:
    machine, alone = Simulator(mixed_program(), threads=threads), Simulator(mixed_program(), threads=1)
    batches = [random_int8(seed, 1 + seed % 9, 2, 4, 4) for seed in range(200)]
    expected = [facts(alone.run(batch)) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        assert [facts(trace) for trace in pool.map(machine.run, batches)] == expected


def test_eight_threads_may_run_one_simulator_with_different_large_samples() -> None:
    machine, places = Simulator(large_program(), threads=3), [place % 7 for place in range(80)]
    with ThreadPoolExecutor(8) as pool:
        traces = pool.map(lambda place: machine.run(large_samples()[place]), places)
        assert [facts(trace) for trace in traces] == [large_facts()[place] for place in places]


def test_the_first_runs_of_a_simulator_may_come_at_once() -> None:
    for _ in range(10):
        machine, together = Simulator(large_program(), threads=2), threading.Barrier(8)

        def first_run(place: int, machine: Simulator = machine, together: Any = together) -> Facts:
            together.wait()
            return facts(machine.run(large_samples()[place % 7]))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(first_run, range(8))) == [large_facts()[place % 7] for place in range(8)]


def test_several_simulators_may_run_at_once_each_with_several_threads() -> None:
    machines = [Simulator(large_program(), threads=3) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for place in range(7):
            sample = large_samples()[place]
            traces = pool.map(lambda machine, sample=sample: machine.run(sample), machines)
            assert [facts(trace) for trace in traces] == [large_facts()[place]] * 6


def test_sessions_of_one_simulator_do_not_meet() -> None:
    machine, samples = Simulator(mixed_program(), threads=2), random_int8(0, 40, 2, 4, 4)

    def series(_: int) -> list[Facts]:
        session = machine.session()
        return [facts(session.run(sample)) for sample in samples]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(series, range(8))) == [series(0)] * 8


# Interruptions


class _StopError(Exception):
    pass


def _interrupt_runs() -> list[int]:
    """How many of a hundred runs were interrupted, after how many memory of others changed, wrong results later."""
    pytest.MonkeyPatch().setattr(engine, "_processors", lambda: 8)
    machine, samples = Simulator(large_program(), threads=3), large_samples()[[0, 1, 2, 3, 4, 5, 6] * 2]

    def stop(*_: object) -> None:
        raise _StopError

    signal.signal(signal.SIGALRM, stop)
    expected = facts(machine.run(samples, "outputs"))
    usual = min(timeit.repeat(lambda: machine.run(samples, "outputs"), number=1, repeat=5))
    stopped = spoilt = 0
    for _ in range(100):
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.1, 1) * usual)
        try:
            machine.run(samples, "outputs")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except _StopError:
            stopped += 1
        zeros = [np.zeros(size, np.int64) for size in range(1, 128) for _ in range(8)]
        time.sleep(usual)
        spoilt += any(part.any() for part in zeros)
    return [stopped, spoilt, int(facts(machine.run(samples, "outputs")) != expected)]


def test_threads_left_behind_by_an_interrupted_run_change_no_memory_of_others() -> None:
    stopped, spoilt, wrong = in_own_process(_interrupt_runs)
    assert stopped > 20
    assert (spoilt, wrong) == (0, 0)


def _run_at_the_end(where: str) -> None:
    machine = Simulator(large_program(), threads=2)

    def late() -> None:
        time.sleep(1 if where == "thread" else 0)
        one, several = facts(machine.run(large_samples()[0])), facts(machine.run(large_samples()))
        alone = Simulator(large_program(), threads=1)
        right = one == large_facts()[0] and several == facts(alone.run(large_samples()))
        print(json.dumps("right" if right else "wrong"))

    if where == "exit":
        atexit.register(late)
    else:
        threading.Thread(target=late).start()


@pytest.mark.parametrize("where", ["thread", "exit"])
def test_a_simulator_runs_when_the_main_thread_has_ended(where: str) -> None:
    assert in_own_process(_run_at_the_end, where) == "right"


# Tiny steps, divided all the same


def with_tiny_steps_shared(folder: Path) -> Path:
    """A copy of the package that divides every step, however small it is."""
    shutil.copytree(ROOT / "ai8xsim", folder / "ai8xsim", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "ai8xsim" / "kernels" / "generated" / "driver.py"
    changed, count = re.subn(r"= 200_000, 2_000_000, 4\n", "= 0, 1, 4\n", file.read_text())
    assert count == 1
    file.write_text(changed)
    return folder


def _check_drawn_networks(examples: int) -> list[str]:
    """Where networks run otherwise by several threads than by one."""
    assert driver.WORTH_SHARING == 0
    patch = pytest.MonkeyPatch()
    patch.setattr(engine, "WORTH_THREADS", 0)
    patch.setattr(engine, "_processors", lambda: 8)
    found: list[str] = []

    @given(networks())
    @settings(DRAWN, max_examples=examples)
    def check(network: DrawnNetwork) -> None:
        batches = [network.samples, network.samples[0]]
        for threads in (2, 3):
            machine = Simulator(network.program, threads=threads)
            for _ in range(3):
                if place := departure(machine, network.program, batches):
                    found.append(f"{threads} threads, {place}\n{network}")

    check()
    large = Simulator(large_program(), threads=3)
    found.extend(str(at) for at in range(7) if facts(large.run(large_samples()[at])) != large_facts()[at])
    return found[:1]


def test_threads_share_steps_of_a_few_pixels(tmp_path: Path) -> None:
    assert in_own_process(_check_drawn_networks, 20, package=with_tiny_steps_shared(tmp_path)) == []


@pytest.mark.deep
@pytest.mark.parametrize("target", [target.name for target in available_targets()])
def test_threads_share_steps_of_a_few_pixels_on_every_target(target: str, tmp_path: Path) -> None:
    package = with_tiny_steps_shared(tmp_path)
    environment = {"AI8XSIM_TARGET": target}
    assert in_own_process(_check_drawn_networks, 500, environment=environment, package=package) == []
