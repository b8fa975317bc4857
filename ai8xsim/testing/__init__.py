"""Hypothesis strategies for values, images, layers and networks, and ready checks of what users write.

    from hypothesis import given
    from ai8xsim import testing

    @given(testing.networks())
    def test_something(network):
        program = network.program()

    def test_my_normalize():
        testing.check_normalize(my_normalize)

Needs Hypothesis: `pip install ai8xsim[testing]`.
"""

from ai8xsim.testing.checks import check_fold, check_module, check_normalize
from ai8xsim.testing.layers import DrawnLayer, layers, reference_output
from ai8xsim.testing.networks import DrawnNetwork, networks
from ai8xsim.testing.values import images, int8_arrays, weights

__all__ = [
    "DrawnLayer",
    "DrawnNetwork",
    "check_fold",
    "check_module",
    "check_normalize",
    "images",
    "int8_arrays",
    "layers",
    "networks",
    "reference_output",
    "weights",
]
