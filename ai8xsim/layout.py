"""Channels, processors and memory words: where a value lies in the data memories.

Source: vendor document, chapters "Multi-Pass" and "Channel Data Formats".
"""

from typing import NamedTuple

from ai8xsim.device import PROCESSORS, PROCESSORS_PER_MEMORY


class Address(NamedTuple):
    """One byte of data memory: the memory instance (0..15), the word in it, the byte in the word."""

    memory: int
    word: int
    lane: int


def pass_count(channels: int) -> int:
    """How often the processors run over the data: once for each 64 channels begun.

    >>> pass_count(64), pass_count(65)
    (1, 2)
    """
    return -(-channels // PROCESSORS)


def processors_per_pass(channels: int) -> int:
    """How many processors work in each pass; with several passes a multiple of four.

    >>> processors_per_pass(3), processors_per_pass(100)
    (3, 52)
    """
    per_pass = -(-channels // pass_count(channels))
    return (
        per_pass if channels <= PROCESSORS else -(-per_pass // PROCESSORS_PER_MEMORY) * PROCESSORS_PER_MEMORY
    )


def packed_processors(channels: int) -> int:
    """The processor map for so many channels, from processor 0 without gaps.

    >>> hex(packed_processors(100))
    '0xfffffffffffff'
    """
    return (1 << processors_per_pass(channels)) - 1


def enabled(processors: int) -> tuple[int, ...]:
    """The processors that a map enables, in order.

    >>> enabled(0b1011)
    (0, 1, 3)
    """
    return tuple(p for p in range(PROCESSORS) if processors >> p & 1)


def hwc_address(channel: int, pixel: int, channels: int, processors: int) -> Address:
    """Where a value lies that is stored as HWC, relative to the layer's offset.

    Channel c is processed in pass c // n by the (c mod n)-th enabled processor, n processors a pass;
    the passes of a pixel lie in consecutive words. `pixel` counts row by row.

    >>> hwc_address(channel=70, pixel=0, channels=192, processors=2**64 - 1)
    Address(memory=1, word=1, lane=2)
    """
    used = enabled(processors)[: processors_per_pass(channels)]
    number, rank = divmod(channel, len(used))
    memory, lane = divmod(used[rank], PROCESSORS_PER_MEMORY)
    return Address(memory, pixel * pass_count(channels) + number, lane)
