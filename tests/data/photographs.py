"""Real image files for tests: crops of the two photographs that scikit-learn ships, written as JPEG and PNG."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images


@cache
def photographs() -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(photo) for photo in load_sample_images().images)


def crop(number: int, width: int, height: int) -> Image.Image:
    """A place of a photograph that no other number has, half of them from each photograph."""
    photo = photographs()[number % 2]
    left, top = 37 * number % (photo.width - width), 23 * number % (photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def write_portraits(folder: Path, count: int, width: int = 60, height: int = 80) -> Path:
    """As the AISegment archive has them: photographs as JPEG, mattes as PNG with the background transparent."""
    for number in range(count):
        name = f"group{number % 2}/clip_{number % 3}/p{number:03}"
        photo, matte = (folder / part for part in (f"clip_img/{name}.jpg", f"matting/{name}.png"))
        matte = Path(str(matte).replace("clip_", "matting_"))
        for path in (photo, matte):
            path.parent.mkdir(parents=True, exist_ok=True)
        image = crop(number, width, height)
        image.save(photo, quality=95)
        alpha = Image.new("L", image.size)
        left = number % (width // 4)
        ImageDraw.Draw(alpha).ellipse((left, height // 5, left + width // 2, height - 1), 255)
        image.putalpha(alpha)
        image.save(matte)
    return folder


def write_classes(folder: Path, names: tuple[str, ...], count: int) -> Path:
    """A folder for each class, of images of several sizes and formats."""
    for number in range(count * len(names)):
        kind, suffix = names[number % len(names)], ("jpg", "png")[number // 2 % 2]
        path = folder / kind / f"{number:03}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop(number, 70 + number % 5, 66 + number % 7).save(path)
    return folder


OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin></bndbox></object>"


def write_voc(folder: Path, objects: dict[str, list[tuple[str, ...]]]) -> Path:
    """A VOC folder whose images show the objects that are listed for `train` and `val`."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    number = 0
    for kind, listed in objects.items():
        names = []
        for shown in listed:
            names.append(f"{number:06}")
            crop(number, 50, 40).save(folder / "JPEGImages" / f"{names[-1]}.jpg")
            text = f"<annotation>{''.join(OBJECT.format(name) for name in shown)}</annotation>"
            (folder / "Annotations" / f"{names[-1]}.xml").write_text(text)
            number += 1
        (folder / "ImageSets" / "Main" / f"{kind}.txt").write_text("\n".join(names) + "\n")
    return folder


def signal(number: int, length: int = 16384) -> np.ndarray:
    """A tone that swells, in [-1, 1]."""
    t = np.arange(length) / 16000
    return np.sin(2 * np.pi * (200 + 37 * number % 900) * t) * np.hanning(length) * 0.9
