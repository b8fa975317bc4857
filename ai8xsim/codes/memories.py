"""Codes of processors and memories: who works on what, and what lies where."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    'vendor document, chapters "Data, Weights, and Processors" to "Bias Memories"; `spec/REGISTERS.md` 4 to 6',
    Code("processor-count", "A layer enables more or fewer processors than its input channels need.",
         "Each channel of a pass has its own processor, with its own weight memory. More than 64 channels take several "
         "passes, each with the same processors, their number rounded up to a multiple of four.",
         "Write the map of the message, or one with as many bits where the data lies."),
    Code("output-processor-count", "A layer writes to more or fewer processors' memories than it has output channels.",
         "Each output channel of a pass goes to the memory of one processor. Without `output_processors` these are the "
         "next layer's `processors`.", "Write the map of the message."),
    Code("buffer-processors", "A data buffer has more or fewer processors than channels.",
         "Each of its channels lies in the memory of one processor.", "Write the map of the message."),
    Code("buffer-address", "A layer uses a data buffer and does not say where it lies, or its size.",
         "A buffer has its own place in memory; a layer's default is where the layer before writes.",
         "Write the keys of the message.", 'vendor document, "Rolling Buffers"'),
    Code("unload-place", "An `unload` entry has other processors than channels, or lies beyond the memories.",
         "The generated code copies exactly these bytes. UNVERIFIED: held against the layout that layers write.",
         "Write the processors, offset and size with which the output is written.",
         'vendor document, "Network Loader Configuration Language"'),
    Code("shared-chw-memory", "CHW channels share a memory instance.",
         "A CHW word holds four pixels of one channel, and each of four processors would read it as its own.",
         "Use every fourth processor."),
    Code("pass-through-processors", "A pass-through layer's output processors are not its packed input processors.",
         "Each quadrant writes what its own processors read, one beside the other.",
         "In each quadrant, enable as many output processors as input processors, without gaps."),
    Code("depthwise-processors", "A depthwise convolution begins in the middle of a memory word.",
         "Input and output bytes keep their place in the word.", "Begin at a multiple of four."),
    Code("input-too-large", "A layer's input, or a data buffer, does not fit into the memory instances.",
         "Four processors share an instance of 32 KiB (MAX78002: 80 KiB); HWC data takes four bytes a pixel and pass "
         "there, CHW data one.",
         "Fold the data, use CHW, stream it, or begin at a smaller offset."),
    Code("output-too-large", "A layer's output does not fit into the memory instances.",
         "Output is HWC: four bytes a pixel and pass in each instance, sixteen for 32 bits.",
         "Pool more, use fewer channels, or begin at a smaller offset."),
    Code("dilated-out-offset", "A widely dilated Conv1d begins too near to the beginning of its memory.",
         "From (taps - 1) * dilation = 9 on it runs as a Conv2d on rows of `dilation` values. Of three taps the first "
         "row of results is none of the output, and is written in front of it. The vendor's loader refuses a smaller "
         "offset. It counts words of 8-bit output without gaps: a longer row draws a warning.",
         "Write the `out_offset` of the message.", '`spec/ARITHMETIC.md`, "Limits"'),
    Code("unaligned-offset", "An offset is no multiple of four.",
         "The hardware counts 32-bit words; the rest of the division is lost.", "Write the multiple of the message."),
    Code("read-gap-passes", "A layer with more than 64 channels has a read gap.",
         "The gap is built from the counter that several passes need.", "Use at most 64 channels, or no gap."),
    Code("overwrites-input", "A layer writes its output over its own input.",
         "Rows are written while later rows are still to be read. The vendor's loader refuses it without "
         "`--overlap-data`.", "Choose another `out_offset`, or other output processors."),
    Code("overwritten-data", "A layer writes over data that a later layer reads.",
         "The vendor's loader protects the last layer's output only: the saved input of a skip connection is lost "
         "without a word. A ring, through which rows stream, writes over what lies under it too.",
         "Choose another `out_offset` for the layer that overwrites."),
    Code("overwritten-output", "A layer writes over an output of the network before it is unloaded.",
         "Outputs are read when the network is done.", "Choose another `out_offset`."),
    Code("misplaced-input", "A layer reads where its input does not lie.",
         "Addresses follow from processors, offset, gap and the number of channels, on both sides; nothing on the "
         "chip checks that they agree, and nothing drops or rearranges pixels, in memory or on their way by FIFO.",
         "Let offset, processors and gap of writer and reader agree."),
    Code("sample-place", "The layer that is executed first reads something else than the sample.",
         "The sample is loaded to the first layer's processors and offset, or comes to it by FIFO; there is no other "
         "place for it.", "Let a layer that reads the sample be executed first."),
    Code("not-kept", "Data is read again, or unloaded, that passed by and was not kept.",
         "A FIFO hands each pixel to the first layer once. Between streaming layers, rows pass through a ring of "
         "memory that holds a few of them.",
         "Load the sample into memory instead of by FIFO; do not stream what is read once more."),
    Code("operands-apart", "The operands of an element-wise operation do not interleave in memory.",
         "Each fetch gathers one operand: of two operands, every second word belongs to the other one.",
         "Write each operand with `write_gap` (operands - 1) and 4 bytes behind the other; a pass-through layer can "
         "rearrange data.", 'vendor document, "Residual Connections"; `spec/REGISTERS.md` 6'),
    Code("weight-memory", "The weights do not fit.",
         "A processor holds 768 kernels of nine bytes (MAX78002: 4096, processors 0, 16, 32 and 48 hold 5120). A layer "
         "begins at a multiple of four kernels, at the same place in all of its processors.",
         "Quantize to 4, 2 or 1 bit, use fewer channels, or spread layers over other processors."),
    Code("bias-memory", "The bias values do not fit.",
         "Each quadrant holds 512 bias values (MAX78002: 2048), and a layer's bias lies in one quadrant.",
         "Train without bias where it can be, or leave `bias_group` out."),
    Code("compute-memory", "A layer's rows do not fit into the processors' own memory.",
         "Rows that a kernel needs wait in the processor's TRAM: 3072 words (MAX78002: 12288).",
         "Use narrower data or fewer channels.", "`spec/REGISTERS.md` 1 and 3"),
    Code("ring-apart", "A streaming layer's ring is not where the layer before writes.",
         "The layer before fills the ring: both must name the same offset, processors and gap, and nothing else can be "
         "read.", "Write the key of the message."),
    Code("ring-overlap", "Streaming layers write over each other's rings.",
         "The input of a streaming layer passes through a ring of memory that begins at its `in_offset`.",
         "Part the rings; the message shows their places."),
    Code("ring-too-large", "A streaming layer's ring reaches beyond its memory.",
         "The ring must hold the rows that a kernel and a pool need.", "Begin at a smaller `in_offset`."),
    Code("read-ahead-memory", "A layer reads ahead in the memory that it writes to.",
         "Reading and writing at once need different memory instances.", "Use other offsets, or no `readahead`."),
)  # fmt: skip
