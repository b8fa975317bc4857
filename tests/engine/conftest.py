"""Fixtures of the tests of the engine."""

from collections.abc import Iterator

import pytest

from ai8xsim.engine import convolution, tiles
from ai8xsim.engine.costs import OWN_PORTS


@pytest.fixture
def own_ports() -> Iterator[None]:
    """Ways to compute are chosen as for a processor on which multipliers do little else; this one may be another."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (convolution, tiles):
            patch.setattr(module, "costs_of", lambda _: OWN_PORTS)
        yield
