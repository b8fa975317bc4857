"""What the chip will do, layer by layer: complete, frozen, ready to be executed.

PyTorch's words from here on: padding, kernel_size, stride, dilation, groups, weight, bias. None means that a
part does not exist (no pooling, no bias), never that a default is still to be looked up.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, Span
from ai8xsim.kernels.geometry import ConvolutionGeometry, PoolGeometry

Integers = npt.NDArray[np.integer]
Int8 = npt.NDArray[np.int8]


class Operator(StrEnum):
    """A layer's main operation. Standing alone, an element-wise operation is a pass-through."""

    CONV1D = "conv1d"
    CONV2D = "conv2d"
    CONVTRANSPOSE2D = "convtranspose2d"
    LINEAR = "linear"
    PASSTHROUGH = "passthrough"


class Activation(StrEnum):
    """What follows the saturation."""

    NONE = "none"
    RELU = "relu"
    ABS = "abs"


class PoolKind(StrEnum):
    """NONE subsamples by the stride."""

    MAX = "max"
    AVERAGE = "average"
    NONE = "none"


class Join(StrEnum):
    """How several inputs become one: along the channels, or along the pixels of each channel."""

    CHANNELS = "channels"
    PIXELS = "pixels"


class Shape(NamedTuple):
    """The shape of one sample's data; 1D data has one column.

    >>> Shape(3, 8, 1, is_1d=True).array_shape, Shape(3, 8, 8).array_shape
    ((3, 8), (3, 8, 8))
    """

    channels: int
    rows: int
    columns: int
    is_1d: bool = False

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def chw(self) -> tuple[int, int, int]:
        return self.channels, self.rows, self.columns

    @property
    def array_shape(self) -> tuple[int, ...]:
        """The shape that Python users see: (C, L) for 1D, (C, H, W) for 2D."""
        return (self.channels, self.rows) if self.is_1d else self.chw

    def __str__(self) -> str:
        return "x".join(map(str, self.array_shape))


class Source(StrEnum):
    """Where data comes from."""

    SAMPLE = "sample"
    LAYER = "layer"
    BUFFER = "buffer"


@dataclass(frozen=True)
class Input:
    """One input of a layer. `index` is the layer or the buffer; `first_row` skips rows of a rolling buffer."""

    source: Source
    index: int = 0
    first_row: int = 0


@dataclass(frozen=True)
class Pooling:
    """A pool over windows of (rows, columns) that fit; averages truncate toward zero or round."""

    kind: PoolKind
    geometry: PoolGeometry
    rounding: bool


