"""Samples that a program takes, and the sentences that refuse others."""

import numpy as np
import pytest

from ai8xsim import InputError
from ai8xsim.program import Shape
from ai8xsim.samples import checked_samples

IMAGE = Shape(3, 4, 5)
SIGNAL = Shape(3, 7, 1, is_1d=True)


def planted(value: float, dtype: type = np.float64) -> np.ndarray:
    samples = np.zeros((2, 3, 4, 5), dtype)
    samples[1, 2, 3, 4] = value
    return samples


@pytest.mark.parametrize(
    ("shape", "program", "is_batch"),
    [
        ((3, 4, 5), IMAGE, False),
        ((1, 3, 4, 5), IMAGE, True),
        ((2, 3, 4, 5), IMAGE, True),
        ((3, 7), SIGNAL, False),
        ((3, 7, 1), SIGNAL, False),
        ((2, 3, 7), SIGNAL, True),
        ((2, 3, 7, 1), SIGNAL, True),
    ],
)
def test_a_batch_is_told_from_a_sample(shape: tuple[int, ...], program: Shape, is_batch: bool) -> None:
    checked = checked_samples(np.ones(shape), program)
    assert checked.is_batch == is_batch
    assert checked.nhwc.shape[1:] == (program.rows, program.columns, program.channels)
    assert checked.nhwc.dtype == np.int8


def test_values_keep_their_places_and_the_input_its_own() -> None:
    samples = np.arange(-60, 60).reshape(2, 3, 4, 5)
    before = samples.copy()
    assert np.array_equal(checked_samples(samples, IMAGE).nhwc.transpose(0, 3, 1, 2), samples)
    assert np.array_equal(samples, before)


@pytest.mark.parametrize(
    ("samples", "code", "sentence"),
    [
        (
            planted(200),
            "sample-range",
            "samples[1, 2, 3, 4] is 200.0, outside int8 [-128, 127]; "
            "1 of 120 values are; normalize the data to -128..127 first",
        ),
        (
            planted(-129, np.int64),
            "sample-range",
            "samples[1, 2, 3, 4] is -129, outside int8 [-128, 127]; "
            "1 of 120 values are; normalize the data to -128..127 first",
        ),
        (
            planted(np.nan),
            "sample-range",
            "samples[1, 2, 3, 4] is nan, outside int8 [-128, 127]; "
            "1 of 120 values are; normalize the data to -128..127 first",
        ),
        (
            planted(0.5),
            "sample-fraction",
            "samples[1, 2, 3, 4] is 0.5, not an integer; "
            "data in [0, 1] is not normalized: data = ((data - 0.5) * 256).round().clip(-128, 127), "
            "which `ai8x.normalize(args=args)` does at the end of a loader's transforms",
        ),
        (
            planted(-0.5),
            "sample-fraction",
            "samples[1, 2, 3, 4] is -0.5, not an integer; "
            "scale data in [-1, 1) by 128: data = (data * 128).round().clip(-128, 127)",
        ),
        (
            planted(99.5),
            "sample-fraction",
            "samples[1, 2, 3, 4] is 99.5, not an integer; round it to integers: data = data.round().clip(-128, 127)",
        ),
        (
            np.zeros((3, 4, 5), complex),
            "sample-type",
            "samples are of type complex128, not integers; convert them to int8",
        ),
        (
            np.zeros((3, 4, 5), bool),
            "sample-type",
            "samples are of type bool, not integers; convert them to int8",
        ),
        (
            np.zeros((4, 5, 3)),
            "sample-shape",
            "samples have the shape (4, 5, 3), the program takes (3, 4, 5) or a batch (N, 3, 4, 5); "
            "the channels come last; use samples.transpose(2, 0, 1)",
        ),
        (
            np.zeros((2, 4, 5, 3)),
            "sample-shape",
            "samples have the shape (2, 4, 5, 3), the program takes (3, 4, 5) or a batch (N, 3, 4, 5); "
            "the channels come last; use samples.transpose(0, 3, 1, 2)",
        ),
        (
            np.zeros((0, 3, 4, 5)),
            "sample-shape",
            "samples have the shape (0, 3, 4, 5), the program takes (3, 4, 5) or a batch (N, 3, 4, 5); "
            "the batch is empty",
        ),
        (
            np.zeros(60),
            "sample-shape",
            "samples have the shape (60,), the program takes (3, 4, 5) or a batch (N, 3, 4, 5); "
            "reshape or resize them, or, in Python, give resolve their shape as input_shape",
        ),
        (
            np.zeros((1, 4, 5)),
            "sample-shape",
            "samples have the shape (1, 4, 5), the program takes (3, 4, 5) or a batch (N, 3, 4, 5); "
            "take data with 3 channels, or a network and a checkpoint for 1",
        ),
    ],
)
def test_other_samples_are_refused_in_one_sentence(samples: np.ndarray, code: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        checked_samples(samples, IMAGE)
    assert [d.code for d in caught.value.diagnostics] == [code]
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-128.0, 127.0)])
def test_the_advice_for_fractions_works_to_the_letter(low: float, high: float) -> None:
    """The code in it is run as it stands, and what comes of it is taken."""
    data = np.random.default_rng(3).uniform(low, high, (3, 4, 5))
    data[0, 0, :2] = low, high
    with pytest.raises(InputError) as caught:
        checked_samples(data, IMAGE)
    code = caught.value.diagnostics[0].help.partition(": ")[2].partition(", which")[0]
    names = {"data": data}
    exec(code, names)
    mended = checked_samples(names["data"], IMAGE).nchw
    assert (mended.min(), mended.max()) == (-128, 127)


@pytest.mark.parametrize(("shape", "index"), [((4, 5), "samples[None]"), ((2, 4, 5), "samples[:, None]")])
def test_the_advice_for_grey_images_works_to_the_letter(shape: tuple[int, ...], index: str) -> None:
    samples, program = np.zeros(shape, np.int8), Shape(1, 4, 5)
    with pytest.raises(InputError, match="channel axis") as fault:
        checked_samples(samples, program)
    assert index in str(fault.value)
    mended = samples[None] if index == "samples[None]" else samples[:, None]
    assert checked_samples(mended, program).is_batch == (len(shape) == 3)
