"""From steps as they are thought of to the tables that compiled kernels read."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.costs import costs_of
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.places import ALIGNMENT, places_of, waits_of
from ai8xsim.engine.tensor import Border, Offsets, Region, Tensor, laid_out
from ai8xsim.kernels.generated.steps import STEP, Kind
from ai8xsim.kernels.generated.targets import Target
from ai8xsim.kernels.generated.winograd import PRODUCTS

# Values of activations that should stay in a core's cache; as many samples go together as fit.
CACHED_VALUES, MOST_TOGETHER = 1 << 18, 64
# Rows that the last block of a step may take too many (large blocks are only taken where they are full), and values
# that its last run may read too many.
EXTRA_PIXELS, EXTRA_VALUES = 16, 256
# What a value of a step takes, each pixel of any step, and a run of values that is filled, whatever its length, in
# multiplications of the same time. Measured on Zen 5; depthwise (with AVX-512, otherwise it is more), stacking and
# filling on Emerald Rapids.
EFFORT = MappingProxyType(
    {
        Kind.LOAD: 32,
        Kind.MULTIPLY_CHANNELS: 6,
        Kind.REQUANTIZE: 128,
        Kind.MAXIMUM: 8,
        Kind.AVERAGE: 32,
        Kind.COMBINE: 100,
        Kind.ROLL: 32,
        Kind.EMIT: 16,
        Kind.STACK: 3,
    }
)
EFFORT_OF_A_PIXEL, EFFORT_OF_A_FILLED_RUN = 500, 4_000


@dataclass(frozen=True)
class Plan:
    """A network as steps and the tables that they read, and the memory that it needs."""

    steps: npt.NDArray[Any]  # of STEP
    offsets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    samples_together: int
    values: int  # in the arena, activations
    sums: int

    @property
    def work(self) -> int:
        """Multiplications of one sample, or the like."""
        return int((self.steps["work"] * self.steps["pixel_count"]).sum())


class Builder:
    """Collects drafts; `build` turns them into a plan.

    is_single: whether it is for one sample at a time.   is_shared: whether threads may share the steps.
    """

    def __init__(self, target: Target, *, is_single: bool, is_shared: bool = False) -> None:
        self.target, self._is_single, self._is_shared = target, is_single, is_shared
        self.costs = costs_of(target, is_single=is_single)
        self.drafts: list[Draft] = []
        self._regions = 0

    def tensor(self, shape: tuple[int, int, int], border: Border, pixel_step: int | None = None) -> Tensor:
        """New memory for (rows, columns, channels); a step fills its border with zeros."""
        made = laid_out(self._next_region(), shape, pixel_step or self._pixel_step(shape[2]), border)
        if made.has_border:
            runs = np.array(made.border_runs(), np.int64)
            self.add(Draft(Kind.FILL, made.region, (), runs))
        return made

    def region(self, size: int, *, is_sums: bool = False, is_kept: bool = False) -> Region:
        """New memory of so many values for each sample."""
        return Region(self._next_region(), size, is_sums, is_kept)

    def add(self, draft: Draft) -> None:
        """The next step."""
        self.drafts.append(draft)

    def build(self) -> Plan:
        """The plan of all steps so far."""
        places, sizes = places_of(self.drafts, is_shared=self._is_shared)
        most = 1 if self._is_single else MOST_TOGETHER
        together = max(1, min(most, CACHED_VALUES // max(sizes[0], 1)))
        tables = _Tables(together, self.target)
        waits = waits_of(self.drafts, places)
        rows = [
            self._row(draft, places, tables) | {"waits": wait}
            for draft, wait in zip(self.drafts, waits, strict=True)
        ]
        steps = np.array([tuple(row.get(name, 0) for name in STEP.names or ()) for row in rows], STEP)
        values, sums = (size * together + EXTRA_VALUES for size in sizes)
        return Plan(steps, *tables.finished(), together, values, sums)

    def _row(self, draft: Draft, places: dict[int, int], tables: "_Tables") -> dict[str, int]:
        operands = [places[region.number] * tables.together for region in draft.sources]
        taps = draft.taps
        if draft.kind is Kind.COMBINE:  # each operand lies somewhere else
            taps, operands = np.array(operands, np.int64), [0]
        return {
            "kind": int(draft.kind),
            "source": operands[0] if operands else 0,
            "output": places[draft.output.number] * tables.together if draft.output else 0,
            "pixel_count": len(draft.pixels),
            "columns": draft.pixels.shape[1],
            "tap_count": len(taps),
            "counter": -1,
            "work": _work(draft, len(taps)),
            **tables.add(draft, taps),
            **draft.fields,
        }

    def _pixel_step(self, channels: int) -> int:
        return channels if channels < 4 else self.target.channel_step(channels)

    def _next_region(self) -> int:
        self._regions += 1
        return self._regions


class _Tables:
    """The tables of a plan while they grow."""

    def __init__(self, together: int, target: Target) -> None:
        self.together = together
        self._offsets = [np.array(target.block_table() + target.table_of_few(), np.int32)]
        self._weights: list[npt.NDArray[np.uint8]] = []
        self._starts: list[npt.NDArray[np.int32]] = []

    def add(self, draft: Draft, taps: Offsets) -> dict[str, int]:
        """Where the draft's parts begin in the tables."""
        return {
            "pixels": _append(self._offsets, self._for_all_samples(draft)),
            "taps": _append(self._offsets, taps.astype(np.int32)),
            "weights": self._weights_of(draft),
            "starts": _append(self._starts, draft.starts),
        }

    def _weights_of(self, draft: Draft) -> int:
        """Steps of one convolution share its weights."""
        known = [len(part) for part in self._weights]
        for place, part in enumerate(self._weights):
            if part is draft.weights:
                return sum(known[:place])
        return _append(self._weights, draft.weights)

    def finished(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Offsets, weights and starts."""
        weights, starts = np.concatenate(self._weights), np.concatenate(self._starts)
        return np.concatenate(self._offsets), aligned(weights), aligned(starts)

    def _for_all_samples(self, draft: Draft) -> npt.NDArray[np.int32]:
        """The offsets of all samples, one after another, and the last row again for blocks that are not full."""
        size = draft.fields.get("size", 0)
        steps = [draft.output.size if draft.output else size, *(region.size for region in draft.sources)]
        steps += [0] * (draft.pixels.shape[1] - len(steps))
        samples = np.arange(self.together)[:, None, None]
        table = (draft.pixels + samples * np.array(steps)).reshape(-1, draft.pixels.shape[1])
        return (
            np.concatenate([table, np.repeat(table[-1:], EXTRA_PIXELS, axis=0)]).astype(np.int32).reshape(-1)
        )


def aligned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy whose first byte has an address that vectors like."""
    size = values.nbytes
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + size].view(values.dtype)
    copy[:] = values
    return copy


def _work(draft: Draft, taps: int) -> int:
    """What a pixel takes, in multiplications."""
    values = draft.fields.get("channels", 0)
    if draft.kind is Kind.MULTIPLY:
        return EFFORT_OF_A_PIXEL + values * taps * draft.fields["groups"] * 4
    if draft.kind in (Kind.MULTIPLY_NARROW, Kind.MULTIPLY_SPLIT):
        return EFFORT_OF_A_PIXEL + values * taps * draft.fields["groups"] * draft.fields["inputs"]
    if draft.kind is Kind.MULTIPLY_TILES:
        return EFFORT_OF_A_PIXEL + values * PRODUCTS * draft.fields["groups"] * 4
    if draft.kind is Kind.FILL:
        return EFFORT_OF_A_FILLED_RUN
    return EFFORT_OF_A_PIXEL + EFFORT[draft.kind] * values * taps


def _append(table: list[npt.NDArray[Any]], part: npt.NDArray[Any]) -> int:
    first = sum(len(earlier) for earlier in table)
    table.append(part)
    return first
