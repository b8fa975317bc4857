"""The table of keys: the description language, one row a key.

Parser, `ai8xsim explain KEY` and tests read this table; nothing else knows a key by name.
Source: vendor document, chapter "Network Loader Configuration Language"; `spec/ARITHMETIC.md` for what it leaves out.
"""

from dataclasses import dataclass
from types import MappingProxyType

from ai8xsim.network.values import (
    INPUT,
    STOP,
    Anything,
    Boolean,
    Choice,
    Dimensions,
    Integer,
    KernelSize,
    LayerReference,
    ListOf,
    Pair,
    ProcessorMap,
    Quantization,
    Records,
    Text,
    TwoIntegers,
    ValueType,
)


@dataclass(frozen=True)
class Key:
    """One key: its name here, what it takes, what it does, and what holds where it is absent."""

    name: str
    type: ValueType
    summary: str
    default: str
    example: str
    synonyms: tuple[str, ...] = ()
    required: bool = False
    scope: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every way to write it; the first one is the usual one."""
        return (self.name, *self.synonyms)


_SIZE = Integer(1, 4096)
_CHANNELS = Integer(1, 16384)
_OFFSET = Integer(0, (1 << 32) - 1)
_GAP = Integer(0, 4096)
_COUNT = Integer(1, 4096)
_POOL = Pair(Integer(1, 16))
_NEXT = LayerReference((("stop", STOP), (-1, STOP)))
_SOURCE = LayerReference((("input", INPUT), (-1, INPUT)))
_WIDTH = Choice.of(**{"8": "8", "32": "32"})
_OPERATION = Choice.of(
    conv1d="conv1d",
    conv2d="conv2d",
    convtranspose2d="convtranspose2d",
    linear="linear fc mlp",
    passthrough="none passthrough",
    add="add",
    sub="sub",
    xor="xor bitwisexor bitwise_xor",
    **{"or": "or bitwiseor bitwise_or"},
)
_ELEMENTWISE = Choice.of(add="add", sub="sub", xor="xor", **{"or": "or"})
_ACTIVATION = Choice.of(relu="relu", abs="abs", none="none")
_DATA_FORMAT = Choice.of(hwc="hwc little", chw="chw big")


def _table(*keys: Key) -> MappingProxyType[str, Key]:
    return MappingProxyType({key.name: key for key in keys})


GLOBAL_KEYS = _table(
    Key("arch", Text(), "The model's name. It must be the checkpoint's `arch`, in any case.",
        "none: it must be there", "arch: ai85net5", required=True),
    Key("dataset", Text(), "The name of the data set. It is descriptive only.",
        "none: it must be there", "dataset: mnist", required=True),
    Key("layers", Records("layer"), "The list of layers, each a mapping of the layer keys.",
        "none: it must be there", "layers:\n  - op: conv2d\n    processors: 0x1", required=True),
    Key("output_map", ProcessorMap(), "The processors whose memories take the last layer's output. It overrides "
        "that layer's `output_processors`.", "the last layer's `output_processors`", "output_map: 0x0ff0"),
    Key("unload", Records("unload"), "What the generated `cnn_unload()` copies, in order, instead of the output "
        "layers. It changes generated code, never a value.", "the output layers", "unload:\n  - processors: 0xf\n"
        "    channels: 4\n    dim: [8, 8]\n    offset: 0x0"),
    Key("data_buffer", Records("data_buffer"), "A rolling window of rows that lives from inference to inference "
        "(TCN). Layers read it by its name, and change it with `buffer_shift` and `buffer_insert`.", "none",
        "data_buffer:\n  - name: tcn\n    processors: 0xffff\n    channels: 16\n    dim: 15\n    offset: 0x7fc4"),
    Key("snoop", ListOf(Integer(0, (1 << 32) - 1)), "Register values of the bus snooper (conditional execution). "
        "It is checked and shown, never executed.", "none", "snoop: [0x200001, 0, 0x7f40fc6c, 0, 0, 0]",
        scope="MAX78002 only"),
    Key("weights", Anything(), "Test only: a rule to make weights. A checkpoint makes it void.", "none", "weights: 1"),
    Key("bias", Anything(), "Test only: a rule to make bias values. A checkpoint makes it void.", "none", "bias: 1"),
)  # fmt: skip

DATA_BUFFER_KEYS = _table(
    Key("name", Text(), "The name by which `in_sequences` reads the buffer.", "none: it must be there",
        "name: tcn_buffer", required=True),
    Key("processors", ProcessorMap(), "The processors whose memories hold the buffer.", "none: it must be there",
        "processors: 0xffffffff00000000", ("processor",), required=True),
    Key("channels", _CHANNELS, "Its channels.", "none: it must be there", "channels: 32", required=True),
    Key("dim", Dimensions(_SIZE), "Its length, or [rows, columns].", "none: it must be there", "dim: 15",
        required=True),
    Key("offset", _OFFSET, "Where it begins in the data memories, in bytes.", "none: it must be there",
        "offset: 0x7fc4", required=True),
    Key("width", _WIDTH, "The width of its values in bits.", "8", "width: 8"),
)  # fmt: skip

UNLOAD_KEYS = _table(
    Key("processors", ProcessorMap(), "The processors whose memories are copied.", "none: it must be there",
        "processors: 0xf", required=True),
    Key("channels", _CHANNELS, "How many channels are copied.", "none: it must be there", "channels: 4",
        required=True),
    Key("dim", Dimensions(_SIZE), "Their length, or [rows, columns].", "none: it must be there", "dim: [8, 8]",
        required=True),
    Key("offset", _OFFSET, "Where they begin in the data memories, in bytes.", "none: it must be there",
        "offset: 0x4000", required=True),
    Key("width", _WIDTH, "The width of the values in bits.", "8", "width: 32"),
    Key("write_gap", _GAP, "Words left out between two words of data.", "0", "write_gap: 1"),
)  # fmt: skip

LAYER_KEYS = _table(
    Key("name", Text(), "A name by which other layers refer to this one, in any case. `stop` and `input` are "
        "reserved.", "no name: the sequence number is used", "name: conv1"),
    Key("sequence", Integer(0, 4096), "The place of the layer in the order of execution. Numbers may have gaps; "
        "layers are sorted by them.", "one more than the layer before, 0 for the first", "sequence: 4"),
    Key("next_sequence", _NEXT, "The layer that is executed next, or `stop`.", "the next layer in sequence",
        "next_sequence: final", scope="jumps: MAX78002 only"),
    Key("simulated_sequence", _NEXT, "The layer that the simulation takes next where a condition (`snoop`) decides "
        "on the chip.", "`next_sequence`", "simulated_sequence: 7", scope="MAX78002 only"),
    Key("snoop_sequence", LayerReference(), "The layer that the bus snooper may jump to. It is checked and shown, "
        "never executed.", "none", "snoop_sequence: 12", scope="MAX78002 only"),
    Key("processors", ProcessorMap(), "The processors that work on the layer's input channels, one bit each. It "
        "has as many bits as channels are processed in one pass.", "none: it must be there",
        "processors: 0x0000.0000.0000.ffff", required=True),
    Key("output_processors", ProcessorMap(), "The processors whose memories take the layer's output channels.",
        "the next layer's `processors`; for the last layer `output_map`, else packed from processor 0",
        "output_processors: 0xffff0000"),
    Key("in_offset", _OFFSET, "Where the input begins in the data memories, in bytes.",
        "the previous layer's `out_offset`, 0 for the first layer", "in_offset: 0x2000"),
    Key("out_offset", _OFFSET, "Where the output goes in the data memories, in bytes.", "0, with a warning",
        "out_offset: 0x4000"),
    Key("output_width", _WIDTH, "8, or 32 for the accumulator as it is: no shift, no saturation, no activation.",
        "8", "output_width: 32"),
    Key("data_format", _DATA_FORMAT, "How the sample lies in memory: `hwc` interleaves four channels in a word, "
        "`chw` gives each channel a memory of its own. First layer only.", "hwc", "data_format: CHW"),
    Key("op", _OPERATION, "The layer's operation, after pooling.", "conv2d, with a warning", "op: conv2d",
        ("operation", "operator", "convolution")),
    Key("eltwise", _ELEMENTWISE, "An element-wise operation in flight, before the layer's own operation.", "none",
        "eltwise: add"),
    Key("operands", Integer(2, 16), "How many operands the element-wise operation has.", "2", "operands: 3"),
    Key("pool_first", Boolean(), "true: pool each operand, then combine. false: combine, then pool.", "true",
        "pool_first: false"),
    Key("dilation", Pair(Integer(1, 2047)), "The distance between the taps of a convolution.", "1", "dilation: 4",
        scope="Conv2d: MAX78002 only"),
    Key("groups", Integer(1, 4096), "1, or the number of channels for a depthwise convolution.", "1", "groups: 64",
        ("conv_groups",), scope="MAX78002 only"),
    Key("activate", _ACTIVATION, "What follows the saturation: `ReLU`, `Abs` or `None`.", "None", "activate: ReLU",
        ("activation",)),
    Key("quantization", Quantization(), "The width of the weights in bits. It adds 8 minus itself to the shift.",
        "the checkpoint's `weight_bits`", "quantization: 4", scope="binary: MAX78002 only"),
    Key("output_shift", Integer(-22, 15), "The accumulator is scaled by two to this power before it is rounded to "
        "8 bits. The width of the weights adds to it; the sum must lie within -15..15.",
        "the checkpoint's `output_shift`, else 0", "output_shift: -2"),
    Key("kernel_size", KernelSize(), "The kernel: `1x1` or `3x3`, for Conv1d its length.",
        "3x3; 9 for Conv1d; 1x1 for Linear", "kernel_size: 3x3"),
    Key("stride", Pair(Integer(1, 16)), "The step of the convolution: 1, and 2 for ConvTranspose2d.",
        "1; 2 for ConvTranspose2d", "stride: 1"),
    Key("pad", Integer(0, 2), "Zeros around the input of a convolution, 0 to 2 on each side. For "
        "ConvTranspose2d it counts as in PyTorch: 2 - pad zeros are added.",
        "1; 0 for Linear, pass-through and element-wise layers", "pad: 1"),
    Key("output_pad", Integer(0, 1), "Extra rows and columns at the far side of a ConvTranspose2d output. It is "
        "always 1 there.", "1 for ConvTranspose2d", "output_pad: 1"),
    Key("max_pool", _POOL, "The window of a max pool before the convolution.", "no pooling", "max_pool: 2"),
    Key("avg_pool", _POOL, "The window of an average pool before the convolution; the mean is truncated toward "
        "zero, or rounded with `--avg-pool-rounding`.", "no pooling", "avg_pool: [2, 3]"),
    Key("pool_stride", _POOL, "The step of the pool window. Without a pool it subsamples.", "1, with a warning",
        "pool_stride: 2"),
    Key("pool_dilation", _POOL, "The distance between the values of a pool window.", "1", "pool_dilation: [2, 1]",
        scope="MAX78002 only"),
    Key("in_channels", _CHANNELS, "The number of input channels, where it shall be stated.",
        "from the weights and the layers before", "in_channels: 8"),
    Key("in_dim", Dimensions(_SIZE), "The input's length (1D) or [rows, columns] (2D): reshapes the data, row by "
        "row.", "the shape that the layer before left", "in_dim: [64, 64]"),
    Key("in_crop", TwoIntegers(Integer(0, 4096)), "Rows (2D) or values (1D) to drop in front and behind.",
        "[0, 0]", "in_crop: [3, 3]"),
    Key("in_channel_skip", Integer(0, 4096), "No effect: the vendor's loader honours it only while debugging.",
        "0", "in_channel_skip: 2"),
    Key("in_sequences", ListOf(_SOURCE), "Where the input comes from: earlier layers, the sample (`input` or -1), "
        "or a data buffer. Several are concatenated, or are the operands of an element-wise operation.",
        "the layer executed before", "in_sequences: [conv2, conv5]"),
    Key("out_channels", _CHANNELS, "The number of output channels, where it shall be stated.", "from the weights",
        "out_channels: 8"),
    Key("streaming", Boolean(), "Work on rows as they arrive, for inputs larger than the data memory. It never "
        "changes a value.", "false", "streaming: true"),
    Key("flatten", Boolean(), "Turn C x H x W values into C*H*W channels of one pixel, for a Linear layer.",
        "false", "flatten: true"),
    Key("write_gap", _GAP, "Words left out between two words of output, so that operands of a later element-wise "
        "layer interleave. It changes addresses, never values.", "0", "write_gap: 1"),
    Key("read_gap", _GAP, "Words left out between two words of input. It changes addresses, never values.", "0",
        "read_gap: 1", ("in_skip",), scope="MAX78002 only"),
    Key("bias_group", ListOf(Integer(0, 3)), "The quadrants whose bias memories may hold the layer's bias.",
        "the quadrants that the network uses", "bias_group: [0, 1]", ("bias_quadrant",)),
    Key("output", Boolean(), "This layer is an output of the network.", "true for the last layer, else false",
        "output: true"),
    Key("weight_source", LayerReference(), "The layer whose weights, bias and shift this one uses too.",
        "its own", "weight_source: conv1"),
    Key("buffer_shift", _COUNT, "Reads a data buffer from this row on and moves the rows to the front.", "none",
        "buffer_shift: 1"),
    Key("buffer_insert", _COUNT, "Writes the layer's output into the last rows of the data buffer.", "none",
        "buffer_insert: 1"),
    Key("bypass", Boolean(), "All weights are 1: sums over channels and taps, with a shift of 7.", "false",
        "bypass: true", scope="MAX78002 only"),
    Key("readahead", Boolean(), "Read data ahead, for speed. It never changes a value.", "false",
        "readahead: true", scope="MAX78002 only"),
    Key("calcx4", Boolean(), "Compute four outputs at once, for speed. It never changes a value.", "false",
        "calcx4: true", scope="MAX78002 only"),
    Key("tcalc", Boolean(), "Override a timing calculation. It never changes a value.", "automatic",
        "tcalc: true", scope="MAX78002 only"),
)  # fmt: skip

TABLES = MappingProxyType(
    {"global": GLOBAL_KEYS, "layer": LAYER_KEYS, "data_buffer": DATA_BUFFER_KEYS, "unload": UNLOAD_KEYS}
)
