"""The instruction sets that kernels are generated for, as a table, and which of them serves this processor.

A kernel keeps a block of sums in registers: some pixels times some vectors of output channels. For each step along
the inputs it loads the vectors' weights once, broadcasts each pixel's next values, and multiplies and adds. Wide
blocks keep the multipliers busy: with p pixels and v vectors, p * v multiplications need only p + v loads.
"""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

VARIABLE = "AI8XSIM_TARGET"
PORTABLE = "portable"
FOUR = 4  # pixels that share a vector, channels of each in it, and inputs that one instruction multiplies
TILES_TOGETHER, TILE_VECTORS = 24, 2  # tiles that are computed together; vectors of outputs in their blocks
LANES = 16  # of the vectors of narrow and split blocks
CHAINS = 4  # in which a block for a single pixel sums; its groups of inputs must be a multiple of them


class Block(NamedTuple):
    """The sums that a kernel keeps in registers.

    chains: more than one sum each output in several parts, for single pixels, where one chain of additions would wait
    for itself.   is_even: whether the inputs of every four pixels must be as far apart, which spares registers.
    """

    pixels: int
    vectors: int
    chains: int = 1
    is_even: bool = False


class NarrowBlock(NamedTuple):
    """Likewise, where 4 pixels share a vector; `fours`: times 4 output channels; `inputs`: multiplied at a time."""

    pixels: int
    fours: int
    inputs: int

    @property
    def is_adjacent(self) -> bool:
        """Whether every 4 pixels must be, with at most 4 channels each, since their inputs are loaded together."""
        return self.inputs == FOUR


class SplitBlock(NamedTuple):
    """Likewise, where each output channel has so many lanes of a vector, which share its inputs out.

    The pixels are a multiple of the lanes.
    """

    pixels: int
    lanes: int

    @property
    def inputs(self) -> int:
        """That are multiplied at a time."""
        return FOUR * self.lanes

    @property
    def channels(self) -> int:
        return LANES // self.lanes


class TileBlocks(NamedTuple):
    """Tiles of the blocks that multiply them, and of the smaller one that takes the rest.

    However many of `TILES_TOGETHER` there are, blocks do not go beyond these.
    """

    tiles: int
    rest: int


class Avx512Vnni(NamedTuple):
    """Marks compiled functions for AVX-512 VNNI; like every marker it tells the lanes of a vector, the most vectors
    in a block; of depthwise blocks the pixels, the vectors of sums, and the bytes of a channel's weight."""

    lanes: int = 16
    most_vectors: int = 4
    channel_pixels: int = 6
    channel_vectors: int = 4
    channel_weight_bytes: int = 4


class AvxVnni(NamedTuple):
    """Marks compiled functions for AVX-VNNI."""

    lanes: int = 8
    most_vectors: int = 2
    channel_pixels: int = 4
    channel_vectors: int = 1
    channel_weight_bytes: int = 2


class Avx2(NamedTuple):
    """Marks compiled functions for AVX2."""

    lanes: int = 8
    most_vectors: int = 2
    channel_pixels: int = 4
    channel_vectors: int = 1
    channel_weight_bytes: int = 2


class Generic(NamedTuple):
    """Marks compiled functions for vectors of 128 bits in general: SSE2, NEON."""

    lanes: int = 4
    most_vectors: int = 2
    channel_pixels: int = 4
    channel_vectors: int = 1
    channel_weight_bytes: int = 2


Marker = Avx512Vnni | AvxVnni | Avx2 | Generic


