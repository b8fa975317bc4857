"""Pixels to the chip's range and back, for arrays and tensors, against plain loops and the vendor's expressions."""

import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ai8xsim import InputError, data
from ai8xsim import nn as ai8x

RATIOS = st.integers(1, 4)
DTYPES = st.sampled_from([np.uint8, np.int8, np.int64, np.float32])


@st.composite
def images(draw: st.DrawFn, lead: int = 0, channels: st.SearchStrategy[int] | None = None) -> tuple[Any, int]:
    """An image whose sizes are multiples of a ratio, every value another one where the type has room, and the ratio."""
    ratio = draw(RATIOS)
    shape = (*(draw(st.integers(1, 3)) for _ in range(lead)), draw(st.integers(1, 4) if channels is None else channels),
             ratio * draw(st.integers(1, 4)), ratio * draw(st.integers(1, 4)))  # fmt: skip
    values = np.arange(np.prod(shape)).reshape(shape)
    return (values * 7 % 251 - 100).astype(draw(DTYPES)), ratio


def exact_chip_value(pixel: Fraction) -> int:
    """By the definition, in rational numbers: (x - 1/2) * 256, ties to even (Python's `round`), saturated."""
    return max(-128, min(127, round((pixel - Fraction(1, 2)) * 256)))


def test_every_byte_has_the_exact_value() -> None:
    pixels = np.arange(256)
    wanted = [exact_chip_value(Fraction(k, 255)) for k in range(256)]
    assert wanted == [k - 128 if k <= 127 else min(k - 127, 127) for k in range(256)]
    for kind in (np.uint8, np.int16, np.int64, np.uint16):
        seen = data.normalize(pixels.astype(kind))
        assert seen.dtype == np.int8
        assert seen.tolist() == wanted
    tensor = data.normalize(torch.arange(256, dtype=torch.uint8))
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == wanted
    assert 0 not in wanted


def test_division_by_256_is_another_mapping_and_has_a_zero() -> None:
    pixels = np.arange(256)
    assert data.normalize(pixels / 256).tolist() == (pixels - 128).tolist()
    assert (data.normalize(pixels / 256) == data.from_unsigned(pixels)).all()
    assert (data.normalize(pixels) != data.from_unsigned(pixels)).sum() == 127


@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=4), elements=st.floats(0, 1, width=32)), st.booleans()
)
def test_floats_as_the_vendors_expression(pixels: Any, eight_bit: bool) -> None:
    tensor = torch.from_numpy(pixels)
    vendor = tensor.sub(0.5).mul(256.0).round().clamp(min=-128, max=127)
    vendor = vendor if eight_bit else vendor.div(128.0)
    assert torch.equal(data.normalize(tensor, eight_bit), vendor)
    assert torch.equal(ai8x.normalize(SimpleNamespace(act_mode_8bit=eight_bit))(tensor), vendor)
    ours = data.normalize(pixels, eight_bit)
    assert ours.dtype == (np.int8 if eight_bit else np.float32)
    assert (ours == vendor.numpy()).all()


@given(st.integers(0, 510))
def test_a_tie_goes_to_the_even_integer(halves: int) -> None:
    pixel = Fraction(halves, 512)
    assert data.normalize(np.array([float(pixel)]))[0] == exact_chip_value(pixel)
    assert data.normalize(torch.tensor([float(pixel)])).item() == exact_chip_value(pixel)


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3)))
def test_training_is_the_8_bit_mode_over_128(pixels: Any) -> None:
    training = data.normalize(pixels, act_mode_8bit=False)
    assert training.dtype == np.float32
    assert (training * 128 == data.normalize(pixels)).all()
    assert (training >= -1).all()
    assert (training < 1).all()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.array([0, 256]), "0 to 256"),
        (np.array([-128, 127], np.int8), "already"),
        (np.array([0.0, 1.01]), "[0, 1]"),
        (np.array([-0.5, 0.5], np.float32), "already"),
        (np.array([0.5, np.nan]), "NaN"),
        (np.array(["a"]), "integers or floats"),
        (torch.tensor([0, 300]), "0 to 300"),
        (torch.tensor([0.0, 255.0]), "divide"),
        (np.array([True]), "bool"),
    ],
)
def test_what_is_no_pixel_is_refused(pixels: Any, words: str) -> None:
    with pytest.raises(InputError, match="images") as caught:
        data.normalize(pixels)
    (found,) = caught.value.diagnostics
    assert found.code == "pixel-range"
    assert words in found.sentence()


@given(images(lead=1))
def test_fold_follows_the_formula_and_unfold_undoes_it(drawn: tuple[Any, int]) -> None:
    batch, ratio = drawn
    count = batch.shape[1]
    folded = data.fold(batch, ratio)
    assert folded.dtype == batch.dtype
    for i in range(ratio):
        for j in range(ratio):
            for c in range(count):
                assert (folded[:, (i * ratio + j) * count + c] == batch[:, c, i::ratio, j::ratio]).all()
    assert (data.unfold(folded, ratio) == batch).all()
    assert (data.fold(data.unfold(folded, ratio), ratio) == folded).all()


