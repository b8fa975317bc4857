"""Damaged descriptions, checkpoints and samples: a diagnostic or a result, never a traceback, never a hang."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from ai8xsim import MAX78000, Ai8xsimError, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.cli.arrays import read_sample
from ai8xsim.codes import CODES

MUTATIONS = 200
SECONDS_EACH = 5
SCRAPS = (
    "-1",
    "!!bool x",
    "!!int ''",
    "!!timestamp x",
    "0",
    "[1, 2]",
    "{}",
    "null",
    "conv1d",
    "999999999",
    "0x",
    "!!python/name:os.system",
    "*a",
    "~",
    ": ",
)


def mutated_text(text: str, dice: random.Random) -> str:
    """One line changed: deleted, doubled, moved, its value replaced, or a character dropped or struck."""
    lines = text.splitlines()
    place = dice.randrange(len(lines))
    line = lines[place]
    kind = dice.randrange(6)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, line)
    elif kind == 2:
        lines.insert(dice.randrange(len(lines)), lines.pop(place))
    elif kind == 3 and ":" in line:
        lines[place] = f"{line.partition(':')[0]}: {dice.choice(SCRAPS)}"
    else:
        at = dice.randrange(len(line) + 1)
        struck = chr(dice.randrange(1, 0x250)) if kind == 4 else ""
        lines[place] = line[:at] + struck + line[at + 1 :]
    return "\n".join(lines)


def mutated_bytes(content: bytes, dice: random.Random) -> bytes:
    """Bytes struck, cut out, doubled, or the file cut off."""
    at = dice.randrange(len(content))
    length = dice.choice((1, 1, 1, 4, 64))
    kind = dice.randrange(4)
    if kind == 0:
        return content[:at] + dice.randbytes(length) + content[at + length :]
    if kind == 1:
        return content[:at] + content[at + length :]
    if kind == 2:
        return content[: at + length] + content[at:]
    return content[:at]


def run(network: Path, checkpoint: Path, sample: Path) -> str:
    """What becomes of three files: a digest, or the codes of the diagnostics."""
    try:
        image = read_sample(sample)
        program = resolve(read_network(network), read_checkpoint(checkpoint), MAX78000, image.shape)
        return Simulator(program).run(image).layers[-1].digest
    except Ai8xsimError as fault:
        assert fault.diagnostics
        assert {diagnostic.code for diagnostic in fault.diagnostics} <= set(CODES)
        assert str(fault)
        return " ".join(diagnostic.code for diagnostic in fault.diagnostics)


@pytest.fixture
def files(digits: Path, tmp_path: Path) -> dict[str, Path]:
    with np.load(digits / "samples.npz") as samples:
        np.save(tmp_path / "sample.npy", samples["images"][0])
    found = {
        "network": tmp_path / "network.yaml",
        "checkpoint": tmp_path / "c.pth",
        "sample": tmp_path / "sample.npy",
    }
    found["network"].write_bytes((digits / "network.yaml").read_bytes())
    found["checkpoint"].write_bytes((digits / "checkpoint.pth.tar").read_bytes())
    return found


@pytest.mark.parametrize("damaged", ["network", "checkpoint", "sample"])
def test_mutations_draw_a_diagnostic_or_a_result(files: dict[str, Path], damaged: str) -> None:
    content = files[damaged].read_bytes()
    dice = random.Random(20261121)
    outcomes = set()
    for _ in range(MUTATIONS):
        if damaged == "network":
            files[damaged].write_text(mutated_text(content.decode(), dice))
        else:
            files[damaged].write_bytes(mutated_bytes(content, dice))
        begin = time.monotonic()
        outcomes.add(run(**files))
        assert time.monotonic() - begin < SECONDS_EACH, "a hang"
    assert len(outcomes) > 1
    files[damaged].write_bytes(content)
    assert len(run(**files)) == 64
