"""Pixel arithmetic for NumPy arrays and torch tensors: range, fold, Bayer filter, words of cameras, unsigned bytes."""

import sys
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError

Image = TypeVar("Image")  # a NumPy array or a torch tensor: what comes in goes out
SIGN_BIT = 0x80


def is_tensor(image: object) -> bool:
    """Whether this is a torch tensor.

    >>> is_tensor(np.zeros(3))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def to_chip_range(image: Image) -> Image:
    """Floats in [0, 1] as integers in -128..127, still of floating type: shift, scale by 256, round, saturate.

    A tie goes to the even integer. Nothing is refused: what lies outside [0, 1] is saturated, NaN stays NaN.

    >>> to_chip_range(np.array([0.0, 0.5, 0.5 + 0.5 / 256, 0.5 + 1.5 / 256, 1.0, 7.0])).tolist()
    [-128.0, 0.0, 0.0, 2.0, 127.0, 127.0]
    """
    pixels: Any = image
    scaled: Image = ((pixels - 0.5) * 256.0).round().clip(-128, 127)
    return scaled


def fold(image: Image, ratio: int) -> Image:
    """(..., C, H, W) -> (..., C * ratio**2, H / ratio, W / ratio): channel (i * ratio + j) * C + c is c at [i::, j::].

    Raises InputError where height and width are no multiples of the ratio.
    """
    values: Any = image
    *lead, channels, rows, columns = _checked_shape(values, ratio)
    split = values.reshape(*lead, channels, rows // ratio, ratio, columns // ratio, ratio)
    folded: Image = _permuted(split, 5, (2, 4, 0, 1, 3)).reshape(
        *lead, channels * ratio**2, rows // ratio, columns // ratio
    )
    return folded


def unfold(image: Image, ratio: int) -> Image:
    """The inverse of `fold`: (..., C * ratio**2, H, W) -> (..., C, H * ratio, W * ratio).

    Raises InputError where the channels are no multiple of ratio**2.
    """
    values: Any = image
    *lead, channels, rows, columns = _checked_rank(values, ratio)
    if channels % ratio**2:
        message = f"{channels} channels cannot be unfolded by {ratio}: they are no multiple of {ratio**2}"
        raise InputError(
            [error("fold-shape", message, help="unfold by the ratio that the image was folded by")]
        )
    split = values.reshape(*lead, ratio, ratio, channels // ratio**2, rows, columns)
    unfolded: Image = _permuted(split, 5, (2, 3, 0, 4, 1)).reshape(
        *lead, channels // ratio**2, rows * ratio, columns * ratio
    )
    return unfolded


def channels_first(image: Image) -> Image:
    """(..., H, W, C) -> (..., C, H, W)."""
    return _permuted(image, 3, (2, 0, 1))


def channels_last(image: Image) -> Image:
    """(..., C, H, W) -> (..., H, W, C)."""
    return _permuted(image, 3, (1, 2, 0))


def bayer_filter(image: Image) -> Image:
    """A colour image (..., 3, H, W) as a Bayer sensor sees it, (..., 1, H, W).

    Even rows hold green and blue, odd rows red and green. Raises InputError where there are not three channels.
    """
    values: Any = image
    if values.ndim < 3 or values.shape[-3] != 3:
        message = f"a Bayer filter takes colour images (..., 3, H, W), not {tuple(values.shape)}"
        raise InputError([error("image-shape", message, help="give red, green and blue, channels first")])
    green = values[..., 1:2, :, :]
    seen = green.clone() if is_tensor(values) else green.copy()
    seen[..., 0, 0::2, 1::2] = values[..., 2, 0::2, 1::2]
    seen[..., 0, 1::2, 0::2] = values[..., 0, 1::2, 0::2]
    result: Image = seen
    return result


def from_rgb565(words: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """Camera words (..., H, W), red in the upper five bits, as pixels 0..255 (..., 3, H, W).

    The bits that a word does not have are 0, as firmware that masks and shifts leaves them: white is 248, 252, 248.

    >>> from_rgb565(np.array([[0xFFFF, 0xF800, 0x0841]], np.uint16))[:, 0].tolist()
    [[248, 248, 8], [252, 0, 8], [248, 0, 8]]
    """
    w = np.asarray(words).astype(np.int64)
    return np.stack([w >> 8 & 0xF8, w >> 3 & 0xFC, w << 3 & 0xF8], axis=-3).astype(np.uint8)


def to_rgb565(pixels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint16]:
    """Pixels 0..255 (..., 3, H, W) as camera words (..., H, W); what does not fit into 5, 6, 5 bits is cut off.

    >>> [hex(word) for word in to_rgb565(np.array([255, 255, 255]).reshape(3, 1, 1)).ravel()]
    ['0xffff']
    """
    p = np.asarray(pixels).astype(np.int64)
    red, green, blue = (p[..., channel, :, :] for channel in range(3))
    return ((red & 0xF8) << 8 | (green & 0xFC) << 3 | blue >> 3).astype(np.uint16)


def from_unsigned(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Pixels 0..255 as int8 by turning the upper bit over, which subtracts 128: what firmware does.

    >>> from_unsigned(np.array([0, 127, 128, 255], np.uint8)).tolist()
    [-128, -1, 0, 127]
    """
    return (np.asarray(pixels).astype(np.uint8) ^ SIGN_BIT).view(np.int8)


def to_unsigned(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """The inverse of `from_unsigned`.

    >>> to_unsigned(np.array([-128, 0, 127], np.int8)).tolist()
    [0, 128, 255]
    """
    return np.asarray(values).astype(np.int8).view(np.uint8) ^ np.uint8(SIGN_BIT)


def _permuted(image: Image, count: int, order: tuple[int, ...]) -> Image:
    """The image with its last `count` axes in another order."""
    values: Any = image
    lead = values.ndim - count
    axes = (*range(lead), *(lead + axis for axis in order))
    moved: Image = values.permute(axes) if is_tensor(values) else values.transpose(axes)
    return moved


def _checked_rank(image: Any, ratio: int) -> tuple[int, ...]:
    if ratio < 1 or image.ndim < 3:
        message = f"an image of the shape {tuple(image.shape)} cannot be folded by {ratio}"
        raise InputError([error("fold-shape", message, help="fold (C, H, W) or a batch of it by 1 or more")])
    return tuple(image.shape)


def _checked_shape(image: Any, ratio: int) -> tuple[int, ...]:
    shape = _checked_rank(image, ratio)
    rows, columns = shape[-2:]
    if rows % ratio or columns % ratio:
        message = f"an image of {rows} x {columns} pixels cannot be folded by {ratio}"
        fitting = f"{rows // ratio * ratio} x {columns // ratio * ratio}"
        mend = f"crop or resize it to multiples of {ratio}, such as {fitting}"
        raise InputError([error("fold-shape", message, help=mend)])
    return shape
