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

    @property
    def is_single(self) -> bool:
        """Whether samples come one at a time."""
        return self.step > 0


class Use(NamedTuple):
    """What weights are multiplied for.

    pixels: of a sample's outputs.   are_sums: whether these are sums.   is_adjacent: whether every 4 pixels of the
    input are, and have few channels.
    """

    pixels: int
    are_sums: bool
    is_adjacent: bool = False


Shape = tuple[int, int, int]  # of weights: outputs, taps, values of a run


OWN_PORTS = Costs(240, 200, 0)  # on Zen 5, where multipliers do little else
SHARED_PORTS = Costs(290, 255, 7)  # on Emerald Rapids, where they do all that is done to vectors of 512 bits
STEP, WEIGHT_BYTE = 75_000, 1  # on Emerald Rapids
# There, too, in products: what a pixel takes in a split block beside these, and in another for a vector of channels.
SPLIT_PIXEL, VECTOR_PIXEL = 700, 200
MOST_SPLIT = 12  # of more channels hardly fewer zeros are multiplied than of a whole vector
WORTH_SPLITTING = 0.95  # of the time of multiplying them with the others


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


def narrow_numbers(target: Target, costs: Costs, shape_otr: Shape, use: Use) -> range:
    """The narrow blocks for a convolution, where they make activations and take no longer than others."""
    outputs, _, run = shape_otr
    numbers = target.narrow_numbers(outputs, run, is_adjacent=use.is_adjacent)
    if not numbers or use.are_sums or use.pixels == 1:
        return range(0)
    effort = narrow_effort(costs, outputs, run, target.narrow_blocks[numbers.start].inputs)
    return numbers if effort <= packing.products_of(target, outputs, run) else range(0)


def whole_effort(target: Target, costs: Costs, shape_otr: Shape, use: Use) -> int:
    """What a pixel needs where the same blocks multiply all output channels, in products."""
    outputs, taps, run = shape_otr
    narrow = narrow_numbers(target, costs, shape_otr, use)
    if narrow:
        return taps * narrow_effort(costs, outputs, run, target.narrow_blocks[narrow.start].inputs)
    return taps * packing.products_of(target, outputs, run)


def split_effort(target: Target, shape_otr: Shape, parts: tuple[int, ...]) -> int:
    """Likewise where the last few are in parts of their own, see `worthy_parts`; they spare a vector."""
    outputs, taps, run = shape_otr
    full = packing.products_of(target, outputs // LANES * LANES, run)
    products = full + sum(packing.split_products_of(run, lanes) for lanes in parts)
    return taps * products + len(parts) * SPLIT_PIXEL - VECTOR_PIXEL


def worthy_parts(target: Target, costs: Costs, shape_otr: Shape, use: Use) -> tuple[int, ...]:
    """The parts in which split blocks compute the channels behind the last full vector, where that takes less time.

    Of each part, how many lanes a channel has.
    """
    parts = split_parts(target, shape_otr[0])
    are_few = costs.is_single and use.pixels < min((block.pixels for block in target.split_blocks), default=0)
    if not parts or are_few:
        return ()
    whole, apart = whole_effort(target, costs, shape_otr, use), split_effort(target, shape_otr, parts)
    is_worthy = apart < WORTH_SPLITTING * whole and use.pixels * (whole - apart) > len(parts) * costs.step
    return parts if is_worthy else ()


def split_parts(target: Target, outputs: int) -> tuple[int, ...]:
    """These parts, if there are any: the largest first.

    The last one may have a channel too many, or a few; they fit into what a pixel takes in memory. 1 and 2 channels
    get 8 lanes each, 3 and 4 channels 4 lanes, 5 to 8 channels 2 lanes, and beyond 8 the rest likewise.
    """
    rest, parts = outputs % LANES, []
    if not target.split_blocks or rest > MOST_SPLIT:
        return ()
    every = target.lanes_of_split_blocks
    for lanes in every:
        channels = LANES // lanes
        if rest > channels // 2 or (rest and lanes == every[-1]):
            parts.append(lanes)
            rest = max(0, rest - channels)
    return tuple(parts)
