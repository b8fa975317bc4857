"""Ready checks of what users write: a normalize, a fold, a module. Each draws its inputs and raises AssertionError.

    def test_my_normalize():
        testing.check_normalize(lambda pixels: my_normalize(pixels / 255))

The failure that is reported is the smallest that Hypothesis finds.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings

from ai8xsim.testing.layers import outputs_of, reference_output
from ai8xsim.testing.values import images, int8_arrays

Array = npt.NDArray[Any]
Change = Callable[[Any], Any]
EXAMPLES = 100


def check_normalize(normalize: Change, act_mode_8bit: bool = True) -> None:
    """That a function of pixels (uint8) reaches its range and never falls where pixels rise.

    act_mode_8bit: to integers from -128 to 127, else to multiples of 1/128 from -1 to 127/128.

    >>> from ai8xsim.data import normalize
    >>> check_normalize(normalize)
    >>> check_normalize(lambda pixels: pixels / 255)
    Traceback (most recent call last):
    AssertionError: pixel 0 becomes 0.0, not -128.0: the range is not used
    """
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    unit = 1 if act_mode_8bit else 128
    values = _array(normalize(pixels)).astype(np.float64).ravel() * unit
    for pixel, end in ((0, -128), (255, 127)):
        message = f"pixel {pixel} becomes {values[pixel] / unit}, not {end / unit}: the range is not used"
        assert values[pixel] == end, message
    falls = np.flatnonzero(np.diff(values) < 0)
    assert not len(falls), f"pixel {falls[0] + 1} becomes less than pixel {falls[0]}"
    steps = np.diff(values)
    assert steps.max() <= 2, (
        f"pixels {steps.argmax()} and {steps.argmax() + 1} lie {steps.max():g} steps apart"
    )
    assert np.array_equal(values, np.rint(values)), "values lie between the chip's integers"

    @_many
    @given(images(channels=2))
    def alone(image: Array) -> None:
        expected = values[image.astype(np.int64)]
        given_back = _array(normalize(image)).astype(np.float64) * unit
        assert np.array_equal(given_back, expected), "a pixel's value depends on the pixels beside it"

    alone()


def check_fold(fold: Change, unfold: Change | None = None, ratio: int = 2, channels: int = 3) -> None:
    """That a function folds images (C, H, W) as the chip's networks expect, and another one undoes it.

    Channel (i * ratio + j) * C + c must hold image[c, i::ratio, j::ratio].

    >>> from ai8xsim.data import fold, unfold
    >>> check_fold(lambda image: fold(image, 2), lambda folded: unfold(folded, 2))
    """

    @_many
    @given(images(channels=channels, multiple_of=ratio))
    def folds(image: Array) -> None:
        folded = _array(fold(image))
        rows, columns = image.shape[1] // ratio, image.shape[2] // ratio
        shape = (channels * ratio**2, rows, columns)
        assert folded.shape == shape, f"the shape is {folded.shape}, not {shape}"
        for i, j, c in np.ndindex(ratio, ratio, channels):
            channel = (i * ratio + j) * channels + c
            message = f"channel {channel} does not hold image[{c}, {i}::{ratio}, {j}::{ratio}]"
            assert np.array_equal(folded[channel], image[c, i::ratio, j::ratio]), message
        if unfold is not None:
            assert np.array_equal(_array(unfold(fold(image))), image), (
                "unfolding does not give the image back"
            )

    folds()


def check_module(
    module: Any, shape: tuple[int, ...], reference: Callable[[Array], Array] | None = None
) -> None:
    """That a PyTorch module computes, for integers, exactly what the chip computes.

    module: for evaluation (`setting(simulate=True)`), with quantized weights. shape: of one item, (C, H, W), (C, L) or
    (C,). reference: gives the expected output of an item; for modules of `ai8xsim.nn` the slow reference by default.
    """
    expected = reference or (lambda data: reference_output(module, data))

    @settings(max_examples=25, deadline=None, database=None, report_multiple_bugs=False)
    @given(int8_arrays(shape))
    def agrees(data: Array) -> None:
        ours, theirs = outputs_of(module, data), np.asarray(expected(data))
        assert ours.shape == theirs.shape, f"the output is {ours.shape}, not {theirs.shape}"
        places = np.argwhere(ours != theirs)
        if len(places):
            first = tuple(int(i) for i in places[0])
            raise AssertionError(
                f"output {first} is {ours[first]}, not {theirs[first]}; {len(places)} differ"
            )

    agrees()


def _many(test: Any) -> Any:
    return settings(max_examples=EXAMPLES, deadline=None, database=None, report_multiple_bugs=False)(test)


def _array(values: Any) -> Array:
    """An array of what a user's function returns, tensors too."""
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
