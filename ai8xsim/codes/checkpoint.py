"""Codes of faults in a checkpoint alone."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 6 and 7; the vendor's loader",
    Code("empty-checkpoint", "The checkpoint file is empty.", "It was probably not written to its end.",
         "Save or copy it again."),
    Code("not-a-checkpoint", "The file is no checkpoint of PyTorch.",
         "A checkpoint is a dictionary with `state_dict`, written by torch.save.", "Give the quantizer's output."),
    Code("damaged-checkpoint", "The checkpoint is truncated or contradicts itself.",
         "Its parts are checked before they are used, and nothing in it is ever executed.",
         "Copy or save it again."),
    Code("unquantized-checkpoint", "The weights are not integers.",
         "Training leaves fractions; the chip holds integers of 1 to 8 bits.",
         "Quantize the checkpoint first."),
    Code("already-quantized", "The checkpoint that shall be quantized is quantized.",
         "Its weights are integers beyond -1 to 1, as the quantizer leaves them.", "Use it as it is."),
    Code("weights-not-finite", "A number of a trained layer is infinite, or no number.",
         "Nothing can be rounded to an integer that is none; mostly the training has diverged.",
         "Train again with a smaller learning rate, or take an earlier checkpoint."),
    Code("batchnorm-axis", "A batch normalization may belong to a transposed convolution.",
         "The weights of a convolution are (out, in, height, width), those of a transposed one (in, out, height, "
         "width): where both are equal, only the description tells along which axis to fold.",
         "Give `--network`, or fuse the batch normalizations before."),
    Code("unused-bits", "The width that was asked for is no layer's.",
         "`--bits` is for layers of which nothing else states the width. A checkpoint that was trained for "
         "quantization states it, and `quantization` in the description comes before that.",
         "Give `--network` with `quantization`, or train by another policy."),
    Code("unfused-batchnorm", "The checkpoint holds batch normalization layers.",
         "The hardware has none; they are folded into the weights and the bias before quantization.",
         "Fuse them, then quantize again."),
    Code("no-weights", "The checkpoint holds no weights of layers.", "Keys that end in `weight` are looked for.",
         "Check what was saved."),
    Code("weights-out-of-range", "A weight does not fit 8 bits.", "Weights have at most 8 bits: -128 to 127.",
         "Quantize the checkpoint again."),
    Code("too-many-weights", "A tensor is larger than any network for these devices.",
         "The largest weight memory holds a few million weights.", "Check what was saved."),
    Code("invalid-layer-value", "A layer's shift, width or tensor is not what it must be.",
         "The shift is one integer; the width of the weights is 1, 2, 4 or 8 bits; a bias has a value for each output.",
         "Train or quantize the checkpoint again."),
    Code("inexact-bias", "A bias is not a multiple of what the chip's bias counts.",
         "The chip holds the bias in 8 bits; the rest is cut off, by us as by the vendor's loader. "
         "PyTorch's evaluation keeps it and may differ.", "Quantize the checkpoint again."),
    Code("all-zero-weights", "All weights of a layer are zero.", "Its output is its bias, whatever comes in.",
         "Check the training and the quantization."),
    Code("unread-layer-values", "The vendor's loader overlooks a layer's shift and width.",
         "It looks for them two levels above the weight: for `module.conv1.weight` under `module`, not under "
         "`module.conv1`. The chip gets a shift of 0 and 8-bit weights, and that is what is computed.",
         "Save the weights as `conv1.op.weight`, or give `output_shift` and `quantization` in the description."),
)  # fmt: skip
