"""What a code is."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Code:
    """One code: what was found, the reason behind the rule, the remedy, and who says so."""

    name: str
    what: str
    why: str
    mend: str
    source: str = ""


def table(source: str, *rows: Code) -> tuple[Code, ...]:
    """The rows; those without a source of their own have this one."""
    return tuple(row if row.source else replace(row, source=source) for row in rows)
