"""`ai8xsim check-data`: what a loader delivers, against the contract and against a network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ai8xsim.cli.options import FILE, OUTPUT_OPTIONS, DeviceName, with_options
from ai8xsim.cli.output import (
    diagnostic_record,
    print_json,
    refuse_outputs,
    show_diagnostics,
    show_verdict,
)
from ai8xsim.diagnostics import errors_among
from ai8xsim.errors import collect
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from ai8xsim.data import DataFindings, Dataset
    from ai8xsim.data.findings.network import Against
    from ai8xsim.diagnostics import Diagnostic

SCHEMA_VERSION = 1
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command("check-data")
@click.argument("name", metavar="FILE:NAME")
@click.option("--data", type=FOLDER, required=True, help="The folder of data that the loader is given.")
@click.option("--network", type=FILE, help="A network that the samples are for.")
@click.option("--checkpoint", type=FILE, help="Its quantized checkpoint; needed if channels are not stated.")
@click.option("--path", type=FOLDER, metavar="DIR", help="The repository that the data-set file belongs to.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, metavar="K",
              help="How many samples of each set to look at, spread evenly. Of sets that are not very large all items "
                   "are read once, to find those that are in both.")  # fmt: skip
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Workers to try; 0: no other process.",
)
@click.option("--sheet", type=FILE, metavar="PNG", help="Write a contact sheet.")
@click.option("--histogram", type=FILE, metavar="PNG", help="Write a histogram of the channels.")
@with_options(click.option("--device", type=DeviceName(), default="MAX78000", show_default=True, help="The device."),
              *OUTPUT_OPTIONS)  # fmt: skip
def check_data(name: str, **flags: Any) -> int:
    """Check what the loader of the data set FILE:NAME delivers; the file's code is run."""
    from ai8xsim.errors import Ai8xsimError

    outputs = (flags["sheet"], flags["histogram"])
    refuse_outputs(outputs, (_file_of(name), flags["network"], flags["checkpoint"]), flags["force"])
    _refuse_without_matplotlib(flags["histogram"])
    if flags["checkpoint"] and not flags["network"]:
        raise click.UsageError("--checkpoint needs --network")
    try:
        findings = _findings(name, flags)
    except Ai8xsimError as fault:
        if flags["as_json"]:
            print_json(_failure(fault.diagnostics))
            return 1
        show_diagnostics(fault.diagnostics, to_stderr=False)
        return 1
    _write(findings, flags)
    if flags["as_json"]:
        print_json(_record(findings))
    else:
        _show(findings, flags["quiet"])
    return 1 if findings.has_errors else 0


def _file_of(name: str) -> Path:
    from ai8xsim.models import split_name

    try:
        return split_name(name)[0]
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None


def _refuse_without_matplotlib(histogram: Path | None) -> None:
    from importlib.util import find_spec

    if histogram is not None and find_spec("matplotlib") is None:
        raise click.UsageError('--histogram needs matplotlib: pip install "ai8xsim[plots]"')


def _findings(name: str, flags: dict[str, Any]) -> "DataFindings":
    """Read all files, then the data; the faults of all files in one run."""
    from ai8xsim.data import CheckPlan
    from ai8xsim.data import check_data as check
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.report.terminal import progress_bar

    found: list[Diagnostic] = []
    dataset = collect(found, lambda: _dataset(name, flags["path"]))
    against = collect(found, lambda: _against(flags))
    if dataset is None or found:
        raise Ai8xsimError([*found, *(dataset.diagnostics if dataset else ())])
    plan = CheckPlan(flags["samples"], flags["workers"])
    with progress_bar("reading samples", hidden=flags["quiet"] or flags["as_json"]) as progress:
        return check(dataset, flags["data"], plan, against, progress)


def _dataset(name: str, path: Path | None) -> "Dataset":
    """The data set; where its file describes models too, all of `ai8x` is ours."""
    from ai8xsim.data import find_dataset
    from ai8xsim.nn.loading import model_stand_ins

    return find_dataset(name, path, model_stand_ins())


def _against(flags: dict[str, Any]) -> "Against | None":
    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.data.findings.network import Against
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.network import read_network

    if flags["network"] is None:
        return None
    found: list[Diagnostic] = []
    network = collect(found, lambda: read_network(flags["network"]))
    stored = collect(found, lambda: read_checkpoint(flags["checkpoint"])) if flags["checkpoint"] else None
    if network is None or found:
        raise Ai8xsimError(found)
    return Against(network, flags["device"], stored)


def _write(findings: "DataFindings", flags: dict[str, Any]) -> None:
    from ai8xsim.data.sheet import write_histogram, write_sheet

    writers: tuple[tuple[Path | None, Callable[[Any, BinaryIO], None]], ...] = (
        (flags["sheet"], write_sheet),
        (flags["histogram"], write_histogram),
    )
    for path, write in writers:
        if path is not None:
            write_file(path, partial(write, findings.subject))


def _show(findings: "DataFindings", quiet: bool) -> None:
    from ai8xsim.data.findings.table import CHECKS
    from ai8xsim.report.data_check import print_data_check

    shown = errors_among(findings.diagnostics) if quiet else findings.diagnostics
    show_diagnostics(shown, to_stderr=False, counts=False)
    if quiet:
        return
    print_data_check(findings.subject)
    show_verdict(findings.diagnostics, "checks", [check.code for check in CHECKS], findings.not_run)


def _record(findings: "DataFindings") -> dict[str, Any]:
    from ai8xsim.report.data_check import data_record

    return {
        "schema_version": SCHEMA_VERSION,
        "diagnostics": [diagnostic_record(d) for d in findings.diagnostics],
        "not_run": [{"rule": entry.rule, "why": entry.why} for entry in findings.not_run],
        **data_record(findings.subject),
    }


def _failure(diagnostics: "tuple[Diagnostic, ...]") -> dict[str, Any]:
    from ai8xsim.data.findings.table import CHECKS

    return {
        "schema_version": SCHEMA_VERSION,
        "diagnostics": [diagnostic_record(d) for d in diagnostics],
        "not_run": [{"rule": check.code, "why": "the loader could not be run"} for check in CHECKS],
        "dataset": None, "sets": [], "channels": [], "classes": None,
    }  # fmt: skip
