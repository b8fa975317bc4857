"""Which blocks multiply a convolution's weights, and the weights as these read them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder
from ai8xsim.engine.costs import narrow_effort, narrow_numbers, split_effort, split_lanes
from ai8xsim.engine.taps import Taps
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import FOUR, LANES, Target

Starts = npt.NDArray[np.int32]

WORTH_SPLITTING = 0.95  # of the time of multiplying everything in whole vectors


class Use(NamedTuple):
    """What weights are packed for.

    pixels: of a sample's outputs.   are_sums: whether these are sums.   is_adjacent: whether every 4 pixels of the
    input are, and have few channels.
    """

    pixels: int
    are_sums: bool
    is_adjacent: bool = False


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
            vectors = packing.vectors_of(target, len(self.channels))
            return {"vector_groups": len(packing.group_sizes(target, vectors))}
        sizes = len(target.block_table())
        taps = len(self.taps.offsets)
        return {
            "group_bytes": self.weights.size // (taps * self.groups) if taps else 0,
            "block_pixels": sizes + (len(target.narrow_blocks) if self.kind is Kind.MULTIPLY_SPLIT else 0),
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
    """The taps for the blocks that take the least time: all output channels at once, or the last few apart."""
    outputs = len(taps.weight_otr)
    lanes = split_lanes(builder.target, outputs)
    if not lanes or not _worth_splitting(builder, taps, use, lanes):
        yield _packed(builder, taps, use)
        return
    first = outputs // LANES * LANES
    if first:
        yield _packed(builder, replace(taps, weight_otr=taps.weight_otr[:first]), use)
    for number in lanes:
        channels = range(first, min(outputs, first + LANES // number))
        yield _packed_apart(builder, taps, channels, number)
        first = channels.stop


def _worth_splitting(builder: Builder, taps: Taps, use: Use, lanes: tuple[int, ...]) -> bool:
    """Whether the last few channels take less time in split blocks, with so many lanes for each."""
    outputs, count, run = taps.weight_otr.shape
    target, costs = builder.target, builder.costs
    if builder.is_single and use.pixels < min(block.pixels for block in target.split_blocks):
        return False
    products = packing.products_of(target, outputs, run)
    narrow = _narrow_numbers(builder, taps, use)
    if narrow:
        products = narrow_effort(costs, outputs, run, target.narrow_blocks[narrow.start].inputs)
    whole, apart = count * products, split_effort(target, (outputs, count, run), lanes)
    return bool(apart < WORTH_SPLITTING * whole and use.pixels * (whole - apart) > len(lanes) * costs.step)


def _packed(builder: Builder, taps: Taps, use: Use) -> PackedTaps:
    """For blocks of whole vectors, or narrow ones."""
    target, (outputs, _, run) = builder.target, taps.weight_otr.shape
    narrow = _narrow_numbers(builder, taps, use)
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


def _narrow_numbers(builder: Builder, taps: Taps, use: Use) -> range:
    """Narrow blocks, where they make activations and take no longer than others."""
    if use.are_sums or use.pixels == 1:
        return range(0)
    outputs, _, run = taps.weight_otr.shape
    return narrow_numbers(builder.target, builder.costs, outputs, run, is_adjacent=use.is_adjacent)
