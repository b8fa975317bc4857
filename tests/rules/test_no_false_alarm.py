"""What the vendor's loader accepts is no error, but for descriptions that no memory can carry out."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ai8xsim import DEVICES, MAX78000, Findings, Options, Severity, check, read_checkpoint, read_network

from ..conftest import GOLDEN
from ..test_golden import CASES, expected
from .golden_exceptions import DOUBTFUL, EQUAL_BY_CHANCE, WRONG, group_of, names

YADES = GOLDEN / "projects" / "yades"
SOUND = [case for case in CASES if not expected(case).get("layout_suspect")]

pytestmark = pytest.mark.skipif(not CASES, reason="the golden vectors are not beside this repository")


def findings(case: Path) -> Findings:
    network, checkpoint = read_network(case / "network.yaml"), read_checkpoint(case / "checkpoint.pth.tar")
    options = Options(**expected(case)["options"])
    return check(
        network, DEVICES[expected(case)["device"]], checkpoint, np.load(case / "sample.npy"), options
    )


@pytest.mark.parametrize("case", SOUND, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_an_accepted_description_draws_no_error(case: Path) -> None:
    found = findings(case)
    assert found.has_errors == (case.name in names(WRONG))
    assert not found.not_run
    group = group_of(case.name)
    if group is not None:
        severity = Severity.ERROR if group in WRONG else Severity.WARNING
        assert (group.code, severity) in {(d.code, d.severity) for d in found}


def test_every_exception_is_a_case() -> None:
    assert names(WRONG) | names(DOUBTFUL) <= {case.name for case in SOUND}
    listed = [name for group in (*WRONG, *DOUBTFUL) for name in group.names]
    assert sorted(listed) == sorted(set(listed))
    assert set(listed) >= EQUAL_BY_CHANCE


def test_the_readme_counts_them() -> None:
    """The vectors with a network, and those of them that no memory can carry out."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    count = len(names(WRONG) | names(DOUBTFUL))
    assert f"in {count} of the {len(CASES)} vectors" in " ".join(readme.split())


@cache
def yades() -> Findings:
    network = read_network(YADES / "network.yaml")
    checkpoint = read_checkpoint(YADES / "quantized.pth.tar")
    return check(network, MAX78000, checkpoint, np.load(YADES / "sample.npy"))


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        ("processor-count", 11, "16 processors for 3 channels"),
        ("input-too-large", 12, "200704 of 32768"),
        ("output-too-large", 10, "50176 of 32768"),
        ("overwrites-input", 10, "its own input"),
        ("processor-count", 32, "16 processors for 32 channels"),
        ("operands-apart", 47, "2 operands of 16 channels from one input"),
        ("channel-mismatch", 63, "reads 16 channels, its weights expect 32"),
        *(("processor-count", line, "enables 16 processors") for line in (73, 80, 114, 121, 128, 136)),
        *(("processor-count", line, "enables 16 processors") for line in (155, 162, 169, 177)),
        ("linear-weights", 181, "those of a convolution"),
        ("unused-weights", 4, "has 23 layers, the description uses 22"),
        ("final-scale", 0, "5 layers"),
    ],
)
def test_a_users_project_gets_all_its_faults_in_one_run(code: str, line: int, words: str) -> None:
    found = [d for d in yades() if d.code == code and (d.span.line if d.span else 0) == line]
    assert len(found) == 1
    assert words in found[0].message


def test_the_list_of_its_faults_is_the_one_that_was_made_by_hand() -> None:
    stated = json.loads((YADES / "faults.json").read_text())["faults"]
    assert len(stated) == 10
    scales = next(d for d in yades() if d.code == "final-scale")
    assert "1" in scales.notes[0]
    assert [word.split(": ")[1] for word in scales.notes[0].split(", ")] == ["1", "3", "3", "4", "2"]
