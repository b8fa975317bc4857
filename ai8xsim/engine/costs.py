"""What processors take beside multiplying, as far as the choice between ways to compute a convolution depends on it."""

from typing import NamedTuple

from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.targets import LANES, Avx512Vnni, Target, processor


class Costs(NamedTuple):
    """Measured.

    take_apart: a tile, for a vector of inputs, in multiplying instructions of the same time.   put_together: likewise
    for a vector of sums.
    gather: the inputs of a narrow block, in output channels that could be multiplied in the same time.
    step: one more, in products.   weight_byte: that a step reads, likewise. Samples that go together share both, which
    then do not count.
    """

    take_apart: int
    put_together: int
    gather: int
    step: int = 0
    weight_byte: int = 0


OWN_PORTS = Costs(240, 200, 0)  # on Zen 5, where multipliers do little else
SHARED_PORTS = Costs(290, 255, 7)  # on Emerald Rapids, where they do all that is done to vectors of 512 bits
STEP, WEIGHT_BYTE = 75_000, 1  # on Emerald Rapids
# There, too, in products: what a pixel takes in a split block beside these, and in another for a vector of channels.
SPLIT_PIXEL, VECTOR_PIXEL = 700, 200
MOST_SPLIT = 12  # of more channels hardly fewer zeros are multiplied than of a whole vector


def costs_of(target: Target, *, is_single: bool) -> Costs:
    """Those of the processor that Numba compiles for.

    is_single: whether samples come one at a time.
    """
    is_shared = isinstance(target.marker, Avx512Vnni) and not processor().startswith("znver")
    costs = SHARED_PORTS if is_shared else OWN_PORTS
    return costs._replace(step=STEP, weight_byte=WEIGHT_BYTE) if is_single else costs


def narrow_effort(costs: Costs, outputs: int, run: int, inputs: int) -> int:
    """What narrow blocks that take so many inputs at a time need for a pixel and a tap, in products."""
    return packing.narrow_products_of(outputs + costs.gather, run, inputs)


def narrow_numbers(
    target: Target, costs: Costs, outputs: int, run: int, *, is_adjacent: bool = False
) -> range:
    """The narrow blocks for a convolution, where they take no longer than others.

    is_adjacent: whether every 4 pixels of the input are, and have few channels.
    """
    numbers = target.narrow_numbers(outputs, run, is_adjacent=is_adjacent)
    if not numbers:
        return numbers
    effort = narrow_effort(costs, outputs, run, target.narrow_blocks[numbers.start].inputs)
    return numbers if effort <= packing.products_of(target, outputs, run) else range(0)


def split_lanes(target: Target, outputs: int) -> tuple[int, ...]:
    """The lanes of a channel in each of the split blocks that take the channels behind the last full vector.

    The last of these blocks may have more channels than there are; they fit into what a pixel takes in memory.
    """
    rest, found = outputs % LANES, []
    if not target.split_blocks or rest > MOST_SPLIT:
        return ()
    every = target.lanes_of_split_blocks
    for lanes in every:
        channels = LANES // lanes
        if rest > channels // 2 or (rest and lanes == every[-1]):
            found.append(lanes)
            rest = max(0, rest - channels)
    return tuple(found)


def split_effort(target: Target, shape_otr: tuple[int, int, int], lanes: tuple[int, ...]) -> int:
    """What a pixel needs with these split blocks, and others for full vectors, in products.

    shape_otr: of the weights.
    """
    outputs, taps, run = shape_otr
    full = packing.products_of(target, outputs // LANES * LANES, run)
    products = full + sum(packing.split_products_of(run, number) for number in lanes)
    return taps * products + len(lanes) * SPLIT_PIXEL - VECTOR_PIXEL
