"""What commands write: diagnostics to stderr, results to stdout, and where files may go."""

import json
import os
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from ai8xsim.diagnostics import Diagnostic, Severity, errors_among, render

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
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} exists; --force overwrites it")
        taken[path.resolve()] = f"{path} is another output"
