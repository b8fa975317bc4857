"""The result for people."""

import os
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.race import Row
from benchmarks.report import processor, versions

WIDTH = 120  # of a file or a pipe
RIVALS = tuple(name for name in CONTESTANTS if name != OURS)


def print_result(rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Where it was measured, the rows, and what is to be said about them."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"{processor()}, {os.cpu_count()} cores; everybody works in one thread")
    console.print(", ".join(f"{name} {number}" for name, number in versions().items()))
    console.print(_table(rows))
    unmeasured = [
        f"not measured: {row.network}, batch {row.batch}: {row.reason}" for row in rows if row.reason
    ]
    for note in (*notes, *unmeasured):
        console.print(note, style="yellow", markup=False)


def _table(rows: Sequence[Row]) -> Table:
    caption = (
        "medians of processor time; ratio: how much faster ai8xsim is; MACs include padding and stuffed zeros"
    )
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("network", no_wrap=True)
    columns = ["MACs", "batch", f"{OURS} ms", "GMAC/s"]
    for rival in RIVALS:
        columns += [f"{rival} ms", "GMAC/s", "ratio"]
    for title in (*columns, "goal"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(row.network, f"{row.macs:,}", str(row.batch), *_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    if not row.timings:
        return ["-"] * (3 + 3 * len(RIVALS))
    cells = _speed(row, OURS)
    for rival in RIVALS:
        cells += [*_speed(row, rival), f"{row.ratio(rival):.2f}"]
    return [*cells, _goal(row)]


def _speed(row: Row, contestant: str) -> list[str]:
    milliseconds = row.timings[contestant].median * 1e3
    shown = f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:,.0f}"
    return [shown, f"{row.gmacs_per_second(contestant):.1f}"]


def _goal(row: Row) -> str:
    if row.goal_met is None:
        return ""
    style, word = ("green", "met") if row.goal_met else ("red", "missed")
    return f"[{style}]{row.goal:g}: {word}[/{style}]"
