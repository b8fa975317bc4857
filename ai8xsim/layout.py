"""Channels, processors and memory words: where a value lies in the data memories.

Source: vendor document, chapters "Multi-Pass" and "Channel Data Formats".
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.device import PROCESSORS, PROCESSORS_PER_MEMORY, WORD_BYTES

Addresses = npt.NDArray[np.int64]

NOWHERE = -1  # the address of a byte that no memory has


class Address(NamedTuple):
    """One byte of data memory: the memory instance (0..15), the word in it, the byte in the word."""

    memory: int
    word: int
    lane: int

    @property
    def offset(self) -> int:
        """The byte in its memory instance, as `in_offset` and `out_offset` count."""
        return self.word * WORD_BYTES + self.lane


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


@dataclass(frozen=True, kw_only=True)
class DataLayout:
    """Where the values of one stream of data lie in the data memories.

    Channel c is processed in pass c // n by the (c mod n)-th enabled processor, n processors a pass. Four
    processors share a memory instance. Of each pixel, pass after pass has a word there, and in a pass operand
    after operand; `gap` times as many words are left out behind the operands of a pass. `offset` counts bytes,
    and the hardware words: what is left of a division by four is lost.

    HWC: the four bytes of a word belong to the four processors. CHW: a word holds four pixels of one channel,
    so only one of four processors can be used. 32 bits: each value has a word of its own, and a pixel four.
    Source: `spec/REGISTERS.md` 6; vendor document, chapters "Multi-Pass" and "Channel Data Formats".
    UNVERIFIED: CHW with several passes, and an offset that is no multiple of four; and operands with a gap. Of the
    gap the registers know one stride, from the operands of a pixel to those of the next, and the vendor's loader
    expects operand i at `in_offset` + 4 * i; so operands lie side by side, and the gap behind them.
    """

    processors: int
    offset: int
    channels: int
    pixels: int
    operands: int = 1
    gap: int = 0
    bits: int = 8
    is_chw: bool = False

    @property
    def passes(self) -> int:
        """How often the processors run over a pixel."""
        return pass_count(self.channels)

    @property
    def expected_processors(self) -> int:
        """How many processors the map must enable."""
        return processors_per_pass(self.channels)

    @property
    def is_complete(self) -> bool:
        """Whether every channel has its processor."""
        return len(enabled(self.processors)) == self.expected_processors

    @property
    def memories(self) -> tuple[int, ...]:
        """The memory instances that hold some of the data."""
        return tuple(sorted({p // PROCESSORS_PER_MEMORY for p in enabled(self.processors)}))

    @property
    def size_bytes(self) -> int:
        """The bytes from the offset to the end of the data, in each memory instance."""
        if self.is_chw:
            words = -(-self.pixels // WORD_BYTES) * self.passes * self.operands
        else:
            words = self.pixels * self.passes * self.operands * self._value_bytes
        return (words * (self.gap + 1) - self.gap * self.operands * self._value_bytes) * WORD_BYTES

    def address(self, channel: int, pixel: int, operand: int = 0) -> Address:
        """Where a value (of 32 bits: its first byte) lies; `pixel` counts row by row.

        >>> full = DataLayout(processors=2**64 - 1, offset=0, channels=192, pixels=9)
        >>> full.address(channel=70, pixel=0)
        Address(memory=1, word=1, lane=2)
        """
        number, rank = divmod(channel, self.expected_processors)
        memory, lane = divmod(enabled(self.processors)[rank], PROCESSORS_PER_MEMORY)
        if self.is_chw:
            words, lane = self._word(pixel // WORD_BYTES, number, operand), pixel % WORD_BYTES
        elif self.bits == 32:
            words, lane = self._word(pixel, number, operand) + lane, 0
        else:
            words = self._word(pixel, number, operand)
        return Address(memory, self.offset // WORD_BYTES + words, lane)

    def addresses(self, memory_bytes: int) -> Addresses:
        """Every byte's place: memory instance * memory_bytes + offset in it, or NOWHERE beyond its end.

        Returns (operands, pixels, channels), for 32 bits (operands, pixels, channels, 4).
        """
        channels = np.arange(self.channels)
        numbers, ranks = np.divmod(channels, self.expected_processors)
        memories, lanes = np.divmod(np.array(enabled(self.processors))[ranks], PROCESSORS_PER_MEMORY)
        operands = np.arange(self.operands)[:, None, None]
        pixels = np.arange(self.pixels)[None, :, None]
        if self.is_chw:
            inside = self._word(pixels // WORD_BYTES, numbers, operands) * WORD_BYTES + pixels % WORD_BYTES
        elif self.bits == 32:
            inside = (self._word(pixels, numbers, operands) + lanes) * WORD_BYTES
        else:
            inside = self._word(pixels, numbers, operands) * WORD_BYTES + lanes
        inside = inside + self.offset // WORD_BYTES * WORD_BYTES
        flat = np.where(inside < memory_bytes, memories * memory_bytes + inside, NOWHERE)
        if self.bits == 8:
            return flat
        return np.where(flat[..., None] < 0, NOWHERE, flat[..., None] + np.arange(WORD_BYTES))

    @property
    def _value_bytes(self) -> int:
        return self.bits // 8

    def _word(self, pixel: Any, number: Any, operand: Any) -> Any:
        """The word of numbers, or of arrays of them."""
        step = self.operands * (self.gap + 1)
        return ((pixel * self.passes + number) * step + operand) * self._value_bytes


def suggested_processors(layout: DataLayout) -> int:
    """A map with the right number of bits, as close to the layout's own as can be: from its first processor on.

    >>> hex(suggested_processors(DataLayout(processors=0xffff, offset=0, channels=3, pixels=1)))
    '0x7'
    """
    fits_chw = layout.expected_processors <= PROCESSORS // PROCESSORS_PER_MEMORY
    step = PROCESSORS_PER_MEMORY if layout.is_chw and fits_chw else 1
    used, count = enabled(layout.processors), layout.expected_processors
    first = min(used[0], PROCESSORS - 1 - (count - 1) * step) if used else 0
    if step > 1:
        first = max(0, first // step * step)
    return sum(1 << max(0, first) + step * number for number in range(count))
