"""The order model once more, in plain Python: bytes in a dictionary, one value at a time. It shares no code."""

from collections.abc import Iterator
from typing import NamedTuple

from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Source

Byte = tuple[int, int]  # memory instance, offset
Stamp = tuple[object, int, int]  # writer, channel, pixel

SAMPLE = "sample"


class Place(NamedTuple):
    """What an address is made of."""

    processors: int
    offset: int
    channels: int
    operands: int
    gap: int
    is_chw: bool


def byte_of(place: Place, channel: int, pixel: int, operand: int = 0, width: int = 8) -> Byte:
    """Where a value lies, of 32 bits its first byte."""
    passes = (place.channels + 63) // 64
    per_pass = (place.channels + passes - 1) // passes
    if passes > 1:
        per_pass = (per_pass + 3) // 4 * 4
    used = [p for p in range(64) if place.processors >> p & 1]
    processor = used[channel % per_pass]
    unit = pixel // 4 if place.is_chw else pixel
    slot = (unit * passes + channel // per_pass) * place.operands * (place.gap + 1) + operand
    word = place.offset // 4 + slot * (width // 8)
    if width == 32:
        return processor // 4, (word + processor % 4) * 4
    return processor // 4, word * 4 + (pixel % 4 if place.is_chw else processor % 4)


class SlowMemory:
    """Stamps in a dictionary. Bytes that no memory has never hold anything."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.size = program.device.data_memory_bytes
        self.stamps: dict[Byte, Stamp] = {}

    def store(self, byte: Byte, stamp: Stamp) -> None:
        if byte[1] < self.size:
            self.stamps[byte] = stamp

    def load_sample(self) -> None:
        first, shape = self.program.layers[0], self.program.input_shape
        operands = first.elementwise.operands if first.elementwise else 1
        place = Place(
            first.placement.processors, first.placement.in_offset, shape.channels // operands, operands, 0,
            first.placement.data_format == "chw",
        )  # fmt: skip
        for channel in range(shape.channels):
            operand, inside = divmod(channel, place.channels)
            for pixel in range(shape.pixels):
                self.store(byte_of(place, inside, pixel, operand), (SAMPLE, channel, pixel))

    def misreading_layers(self) -> list[int]:
        """The layers that read at least one byte that is not what they are meant to read."""
        self.load_sample()
        return [layer.index for layer in self.program.layers if not self.run(layer)]

    def run(self, layer: Layer) -> bool:
        """Let a layer read and write, row by row; whether everything it read was right."""
        is_right = True
        read_rows: set[int] = set()
        geometry = layer.convolution.geometry if layer.convolution else None
        if geometry and (geometry.kernel_size[0] - 1) * geometry.dilation[0] >= 9:
            return self.run_as_rows(layer, geometry.kernel_size[0], geometry.dilation[0])
        for row in range(layer.output_shape.rows):
            for pooled_row in self.needed_rows(layer, row):
                if pooled_row not in read_rows:
                    read_rows.add(pooled_row)
                    is_right &= all(
                        self.stamps.get(byte) == stamp for byte, stamp in self.reads(layer, pooled_row)
                    )
            self.write(layer, row)
        return is_right

    def run_as_rows(self, layer: Layer, taps: int, width: int) -> bool:
        """A widely dilated Conv1d, on rows of `width` values: a pixel is written when the one below it is read.

        With the taps above each other, three of them make their first output in the second row."""
        is_right = True
        length = layer.operand_shape.rows
        unread = list(range(length))
        for row in range((length + width - 1) // width):
            for column in range(width):
                while unread and unread[0] <= (row + 1) * width + column:
                    here = self.reads(layer, unread.pop(0))
                    is_right &= all(self.stamps.get(byte) == stamp for byte, stamp in here)
                pixel = (row - (taps == 3)) * width + column
                if 0 <= pixel < layer.output_shape.rows:
                    self.write(layer, pixel)
                else:
                    self.fill(layer, self.where(layer), pixel)
        return is_right

    def needed_rows(self, layer: Layer, row: int) -> range:
        rows = layer.pooled_shape.rows
        if layer.flatten:
            return range(rows)
        if layer.convolution is None:
            return range(row, row + 1)
        geometry = layer.convolution.geometry
        if layer.convolution.is_transposed:
            return range(min(rows, (row + geometry.padding[0]) // 2 + 1))
        reach = (geometry.kernel_size[0] - 1) * geometry.dilation[0] - geometry.padding[0]
        return (
            range(rows) if row == layer.output_shape.rows - 1 else range(max(0, min(rows, row + reach + 1)))
        )

    def reads(self, layer: Layer, pooled_row: int) -> Iterator[tuple[Byte, Stamp]]:
        """The bytes that make a pooled row, with the stamps that they should carry."""
        place, shape = layer.placement, layer.operand_shape
        operands = layer.elementwise.operands if layer.elementwise else 1
        where = Place(
            place.processors, place.in_offset, shape.channels, operands, place.read_gap,
            place.data_format == "chw",
        )  # fmt: skip
        for row in self.window(layer, pooled_row, 0):
            for pooled_column in range(layer.pooled_shape.columns):
                for column in self.window(layer, pooled_column, 1):
                    pixel = row * shape.columns + column
                    for operand in range(operands):
                        for channel in range(shape.channels):
                            wanted = self.wanted(layer, operand * shape.channels + channel, pixel)
                            yield byte_of(where, channel, pixel, operand), wanted

    @staticmethod
    def window(layer: Layer, place: int, axis: int) -> list[int]:
        if layer.pooling is None:
            return [place]
        g = layer.pooling.geometry
        return [place * g.stride[axis] + tap * g.dilation[axis] for tap in range(g.kernel_size[axis])]

    def wanted(self, layer: Layer, channel: int, pixel: int) -> Stamp:
        """The stamp of a channel of the inputs laid side by side (no crop, no reshape here)."""
        shapes = {other.index: other.output_shape for other in self.program.layers}
        for entry in layer.inputs:
            is_sample = entry.source is Source.SAMPLE
            count = (self.program.input_shape if is_sample else shapes[entry.index]).channels
            if channel < count:
                return (SAMPLE if is_sample else entry.index, channel, pixel)
            channel -= count
        raise AssertionError("more channels are read than there are")

    def write(self, layer: Layer, row: int) -> None:
        shape, width, where = layer.output_shape, layer.output_stage.bits, self.where(layer)
        for pixel in range(row * shape.columns, (row + 1) * shape.columns):
            self.fill(layer, where, pixel)
            for channel in range(shape.channels):
                memory, offset = byte_of(where, channel, pixel, 0, width)
                for number in range(width // 8):
                    stamp = (layer.index if number == 0 else f"{layer.index} high", channel, pixel)
                    self.store((memory, offset + number), stamp)

    @staticmethod
    def where(layer: Layer) -> Place:
        """Where the layer writes."""
        place, channels = layer.placement, layer.output_shape.channels
        return Place(place.output_processors, place.out_offset, channels, 1, place.write_gap, False)

    def fill(self, layer: Layer, where: Place, pixel: int) -> None:
        """The words that a pixel takes become zero; in front of the output they have 8 bits, and no gaps."""
        used = [p for p in range(64) if where.processors >> p & 1]
        stamp = (f"{layer.index} filler", 0, pixel)
        if layer.output_stage.bits == 32 and pixel >= 0:
            self.fill_wide(where, pixel, stamp)
            return
        memories = {p // 4 for p in used}
        if layer.convolution is not None:
            memories = set(range(min(memories), max(memories) + 1))
        passes = (where.channels + 63) // 64
        for number in range(passes):
            word = where.offset // 4 + (pixel * passes + number) * (where.gap + 1 if pixel >= 0 else 1)
            for memory in memories:
                for lane in range(4):
                    if word >= 0:
                        self.store((memory, word * 4 + lane), stamp)

    def fill_wide(self, where: Place, pixel: int, stamp: Stamp) -> None:
        """With 32 bits, kernels of zeros in front of a channel and between two have a word each."""
        used = [p for p in range(64) if where.processors >> p & 1]
        passes = (where.channels + 63) // 64
        for number in range(passes):
            word = where.offset // 4 + (pixel * passes + number) * 4 * (where.gap + 1)
            for processor in range(used[0] // 4 * 4, used[-1] + 1):
                for byte in range(4):
                    self.store((processor // 4, (word + processor % 4) * 4 + byte), stamp)
