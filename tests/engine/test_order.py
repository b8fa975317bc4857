"""Steps that need not wait for each other: in whatever order they run, nothing else comes out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from ai8xsim import Program
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.executor import LayerTraces
from ai8xsim.engine.lower import Lowered, lower, lowerable
from ai8xsim.engine.places import places_of, waits_of
from ai8xsim.engine.run import Engine
from ai8xsim.engine.tensor import Region
from ai8xsim.engine.workers import Workers
from ai8xsim.kernels.generated.driver import runner_of
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from ai8xsim.samples import checked_samples
from tests.simulator.networks_drawn import DrawnNetwork, networks
from tests.simulator.small_programs import mixed_program, random_int8
from tests.simulator.test_three_roads import DRAWN

from .test_threads import large_program, large_samples

Order = npt.NDArray[np.int64]
Shuffle = Callable[[Order], Order]

SHUFFLES: tuple[Shuffle, ...] = (
    lambda steps: steps[::-1],
    np.random.default_rng(0).permutation,
    lambda steps: np.roll(steps, 1),
)

on_every_target = pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)


def groups_of(lowered: Lowered) -> Iterator[Order]:
    """The steps that may go side by side; the first one of a group waits for all groups before."""
    waits = lowered.plan.steps["waits"]
    yield from np.split(np.arange(len(waits)), np.flatnonzero(waits))


def shuffled(lowered: Lowered, shuffle: Shuffle) -> Lowered:
    order = np.concatenate([shuffle(group) for group in groups_of(lowered)])
    return replace(lowered, plan=replace(lowered.plan, steps=lowered.plan.steps[order]))


def outputs_of(lowered: Lowered, target: Target, samples: npt.NDArray[np.int8]) -> LayerTraces:
    engine = Engine(lowered, target, Workers(0, runner_of(target)))
    return engine.prepared(len(samples), "all", is_batch=True)(samples, None)


def differs(lowered: Lowered, target: Target, samples: npt.NDArray[np.int8]) -> bool:
    """Whether the order of the steps of a group matters."""
    wanted = outputs_of(lowered, target, samples)
    found = [outputs_of(shuffled(lowered, shuffle), target, samples) for shuffle in SHUFFLES]
    return any(
        one.saturated != other.saturated or not np.array_equal(one.output, other.output)
        for traces in found
        for one, other in zip(wanted, traces, strict=True)
    )


def plans(program: Program, target: Target) -> Iterator[Lowered]:
    """Where outputs only are kept, convolutions make activations in more ways."""
    for keep_all, is_single, is_shared in product((True, False), repeat=3):
        yield lower(program, target, keep_all=keep_all, is_single=is_single, is_shared=is_shared)


@on_every_target
@given(network=networks())
@settings(DRAWN, max_examples=60)
def test_steps_of_a_group_go_in_any_order(target: Target, network: DrawnNetwork) -> None:
    if lowerable(network.program):
        samples = checked_samples(network.samples, network.program.input_shape).nchw
        assert not any(differs(lowered, target, samples) for lowered in plans(network.program, target))


@on_every_target
def test_steps_of_large_layers_go_in_any_order(target: Target) -> None:
    assert not any(
        differs(lowered, target, large_samples()[:3]) for lowered in plans(large_program(), target)
    )


def test_the_order_matters_where_no_step_waits() -> None:
    """Or else the tests above would prove nothing."""
    target = available_targets()[0]
    for lowered in plans(mixed_program(), target):
        steps = lowered.plan.steps.copy()
        steps["waits"] = 0
        careless = replace(lowered, plan=replace(lowered.plan, steps=steps))
        assert differs(careless, target, random_int8(0, 3, 2, 4, 4))


A, B, C = (Region(number, 640) for number in range(3))
KEPT = Region(3, 640, is_kept=True)
SUMS = Region(4, 640, is_sums=True)


def waits(*steps: tuple[Kind, Region | None, tuple[Region, ...]]) -> list[bool]:
    drafts = [Draft(kind, output, sources, np.zeros((1, 2), np.int64)) for kind, output, sources in steps]
    return waits_of(drafts, places_of(drafts)[0])


def test_who_reads_waits_for_who_writes() -> None:
    assert waits((Kind.LOAD, A, ()), (Kind.MULTIPLY, B, (A,))) == [False, True]
    assert waits((Kind.MULTIPLY, SUMS, (A,)), (Kind.REQUANTIZE, B, (SUMS,))) == [False, True]
    assert waits((Kind.MULTIPLY, B, (A,)), (Kind.EMIT, None, (B,)), (Kind.EMIT, None, (B,))) == [
        False,
        True,
        False,
    ]


def test_who_writes_waits_for_who_reads_what_lay_there() -> None:
    """C lies where A was."""
    steps = [(Kind.MULTIPLY, B, (A,)), (Kind.FILL, C, ()), (Kind.MULTIPLY, C, (B,))]
    assert waits((Kind.LOAD, A, ()), *steps) == [False, True, True, False]


def test_borders_and_parts_of_a_convolution_go_side_by_side() -> None:
    parts = [
        (Kind.FILL, B, ()),
        (Kind.MULTIPLY, B, (A,)),
        (Kind.MULTIPLY, B, (A,)),
        (Kind.MULTIPLY_SPLIT, B, (A,)),
    ]
    assert waits((Kind.LOAD, A, ()), *parts) == [False, False, True, False, False]


def test_data_that_is_joined_comes_side_by_side() -> None:
    assert waits((Kind.MAXIMUM, C, (A,)), (Kind.MAXIMUM, C, (B,))) == [False, False]


def test_buffers_change_in_turn() -> None:
    steps = [(Kind.ROLL, KEPT, ()), (Kind.MAXIMUM, KEPT, (A,)), (Kind.MULTIPLY, B, (KEPT,))]
    assert waits((Kind.FILL, KEPT, ()), *steps) == [False, True, True, True]
