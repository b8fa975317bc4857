"""Hypothesis strategies for networks and the data that they run on.

    from hypothesis import given
    from ai8xsim import testing

    @given(testing.networks())
    def test_something(network):
        program = network.program()

Needs Hypothesis: `pip install ai8xsim[testing]`.
"""

from ai8xsim.testing.networks import DrawnNetwork, networks
from ai8xsim.testing.values import int8_arrays

__all__ = ["DrawnNetwork", "int8_arrays", "networks"]
