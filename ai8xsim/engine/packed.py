"""Which blocks multiply a convolution's weights, and the weights as these read them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder
from ai8xsim.engine.costs import Use, narrow_numbers, worthy_parts
from ai8xsim.engine.taps import Taps
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import FOUR, LANES, Target

Starts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PackedTaps:
    """Taps for some of the output channels, their weights as blocks read them, and the groups of `inputs` in a run.

    products: that a pixel takes for a tap, those with zeros included.   unit: adjacent pixels in a block.
    kind: of the steps.   blocks: of few channels, the numbers of those that multiply them.
    """

    taps: Taps
    channels: range
    weights: npt.NDArray[np.uint8]
    inputs: int
    products: int
    groups: int
    unit: int = 1
    kind: Kind = Kind.MULTIPLY
    blocks: range = range(0)

    def fields(self, target: Target) -> dict[str, int]:
        """Those of a step that depend on its blocks."""
        if self.kind is Kind.MULTIPLY:
            return {}
        after_blocks, taps = len(target.block_table()), len(self.taps.offsets)
        return {
            "group_bytes": self.weights.size // (taps * self.groups) if taps else 0,
            "block_pixels": after_blocks
            + (len(target.narrow_blocks) if self.kind is Kind.MULTIPLY_SPLIT else 0),
            "first_block": self.blocks[0],
            "last_block": self.blocks[-1],
            "inputs": self.inputs,
        }

    def in_order(self, target: Target, starts: Starts, *, are_sums: bool) -> Starts:
        """Starts in the order of the lanes of these blocks."""
        if self.kind is Kind.MULTIPLY_SPLIT:
            return packing.in_split_lanes(starts, target.split_blocks[self.blocks[0]].lanes)
        if self.kind is Kind.MULTIPLY_NARROW:
            return starts
        return packing.in_lane_order(target, starts, is_wide=are_sums)


def packed_taps(builder: Builder, taps: Taps, use: Use) -> Iterator[PackedTaps]:
    """The taps for the blocks that take the least time: all output channels at once, or the last few in parts."""
    outputs, count, run = taps.weight_otr.shape
    parts = worthy_parts(builder.target, builder.costs, (outputs, count, run), use)
    if not parts:
        yield _packed(builder, taps, use)
        return
    first = outputs // LANES * LANES
    if first:
        yield _packed(builder, replace(taps, weight_otr=taps.weight_otr[:first]), use)
    for lanes in parts:
        channels = range(first, min(outputs, first + LANES // lanes))
        yield _packed_apart(builder, taps, channels, lanes)
        first = channels.stop


def _packed(builder: Builder, taps: Taps, use: Use) -> PackedTaps:
    """For blocks of whole vectors, or narrow ones."""
    target, (outputs, count, run) = builder.target, taps.weight_otr.shape
    narrow = narrow_numbers(target, builder.costs, (outputs, count, run), use)
    if narrow:
        block = target.narrow_blocks[narrow.start]
        return PackedTaps(
            taps,
            range(outputs),
            packing.pack_narrow_weights(taps.weight_otr, block.inputs),
            block.inputs,
            packing.narrow_products_of(outputs, run, block.inputs),
            -(-run // block.inputs),
            FOUR if block.is_adjacent else 1,
            Kind.MULTIPLY_NARROW,
            narrow,
        )
    groups = packing.inputs_together(target, run, single_pixel=use.pixels == 1)
    weights = packing.pack_weights(target, taps.weight_otr, groups, is_wide=use.are_sums)
    products = packing.products_of(target, outputs, run)
    return PackedTaps(taps, range(outputs), weights, target.products, products, groups)


def _packed_apart(builder: Builder, taps: Taps, channels: range, lanes: int) -> PackedTaps:
    """These channels for split blocks, with so many lanes for each."""
    own = replace(taps, weight_otr=taps.weight_otr[channels.start : channels.stop])
    numbers, run = builder.target.split_numbers(lanes), own.weight_otr.shape[2]
    inputs = builder.target.split_blocks[numbers[0]].inputs
    return PackedTaps(
        own,
        channels,
        packing.pack_split_weights(own.weight_otr, lanes),
        inputs,
        packing.split_products_of(run, lanes),
        -(-run // inputs),
        kind=Kind.MULTIPLY_SPLIT,
        blocks=numbers,
    )
