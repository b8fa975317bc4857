"""The result as JSON, with what it depends on: the processor and the versions."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ai8xsim import __version__
from benchmarks.contestants import OURS
from benchmarks.race import Row

SCHEMA_VERSION = 1


def processor() -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """The versions that a speed depends on."""
    packages = {name: version(name) for name in ("numpy", "numba", "llvmlite")}
    return {"ai8xsim": __version__, "python": platform.python_version(), **packages}


def as_json(rows: Sequence[Row], notes: Sequence[str]) -> dict[str, Any]:
    """Everything that was measured; times are processor times but for the one on the wall; `ratio` is of medians."""
    return {
        "schema_version": SCHEMA_VERSION,
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "rows": [_row(row) for row in rows],
        "notes": list(notes),
    }


def _row(row: Row) -> dict[str, Any]:
    facts = {"network": row.network, "macs": row.macs, "batch": row.batch}
    if not row.timings:
        return {**facts, "not_measured": row.reason}
    return {
        **facts,
        "goal": row.goal,
        "goal_met": row.goal_met,
        "contestants": {name: _contestant(row, name) for name in row.timings},
    }


def _contestant(row: Row, name: str) -> dict[str, Any]:
    timing = row.timings[name]
    return {
        "median_seconds": timing.median,
        "quartile_seconds": [timing.quantile(0.25), timing.quantile(0.75)],
        "range_seconds": [timing.quantile(0), timing.quantile(1)],
        "wall_median_seconds": timing.wall_median,
        "runs": len(timing.runs),
        "gmacs_per_second": row.gmacs_per_second(name),
        "ratio": None if name == OURS else row.ratio(name),
    }
