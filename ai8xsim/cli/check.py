"""`ai8xsim check`: every fault in one run."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ai8xsim.cli.options import FILE, LOADER_OPTIONS, OUTPUT_OPTIONS, loader_options, with_options
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
    import numpy as np
    import numpy.typing as npt

    from ai8xsim.checkpoint import Checkpoint
    from ai8xsim.diagnostics import Diagnostic
    from ai8xsim.network import NetworkDescription
    from ai8xsim.rules import Findings

    Array = npt.NDArray[np.integer[Any]]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Read:
    """What could be read; None where a file was not given, or has faults."""

    network: "NetworkDescription | None"
    checkpoint: "Checkpoint | None"
    sample: "Array | None"


@click.command()
@click.argument("network", type=FILE)
@click.option("--checkpoint", type=FILE, help="The quantized checkpoint; without it, channels are unknown.")
@click.option("--sample", type=FILE, help="A sample: a .npy of integers, (C, H, W) or (C, L).")
@click.option("--map", "shows_map", is_flag=True, help="Show the memories, layer by layer.")
@click.option("--sarif", type=FILE, help="Write the findings as SARIF 2.1.0, for code review.")
@with_options(*LOADER_OPTIONS, *OUTPUT_OPTIONS)
def check(network: Path, checkpoint: Path | None, sample: Path | None, **flags: Any) -> int:
    """Check the network NETWORK against every limit of the device, and against checkpoint and sample."""
    if flags["shows_map"] and flags["as_json"]:
        raise click.UsageError("give one of --map and --json: the map is drawn for people")
    refuse_outputs((flags["sarif"],), (network, checkpoint, sample), flags["force"])
    findings, read = _findings(network, checkpoint, sample, flags)
    if flags["sarif"] is not None:
        _write_sarif(flags["sarif"], findings)
    if flags["as_json"]:
        print_json(_record(findings))
    else:
        _show(findings, flags["quiet"])
    if flags["shows_map"]:
        _show_map(read, flags)
    return 1 if findings.has_errors else 0


def _findings(
    network: Path, checkpoint: Path | None, sample: Path | None, flags: dict[str, Any]
) -> "tuple[Findings, Read]":
    """Read all files and apply the rules; the faults of all files in one run."""
    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.cli.arrays import read_sample
    from ai8xsim.diagnostics import by_place
    from ai8xsim.network import read_network
    from ai8xsim.rules import RULES, Findings, NotRun
    from ai8xsim.rules import check as check_all

    found: list[Diagnostic] = []
    described = collect(found, lambda: read_network(network))
    stored = collect(found, lambda: read_checkpoint(checkpoint)) if checkpoint else None
    array = collect(found, lambda: read_sample(sample)) if sample else None
    if described is None:
        found += stored.diagnostics if stored else ()
        not_run = tuple(NotRun(rule.code, "the description has errors") for rule in RULES)
        return Findings(by_place(found), not_run), Read(None, stored, array)
    findings = check_all(described, flags["device"], stored, array, loader_options(flags))
    if sample is not None:
        findings = _placed(findings, sample)
    if checkpoint is not None and stored is None:
        findings = replace(findings, not_run=tuple(replace(r, why="no checkpoint") for r in findings.not_run))
    findings = replace(findings, diagnostics=by_place([*found, *findings]))
    return findings, Read(described, stored, array)


def _placed(findings: "Findings", sample: Path) -> "Findings":
    """Faults of the sample, which has no lines, with the name of its file."""
    from ai8xsim.diagnostics import Span

    placed = (
        replace(d, span=Span(str(sample))) if d.code.startswith("sample-") and d.span is None else d
        for d in findings
    )
    return replace(findings, diagnostics=tuple(placed))


def _record(findings: "Findings") -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "deduced_shape": findings.deduced,
        "diagnostics": [diagnostic_record(d) for d in findings],
        "not_run": [{"rule": entry.rule, "why": entry.why} for entry in findings.not_run],
    }


def _write_sarif(path: Path, findings: "Findings") -> None:
    from ai8xsim.report.sarif import sarif

    text = json.dumps(sarif(findings.diagnostics), indent=1) + "\n"

    def write(stream: BinaryIO) -> None:
        stream.write(text.encode())

    write_file(path, write)


def _show(findings: "Findings", quiet: bool) -> None:
    from ai8xsim.rules import RULES

    shown = errors_among(findings.diagnostics) if quiet else findings.diagnostics
    show_diagnostics(shown, to_stderr=False, counts=False)
    if quiet:
        return
    show_verdict(findings.diagnostics, "rules", [rule.code for rule in RULES], findings.not_run)
    if findings.deduced is not None:
        click.echo(f"sample taken as {'x'.join(map(str, findings.deduced))}, deduced from the layers")


def _show_map(read: Read, flags: dict[str, Any]) -> None:
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.program import resolve
    from ai8xsim.program.infer import infer_input_shape
    from ai8xsim.report.memory_map import print_memory_map

    if read.network is None or read.checkpoint is None:
        click.echo("no map: it needs a description without errors, and a checkpoint", err=True)
        return
    options = loader_options(flags)
    try:
        shape = read.sample.shape if read.sample is not None else None
        shape = shape or infer_input_shape(read.network, read.checkpoint, flags["device"], options)
        if shape is None:
            click.echo("no map: the description does not fix the sample's shape; give --sample", err=True)
            return
        print_memory_map(resolve(read.network, read.checkpoint, flags["device"], shape, options))
    except Ai8xsimError:
        click.echo("no map: the network cannot be resolved, see the errors", err=True)
