"""`ai8xsim check-data` as a person types it, and the pictures that it draws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ai8xsim.data import CheckPlan, find_dataset
from ai8xsim.data.check import read_data
from ai8xsim.data.reading import observe, spread
from ai8xsim.data.sheet import histogram, picture_of

from ..command_line import Shown, ai8xsim, ai8xsim_apart
from ..conftest import ROOT
from ..test_cli import CONTENT, FINE, USAGE
from .test_check_data import FOLDED, LOADER, after_normalize


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = LOADER.replace("    (data_dir, args) = data", "    data_dir, args = data; print(data_dir)")
    (tmp_path / "crops.py").write_text(text)
    return tmp_path


def check_data(folder: Path, *words: object, name: str = "crops.py:Crops") -> Shown:
    few = ("--data", ".", "--samples", 12, "--workers", 0)
    return ai8xsim("check-data", name, *few, *words, cwd=folder)


def spoilt(folder: Path, old: str, new: str) -> Path:
    text = (folder / "crops.py").read_text()
    assert old in text
    (folder / "crops.py").write_text(text.replace(old, new))
    return folder


def test_a_data_set_without_faults(folder: Path) -> None:
    shown = check_data(folder)
    assert shown.returncode == FINE
    assert "torch.float32" in shown.stdout
    assert "china 6, flower 6" in shown.stdout
    assert "no faults; 26 of 30 checks applied" in shown.stdout
    assert (
        "not applied, because 12 of 60 items are too few for 2 classes: class-missing, class-weight"
        in shown.stdout
    )
    assert check_data(folder, "--quiet").stdout == ""


def test_a_process_of_its_own_with_workers(folder: Path) -> None:
    shown = ai8xsim_apart("check-data", "crops.py:Crops", "--data", ".", "--quiet", cwd=folder)
    assert (shown.returncode, shown.stdout) == (FINE, "")
    assert "check-data" in ai8xsim("--help").stdout


def test_faults_are_shown_at_the_file(folder: Path) -> None:
    shown = check_data(spoilt(folder, "return image, label", "return image.double(), label"))
    assert shown.returncode == CONTENT
    assert "error[item-type]: 48 of 48 samples" in shown.stdout
    assert "'loader': load," in shown.stdout
    assert "1 error; 26 of 30 checks applied" in shown.stdout
    quiet = check_data(folder, "--quiet")
    assert quiet.returncode == CONTENT
    assert quiet.stdout.startswith("error[item-type]")
    assert "checks applied" not in quiet.stdout


def test_warnings_alone_are_no_failure(folder: Path) -> None:
    shown = check_data(spoilt(folder, "1 if args.truncate_testset else 20", "20"))
    assert shown.returncode == FINE
    assert "1 warning; " in shown.stdout


def test_json_is_one_document_whatever_the_loader_prints(folder: Path) -> None:
    shown = check_data(folder, "--json", "--network", ROOT / "networks" / "mnist.yaml")
    record = json.loads(shown.stdout)
    assert shown.returncode == CONTENT
    assert record["schema_version"] == 1
    assert [d["code"] for d in record["diagnostics"]] == ["network-input"]
    assert record["diagnostics"][0]["line"]
    assert {"rule", "why"} == record["not_run"][0].keys()
    assert record["sets"][0] == {"set": "train", "mode": "8-bit", "items": 60, "read": 12}
    assert record["classes"] == [6, 6]
    assert len(record["channels"]) == 3


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("data_dir, args = data;", "open('labels.csv');", "loader-failed"),
        ("'loader': load", "'loader': None", "dataset-value"),
        ("import ai8x\n", "import ai8y\n", "not-importable"),
    ],
)
def test_a_loader_that_cannot_run_is_a_fault_in_content(folder: Path, old: str, new: str, code: str) -> None:
    shown = check_data(spoilt(folder, old, new))
    assert shown.returncode == CONTENT
    assert f"error[{code}]" in shown.stdout
    record = json.loads(check_data(folder, "--json").stdout)
    assert [d["code"] for d in record["diagnostics"]] == [code]
    assert record["sets"] == []


def test_wrong_usage(folder: Path) -> None:
    assert check_data(folder, name="crops.py").returncode == USAGE
    assert check_data(folder, name="nothing.py:Crops").returncode == USAGE
    assert check_data(folder, name="crops.py:Crop").returncode == CONTENT
    assert check_data(folder, "--data", "nowhere").returncode == USAGE
    assert check_data(folder, "--checkpoint", "c.pth.tar").returncode == USAGE
    assert check_data(folder, "--sheet", "crops.py", "--force").returncode == USAGE


def test_pictures_are_written_and_not_overwritten(folder: Path) -> None:
    assert check_data(folder, "--sheet", "sheet.png", "--histogram", "values.png").returncode == FINE
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.size == (8 * 112, 3 * 126)
        colours = np.asarray(sheet)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 1000
    with Image.open(folder / "values.png") as histogram:
        assert histogram.format == "PNG"
    refused = check_data(folder, "--sheet", "sheet.png")
    assert refused.returncode == USAGE
    assert "--force" in refused.stderr
    assert check_data(folder, "--sheet", "sheet.png", "--force").returncode == FINE


def words_of(text: str) -> Any:
    """A caption as it is drawn."""
    caption = Image.new("RGB", (112, 14), (255, 255, 255))
    ImageDraw.Draw(caption).text((2, 0), text, (0, 0, 0))
    return np.asarray(caption)


@pytest.mark.parametrize(
    ("label", "first", "last"),
    [
        ("n % 2", "china", "flower"),
        ("n / 4", "0", "19.75"),
        ("n % 2 + 7", "7", "8"),
        ("np.full((5, 3), n % 2)", "5x3", "5x3"),
        ("torch.rand(3 - n % 2, 4), torch.ones(3 - n % 2)", "3 objects", "2 objects"),
        ("'a photo'", "a photo", "a photo"),
    ],
)
def test_the_sheet_names_its_items(label: str, first: str, last: str, folder: Path) -> None:
    check_data(spoilt(folder, "label = n % 2", f"label = {label}"), "--sheet", "sheet.png")
    with Image.open(folder / "sheet.png") as sheet:
        drawn = np.asarray(sheet)
    shown = [("train", n) for n in spread(60, 12)] + [("test", n) for n in spread(20, 12)]
    for place, text in ((0, first), (len(shown) - 1, last)):
        top, left = (place // 8 + 1) * 126 - 14, place % 8 * 112
        name, index = shown[place]
        wanted = words_of(f"{name} {index}: {text}"[:18])
        assert np.array_equal(drawn[top : top + 14, left : left + 112], wanted)
    assert not np.array_equal(drawn[112:126, :112], words_of(f"train 0: {first}!"))


@pytest.mark.parametrize("channels", [3, 12])
def test_the_histogram_shows_how_often_each_value_comes(channels: int, folder: Path) -> None:
    repeated = f"image = torch.cat([image + k for k in range({channels // 3})]).clamp(max=127)"
    spoilt(folder, *after_normalize(f"if self.args.act_mode_8bit: {repeated}"))
    spoilt(folder, "'input': (3,", f"'input': ({channels},")
    dataset = find_dataset(f"{folder / 'crops.py'}:Crops")
    with dataset.present():
        items = [item for part in dataset.load(folder, act_mode_8bit=True) for item in part]
    values = np.stack([image.numpy() for image, _ in items])
    wanted = np.stack([
        np.histogram(values[:, c], np.arange(-128, 129))[0] / values[:, c].size for c in range(channels)
    ])  # fmt: skip
    subject = read_data(dataset, folder, CheckPlan(80, 0))
    (axes,) = histogram(subject).axes
    assert axes.get_title() == f"Crops: {values.min():g} to {values.max():g}"
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    expected = wanted if channels == 3 else wanted.mean(axis=0)[None]
    assert np.allclose(drawn, expected)
    assert all((line.get_xdata() == np.arange(-128, 128)).all() for line in axes.lines)
    if channels > 3:
        heights = np.unique(axes.collections[0].get_paths()[0].vertices[:, 1])
        assert (
            np.isclose(heights[:, None], np.concatenate([wanted.min(axis=0), wanted.max(axis=0)]))
            .any(1)
            .all()
        )


@pytest.mark.parametrize(
    "spoil",
    [
        "label = label, 0",
        "label = [[0., 0., 1., 1.]] * 3, [(0, 0)] * 3, [1, 1, 1]",
        "label = np.zeros((0, 5), int)",
        "image = image[:, :0]",
        "image = image[:, :, :0]",
        "image = image[:0]",
    ],
)
def test_whatever_items_are_the_sheet_is_drawn(folder: Path, spoil: str) -> None:
    spoilt(folder, "        return image, label", f"        {spoil}\n        return image, label")
    check_data(folder, "--sheet", "sheet.png")
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.size == (8 * 112, 3 * 126)


def test_the_sheet_shows_folded_images_as_they_were(folder: Path) -> None:
    spoilt(folder, *FOLDED)
    spoilt(folder, *after_normalize("whole = image; image = ai8x.fold(4)(image)"))
    dataset = find_dataset(f"{folder / 'crops.py'}:Crops")
    _, test = dataset.load(folder, act_mode_8bit=True)
    with dataset.present():
        picture = picture_of(dataset, observe(3, test[3], act_mode_8bit=True))
        test.normalize = lambda image: image * 255 - 128
        image = picture_of(dataset, observe(3, test[3], act_mode_8bit=True))
    assert picture.shape == image.shape == (32, 32, 3)
    assert np.abs(picture.astype(int) - image).max() <= 1
