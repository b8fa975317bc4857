"""What a checkpoint holds for the chip, as it is stored."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ai8xsim.diagnostics import Diagnostic


@dataclass(frozen=True, eq=False)
class CheckpointLayer:
    """One layer's integers, as stored: nothing is scaled, flipped or filled in.

    name: the layer, e.g. `conv1`.  weight_key: the whole key in the file, e.g. `module.conv1.op.weight`.
    weight: read-only int64 in [-128, 127], (out, in[, height[, width]]); of a transposed convolution
        (in, out, height, width), not flipped.
    bias: read-only int64 with one axis, or None; the chip's bias is floor(bias / 2**(weight_bits - 1)).
        A fraction in the file is rounded down, which does not change that.
    output_shift, weight_bits: None where the file has no such key; weight_bits is 0, 1, 2, 4 or 8.
    final_scale: what newer training software multiplies the output by, as a power of two; the chip does not.

    Equal layers have equal names, keys, numbers and arrays.
    Source: `spec/TRAINING.md` section 6; `izer/checkpoint.py` of the vendor's loader.
    """

    name: str
    weight_key: str
    weight: NDArray[np.int64]
    bias: NDArray[np.int64] | None = None
    output_shift: int | None = None
    weight_bits: int | None = None
    final_scale: int | None = None

    def _scalars(self) -> tuple[object, ...]:
        return self.name, self.weight_key, self.weight.shape, self.output_shift, self.weight_bits

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CheckpointLayer):
            return NotImplemented
        if self._scalars() != other._scalars() or not np.array_equal(self.weight, other.weight):
            return False
        if self.bias is None or other.bias is None:
            return self.bias is other.bias
        return np.array_equal(self.bias, other.bias)

    def __hash__(self) -> int:
        return hash(self._scalars())


@dataclass(frozen=True)
class Checkpoint:
    """A quantized checkpoint: its layers in the order of the file, which is the order of the network.

    arch, epoch: None where the file does not say (or says something else than text, or a whole number).
    diagnostics: the warnings; they are no part of equality.
    """

    path: str
    arch: str | None
    epoch: int | None
    layers: tuple[CheckpointLayer, ...]
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)
