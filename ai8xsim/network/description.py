"""What the file says: every value with its place, nothing added.

A field is None where the file says nothing; defaults are the resolver's affair.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Generic, TypeVar

from ai8xsim.diagnostics import Diagnostic, Span
from ai8xsim.network.values import Reference

T = TypeVar("T")

ELEMENTWISE = frozenset({"add", "sub", "xor", "or"})
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "convtranspose2d", "linear"})


@dataclass(frozen=True)
class Given(Generic[T]):
    """A value from the file: `key` as it was written, where the key stands, where the value stands."""

    value: T
    key: str
    key_span: Span
    span: Span


@dataclass(frozen=True, kw_only=True)
class LayerDescription:
    """One entry of `layers`. The fields are the keys of the table `LAYER_KEYS`.

    `index` is the layer's place: sorted by `sequence`, counted from 0 without gaps.
    `number` is its sequence number, given or counted.
    """

    index: int
    number: int
    span: Span
    name: Given[str] | None = None
    sequence: Given[int] | None = None
    next_sequence: Given[Reference] | None = None
    simulated_sequence: Given[Reference] | None = None
    snoop_sequence: Given[Reference] | None = None
    processors: Given[int]
    output_processors: Given[int] | None = None
    in_offset: Given[int] | None = None
    out_offset: Given[int] | None = None
    output_width: Given[str] | None = None
    data_format: Given[str] | None = None
    op: Given[str] | None = None
    eltwise: Given[str] | None = None
    operands: Given[int] | None = None
    pool_first: Given[bool] | None = None
    dilation: Given[tuple[int, int]] | None = None
    groups: Given[int] | None = None
    activate: Given[str] | None = None
    quantization: Given[int | str] | None = None
    output_shift: Given[int] | None = None
    kernel_size: Given[tuple[int, ...]] | None = None
    stride: Given[tuple[int, int]] | None = None
    pad: Given[int] | None = None
    output_pad: Given[int] | None = None
    max_pool: Given[tuple[int, int]] | None = None
    avg_pool: Given[tuple[int, int]] | None = None
    pool_stride: Given[tuple[int, int]] | None = None
    pool_dilation: Given[tuple[int, int]] | None = None
    in_channels: Given[int] | None = None
    in_dim: Given[tuple[int, ...]] | None = None
    in_crop: Given[tuple[int, int]] | None = None
    in_channel_skip: Given[int] | None = None
    in_sequences: Given[tuple[Reference, ...]] | None = None
    out_channels: Given[int] | None = None
    streaming: Given[bool] | None = None
    flatten: Given[bool] | None = None
    write_gap: Given[int] | None = None
    read_gap: Given[int] | None = None
    bias_group: Given[tuple[int, ...]] | None = None
    output: Given[bool] | None = None
    weight_source: Given[Reference] | None = None
    buffer_shift: Given[int] | None = None
    buffer_insert: Given[int] | None = None
    bypass: Given[bool] | None = None
    readahead: Given[bool] | None = None
    calcx4: Given[bool] | None = None
    tcalc: Given[bool] | None = None

    @property
    def title(self) -> str:
        """How messages call it: its place and its name."""
        return f"layer {self.index}" + (f" (`{self.name.value}`)" if self.name else "")

    @property
    def operation(self) -> str:
        """The layer's operation; conv2d where the file names none."""
        return self.op.value if self.op else "conv2d"

    @property
    def has_convolution(self) -> bool:
        """Whether the layer multiplies by weights (Linear does, pass-through and element-wise layers do not)."""
        return self.operation in CONVOLUTIONS

    @property
    def elementwise(self) -> str | None:
        """The element-wise operation, standing alone or in flight, or None."""
        if self.eltwise:
            return self.eltwise.value
        return self.operation if self.operation in ELEMENTWISE else None

    @property
    def is_bypassed(self) -> bool:
        """Whether all weights are 1."""
        return self.bypass is not None and self.bypass.value

    @property
    def is_flattened(self) -> bool:
        """Whether pixels become channels before the operation."""
        return self.flatten is not None and self.flatten.value

    def given(self) -> Iterator[Given[object]]:
        """Every value that the file gives for this layer."""
        values = (getattr(self, entry.name) for entry in fields(self))
        return (value for value in values if isinstance(value, Given))

    @cached_property
    def spans(self) -> tuple[tuple[str, Span], ...]:
        """Each key that the file gives for this layer, and where its value stands."""
        values = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return tuple((name, value.span) for name, value in values if isinstance(value, Given))


@dataclass(frozen=True, kw_only=True)
class DataBufferDescription:
    """One entry of `data_buffer`: a rolling window of rows."""

    span: Span
    name: Given[str]
    processors: Given[int]
    channels: Given[int]
    dim: Given[tuple[int, ...]]
    offset: Given[int]
    width: Given[str] | None = None


@dataclass(frozen=True, kw_only=True)
class UnloadDescription:
    """One entry of `unload`: what the generated code copies out."""

    span: Span
    processors: Given[int]
    channels: Given[int]
    dim: Given[tuple[int, ...]]
    offset: Given[int]
    width: Given[str] | None = None
    write_gap: Given[int] | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """What a network description says.

    `layers` are sorted by their sequence numbers. `diagnostics` are the warnings met while reading.
    """

    path: str
    arch: Given[str]
    dataset: Given[str]
    layers: tuple[LayerDescription, ...]
    output_map: Given[int] | None = None
    unload: tuple[UnloadDescription, ...] = ()
    data_buffer: tuple[DataBufferDescription, ...] = ()
    snoop: Given[tuple[int, ...]] | None = None
    weights: Given[str] | None = None
    bias: Given[str] | None = None
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    layers_span: Span | None = field(default=None, compare=False, repr=False)  # of the key `layers`

    def find_layer(self, reference: Reference) -> LayerDescription | None:
        """The layer that a reference means, by sequence number or name (in any case), or None."""
        return self._layers_by_reference.get(reference.target)

    @cached_property
    def _layers_by_reference(self) -> Mapping[int | str, LayerDescription]:
        """By number and by name; where two have the same one, which is a fault, the first is meant."""
        known: dict[int | str, LayerDescription] = {}
        for layer in self.layers:
            known.setdefault(layer.number, layer)
            if layer.name:
                known.setdefault(layer.name.value.lower(), layer)
        return known

    def find_buffer(self, reference: Reference) -> DataBufferDescription | None:
        """The data buffer that a reference means by its name, or None."""
        return next((b for b in self.data_buffer if b.name.value.lower() == reference.target), None)
