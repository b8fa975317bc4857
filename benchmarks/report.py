"""The result as JSON, with what it depends on: the processor and the versions."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contestants import CONTESTANTS, OURS, THREADS
from benchmarks.growth import Curve
from benchmarks.machine import processor, telling_flags, versions
from benchmarks.memory import Stream
from benchmarks.peak import Peak
from benchmarks.race import Row

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Result:
    """Everything that one command measured. `target` is the instruction set that was asked for."""

    networks: Sequence[Row] = ()
    layers: Sequence[Row] = ()
    curves: Sequence[Curve] = ()
    stream: Stream | None = None
    peak: Peak | None = None
    target: str | None = None
    notes: Sequence[str] = ()


def as_json(result: Result) -> dict[str, Any]:
    """All spreads too. Times of one thread are processor times, of two on the wall; `ratio` is of medians."""
    return {
        "schema_version": SCHEMA_VERSION,
        "processor": processor(),
        "flags": list(telling_flags()),
        "cores": os.cpu_count(),
        "versions": versions(),
        "target": result.target,
        "peak": _peak(result.peak),
        "rows": [_row(row) for row in result.networks],
        "layers": [_row(row) for row in result.layers],
        "growth": [_curve(curve) for curve in result.curves],
        "stream": None if result.stream is None else asdict(result.stream),
        "notes": list(result.notes),
    }


def _peak(peak: Peak | None) -> dict[str, Any] | None:
    if peak is None:
        return None
    rates = {str(threads): rate for threads, rate in peak.gmacs_per_second.items()}
    return {"instruction": peak.instruction, "gmacs_per_second": rates}


def _row(row: Row) -> dict[str, Any]:
    facts = {"network": row.network, "macs": row.macs, "batch": row.batch, "weight_bytes": row.weight_bytes}
    if not row.timings:
        return {**facts, "not_measured": row.reason}
    bandwidth = row.limits.bandwidth if row.limits else {}
    return {
        **facts,
        "goal": row.goal,
        "goal_met": row.goal_met,
        "run_bytes": row.run_bytes,
        "weight_bytes_per_second": {str(threads): rate for threads, rate in bandwidth.items()},
        "scaling": {str(threads): row.scaling(threads) for threads in THREADS[1:]},
        "contestants": {name: _contestant(row, name) for name in row.timings},
        "absent": dict(row.absent),
    }


def _contestant(row: Row, name: str) -> dict[str, Any]:
    timing = row.timings[name]
    return {
        "threads": CONTESTANTS[name].threads,
        "median_seconds": timing.median,
        "quartile_seconds": [timing.quantile(0.25), timing.quantile(0.75)],
        "range_seconds": [timing.quantile(0), timing.quantile(1)],
        "wall_median_seconds": timing.wall_median,
        "runs": len(timing.runs),
        "gmacs_per_second": row.gmacs_per_second(name),
        "share_of_peak": row.share_of_peak(name),
        "share_of_bound": row.share_of_bound(name),
        "choice": row.choices.get(name),
        "ratio": None if name.startswith(OURS) else row.ratio(name),
    }


def _curve(curve: Curve) -> dict[str, Any]:
    slopes = {"slope": curve.slope, "last_slope": curve.last_slope}
    return {**asdict(curve), **slopes}
