"""The vendor's own data-set files, over generated data: read unchanged, without a false finding.

What could not run here: KWS from its archives (needs torchaudio, soundfile and gigabytes) - its prepared file is
generated instead, and everything after it runs; SVHN's `digitStruct.mat` (needs h5py) - its table of boxes is
generated, and cropping and all after it run; torchvision's transforms and sets are stand-ins.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ai8xsim import InputError, render
from ai8xsim.data import CheckPlan, check_data, find_dataset
from ai8xsim.nn.loading import model_stand_ins

from .photographs import crop, signal
from .vendor_standins import vendor_stand_ins

TRAINING = os.environ.get("AI8X_TRAINING")
pytestmark = pytest.mark.skipif(
    not TRAINING or not (Path(TRAINING) / "datasets").is_dir(),
    reason="needs the vendor's data-set files: AI8X_TRAINING names the folder of its training software",
)
KWS_WORDS = 37
TRAIN, TEST, VALIDATION = 0, 1, 2


def mnist(folder: Path) -> None:
    digits = load_digits()
    images = [
        Image.fromarray((image * 15.9).astype(np.uint8)).resize((28, 28)) for image in digits.images[:300]
    ]
    stacked = np.stack([np.asarray(image) for image in images])
    for name, part in (("train", slice(0, 220)), ("test", slice(220, 300))):
        np.savez(folder / f"MNIST_{name}.npz", images=stacked[part], labels=digits.target[:300][part])


def cifar(folder: Path) -> None:
    (folder / "CIFAR10").mkdir()
    for name, first, count in (("train", 0, 200), ("test", 200, 60)):
        images = np.stack([np.asarray(crop(n, 32, 32)) for n in range(first, first + count)])
        np.savez(folder / "CIFAR10" / f"CIFAR10_{name}.npz", images=images, labels=np.arange(count) % 10)


def svhn(folder: Path) -> None:
    (folder / "SVHN" / "processed").mkdir(parents=True)
    for kind, first, count in (("train", 0, 40), ("test", 40, 12)):
        (folder / "SVHN" / kind).mkdir()
        rows = []
        for n in range(first, first + count):
            crop(n, 120, 100).save(folder / "SVHN" / kind / f"{n}.png")
            boxes = [(30 + 25 * k, 30, 50 + 25 * k, 60) for k in range(1 + n % 2)]
            x0, y0, x1, y1 = (list(side) for side in zip(*boxes, strict=True))
            label = [1 + (n + k) % 10 for k in range(len(boxes))]
            rows.append({"img_name": f"{n}.png", "label": label, "x0": x0, "y0": y0, "x1": x1, "y1": y1,
                         "img_width": 120, "img_height": 100, "bb_x0": min(x0), "bb_y0": min(y0), "bb_x1": max(x1),
                         "bb_y1": max(y1)})  # fmt: skip
        with (folder / "SVHN" / "processed" / f"{kind}_info.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def kws20(folder: Path) -> None:
    (folder / "KWS" / "processed").mkdir(parents=True)
    kinds = [TRAIN] * 5 + [TEST] * 2 + [VALIDATION]
    count = KWS_WORDS * len(kinds)
    data = np.stack([np.clip(np.rint((signal(n) + 1) * 128), 0, 255) for n in range(count)]).astype(np.uint8)
    targets = np.arange(count)[:, None] % KWS_WORDS
    types = np.repeat(kinds, KWS_WORDS)[:, None]
    limits = np.tile([-1600.0, 1600.0], (count, 1))
    arrays = (data, targets.astype(np.uint8), types.astype(np.uint8), limits)
    torch.save(tuple(map(torch.from_numpy, arrays)), folder / "KWS" / "processed" / "dataset.pt")


def camvid(folder: Path) -> None:
    colours = {str(n): (7 * n, 255 - 6 * n, 40 + 3 * n) for n in range(1, 33)}
    root = folder / "CamVid"
    root.mkdir()
    lines = ["name,r,g,b", *(f"{name},{r},{g},{b}" for name, (r, g, b) in colours.items())]
    (root / "class_dict.csv").write_text("\n".join(lines) + "\n")
    squares = np.array([(0, 0, 0), *colours.values()], np.uint8)[np.arange(48).reshape(6, 8) % 33]
    label = Image.fromarray(squares.repeat(120, axis=0).repeat(120, axis=1))
    for kind, number in (("train", 0), ("train", 1), ("test", 20)):
        for part in (kind, f"{kind}_labels"):
            (root / part).mkdir(exist_ok=True)
        crop(number, 480, 360).resize((960, 720)).save(root / kind / f"{number}.png")
        label.save(root / f"{kind}_labels" / f"{number}_L.png")


def aisegment(folder: Path) -> None:
    """Its split goes by Python's `hash`, another one in each process: the names are chosen to fill both sets."""
    candidates = [f"p{n}" for n in range(1000)]
    train = [name for name in candidates if hash(name) % 10 < 9][:8]
    test = [name for name in candidates if hash(name) % 10 == 9][:3]
    for number, name in enumerate(train + test):
        photo, matte = (
            folder / "AISegment" / part / "a" for part in ("clip_img/clip_0", "matting/matting_0")
        )
        photo.mkdir(parents=True, exist_ok=True)
        matte.mkdir(parents=True, exist_ok=True)
        image = crop(number, 240, 320).resize((600, 800))
        image.save(photo / f"{name}.jpg")
        image.putalpha(Image.fromarray(np.pad(np.full((500, 300), 255, np.uint8), ((300, 0), (150, 150)))))
        image.save(matte / f"{name}.png")


