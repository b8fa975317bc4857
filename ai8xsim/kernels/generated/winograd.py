"""Convolutions with 3x3 kernels by tiles of 4x4 outputs, with a quarter of the multiplications, and exact.

Winograd's F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015), in integers: for a
tile of 6x6 inputs d and a kernel g,

    y = A (G g G' * B d B') A'

where * multiplies 36 values one by one, for each pair of input and output channel, instead of 144. B, G and A come
from the points 0, 1, -1, 2, -2 and infinity. G usually holds fractions; here it is scaled to integers, A makes up for
it, and rows of A leave out common factors, so that each output comes out times a divisor that its row and its column
know.

Sums are kept modulo 2**32. They may overflow on the way, but a sum is a multiple of its divisor, and that is an odd
number times a power of two: the odd part is divided off by multiplying with its inverse modulo 2**32, the power of
two by a shift. So that one shift serves all outputs, each is multiplied with the powers of two that it lacks, too. What
remains are the low 26 bits of the output, all of it if |y| < 2**25.

What an output starts from need not be added to each of them: 36 times that, added to one of the 36 products, becomes
the start times the divisor in every output.

A pixel's values have up to 8 bits without a sign. What is multiplied then fits 16 bits: B makes values from -12750 to
17340 of them, G kernels of up to 49 * 128.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai8xsim.kernels.generated.held import MOST

OUTPUTS, INPUTS, KERNEL = 4, 6, 3  # along each side of a tile, and of a kernel
PRODUCTS = INPUTS * INPUTS
OF_KERNEL = np.array([[6, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 6]])  # G
SHIFTS = (3, 2, 1, 1)  # 24, 12, 6 and 6 times each output: an odd part of 3, and powers of two
LARGEST_SHIFT = 2 * max(SHIFTS)
INVERSE_OF_ODD_PART = pow(3 * 3, -1, 2**32)
STARTING_PLANE, TIMES_START = 7, 36  # of the point 1 both ways, whose column of A, times -6, is 3 << SHIFTS
LIMIT = 2**25


class Number(Protocol):
    """What transforms are computed with: integers, arrays, vectors of generated code."""

    def __add__(self, other: Any) -> Any: ...
    def __sub__(self, other: Any) -> Any: ...
    def __lshift__(self, bits: int) -> Any: ...


N = TypeVar("N", bound=Number)


def transform_inputs(d: Sequence[N]) -> list[N]:
    """B times a column of six."""
    outer, inner = d[4] - (d[2] << 2), d[3] - (d[1] << 2)
    even, odd = d[4] - d[2], d[3] - d[1]
    return [
        ((d[0] - d[2]) << 2) + even,
        outer + inner,
        outer - inner,
        even + (odd << 1),
        even - (odd << 1),
        d[5] - d[3] - (odd << 2),
    ]


def transform_products(m: Sequence[N]) -> list[N]:
    """A times a column of six."""
    near, near_odd, far, far_odd = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] - (near << 2) + far,
        far_odd - (near_odd << 1),
        far - near,
        (far_odd << 1) - near_odd + m[5],
    ]


def transform_kernels(weight_oihw: NDArray[np.int8]) -> NDArray[np.int16]:
    """G g G' of every 3x3 kernel: (36, out, in)."""
    products = np.einsum("ar,oirc,bc->aboi", OF_KERNEL, weight_oihw.astype(np.int64), OF_KERNEL)
    return np.asarray(products.reshape(PRODUCTS, *weight_oihw.shape[:2]), np.int16)


def factor_of_output(shift: int) -> int:
    """What makes an output, times its divisor with so many factors of two, an output times 2**LARGEST_SHIFT."""
    return (INVERSE_OF_ODD_PART << (LARGEST_SHIFT - shift)) % 2**32


def plane_starts(starts: NDArray[np.int32]) -> NDArray[np.int32]:
    """What is added to the products of the starting plane, modulo 2**32."""
    return (TIMES_START * starts.astype(np.int64)).astype(np.int32)


def is_exact(weight_oihw: NDArray[np.int8], starts: NDArray[np.int32]) -> bool:
    """Whether no output can reach the limit, with what it starts from, whatever memory holds of the inputs."""
    products = weight_oihw.astype(np.int64) * MOST
    least, most = (pick(products, 0).sum(axis=(1, 2, 3)) + starts for pick in (np.minimum, np.maximum))
    return bool((least > -LIMIT).all() and (most < LIMIT).all())
