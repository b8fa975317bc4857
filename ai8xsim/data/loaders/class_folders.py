"""Images in folders of classes: `cats/1.jpg`, `dogs/7.png`.

Folders `train` and `test` are taken as they are, each with a folder for each class; where there are none, the images
are split by a hash of their names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ai8xsim.data.loaders.items import (
    StoredItems,
    flipped_sometimes,
    image_files,
    loader_of,
    read_image,
    square,
)
from ai8xsim.data.loaders.store import Pair, Source, in_test_set, open_store
from ai8xsim.progress import Progress, no_progress

VERSION = 2


@dataclass(frozen=True)
class ClassFolders:
    """How images become items. classes: the folders' names, in the order of `output`. size: of the square in pixels."""

    classes: tuple[str, ...]
    size: int = 64
    fold_ratio: int = 1
    storage: str = "memory"
    test_share: float = 0.2
    flips: bool = True

    def __call__(self, source: Source) -> Pair:
        """The middle square as bytes (size, size, 3), and the number of the class."""
        image = square(read_image(source.files[0]), self.size)
        return np.asarray(image).copy(), np.array(source.label, np.int64)

    def sources(self, data_dir: Path, kind: str) -> list[Source]:
        """The images of a set, class by class."""
        split = (data_dir / "train").is_dir()
        root = data_dir / kind if split else data_dir
        found = []
        for number, name in enumerate(self.classes):
            for path in image_files(root / name):
                source = Source(path.relative_to(root).as_posix(), (str(path),), 0, number)
                if split or in_test_set(source.name, self.test_share) == (kind == "test"):
                    found.append(source)
        return found

    def open(
        self, data_dir: Path, kind: str, act_mode_8bit: bool, progress: Progress = no_progress
    ) -> StoredItems:
        """The `train` or the `test` set."""
        folder = data_dir / "prepared" / f"classes_v{VERSION}_{self.size}_{self.storage}_{kind}"
        store = open_store(self.storage, folder, self.sources(data_dir, kind), self, progress)
        augment = flipped_sometimes if self.flips and kind == "train" else None
        return StoredItems(store, range(len(store)), act_mode_8bit, self.fold_ratio, augment=augment)


def class_folder_loader(
    folders: ClassFolders, progress: Progress = no_progress
) -> Callable[..., tuple[Any, Any]]:
    """A loader for the list `datasets`; the train set is mirrored half of the times."""
    return loader_of(folders.open, progress)
