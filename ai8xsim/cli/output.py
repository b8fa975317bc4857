"""What commands write: diagnostics to stderr, results to stdout, and where files may go."""

import json
import os
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from ai8xsim.diagnostics import Diagnostic, NotRun, Severity, errors_among, render

COLOURS = MappingProxyType({Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"})


def show_diagnostics(diagnostics: Iterable[Diagnostic], to_stderr: bool = True, counts: bool = True) -> None:
    """Print diagnostics as a compiler does, and how many errors there are."""
    shown = tuple(diagnostics)
    for diagnostic in shown:
        headline, *rest = render(diagnostic).split("\n")
        if not os.environ.get("NO_COLOR"):
            headline = click.style(headline, fg=COLOURS[diagnostic.severity], bold=True)
        click.echo(headline, err=to_stderr)
        click.echo("\n".join([*rest, ""]), err=to_stderr)
    faults = len(errors_among(shown))
    if faults and counts:
        click.echo(f"{faults} error{'s' if faults > 1 else ''}", err=True)


def show_verdict(
    diagnostics: Iterable[Diagnostic], kind: str, known: Collection[str], not_run: Iterable[NotRun]
) -> None:
    """How many faults were found, how many of the known rules or checks were applied, and why the others were not."""
    found, reasons = list(diagnostics), dict[str, list[str]]()
    for entry in not_run:
        reasons.setdefault(entry.why, []).append(entry.rule)
    counts = [(severity, sum(d.severity is severity for d in found)) for severity in Severity]
    summary = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts if count)
    left_out = {name for names in reasons.values() for name in names} & set(known)
    click.echo(f"{summary or 'no faults'}; {len(known) - len(left_out)} of {len(known)} {kind} applied")
    for why, names in reasons.items():
        listed = "all of them" if set(names) >= set(known) else ", ".join(dict.fromkeys(names))
        click.echo(wrapped(f"not applied, because {why}: {listed}", 110))


def wrapped(text: str, width: int = 96, first: str = "", others: str = "  ") -> str:
    """The text in lines, which are never broken within a word or a code."""
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines)


def diagnostic_record(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic for JSON."""
    span = diagnostic.span
    return {
        "severity": diagnostic.severity.value,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": span.file if span else None,
        "line": span.line if span and span.line else None,
        "column": span.column if span and span.line else None,
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


def print_json(record: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(record, indent=1))


def refuse_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None], force: bool) -> None:
    """Stop before any work if an output cannot be written, or would overwrite what may not be lost."""
    taken = {path.resolve(): f"{path} is an input" for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        if not path.parent.is_dir():
            raise click.UsageError(f"{path}: there is no folder {path.parent}")
        if path.is_dir():
            raise click.UsageError(f"{path} is a folder")
        if path.resolve() in taken:
            raise click.UsageError(f"{path} cannot be written: {taken[path.resolve()]}")
        is_lost = path.is_file() or not path.exists()  # a pipe or a device has nothing to lose
        if os.path.lexists(path) and is_lost and not force:
            raise click.UsageError(f"{path} exists; --force overwrites it")
        taken[path.resolve()] = f"{path} is another output"
