"""`python -m benchmarks`: how fast ai8xsim is on real networks and single layers, and how its cost grows."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from ai8xsim.data.loaders.portraits import Portraits
from benchmarks.cases import BUNDLED, GOLDEN, NETWORKS, RESIZED, Case, is_present, network_case
from benchmarks.contestants import THREADS
from benchmarks.evaluation import overlap, print_rates, rates_json, spread
from benchmarks.growth import curves, streamed
from benchmarks.layers import LAYERS, layer_case
from benchmarks.memory import run_memory
from benchmarks.modules import MODELS, evaluations, evaluations_json, print_evaluations
from benchmarks.peak import Peak, measured_peak, read_bandwidth
from benchmarks.race import Limits, Row, WrongAnswerError, race
from benchmarks.report import Result, as_json
from benchmarks.storage import COUNTS, print_storage, storage_json, storage_rows
from benchmarks.table import print_result

NAMES = (BUNDLED, *NETWORKS, *RESIZED)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

Command = TypeVar("Command", bound=Callable[..., Any])


class Benchmarks(click.Group):
    """Commands, of which `networks` is meant where none is named. Wrong answers end with exit code 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `networks` in front of options that belong to it."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["networks", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a wrong answer is its end, and one line."""
        try:
            return super().invoke(ctx)
        except WrongAnswerError as fault:
            raise click.ClickException(str(fault)) from None


golden_option = click.option(
    "--golden",
    type=click.Path(file_okay=False, path_type=Path),
    default=GOLDEN,
    show_default="beside the repository",
    help="The golden data; without it only the bundled network is measured.",
)
batch_option = click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 64),
    show_default=True,
    help="Samples in a run; may be repeated.",
)
file_option = click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result there, with all spreads.",
)
target_option = click.option(
    "--target",
    help="The instruction set that ai8xsim compiles for, if not the best: avx512vnni, avxvnni, avx2, ...",
)


def seconds_option(default: float, meaning: str) -> Callable[[Command], Command]:
    """`--seconds`, with a command's own default."""
    return click.option(
        "--seconds",
        type=click.FloatRange(0, min_open=True),
        default=default,
        show_default=True,
        help=meaning,
    )


@click.group(cls=Benchmarks, context_settings=CONTEXT)
def main() -> None:
    """How fast ai8xsim is: against PyTorch, int64 NumPy, and what the processor could do at most.

    Without a command, `networks` is run. The answers are checked first: a wrong one ends with exit code 1.
    """


@main.command()
@golden_option
@click.option(
    "--network",
    "names",
    type=click.Choice(NAMES),
    multiple=True,
    metavar="NAME",
    help=f"Measure this one only; may be repeated. {', '.join(NAMES)}.",
)
@batch_option
@seconds_option(10.0, "Time for a row; what takes longer is left out.")
@file_option
@target_option
def networks(
    golden: Path,
    names: tuple[str, ...],
    batches: tuple[int, ...],
    seconds: float,
    file: Path | None,
    target: str | None,
) -> None:
    """Real networks, in one thread and in two."""
    finish(_networks(golden, names, batches, seconds, target), file)


@main.command()
@click.option(
    "--layer",
    "names",
    type=click.Choice(tuple(LAYERS)),
    multiple=True,
    metavar="NAME",
    help=f"Measure this one only; may be repeated. {', '.join(LAYERS)}.",
)
@batch_option
@seconds_option(5.0, "Time for a row; what takes longer is left out.")
@file_option
@target_option
def layers(
    names: tuple[str, ...], batches: tuple[int, ...], seconds: float, file: Path | None, target: str | None
) -> None:
    """Single layers of common shapes, in one thread and in two."""
    finish(_layers(names, batches, seconds, target), file)


@main.command()
@seconds_option(10.0, "Time for a curve.")
@file_option
@target_option
def growth(seconds: float, file: Path | None, target: str | None) -> None:
    """How time grows with batch, image and channels, and whether memory does with the data set."""
    finish(_growth(seconds, target), file)


@main.command()
@click.option(
    "--portraits",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    default=COUNTS,
    show_default=True,
    help="Photographs to prepare, three items each; may be repeated.",
)
@click.option(
    "--size", type=click.IntRange(16), default=352, show_default=True, help="Pixels of an item's side."
)
@file_option
def storage(counts: tuple[int, ...], size: int, file: Path | None) -> None:
    """Prepared items of a loader: a file for each, or all in memory."""
    with _telling() as tell:
        rows = list(storage_rows(counts, Portraits(size, fold_ratio=4), tell))
    print_storage(rows)
    if file is not None:
        file.write_text(json.dumps(storage_json(rows), indent=2) + "\n", encoding="utf-8")


