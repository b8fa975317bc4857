"""From a program to a plan: each layer's work as steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder, Plan
from ai8xsim.engine.convolution import Sums, add_convolution, border_for, fits_32_bits, flattens_itself
from ai8xsim.engine.draft import Draft
from ai8xsim.engine.tensor import NO_BORDER, Border, Offsets, Tensor
from ai8xsim.kernels.eltwise import OPERATIONS
from ai8xsim.kernels.generated.pooling import channels_of_squares
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import FOUR, Target
from ai8xsim.kernels.generated.transfer import PIXELS
from ai8xsim.program.operations import (
    Activation,
    BufferUpdate,
    Input,
    Join,
    Layer,
    Pooling,
    PoolKind,
    Program,
    Shape,
    Source,
)


@dataclass(frozen=True)
class Emitted:
    """A layer's output among the run's outputs: `first` values of each sample come before it, if it is int8 or not."""

    layer: Layer
    first: int
    is_wide: bool
    counter: int  # where its saturated values are counted, or -1


@dataclass(frozen=True)
class Lowered:
    """A program as a plan. `clear_steps` of the first steps empty the data buffers."""

    plan: Plan
    emitted: tuple[Emitted, ...]
    clear_steps: int

    activations: int  # int8 outputs of one sample
    sums: int  # int32 outputs of one sample
    counts: int  # of saturated values


def lower(
    program: Program, target: Target, *, keep_all: bool, is_single: bool = False, is_shared: bool = False
) -> Lowered:
    """The plan of a program for a target.

    keep_all: every layer's output is kept and its saturated values are counted, else only the output layers'.
    is_single: whether samples come one at a time; otherwise they share what a step costs beside its products.
    is_shared: whether threads may share the steps.
    The program must be `lowerable`.
    """
    builder = Builder(target, is_single=is_single, is_shared=is_shared)
    return _Lowering(program, builder, keep_all).run()


def lowerable(program: Program) -> bool:
    """Whether generated kernels can run it: no layer reads data of 32 bits, and no sum needs more."""
    wide = {Input(Source.LAYER, layer.index) for layer in program.layers if _is_wide(layer)}
    return not any(
        wide & set(layer.inputs)
        or (_is_wide(layer) and layer.buffer_update is not None and layer.buffer_update.insert)
        or (layer.convolution is not None and not fits_32_bits(layer.convolution))
        for layer in program.layers
    )


def _is_wide(layer: Layer) -> bool:
    return layer.convolution is not None and layer.output_stage.bits == 32


def _size(shape: Shape) -> int:
    return shape.channels * shape.pixels


def _face(shape: Shape) -> tuple[int, int, int]:
    return shape.rows, shape.columns, shape.channels


def _runs(tensor: Tensor) -> tuple[Offsets, Offsets]:
    """Where runs of pixels begin, and the places of a run's pixels from there on.

    A run is a row or several, or all pixels where rows are short; rows of a single channel stay apart if a border
    parts them, since they can be copied.
    """
    is_copied = tensor.channels == 1 and tensor.has_border and tensor.columns > 1
    if tensor.columns >= PIXELS or is_copied:
        rows = _rows_together(tensor)
        firsts = tensor.pixels(step=(rows, 1), count=(tensor.rows // rows, 1))
        return firsts, np.arange(rows * tensor.columns) * tensor.pixel_step
    return tensor.pixels()[:1], tensor.pixels() - tensor.offset(0)


def _rows_together(tensor: Tensor) -> int:
    """As few rows, between which there is no border, as divide into the largest blocks that are loaded; else one."""
    if tensor.has_border:
        return 1
    fitting = (rows for rows in range(1, tensor.rows + 1) if tensor.rows % rows == 0)
    return next((rows for rows in fitting if rows * tensor.columns % (4 * PIXELS) == 0), 1)


def _even_step(places: Offsets) -> int:
    """From place to place, 0 where that differs."""
    steps = np.unique(np.diff(places))
    return int(steps[0]) if len(steps) == 1 else 0


class _Lowering:
    """Goes through the layers in the order of execution and remembers where their outputs lie."""

    def __init__(self, program: Program, builder: Builder, keep_all: bool) -> None:
        self._program, self._builder, self._keep_all = program, builder, keep_all
        self._outputs: dict[int, Tensor] = {}
        self._emitted: list[Emitted] = []
        self._sample: Tensor | None = None

    def run(self) -> Lowered:
        self._buffers = [self._empty_buffer(buffer.shape) for buffer in self._program.buffers]
        clear_steps = len(self._builder.drafts)
        self._sample = self._load(self._program.input_shape)
        for layer in self._program.layers:
            self._add_layer(layer)
        return Lowered(
            self._builder.build(),
            tuple(self._emitted),
            clear_steps,
            activations=self._emitted_values(is_wide=False),
            sums=self._emitted_values(is_wide=True),
            counts=self._counters(),
        )

    def _empty_buffer(self, shape: Shape) -> Tensor:
        region = self._builder.region(_size(shape), is_kept=True)
        pixels = np.array([[0, _size(shape)]])
        self._builder.add(Draft(Kind.FILL, region, (), pixels))
        step = shape.channels
        return Tensor(region, shape.rows, shape.columns, step, 0, shape.columns * step, step)

    def _load(self, shape: Shape) -> Tensor:
        readers = (layer for layer in self._program.layers if Input(Source.SAMPLE) in layer.inputs)
        made = self._builder.tensor(_face(shape), self._border_for(readers))
        runs, places = _runs(made)
        fields = {"channels": shape.channels, "pixel_step": _even_step(places)}
        pixels = np.stack([runs, np.zeros_like(runs)], axis=1)
        self._builder.add(Draft(Kind.LOAD, made.region, (), pixels, taps=places, fields=fields))
        return made

    def _add_layer(self, layer: Layer) -> None:
        is_wide = _is_wide(layer)
        is_kept = self._keep_all or layer.is_output
        count = self._count(layer)
        first = self._emitted_values(is_wide=is_wide)
        if layer.convolution is None:
            output = self._prepared(layer, self._border_for(self._readers(layer)), count)
            self._outputs[layer.index] = output
        else:
            sums = self._add_convolution(layer, count, is_wide=is_wide)
            if sums is not None and is_kept:
                self._emit_sums(layer, sums, first)
        if not is_wide and is_kept:
            self._emit(layer, self._outputs[layer.index], first)
        if is_kept:
            self._emitted.append(Emitted(layer, first, is_wide, count))
        if layer.buffer_update is not None:
            self._update_buffer(layer, layer.buffer_update)

    def _count(self, layer: Layer) -> int:
        """Where the layer's saturated values are counted: as often as `LayerTrace.saturated` says anything."""
        rounds = layer.convolution is not None and layer.output_stage.bits == 8
        combines = (
            layer.convolution is None and layer.elementwise is not None and layer.elementwise.pool_first
        )
        if not self._keep_all or not (rounds or combines):
            return -1
        return self._counters()

    def _counters(self) -> int:
        return sum(entry.counter >= 0 for entry in self._emitted)

    def _emitted_values(self, *, is_wide: bool) -> int:
        return sum(_size(entry.layer.output_shape) for entry in self._emitted if entry.is_wide is is_wide)

    def _readers(self, layer: Layer) -> list[Layer]:
        source = Input(Source.LAYER, layer.index)
        return [reader for reader in self._program.layers if source in reader.inputs]

    def _border_for(self, readers: Iterable[Layer]) -> Border:
        """The border that those need who read this data as it is."""
        needed = [_needed_border(reader) for reader in readers if self._reads_directly(reader)]
        return max((n[0] for n in needed), default=0), max((n[1] for n in needed), default=0)

    def _reads_directly(self, layer: Layer) -> bool:
        """Whether a layer takes its only input as it is."""
        changes = layer.pooling is not None or layer.elementwise is not None or layer.crop != (0, 0)
        if len(layer.inputs) > 1 or changes:
            return False
        shapes = {entry.index: entry.output_shape for entry in self._program.layers}
        source = layer.inputs[0]
        shape = self._program.input_shape if source.source is Source.SAMPLE else shapes[source.index]
        return _face(shape) == _face(layer.operand_shape)

    def _add_convolution(self, layer: Layer, count: int, *, is_wide: bool) -> Sums | None:
        x = self._prepared(layer, _needed_border(layer), -1)
        output = None
        if not is_wide:
            shape, step = layer.output_shape, self._builder.target.channel_step(layer.output_shape.channels)
            output = self._builder.tensor(_face(shape), self._border_for(self._readers(layer)), step)
            self._outputs[layer.index] = output
        return add_convolution(self._builder, layer, x, output, count)

    def _prepared(self, layer: Layer, border: Border, count: int) -> Tensor:
        """The data that a layer convolves, or its output: joined, combined, cropped, reshaped and pooled."""
        sources = [self._source(entry) for entry in layer.inputs]
        operands = self._operands(layer, sources)
        elementwise = layer.elementwise
        if elementwise is not None and not elementwise.pool_first:
            operands = [self._combined(layer, operands, NO_BORDER, -1)]
        operands = [self._shaped(layer, operand) for operand in operands]
        last_is_pool = elementwise is None or not elementwise.pool_first
        if layer.pooling is not None:
            edge = border if last_is_pool and not layer.flatten else NO_BORDER
            operands = [
                self._pooled(layer.pooling, layer.pooled_shape, operand, edge) for operand in operands
            ]
        if elementwise is not None and elementwise.pool_first:
            edge = NO_BORDER if layer.flatten else border
            operands = [self._combined(layer, operands, edge, count)]
        return self._finished(layer, operands[0], border)

    def _finished(self, layer: Layer, x: Tensor, border: Border) -> Tensor:
        """With the border that is needed, and flattened where no convolution does that by itself."""
        if layer.flatten and not flattens_itself(layer):
            return self._gathered(x.elements(), x, (1, 1, x.rows * x.columns * x.channels), border)
        enough = x.border[0] >= border[0] and x.border[1] >= border[1]
        is_output_of_a_buffer = layer.convolution is None and x.region.is_kept  # which later layers change
        return x if enough and not is_output_of_a_buffer else self._copied(x, border)

    def _source(self, entry: Input) -> Tensor:
        if entry.source is Source.SAMPLE:
            assert self._sample is not None
            return self._sample
        if entry.source is Source.BUFFER:
            return self._buffers[entry.index].cropped(entry.first_row, 0)
        return self._outputs[entry.index]

    def _operands(self, layer: Layer, sources: Sequence[Tensor]) -> list[Tensor]:
        operands = layer.elementwise.operands if layer.elementwise else 1
        if len(sources) == operands and (layer.join is Join.CHANNELS or operands == 1):
            return list(sources)
        joined = self._joined(layer.join, sources)
        channels = joined.channels // operands
        return [joined.channel_block(at * channels, channels) for at in range(operands)]

    def _joined(self, join: Join, sources: Sequence[Tensor]) -> Tensor:
        if len(sources) == 1:
            return sources[0]
        if join is Join.CHANNELS:
            channels = sum(source.channels for source in sources)
            joined = self._builder.tensor((sources[0].rows, sources[0].columns, channels), NO_BORDER)
            first = 0
            for source in sources:
                self._copy(
                    source, source.pixels(), joined.channel_block(first, source.channels).pixels(), joined
                )
                first += source.channels
            return joined
        pixels = [source.rows * source.columns for source in sources]
        joined = self._builder.tensor((sum(pixels), 1, sources[0].channels), NO_BORDER)
        places = np.split(joined.pixels(), np.cumsum(pixels)[:-1])
        for source, place in zip(sources, places, strict=True):
            self._copy(source, source.pixels(), place, joined)
        return joined

    def _shaped(self, layer: Layer, x: Tensor) -> Tensor:
        """Without the cropped rows, in the operand's shape: values keep their order channel, row, column."""
        x = x.cropped(*layer.crop)
        if x.shape == _face(layer.operand_shape):
            return x
        return self._gathered(x.elements(), x, _face(layer.operand_shape), NO_BORDER)

    def _pooled(self, pooling: Pooling, shape: Shape, x: Tensor, border: Border) -> Tensor:
        geometry = pooling.geometry
        if not geometry.fits((x.rows, x.columns)):
            raise ValueError(f"cannot pool {x.shape}: {geometry}")
        made = self._builder.tensor((shape.rows, shape.columns, x.channels), border)
        kernel_size = (1, 1) if pooling.kind is PoolKind.NONE else geometry.kernel_size
        down = np.arange(kernel_size[0]) * geometry.dilation[0] * x.row_step
        across = np.arange(kernel_size[1]) * geometry.dilation[1] * x.pixel_step
        taps = (down[:, None] + across).reshape(-1)
        inputs = x.pixels((0, 0), geometry.stride, (shape.rows, shape.columns))
        kind = Kind.AVERAGE if pooling.kind is PoolKind.AVERAGE else Kind.MAXIMUM
        fields = {
            "channels": x.channels,
            "operation": int(pooling.rounding),
            "is_together": int(_are_squares_together(self._builder.target, pooling, x, made)),
        }
        pixels = np.stack([made.pixels(), inputs], axis=1)
        self._builder.add(Draft(kind, made.region, (x.region,), pixels, taps, fields=fields))
        return made

    def _combined(self, layer: Layer, operands: Sequence[Tensor], border: Border, count: int) -> Tensor:
        assert layer.elementwise is not None
        made = self._builder.tensor(operands[0].shape, border)
        tensors = [made, *operands]
        channels, grid = made.channels, made.shape[:2]
        if all(tensor.pixel_step == made.pixel_step == channels for tensor in tensors):
            channels, grid = channels * made.columns, (made.rows, 1)  # whole rows lie side by side
        pixels = np.stack([tensor.pixels(count=grid) for tensor in tensors], axis=1)
        fields = {
            "channels": channels,
            "operation": list(OPERATIONS).index(layer.elementwise.operation),
            "counter": count,
        }
        sources = tuple(operand.region for operand in operands)
        self._builder.add(Draft(Kind.COMBINE, made.region, sources, pixels, fields=fields))
        return made

    def _copied(self, x: Tensor, border: Border) -> Tensor:
        made = self._builder.tensor(x.shape, border)
        self._copy(x, x.pixels(), made.pixels(), made)
        return made

    def _copy(self, x: Tensor, inputs: Offsets, outputs: Offsets, made: Tensor) -> None:
        fields = {"channels": x.channels}
        pixels = np.stack([outputs, inputs], axis=1)
        self._builder.add(Draft(Kind.MAXIMUM, made.region, (x.region,), pixels, fields=fields))

    def _gathered(
        self, elements: npt.NDArray[np.int64], x: Tensor, shape: tuple[int, int, int], border: Border
    ) -> Tensor:
        """Data in another shape, value by value, from `elements` in the order channel, row, column."""
        made = self._builder.tensor(shape, border)
        pixels = np.stack([made.elements(), elements], axis=1)
        self._builder.add(Draft(Kind.MAXIMUM, made.region, (x.region,), pixels, fields={"channels": 1}))
        return made

    def _emit(self, layer: Layer, x: Tensor, first: int) -> None:
        channels, grid = x.channels, (x.rows, x.columns)
        if x.pixel_step == x.channels:
            channels, grid = x.channels * x.columns, (x.rows, 1)  # whole rows lie side by side
        outputs = np.arange(grid[0] * grid[1]) * channels + first
        fields = {
            "channels": channels,
            "size": _size(layer.output_shape),
            "output": first,
        }
        pixels = np.stack([outputs - first, x.pixels(count=grid)], axis=1)
        self._builder.add(Draft(Kind.EMIT, None, (x.region,), pixels, fields=fields))

    def _emit_sums(self, layer: Layer, sums: Sums, first: int) -> None:
        shape = layer.output_shape
        pixels = np.arange(shape.pixels)
        fields = {
            "is_wide": 1,
            "channels": shape.channels,
            "size": _size(shape),
            "output": first,
            "activation": list(Activation).index(layer.output_stage.activation),
        }
        table = np.stack([pixels * shape.channels, pixels * sums.step], axis=1)
        self._builder.add(Draft(Kind.EMIT, None, (sums.region,), table, fields=fields))

    def _update_buffer(self, layer: Layer, update: BufferUpdate) -> None:
        buffer = self._buffers[update.index]
        if update.shift:
            fields = {
                "channels": buffer.region.size,
                "shift": min(update.shift * buffer.row_step, buffer.region.size),
            }
            self._builder.add(Draft(Kind.ROLL, buffer.region, (), np.zeros((1, 2), np.int64), fields=fields))
        if update.insert:
            self._insert(layer, buffer, update.insert)

    def _insert(self, layer: Layer, buffer: Tensor, rows: int) -> None:
        """Write a layer's output, value after value of each pixel, into the last rows; a single row into each."""
        x = self._outputs[layer.index]
        values = (x.pixels()[:, None] + np.arange(x.channels)).reshape(-1)
        places = np.arange(buffer.region.size - rows * buffer.row_step, buffer.region.size)
        inputs = np.broadcast_to(values.reshape(-1, buffer.row_step), (rows, buffer.row_step)).reshape(-1)
        pixels = np.stack([places, inputs], axis=1)
        fields = {"channels": 1}
        self._builder.add(Draft(Kind.MAXIMUM, buffer.region, (x.region,), pixels, fields=fields))


def _are_squares_together(target: Target, pooling: Pooling, x: Tensor, made: Tensor) -> bool:
    """Whether maxima are of squares of 2x2, of which every four lie side by side, and vectors hold several pixels."""
    geometry = pooling.geometry
    are_squares = geometry.kernel_size == geometry.stride == (2, 2) and geometry.dilation == (1, 1)
    is_dense = x.pixel_step == made.pixel_step == x.channels and made.columns % FOUR == 0
    return (
        pooling.kind is PoolKind.MAX
        and are_squares
        and is_dense
        and x.channels in channels_of_squares(target)
    )


def _needed_border(layer: Layer) -> Border:
    if layer.convolution is None or (layer.flatten and flattens_itself(layer)):
        return NO_BORDER
    size = (1, 1) if layer.flatten else (layer.pooled_shape.rows, layer.pooled_shape.columns)
    return border_for(layer.convolution, size)
