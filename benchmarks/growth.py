"""How cost grows with the size of the work: a slope of 1 over the batch is what nobody can beat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from benchmarks.baseline import NumpyNetwork
from benchmarks.cases import Case
from benchmarks.contestants import NUMPY, OURS, Exact, simulator
from benchmarks.layers import convolution, layer_case
from benchmarks.measure import interleaved
from benchmarks.memory import Stream, stream_memory
from benchmarks.race import agreed

STREAM_BATCH, STREAM_RUNS = 64, 200


@dataclass(frozen=True)
class Curve:
    """Median seconds of a run by one size. `work_slope` is how the number of products grows."""

    size: str
    subject: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    work_slope: float

    @property
    def slope(self) -> float:
        """Over all sizes. Below the work's own slope, the small ones pay for what does not shrink."""
        return fitted_slope(self.sizes, self.seconds)

    @property
    def last_slope(self) -> float:
        """Over the larger half of the sizes, where a cost that grows too fast would show."""
        middle = len(self.sizes) // 2
        return fitted_slope(self.sizes[middle:], self.seconds[middle:])


@dataclass(frozen=True)
class Plan:
    """The cases of one curve, by size, each with its batch."""

    size: str
    subject: str
    cases: Mapping[int, tuple[Case, int]]


def fitted_slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of the power law c * size**p that fits best.

    >>> round(fitted_slope([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def curves(budget_seconds: float, target: str | None = None) -> Iterator[Curve]:
    """Over batch size, image side and channels. Raises WrongAnswerError."""
    for plan in _plans():
        yield measured_curve(plan, budget_seconds, target)


def measured_curve(plan: Plan, budget_seconds: float, target: str | None = None) -> Curve:
    """The answers are checked first, at every size. Raises WrongAnswerError."""
    works = {}
    for size, (case, batch) in plan.cases.items():
        ours = simulator(case.program, target)
        agreed(case, {OURS: Exact(ours), NUMPY: Exact(NumpyNetwork(case.program))}, batch)
        works[str(size)] = partial(ours.run, case.batch(batch), "outputs")
    timings = interleaved(works, budget_seconds)
    sizes, products = tuple(plan.cases), [case.macs * batch for case, batch in plan.cases.values()]
    seconds = tuple(timings[str(size)].median for size in sizes)
    return Curve(plan.size, plan.subject, sizes, seconds, fitted_slope(sizes, products))


def streamed(target: str | None = None) -> Stream:
    """A data set of many batches: its memory must not depend on its length."""
    return stream_memory(layer_case("stream", convolution(32, 32, 16)), STREAM_BATCH, STREAM_RUNS, target)


def _plans() -> tuple[Plan, ...]:
    small = layer_case("batch", convolution(32, 32, 16))
    batches = {4**power: (small, 4**power) for power in range(6)}
    sides = {
        side: (layer_case(f"side {side}", convolution(32, 32, side)), 1) for side in (8, 16, 32, 64, 128)
    }
    widths = (8, 16, 32, 64, 128, 256, 512)
    channels = {
        width: (layer_case(f"{width} channels", convolution(width, width, 16)), 1) for width in widths
    }
    return (
        Plan("batch size", "Conv2d 32>32 3x3 at 16x16", MappingProxyType(batches)),
        Plan("image side", "Conv2d 32>32 3x3", MappingProxyType(sides)),
        Plan("channels", "Conv2d C>C 3x3 at 16x16", MappingProxyType(channels)),
    )