GENERATE: MappingProxyType[str, Callable[[Path], None]] = MappingProxyType(
    {"mnist": mnist, "cifar": cifar, "svhn": svhn, "kws20": kws20, "camvid": camvid, "aisegment": aisegment}
)
TRUE_FINDINGS = MappingProxyType({"svhn": {"truncation-ignored"}})  # its `is_truncated` is never set
NAMES = (
    ("mnist", "MNIST"),
    ("cifar", "CIFAR10"),
    ("svhn", "SVHN_74"),
    ("svhn", "SVHN_74_simplified"),
    ("kws20", "KWS_20"),
    ("camvid", "CamVid_s80_c33"),
    ("camvid", "CamVid_s80_c3"),
    ("camvid", "CamVid_s352_c3"),
    ("aisegment", "AISegment_80"),
    ("aisegment", "AISegment_352"),
    ("aisegment", "AISegment_352_memory"),
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    done: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            GENERATE[name](done[name])
        return done[name]

    return folder_of


@pytest.mark.parametrize(("file", "name"), NAMES)
def test_the_vendors_loaders_have_no_false_findings(
    file: str, name: str, generated: Callable[[str], Path]
) -> None:
    stand_ins = {**model_stand_ins(), **vendor_stand_ins()}
    dataset = find_dataset(f"{TRAINING}/datasets/{file}.py:{name}", stand_ins=stand_ins)
    found = check_data(dataset, generated(file), CheckPlan(300, workers=1))
    shown = "\n".join(render(d) for d in found.diagnostics)
    assert {d.code for d in found.diagnostics} == TRUE_FINDINGS.get(file, set()), shown
    assert {"mode-factor", "overlapping-sets", "unsteady-split"}.isdisjoint(
        entry.rule for entry in found.not_run
    )
    assert all(r.items and not r.failures for r in found.subject.readings)


def test_what_a_loader_printed_before_it_ended_the_program_is_shown(tmp_path: Path) -> None:
    stand_ins = {**model_stand_ins(), **vendor_stand_ins()}
    dataset = find_dataset(f"{TRAINING}/datasets/aisegment.py:AISegment_80", stand_ins=stand_ins)
    with pytest.raises(InputError) as caught:
        check_data(dataset, tmp_path)
    shown = render(caught.value.diagnostics[0])
    assert "it ended the program" in shown
    assert "it printed: Download the archive file" in shown
    assert "sys.exit()" in shown
