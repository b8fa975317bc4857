"""What all tests share: where the golden data is, and `--deep`."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores, where PyTorch's threads would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deep", action="store_true", help="run the full matrix, training and cluster tests too"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--deep"):
        skip = pytest.mark.skip(reason="part of the full matrix: run with --deep")
        for item in items:
            if "deep" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden vectors."""
    if not GOLDEN.is_dir():
        pytest.skip("the golden vectors are not beside this repository")
    return GOLDEN


@pytest.fixture(scope="session")
def digits() -> Path:
    """The folder of the bundled network."""
    return ROOT / "networks" / "digits"
