"""Which convolutions are computed by tiles of 4x4 outputs, and where the tiles lie."""

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.build import Builder
from ai8xsim.engine.costs import Costs, Use, split_effort, whole_effort, worthy_parts
from ai8xsim.engine.spared import parts_along
from ai8xsim.engine.tensor import Offsets, Tensor
from ai8xsim.kernels.generated import packing
from ai8xsim.kernels.generated.targets import TILE_VECTORS, TILES_TOGETHER, Target
from ai8xsim.kernels.generated.winograd import INPUTS, KERNEL, OUTPUTS, PRODUCTS, is_exact
from ai8xsim.kernels.geometry import ConvolutionGeometry

Int8 = npt.NDArray[np.int8]
Starts = npt.NDArray[np.int32]

TAPS = KERNEL * KERNEL
# Weights of 16 bits for 36 planes outgrow caches: what a byte takes that is read from memory, in products.
CACHED_WEIGHT_BYTES, READ_BYTE = 4 << 20, 4
WORTH_TILES = 0.9  # of the time of multiplying everything, unless the last few channels are split


def worth_tiles(
    builder: Builder,
    geometry: ConvolutionGeometry,
    weight_oihw: Int8,
    starts: Starts,
    tensors: tuple[Tensor, Tensor],
) -> bool:
    """Whether tiles can compute a convolution, exactly, and faster than it is without them.

    starts: of the outputs' sums.   tensors: input and output.
    """
    target, costs, (x, output) = builder.target, builder.costs, tensors
    if not can_be_tiled(target, geometry, weight_oihw, starts, output):
        return False
    outputs, inputs = weight_oihw.shape[:2]
    met = _met(0, geometry, x.rows, output.rows) * _met(1, geometry, x.columns, output.columns)
    direct = met / TAPS * _direct_effort(builder, (outputs, x.pixel_step), output)
    return _effort(target, costs, (outputs, inputs), len(tile_corners(output))) < direct


def can_be_tiled(
    target: Target, geometry: ConvolutionGeometry, weight_oihw: Int8, starts: Starts, output: Tensor
) -> bool:
    """Whether tiles can compute a convolution, exactly."""
    is_plain = geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
    has_kernel = geometry.kernel_size == (KERNEL, KERNEL)
    is_large = min(output.rows, output.columns) >= OUTPUTS
    return is_plain and has_kernel and is_large and is_exact(weight_oihw, starts[: len(weight_oihw)])


def _met(axis: int, geometry: ConvolutionGeometry, inputs: int, outputs: int) -> int:
    """How many taps all outputs along an axis meet, without those that are spared."""
    return sum(len(part.outputs) * len(part.kernel) for part in parts_along(axis, geometry, inputs, outputs))


def _direct_effort(builder: Builder, shape_oi: tuple[int, int], output: Tensor) -> float:
    """What a pixel that meets all taps takes without tiles, less what tiles must spare, in products."""
    target, costs, use = builder.target, builder.costs, Use(output.rows * output.columns, are_sums=False)
    shape = (shape_oi[0], TAPS, shape_oi[1])
    parts = worthy_parts(target, costs, shape, use)
    whole = WORTH_TILES * whole_effort(target, costs, shape, use)
    return min(whole, split_effort(target, shape, parts)) if parts else whole


def _effort(target: Target, costs: Costs, channels: tuple[int, int], tiles: int) -> int:
    """What tiles take, in products of bytes, of which an instruction makes `lanes * products`.

    channels: outputs, inputs.
    """
    outputs, inputs = channels
    vectors = packing.vectors_of(target, outputs)
    rest = target.tile_blocks[min(vectors, TILE_VECTORS) - 1].rest
    multiplied = -(-tiles // rest) * rest * PRODUCTS * packing.tile_products_of(target, outputs, inputs)
    input_vectors = -(-inputs // (packing.PAIR * target.lanes))
    transforms = tiles * (costs.take_apart * input_vectors + costs.put_together * vectors)
    weight_bytes = packing.tile_weight_bytes(target, outputs, inputs)
    uncached = max(0, weight_bytes - CACHED_WEIGHT_BYTES)
    reading = -(-tiles // TILES_TOGETHER) * uncached * READ_BYTE + weight_bytes * costs.weight_byte
    return multiplied + transforms * target.lanes * target.products + reading


def tile_corners(output: Tensor) -> npt.NDArray[np.int64]:
    """The first row and column of every tile; the last tiles of rows and columns may overlap those before."""
    rows, columns = (
        np.minimum(np.arange(0, size, OUTPUTS), size - OUTPUTS) for size in (output.rows, output.columns)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def tile_inputs(x: Tensor) -> Offsets:
    """Offsets of a tile's inputs from the first one, row by row."""
    return _square(x, INPUTS)


def tile_outputs(output: Tensor) -> Offsets:
    """Offsets of a tile's outputs from the first one, row by row."""
    return _square(output, OUTPUTS)


def _square(tensor: Tensor, side: int) -> Offsets:
    places = np.arange(side)
    return np.asarray((places[:, None] * tensor.row_step + places * tensor.pixel_step).reshape(-1), np.int64)
