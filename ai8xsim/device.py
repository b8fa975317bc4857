"""MAX78000 and MAX78002: every limit as data.

Sources: vendor document, chapters "Limitations of MAX78000 Networks", "Limitations of MAX78002 Networks",
"Weight Memory", "Bias Memories"; where the vendor's loader accepts more than the document says, both are here.
"""

from dataclasses import dataclass
from types import MappingProxyType

PROCESSORS = 64
PROCESSORS_PER_MEMORY = 4
MEMORIES = PROCESSORS // PROCESSORS_PER_MEMORY
PROCESSORS_PER_QUADRANT = 16
QUADRANTS = 4
WORD_BYTES = 4
KERNEL_BYTES = 9
SHIFT_RANGE = (-15, 15)


@dataclass(frozen=True)
class Device:
    """One device: what it can hold and what it can do.

    `weight_memory_kernels` counts 3x3 kernels of nine bytes in one processor's weight memory;
    `first_weight_memory_kernels` the same for the first processor of each quadrant.
    `data_memory_base` is the bus address of the first data memory; the next one follows after `data_memory_stride`, the
    first one of the next quadrant after `quadrant_stride`.
    `documented_rows_columns` is the vendor document's limit, `rows_columns` what its loader enforces.
    """

    name: str
    layers: int
    channels: int
    documented_rows_columns: int
    rows_columns: int
    weight_memory_kernels: int
    first_weight_memory_kernels: int
    bias_memory_bytes: int
    data_memory_bytes: int
    data_memory_base: int
    data_memory_stride: int
    quadrant_stride: int
    compute_memory_words: int
    streaming_layers: int
    streaming_pixels: int
    dilation_1d: int
    dilation_2d: int
    pool_size: int
    pool_stride: int
    pool_dilation: int
    supports_depthwise: bool
    supports_link_layers: bool
    supports_read_gap: bool
    supports_binary_weights: bool
    supports_bypass: bool
    supports_snoop: bool
    supports_read_ahead: bool
    supports_calcx4: bool
    supports_start_layer: bool

    def __str__(self) -> str:
        return self.name

    def data_memory_place(self, address: int) -> int | None:
        """Memory instance * `data_memory_bytes` + offset of a bus address; None where no data memory has it.

        Source: `spec/REGISTERS.md` 1.

        >>> MAX78000.data_memory_place(0x50408004), MAX78000.data_memory_place(0x50100000)
        (32772, None)
        """
        quadrant, inside = divmod(address - self.data_memory_base, self.quadrant_stride)
        memory, offset = divmod(inside, self.data_memory_stride)
        if not (
            0 <= quadrant < QUADRANTS and memory < MEMORIES // QUADRANTS and offset < self.data_memory_bytes
        ):
            return None
        return (quadrant * MEMORIES // QUADRANTS + memory) * self.data_memory_bytes + offset


MAX78000 = Device(
    name="MAX78000",
    layers=32,
    channels=1024,
    documented_rows_columns=1023,
    rows_columns=1024,
    weight_memory_kernels=768,
    first_weight_memory_kernels=768,
    bias_memory_bytes=512,
    data_memory_bytes=32 * 1024,
    data_memory_base=0x50400000,
    data_memory_stride=0x8000,
    quadrant_stride=0x400000,
    compute_memory_words=3072,
    streaming_layers=8,
    streaming_pixels=1 << 21,
    dilation_1d=1023,
    dilation_2d=1,
    pool_size=16,
    pool_stride=16,
    pool_dilation=1,
    supports_depthwise=False,
    supports_link_layers=False,
    supports_read_gap=False,
    supports_binary_weights=False,
    supports_bypass=False,
    supports_snoop=False,
    supports_read_ahead=False,
    supports_calcx4=False,
    supports_start_layer=False,
)

MAX78002 = Device(
    name="MAX78002",
    layers=128,
    channels=2048,
    documented_rows_columns=2047,
    rows_columns=2048,
    weight_memory_kernels=4096,
    first_weight_memory_kernels=5120,
    bias_memory_bytes=2048,
    data_memory_bytes=80 * 1024,
    data_memory_base=0x51800000,
    data_memory_stride=0x20000,
    quadrant_stride=0x1000000,
    compute_memory_words=12288,
    streaming_layers=8,
    streaming_pixels=1 << 21,
    dilation_1d=2047,
    dilation_2d=16,
    pool_size=16,
    pool_stride=16,
    pool_dilation=16,
    supports_depthwise=True,
    supports_link_layers=True,
    supports_read_gap=True,
    supports_binary_weights=True,
    supports_bypass=True,
    supports_snoop=True,
    supports_read_ahead=True,
    supports_calcx4=True,
    supports_start_layer=True,
)

DEVICES = MappingProxyType({device.name: device for device in (MAX78000, MAX78002)})


def check_is_device(device: object) -> None:
    """Raises TypeError for anything else, such as a device's name."""
    if not isinstance(device, Device):
        raise TypeError(f"device is {device!r}; give `ai8xsim.MAX78000` or `ai8xsim.MAX78002`, not its name")
