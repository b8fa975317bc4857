"""The arena: regions that are alive at the same time never meet, and borders hold zeros to the end."""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import Program
from ai8xsim.engine import places as regions
from ai8xsim.engine.build import Builder, Plan
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.lower import Lowered, lower, lowerable
from ai8xsim.engine.places import ALIGNMENT, places_of
from ai8xsim.engine.run import Engine
from ai8xsim.engine.tensor import Offsets, Region, Tensor, laid_out
from ai8xsim.engine.workers import Workers
from ai8xsim.kernels.generated.driver import runner_of
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import Target, available_targets
from ai8xsim.samples import checked_samples
from tests.simulator.networks_drawn import DrawnNetwork, networks
from tests.simulator.test_three_roads import DRAWN, replaced

NO_OFFSETS = np.zeros((1, 2), np.int64)
SIZES = (1, 63, 64, 65, 200, 1000)

on_every_target = pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)


@st.composite
def drafts(draw: st.DrawFn) -> list[Draft]:
    """Steps that use regions in any order; a region that is written is read at any time later, or never."""
    count = draw(st.integers(1, 12))
    regions = [
        Region(
            number,
            draw(st.sampled_from(SIZES)),
            is_sums=draw(st.booleans()),
            is_kept=draw(st.integers(0, 5)) == 0,
        )
        for number in range(count)
    ]
    some = st.lists(st.sampled_from(regions), max_size=3)
    output = st.one_of(st.none(), st.sampled_from(regions))
    return [
        Draft(Kind.COMBINE, draw(output), tuple(draw(some)), NO_OFFSETS)
        for _ in range(draw(st.integers(1, 20)))
    ]


def lives(steps: list[Draft]) -> dict[Region, tuple[int, int]]:
    found: dict[Region, tuple[int, int]] = {}
    for region in {region for draft in steps for region in draft.regions}:
        times = [time for time, draft in enumerate(steps) if region in draft.regions]
        found[region] = (0, len(steps)) if region.is_kept else (times[0], times[-1])
    return found


def collisions(steps: list[Draft], *, is_shared: bool) -> Iterator[tuple[Region, Region]]:
    """Regions of the same memory that share a value while both are alive."""
    places, _ = places_of(steps, is_shared=is_shared)
    alive = lives(steps)
    for one, other in combinations(alive, 2):
        both_live = alive[one][0] <= alive[other][1] and alive[other][0] <= alive[one][1]
        if both_live and one.is_sums is other.is_sums and meet(one, other, places):
            yield one, other


def meet(one: Region, other: Region, places: dict[int, int]) -> bool:
    """Whether regions of the same memory share a value."""
    first, second = places[one.number], places[other.number]
    return first < second + other.size and second < first + one.size


@given(steps=drafts(), is_shared=st.booleans())
@settings(DRAWN, max_examples=800)
def test_regions_that_live_at_the_same_time_never_overlap(steps: list[Draft], is_shared: bool) -> None:
    assert list(collisions(steps, is_shared=is_shared)) == []


@given(steps=drafts(), is_shared=st.booleans())
@settings(DRAWN, max_examples=500)
def test_every_region_lies_in_its_memory_where_vectors_like_it(steps: list[Draft], is_shared: bool) -> None:
    places, sizes = places_of(steps, is_shared=is_shared)
    for region in lives(steps):
        assert 0 <= places[region.number] <= sizes[region.is_sums] - region.size
        assert places[region.number] % ALIGNMENT == 0


def test_memory_is_used_again() -> None:
    """A chain of equal layers needs room for two of them."""
    chain = [Region(number, 640) for number in range(20)]
    steps = [Draft(Kind.MULTIPLY, output, (x,), NO_OFFSETS) for x, output in pairwise(chain)]
    for is_shared in (False, True):
        assert places_of(steps, is_shared=is_shared)[1] == (2 * 640, 0)


