"""Plans of the weight and bias memories: who lies where.

Source: `spec/REGISTERS.md` 4 and 5; vendor document, "Layers and Weight Memory" and "Bias Memories"; what the
vendor's loader allocates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai8xsim.device import (
    KERNEL_BYTES,
    PROCESSORS,
    PROCESSORS_PER_MEMORY,
    PROCESSORS_PER_QUADRANT,
    QUADRANTS,
    Device,
)
from ai8xsim.layout import enabled

KERNEL_BITS = 8 * KERNEL_BYTES
ALIGNMENT = 4  # kernels: a layer begins at a multiple of four
BANK = 1024  # kernels of a bank of weight memory on the MAX78002; depthwise kernels lie in one bank
ALL_PROCESSORS = (1 << PROCESSORS) - 1


@dataclass(frozen=True)
class WeightNeed:
    """What a layer puts into the weight memory of each of its processors: so many kernels of so many taps.

    kernels: counted with those of zeros for outputs that do not exist.
    """

    layer: int
    processors: int
    kernels: int
    taps: int
    bits: int
    is_depthwise: bool = False

    @property
    def words(self) -> int:
        """Words of 72 bits; a kernel of 3x3 taps with 8 bits is one. A last group of narrow kernels is filled up.

        >>> WeightNeed(0, 1, kernels=10, taps=9, bits=8).words, WeightNeed(0, 1, kernels=10, taps=1, bits=4).words
        (10, 1)
        """
        per_byte = 8 // self.bits
        filled = (self.kernels % per_byte) * self.taps * (per_byte - 1)
        return -(-(self.kernels * self.taps * self.bits + filled) // KERNEL_BITS)


@dataclass(frozen=True)
class WeightPlace:
    """Where a layer's kernels lie: `words` from `first` on, in the memory of each of its processors.

    `first` is None where there is no room.
    """

    need: WeightNeed
    first: int | None

    @property
    def layer(self) -> int:
        return self.need.layer

    @property
    def words(self) -> int:
        return self.need.words


def weight_capacity(device: Device, processor: int) -> int:
    """How many words the weight memory of a processor holds."""
    is_first = processor % PROCESSORS_PER_QUADRANT == 0
    return device.first_weight_memory_kernels if is_first else device.weight_memory_kernels


def plan_weights(device: Device, needs: Sequence[WeightNeed]) -> tuple[WeightPlace, ...]:
    """Where each layer's kernels lie: layers that use all processors first, then the others, each where it first fits.

    UNVERIFIED: that another allocator than the vendor's finds no room where this one finds none.
    """
    taken: dict[int, list[tuple[int, int]]] = {p: [] for p in range(PROCESSORS)}
    placed: dict[int, WeightPlace] = {}
    for need in sorted(needs, key=lambda need: need.processors != ALL_PROCESSORS):
        first = _first_fit(device, need, taken)
        placed[need.layer] = WeightPlace(need, first)
        if first is not None:
            for processor in enabled(need.processors):
                taken[processor].append((first, first + need.words))
    return tuple(placed[need.layer] for need in needs)


def _first_fit(device: Device, need: WeightNeed, taken: dict[int, list[tuple[int, int]]]) -> int | None:
    processors = enabled(need.processors)
    capacity = min(weight_capacity(device, p) for p in processors)
    ends = {end for p in processors for _, end in taken[p]}
    candidates = {0, *(-(-end // ALIGNMENT) * ALIGNMENT for end in ends)}
    if need.is_depthwise:
        candidates |= set(range(0, capacity, BANK))
    for first in sorted(candidates):
        end = first + need.words
        if end > capacity:
            return None
        is_split = need.is_depthwise and need.words <= BANK and first // BANK != (end - 1) // BANK
        if not is_split and not any(first < e and s < end for p in processors for s, e in taken[p]):
            return first
    return None


@dataclass(frozen=True)
class BiasNeed:
    """What a layer puts into the bias memory: `size` bytes, in one of these quadrants.

    in_all: a depthwise layer has its bias in each quadrant of its processors.
    """

    layer: int
    size: int
    quadrants: tuple[int, ...]
    is_flattened: bool = False
    in_all: bool = False


@dataclass(frozen=True)
class BiasPlace:
    """Where a layer's bias lies: `size` bytes from `first` on, in a quadrant; None where there is no room.

    used: the bytes taken in each quadrant when the layer's turn came.
    """

    need: BiasNeed
    quadrant: int
    first: int | None
    used: tuple[int, ...]

    @property
    def layer(self) -> int:
        return self.need.layer


def plan_bias(device: Device, needs: Iterable[BiasNeed]) -> tuple[BiasPlace, ...]:
    """Where each layer's bias lies.

    Depthwise layers come first, then (on the MAX78000) flattened ones, then those that may lie in one quadrant
    only, then the longest; each goes where most room is left.
    """
    needs = tuple(needs)
    used = [0] * QUADRANTS
    places = []
    flattened_first = not device.supports_depthwise
    for need in sorted(needs, key=lambda need: _rank(need, device, flattened_first)):
        chosen = need.quadrants if need.in_all else (min(need.quadrants, key=lambda q: (used[q],)),)
        for quadrant in chosen:
            fits = used[quadrant] + need.size <= device.bias_memory_bytes
            places.append(BiasPlace(need, quadrant, used[quadrant] if fits else None, tuple(used)))
            used[quadrant] += need.size if fits else 0
    return tuple(places)


def _rank(need: BiasNeed, device: Device, flattened_first: bool) -> int:
    if need.in_all:
        return -2
    if flattened_first and need.is_flattened:
        return -1
    return 0 if len(need.quadrants) == 1 else device.bias_memory_bytes - need.size + 1


def quadrants_of(processors: int) -> tuple[int, ...]:
    """The quadrants that a map of processors touches.

    >>> quadrants_of(0x1_0001)
    (0, 1)
    """
    mask = (1 << PROCESSORS_PER_QUADRANT) - 1
    return tuple(q for q in range(QUADRANTS) if processors >> q * PROCESSORS_PER_QUADRANT & mask)


def leading_dummies(processors: int) -> int:
    """Outputs in front of the first one that only fill its memory word: outputs begin at a whole word.

    >>> leading_dummies(0b1111_0000), leading_dummies(0b1100_0000)
    (0, 2)
    """
    return enabled(processors)[0] % PROCESSORS_PER_MEMORY
