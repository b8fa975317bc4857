"""What resolve makes of descriptions that are easily misread."""

import copy
import pickle

import numpy as np
import pytest

from ai8xsim import MAX78002, Device, Diagnostic, Options, Program, ResolveError, Simulator, check, resolve
from ai8xsim.checkpoint import Checkpoint, CheckpointLayer
from ai8xsim.network import parse_network

BUFFERS = """data_buffer:
  - {name: first, processors: 0xf, channels: 4, dim: 5, offset: 0x100}
  - {name: second, processors: 0xf, channels: 4, dim: 5, offset: 0x200}
"""


def program(
    layers: str, shape: tuple[int, ...], *weights: np.ndarray, top: str = "", device: Device = MAX78002
) -> Program:
    reading = parse_network(f"arch: a\ndataset: d\n{top}layers:\n{layers}")
    assert reading.network is not None, reading.diagnostics
    stored = tuple(CheckpointLayer(f"c{i}", f"c{i}.op.weight", w, None, 0, 8) for i, w in enumerate(weights))
    return resolve(reading.network, Checkpoint("c.pth.tar", "a", 1, stored), device, shape)


def refusal(layers: str, shape: tuple[int, ...], *weights: np.ndarray, top: str = "") -> Diagnostic:
    with pytest.raises(ResolveError) as caught:
        program(layers, shape, *weights, top=top)
    (found,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    return found


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.int64) * 2


def test_as_many_inputs_as_operands_are_demanded() -> None:
    layers = "  - {processors: 3, op: none}\n  - {processors: 3, op: add, in_sequences: [0, 0, 0, 0]}\n"
    assert refusal(layers, (2, 4, 4)).help == "write `operands: 4`, or name 2 inputs"


def test_operands_of_unequal_size_are_not_joined_along_the_pixels() -> None:
    layers = "  - {processors: 3, op: none, max_pool: 2, pool_stride: 2}\n"
    layers += "  - {processors: 3, op: add, in_sequences: [input, 0], in_dim: [10, 5]}\n"
    assert refusal(layers, (2, 4, 4)).code == "operands"


def test_shared_weights_must_fit_the_layer_that_shares_them() -> None:
    first = "  - {processors: 3, op: conv2d, name: a}\n"
    other = "  - {processors: 3, op: conv2d, kernel_size: 1x1, pad: 0, weight_source: a}\n"
    assert refusal(first + other, (2, 4, 4), ones(2, 2, 3, 3)).code == "kernel-mismatch"
    transposed = "  - {processors: 3, op: convtranspose2d, weight_source: a}\n"
    assert refusal(first + transposed, (2, 4, 4), ones(2, 2, 3, 3)).code == "weight-source"


def test_an_insertion_goes_to_the_buffer_that_lies_where_the_layer_writes() -> None:
    layer = "  - {processors: 0xf, output_processors: 0xf, op: none, buffer_insert: 1, out_offset: %s}\n"
    for offset, index in ((0x110, 0), (0x210, 1)):
        update = program(layer % hex(offset), (4, 1, 1), top=BUFFERS).layers[0].buffer_update
        assert update is not None
        assert update.index == index
    assert refusal(layer % "0x400", (4, 1, 1), top=BUFFERS).code == "buffer-insert"


def test_a_buffer_cannot_be_shifted_out_or_overfilled() -> None:
    shift = "  - {processors: 0xf, op: none, in_sequences: first, buffer_shift: 5}\n"
    assert refusal(shift, (4, 1, 1), top=BUFFERS).code == "buffer-shift"
    insert = "  - {processors: 0xf, output_processors: 0xf, op: none, buffer_insert: 6, out_offset: 0x100}\n"
    assert refusal(insert, (4, 6), top=BUFFERS).code == "buffer-insert"


def test_a_layer_shifts_or_inserts() -> None:
    layer = "  - {processors: 0xf, op: none, in_sequences: first, buffer_shift: 1, buffer_insert: 1}\n"
    reading = parse_network(f"arch: a\ndataset: d\n{BUFFERS}layers:\n{layer}")
    assert "buffer-insert" in {d.code for d in reading.diagnostics}


@pytest.mark.parametrize("layer", ["next_sequence: input", "in_sequences: stop", "weight_source: input"])
def test_reserved_words_stand_only_where_they_mean_something(layer: str) -> None:
    reading = parse_network(f"arch: a\ndataset: d\nlayers:\n  - {{processors: 1, op: conv2d, {layer}}}\n")
    assert "unknown-layer" in {d.code for d in reading.diagnostics}


def test_a_layer_that_is_missing_is_named_where_names_allow_it() -> None:
    layers = "".join(f"  - {{processors: 3, op: conv2d, name: {name}}}\n" for name in ("c0", "c2"))
    found = program(layers, (2, 8, 8), *[ones(2, 2, 3, 3)] * 3).diagnostics
    (unused,) = [d for d in found if d.code == "unused-weights"]
    assert "layer 1 (`c2`) would get `c1.op.weight`, the first weights of another name" in unused.notes


