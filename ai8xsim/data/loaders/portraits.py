"""Portraits with an alpha channel, for a network that tells a person from the background.

Follows the vendor's application note "Data Loader Design for MAX78000 Model Training": three square crops of every
portrait, made smaller, a label for every pixel, folded by 4 for large ones, both forms of storage. Where it differs:

- The split goes by SHA-256 of the name. The note's `hash` is another one in each process.
- Class 1 is the portrait. The note's code has `alpha == 0`, which makes class 1 the background, against its own list of
  classes.
- The alpha channel is made smaller by itself and cut at its half: a rim that is half transparent is not all portrait.
- Items are no pickles: reading them runs no code, and a damaged one is noticed.
- With `truncate_testset` there is one item, in both forms.

Folder of data: `clip_img/.../clip_x/y.jpg` with `matting/.../matting_x/y.png`, as the AISegment archive has them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ai8xsim.data.loaders.items import StoredItems, image_files, loader_of, read_image, read_matte, square
from ai8xsim.data.loaders.store import Pair, Source, in_test_set, open_store
from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError
from ai8xsim.progress import Progress, no_progress

IMAGES, MATTES = "clip_img", "matting"
CROPS = 3
HALF_ALPHA = 128
VERSION = 2  # of how items are made: count it up when that changes


@dataclass(frozen=True)
class Portraits:
    """How portraits become items. size: of the square in pixels. storage: "memory" or "files". crops: of each portrait.

    test_share: of the originals. It is also the function that makes an item.
    """

    size: int = 80
    fold_ratio: int = 1
    storage: str = "memory"
    crops: int = CROPS
    test_share: float = 0.1

    def __call__(self, source: Source) -> Pair:
        """The crop as bytes (size, size, 3), and its map (size, size) of 0, background, and 1, portrait."""
        photo, matte = read_image(source.files[0]), read_matte(source.files[1])
        if photo.size != matte.size:
            message = (
                f"the portrait is {photo.width} x {photo.height}, its matte {matte.width} x {matte.height}"
            )
            raise InputError(
                [error("matte-mismatch", message, Span(source.files[1]), help="bring the matte that fits")]
            )
        image = square(photo, self.size, source.part, self.crops)
        alpha = square(matte, self.size, source.part, self.crops)
        return np.asarray(image).copy(), (np.asarray(alpha) >= HALF_ALPHA).astype(np.uint8)

    def sources(self, data_dir: Path) -> list[Source]:
        """All crops of all portraits, sorted by name. Raises InputError for portraits without a matte."""
        folder, sources, lost = data_dir / IMAGES, [], []
        for path in image_files(folder):
            name = path.relative_to(folder).with_suffix("").as_posix()
            matte = (data_dir / MATTES / name.replace("clip_", "matting_")).with_suffix(".png")
            if not matte.is_file():
                lost.append(matte)
            files = (str(path), str(matte))
            sources += [Source(f"{name}#{part}", files, part) for part in range(self.crops)]
        if lost:
            message = f"{len(lost)} of {len(sources) // self.crops} portraits have no matte"
            why = (f"the first one would be {lost[0]}",)
            raise InputError(
                [error("no-matte", message, Span(str(folder)), "", why, "bring it, or take the portrait out")]
            )
        return sources

    def folder(self, data_dir: Path, kind: str) -> Path:
        """Where the prepared items of a set lie: another folder for everything that makes other items."""
        return data_dir / "prepared" / f"portraits_v{VERSION}_{self.size}_{self.crops}_{self.storage}_{kind}"

    def open(
        self, data_dir: Path, kind: str, act_mode_8bit: bool, progress: Progress = no_progress
    ) -> StoredItems:
        """The `train` or the `test` set; its items are made where they are not there yet."""
        sources = [
            s for s in self.sources(data_dir) if in_test_set(s.name, self.test_share) == (kind == "test")
        ]
        store = open_store(self.storage, self.folder(data_dir, kind), sources, self, progress)
        return StoredItems(store, range(len(store)), act_mode_8bit, self.fold_ratio, is_map=True)


def portrait_loader(portraits: Portraits, progress: Progress = no_progress) -> Callable[..., tuple[Any, Any]]:
    """A loader for the list `datasets`.

    `'input'` is (3 * fold_ratio**2, size / fold_ratio, size / fold_ratio).
    """
    return loader_of(portraits.open, progress)
