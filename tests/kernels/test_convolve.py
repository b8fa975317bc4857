"""Convolutions: fast equals slow equals PyTorch in float64, and the corners of the arithmetic."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from ai8xsim.kernels import conv
from ai8xsim.kernels.geometry import ConvolutionGeometry
from tests.kernels.cases import (
    Array,
    ConvolutionCase,
    convolutions,
    convolve_agrees,
    convolve_transposed_agrees,
    thorough,
    transposed_convolutions,
    values,
)


@thorough
@given(convolutions())
def test_convolution_equals_the_reference(case: ConvolutionCase) -> None:
    assert convolve_agrees(case)


@thorough
@given(transposed_convolutions())
def test_transposed_convolution_equals_the_reference(case: ConvolutionCase) -> None:
    assert convolve_transposed_agrees(case)


@thorough
@given(case=convolutions())
def test_convolution_equals_torch(torch: Any, case: ConvolutionCase) -> None:
    x, weight, bias = torch_operands(torch, case)
    (_, padding, stride, dilation, groups, _) = case.geometry
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    assert np.array_equal(accumulators(case), expected.numpy().transpose(0, 2, 3, 1))


@thorough
@given(case=transposed_convolutions())
def test_transposed_convolution_equals_torch(torch: Any, case: ConvolutionCase) -> None:
    x, weight, bias = torch_operands(torch, case)
    (_, padding, stride, dilation, groups, output_padding) = case.geometry
    expected = torch.nn.functional.conv_transpose2d(
        x, weight, bias, stride, padding, output_padding, groups, dilation
    )
    packed = conv.pack_transposed(case.weight, case.geometry)
    acc = conv.convolve_transposed(case.x, packed, case.bias, case.geometry)
    assert np.array_equal(acc, expected.numpy().transpose(0, 2, 3, 1))


def torch_operands(torch: Any, case: ConvolutionCase) -> tuple[Any, Any, Any]:
    """Operands in float64, which holds every sum of these cases exactly: all are below 2**53."""
    x = torch.from_numpy(case.x.transpose(0, 3, 1, 2).astype(np.float64))
    bias = None if case.bias is None else torch.from_numpy(case.bias * 128.0)
    return x, torch.from_numpy(case.weight.astype(np.float64)), bias


def accumulators(case: ConvolutionCase) -> Array:
    return conv.convolve(case.x, conv.pack(case.weight, case.geometry), case.bias, case.geometry)


@pytest.mark.parametrize(("x", "weight", "bias"), [(-128, -128, 127), (-128, 127, -128), (127, 127, 127)])
def test_the_largest_sums_are_exact(x: int, weight: int, bias: int) -> None:
    """2048 inputs of 3x3 taps: the largest layer there is."""
    geometry = ConvolutionGeometry((3, 3))
    case = ConvolutionCase(
        np.full((1, 3, 3, 2048), x, np.int8), np.full((5, 2048, 3, 3), weight), np.full(5, bias), geometry
    )
    assert accumulators(case).tolist() == [[[[2048 * 9 * x * weight + 128 * bias] * 5]]]


def test_wide_data_is_exact_where_int32_is_not() -> None:
    case = ConvolutionCase(
        np.full((1, 1, 1, 1024), -(2**31)), np.full((1, 1024, 1, 1), -128), None, ConvolutionGeometry((1, 1))
    )
    assert accumulators(case).item() == 2**48


@pytest.mark.parametrize(
    ("shape", "outputs", "kernel_size"),
    [
        ((2, 20, 40, 1), 5, (3, 3)),  # several tiles of rows of pixels
        ((1, 4, 700, 2), 3, (1, 3)),  # a row longer than a tile
        ((2, 9, 9, 20), 6, (3, 3)),  # several tiles of patches
        ((35, 1, 1, 64), 10, (1, 1)),  # a linear layer over a batch
        ((3, 90, 1, 3), 4, (5, 1)),
    ],
)
def test_tiles_meet_without_gap_or_overlap(
    torch: Any, shape: tuple[int, ...], outputs: int, kernel_size: tuple[int, int]
) -> None:
    geometry = ConvolutionGeometry(kernel_size, (kernel_size[0] // 2, kernel_size[1] // 2))
    case = ConvolutionCase(values(1, shape), values(2, (outputs, shape[3], *kernel_size)), None, geometry)
    x, weight, _ = torch_operands(torch, case)
    expected = torch.nn.functional.conv2d(x, weight, padding=geometry.padding)
    assert np.array_equal(accumulators(case), expected.numpy().transpose(0, 2, 3, 1))


def test_zero_weights_give_the_bias() -> None:
    case = ConvolutionCase(
        values(3, (1, 5, 5, 7)),
        np.zeros((3, 7, 3, 3), int),
        np.array([-128, 1, 127]),
        ConvolutionGeometry((3, 3)),
    )
    assert np.array_equal(accumulators(case), np.broadcast_to([-16384, 128, 16256], (1, 3, 3, 3)))


def test_a_view_that_cannot_be_written_serves_as_data() -> None:
    geometry = ConvolutionGeometry((1, 1))
    x = values(4, (2, 3, 5, 6)).transpose(0, 2, 3, 1)
    x.flags.writeable = False
    packed = conv.pack(values(5, (4, 3, 1, 1)), geometry)
    expected = conv.convolve(x.copy(), packed, None, geometry)
    assert np.array_equal(conv.convolve(x, packed, None, geometry), expected)


def test_threads_share_packed_weights() -> None:
    geometry = ConvolutionGeometry((3, 3), (1, 1))
    packed = conv.pack(values(6, (32, 32, 3, 3)), geometry)
    samples = [values(seed, (1, 16, 16, 32)) for seed in range(8)]
    expected = [conv.convolve(x, packed, None, geometry) for x in samples]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda x: conv.convolve(x, packed, None, geometry), samples))
    assert all(np.array_equal(*both) for both in zip(found, expected, strict=True))


GEOMETRY = ConvolutionGeometry((3, 3))
WEIGHT = np.zeros((4, 2, 3, 3), np.int8)
X = np.zeros((1, 5, 5, 2), np.int8)


@pytest.mark.parametrize(
    ("weight", "geometry"),
    [
        (WEIGHT.astype(np.int16) + 128, GEOMETRY),
        (WEIGHT.astype(np.int16) - 129, GEOMETRY),
        (WEIGHT.astype(float), GEOMETRY),
        (WEIGHT[0], GEOMETRY),
        (WEIGHT, ConvolutionGeometry((1, 3))),
        (WEIGHT, ConvolutionGeometry((3, 3), groups=3)),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(weight: Array, geometry: ConvolutionGeometry) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        conv.pack(weight, geometry)
    with pytest.raises(ValueError, match="do not fit"):
        conv.pack_transposed(weight, geometry)


@pytest.mark.parametrize(
    ("x", "bias", "geometry"),
    [
        (X[..., :1], None, GEOMETRY),
        (X.astype(np.int32), None, GEOMETRY),
        (X, [0, 0, 0], GEOMETRY),
        (X[:, :2], None, GEOMETRY),
        (X, None, ConvolutionGeometry((3, 1))),
        (X, None, ConvolutionGeometry((3, 3), groups=2)),
    ],
)
def test_data_that_does_not_fit_is_refused(x: Array, bias: Any, geometry: ConvolutionGeometry) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        conv.convolve(x, conv.pack(WEIGHT, GEOMETRY), bias, geometry)


def test_reference_and_geometry_load_without_numba() -> None:
    program = (
        "import ai8xsim.kernels.reference, ai8xsim.kernels.geometry, sys; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
