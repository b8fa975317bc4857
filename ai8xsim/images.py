"""From a picture in a file to the sample that enters the chip, and from samples and outputs to pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ai8xsim.data import (
    bayer_filter,
    fold,
    from_rgb565,
    from_unsigned,
    normalize,
    to_rgb565,
    to_unsigned,
    unfold,
)
from ai8xsim.diagnostics import error
from ai8xsim.errors import InputError
from ai8xsim.program import Shape
from ai8xsim.transforms.pictures import Picture, Pixels

Sample = npt.NDArray[np.int8]
Colour = Literal["rgb", "grey", "rgb565", "bayer"]
Normalize = Literal["loader", "firmware"]
Drawn = Literal["image", "segments"]

COLOURS, NORMALIZE, DRAWN = get_args(Colour), get_args(Normalize), get_args(Drawn)
NORMALIZED = MappingProxyType({
    "loader": "normalized as behind ToTensor (pixel / 255), -128..127",
    "firmware": "128 subtracted as by firmware (in a loader: pixel / 256), -128..127",
})  # fmt: skip
RESIZE = ("stretch", "crop", "fit")
FILTER = Image.Resampling.BILINEAR  # what torchvision's Resize uses for such images


@dataclass(frozen=True)
class Conversion:
    """How a picture becomes a sample; the steps in their order.

    colour: "rgb", "grey" (ITU-R 601 luma), "rgb565" (what a camera's 16-bit words hold of it), or "bayer" (a sensor's
    mosaic). resize: "stretch", "crop" (cover the size, cut the middle out), "fit" (inside the size, black bars), or
    (rows, columns) to stretch to before the middle is cut out. fold: its ratio. normalize: "loader", what `ToTensor`
    (pixel / 255) and the vendor's `normalize` make; "firmware", pixel - 128, which firmware makes with `pixel ^ 0x80`,
    and which the loaders that come with ai8xsim make with pixel / 256 and `normalize`.
    """

    size: tuple[int, int]
    colour: Colour
    resize: str | tuple[int, int] = "stretch"
    fold: int = 1
    normalize: Normalize = "loader"

    @classmethod
    def of(
        cls, shape: Shape, colour: Colour | None = None, ratio: int | None = None, **given: Any
    ) -> "Conversion":
        """The conversion for a network's sample; colour and fold ratio follow from its channels where not given.

        Raises InputError where no picture becomes a sample of that shape.

        >>> Conversion.of(Shape(48, 88, 88))
        Conversion(size=(352, 352), colour='rgb', resize='stretch', fold=4, normalize='loader')
        >>> Conversion.of(Shape(4, 64, 64), "bayer").fold
        2
        """
        found = _fitting(shape, (colour,) if colour else ("rgb", "grey"), ratio)
        if found is not None:
            fitting, by = found
            return cls((shape.rows * by, shape.columns * by), fitting, fold=by, **given)
        asked = " ".join([*([colour] if colour else []), *([f"folded by {ratio}"] if ratio else [])])
        message = f"no picture{' ' + asked if asked else ''} has the shape {shape} of the network's sample"
        why = "a sample has 3 (rgb, rgb565) or 1 (grey, bayer) channels times the square of the fold ratio"
        mend = "give another network, or a .npy"
        if (plain := _fitting(shape, ("rgb", "grey"), None)) is not None:
            folded = f", folded by {plain[1]}," if plain[1] > 1 else ""
            mend = f"leave out --colour and --fold: {plain[0]}{folded} fits"
        raise InputError([error("image-network", message, None, "", (why,), mend)])


@dataclass(frozen=True, eq=False)
class Converted:
    """The sample, (channels, rows, columns), and what was done, step by step."""

    sample: Sample
    steps: tuple[str, ...]


def convert(picture: Picture, conversion: Conversion) -> Converted:
    """The sample that a picture becomes. Raises InputError where a size to cut from is too small.

    >>> grey = Picture(np.full((2, 2, 3), 200, np.uint8), ())
    >>> done = convert(grey, Conversion((1, 1), "grey"))
    >>> done.sample.tolist(), done.steps[-1]
    ([[[73]]], 'normalized as behind ToTensor (pixel / 255), -128..127')
    """
    rows, columns = picture.pixels.shape[:2]
    steps = [f"picture of {rows} x {columns} pixels", *picture.notes, conversion.colour]
    image = Image.fromarray(picture.pixels)
    image = _resized(image.convert("L") if conversion.colour == "grey" else image, conversion)
    steps += _resize_steps(conversion, (rows, columns))
    pixels = np.asarray(image)
    chw: Any = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if conversion.colour == "bayer":
        chw = bayer_filter(chw)
    elif conversion.colour == "rgb565":
        chw = from_rgb565(to_rgb565(chw))
    if conversion.fold > 1:
        chw = fold(chw, conversion.fold)
        steps.append(f"folded by {conversion.fold} to {'x'.join(map(str, chw.shape))}")
    chw = np.ascontiguousarray(chw)
    steps.append(NORMALIZED[conversion.normalize])
    sample: Sample = from_unsigned(chw) if conversion.normalize == "firmware" else normalize(chw)
    return Converted(sample, tuple(steps))


def sample_picture(sample: npt.NDArray[Any], ratio: int) -> Pixels:
    """What the chip sees, as pixels (rows, columns) or (rows, columns, 3): unfolded, and 128 added.

    Raises InputError where the sample has not 1 or 3 channels after that.

    >>> sample_picture(np.array([-128, 0, 1, 127], np.int8).reshape(4, 1, 1), 2).tolist()
    [[0, 128], [129, 255]]
    """
    chw = np.asarray(sample)
    if chw.ndim != 3:
        message = f"a sample of the shape {chw.shape} is no image"
        raise InputError([error("image-network", message, help="draw samples of rows and columns")])
    return _image(unfold(chw, ratio), "a sample", "give the ratio by which it is folded: --fold")


def output_picture(output: npt.NDArray[Any], drawn: Drawn, ratio: int = 1) -> Pixels:
    """An output (channels, rows, columns) as pixels.

    "image": the values plus 128, 1 or 3 channels; a 32-bit output is requantized to 8 bits first.
    "segments": the channel with the largest value, each in a colour of its own, channel 0 black.
    Raises InputError where the channels make no picture.

    >>> output_picture(np.array([[[0, 5]], [[1, 5]]]), "segments").tolist()
    [[[128, 0, 0], [0, 0, 0]]]
    """
    chw = unfold(output, ratio)
    if drawn == "segments":
        segments: Pixels = palette(len(chw))[chw.argmax(axis=0)]
        return segments
    small = np.clip((chw.astype(np.int64) + 64) >> 7, -128, 127) if output.dtype == np.int32 else chw
    return _image(small.astype(np.int8), "an output", "draw it as segments")


def _image(chw: Sample, what: str, mend: str) -> Pixels:
    """Values as pixels; what and mend are said where these are no colours."""
    if len(chw) not in {1, 3}:
        message = f"{what} of {len(chw)} channels is no image; an image has 1 or 3"
        raise InputError([error("image-network", message, help=mend)])
    shifted = to_unsigned(chw)
    pixels: Pixels = shifted[0] if len(chw) == 1 else shifted.transpose(1, 2, 0)
    return pixels


def palette(count: int) -> Pixels:
    """Colours (count, 3) that differ as much as may be: bit by bit of the number to red, green, blue in turn.

    Source: the palette of the PASCAL Visual Object Classes.

    >>> palette(3).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    numbers = np.arange(count)[:, None]
    colours = np.zeros((count, 3), np.int64)
    for bit in range(8):
        colours |= (numbers >> (3 * bit + np.arange(3)) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def png(pixels: Pixels, smallest: int = 1) -> Image.Image:
    """An image for `save`; one smaller than `smallest` pixels is magnified by a whole number."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = max(1, -(-smallest // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def resize_of(text: str) -> str | tuple[int, int]:
    """`stretch`, `crop`, `fit`, or HxW as (rows, columns). Raises ValueError.

    >>> resize_of("256x320")
    (256, 320)
    """
    if text in RESIZE:
        return text
    sizes = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if sizes is None:
        raise ValueError(f"{text!r} is none of {', '.join(RESIZE)}, HxW")
    return int(sizes[1]), int(sizes[2])


def _fitting(shape: Shape, colours: Sequence[Colour], ratio: int | None) -> tuple[Colour, int] | None:
    """The first of the colours that has the channels of a sample, folded by the ratio or by any, and the ratio."""
    if shape.is_1d:
        return None
    for colour in colours:
        by = ratio or isqrt(shape.channels // _channels(colour))
        if by and _channels(colour) * by**2 == shape.channels:
            return colour, by
    return None


def _channels(colour: str) -> int:
    return 3 if colour in {"rgb", "rgb565"} else 1


def _resized(image: Image.Image, conversion: Conversion) -> Image.Image:
    rows, columns = conversion.size
    size = (columns, rows)
    if conversion.resize == "crop":
        return ImageOps.fit(image, size, FILTER)
    if conversion.resize == "fit":
        return ImageOps.pad(image, size, FILTER)
    if conversion.resize == "stretch":
        return image if image.size == size else image.resize(size, FILTER)
    assert isinstance(conversion.resize, tuple)
    high, wide = conversion.resize
    if high < rows or wide < columns:
        message = f"{high} x {wide} pixels are too few to cut {rows} x {columns} from"
        raise InputError(
            [error("image-size", message, help="resize to at least the size that the network takes")]
        )
    top, left = round((high - rows) / 2), round((wide - columns) / 2)
    return image.resize((wide, high), FILTER).crop((left, top, left + columns, top + rows))


def _resize_steps(conversion: Conversion, given: tuple[int, int]) -> list[str]:
    size = "{} x {}".format(*conversion.size)
    if isinstance(conversion.resize, tuple):
        return ["stretched to {} x {}".format(*conversion.resize), f"the middle cut out, {size}"]
    if given == conversion.size:
        return []
    words = {"stretch": "stretched to", "crop": "scaled and cut to", "fit": "scaled, on black, to"}
    return [f"{words[conversion.resize]} {size}"]