def test_bypass_false_is_no_bypass() -> None:
    layers = "  - {processors: 3, op: conv2d, bypass: false}\n" * 2
    assert "loader-differs" not in {
        d.code for d in program(layers, (2, 8, 8), ones(2, 2, 3, 3), ones(2, 2, 3, 3)).diagnostics
    }


def test_a_sample_with_channels_last_is_recognised() -> None:
    layers = "  - {processors: 7, op: conv2d}\n"
    assert "come last" in refusal(layers, (8, 8, 3), ones(2, 3, 3, 3)).help


def test_a_grey_image_without_a_channel_axis_is_told_what_it_lacks() -> None:
    found = refusal("- {processors: 1, op: conv2d}", (8, 8), ones(4, 1, 3, 3))
    assert "a grey image needs a channel axis, (1, H, W): `array[None]`" in found.help


def test_a_signal_with_channels_last_is_recognised() -> None:
    layers = "- {processors: 0xf, op: conv1d, kernel_size: 3}"
    assert "transpose it to (C, L)" in refusal(layers, (9, 4), ones(4, 4, 3, 1)).help


def test_programs_and_traces_can_be_sent_to_workers() -> None:
    made = program("  - {processors: 3, op: conv2d}\n", (2, 4, 4), ones(2, 2, 3, 3))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    trace = Simulator(made).run(np.ones((2, 4, 4), np.int8))
    assert pickle.loads(pickle.dumps(trace)).first_difference(trace) is None


def test_wrong_arguments_of_ours_are_said_so() -> None:
    with pytest.raises(ValueError, match="output_width is 16; it must be 8, 32 or None"):
        Options(output_width=16)
    made = program("  - {processors: 3, op: none}\n", (2, 4, 4))
    with pytest.raises(ValueError, match="keep is 'output'; it must be one of"):
        Simulator(made).run(np.zeros((2, 4, 4), np.int8), keep="output")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        program("  - {processors: 3, op: none}\n", (1.5, 2, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not its name"):
        program("  - {processors: 3, op: none}\n", (2, 4, 4), device="MAX78002")  # type: ignore[arg-type]
    reading = parse_network("arch: a\ndataset: d\nlayers:\n  - {processors: 3, op: none}\n")
    assert reading.network is not None
    with pytest.raises(TypeError, match="not its name"):
        check(reading.network, "MAX78002")  # type: ignore[arg-type]


FLATTENED = """
  - {processors: 7, op: conv2d, max_pool: 2, pool_stride: 2, PAD}
  - {processors: 0xf, op: linear, flatten: true}
"""


@pytest.mark.parametrize(("pad", "size", "fitting"), [("pad: 1", 16, 8), ("pad: 0", 8, 12)])
def test_a_wrong_size_is_looked_for_before_the_layer_that_flattens(pad: str, size: int, fitting: int) -> None:
    """A sample of a wrong size, and a forgotten padding: neither has to do with the last layer's processors."""
    found = refusal(FLATTENED.replace("PAD", pad), (3, size, size), ones(4, 3, 3, 3), ones(5, 4 * 16))
    pixels = size // 2 - (pad == "pad: 0") * 2
    assert found.message.startswith(f"layer 1 flattens 4x{pixels}x{pixels} to {4 * pixels**2} values")
    assert found.span is not None
    assert found.span.text[found.span.column - 1 :] == "true}"
    assert found.notes[1:] == (
        f"64 = 4 channels of 4x4 pixels; they arrive with {pixels}x{pixels}",
        f"the sample is 3x{size}x{size}; all layers fit one of 3x{fitting}x{fitting}",
    )
    assert "padding" in found.help


def test_of_a_sample_of_another_shape_only_the_first_consequence_is_told() -> None:
    """Its channels come last: no pool fits a single column, either."""
    layers = "  - {processors: 1, op: conv2d, pad: 1}\n  - {processors: 1, op: conv2d, pad: 1, max_pool: 2}\n"
    found = refusal(layers, (8, 8, 1), ones(1, 1, 3, 3), ones(1, 1, 3, 3))
    assert found.message == "layer 0 reads 8 channels, its weights expect 1"
    assert "transpose it to (C, H, W)" in found.help
    assert found.notes[-2:] == (
        "the sample is 8x8x1; all layers fit one of 1x2x2, and larger ones",
        "such a sample takes away 1 more error, of later layers",
    )


def test_no_size_is_named_where_none_would_do() -> None:
    """Nor where any would: three channels arrive, and four are expected."""
    layers = "  - {processors: 7, op: conv2d}\n  - {processors: 7, op: conv2d}\n"
    assert len(refusal(layers, (3, 8, 8), ones(3, 3, 3, 3), ones(4, 4, 3, 3)).notes) == 2
    assert len(refusal(layers, (4, 8, 8), ones(3, 3, 3, 3), ones(3, 3, 3, 3)).notes) == 2
    flattened = FLATTENED.replace("PAD", "pad: 1")
    assert "no multiple" in refusal(flattened, (3, 8, 8), ones(4, 3, 3, 3), ones(5, 63)).message