@main.command()
@golden_option
@seconds_option(15.0, "Time for a network.")
@file_option
def evaluation(golden: Path, seconds: float, file: Path | None) -> None:
    """Data sets through golden networks: in this process, and on clusters of one and two workers."""
    if not is_present(NAMES[1], golden):
        raise click.ClickException(f"the networks are not in {golden}")
    with _telling() as tell:
        tell("evaluating in one process")
        rows = [overlap(golden, seconds)]
        tell("evaluating on clusters")
        rows.append(spread(golden, seconds))
    print_rates(rows)
    if file is not None:
        file.write_text(json.dumps(rates_json(rows), indent=2) + "\n", encoding="utf-8")


@main.command()
@golden_option
@click.option(
    "--training",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    envvar="AI8X_TRAINING",
    required=True,
    show_envvar=True,
    help="A clone of the vendor's ai8x-training.",
)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Samples in a run.")
@seconds_option(10.0, "Time for a model.")
@file_option
def modules(golden: Path, training: Path, batch: int, seconds: float, file: Path | None) -> None:
    """Model files evaluated on our PyTorch modules, and on the vendor's."""
    with _telling() as tell:
        tell(f"evaluating {', '.join(MODELS)}")
        try:
            rows = list(evaluations(training, golden, batch, seconds))
        except OSError as fault:
            raise click.ClickException(f"{fault.filename}: {fault.strerror}") from None
    print_evaluations(rows)
    if file is not None:
        file.write_text(json.dumps(evaluations_json(rows), indent=2) + "\n", encoding="utf-8")


@main.command(name="all")
@golden_option
@file_option
@target_option
def everything(golden: Path, file: Path | None, target: str | None) -> None:
    """Networks, layers and growth, with the other options as they are by default."""
    result = _networks(golden, (), (1, 64), 10.0, target)
    single, grown = _layers((), (1, 64), 5.0, target), _growth(10.0, target)
    finish(replace(result, layers=single.layers, curves=grown.curves, stream=grown.stream), file)


def finish(result: Result, file: Path | None) -> None:
    """Show the result, and write it where that is asked for."""
    print_result(result)
    if file is not None:
        file.write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")


def _networks(
    golden: Path, names: Sequence[str], batches: Sequence[int], seconds: float, target: str | None
) -> Result:
    wanted = [name for name in NAMES if not names or name in names]
    missing = [name for name in wanted if not is_present(name, golden)]
    notes = [f"not measured, because not in {golden}: {', '.join(missing)}"] if missing else []
    rows: list[Row] = []
    with _telling() as tell:
        tell("measuring the processor's peak")
        peak = measured_peak(THREADS)
        for name in wanted:
            if name not in missing:
                tell(f"measuring {name}")
                rows += _rows(network_case(name, golden), batches, seconds, peak, target)
    return Result(networks=rows, peak=peak, target=target, notes=notes)


def _layers(names: Sequence[str], batches: Sequence[int], seconds: float, target: str | None) -> Result:
    rows: list[Row] = []
    with _telling() as tell:
        tell("measuring the processor's peak")
        peak = measured_peak(THREADS)
        for name, shape in LAYERS.items():
            if not names or name in names:
                tell(f"measuring {name}")
                rows += _rows(layer_case(name, shape), batches, seconds, peak, target)
    return Result(layers=rows, peak=peak, target=target)


def _growth(seconds: float, target: str | None) -> Result:
    with _telling() as tell:
        tell("measuring how cost grows")
        return Result(curves=list(curves(seconds, target)), stream=streamed(target), target=target)


def _rows(
    case: Case, batches: Sequence[int], seconds: float, peak: Peak, target: str | None
) -> Iterator[Row]:
    limits = Limits(peak, {threads: read_bandwidth(case.weight_bytes, threads) for threads in THREADS})
    rows = list(race(case, batches, seconds, target))
    memory = run_memory(case, [row.batch for row in rows if row.timings], target)
    for row in rows:
        yield replace(row, limits=limits, run_bytes=memory.get(row.batch))


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """What is being done, on the terminal only."""
    with Console(stderr=True).status("") as status:
        yield status.update


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
