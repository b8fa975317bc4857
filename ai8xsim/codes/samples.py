"""Codes of faults in samples, traces and other files."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    '`spec/ARITHMETIC.md`, "Data is 1D or 2D"; `spec/TRAINING.md`, data',
    Code("sample-shape", "The samples have another shape than the program takes.",
         "Samples are channels first: (C, H, W) or (C, L), a batch has N in front.", "Transpose or reshape them."),
    Code("sample-rank", "An array is neither a sample nor a batch.",
         "A sample has two (1D data) or three axes, a batch one more.", "Take one sample out of the array."),
    Code("sample-type", "The samples are not integers.",
         "The chip reads int8, and a conversion nobody asked for would hide a mistake in the data loader.",
         "Scale to -128..127, round, convert to an integer type."),
    Code("sample-range", "A value lies outside -128..127.",
         "Data is int8. Pixels 0..255 and floats in [-1, 1) must be normalized first.",
         "Subtract 128 from pixels; multiply floats by 128 and round."),
    Code("sample-fraction", "A value is no integer.", "Data is int8.",
         "Data in [0, 1] is not normalized: end the transforms with `ai8x.normalize`. "
         "Multiply data in [-1, 1) by 128 and round."),
    Code("not-an-array", "The file is no .npy array.", "Arrays are read without pickle.", "Use numpy.save."),
    Code("not-a-trace", "The file is no trace.", "A trace is a .npz with `meta` and one array a layer.",
         "Make one with `ai8xsim simulate --trace`."),
)  # fmt: skip
