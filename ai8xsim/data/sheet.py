"""Pictures of a data set, to be looked at: a contact sheet and a histogram of its channels.

Pillow draws the sheet, matplotlib (extra `plots`) the histogram; both are imported late.
"""

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ai8xsim.data.dataset import Dataset
from ai8xsim.data.findings.labels import labels_of_objects
from ai8xsim.data.findings.subject import Subject
from ai8xsim.data.findings.values import channel_use
from ai8xsim.data.reading import Array, Item, spread
from ai8xsim.transforms import pixels

SHOWN = 40
COLUMNS = 8
SIDE = 112
CAPTION = 14
BACKGROUND, INK = (255, 255, 255), (0, 0, 0)
SEPARATE = 8  # channels of which each gets a line of its own in the histogram


def write_sheet(subject: Subject, stream: BinaryIO) -> None:
    """Write a PNG with up to 40 samples of 8-bit mode, each with its number and its label.

    Folded images are unfolded; more than three channels are averaged; a label map is drawn over its lower right
    quarter; 1D data is drawn as channels over time.
    """
    from PIL import Image, ImageDraw

    shown = _shown(subject)
    rows = max(1, -(-len(shown) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * (SIDE + CAPTION)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for n, (name, item) in enumerate(shown):
        left, top = n % COLUMNS * SIDE, n // COLUMNS * (SIDE + CAPTION)
        sheet.paste(_thumbnail(picture_of(subject.dataset, item)), (left + 1, top + 1))
        if isinstance(item.label, np.ndarray) and item.label.ndim == 2 and item.label.size:
            sheet.paste(
                _label_map(item.label, len(subject.dataset.output)), (left + SIDE // 2, top + SIDE // 2)
            )
        draw.text((left + 2, top + SIDE), f"{name} {item.index}: {_label(subject.dataset, item)}"[:18], INK)
    sheet.save(stream, "PNG")


def picture_of(dataset: Dataset, item: Item) -> npt.NDArray[np.uint8]:
    """An item as a picture (H, W, 3) of bytes, -128 black and 127 white."""
    values = np.zeros((1, 1, 1)) if item.values is None else np.nan_to_num(item.values.astype(np.float64))
    if not values.size:
        values = np.zeros((1, 1, 1))
    while values.ndim < 3:
        values = values[None]
    if values.ndim > 3:
        values = values.reshape(-1, *values.shape[-2:])
    values = pixels.unfold(values, _ratio(dataset, values.shape[0]))
    if values.shape[0] != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return np.clip(values + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def write_histogram(subject: Subject, stream: BinaryIO) -> None:
    """Write `histogram` as a PNG."""
    histogram(subject).savefig(stream, format="png", dpi=110)


def histogram(subject: Subject) -> Any:
    """A figure of how often each value comes in 8-bit mode: a line a channel, or the spread of many.

    Raises ImportError where matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    counts = _counts(subject)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(-128, 128)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    if len(shares) <= SEPARATE:
        for channel, share in enumerate(shares):
            axes.step(steps, share, where="mid", label=f"channel {channel}")
    else:
        axes.fill_between(
            steps, shares.min(axis=0), shares.max(axis=0), alpha=0.3, label=f"{len(shares)} channels"
        )
        axes.step(steps, shares.mean(axis=0), where="mid", label="their mean")
    use = channel_use(subject)
    span = f"{min(low for low, _ in use)} to {max(high for _, high in use)}" if use else "no integers in int8"
    axes.set(
        title=f"{subject.dataset.name}: {span}", xlabel="value in 8-bit mode", ylabel="share of the pixels"
    )
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.legend()
    return figure


def _shown(subject: Subject) -> list[tuple[str, Item]]:
    """As many items of each set, spread over it."""
    return [(r.name, r.items[n]) for r in subject.chip for n in spread(len(r.items), SHOWN // 2)]


def _thumbnail(picture: npt.NDArray[np.uint8]) -> Any:
    from PIL import Image

    image = Image.fromarray(picture)
    scale = min((SIDE - 2) / image.width, (SIDE - 2) / image.height)
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _label_map(label: Array, classes: int) -> Any:
    from PIL import Image

    levels = np.clip(label.astype(np.float64) / max(1, classes - 1) * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(levels)
    scale = (SIDE // 2 - 2) / max(image.size)
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST).convert("RGB")


def _label(dataset: Dataset, item: Item) -> str:
    label = item.label
    if not isinstance(label, np.ndarray):
        objects = labels_of_objects(label)
        return str(label) if objects is None else f"{len(objects)} objects"
    if label.ndim:
        return "x".join(map(str, label.shape))
    is_class = (
        label.dtype.kind in "iu" and 0 <= int(label) < len(dataset.output) and not dataset.is_regression
    )
    return str(dataset.output[int(label)]) if is_class else f"{label.item():g}"


def _ratio(dataset: Dataset, channels: int) -> int:
    """By how much to unfold: as stated, else what leads to three colours or one."""
    stated = dataset.fold_ratio
    if stated > 1 and channels % stated**2 == 0:
        return stated
    likely = [r for r in range(2, 17) if channels in {r * r, 3 * r * r} and channels > 4]
    return likely[0] if likely and len(dataset.input) == 3 else 1


def _counts(subject: Subject) -> npt.NDArray[np.int64]:
    """How often each value comes in each channel."""
    items: Iterable[Item] = (item for _, item in subject.fitting_chip())
    counts = np.zeros((subject.dataset.input[0], 256), np.int64)
    offsets = 256 * np.arange(subject.dataset.input[0])[:, None]
    for item in items:
        assert item.values is not None
        flat = item.values.reshape(item.shape[0], -1).astype(np.int64) + 128 + offsets
        counts += np.bincount(flat.ravel(), minlength=counts.size).reshape(counts.shape)
    return counts
