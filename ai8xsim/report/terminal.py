"""Results in the terminal: tables and progress bars."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ai8xsim.compare import MEANINGS, Comparison, LayerComparison
from ai8xsim.diagnostics import printable
from ai8xsim.program import Program
from ai8xsim.quantize import Quantized
from ai8xsim.trace import Difference, LayerTrace, Trace

Labels = npt.NDArray[np.integer[Any]]

SHOWN_VALUES = 32
WIDE = 160
UNLIMITED = 10_000
NUMBERS = frozenset(
    {"layer", "saturated", "free", "bits", "kernels", "words", "bytes", "from", "filled", "TRAM words"}
)


class _Rate(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self.unit}/s")


@contextmanager
def progress_bar(title: str, hidden: bool = False, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that appears once there is more than one step; yields what reports (done, in all).

    unit: what is counted; with it the rate is shown.
    """
    rate = (_Rate(unit),) if unit else ()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *rate,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bars:
        task = bars.add_task(title, total=None, visible=False)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, visible=done < total)

        yield report


def print_trace(trace: Trace) -> None:
    """The layers, one a row, and the last one's values if they are few."""
    screen = console()
    table = plain_table("layer", "name", "operator", "output", "type", "saturated", "sha256")
    for layer in trace:
        table.add_row(*_row(layer))
    print_table(screen, table)
    last = trace.layers[-1]
    if last.output.size <= SHOWN_VALUES:
        screen.print(f"output: {last.output.ravel().tolist()}", highlight=False, markup=False, soft_wrap=True)


def console() -> Console:
    """A console as wide as the terminal; wide enough for any table where there is none."""
    screen = Console()
    return screen if screen.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


def print_table(screen: Console, table: Table) -> None:
    """Print a table whole. Where the terminal is too narrow it breaks the lines: half of a number would be another."""
    freely = screen.options.update(width=UNLIMITED)
    for column in table.columns:
        if column.no_wrap:
            parts = (column.header, *column.cells)
            column.min_width = max(screen.measure(part, options=freely).maximum for part in parts)
    least = screen.measure(table, options=freely).minimum
    if least > screen.width:
        table.width = least
    screen.print(table, crop=False)


