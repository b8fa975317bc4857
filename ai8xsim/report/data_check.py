"""What was read of a data set, as a table."""

from typing import Any

import numpy as np
from rich.text import Text

from ai8xsim.data.findings.labels import class_counts
from ai8xsim.data.findings.subject import Subject
from ai8xsim.data.findings.values import channel_use
from ai8xsim.data.reading import Reading
from ai8xsim.diagnostics import printable
from ai8xsim.report.terminal import console, plain_table, print_table

SHOWN_CLASSES = 12


def print_data_check(subject: Subject) -> None:
    """The sets in both modes, the use of the range, the classes."""
    screen = console()
    table = plain_table("set", "mode", "items", "read", "type", "shape", "from", "to")
    for reading in subject.readings:
        table.add_row(*(Text(printable(cell)) for cell in _row(reading)))
    print_table(screen, table)
    for line in _facts(subject):
        screen.print(Text(printable(line)), soft_wrap=True)


def data_record(subject: Subject) -> dict[str, Any]:
    """The same for JSON."""
    sets = [
        {
            "set": r.name,
            "mode": "8-bit" if r.act_mode_8bit else "training",
            "items": r.length,
            "read": len(r.items),
        }
        for r in subject.readings
    ]
    counts, _, _ = class_counts(subject)
    return {
        "dataset": subject.dataset.name,
        "sets": sets,
        "channels": [{"minimum": low, "maximum": high} for low, high in channel_use(subject)],
        "classes": None if counts is None else [int(count) for count in counts],
    }


def _row(reading: Reading) -> tuple[str, ...]:
    arrays = [item.values for item in reading.items if item.values is not None and item.values.size]
    kinds = sorted({item.kind for item in reading.items})
    shapes = sorted({item.shape for item in reading.items})
    steps = 1 if reading.act_mode_8bit else 128
    span = ("", "")
    if arrays:
        span = (
            f"{min(float(np.nanmin(a)) for a in arrays) / steps:.4g}",
            f"{max(float(np.nanmax(a)) for a in arrays) / steps:.4g}",
        )
    mode = "8-bit" if reading.act_mode_8bit else "training"
    shape = "x".join(map(str, shapes[0])) if len(shapes) == 1 else f"{len(shapes)} shapes"
    return (reading.name, mode, str(reading.length), str(len(reading.items)), ", ".join(kinds), shape, *span)


def _facts(subject: Subject) -> list[str]:
    lines = []
    use = channel_use(subject)
    if use:
        shares = [(high - low + 1) / 256 for low, high in use]
        each = ", ".join(f"{share:.0%}" for share in shares[:8]) + (", ..." if len(shares) > 8 else "")
        lines.append(f"share of -128..127 that channels use: {each}")
        lines.append(_zeros(subject))
    counts, read, _ = class_counts(subject)
    if counts is not None:
        names = [f"{name} {count}" for name, count in zip(subject.dataset.output, counts, strict=True)]
        more = f", and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
        what = "labels" if counts.sum() == read else "labelled pixels"
        lines.append(f"{what} of the train set: {', '.join(names[:SHOWN_CLASSES])}{more}")
    return lines


def _zeros(subject: Subject) -> str:
    """Which of the two mappings the loader uses: it decides whether firmware agrees."""
    items = [item.values for _, item in subject.fitting_chip() if item.values is not None]
    if any(bool((values == 0).any()) for values in items):
        return "0 occurs, as where pixels are divided by 256: then firmware's `pixel ^ 0x80` is the same"
    why = "then firmware's `pixel ^ 0x80` is one lower for 128 to 254"
    return f"0 never occurs, as where pixels are divided by 255: {why}"
