"""Random weights for a description."""

from ai8xsim import MAX78002, check, resolve
from ai8xsim.program.invent import random_checkpoint

from .simulator.small_programs import network_of

JUMP = """
- {name: first, processors: 0x7, op: conv2d, out_channels: 4, out_offset: 0x1000, next_sequence: last}
- {name: idle, processors: 0xf, op: conv2d, out_channels: 6, in_channels: 4, out_offset: 0x2000}
- {name: last, processors: 0xf, op: conv2d, out_channels: 5, in_offset: 0x1000, out_offset: 0x3000}
"""


def test_idle_layers_have_their_place_in_the_checkpoint() -> None:
    """The k-th weights belong to the k-th layer that takes any, executed or not."""
    network = network_of(JUMP)
    checkpoint = random_checkpoint(network, MAX78002, (3, 8, 8))
    assert [layer.name for layer in checkpoint.layers] == ["first", "idle", "last"]
    program = resolve(network, checkpoint, MAX78002, (3, 8, 8))
    assert [layer.output_shape.channels for layer in program.layers] == [4, 5]
    assert [layer.name for layer in program.idle] == ["idle"]
    assert not check(network, MAX78002, checkpoint).has_errors


def test_weights_shared_with_an_idle_layer_fit_the_layer_that_is_executed() -> None:
    layers = """
    - {name: first, processors: 0x7, op: conv2d, out_channels: 4, out_offset: 0x1000, next_sequence: last}
    - {name: idle, processors: 0xf, op: conv2d, out_offset: 0x2000}
    - {name: last, processors: 0xf, op: conv2d, out_channels: 5, in_offset: 0x1000, weight_source: idle}
    """
    network = network_of(layers)
    checkpoint = random_checkpoint(network, MAX78002, (3, 8, 8))
    assert checkpoint.layers[1].weight.shape == (5, 4, 3, 3)
    assert resolve(network, checkpoint, MAX78002, (3, 8, 8)).layers[-1].output_shape.channels == 5
