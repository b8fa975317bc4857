"""What a convolution need not multiply: at the border of its data, taps that meet padding only."""

from typing import NamedTuple

from ai8xsim.kernels.geometry import ConvolutionGeometry

WORTH_SPARING = 0.02  # of an axis' products, to cut a convolution into several steps


class Part(NamedTuple):
    """Along one axis: outputs side by side that meet the same part of the kernel, and that part."""

    outputs: range
    kernel: range


def parts_along(
    axis: int, geometry: ConvolutionGeometry, inputs: int, outputs: int, price: float = 0
) -> list[Part]:
    """The outputs along an axis, cut where they begin or cease to meet padding only; in one piece where that spares
    too little.

    axis: 0 along the rows, 1 along the columns.   inputs, outputs: how many of them there are.
    price: how many times an output must be spared a place of the kernel for each cut.
    """
    kernel = geometry.kernel_size[axis]
    met = [_kernel_met(place, axis, geometry, inputs) for place in range(outputs)]
    cuts = [place for place in range(1, outputs) if met[place] != met[place - 1]]
    spared = kernel * outputs - sum(map(len, met))
    if spared < max(WORTH_SPARING * kernel * outputs, price * len(cuts)):
        return [Part(range(outputs), range(kernel))]
    return [
        Part(range(first, end), met[first]) for first, end in zip([0, *cuts], [*cuts, outputs], strict=True)
    ]


def _kernel_met(place: int, axis: int, geometry: ConvolutionGeometry, inputs: int) -> range:
    """The part of the kernel that meets data, for an output."""
    start = place * geometry.stride[axis] - geometry.padding[axis]
    reached = [start + tap * geometry.dilation[axis] for tap in range(geometry.kernel_size[axis])]
    met = [tap for tap, at in enumerate(reached) if 0 <= at < inputs]
    return range(met[0], met[-1] + 1) if met else range(0)
