"""The result for people."""

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import FLOAT, KERNELS, NUMPY, OURS, QUANTIZED, SLICED, THREADS, entry
from benchmarks.growth import Curve
from benchmarks.machine import processor, telling_flags, versions
from benchmarks.memory import Stream
from benchmarks.race import Row
from benchmarks.report import Result

WIDTH = 150  # of a file or a pipe
COLUMNS = (
    *("MMAC", "batch", "thr", "ms", "GMAC/s", "% peak", "% bound", "k %", "k x f32"),
    *("x f32", "x f32/16", "x int8", "x numpy", "x 1 thr", "MB", "goal"),
)
CAPTION = (
    "MMAC: of one sample, padding counted, stuffed zeros not; thr: threads; ms: ai8xsim's median, processor time for "
    "one thread, wall time for two; bound: the peak, or reading all weights once; k: the kernels alone, of the bound "
    "and against float32; x: how many times faster ai8xsim is than torch float32 (the better layout, the whole batch "
    "and 16 samples at a time), torch quantized to 8 bits (the better engine), numpy int64, itself in one thread; MB: "
    "what a run adds to memory; goal: the promised x numpy of one sample"
)
MILLION = 1e6


def print_result(result: Result) -> None:
    """Where it was measured, the rows, and what is to be said about them."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"{processor()}, {os.cpu_count()} cores, {' '.join(telling_flags())}", markup=False)
    console.print(", ".join(f"{name} {number}" for name, number in versions().items()))
    if result.target is not None:
        console.print(f"ai8xsim's target: {result.target}")
    if result.peak is not None:
        rates = ", ".join(
            f"{rate:,.0f} in {threads} thread{'s' if threads > 1 else ''}"
            for threads, rate in result.peak.gmacs_per_second.items()
        )
        console.print(f"peak of {result.peak.instruction}: GMAC/s {rates}")
    for title, rows in (("network", result.networks), ("layer", result.layers)):
        if rows:
            console.print(_table(title, rows))
    if result.curves:
        console.print(_growth_table(result.curves))
    if result.stream is not None:
        console.print(_stream(result.stream))
    for note in (*result.notes, *_absences([*result.networks, *result.layers])):
        console.print(note, style="yellow", markup=False)


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption=CAPTION, caption_justify="left", padding=(0, 1, 0, 0))
    table.add_column(title, no_wrap=True)
    columns = COLUMNS if any(row.goal for row in rows) else COLUMNS[:-1]
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        for threads in THREADS:
            if entry(OURS, threads) in row.timings or (threads == 1 and not row.timings):
                table.add_row(*islice(_cells(row, threads), len(columns) + 1))
    return table


def _cells(row: Row, threads: int) -> Iterator[str]:
    yield from (
        row.network,
        f"{row.macs / MILLION:.{2 if row.macs < MILLION else 3}g}",
        str(row.batch),
        str(threads),
    )
    if not row.timings:
        yield from ["-"] * (len(COLUMNS) - 3)
        return
    ours = entry(OURS, threads)
    yield _milliseconds(row.timings[ours].median)
    yield f"{row.gmacs_per_second(ours):.1f}"
    yield _percent(row.share_of_peak(ours))
    yield _percent(row.share_of_bound(ours))
    yield "" if threads > 1 or KERNELS not in row.timings else _percent(row.share_of_bound(KERNELS))
    yield "" if threads > 1 else _times(row.kernel_ratio(FLOAT))
    yield _times(row.ratio(entry(FLOAT, threads)))
    yield _times(row.ratio(entry(SLICED, threads)))
    yield _times(row.ratio(entry(QUANTIZED, threads)))
    yield _times(row.ratio(NUMPY)) if threads == 1 else ""
    yield _times(row.scaling(threads)) if threads > 1 else ""
    yield "" if threads > 1 or row.run_bytes is None else f"{row.run_bytes / MILLION:.1f}"
    yield _goal(row) if threads == 1 else ""


def _milliseconds(seconds: float) -> str:
    if seconds < 1e-4:
        return f"{seconds * 1e3:.4f}"
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _goal(row: Row) -> str:
    if row.goal_met is None:
        return ""
    style, word = ("green", "met") if row.goal_met else ("red", "missed")
    return f"[{style}]{word}[/{style}]"


def _absences(rows: Sequence[Row]) -> Iterator[str]:
    """Who was not measured, and why."""
    for row in rows:
        where = f"{row.network}, batch {row.batch}"
        if row.reason:
            yield f"not measured: {where}: {row.reason}"
            continue
        for name, reason in row.absent.items():
            yield f"{where} without {name}: {reason}"


def _growth_table(curves: Sequence[Curve]) -> Table:
    caption = "slope of time over size, both logarithmic; of the larger half of the sizes; of the number of products"
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left")
    for column in ("over", "of", "ms at size"):
        table.add_column(column)
    for column in ("slope", "larger half", "products"):
        table.add_column(column, justify="right")
    for curve in curves:
        pairs = zip(curve.sizes, curve.seconds, strict=True)
        times = ", ".join(f"{size}: {_milliseconds(seconds)}" for size, seconds in pairs)
        slopes = (f"{slope:.2f}" for slope in (curve.slope, curve.last_slope, curve.work_slope))
        table.add_row(curve.size, curve.subject, times, *slopes)
    return table


def _stream(stream: Stream) -> str:
    return (
        f"{stream.samples:,} samples in batches of {stream.batch}: peak memory {stream.peak_bytes / MILLION:.1f} MB, "
        f"of which {stream.growth_bytes / MILLION:.2f} MB came after the first tenth"
    )
