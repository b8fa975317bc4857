"""The inputs that an output pixel of a convolution meets, and the weights in the matching order."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.tensor import Offsets, Region, Tensor
from ai8xsim.kernels.geometry import ConvolutionGeometry

Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Taps:
    """The inputs of an output pixel: runs of values side by side, and the weights (out, taps, run) that meet them.

    region: where the inputs lie.
    """

    region: Region
    offsets: Offsets
    weight_otr: Int8

    @property
    def all(self) -> "Met":
        return Met(range(len(self.offsets)), range(self.weight_otr.shape[2]))


class Met(NamedTuple):
    """The part of the kernel that some pixels meet: which taps, and which values of their runs."""

    taps: range
    run: range


def taps_of(x: Tensor, weight_oihw: Int8, geometry: ConvolutionGeometry) -> Taps:
    """Taps that lie side by side in memory become one run, so that few, long runs are multiplied."""
    offsets = tap_offsets(x, geometry)
    outputs, inputs, rows, columns = weight_oihw.shape
    if offsets.size == 0:  # a phase of a transposed convolution that meets no tap
        return Taps(x.region, offsets.reshape(-1), np.zeros((outputs, 0, 0), np.int8))
    padded = np.zeros((outputs, rows, columns, x.pixel_step), np.int8)
    padded[..., :inputs] = weight_oihw.transpose(0, 2, 3, 1)
    gaps = np.diff(offsets.reshape(-1)) != x.pixel_step
    if not gaps.any():
        return Taps(x.region, offsets.reshape(-1)[:1], padded.reshape(outputs, 1, -1))
    if columns == 1 or geometry.dilation[1] == 1:
        return Taps(x.region, offsets[:, 0], padded.reshape(outputs, rows, -1))
    return Taps(x.region, offsets.reshape(-1), padded.reshape(outputs, rows * columns, -1))


def tap_offsets(x: Tensor, geometry: ConvolutionGeometry) -> Offsets:
    """From an output pixel's first input to the pixels below each place of the kernel."""
    down = np.arange(geometry.kernel_size[0]) * geometry.dilation[0] * x.row_step
    across = np.arange(geometry.kernel_size[1]) * geometry.dilation[1] * x.pixel_step
    return np.asarray(down[:, None] + across, np.int64)
