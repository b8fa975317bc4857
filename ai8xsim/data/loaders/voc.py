"""Images with annotations in the manner of PASCAL VOC, filtered: one object each, of the classes that are wanted.

`JPEGImages/x.jpg`, `Annotations/x.xml`, `ImageSets/Main/train.txt` and `val.txt`. Only annotations are read to filter,
no image is opened for it. The label is the number of the class in `output`, which the loss wants, not its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ai8xsim.data.loaders.items import StoredItems, flipped_sometimes, loader_of, read_image, square
from ai8xsim.data.loaders.store import Pair, Source, open_store
from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError
from ai8xsim.progress import Progress, no_progress

VERSION = 2
SETS = MappingProxyType({"train": "train", "test": "val"})


@dataclass(frozen=True)
class VocImages:
    """How annotated images become items. classes: in the order of `output`. called: names of VOC that mean one of them.

    margin: how much is seen around the object, as a share of its size.
    """

    classes: tuple[str, ...]
    called: tuple[tuple[str, str], ...] = ()
    size: int = 32
    storage: str = "memory"
    flips: bool = True
    names: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", {**{name: name for name in self.classes}, **dict(self.called)})

    def __call__(self, source: Source) -> Pair:
        """The middle square of the image as bytes (size, size, 3), and the number of the class."""
        image = square(read_image(source.files[0]), self.size)
        return np.asarray(image).copy(), np.array(source.label, np.int64)

    def sources(self, data_dir: Path, kind: str) -> list[Source]:
        """The images of a set that show one object of a class that is wanted."""
        listed = data_dir / "ImageSets" / "Main" / f"{SETS[kind]}.txt"
        found = []
        for line in listed.read_text().splitlines():
            name = line.split()[0] if line.split() else ""
            if name and (label := self._label(data_dir / "Annotations" / f"{name}.xml")) is not None:
                found.append(Source(name, (str(data_dir / "JPEGImages" / f"{name}.jpg"),), 0, label))
        return found

    def _label(self, annotation: Path) -> int | None:
        objects = annotated_objects(annotation)
        meant = self.names.get(objects[0]) if len(objects) == 1 else None
        return self.classes.index(meant) if meant in self.classes else None

    def open(
        self, data_dir: Path, kind: str, act_mode_8bit: bool, progress: Progress = no_progress
    ) -> StoredItems:
        """The `train` or the `test` set."""
        folder = data_dir / "prepared" / f"voc_v{VERSION}_{self.size}_{self.storage}_{kind}"
        store = open_store(self.storage, folder, self.sources(data_dir, kind), self, progress)
        augment = flipped_sometimes if self.flips and kind == "train" else None
        return StoredItems(store, range(len(store)), act_mode_8bit, augment=augment)


def annotated_objects(annotation: Path) -> list[str]:
    """The names of the objects in an annotation. Raises InputError where it is damaged."""
    try:
        tree = ElementTree.parse(annotation)
    except ElementTree.ParseError as fault:
        message = "the annotation cannot be read"
        found = error(
            "damaged-annotation", message, Span(str(annotation)), "", (str(fault),), "bring it anew"
        )
        raise InputError([found]) from None
    return [(entry.findtext("name") or "").strip() for entry in tree.iter("object")]


def voc_loader(images: VocImages, progress: Progress = no_progress) -> Callable[..., tuple[Any, Any]]:
    """A loader for the list `datasets`; the train set is mirrored half of the times."""
    return loader_of(images.open, progress)
