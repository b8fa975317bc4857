"""What a loader does to images and signals before the chip sees them, and its inverse.

Three traps, each of which has cost users an evaluation that differs from the device:

- **255 or 256.** The vendor's loaders reach [0, 1] by dividing pixels by 255 (`ToTensor` on bytes) or by 256 (own code
  in front of a float `ToTensor`). Behind `normalize` the first gives k - 128 below the middle and k - 127 above it,
  without a 0; the second gives exactly k - 128. Train and deploy with the same one. `normalize` here divides
  integers by 255; for the other one give it `pixels / 256`.
- **`act_mode_8bit` against `simulate`.** `act_mode_8bit=True` belongs to `simulate=True` (quantized checkpoints,
  integers in, the range of the chip); `act_mode_8bit=False` to training (floats in [-1, 1)). The application note has
  this the wrong way round in one of its sentences, and right in its code.
- **`pixel ^ 0x80`.** Firmware turns the upper bit over, which is k - 128 (`from_unsigned`). A network that was trained
  on pixels divided by 255 sees values on the device that are one step lower for the pixels 128 to 254.
"""

from math import isnan
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.errors import InputError
from ai8xsim.samples import as_array, integer_fault
from ai8xsim.transforms import pixels as transforms

Image = TypeVar("Image")
LARGEST_PIXEL = 255


def normalize(image: Image, act_mode_8bit: bool = True) -> Image:
    """Pixels in the range of the model: integers in -128..127, or for training the same divided by 128.

    image: an array or tensor of integers 0..255, taken as k / 255 as `ToTensor` does, or of floats in [0, 1].
    Returns with `act_mode_8bit` int8 for arrays, which `Simulator.run` takes, and a float tensor of integers for
    tensors, which modules take; without it floats in [-1, 1). Integers become float32 on the way, floats keep their
    precision. A tie goes to the even integer, as `torch.round` has it.
    Raises InputError for values that are no pixels.
    Source: the vendor's `normalize`; `spec/TRAINING.md` 8. No pixel k / 255 becomes 0.

    >>> normalize(np.array([0, 127, 128, 254, 255])).tolist()
    [-128, -1, 1, 127, 127]
    >>> normalize(np.array([0, 127, 128, 254, 255]) / 256).tolist()
    [-128, -1, 0, 126, 127]
    >>> normalize(np.array([0, 255]), act_mode_8bit=False).tolist()
    [-1.0, 0.9921875]
    """
    pixels: Any = image if transforms.is_tensor(image) else np.asarray(image)
    fault = _pixel_fault(pixels)
    if fault is not None:
        raise InputError([fault])
    scaled: Any = transforms.to_chip_range(
        pixels if _is_floating(pixels) else _as_float(pixels) / LARGEST_PIXEL
    )
    if not act_mode_8bit:
        return scaled / 128  # type: ignore[no-any-return]
    return scaled if transforms.is_tensor(pixels) else scaled.astype(np.int8)  # type: ignore[no-any-return]


def fold(image_chw: Image, ratio: int) -> Image:
    """An image (..., C, H, W) with ratio**2 times the channels, (..., C * ratio**2, H / ratio, W / ratio).

    Channel (i * ratio + j) * C + c holds image[c, i::ratio, j::ratio]. Type and device stay. A size of a spatial
    axis must be a multiple of the ratio, else InputError.
    Source: the vendor's `fold`.

    >>> fold(np.arange(16).reshape(1, 4, 4), 2)[:, 0, 0].tolist()
    [0, 1, 4, 5]
    """
    return transforms.fold(image_chw, ratio)


def unfold(image_chw: Image, ratio: int) -> Image:
    """The inverse of `fold`: an image (..., C * ratio**2, H, W) as (..., C, H * ratio, W * ratio).

    >>> unfold(np.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    return transforms.unfold(image_chw, ratio)


def fold_image(image_hwc: Image, ratio: int) -> Image:
    """`fold` for an image with the channels last, (..., H, W, C) -> (..., H / ratio, W / ratio, C * ratio**2).

    >>> fold_image(np.arange(16).reshape(4, 4, 1), 2)[0, 0].tolist()
    [0, 1, 4, 5]
    """
    return transforms.channels_last(transforms.fold(transforms.channels_first(image_hwc), ratio))


def unfold_image(image_hwc: Image, ratio: int) -> Image:
    """The inverse of `fold_image`.

    >>> unfold_image(np.arange(4).reshape(1, 1, 4), 2)[:, :, 0].tolist()
    [[0, 1], [2, 3]]
    """
    return transforms.channels_last(transforms.unfold(transforms.channels_first(image_hwc), ratio))


def bayer_filter(image_chw: Image) -> Image:
    """A colour image (..., 3, H, W) as a Bayer sensor sees it, (..., 1, H, W); type and device stay.

    Even rows hold green and blue, odd rows red and green. Source: the vendor's `bayer_filter`.

    >>> bayer_filter(np.repeat(np.array([[[1]], [[2]], [[3]]]), 4).reshape(3, 2, 2)).tolist()
    [[[2, 3], [1, 2]]]
    """
    return transforms.bayer_filter(image_chw)


def from_unsigned(pixels: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Pixels 0..255 as int8, k - 128: what firmware does with `pixel ^ 0x80`.

    This is `normalize` of pixels divided by 256, and *not* of pixels divided by 255.
    Raises InputError for values that are no bytes.

    >>> from_unsigned([0, 128, 255]).tolist()
    [-128, 0, 127]
    """
    return transforms.from_unsigned(_bytes(pixels))


