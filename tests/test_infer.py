"""The input shape that a description implies."""

import numpy as np
import pytest

from ai8xsim import MAX78000, MAX78002, Options, ResolveError, resolve
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


POOLED = "- {name: pooled, processors: 0x7, op: conv2d, max_pool: 2, pool_stride: 2, out_offset: 0x2000}\n"


def faults_of(layers: str, *shapes: tuple[int, ...]) -> list[str]:
    with pytest.raises(ResolveError) as raised:
        infer.infer_input_shape(network_of(layers), checkpoint_of(*shapes), MAX78000, Options())
    return [d.code for d in raised.value.diagnostics]


def test_a_size_too_small_to_be_pooled_hides_no_fault() -> None:
    """A 1x1 sample only does not fit the pool: that had taken the real fault for one of the sizes."""
    later = "- {processors: 0xf, op: conv2d, in_sequences: [pooled, 2]}\n- {processors: 0xf, op: linear}"
    assert faults_of(POOLED + later, (4, 3, 3, 3), (4, 8, 3, 3), (5, 4)) == ["input-not-ready"]
    linear = "- {processors: 0xf, op: linear}"
    assert faults_of(POOLED + linear, (4, 3, 3, 3), (5, 4 * 49)) == ["channel-mismatch"]


@pytest.mark.parametrize("first", [POOLED, POOLED.replace("max_pool: 2, pool_stride: 2, ", "")])
def test_what_no_square_fits_another_shape_may(first: str) -> None:
    network = network_of(first + "- {processors: 0xf, op: linear, flatten: true}")
    checkpoint = checkpoint_of((4, 3, 3, 3), (5, 4 * 2 * 3))
    assert infer.infer_input_shape(network, checkpoint, MAX78000, Options()) is None
    shape = (3, 4, 6) if first == POOLED else (3, 2, 3)
    assert resolve(network, checkpoint, MAX78000, shape).layers[-1].flatten


def test_faults_of_any_size_say_nothing_of_the_sizes_that_were_tried() -> None:
    network = network_of(POOLED + "- {processors: 0xf, op: conv2d}")
    with pytest.raises(ResolveError) as raised:
        infer.infer_input_shape(network, checkpoint_of((4, 3, 3, 3), (4, 5, 3, 3)), MAX78000, Options())
    assert raised.value.diagnostics[0].notes == ("`layer1.weight` is 4x5x3x3 (out, in, height, width)",)
