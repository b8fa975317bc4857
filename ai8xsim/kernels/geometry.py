"""Sizes, steps and borders of an operation, as (rows, columns); one-dimensional data has one column."""

from typing import NamedTuple

Pair = tuple[int, int]


class ConvolutionGeometry(NamedTuple):
    """How a convolution moves over its data, in PyTorch's words.

    `output_padding` counts for transposed convolutions only.

    >>> ConvolutionGeometry((3, 3), padding=(1, 1)).output_size((28, 28))
    (28, 28)
    """

    kernel_size: Pair
    padding: Pair = (0, 0)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1
    output_padding: Pair = (0, 0)

    def span(self, axis: int) -> int:
        """Rows (axis 0) or columns (axis 1) from the first to the last tap, both counted."""
        return (self.kernel_size[axis] - 1) * self.dilation[axis] + 1

    def output_size(self, size: Pair) -> Pair:
        """Rows and columns of the convolution of `size`; below 1 where the kernel does not fit."""
        return self._outputs(size[0], 0), self._outputs(size[1], 1)

    def transposed_output_size(self, size: Pair) -> Pair:
        """Rows and columns of the transposed convolution of `size`.

        >>> ConvolutionGeometry((3, 3), (1, 1), (2, 2), output_padding=(1, 1)).transposed_output_size((8, 8))
        (16, 16)
        """
        return self._transposed_outputs(size[0], 0), self._transposed_outputs(size[1], 1)

    def swapped(self) -> "ConvolutionGeometry":
        """The same with rows and columns in each other's place."""
        pairs = (self.kernel_size, self.padding, self.stride, self.dilation)
        kernel_size, padding, stride, dilation = ((columns, rows) for rows, columns in pairs)
        output_padding = (self.output_padding[1], self.output_padding[0])
        return ConvolutionGeometry(kernel_size, padding, stride, dilation, self.groups, output_padding)

    def _outputs(self, size: int, axis: int) -> int:
        return (size + 2 * self.padding[axis] - self.span(axis)) // self.stride[axis] + 1

    def _transposed_outputs(self, size: int, axis: int) -> int:
        grown = (size - 1) * self.stride[axis] + self.span(axis)
        return grown - 2 * self.padding[axis] + self.output_padding[axis]


class PoolGeometry(NamedTuple):
    """How a pooling window moves over its data.

    >>> PoolGeometry((2, 2), stride=(2, 2)).output_size((9, 8))
    (4, 4)
    """

    kernel_size: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)

    def output_size(self, size: Pair) -> Pair:
        """Windows per axis as the chip counts them; the count ignores how far dilation spreads a window."""
        return self._windows(size[0], 0), self._windows(size[1], 1)

    def fits(self, size: Pair) -> bool:
        """Whether there is a window at all and none reads outside of data of `size`."""
        return self._axis_fits(size[0], 0) and self._axis_fits(size[1], 1)

    def _windows(self, size: int, axis: int) -> int:
        stride = self.stride[axis]
        return (size + stride - self.kernel_size[axis] - self.dilation[axis] + 1) // stride

    def _axis_fits(self, size: int, axis: int) -> bool:
        windows = self._windows(size, axis)
        reach = (windows - 1) * self.stride[axis] + (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        return windows > 0 and reach <= size
