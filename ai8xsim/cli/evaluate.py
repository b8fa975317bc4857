"""`ai8xsim evaluate`: a whole data set through the functional level."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
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
from ai8xsim.diagnostics import Diagnostic, Span, errors_among, warning
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

    sources = _sources(network, flags)
    inputs = (network, flags["checkpoint"], flags["journal"], *sources.code)
    refuse_outputs(_outputs(flags), inputs, flags["force"])
    try:
        with redirect_stdout(sys.stderr):  # the user's code may print, and stdout belongs to the results
            subject = sources.open()
            binding = sources.fingerprint(subject)
        show_diagnostics(errors_among(subject.diagnostics) if flags["quiet"] else subject.diagnostics)
        _evaluate(sources, subject, binding, flags)
    except Ai8xsimError as fault:
        if not flags["as_json"]:
            raise
        records = [diagnostic_record(d) for d in fault.diagnostics]
        print_json({"schema_version": SCHEMA_VERSION, "samples": 0, "diagnostics": records})
        return 1
    return 0


def _outputs(flags: dict[str, Any]) -> tuple[Path | None, ...]:
    return flags["output"], flags["csv_file"], flags["csv_classes"]


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

    begun: int
    done: int
    total: int

    def told(self, seconds: float) -> str:
        """What is said at the end."""
        if self.begun == self.total:
            return (
                "all samples were done before; the first and the last ones, computed again, came out the same"
            )
        fresh = self.total - self.begun
        return f"{fresh:,} samples in {seconds:.1f} s, {fresh / seconds:,.0f} a second"


def _evaluate(
    sources: "Sources", subject: "Subject", binding: Mapping[str, str], flags: dict[str, Any]
) -> None:
    """Evaluate and write; what was computed is in the journal until everything is written."""
    with _kept(flags["journal"], binding, flags) as journal:
        with redirect_stdout(sys.stderr), _computing(sources, subject, binding, flags) as compute:
            evaluation = _evaluated(subject, compute, journal, flags["quiet"] or flags["as_json"])
        _write(evaluation, _record(sources, subject, evaluation), flags)


@contextmanager
def _kept(
    named: Path | None, binding: Mapping[str, str], flags: dict[str, Any]
) -> "Iterator[Journal | None]":
    """The journal; None where there can be none, unless it was asked for.

    One that was not asked for is deleted once nobody needs it: at the end, or if no part was finished.
    """
    from ai8xsim.evaluate.journal import Journal

    path = named or _journal_name(binding)
    try:
        journal = Journal(path, binding)
    except OSError as fault:
        if named:
            raise
        show_diagnostics(() if flags["quiet"] or flags["as_json"] else (_no_journal(path, fault),))
        journal = None
    if journal is None:
        yield None
        return
    with journal:
        try:
            yield journal
        except BaseException:
            if named is None and not journal.parts:
                journal.remove()
            raise
        if named is None:
            journal.remove()


def _no_journal(path: Path, fault: OSError) -> Diagnostic:
    message = (
        f"no journal can be kept here ({fault.strerror or fault}): after an interruption all begins anew"
    )
    return warning(
        "no-journal", message, Span(str(path)), help="name a file that can be written with `--journal`"
    )


def _evaluated(
    subject: "Subject", compute: "Compute", journal: "Journal | None", quiet: bool
) -> "Evaluation":
    from ai8xsim.evaluate import evaluate as evaluate_all
    from ai8xsim.report.terminal import progress_bar

    begun = sum(map(len, journal.parts.values())) if journal else 0
    count, start = _Done(begun, begun, subject.count), time.monotonic()
    if journal and begun and not quiet:
        click.echo(f"going on after {begun:,} of {count.total:,} samples ({journal.path})", err=True)
    bar = progress_bar("evaluating", hidden=quiet, unit="samples")
    with _interruption(count, journal), bar as draw:

        def report(done: int, total: int) -> None:
            count.done = done
            draw(done, total)

        evaluation = evaluate_all(subject, compute, journal, report)
    if not quiet:
        click.echo(count.told(time.monotonic() - start), err=True)
    return evaluation


def _journal_name(binding: Mapping[str, str]) -> Path:
    """In the working directory, under a name that only the same evaluation has."""
    digest = hashlib.sha256(json.dumps(dict(binding)).encode()).hexdigest()
    return Path(f"evaluate-{digest[:12]}.journal")


@contextmanager
def _interruption(count: _Done, journal: "Journal | None") -> Iterator[None]:
    """After control-C it is said how to go on, if there is something to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        said = f"interrupted after {count.done:,} of {count.total:,} samples"
        if journal and journal.parts:
            said += f"; the same command goes on from there (what is done is in {journal.path})"
        click.echo(said, err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


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


def _write(evaluation: "Evaluation", record: dict[str, Any], flags: dict[str, Any]) -> None:
    from ai8xsim.evaluate.document import write_classes, write_samples
    from ai8xsim.report.evaluation import print_evaluation

    output, csv_file, csv_classes = _outputs(flags)
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
