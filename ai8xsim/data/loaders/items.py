"""A data set over a store: items as training and evaluation want them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.data.images import fold, normalize
from ai8xsim.data.loaders.store import Store
from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError
from ai8xsim.progress import Progress

PIXEL_STEPS = 256
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
Augment = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
OpenSet = Callable[[Path, str, bool, Progress], "StoredItems"]


@dataclass(frozen=True)
class StoredItems:
    """Some items of a store, normalized and folded: (float tensor (C, H, W), label).

    Pixels are divided by 256, so that 8-bit mode is k - 128 and equals firmware that computes `pixel ^ 0x80`.
    is_map: labels are maps of classes, else single ones.
    """

    store: Store
    indices: Sequence[int]
    act_mode_8bit: bool
    fold_ratio: int = 1
    is_map: bool = False
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch

        image, label = self.store[self.indices[index]]
        if self.augment is not None:
            image = self.augment(image)
        scaled = image.transpose(2, 0, 1).astype(np.float32) / PIXEL_STEPS
        chw = np.ascontiguousarray(fold(normalize(scaled, self.act_mode_8bit), self.fold_ratio))
        target = torch.from_numpy(label.astype(np.int64)) if self.is_map else int(label.item())
        return torch.from_numpy(chw.astype(np.float32)), target


def loader_of(open_set: OpenSet, progress: Progress) -> Callable[..., tuple[Any, Any]]:
    """A loader for the list `datasets`, from what opens the `train` or the `test` set of a folder of data."""

    def load(data: tuple[Any, Any], load_train: bool = True, load_test: bool = True) -> tuple[Any, Any]:
        data_dir, args = data
        asked = {"train": load_train, "test": load_test}
        train, test = (
            open_set(Path(data_dir), kind, args.act_mode_8bit, progress) if wanted else None
            for kind, wanted in asked.items()
        )
        return train, truncated(test) if args.truncate_testset else test

    return load


def truncated(items: StoredItems | None) -> StoredItems | None:
    """The set with its first item only."""
    return None if items is None else replace(items, indices=items.indices[:1])


def flipped_sometimes(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, or its mirror image: drawn with torch's generator, so that DataLoader workers differ."""
    import torch

    return image[:, ::-1] if bool(torch.rand(()) < 0.5) else image


def read_image(file: str) -> Any:
    """A picture in colours, as an image of Pillow; see `ai8xsim.transforms.pictures.read_picture`."""
    from PIL import Image

    from ai8xsim.transforms.pictures import read_picture

    return Image.fromarray(read_picture(Path(file)).pixels)


def read_matte(file: str) -> Any:
    """A picture's alpha channel, as an image of Pillow; see `ai8xsim.transforms.pictures.read_alpha`."""
    from PIL import Image

    from ai8xsim.transforms.pictures import read_alpha

    return Image.fromarray(read_alpha(Path(file)))


def square(image: Any, size: int, part: int = 0, parts: int = 1) -> Any:
    """A square of an image, in a size: the middle one, or number `part` of `parts` spread along the longer side.

    Of three, the first lies at one end and the last at the other.
    """
    from PIL import Image

    side = min(image.size)
    free = max(image.size) - side
    offset = free // 2 if parts == 1 else free * part // (parts - 1)
    left, top = (offset, 0) if image.width > image.height else (0, offset)
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, sorted. Raises InputError where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        what = "holds no images" if folder.is_dir() else "does not exist"
        mend = f"put images ({', '.join(sorted(SUFFIXES))}) below it"
        raise InputError([error("no-images", f"the folder {folder} {what}", Span(str(folder)), help=mend)])
    return found
