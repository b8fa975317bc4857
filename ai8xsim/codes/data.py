"""Codes of images and of data-set files."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 8",
    Code("pixel-range", "Values that should be pixels are none.",
         "Pixels are integers 0..255, or floats in [0, 1]; other values would be saturated without a word.",
         "Scale them to one of the two, as it was done in training; normalize once, not twice."),
    Code("fold-shape", "An image cannot be folded or unfolded by this ratio.",
         "Folding by r takes every r-th pixel in both directions; unfolding needs r * r channels for each colour.",
         "Crop or resize to multiples of the ratio."),
    Code("image-shape", "An image has not the three colour channels that this needs.",
         "A Bayer filter and RGB565 choose between red, green and blue.", "Give (3, H, W), channels first."),
)  # fmt: skip
