"""The memory level against the functional one, on every golden case."""

from pathlib import Path

import numpy as np
import pytest

from ai8xsim import Machine, Simulator

from ..rules.golden_exceptions import EQUAL_BY_CHANCE, group_of
from ..test_golden import CASES, expected, program_of, trace_of

pytestmark = pytest.mark.skipif(not CASES, reason="the golden vectors are not beside this repository")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_both_levels_agree_or_the_bytes_are_named(case: Path) -> None:
    """A difference without a misread byte would be silent; a misread byte may hold the right value by chance."""
    trace = Machine(program_of(case)).run(np.load(case / "sample.npy"))
    difference = trace_of(case).first_difference(trace)
    assert difference is None or trace.misreads[0]
    group = group_of(case.name)
    is_excepted = group is not None or expected(case).get("layout_suspect")
    assert bool(trace.misreads[0]) <= bool(is_excepted)
    if group is not None:
        found = {misread.kind for misread in trace.misreads[0]}
        assert found
        assert found <= group.kinds
        assert (difference is None) == (case.name in EQUAL_BY_CHANCE)


@pytest.mark.parametrize("name", ["rnd-kinetics-max78000", "rnd-kinetics-max78002"])
def test_rolling_buffers_live_on_as_in_a_session(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    sample = np.load(case / "sample.npy")
    samples = np.stack([sample, sample[:, ::-1], -1 - sample, sample // 2])
    ours = Simulator(program_of(case)).session().run(samples)
    theirs = Machine(program_of(case)).run(samples, keep_memory=True)
    assert ours.first_difference(theirs) is None
    assert theirs.misreads == ((),) * 4
    alone = Machine(program_of(case)).run(samples)
    assert ours.first_difference(alone) is not None
    assert Simulator(program_of(case)).run(samples).first_difference(alone) is None
