"""What the generated `cnn_unload()` is told to copy instead of the output layers.

UNVERIFIED: no known network uses `unload`; it is held against the layout of any other data.
"""

from collections.abc import Iterator
from math import prod

from ai8xsim.diagnostics import Diagnostic, warning
from ai8xsim.layout import DataLayout, suggested_processors
from ai8xsim.network import UnloadDescription
from ai8xsim.rules.subject import Subject


def unload_place(subject: Subject) -> Iterator[Diagnostic]:
    """Entries with another number of processors than channels, or beyond the end of the memories."""
    limit = subject.device.data_memory_bytes
    for number, entry in enumerate(subject.network.unload):
        layout, title = _layout(entry), f"`unload` entry {number}"
        if not layout.is_complete:
            bits = entry.processors.value.bit_count()
            message = f"{title} copies {layout.channels} channels from {bits} processors"
            label = f"{bits} bits, {layout.expected_processors} expected"
            mend = f"write `processors: 0x{suggested_processors(layout):016x}`"
            yield warning("unload-place", message, entry.processors.span, label, help=mend)
        end = layout.offset + layout.size_bytes
        if end > limit:
            message = f"{title} ends at {end} of {limit} bytes in each memory instance"
            mend = "write the `out_offset` and the output's `dim` of the layer that is meant"
            yield warning("unload-place", message, entry.offset.span, help=mend)


def _layout(entry: UnloadDescription) -> DataLayout:
    return DataLayout(
        processors=entry.processors.value,
        offset=entry.offset.value,
        channels=entry.channels.value,
        pixels=prod(entry.dim.value),
        gap=entry.write_gap.value if entry.write_gap else 0,
        bits=int(entry.width.value) if entry.width else 8,
    )
