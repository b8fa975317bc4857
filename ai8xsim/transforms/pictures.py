"""Pictures in files, as they are seen: one reader for `--image` and for the loaders."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError

Pixels = npt.NDArray[np.uint8]
Read = TypeVar("Read")

GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
STEPS_OF_16_BITS = 257  # 65535 / 255
CUT_TO_8 = re.compile(
    r"\b(?:RGB|RGBA|LA);16[BLN]"
)  # what Pillow calls files of which it takes the upper bytes
ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it is seen: rows, columns, red, green, blue; and what was done to read it so."""

    pixels: Pixels
    notes: tuple[str, ...]


def read_picture(path: Path) -> Picture:
    """A picture from a file of any format that Pillow knows.

    It is turned as its EXIF data say; what is transparent lies on black; 16-bit grey is scaled to 8 bits, of 16-bit
    colours the upper 8 bits are taken; of a film the first picture is taken.
    Raises InputError for what is no picture or has no known range, OSError.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        picture = _read(path, _seen)
    return replace(picture, notes=(*picture.notes, *(f"Pillow says: {entry.message}" for entry in said)))


def read_alpha(path: Path) -> Pixels:
    """How opaque a picture is, (rows, columns): 0 to 255, which it is everywhere in a file without such a channel.

    It is turned as its EXIF data say. Raises InputError for what is no picture, OSError.
    """
    return _read(
        path, lambda image, _: np.asarray(ImageOps.exif_transpose(image).convert("RGBA").getchannel("A"))
    )


def _read(path: Path, see: Callable[[Image.Image, Path], Read]) -> Read:
    path.open("rb").close()
    try:
        with Image.open(path) as image:
            return see(image, path)
    except InputError:
        raise
    except Exception as fault:  # what damaged files make Pillow's decoders raise is open-ended
        why = (f"{type(fault).__name__}: {fault}".partition("\n")[0],)
        mend = "bring it anew, or give a picture such as PNG, JPEG or BMP"
        message = "this is no picture that can be read, or a damaged one"
        raise InputError([error("not-an-image", message, Span(str(path)), "", why, mend)]) from None


def _seen(image: Image.Image, path: Path) -> Picture:
    is_cut = CUT_TO_8.search(str(getattr(image, "tile", ()))) is not None  # Pillow forgets it when it loads
    image.load()
    notes = [*_read_notes(image), *(["the upper 8 of 16 bits taken"] if is_cut else [])]
    turned = ImageOps.exif_transpose(image)
    if turned.mode in GREY_16:
        grey = np.asarray(turned).astype(np.int64)
        turned = Image.fromarray(((grey + STEPS_OF_16_BITS // 2) // STEPS_OF_16_BITS).astype(np.uint8))
        notes.append("16 bits scaled to 8")
    if turned.mode in {"I", "F"}:
        message = f"a picture of mode {turned.mode} has values of no known range"
        mend = "save it with 8 bits a channel"
        raise InputError([error("image-mode", message, Span(str(path)), help=mend)])
    if turned.has_transparency_data:
        layered = turned.convert("RGBA")
        if np.asarray(layered)[..., 3].min() < 255:
            notes.append("what is transparent lies on black")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        turned = Image.alpha_composite(black, layered)
    return Picture(np.asarray(turned.convert("RGB")), tuple(notes))


def _read_notes(image: Image.Image) -> Iterator[str]:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        yield f"the first of {frames} pictures"
    if image.getexif().get(ORIENTATION, 1) not in {0, 1}:
        yield "turned as its EXIF data say"