@dataclass(frozen=True)
class ElementWise:
    """`add`, `sub`, `or` or `xor` over equal blocks of channels, before or after each block is pooled."""

    operation: str
    operands: int
    pool_first: bool


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer, as the weight and bias memories hold them.

    `weight` is (out, in / groups, rows, columns), for a transposed convolution (in, out / groups, rows, columns)
    as in PyTorch; `bias` is (out,) in units of 2**-7, added to the accumulator as bias * 128.
    `source` is what the checkpoint calls the layer; it is no part of equality.
    """

    weight: Int8
    bias: Int8 | None
    bits: int
    is_binary: bool = False
    source: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        same_bias = (self.bias is None) == (other.bias is None) and (
            self.bias is None or np.array_equal(self.bias, other.bias)  # type: ignore[arg-type]
        )
        same_kind = (self.bits, self.is_binary) == (other.bits, other.is_binary)
        return same_kind and same_bias and np.array_equal(self.weight, other.weight)

    def __hash__(self) -> int:
        return hash((self.weight.shape, self.weight.tobytes(), self.bits))


@dataclass(frozen=True)
class Convolution:
    """Weights and geometry. A Conv1d has one column; a Linear layer is a 1x1 convolution."""

    weights: Weights
    geometry: ConvolutionGeometry
    is_transposed: bool
    is_bypass: bool = False


@dataclass(frozen=True)
class OutputStage:
    """8 bits: scale by 2**shift, round half up, saturate, activate. 32 bits: the accumulator as it is."""

    bits: int
    shift: int
    activation: Activation


@dataclass(frozen=True)
class BufferUpdate:
    """What a layer does to a rolling buffer: drop `shift` rows in front, or write its output into the last rows."""

    index: int
    shift: int = 0
    insert: int = 0


@dataclass(frozen=True)
class Placement:
    """Where a layer's data lies and who works on it. Offsets are in bytes, gaps in words."""

    processors: int
    output_processors: int
    in_offset: int
    out_offset: int
    read_gap: int
    write_gap: int
    data_format: str
    streaming: bool
    bias_groups: tuple[int, ...]
    read_ahead: bool = False


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, complete. Its order of work:

    join the inputs, split them into operands, [combine], crop, reshape, pool, [combine], flatten, convolve,
    output stage, update a rolling buffer.

    `operand_shape` is one operand's shape after crop and reshape; `pooled_shape` after the pool.
    """

    index: int
    number: int
    name: str | None
    operator: Operator
    inputs: tuple[Input, ...]
    join: Join
    elementwise: ElementWise | None
    crop: tuple[int, int]
    operand_shape: Shape
    pooling: Pooling | None
    pooled_shape: Shape
    flatten: bool
    convolution: Convolution | None
    output_stage: OutputStage
    output_shape: Shape
    buffer_update: BufferUpdate | None
    is_output: bool
    placement: Placement
    span: Span = field(compare=False)
    spans: tuple[tuple[str, Span], ...] = field(compare=False, repr=False)

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"layer {self.index}" + (f" (`{self.name}`)" if self.name else "")

    def span_of(self, *keys: str) -> Span:
        """Where the first of these keys that the file gives has its value; else where the layer begins."""
        given = dict(self.spans)
        return next((given[key] for key in keys if key in given), self.span)

    def gives(self, key: str) -> bool:
        """Whether the file gives this key for the layer."""
        return key in dict(self.spans)

    @property
    def macs(self) -> int:
        """Multiplications of one sample, padding counted."""
        if self.convolution is None:
            return 0
        return self.convolution.weights.weight.size * self.output_shape.pixels


@dataclass(frozen=True)
class RollingBuffer:
    """A data buffer: zero at first, then kept from layer to layer and, in a session, from run to run."""

    name: str
    shape: Shape
    processors: int
    offset: int
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class IdleLayer:
    """A layer that the path never reaches: its weights lie in memory, its shapes are nobody's affair."""

    index: int
    name: str | None
    weights: Weights | None


@dataclass(frozen=True)
class Options:
    """What the vendor's loader takes as flags and what changes a value or a rule.

    `output_width` 32 makes the last layer wide; `start_layer` is the index of the first layer executed.
    """

    avg_pool_rounding: bool = False
    output_width: int | None = None
    start_layer: int = 0
    fifo: bool = False
    fast_fifo: bool = False
    fast_fifo_quad: bool = False
    overlap_data: bool = False
    ignore_streaming: bool = False
    ignore_bias_groups: bool = False
    input_offset: int | None = None
    simple1b: bool = False

    def __post_init__(self) -> None:
        if self.output_width not in {None, 8, 32}:
            raise ValueError(f"output_width is {self.output_width!r}; it must be 8, 32 or None")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network, complete: `layers` in the order of execution, `order` their indices.

    `idle` are the layers that the path never reaches. `diagnostics` are the warnings met on the way.
    """

    path: str
    device: Device
    options: Options
    input_shape: Shape
    layers: tuple[Layer, ...]
    idle: tuple[IdleLayer, ...]
    buffers: tuple[RollingBuffer, ...]
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    spans: tuple[tuple[str, Span], ...] = field(
        default=(), compare=False, repr=False
    )  # of the global keys given

    def span_of(self, key: str) -> Span | None:
        """Where a global key has its value, None where the file does not give it."""
        return dict(self.spans).get(key)

    @property
    def order(self) -> tuple[int, ...]:
        """The executed path, as layer indices."""
        return tuple(layer.index for layer in self.layers)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The output layers, as layer indices."""
        return tuple(layer.index for layer in self.layers if layer.is_output)

    @property
    def macs(self) -> int:
        """Multiplications of one sample."""
        return sum(layer.macs for layer in self.layers)