@dataclass(frozen=True)
class Target:
    """An instruction set: how memory holds values, and the shape of its vectors.

    marker: an argument of compiled functions; its type chooses the instructions.   features: what LLVM must offer.
    products: values that one lane (a 32-bit sum) multiplies and adds at once.
    value: the type in which memory holds activations (see `held`).
    masked_stores: whether a vector's first bytes can be stored alone.
    blocks: the shapes of blocks, by the number of vectors, and the largest first.   tile_blocks: those of
    tiles, likewise.   narrow_blocks: for few output channels, by their number.   split_blocks: likewise, by the lanes
    of a channel.
    """

    name: str
    marker: Marker
    features: tuple[str, ...]
    products: int
    value: DTypeLike
    masked_stores: bool
    blocks: tuple[Block, ...]
    tile_blocks: tuple[TileBlocks, ...]
    narrow_blocks: tuple[NarrowBlock, ...] = ()
    split_blocks: tuple[SplitBlock, ...] = ()

    @property
    def lanes(self) -> int:
        """32-bit sums in a vector."""
        return self.marker.lanes

    @property
    def value_bytes(self) -> int:
        return np.dtype(self.value).itemsize

    @property
    def vectors(self) -> int:
        """Most vectors of output channels in a block."""
        return self.marker.most_vectors

    def block_table(self) -> list[int]:
        """The blocks as compiled code reads them: [number of the entry where the blocks' pixels begin; for each
        number of vectors its first block, and the end of them; likewise its first block that is not even; each block's
        pixels]."""
        counts = [block.vectors for block in self.blocks]
        assert counts == sorted(counts), "blocks are listed by their number of vectors"
        kinds = [(block.vectors, block.is_even) for block in self.blocks]
        every = range(1, self.vectors + 1)
        first = [counts.index(vectors) for vectors in every]
        first_other = [kinds.index((vectors, False)) for vectors in every]
        head = [0, *first, len(counts), *first_other]
        head[0] = len(head)
        return head + [block.pixels for block in self.blocks]

    def table_of_few(self) -> list[int]:
        """Likewise, for few output channels: each narrow block's pixels, and each split block's."""
        narrow, split = (
            [block.pixels for block in blocks] for blocks in (self.narrow_blocks, self.split_blocks)
        )
        return narrow + split

    def narrow_numbers(self, channels: int, run: int, *, is_adjacent: bool = False) -> range:
        """The narrow blocks for so many output channels that multiply the fewest zeros for a run of inputs.

        is_adjacent: whether every 4 pixels are.
        """
        fitting = [
            block
            for block in self.narrow_blocks
            if FOUR * block.fours == channels and (is_adjacent or not block.is_adjacent)
        ]
        if not fitting:
            return range(0)
        best = min(fitting, key=lambda block: (-(-run // block.inputs) * block.inputs, -block.inputs))
        numbers = [n for n, block in enumerate(self.narrow_blocks) if block[1:] == best[1:]]
        return range(numbers[0], numbers[-1] + 1)

    @property
    def lanes_of_split_blocks(self) -> tuple[int, ...]:
        """Of a channel, the fewest first."""
        return tuple(sorted({block.lanes for block in self.split_blocks}))

    def split_numbers(self, lanes: int) -> range:
        """The split blocks whose channels have so many lanes."""
        numbers = [n for n, block in enumerate(self.split_blocks) if block.lanes == lanes]
        return range(numbers[0], numbers[-1] + 1)

    def channel_step(self, channels: int) -> int:
        """Values from pixel to pixel in memory, for pixels that a kernel writes."""
        unit = self.products if self.masked_stores else self.lanes
        return -(-channels // unit) * unit


def _blocks(*rows: tuple[int, tuple[int, ...]]) -> tuple[Block, ...]:
    """Blocks by (vectors, pixels of each); each number of vectors has one for single pixels, in chains."""
    return tuple(
        Block(count, vectors, CHAINS if count == 1 else 1)
        for vectors, pixels in rows
        for count in (*pixels, 1)
    )


# 32 registers hold 24 sums, the weights of the vectors and a pixel; 16 registers hold 12 or 10. The addresses
# of 24 pixels would not find room; of 16 some do not, which still pays where four pixels are not even.
_OF_32_REGISTERS = (
    Block(24, 1, is_even=True),
    *_blocks((1, (16, 4)), (2, (8, 4)), (3, (8, 4)), (4, (6, 4, 2))),
)
_OF_16_REGISTERS = _blocks((1, (8, 4, 2)), (2, (6, 4, 2)))
_OF_PAIRS = _blocks((1, (8, 4, 2)), (2, (5, 4, 2)))

# For one vector and for two, `TILE_VECTORS`.
_TILES = TileBlocks(8, 4), TileBlocks(8, 4)
_TILES_OF_16_REGISTERS = TileBlocks(8, 4), TileBlocks(6, 2)
_TILES_OF_PAIRS = TileBlocks(8, 4), TileBlocks(4, 2)

# 16 to 24 sums, the inputs of the pixels, the weights of the channels, and what is repeated.
_NARROW = tuple(
    NarrowBlock(pixels, fours, inputs)
    for fours, inputs, sizes in (
        (2, 4, (32, 4)),
        (4, 16, (16, 4)),
        (4, 12, (16, 4)),
        (4, 4, (24, 4)),
    )
    for pixels in sizes
)

_SPLIT = tuple(SplitBlock(pixels, lanes) for lanes in (2, 4, 8) for pixels in (16, 8))

TARGETS = (
    Target(
        "avx512vnni",
        Avx512Vnni(),
        ("avx512vnni", "avx512bw"),
        4,
        np.uint8,
        True,
        _OF_32_REGISTERS,
        _TILES,
        _NARROW,
        _SPLIT,
    ),
    Target("avxvnni", AvxVnni(), ("avxvnni",), 4, np.uint8, False, _OF_16_REGISTERS, _TILES_OF_16_REGISTERS),
    Target("avx2", Avx2(), ("avx2",), 2, np.int16, False, _OF_PAIRS, _TILES_OF_PAIRS),
    Target("generic", Generic(), (), 2, np.int16, False, _OF_PAIRS, _TILES_OF_PAIRS),
)


def target_of(marker: type) -> Target:
    """The target that this class marks."""
    (found,) = (target for target in TARGETS if type(target.marker) is marker)
    return found


def available_targets() -> tuple[Target, ...]:
    """The targets whose instructions Numba will use here, the fastest first.

    What counts is not what the processor has but what Numba was told (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`):
    an instruction that LLVM does not allow ends the process.
    """
    features = _features()
    return tuple(target for target in TARGETS if set(target.features) <= features)


def choose_target(name: str | None = None) -> Target | None:
    """The target of this name, or of the environment variable AI8XSIM_TARGET, or else the fastest; None for
    `portable`, the kernels without generated code.

    Raises ValueError for a name that is unknown or that this processor cannot run.
    """
    available = available_targets()
    wanted = name or os.environ.get(VARIABLE) or available[0].name
    if wanted == PORTABLE:
        return None
    for target in available:
        if target.name == wanted:
            return target
    known = ", ".join([*(target.name for target in available), PORTABLE])
    raise ValueError(f"target {wanted!r} does not run here; choose one of {known}")


def processor() -> str:
    """The processor that Numba compiles for, by LLVM's name: `znver5`, `sapphirerapids`, `generic`."""
    return _told()[1]


def _features() -> set[str]:
    return {feature[1:] for feature in _told()[2].split(",") if feature.startswith("+")}


def _told() -> tuple[str, str, str]:
    """What Numba tells LLVM: system, processor, features."""
    from numba.core.registry import cpu_target

    codegen: Any = cpu_target.target_context.codegen()
    told: tuple[str, str, str] = codegen.magic_tuple()
    return told
