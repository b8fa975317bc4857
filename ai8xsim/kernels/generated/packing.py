"""Weights and constants in the order in which the generated kernels read them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai8xsim.kernels.generated.activations import channel_order
from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.targets import CHAINS, FOUR, LANES, TILE_VECTORS, Target
from ai8xsim.kernels.generated.winograd import PRODUCTS, transform_kernels

PAIR, TILE_WEIGHT_BYTES = 2, 2  # of 16-bit inputs, that one instruction multiplies

Int8 = NDArray[np.int8]
Starts = NDArray[np.int32]


def vectors_of(target: Target, outputs: int) -> int:
    """Vectors that so many output channels fill."""
    return -(-outputs // target.lanes)


def group_sizes(target: Target, vectors: int) -> list[int]:
    """The vectors of each group that is computed together: as many as go, but none is left alone for the last group.

    Four vectors of a pixel are packed without a gap; with a single one, each load of a pixel serves one product only.
    """
    sizes, most = [], target.vectors
    while vectors:
        size = most - 1 if vectors == most + 1 else min(vectors, most)
        sizes.append(size)
        vectors -= size
    return sizes


def products_of(target: Target, outputs: int, run: int) -> int:
    """The products that blocks multiply for a pixel and a tap, those with zeros included."""
    inputs = -(-run // target.products) * target.products
    return vectors_of(target, outputs) * target.lanes * inputs


def narrow_products_of(outputs: int, run: int, inputs: int) -> int:
    """Likewise for narrow blocks, which multiply so many inputs at a time."""
    return outputs * -(-run // inputs) * inputs


def split_products_of(run: int, lanes: int) -> int:
    """Likewise for split blocks whose channels have so many lanes."""
    inputs = FOUR * lanes
    return -(-run // inputs) * inputs * (LANES // lanes)


def tile_products_of(target: Target, outputs: int, inputs: int) -> int:
    """The products of a tile in one plane; those of bytes that would take the same instructions."""
    return vectors_of(target, outputs) * target.lanes * pairs_of(inputs) * target.products


def tile_weight_bytes(target: Target, outputs: int, inputs: int) -> int:
    """Of the weights that `pack_tile_weights` makes."""
    return PRODUCTS * vectors_of(target, outputs) * target.lanes * pairs_of(inputs) * PAIR * TILE_WEIGHT_BYTES


def pairs_of(inputs: int) -> int:
    """Pairs that so many inputs fill."""
    return -(-inputs // PAIR)


def inputs_together(target: Target, run: int, single_pixel: bool) -> int:
    """How many groups of inputs a run of so many values takes; where one pixel is computed, whole chains of them."""
    groups = -(-run // target.products)
    chains = CHAINS if single_pixel else 1
    return -(-groups // chains) * chains


def pack_weights(target: Target, weight_otr: Int8, groups: int, *, is_wide: bool) -> NDArray[np.uint8]:
    """Weights (out, taps, run) as bytes: by group of vectors, tap, group of inputs, vector, lane, input.

    Runs are filled up with zeros to `groups` groups of inputs; so are the last vector's lanes.
    is_wide: whether the kernel stores sums, which need not be packed and keep the order of the channels.
    """
    outputs, taps, run = weight_otr.shape
    lanes, products = target.lanes, target.products
    vectors = vectors_of(target, outputs)
    number = np.int8 if products == 4 else np.int16
    filled = np.zeros((vectors * lanes, taps, groups * products), number)
    filled[:outputs, :, :run] = weight_otr
    packed, first = [], 0
    for size in group_sizes(target, vectors):
        channels = filled[first * lanes : (first + size) * lanes]
        if not is_wide:
            channels = channels[channel_order(target, size)]
        packed.append(channels.reshape(size, lanes, taps, groups, products).transpose(2, 3, 0, 1, 4).ravel())
        first += size
    return np.concatenate(packed).view(np.uint8)


def pack_narrow_weights(weight_otr: Int8, inputs: int) -> NDArray[np.uint8]:
    """Weights (out, taps, run) for narrow blocks, as bytes: by tap, 4 inputs, 4 outputs, quarter, output, input.

    The quarters are equal. Runs are filled up with zeros to a multiple of `inputs`; outputs are a multiple of 4.
    """
    outputs, taps, run = weight_otr.shape
    length = -(-run // inputs) * inputs
    filled = np.zeros((outputs, taps, length), np.int8)
    filled[..., :run] = weight_otr
    by_four = filled.reshape(outputs // FOUR, FOUR, taps, length // FOUR, FOUR).transpose(2, 3, 0, 1, 4)
    return np.repeat(by_four[..., np.newaxis, :, :], FOUR, axis=3).view(np.uint8).ravel()


def pack_split_weights(weight_otr: Int8, lanes: int) -> NDArray[np.uint8]:
    """Weights (out, taps, run) for split blocks, as bytes: by tap, group for each of `lanes`, output, lane, input.

    Filled up with zeros: outputs to as many as share a vector, runs to a multiple of what a block multiplies at a time.
    """
    outputs, taps, run = weight_otr.shape
    inputs, channels = FOUR * lanes, LANES // lanes
    length = -(-run // inputs)
    filled = np.zeros((channels, taps, length * inputs), np.int8)
    filled[:outputs, :, :run] = weight_otr
    return filled.reshape(channels, taps, length, inputs).transpose(1, 2, 0, 3).ravel().view(np.uint8)


def in_split_lanes(starts_o: Starts, lanes: int) -> Starts:
    """Starts for split blocks: each channel's in the first of its lanes."""
    found = np.zeros(LANES, np.int32)
    found[::lanes] = starts_o[: LANES // lanes]
    return found


def pack_tile_weights(target: Target, weight_oihw: Int8) -> NDArray[np.uint8]:
    """3x3 kernels for tiles, as bytes: by plane, group of vectors, pair of inputs, vector, lane, input."""
    kernels = transform_kernels(weight_oihw)
    vectors, pairs = vectors_of(target, kernels.shape[1]), pairs_of(kernels.shape[2])
    filled = np.zeros((PRODUCTS, vectors * target.lanes, pairs * PAIR), np.int16)
    filled[:, : kernels.shape[1], : kernels.shape[2]] = kernels
    by_vector = filled.reshape(PRODUCTS, vectors, target.lanes, pairs, PAIR)
    parts = [
        by_vector[:, first : first + TILE_VECTORS].transpose(0, 3, 1, 2, 4).reshape(PRODUCTS, -1)
        for first in range(0, vectors, TILE_VECTORS)
    ]
    return np.concatenate(parts, axis=1).view(np.uint8).ravel()


def pack_channel_weights(target: Target, weight_ct: Int8) -> NDArray[np.uint8]:
    """Depthwise weights (channels, taps) as bytes: by block of channels, tap and lane 16-bit integers, or with masked
    stores by block, tap, vector, lane: 4 bytes, of which only the vector's channel of these has its weight."""
    channels, taps = weight_ct.shape
    together = target.marker.channel_vectors * target.lanes
    blocks = -(-channels // together)
    filled = np.zeros((blocks * together, taps), np.int8)
    filled[:channels] = weight_ct
    by_block = filled.reshape(blocks, together, taps).transpose(0, 2, 1)
    if not target.masked_stores:
        return np.ascontiguousarray(by_block.astype(np.int16)).view(np.uint8).ravel()
    by_four = by_block.reshape(blocks, taps, 1, target.lanes, FOUR)
    own = np.eye(FOUR, dtype=np.int8)[:, np.newaxis, :]
    return (by_four * own).view(np.uint8).ravel()


def by_channel_vector(target: Target, starts_c: Starts) -> Starts:
    """Starts in the order of the lanes that depthwise blocks give to the channels."""
    if not target.masked_stores:
        return starts_c
    together = FOUR * target.lanes
    filled = np.zeros(-(-len(starts_c) // together) * together, np.int32)
    filled[: len(starts_c)] = starts_c
    return np.ascontiguousarray(filled.reshape(-1, target.lanes, FOUR).transpose(0, 2, 1)).ravel()


def starts(target: Target, weight_ok: Int8, bias: NDArray[Any] | None, shift: int | None) -> Starts:
    """What the sums of each output channel start from, in channel order; what fills up the last vector means nothing.

    weight_ok: all weights of each output.   shift: bits that are shifted out, or None where sums are kept.

    The formula is that of `held`; where sums are kept, they are negative, since what is held is.
    """
    outputs = len(weight_ok)
    found = np.zeros(vectors_of(target, outputs) * target.lanes, np.int64)
    found[:outputs] = -ZERO * weight_ok.sum(axis=1, dtype=np.int64)
    if bias is not None:
        found[:outputs] -= 128 * bias.astype(np.int64)
    if shift is not None:
        half = 1 << (shift - 1) if shift > 0 else 0
        found += ((ZERO + 1) << shift) - 1 - half
    return found.astype(np.int32)


def in_lane_order(target: Target, starts_o: Starts, *, is_wide: bool) -> Starts:
    """Starts in the order of the lanes, as `pack_weights` deals out the channels."""
    if is_wide:
        return starts_o
    packed, first = [], 0
    for size in group_sizes(target, len(starts_o) // target.lanes):
        part = starts_o[first * target.lanes : (first + size) * target.lanes]
        packed.append(part[channel_order(target, size)])
        first += size
    return np.concatenate(packed)
