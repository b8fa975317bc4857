"""`ai8xsim evaluate`: a whole data set through the functional level."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import (
    FILE,
    LOADER_OPTIONS,
    MODEL_OPTIONS,
    OUTPUT_OPTIONS,
    loader_options,
    model_argument,
    with_options,
)
from ai8xsim.cli.output import diagnostic_record, print_json, refuse_outputs, show_diagnostics
from ai8xsim.diagnostics import errors_among
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from ai8xsim.evaluate import Evaluation, Subject
    from ai8xsim.evaluate.journal import Journal
    from ai8xsim.evaluate.run import Compute
    from ai8xsim.evaluate.sources import Sources

SCHEMA_VERSION = 1
INTERRUPTED = 130


@click.command()
@click.argument("network", type=FILE)
@click.option("--checkpoint", type=FILE, required=True, help="The quantized checkpoint.")
@click.option(
    "--dataset", required=True, metavar="FILE:NAME", help="A data set of a data-set file; its code is run."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    metavar="DIR",
    help="The folder that the loader is given.",
)
@with_options(*MODEL_OPTIONS)
@click.option(
    "--out-fold-ratio",
    type=click.IntRange(1),
    metavar="R",
    help="The output is folded by R; else as targets tell.",
)
@click.option("--dask", metavar="ADDRESS", help="Spread the work over the Dask cluster at this address.")
@click.option("--journal", type=FILE, help="Where finished parts are kept until all are; kept if given.")
@click.option("--output", type=FILE, help="Write everything as one JSON document.")
@click.option("--csv", "csv_file", type=FILE, help="Write a table of all samples.")
@click.option("--csv-classes", type=FILE, help="Write a table of the classes, with the confusion matrix.")
@click.option("--threads", type=click.IntRange(1), help="Threads that share the work (or AI8XSIM_THREADS).")
@with_options(*LOADER_OPTIONS, *OUTPUT_OPTIONS)
def evaluate(network: Path, **flags: Any) -> int:
    """Evaluate NETWORK on a whole data set, and hold it against a PyTorch model with --model.

    A run that was interrupted goes on where it was when the same command is given again.
    """
    from ai8xsim.errors import Ai8xsimError

    outputs = (flags["output"], flags["csv_file"], flags["csv_classes"])
    refuse_outputs(outputs, (network, flags["checkpoint"], flags["journal"]), flags["force"])
    sources = _sources(network, flags)
    try:
        subject = sources.open()
        show_diagnostics(errors_among(subject.diagnostics) if flags["quiet"] else subject.diagnostics)
        evaluation = _evaluated(sources, subject, flags)
    except Ai8xsimError as fault:
        if not flags["as_json"]:
            raise
        records = [diagnostic_record(d) for d in fault.diagnostics]
        print_json({"schema_version": SCHEMA_VERSION, "samples": 0, "diagnostics": records})
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED  # what to do was said where it is known
    _write(evaluation, _record(sources, subject, evaluation), outputs, flags)
    return 0


def _sources(network: Path, flags: dict[str, Any]) -> "Sources":
    from ai8xsim.evaluate.sources import ModelSource, Sources
    from ai8xsim.models import split_name

    for option in ("dataset", "model"):
        try:
            split_name(flags[option] or "no:thing")
        except ValueError as fault:
            raise click.UsageError(f"--{option}: {fault}") from None
    path = None if flags["path"] is None else str(flags["path"])
    given = tuple(model_argument(text) for text in flags["arguments"])
    model = ModelSource(flags["model"], path, given, flags["behaviour"]) if flags["model"] else None
    return Sources(
        network=network,
        checkpoint=flags["checkpoint"],
        dataset=flags["dataset"],
        data=flags["data"],
        device=flags["device"].name,
        options=loader_options(flags),
        path=path,
        fold=flags["out_fold_ratio"],
        model=model,
    )


@dataclass
class _Done:
    """How far a run is, for what is said when it ends."""

    begun: int = 0
    done: int = 0
    total: int = 0


def _evaluated(sources: "Sources", subject: "Subject", flags: dict[str, Any]) -> "Evaluation":
    """The evaluation; its journal is deleted at the end unless it was asked for."""
    from ai8xsim.evaluate import evaluate as evaluate_all
    from ai8xsim.evaluate.journal import Journal
    from ai8xsim.report.terminal import progress_bar

    binding = sources.fingerprint(subject)
    path = flags["journal"] or _journal_name(binding)
    quiet = flags["quiet"] or flags["as_json"]
    count, start = _Done(total=len(subject.data)), time.monotonic()
    with Journal(path, binding) as journal, _interruption(count, path):
        count.begun = sum(map(len, journal.parts.values()))
        if count.begun and not quiet:
            click.echo(f"going on after {count.begun:,} of {count.total:,} samples ({path})", err=True)
        bar = progress_bar("evaluating", hidden=quiet, unit="samples")
        with _computing(sources, subject, binding, flags) as compute, bar as draw:

            def report(done: int, total: int) -> None:
                count.done = done
                draw(done, total)

            evaluation = evaluate_all(subject, compute, journal, report)
        _finish(journal, flags, None if quiet else (count, time.monotonic() - start))
    return evaluation


def _finish(journal: "Journal", flags: dict[str, Any], told: tuple[_Done, float] | None) -> None:
    if not flags["journal"]:
        journal.remove()
    if told is not None:
        count, seconds = told
        fresh = count.total - count.begun
        click.echo(f"{fresh:,} samples in {seconds:.1f} s, {fresh / seconds:,.0f} a second", err=True)


def _journal_name(binding: Mapping[str, str]) -> Path:
    """In the working directory, under a name that only the same evaluation has."""
    digest = hashlib.sha256(json.dumps(dict(binding)).encode()).hexdigest()
    return Path(f"evaluate-{digest[:12]}.journal")


@contextmanager
def _interruption(count: _Done, path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"interrupted after {count.done:,} of {count.total:,} samples; the same command goes on from there "
            f"(what is done is in {path})",
            err=True,
        )
        raise


@contextmanager
def _computing(
    sources: "Sources", subject: "Subject", binding: Mapping[str, str], flags: dict[str, Any]
) -> "Iterator[Compute]":
    """Who computes: this process, or the workers of a cluster."""
    from ai8xsim.cli.options import make_simulator
    from ai8xsim.evaluate import computed

    if flags["dask"] is None:
        simulator = make_simulator(subject.program, flags["threads"])
        yield lambda slices: computed(subject, slices, simulator)
        return
    try:
        from ai8xsim.evaluate.cluster import connected
    except ImportError as fault:
        message = f"--dask: {fault}; install it with `pip install 'ai8xsim[cluster]'`"
        raise click.UsageError(message) from None
    with connected(flags["dask"], sources.absolute(), binding) as compute:
        yield compute


def _record(sources: "Sources", subject: "Subject", evaluation: "Evaluation") -> dict[str, Any]:
    from ai8xsim.evaluate.document import document

    files = {
        "device": sources.device,
        "network": str(sources.network),
        "checkpoint": str(sources.checkpoint),
        "dataset": sources.dataset,
        "data": str(sources.data),
    }
    diagnostics = [diagnostic_record(d) for d in subject.diagnostics]
    return document(evaluation) | {"sources": files, "diagnostics": diagnostics}


def _write(
    evaluation: "Evaluation", record: dict[str, Any], outputs: tuple[Path | None, ...], flags: dict[str, Any]
) -> None:
    from ai8xsim.evaluate.document import write_classes, write_samples
    from ai8xsim.report.evaluation import print_evaluation

    output, csv_file, csv_classes = outputs
    if output is not None:
        text = json.dumps(record, indent=1) + "\n"
        write_file(output, lambda stream: stream.writelines([text.encode()]))
    if csv_file is not None:
        write_file(csv_file, lambda stream: write_samples(evaluation, stream))
    if csv_classes is not None:
        write_file(csv_classes, lambda stream: write_classes(evaluation, stream))
    if flags["as_json"]:
        print_json(record)
    elif not flags["quiet"]:
        print_evaluation(evaluation)
