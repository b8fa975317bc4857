"""The two forms of storage of prepared items, as Table 1 of the vendor's note on data loaders compares them.

First and later starts, memory, disk and the time to read every item once, on portraits that are generated. Each number
comes from a process of its own. Later starts and epochs read files that the system has in its cache: on a disk that is
larger than it, files cost more.
"""

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from ai8xsim.data.loaders.portraits import Portraits, portrait_loader
from ai8xsim.data.loaders.store import FORMS

COUNTS = (20, 80, 320)
PHOTO = (300, 400)  # width, height
MEGABYTE = 1e6
WIDTH = 110  # of a file or a pipe
COLUMNS = (
    "storage",
    "portraits",
    "items",
    "first start s",
    "later start s",
    "memory MB",
    "disk MB",
    "epoch s",
)


@dataclass(frozen=True)
class Storage:
    """One row: seconds, and bytes that the set adds to a process and to the disk."""

    form: str
    portraits: int
    items: int
    first_seconds: float
    later_seconds: float
    memory_bytes: int
    disk_bytes: int
    epoch_seconds: float


@dataclass(frozen=True)
class Visit:
    """What one process measured."""

    items: int
    start_seconds: float
    memory_bytes: int
    epoch_seconds: float


def storage_rows(
    counts: Sequence[int] = COUNTS,
    portraits: Portraits | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Storage]:
    """Both forms for folders of growing size."""
    chosen = portraits or Portraits(352, fold_ratio=4)
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tell(f"generating {count} portraits")
            write_portraits(folder, count)
            for form in FORMS:
                tell(f"measuring {count} portraits, {form}")
                yield _row(folder, form, count, chosen)


def write_portraits(folder: Path, count: int) -> None:
    """Smooth pictures with a transparent rim, as the loader of portraits wants them."""
    from PIL import Image

    for number in range(count):
        paths = [
            folder / part for part in (f"clip_img/clip_0/{number}.jpg", f"matting/matting_0/{number}.png")
        ]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(smooth_picture(number))
        image.save(paths[0])
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(paths[1])


def smooth_picture(seed: int) -> npt.NDArray[np.uint8]:
    """A picture without noise, of the size of a photograph."""
    from PIL import Image

    blocks = np.random.default_rng(seed).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(PHOTO, Image.Resampling.BICUBIC))


def _row(folder: Path, form: str, count: int, portraits: Portraits) -> Storage:
    chosen = Portraits(portraits.size, portraits.fold_ratio, form, portraits.crops, 0.0)
    first = _in_a_process(visit, folder, chosen)
    later = _in_a_process(visit, folder, chosen)
    disk = sum(path.stat().st_size for path in chosen.folder(folder, "train").rglob("*.npz"))
    return Storage(
        form,
        count,
        first.items,
        first.start_seconds,
        later.start_seconds,
        later.memory_bytes,
        disk,
        later.epoch_seconds,
    )


def visit(folder: Path, portraits: Portraits) -> Visit:
    """Start the loader, then read every item once."""
    import torch  # noqa: F401  (items are tensors; its import is no part of the start)

    before = _peak_bytes()
    start = perf_counter()
    args = SimpleNamespace(act_mode_8bit=False, truncate_testset=False)
    train, _ = portrait_loader(portraits)((folder, args), load_test=False)
    started = perf_counter()
    for index in range(len(train)):
        train[index]
    return Visit(len(train), started - start, _peak_bytes() - before, perf_counter() - started)


def _in_a_process(work: Callable[..., Visit], *arguments: Any) -> Visit:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_storage(rows: Sequence[Storage]) -> None:
    """The rows, for people."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in COLUMNS:
        table.add_column(title, justify="left" if title == "storage" else "right")
    for row in rows:
        sizes = (f"{size / MEGABYTE:,.0f}" for size in (row.memory_bytes, row.disk_bytes))
        starts = (f"{seconds:.2f}" for seconds in (row.first_seconds, row.later_seconds))
        table.add_row(
            row.form, str(row.portraits), str(row.items), *starts, *sizes, f"{row.epoch_seconds:.2f}"
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


def storage_json(rows: Sequence[Storage]) -> dict[str, Any]:
    """The rows, for tools."""
    return {"schema_version": 1, "storage": [asdict(row) for row in rows]}
