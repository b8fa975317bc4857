"""Fixtures of the tests of the engine."""

from collections.abc import Iterator

import pytest

from ai8xsim.engine import costs


@pytest.fixture
def own_ports() -> Iterator[None]:
    """Ways to compute are chosen as for a processor on which multipliers do little else; this one may be another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "processor", lambda: "znver5")
        yield
