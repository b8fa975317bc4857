"""Trained checkpoint -> quantized checkpoint, as the vendor's quantizer does it where that is right.

Source: `spec/TRAINING.md` 4 and 7. What is done otherwise than there, because it is a fault: the width of a layer
comes from the layer of the description, not from a running count of tensors; a batch normalization is folded along
the outputs (also of a transposed convolution, where the description or the sizes tell it) and with its eps; a width
other than 8 is written as `weight_bits`; clipping chooses the shift, and works for layers with a bias.
"""

from ai8xsim.quantize.quantizer import (
    CLIPS,
    Clip,
    Quantized,
    QuantizedLayer,
    QuantizeOptions,
    quantize,
    save_quantized,
)

__all__ = ["CLIPS", "Clip", "QuantizeOptions", "Quantized", "QuantizedLayer", "quantize", "save_quantized"]
