"""Diagnostics: a fault is a value with a place, a reason and a remedy.

Nothing here raises or prints. Whoever finds a fault makes a `Diagnostic`, whoever talks to a person renders it.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

LONGEST_LINE = 160


class Severity(StrEnum):
    """How bad it is: an error has no right result, a warning one that may surprise, a note costs nothing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, order=True)
class Span:
    """A place in a file: line and column count from 1; line 0 means the file as a whole.

    `text` is the source line, so that a diagnostic can be shown after the file has changed or gone.
    """

    file: str
    line: int = 0
    column: int = 0
    length: int = 0
    text: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Diagnostic:
    """One fault: what (`message`), where (`span`, `label`), why (`notes`) and how to mend it (`help`).

    >>> print(error("empty-file", "`net.yaml` is empty", help="describe a network").sentence())
    `net.yaml` is empty; describe a network
    """

    severity: Severity
    code: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""

    def sentence(self) -> str:
        """The diagnostic in one line, as the Python interface shows it."""
        place = f"{self.span}: " if self.span else ""
        remedy = f"; {self.help}" if self.help else ""
        return printable(f"{place}{self.message}{remedy}")


# A diagnostic of each severity: error(code, message, span, label, notes, help), all but the first two optional.
error = partial(Diagnostic, Severity.ERROR)
warning = partial(Diagnostic, Severity.WARNING)
note = partial(Diagnostic, Severity.NOTE)


@dataclass(frozen=True)
class NotRun:
    """A rule or a check that could not be applied, and why."""

    rule: str
    why: str


def errors_among(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The errors among them, in their order."""
    return tuple(d for d in diagnostics if d.severity is Severity.ERROR)


def by_place(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The diagnostics sorted by file, line and column; those without a place first; each one once."""
    nowhere = Span("")
    return tuple(sorted(dict.fromkeys(diagnostics), key=lambda d: d.span or nowhere))


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or "".

    >>> closest("kernel_sise", ["pad", "kernel_size"])
    'kernel_size'
    """
    spelled = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word[:100].lower(), spelled, n=1, cutoff=0.7)
    return spelled[found[0]] if found else ""


def printable(text: str) -> str:
    """The text without what could confuse a terminal: a file from a stranger may hold escape sequences."""
    return "".join(c if c.isprintable() else " " for c in text)


def _window(span: Span) -> tuple[str, int]:
    """The part of the source line to show, and where in it the place begins, counted from 0."""
    column = span.column - 1
    if len(span.text) <= LONGEST_LINE:
        return span.text, column
    first = max(0, column - LONGEST_LINE // 4)
    return span.text[first : first + LONGEST_LINE], column - first


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as a compiler shows it: headline, place, underlined line, notes, help.

    >>> span = Span("net.yaml", 4, 5, 4, "    padd: 1")
    >>> print(render(error("unknown-key", "layer 0 has no key `padd`", span, "not a layer key")))
    error[unknown-key]: layer 0 has no key `padd`
     --> net.yaml:4:5
      |
    4 |     padd: 1
      |     ^^^^ not a layer key
    """
    d, span = diagnostic, diagnostic.span
    margin = " " * len(str(span.line)) if span and span.line else " "
    lines = [f"{d.severity}[{d.code}]: {printable(d.message)}"]
    if span:
        lines.append(f"{margin}--> {printable(str(span))}")
    if span and span.line:
        text, column = _window(span)
        underline = " " * column + "^" * min(max(1, span.length), LONGEST_LINE)
        lines += [f"{margin} |", f"{span.line} | {printable(text)}".rstrip()]
        lines.append(f"{margin} | {underline} {printable(d.label)}".rstrip())
    lines += [f"{margin} = note: {printable(text)}" for text in d.notes]
    if d.help:
        lines.append(f"{margin} = help: {printable(d.help)}")
    return "\n".join(lines)
