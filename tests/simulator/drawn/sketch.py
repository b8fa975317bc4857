"""What is known of a network while it is being drawn: its layers' places, its data, its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from ai8xsim.checkpoint import CheckpointLayer
from ai8xsim.device import Device
from ai8xsim.program.operations import Shape, Source

from .values import Int64s

T = TypeVar("T")

INT8_BOUND, INT32_BOUND = 1 << 7, 1 << 31
MOST_CHANNELS = 72
LONGEST_SIDE = 4096  # that a description can state
PERCENT = st.integers(0, 99)


class Origin(NamedTuple):
    """Data that a layer may read: where it comes from, its shape, the largest magnitude in it."""

    source: Source
    index: int
    shape: Shape
    bound: int


@dataclass(frozen=True)
class Slot:
    """A layer's place in the description: its index, its sequence number, its name."""

    index: int
    number: int
    name: str | None


@dataclass
class Window:
    """A rolling buffer, and the largest magnitude that was written into it."""

    name: str
    shape: Shape
    processors: int
    offset: int
    bound: int = 0

    @property
    def last_word(self) -> int:
        """The offset of its last word: four bytes for each pixel and each 64 channels begun."""
        return self.offset + 4 * (self.shape.pixels * -(-self.shape.channels // 64) - 1)


@dataclass(frozen=True)
class Kernel:
    """Weights as the chip shall hold them, for one operation: (out, in / groups, rows, columns), or, for a
    transposed convolution, (in, out / groups, rows, columns); the true bias; the total shift."""

    operation: str
    weight: Int64s
    bias: Int64s | None
    shift: int
    groups: int

    @property
    def kernel_size(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[0] if self.is_transposed else self.weight.shape[1] * self.groups)

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[1] * self.groups if self.is_transposed else self.weight.shape[0])

    @property
    def is_transposed(self) -> bool:
        return self.operation == "convtranspose2d"

    def largest_sum(self, bound: int) -> int:
        """No accumulator of data within `bound` is larger."""
        axes = (0, 2, 3) if self.is_transposed else (1, 2, 3)
        products = int(abs(self.weight).sum(axis=axes).max()) * bound
        return products + (0 if self.bias is None else int(abs(self.bias).max()) * 128)


class Pool(NamedTuple):
    """A pool as the chip shall do it: "max", "average" or "none"."""

    kind: str
    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the program must say of an executed layer, worked out while drawing, without the resolver."""

    index: int
    number: int
    name: str | None
    operator: str
    inputs: tuple[tuple[Source, int, int], ...]
    element: tuple[str, int, bool] | None
    crop: tuple[int, int]
    operand_shape: Shape
    pool: Pool | None
    flatten: bool
    kernel: Kernel | None
    padding: tuple[int, int]
    dilation: tuple[int, int]
    bits: int
    activation: str
    output_shape: Shape


@dataclass
class Sketch:
    """A network while it is being drawn. `order` are the indices of the executed layers."""

    device: Device
    slots: tuple[Slot, ...]
    order: tuple[int, ...]
    input_shape: Shape
    windows: list[Window]
    keys: dict[int, dict[str, str]] = field(default_factory=dict)
    done: dict[int, Origin] = field(default_factory=dict)
    kernels: dict[int, Kernel] = field(default_factory=dict)
    stored: dict[int, CheckpointLayer] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)
    output_width: int | None = None

    @property
    def sample(self) -> Origin:
        return Origin(Source.SAMPLE, 0, self.input_shape, INT8_BOUND)

    def origins(self) -> list[Origin]:
        """Everything that the next layer could read."""
        windows = [Origin(Source.BUFFER, i, w.shape, w.bound) for i, w in enumerate(self.windows)]
        return [*self.done.values(), self.sample, *windows]

    def idle(self) -> Iterator[Slot]:
        """Layers that are not executed and have not been drawn yet, and take weights from the checkpoint."""
        first = self.order[0]
        taken = {*self.order, *self.keys}
        return (slot for slot in self.slots if slot.index > first and slot.index not in taken)


@dataclass
class Pen:
    """What draws one layer: its place on the path, its operation, and the keys that it has so far.

    `element` is the element-wise operation and its operands, `reads` the inputs as the program must have them.
    """

    draw: st.DrawFn
    sketch: Sketch
    place: int
    operation: str
    keys: dict[str, str]
    reads: tuple[tuple[Source, int, int], ...] = ()
    element: tuple[str, int] | None = None
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def index(self) -> int:
        return self.sketch.order[self.place]

    @property
    def is_last(self) -> bool:
        return self.place == len(self.sketch.order) - 1

    @property
    def is_transposed(self) -> bool:
        return self.operation == "convtranspose2d"

    def chance(self, percent: int) -> bool:
        """True in so many cases of a hundred."""
        return chance(self.draw, percent)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of them, the first being the simplest."""
        return self.draw(st.sampled_from(choices))


def chance(draw: st.DrawFn, percent: int) -> bool:
    """True in so many cases of a hundred; the simplest case is False."""
    return draw(PERCENT) >= 100 - percent


def layer_reference(draw: st.DrawFn, slot: Slot) -> str:
    """A layer by its number, or by its name in some case."""
    if slot.name is None or chance(draw, 40):
        return str(slot.number)
    return any_case(draw, slot.name)


def any_case(draw: st.DrawFn, word: str) -> str:
    """The word in lower, upper or its own case."""
    return draw(st.sampled_from((word, word.lower(), word.upper())))


def pair_text(draw: st.DrawFn, pair: tuple[int, int]) -> str:
    """`[rows, columns]`, or one number where they are equal."""
    return str(pair[0]) if pair[0] == pair[1] and not chance(draw, 30) else f"[{pair[0]}, {pair[1]}]"


def divisors(number: int) -> list[int]:
    """Every divisor, the smallest first."""
    return [n for n in range(1, number + 1) if number % n == 0]
