"""Rows of outputs that leave out taps: what is left out meets padding only."""

from hypothesis import given
from hypothesis import strategies as st

from ai8xsim.engine.convolution import _rows_by_taps
from ai8xsim.kernels.geometry import ConvolutionGeometry

SMALL = st.integers(1, 5)


@given(SMALL, st.integers(0, 6), SMALL, SMALL, st.integers(1, 12))
def test_every_row_meets_all_taps_that_meet_data(
    kernel: int, padding: int, stride: int, dilation: int, rows: int
) -> None:
    geometry = ConvolutionGeometry((kernel, 1), (padding, 0), (stride, 1), (dilation, 1))
    outputs = max(1, geometry.output_size((rows, 1))[0])
    parts = list(_rows_by_taps(kernel, rows, outputs, geometry))
    assert [row for part, _ in parts for row in part] == list(range(outputs))
    for part, taps in parts:
        for row in part:
            met = {tap for tap in range(kernel) if 0 <= row * stride - padding + tap * dilation < rows}
            assert met <= set(taps) <= set(range(kernel))


def test_an_image_of_eight_rows_leaves_out_a_tap_at_the_top_and_at_the_bottom() -> None:
    parts = list(_rows_by_taps(3, 8, 8, ConvolutionGeometry((3, 3), (1, 1))))
    assert parts == [
        (range(1), range(1, 3)),
        (range(1, 7), range(3)),
        (range(7, 8), range(2)),
    ]


def test_a_large_image_is_not_cut() -> None:
    parts = list(_rows_by_taps(3, 88, 88, ConvolutionGeometry((3, 3), (1, 1))))
    assert parts == [(range(88), range(3))]
