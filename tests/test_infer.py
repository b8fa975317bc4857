"""The input shape that a description implies."""

import numpy as np
import pytest

from ai8xsim import MAX78000, MAX78002, Options, ResolveError
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.program import infer

from .simulator.small_programs import network_of, stored_layer


def checkpoint_of(*shapes: tuple[int, ...]) -> Checkpoint:
    layers = tuple(stored_layer(f"layer{n}", np.ones(shape, np.int64)) for n, shape in enumerate(shapes))
    return Checkpoint("x.pth.tar", None, None, layers)


def test_a_flattened_layer_fixes_the_size() -> None:
    network = network_of("- {processors: 0x7, op: conv2d, out_offset: 0x2000}\n"
                         "- {processors: 0xf, op: linear, flatten: true, out_offset: 0}")  # fmt: skip
    fitting = checkpoint_of((4, 3, 3, 3), (5, 4 * 49))
    assert infer.infer_input_shape(network, fitting, MAX78000, Options()) == (3, 7, 7)


def test_faults_of_any_size_are_raised() -> None:
    network = network_of(
        "- {processors: 0x7, op: conv2d, out_offset: 0x2000}\n- {processors: 0xf, op: conv2d}"
    )
    with pytest.raises(ResolveError, match="reads 4 channels, its weights expect 5") as raised:
        infer.infer_input_shape(network, checkpoint_of((4, 3, 3, 3), (4, 5, 3, 3)), MAX78000, Options())
    assert [d.code for d in raised.value.diagnostics] == ["channel-mismatch"]


def test_weights_are_assigned_once_however_many_sizes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took half a minute on large networks."""
    calls = []
    original = infer.groundwork
    monkeypatch.setattr(infer, "groundwork", lambda *args: calls.append(1) or original(*args))
    network = network_of(
        "- {processors: 0x7, op: conv2d, out_offset: 0x2000}\n- {processors: 0xf, op: conv2d}"
    )
    with pytest.raises(ResolveError):
        infer.infer_input_shape(network, checkpoint_of((4, 3, 3, 3), (4, 5, 3, 3)), MAX78002, Options())
    assert len(calls) == 1