@given(images(lead=1))
def test_tensors_fold_as_arrays_do(drawn: tuple[Any, int]) -> None:
    batch, ratio = drawn
    folded = data.fold(torch.from_numpy(batch), ratio)
    assert (folded.numpy() == data.fold(batch, ratio)).all()
    assert folded.dtype == torch.from_numpy(batch).dtype
    assert torch.equal(ai8x.fold(ratio)(torch.from_numpy(batch[0])), folded[0])
    assert torch.equal(ai8x.unfold_batch(folded, ratio), torch.from_numpy(batch))


@given(images(lead=2))
def test_folding_with_channels_last_is_the_same_fold(drawn: tuple[Any, int]) -> None:
    batch, ratio = drawn
    last = np.moveaxis(batch, -3, -1)
    folded = data.fold_image(last, ratio)
    assert (np.moveaxis(folded, -1, -3) == data.fold(batch, ratio)).all()
    assert (data.unfold_image(folded, ratio) == last).all()


@pytest.mark.parametrize("fold", [data.fold, lambda image, ratio: ai8x.fold(ratio)(image)])
def test_a_size_that_does_not_divide_is_refused_with_one_that_does(fold: Any) -> None:
    with pytest.raises(InputError, match=r"90 x 91 pixels cannot be folded by 4; .* 88 x 88") as caught:
        fold(np.zeros((3, 90, 91)), 4)
    assert [d.code for d in caught.value.diagnostics] == ["fold-shape"]
    with pytest.raises(InputError, match="47 channels cannot be unfolded by 4"):
        data.unfold(np.zeros((47, 2, 2)), 4)
    with pytest.raises(InputError, match="fold"):
        fold(np.zeros((90, 92)), 2)


@given(images(lead=1, channels=st.just(3)))
def test_a_bayer_sensor_sees_one_colour_a_pixel(drawn: tuple[Any, int]) -> None:
    batch, _ = drawn
    seen = data.bayer_filter(batch)
    before = batch.copy()
    assert seen.dtype == batch.dtype
    for row in range(batch.shape[-2]):
        for column in range(batch.shape[-1]):
            channel = {(0, 0): 1, (0, 1): 2, (1, 0): 0, (1, 1): 1}[row % 2, column % 2]
            assert (seen[:, 0, row, column] == batch[:, channel, row, column]).all()
    assert torch.equal(data.bayer_filter(torch.from_numpy(batch)), torch.from_numpy(seen))
    assert torch.equal(ai8x.bayer_filter()(torch.from_numpy(batch[0])), torch.from_numpy(seen[0]))
    seen[...] = 0
    assert (batch == before).all()


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=3)))
def test_words_of_a_camera_come_back(words: Any) -> None:
    pixels = data.from_rgb565(words)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*words.shape[:-2], 3, *words.shape[-2:])
    assert (data.to_rgb565(pixels) == words).all()


@given(hnp.arrays(np.uint8, st.just((3, 2, 2))))
def test_a_camera_loses_the_lower_bits_only(pixels: Any) -> None:
    lost = pixels - data.from_rgb565(data.to_rgb565(pixels))
    assert np.all(lost.max(axis=(1, 2)) <= [7, 3, 7])


@given(hnp.arrays(np.uint8, hnp.array_shapes()))
def test_unsigned_and_signed_are_inverse(pixels: Any) -> None:
    values = data.from_unsigned(pixels)
    assert values.dtype == np.int8
    assert (values.astype(int) == pixels.astype(int) - 128).all()
    assert (data.to_unsigned(values) == pixels).all()
    assert data.to_unsigned(values).dtype == np.uint8


@pytest.mark.parametrize("wrong", [[256], [-1], [0.5]])
def test_mappings_of_bytes_take_bytes(wrong: list[float]) -> None:
    with pytest.raises(InputError, match="pixels are integers"):
        data.from_unsigned(wrong)
    with pytest.raises(InputError, match="pixels are integers"):
        data.to_rgb565(np.array(wrong).reshape(1, 1, 1))
    with pytest.raises(InputError, match="words of a camera"):
        data.from_rgb565(np.array(wrong) * 257.5)
    with pytest.raises(InputError, match="colour images") as caught:
        data.bayer_filter(np.zeros((1, 2, 2)))
    assert [d.code for d in caught.value.diagnostics] == ["image-shape"]
    with pytest.raises(InputError, match=r"int8|integer"):
        data.to_unsigned(np.array(wrong) * 1.5)


@pytest.mark.parametrize("shape", [(1, 2), (3, 4, 5)])
def test_a_sample_is_int64_in_c_order(shape: tuple[int, ...]) -> None:
    pixels = np.asfortranarray(np.arange(np.prod(shape)).reshape(shape).astype(np.uint8))
    for item in (data.normalize(pixels), data.normalize(torch.from_numpy(pixels))):
        sample = data.to_sample(item)
        assert sample.dtype == np.int64
        assert sample.flags.c_contiguous
        assert (sample == data.normalize(pixels)).all()
    with pytest.raises(InputError, match="not an integer") as caught:
        data.to_sample(data.normalize(pixels, act_mode_8bit=False))
    assert [d.code for d in caught.value.diagnostics] == ["sample-fraction"]
    with pytest.raises(InputError, match="outside int8"):
        data.to_sample(pixels.astype(int) + 200)
    with pytest.raises(InputError, match=r"image\[0\]"):
        data.to_sample(np.zeros((1, 3, 4, 5), np.int8))


def test_importing_data_loads_no_torch() -> None:
    probe = "import sys, ai8xsim.data; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False"]
