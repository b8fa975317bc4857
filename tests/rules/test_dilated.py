"""Widely dilated Conv1d layers: room in front of the output and behind it, and advice that passes."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, Diagnostic, Severity, check
from ai8xsim.checkpoint import Checkpoint

from ..simulator.small_programs import network_of, stored_layer


def errors(out_offset: int, in_offset: int, length: int = 40, channels: int = 4) -> list[Diagnostic]:
    """Of a layer of 3 taps, dilated by 9, with a layer behind it."""
    count = min(channels, 64)
    processors = f"0x{(1 << count) - 1:x}"
    keys = "op: conv1d, kernel_size: 3, pad: 0, "
    layers = f"""
    - {{processors: {processors}, {keys}dilation: 9, in_offset: {in_offset}, out_offset: {out_offset}}}
    - {{processors: {processors}, {keys}out_offset: 0x3000}}
    """
    weights = (np.ones((channels, channels, 3), np.int64),) * 2
    stored = tuple(stored_layer(f"layer{n}", weight) for n, weight in enumerate(weights))
    found = check(
        network_of(layers), MAX78000, Checkpoint("x", None, None, stored), np.zeros((channels, length))
    )
    return [d for d in found if d.severity is Severity.ERROR]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 90).map(lambda n: 4 * n), st.sampled_from([0, 0x100, 0x2000]), st.sampled_from([4, 128])
)
def test_the_offset_that_is_advised_is_free(out_offset: int, in_offset: int, channels: int) -> None:
    """The loader's rule: an `out_offset` of at least 4 bytes * dilation * passes."""
    found = errors(out_offset, in_offset, channels=channels)
    least = 4 * 9 * (2 if channels > 64 else 1)
    assert (out_offset < least) == ("dilated-out-offset" in {d.code for d in found})
    for fault in found:
        advised = re.search(r"write `out_offset: (0x[0-9a-f]+)`", fault.help)
        assert advised is not None, fault.help
        assert errors(int(advised[1], 0), in_offset, channels=channels) == []


def test_rows_behind_the_output_need_room_too() -> None:
    """40 values are 5 rows of 9: 45 words from `out_offset` on, of which 22 are the output."""
    assert errors(0x8000 - 45 * 4, 0) == []
    (fault,) = errors(0x8000 - 44 * 4, 0)
    assert fault.code == "output-too-large"
    assert fault.notes[1] == (
        "92 more bytes belong to it: dilated so widely, a Conv1d runs as a Conv2d, and writes whole rows of 9 values"
    )
    assert fault.help == f"write an `out_offset` of at most {0x8000 - 45 * 4:#06x}"
