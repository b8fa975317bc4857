"""What `compare` shows beside its table: losses from floats to integers, and one HTML file."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ai8xsim import MAX78000, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.compare import compare
from ai8xsim.compare.floats import float_outputs
from ai8xsim.compare.measures import Observed, observed
from ai8xsim.compare.model import Factory
from ai8xsim.quantize import quantize, save_quantized
from ai8xsim.report.html import Page, comparison_page

from ..command_line import Shown, ai8xsim
from ..conftest import ROOT
from .test_compare import MODEL, NETWORK, SHAPES

DIGITS = ROOT / "networks" / "digits"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def run(folder: Path, *words: str) -> Shown:
    return ai8xsim("compare", *words, cwd=folder)


def files(folder: Path, coarse: str | None = None) -> tuple[str, ...]:
    """A model, its trained checkpoint with weights in (-1, 1), the quantized one, and a sample.

    coarse: a layer whose weights are quantized to two bits.
    """
    generator = torch.Generator().manual_seed(2)
    state: dict[str, torch.Tensor] = {}
    for name, shape in SHAPES.items():
        state[f"{name}.output_shift"] = torch.zeros(1)
        bits = 0.0 if coarse is None else 2.0 if name == coarse else 8.0
        state[f"{name}.weight_bits"] = state[f"{name}.bias_bits"] = torch.tensor([bits])
        state[f"{name}.op.weight"] = torch.randn(shape, generator=generator) * 0.15
        state[f"{name}.op.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    torch.save({"epoch": 1, "arch": "tiny", "state_dict": state}, folder / "trained.pth.tar")
    with (folder / "q.pth.tar").open("wb") as file:
        save_quantized(quantize(folder / "trained.pth.tar"), file)
    (folder / "model.py").write_text(MODEL)
    network = (
        NETWORK.replace("name: conv2,", "name: conv2, quantization: 2,") if coarse == "conv2" else NETWORK
    )
    (folder / "net.yaml").write_text(network)
    sample = np.random.default_rng(5).integers(-128, 128, (4, 6, 6))
    np.save(folder / "sample.npy", sample)
    return "net.yaml", "--checkpoint", "q.pth.tar", "--sample", "sample.npy"


def test_floats_and_integers_are_close_in_the_chips_units(tmp_path: Path) -> None:
    files(tmp_path)
    checkpoint, sample = read_checkpoint(tmp_path / "q.pth.tar"), np.load(tmp_path / "sample.npy")
    program = resolve(read_network(tmp_path / "net.yaml"), checkpoint, MAX78000, sample.shape)
    factory = Factory(f"{tmp_path / 'model.py'}:tiny")
    matched = float_outputs(factory, program, tmp_path / "trained.pth.tar", checkpoint, sample)
    comparison = compare(Simulator(program).run(sample), matched.layers)
    assert len(comparison.compared) == 4
    for layer in comparison.compared:
        assert layer.measures is not None
        assert layer.measures.sqnr_db > 25, layer
    losses = [layer.measures.sqnr_db for layer in comparison.worst_first if layer.measures]
    assert losses == sorted(losses)


def test_the_layer_with_two_bits_loses_most(tmp_path: Path) -> None:
    words = files(tmp_path, coarse="conv2")
    shown = run(tmp_path, *words, "--model", "model.py:tiny", "--trained", "trained.pth.tar", "--json")
    assert shown.returncode == 0, shown.stderr
    losses = {layer["name"]: layer["measures"]["sqnr_db"] for layer in json.loads(shown.stdout)["layers"]}
    assert losses["conv1"] > losses["conv2"] + 15
    table = run(tmp_path, *words, "--model", "model.py:tiny", "--trained", "trained.pth.tar").stdout
    names = re.findall(r"^ +\d +(\w+) ", table, re.MULTILINE)
    assert names[-1] == "conv1"


def test_floats_need_a_model(tmp_path: Path) -> None:
    shown = run(tmp_path, *files(tmp_path), "--trained", "trained.pth.tar")
    assert shown.returncode == 2
    assert "--trained needs --model" in shown.stderr


def test_a_quantized_checkpoint_is_no_trained_one(tmp_path: Path) -> None:
    shown = run(tmp_path, *files(tmp_path), "--model", "model.py:tiny", "--trained", "q.pth.tar")
    assert shown.returncode == 1
    assert "error[already-quantized]" in shown.stderr


class Outline(HTMLParser):
    """Text, tags and what a page would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.fetched += [v for k, v in attrs if k in {"src", "href"} and not v.startswith(("data:", "#"))]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def digits_page(title: str, change: int = 0) -> str:
    network, stored = read_network(DIGITS / "network.yaml"), read_checkpoint(DIGITS / "checkpoint.pth.tar")
    program = resolve(network, stored, MAX78000, (1, 8, 8))
    trace = Simulator(program).run(np.load(DIGITS / "samples.npz")["images"][0])
    theirs = observed(trace)
    values = theirs[1].values.copy()
    values[0, 3, 2, 1] += change
    theirs[1] = Observed("<script>alert(1)</script>", values)
    return comparison_page(Page(title, ("<b>fact</b>",)), compare(trace, theirs), trace, theirs)


def test_a_page_says_what_differs_and_escapes_what_strangers_wrote() -> None:
    outline = Outline(digits_page("a <title>", change=9))
    assert "script" not in outline.tags
    assert "b" not in outline.tags
    assert not outline.fetched
    text = " ".join(outline.texts)
    assert "1 of 5 compared layers differ, first layer 1 (`conv2`)" in text
    assert "<script>alert(1)</script>" in text
    assert "1 of 2,048" in text
    assert outline.tags.count("img") == 1


def test_a_page_of_equal_layers_has_no_pictures() -> None:
    outline = Outline(digits_page("equal"))
    assert "img" not in outline.tags
    assert any(
        "every value of every compared layer is equal (5 of 5 layers)" in text for text in outline.texts
    )


def test_the_command_writes_a_page_and_never_overwrites_one(tmp_path: Path) -> None:
    words = [str(DIGITS / "network.yaml"), "--checkpoint", str(DIGITS / "checkpoint.pth.tar")]
    words += ["--sample", str(ROOT / "tests" / "compare" / "digit.npy"), "--html", "r.html", "--quiet"]
    assert run(tmp_path, *words).returncode == 0
    assert "every value of every compared layer is equal" in (tmp_path / "r.html").read_text()
    again = run(tmp_path, *words)
    assert again.returncode == 2
    assert "--force overwrites it" in again.stderr


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text(digits_page("seen by a browser", change=9))
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    script = [*command, "--dump-dom", (tmp_path / "r.html").as_uri()]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120).stdout
    outline = Outline(shown)
    assert outline.tags.count("tr") >= 6
    assert "img" in outline.tags
    picture = [*command, f"--screenshot={tmp_path / 'shot.png'}", "--window-size=900,1200"]
    subprocess.run([*picture, (tmp_path / "r.html").as_uri()], capture_output=True, check=True, timeout=120)
    from PIL import Image

    with Image.open(tmp_path / "shot.png") as shot:
        assert len(set(shot.convert("L").tobytes())) > 20