@given(steps=drafts())
@settings(DRAWN, max_examples=300)
def test_where_threads_share_the_steps_regions_in_the_same_memory_have_the_same_middle(
    steps: list[Draft],
) -> None:
    places, _ = places_of(steps, is_shared=True)
    for one, other in combinations(lives(steps), 2):
        if one.is_sums is other.is_sums and meet(one, other, places):
            middles = [places[region.number] + region.size / 2 for region in (one, other)]
            assert abs(middles[0] - middles[1]) <= ALIGNMENT


@given(networks())
@settings(DRAWN, max_examples=60)
def test_no_drawn_network_has_regions_that_overlap(network: DrawnNetwork) -> None:
    for target, keep_all in ((available_targets()[0], True), (available_targets()[-1], False)):
        if lowerable(network.program):
            steps, _ = drafts_of(network.program, target, keep_all)
            assert not any(list(collisions(steps, is_shared=is_shared)) for is_shared in (False, True))


def drafts_of(program: Program, target: Target, keep_all: bool) -> tuple[list[Draft], Lowered]:
    """The steps of a program, as they were before they became tables, and its plan."""
    builders: list[Builder] = []

    def noted(step: Callable[[Builder], Plan], builder: Builder) -> Plan:
        builders.append(builder)
        return step(builder)

    with pytest.MonkeyPatch.context() as patch:
        replaced(Builder, "build", noted)(patch)
        lowered = lower(program, target, keep_all=keep_all)
    return builders[0].drafts, lowered


@on_every_target
@given(network=networks())
@settings(DRAWN, max_examples=60)
def test_borders_hold_zeros_after_a_run(target: Target, network: DrawnNetwork) -> None:
    """In an arena that is full of something else at first, and where no region takes the place of another."""
    if lowerable(network.program):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(regions, "_meet", lambda life, other: True)
            check_borders(network, target, keep_all=True)
            check_borders(network, target, keep_all=False)


def check_borders(network: DrawnNetwork, target: Target, keep_all: bool) -> None:
    steps, lowered = drafts_of(network.program, target, keep_all)
    engine = Engine(lowered, target, Workers(0, runner_of(target)))
    arena = engine.new_arena()
    values = arena.values
    values[...] = 77
    engine._arenas.append(arena)
    samples = checked_samples(network.samples, network.program.input_shape)
    engine.prepared(len(samples.nchw), "all", is_batch=True)(samples.nchw, None)
    places, _ = places_of(steps)
    samples = range(min(lowered.plan.samples_together, len(network.samples)))
    for region, border in borders(steps):
        for sample in samples:
            first = places[region.number] * lowered.plan.samples_together + sample * region.size
            assert (values[first + border] == 127).all()


def borders(steps: list[Draft]) -> Iterator[tuple[Region, Offsets]]:
    """Where steps write zeros that last: not into buffers."""
    for draft in steps:
        if draft.kind is Kind.FILL and draft.output is not None and not draft.output.is_kept:
            yield draft.output, values_of(draft.pixels)


def values_of(runs: npt.NDArray[np.int64] | list[tuple[int, int]]) -> Offsets:
    """All values of runs (first, length)."""
    return np.concatenate([np.arange(first, first + length) for first, length in runs])


@pytest.mark.parametrize("border", [(0, 1), (1, 0), (2, 3), (1, 1)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (1, 7, 2), (6, 1, 64)])
def test_a_border_is_everything_around_the_data(shape: tuple[int, int, int], border: tuple[int, int]) -> None:
    pixel_step = shape[2] + 3
    tensor = laid_out(1, shape, pixel_step, border)
    inside = (tensor.pixels()[:, None] + np.arange(pixel_step)).ravel()
    everything = np.sort(np.concatenate([inside, values_of(tensor.border_runs())]))
    assert np.array_equal(everything, np.arange(tensor.region.size))


def test_cropped_data_has_no_border() -> None:
    """What was cropped does not hold zeros."""
    tensor: Tensor = laid_out(1, (5, 4, 3), 4, (1, 1))
    assert tensor.cropped(0, 0) == tensor
    assert not tensor.cropped(1, 0).has_border
    assert not tensor.cropped(0, 1).has_border
    assert tensor.cropped(2, 1).pixels().tolist() == tensor.pixels()[8:16].tolist()
