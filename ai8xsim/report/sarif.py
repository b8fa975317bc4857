"""Diagnostics as SARIF 2.1.0, which code review tools show beside the lines.

Source: OASIS standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

import os
from collections.abc import Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from ai8xsim.codes import CODES
from ai8xsim.diagnostics import Diagnostic, Severity, Span, printable
from ai8xsim.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = MappingProxyType({Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"})


def sarif(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """One run of ai8xsim, with a result for each diagnostic and a rule for each code among them."""
    codes = list(dict.fromkeys(d.code for d in diagnostics))
    driver = {"name": "ai8xsim", "version": __version__, "rules": [_rule(code) for code in codes]}
    results = [_result(d, codes.index(d.code)) for d in diagnostics]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> dict[str, Any]:
    code = CODES[name]
    return {
        "id": name,
        "shortDescription": {"text": code.what},
        "fullDescription": {"text": code.why},
        "help": {"text": f"{code.mend} Source: {code.source}."},
    }


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    parts = [
        diagnostic.message,
        *diagnostic.notes,
        *([f"help: {diagnostic.help}"] if diagnostic.help else []),
    ]
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": LEVELS[diagnostic.severity],
        "message": {"text": "\n".join(printable(part) for part in parts)},
    }
    if diagnostic.span:
        result["locations"] = [{"physicalLocation": _location(diagnostic.span)}]
    return result


def _location(span: Span) -> dict[str, Any]:
    path = PurePath(span.file)
    uri = path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if span.line:
        end = span.column + max(1, span.length)
        location["region"] = {"startLine": span.line, "startColumn": span.column, "endColumn": end}
    return location
