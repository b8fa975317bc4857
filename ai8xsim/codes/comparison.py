"""Codes of `compare`: why somebody else's layer differs."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 9 and 10",
    Code("average-rounding", "Averages are rounded in one computation and not, or otherwise, in the other.",
         "The chip truncates averages or rounds them half away from zero, as it is configured; "
         "the training software's evaluation rounds half to even.",
         "Let `--avg-pool-rounding` and the model's `round_avg` say the same."),
    Code("plain-pooling", "The model pools with PyTorch's own module, whose averages keep fractions.",
         "The chip's averages are integers.", "Use the pooling modules of `ai8x`."),
    Code("activation-differs", "The description and the model activate a layer differently.",
         "A missing ReLU in one of them lets negative values through.", "Let both say the same."),
    Code("pooling-differs", "The description takes the largest value of a window and the model the average, or the "
         "other way round.", "`max_pool` and `avg_pool` have the same shapes, so that nothing else shows it.",
         "Let both say the same."),
    Code("elementwise-differs", "The description and the model combine operands otherwise, or on the other side of the "
         "pool.", "`pool_first` is true where nothing is said: each operand is pooled, then they are combined.",
         "Let both say the same: `eltwise` and `pool_first`."),
    Code("output-width-differs", "The output is 8 bits wide in one computation, 32 bits in the other.",
         "`output_width` is 8 where nothing is said; a last layer that is `wide` in the model has 32.",
         "Let `output_width` and the model's `wide` agree."),
    Code("output-shift-differs", "The description and the model shift a layer's output differently.",
         "`output_shift` in the description wins over the checkpoint's.", "Let both agree, or state it in one place."),
    Code("output-rounding", "The other computation rounds outputs otherwise than half up.",
         "The chip adds a half and rounds down: ties go toward plus infinity.", "Round with floor(x + 0.5)."),
    Code("wide-output-scaled", "The other computation scales a 32-bit output.",
         "The chip writes the accumulator as it is.", "Scale on the host if it matters; the largest stays largest."),
    Code("exact-bias", "The other computation adds the bias with bits that the chip's bias memory has not.",
         "The chip adds floor(bias / 2**(bits - 1)) * 128.", "Expect it, or quantize the checkpoint again."),
    Code("sample-differs", "The other computation saw the sample in another range or order.",
         "The first layer can be explained by a sample that is not normalized, or folded in another order.",
         "Let both read one file, and let the data loader normalize and fold as the network expects."),
    Code("weights-differ", "Only some of a layer's output channels differ.",
         "A convolution's output channels have nothing in common but the input: their weights or biases differ.",
         "See whether both have the same checkpoint."),
    Code("not-a-known-answer", "A header is no known answer of this network and device.",
         "`sampleoutput.h` lists bus addresses, masks and words that `check_output()` compares.",
         "Take the header of the project that was generated from this description, for this device."),
    Code("incomplete-known-answer", "A known answer leaves out some values of an output layer.",
         "The loader stops after a number of words (`--max-verify-length`); what is left out cannot be compared.",
         "Generate the project without that limit, if all values are to be compared."),
    Code("unexplained-difference", "A layer's output differs, and no known cause explains every value.",
         "All known causes were computed, and none gives their values.",
         "Compare kernel, padding, stride, pooling and checkpoint."),
)  # fmt: skip