def to_unsigned(values: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """The inverse of `from_unsigned`. Raises InputError for values outside int8.

    >>> to_unsigned([-128, 0, 127]).tolist()
    [0, 128, 255]
    """
    return transforms.to_unsigned(_integers(np.asarray(values)).astype(np.int8))


def from_rgb565(words: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Words of a camera (..., H, W), RRRRRGGG GGGBBBBB, as pixels 0..255 (..., 3, H, W).

    Bits that a word lacks are 0. A camera that sends the upper byte first needs `words.byteswap()`.
    Raises InputError for values that are no 16-bit words.

    >>> from_rgb565([[0xFFFF]]).ravel().tolist()
    [248, 252, 248]
    """
    array = np.asarray(words)
    if not _all_within(array, 0xFFFF) or array.ndim < 2:
        message = f"words of a camera are integers 0..65535 of the shape (..., H, W), not {_described(array)}"
        raise InputError([error("pixel-range", message, help="read them as numpy.uint16")])
    return transforms.from_rgb565(array)


def to_rgb565(pixels: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Pixels 0..255 (..., 3, H, W) as words of a camera (..., H, W); the lower bits are cut off.

    >>> hex(to_rgb565(from_rgb565([[0xABCD]]))[0, 0])
    '0xabcd'
    """
    array = _bytes(pixels)
    if array.ndim < 3 or array.shape[-3] != 3:
        message = f"RGB565 is for colour images (..., 3, H, W), not {array.shape}"
        raise InputError([error("image-shape", message, help="give red, green and blue, channels first")])
    return transforms.to_rgb565(array)


def to_sample(image: object) -> npt.NDArray[np.int64]:
    """What a sample file holds: int64, (C, H, W) or (C, L), in C order, each value in int8.

    image: one item of a loader in 8-bit mode (a float tensor of integers will do), or the result of `normalize`.
    `numpy.save(path, to_sample(image))` writes what `--sample` and the vendor's loader take.
    Raises InputError, with the cure, for fractions, other ranges, and arrays that are not one sample.

    >>> to_sample(normalize(np.zeros((1, 2, 2), np.uint8))).tolist()
    [[[-128, -128], [-128, -128]]]
    >>> to_sample(np.full((1, 2, 2), 0.25))
    Traceback (most recent call last):
    ai8xsim.errors.InputError: samples[0, 0, 0] is 0.25, not an integer; data in [0, 1] is not normalized: \
data = ((data - 0.5) * 256).round().clip(-128, 127), which `ai8x.normalize(args=args)` does at the end of a loader's \
transforms
    """
    array = as_array(image)
    if array.ndim not in {2, 3}:
        message = f"a sample has the shape (C, H, W) or (C, L), this one {array.shape}"
        mend = "take one out: image[0]" if array.ndim == 4 else "reshape it"
        raise InputError([error("sample-rank", message, help=mend)])
    return np.ascontiguousarray(_integers(array).astype(np.int64))


def _integers(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    fault = integer_fault(array)
    if fault is not None:
        raise InputError([fault])
    return array


def _bytes(pixels: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    array = np.asarray(pixels)
    if not _all_within(array, LARGEST_PIXEL):
        message = f"pixels are integers 0..255, not {_described(array)}"
        raise InputError(
            [error("pixel-range", message, help="floats in [0, 1] times 255, rounded, are pixels")]
        )
    return array.astype(np.uint8)


def _all_within(array: npt.NDArray[Any], largest: int) -> bool:
    if not np.issubdtype(array.dtype, np.integer):
        return False
    return array.size == 0 or bool(0 <= int(array.min()) <= int(array.max()) <= largest)


def _described(array: npt.NDArray[Any]) -> str:
    """What an array holds, for a message."""
    span = f" from {array.min()} to {array.max()}" if array.size and array.dtype.kind in "iuf" else ""
    return f"{array.dtype}{span} of the shape {array.shape}"


def _is_floating(pixels: Any) -> bool:
    return bool(pixels.is_floating_point() if transforms.is_tensor(pixels) else pixels.dtype.kind == "f")


def _as_float(pixels: Any) -> Any:
    return pixels.float() if transforms.is_tensor(pixels) else pixels.astype(np.float32)


def _pixel_fault(pixels: Any) -> Diagnostic | None:
    """Why these are no pixels: the type, a NaN, or a value outside 0..255 or [0, 1]."""
    kind = str(pixels.dtype)
    floating = _is_floating(pixels)
    if not floating and "int" not in kind:
        message = f"images are of type {kind}, not integers or floats"
        return error("pixel-range", message, help="give bytes 0..255, or floats in [0, 1]")
    if 0 in pixels.shape:
        return None
    lowest, highest = pixels.min().item(), pixels.max().item()
    largest = 1 if floating else LARGEST_PIXEL
    if lowest >= 0 and highest <= largest:  # false for NaN
        return None
    wanted = "floats in [0, 1]" if floating else "integers in 0..255"
    message = f"images hold values from {lowest:g} to {highest:g}; `normalize` takes {wanted}"
    return error("pixel-range", message, help=_pixel_mend(lowest, highest, floating))


def _pixel_mend(lowest: float, highest: float, floating: bool) -> str:
    if isnan(lowest) or isnan(highest):
        return "find out where the NaN come from"
    if lowest < 0:
        return "these seem to be normalized already: do it once"
    return "divide them by 255 or 256, as in training" if floating else "shift or scale them to 0..255 first"