def plain_table(*titles: str) -> Table:
    """A table in which numbers stand right and only names may be wrapped."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        justify: Literal["left", "right"] = "right" if title in NUMBERS else "left"
        table.add_column(title, justify=justify, no_wrap=title != "name", overflow="fold")
    return table


def _row(layer: LayerTrace) -> tuple[Text, ...]:
    digests = layer.digests
    digest = digests[0][:16] if len(digests) == 1 else f"{len(digests)} samples"
    shape = "x".join(map(str, layer.shape))
    saturated = "" if layer.saturated is None else f"{layer.saturated}"
    name = printable(layer.name or "")  # of a stranger: it may hold escape sequences, or rich's markup
    cells = (str(layer.index), name, layer.operator, shape, str(layer.output.dtype), saturated, digest)
    return tuple(Text(cell) for cell in cells)


def print_comparison(difference: Difference | None, expected: str) -> None:
    """Whether a comparison succeeded, and where it first failed."""
    screen = Console(stderr=difference is not None)
    verdict = f"equal to {expected}" if difference is None else f"differs from {expected}: {difference}"
    style = "green" if difference is None else "red"
    screen.print(Text(printable(verdict), style=style), soft_wrap=True)


def print_layers_compared(comparison: Comparison) -> None:
    """The layers, one a row, what cannot be matched, and what each number means."""
    screen = console()
    measures = () if comparison.is_equal else ("first: ours, theirs", "largest", "mean", "SQNR dB", "cosine")
    table = plain_table("layer", "name", "theirs", "different", *measures)
    for layer in comparison.layers:
        table.add_row(*map(Text, _compared(layer)[: 4 + len(measures)]))
    print_table(screen, table)
    lines = [f"not compared: {layer.title}, {layer.reason}" for layer in comparison.layers if layer.reason]
    if comparison.unmatched:
        lines.append("theirs alone, or part of other layers of ours: " + ", ".join(comparison.unmatched))
    if comparison.is_equal:
        lines.append("every value of every compared layer is equal")
    else:
        lines += [f"{name}: {meaning}" for name, meaning in MEANINGS.items()]
    for line in lines:
        screen.print(Text(printable(line)), soft_wrap=True)


def print_losses(comparison: Comparison) -> None:
    """What each layer has lost from floats to integers, the worst first."""
    screen = console()
    table = plain_table("layer", "name", "theirs", "SQNR dB", "largest", "mean", "cosine")
    for layer in comparison.worst_first:
        *head, _, _, largest, mean, sqnr, cosine = _compared(layer)
        table.add_row(*map(Text, (*head, sqnr, largest, mean, cosine)))
    print_table(screen, table)
    for layer in comparison.layers:
        if layer.reason:
            screen.print(Text(printable(f"not compared: {layer.title}, {layer.reason}")), soft_wrap=True)
    for name in ("sqnr_db", "largest", "mean", "cosine"):
        screen.print(Text(f"{name}: {MEANINGS[name]}"), soft_wrap=True)


def _compared(layer: LayerComparison) -> tuple[str, ...]:
    head = str(layer.index), printable(layer.name or ""), printable(layer.theirs or "")
    measures = layer.measures
    if measures is None:
        return (*head, "", "", "", "", "", "")
    share = f"{measures.different} of {measures.total:,}"
    if measures.first is None:
        return (*head, share, "", "", "", "", "")
    share += f" ({measures.different / measures.total:.1%})"
    first = f"{measures.first}: {measures.ours}, {measures.theirs:g}"
    numbers = (
        f"{measures.largest:g}",
        f"{measures.mean:.3g}",
        f"{measures.sqnr_db:.1f}",
        f"{measures.cosine:.5f}",
    )
    return (*head, share, first, *numbers)


def print_quantized(quantized: Quantized) -> None:
    """What was done to each layer of a checkpoint."""
    screen = console()
    table = plain_table("name", "bits", "shift", "largest", "saturated", "rms error", "what else")
    for layer in quantized.layers:
        saturated = f"{layer.saturated:,} of {layer.count:,}"
        cells = (
            printable(layer.name),
            str(layer.bits),
            str(layer.output_shift),
            f"{layer.largest:.4f}",
            saturated,
        )
        table.add_row(*map(Text, (*cells, f"{layer.error:.3f}", "; ".join(layer.notes))))
    print_table(screen, table)
    screen.print("rms error: what rounding took away, in units of the last place", highlight=False)


def print_demo(program: Program, ours: Trace, theirs: Trace, labels: Labels) -> None:
    """The bundled network: what it is, each layer against PyTorch, and how often it is right."""
    screen = console()
    count = len(labels)
    weights = sum(layer.convolution.weights.weight.size for layer in program.layers if layer.convolution)
    screen.print(
        f"{program.device}: {len(program.layers)} layers, {weights:,} weights, {program.macs:,} MACs an image; "
        f"{count} held-out images of {program.input_shape}",
        highlight=False,
    )
    table = plain_table("layer", "name", "operator", "output", "type", "saturated", "different from PyTorch")
    for mine, other in zip(ours, theirs, strict=True):
        different = int((mine.output != other.output).sum())
        table.add_row(*_row(mine)[:-1], f"{different} of {mine.output.size:,}")
    print_table(screen, table)
    answers, others = (trace.output.reshape(count, -1).argmax(axis=1) for trace in (ours, theirs))
    right, agreeing = int((answers == labels).sum()), int((answers == others).sum())
    screen.print(f"accuracy: {right} of {count} images right ({right / count:.1%})", highlight=False)
    screen.print(f"agreement with PyTorch: {agreeing} of {count} answers", highlight=False)
    difference = ours.first_difference(theirs)
    verdict = "every bit of every layer is equal" if difference is None else f"first difference: {difference}"
    screen.print(verdict, style="green" if difference is None else "red", highlight=False)
