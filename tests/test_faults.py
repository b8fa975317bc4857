"""One faulty description per diagnostic code, with the exact text that it must draw.

`faults/CODE.yaml` holds the description; a first line `#! sample=CxHxW weights=OxIxHxW,... option=value` says
what it is resolved with, `#! check device=NAME ...` what it is checked with (then both may be left out).
`faults/CODE.txt` holds all diagnostics. After a text has been improved, `python -m tests.test_faults` writes the
texts anew, and `git diff` shows what to review.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import DEVICES, Ai8xsimError, Device, Diagnostic, Options, check, render, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.codes import CODES, ROOMS
from ai8xsim.network import parse_network

FOLDER = Path(__file__).parent / "faults"
CASES = sorted(FOLDER.glob("*.yaml"))
ELSEWHERE = {  # codes of files other than descriptions: their texts are tested with those files
    "tests/checkpoint": {
        "empty-checkpoint", "not-a-checkpoint", "damaged-checkpoint", "unquantized-checkpoint",
        "unfused-batchnorm", "no-weights", "weights-out-of-range", "too-many-weights", "invalid-layer-value",
        "inexact-bias", "all-zero-weights", "unread-layer-values",
    },
    "tests/test_samples.py": {"sample-shape", "sample-range", "sample-fraction", "sample-type"},
    "tests/nn": {"not-importable", "missing-tensors", "ignored-tensors", "defaulted-tensors", "activation-threshold"},
    "tests/test_quantize.py": {"already-quantized", "weights-not-finite", "batchnorm-axis", "unused-bits"},
    "tests/compare": {
        "average-rounding", "plain-pooling", "activation-differs", "output-shift-differs", "output-rounding",
        "pooling-differs", "elementwise-differs", "output-width-differs",
        "wide-output-scaled", "exact-bias", "sample-differs", "weights-differ", "unexplained-difference",
        "not-a-known-answer", "incomplete-known-answer", "model-failed",
    },
    "tests/data": {
        "pixel-range", "fold-shape", "image-shape", "no-datasets", "dataset-key", "dataset-value",
        "dataset-name", "text-as-output", "loader-signature", "loader-failed", "loader-result", "empty-set",
        "item-unreadable", "item-structure", "item-device", "item-type", "item-shape", "item-nan",
        "not-normalized", "normalized-twice", "mode-ignored", "item-fraction", "item-range", "mode-factor",
        "narrow-range", "constant-channel", "scrambled-axes", "fold-ratio", "fold-order", "label-type",
        "label-shape",
        "label-range", "class-missing", "class-weight", "unsteady-items", "unsteady-split",
        "truncation-ignored", "overlapping-sets", "repeated-items", "not-picklable", "workers-fail",
        "network-input", "no-images", "no-matte", "matte-mismatch", "damaged-annotation",
    },
    "tests/train": {
        "policy-key", "policy-value", "labels-do-not-fit", "loss-not-finite", "cannot-resume",
        "no-quantized-epoch", "nothing-to-quantize",
    },
    "tests/test_cli.py": {"not-an-array", "not-a-trace"},
    "tests/test_pictures.py": {"not-an-image", "image-mode", "image-network", "image-size"},
    "tests/evaluate": {
        "no-samples", "unloadable-sample", "unscorable-target", "invalid-target", "class-count", "model-output",
        "not-a-journal", "no-journal", "other-journal", "journal-in-use", "changed-data", "cluster-failed",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What a description is resolved with."""

    shape: tuple[int, ...] | None
    checkpoint: Checkpoint | None
    options: Options
    device: Device
    is_checked: bool


def setting_of(text: str) -> Setting | None:
    first = text.partition("\n")[0]
    if not first.startswith("#!"):
        return None
    is_checked = first.startswith("#! check ")
    words = dict(word.split("=") for word in first[2:].split() if "=" in word)
    device, sample, weights = (words.pop(key, None) for key in ("device", "sample", "weights"))
    shape = tuple(int(size) for size in sample.split("x")) if sample else None
    options: dict[str, Any] = {name: {"True": True}.get(value) or int(value) for name, value in words.items()}
    checkpoint = None if weights is None else stored(weights)
    return Setting(shape, checkpoint, Options(**options), DEVICES[device or "MAX78002"], is_checked)


def stored(weights: str) -> Checkpoint:
    entries = [entry for entry in weights.split(",") if entry]
    layers = tuple(stored_layer(index, entry) for index, entry in enumerate(entries))
    return Checkpoint("weights.pth.tar", "net", 1, layers)


def stored_layer(index: int, entry: str) -> CheckpointLayer:
    """Weights of a shape, counting up from -5; `:3` adds three bias values, `:4*200` four of 200 * 128; `:scale` a
    `final_scale` of 2."""
    sizes, _, bias = entry.partition(":")
    shape = tuple(int(size) for size in sizes.split("x"))
    weight = np.arange(np.prod(shape)).reshape(shape) % 11 - 5
    if bias == "scale":
        return CheckpointLayer(f"conv{index}", f"conv{index}.op.weight", weight, None, 0, 8, final_scale=2)
    if bias == "one-bit":
        return CheckpointLayer(
            f"conv{index}", f"conv{index}.op.weight", np.minimum(weight % 2, 0) - 1, None, 0, 8
        )
    count, _, value = bias.partition("*")
    values = np.full(int(count), int(value or 1) * 128) if count else None
    return CheckpointLayer(f"conv{index}", f"conv{index}.op.weight", weight, values, 0, 8)


def diagnostics_of(path: Path) -> tuple[Diagnostic, ...]:
    text = path.read_text()
    reading = parse_network(text, path.name)
    setting = setting_of(text)
    if reading.network is None or setting is None:
        return reading.diagnostics
    if setting.is_checked:
        sample = None if setting.shape is None else np.zeros(setting.shape, np.int64)
        return check(reading.network, setting.device, setting.checkpoint, sample, setting.options).diagnostics
    assert setting.shape is not None
    assert setting.checkpoint is not None
    try:
        program = resolve(reading.network, setting.checkpoint, setting.device, setting.shape, setting.options)
    except Ai8xsimError as fault:
        return fault.diagnostics
    return program.diagnostics


def rendered(path: Path) -> str:
    return "\n\n".join(render(diagnostic) for diagnostic in diagnostics_of(path)) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_fault_draws_its_text(path: Path) -> None:
    assert path.stem in {diagnostic.code for diagnostic in diagnostics_of(path)}
    assert rendered(path) == path.with_suffix(".txt").read_text()


def test_every_code_has_a_pair() -> None:
    elsewhere = set().union(*ELSEWHERE.values())
    assert {path.stem for path in CASES} | elsewhere == set(CODES)
    for place, codes in ELSEWHERE.items():
        where = FOLDER.parents[1] / place
        files = [where] if where.is_file() else sorted(where.glob("*.py"))
        text = "\n".join(file.read_text() for file in files)
        assert {code for code in codes if code not in text} == set(), place


def test_every_code_is_in_the_table_once() -> None:
    names = [row.name for room in ROOMS for row in room.ROWS]
    assert sorted(names) == sorted(set(names))


if __name__ == "__main__":
    for case in CASES:
        case.with_suffix(".txt").write_text(rendered(case))
