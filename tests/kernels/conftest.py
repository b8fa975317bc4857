"""PyTorch as an independent road to an answer."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def torch() -> Iterator[Any]:
    """The module, on one thread: its cases are small, and threads wait long where cores are shared."""
    module = pytest.importorskip("torch")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(threads)
