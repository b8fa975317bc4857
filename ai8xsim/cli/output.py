"""What commands write: diagnostics to stderr, results to stdout, files whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import click

from ai8xsim.diagnostics import Diagnostic, Severity, errors_among, render

COLOURS = MappingProxyType({Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"})


def show_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics as a compiler does, and how many there are."""
    shown = tuple(diagnostics)
    for diagnostic in shown:
        headline, *rest = render(diagnostic).split("\n")
        click.echo(click.style(headline, fg=COLOURS[diagnostic.severity], bold=True), err=True)
        click.echo("\n".join([*rest, ""]), err=True)
    faults = len(errors_among(shown))
    if faults:
        click.echo(f"{faults} error{'s' if faults > 1 else ''}", err=True)


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


def refuse_existing(paths: Iterable[Path | None], force: bool) -> None:
    """Stop before any work if an output exists already and may not be overwritten."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise click.UsageError(f"{path} exists; --force overwrites it")


def write_file(path: Path, write: Callable[[BinaryIO], None], force: bool) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    refuse_existing([path], force)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
