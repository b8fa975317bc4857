"""The steps that a network consists of, each as a compiled function over a range of its pixels.

A step is a row of a table of integers. All its data lies in one arena: activations in channels-last order, each
pixel's channels `channel_step` values apart, and sums of 32 bits. Which pixels it reads and writes, and with which
taps, stands in tables of offsets, so that every geometry (padding, stride, dilation, phases of a transposed
convolution, samples side by side) is the same loop.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ai8xsim.kernels.generated.targets import Marker


class Kind(IntEnum):
    """What a step does, from its source to its output."""

    LOAD = 0  # sample to activations
    FILL = 1  # zeros
    MULTIPLY = 2  # convolution: activations to activations or sums
    MULTIPLY_CHANNELS = (
        3  # depthwise convolution, likewise; pixels side by side may be one with more channels
    )
    REQUANTIZE = 4  # sums to activations, counting what saturates
    MAXIMUM = 5  # activations to activations; with one tap, a copy
    AVERAGE = 6  # likewise
    COMBINE = 7  # element-wise operation, counting what saturates
    ROLL = 8  # move a buffer's values to the front
    EMIT = 9  # activations or sums to the outputs
    MULTIPLY_NARROW = 10  # convolution with few outputs: activations to activations
    MULTIPLY_TILES = 11  # convolution by tiles of outputs, which are its pixels: activations to activations
    STACK = 12  # pixels below each other to pixels that hold the values of all; a pixel is several that go together
    MULTIPLY_SPLIT = 13  # convolution, its only or last few outputs: activations to activations or sums


STEP = np.dtype(
    [
        (field, np.int64)
        for field in (
            "kind",
            "source",  # where its values begin in the arena; of LOAD unused
            "output",  # where its results begin: in the arena, or among a sample's outputs
            "pixels",  # its first offset: a row for each pixel
            "pixel_count",  # of one sample
            "columns",  # of a row: output, input, for COMBINE an input per operand
            "taps",  # its first offset; of MULTIPLY_TILES a tile's inputs, then its outputs; of LOAD a run's pixels
            "tap_count",
            "is_wide",  # whether its results are sums; of EMIT, its source
            "channels",  # values to write at each pixel
            "groups",  # of inputs in a run that one instruction multiplies
            "vectors",  # of output channels
            "group_bytes",  # of weights for a group of inputs, of MULTIPLY_NARROW and MULTIPLY_SPLIT
            "block_pixels",  # of their blocks, the first offset of their sizes
            "first_block",  # that it may take, the largest
            "last_block",
            "inputs",  # that these blocks multiply at a time
            "unit",  # of pixels that its blocks take, 1 or 4: a range is rounded to whole ones
            "is_together",  # whether the outputs of each four pixels lie side by side; of MAXIMUM, and their squares
            "weights",  # their first byte
            "first_tap",  # that the weights are read for
            "all_taps",  # that there are weights for
            "first_group",  # likewise, of each tap's run
            "all_groups",
            "starts",  # its first start
            "shift",
            "ceiling",  # the most that memory may hold of an activation
            "activation",
            "operation",  # of COMBINE; of AVERAGE whether it rounds
            "counter",  # where it counts saturated values; -1 nowhere
            "size",  # values of one sample that EMIT writes
            "pixel_step",  # values from pixel to pixel: of LOAD, and of every four inputs of a product; 0 if it varies
            "work",  # multiplications, or a like effort, per pixel
            "waits",  # whether threads that share the steps must have done those before it, see `places.waits_of`
        )
    ]
)


class Handle(IntEnum):
    """What a call of `driver.run_network` is told, as one array of int64; addresses are of first bytes.

    The outputs are: int64 counts of saturated values, int32, int8; in each part, layer after layer, all
    samples together.

    An array crosses from Python to compiled code faster than the dozen of arrays that these addresses stand for.
    """

    STEPS = 0  # address of a table of STEP
    STEP_COUNT = 1
    OFFSETS = 2  # address of int32: the blocks of the target, and all steps' pixels and taps
    WEIGHTS = 3  # address of bytes
    STARTS = 4  # address of int32
    VALUES = 5  # address of the arena's activations
    SUMS = 6  # address of the arena's int32
    POST = 7  # address of the post where the thread stands by afterwards, or 0
    SAMPLES = 8  # address of the first value of the first sample
    SAMPLE_STEP = 9  # in bytes; so are the other two
    CHANNEL_STEP = 10
    PIXEL_STEP = 11
    SAMPLE_COUNT = 12
    OUTPUTS = 13  # address
    WIDE = 14  # of the outputs, the first byte of the int32
    ACTIVATIONS = 15  # and of the int8
    FIRST_SAMPLE = 16  # to run
    END_SAMPLE = 17
    PLACES = 18  # samples that go together
    THREADS = 19
    COUNTERS = 20  # address of int64 that threads share, zero at first
    FIRST_STEP = 21


class Plan(NamedTuple):
    """Where a network's steps lie, and the tables that they read: addresses."""

    steps: int  # of STEP
    offsets: int  # of int32
    weights: int  # of bytes
    starts: int  # of int32


class Arena(NamedTuple):
    """Where the memory of a run lies: addresses."""

    values: int  # of activations, as the target holds them
    sums: int  # of int32


class Samples(NamedTuple):
    """Where the samples lie: the address of the first value, steps in bytes."""

    address: int
    sample_step: int
    channel_step: int
    pixel_step: int  # row follows row
    total: int


class Outputs(NamedTuple):
    """Where goes what a run leaves behind, see `Handle`: addresses."""

    activations: int  # of int8
    sums: int  # of int32
    counts: int  # of int64, of saturated values


class Run(NamedTuple):
    """Everything that a step can see: plain numbers, since Numba would count references to arrays at every call."""

    target: Marker
    plan: Plan
    arena: Arena
    samples: Samples
    outputs: Outputs
