"""Faults that the drawn networks found once, and what is wanted instead; the docstrings tell what was."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import Ai8xsimError, InputError, Options, ResolveError, Simulator
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.compare import torch_trace
from ai8xsim.device import MAX78000
from ai8xsim.program import resolve
from ai8xsim.trace import load_trace

from .small_programs import WINDOW, mixed_program, network_of, program_of, random_int8, stored_layer

POINT = "kernel_size: 1x1, pad: 0"


def test_a_jump_to_a_layer_before_the_start_layer_is_executed_or_refused() -> None:
    """It is left out without a word: the program ends one layer early."""
    layers = f"- {{op: conv2d, {POINT}, next_sequence: stop}}\n- {{op: conv2d, {POINT}, next_sequence: 0}}"
    try:
        program = program_of(
            layers, [[[[1]]]], [[[[1]]]], input_shape=(1, 4, 4), options=Options(start_layer=1)
        )
    except ResolveError:
        return
    assert program.order == (1, 0)


@pytest.mark.parametrize("rows", [4, 5, 4096])
def test_a_shift_by_all_rows_of_a_buffer_is_refused(rows: int) -> None:
    """The program has an output of no rows (or fewer), and the simulator raises ValueError."""
    with pytest.raises(Ai8xsimError):
        program_of(f"- {{op: none, in_sequences: window, buffer_shift: {rows}}}", buffers=WINDOW)


@pytest.mark.parametrize("shape", [(2, 5), (2, 1)])
def test_an_insertion_of_more_rows_than_the_buffer_has_is_refused(shape: tuple[int, int]) -> None:
    """Five rows into four: the simulator raises ValueError; one row as five of four is taken in silence."""
    with pytest.raises(Ai8xsimError):
        program_of("- {op: none, buffer_insert: 5}", input_shape=shape, buffers=WINDOW)


def test_a_weight_source_with_another_kernel_is_refused() -> None:
    """`Simulator(program)` raises ValueError."""
    layers = f"- {{op: conv2d, {POINT}}}\n- {{op: conv2d, kernel_size: 3x3, weight_source: 0}}"
    with pytest.raises(ResolveError):
        program_of(layers, [[[[1]]]], input_shape=(1, 4, 4))


def test_a_weight_source_whose_bias_has_other_channels_is_refused() -> None:
    """`run` raises ValueError."""
    layers = "- {op: convtranspose2d, groups: 2}\n- {op: convtranspose2d, weight_source: 0}"
    stored = stored_layer("shared", np.ones((4, 2, 3, 3)), [1, 2, 3, 4])
    with pytest.raises(ResolveError):
        resolve(network_of(layers), Checkpoint("x", None, None, (stored,)), MAX78000, (4, 4, 4))


def test_operands_of_unequal_rows_and_columns_are_refused() -> None:
    """They are joined along the pixels, and then channels of that are added to each other."""
    layers = "- {op: none, in_crop: [0, 1]}\n- {op: add, in_sequences: [input, 0], in_dim: 7}"
    with pytest.raises(ResolveError):
        program_of(layers, input_shape=(2, 4))


def test_torch_keeps_the_lower_32_bits_of_hidden_wide_layers_too() -> None:
    """PyTorch's road hands on the whole sum, the simulator its lower 32 bits (UNVERIFIED): layer 5 differs."""
    wide = f"- {{op: conv2d, {POINT}, output_width: 32}}\n"
    layers, weights = wide * 5 + f"- {{op: conv2d, {POINT}, output_shift: -15}}", [[[[[-101]]]]] * 6
    program, sample = program_of(layers, *weights, input_shape=(1, 1, 16)), [[list(range(-8, 8))]]
    assert Simulator(program).run(sample).first_difference(torch_trace(program, sample)) is None


def test_a_program_can_be_pickled() -> None:
    """`Layer.spans` is a mappingproxy: TypeError; a simulator cannot be handed to a worker process."""
    program, sample = mixed_program(), random_int8(0, 2, 4, 4)
    returned = pickle.loads(pickle.dumps(program))
    assert returned == program
    assert Simulator(program).run(sample).first_difference(Simulator(returned).run(sample)) is None


def test_samples_of_unequal_lengths_are_refused_as_samples() -> None:
    """NumPy's ValueError reaches the user."""
    with pytest.raises(InputError):
        Simulator(program_of("- {op: none}", input_shape=(2, 4))).run([[1, 2, 3, 4], [1, 2, 3]])


def test_no_byte_of_a_saved_trace_can_be_damaged_so_that_loading_breaks(tmp_path: Path) -> None:
    """zlib.error, NotImplementedError, RuntimeError (encrypted) and OSError (EINVAL) get through."""
    stream = io.BytesIO()
    Simulator(mixed_program()).run(random_int8(0, 2, 4, 4)).save(stream)
    whole, path = stream.getvalue(), tmp_path / "trace.npz"
    broken: set[str] = set()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_trace(path)
        except InputError:
            continue
        except Exception as fault:
            broken.add(type(fault).__name__)
    assert broken == set()


def test_meta_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    """RecursionError; likewise OverflowError for `"outputs": [1e999]`."""
    np.savez(tmp_path / "trace.npz", meta=np.array("[" * 100_000))
    with pytest.raises(InputError):
        load_trace(tmp_path / "trace.npz")


@pytest.mark.parametrize("array", [np.zeros(5, np.int8), np.full((1, 2, 2), 0.5), np.full((1, 2, 2), "x")])
def test_a_trace_whose_arrays_are_not_what_it_says_is_refused(array: Any, tmp_path: Path) -> None:
    """It is loaded; a wrong size then raises ValueError in `first_difference`, and 0.5 is shown as 0."""
    layer = {
        "index": 0,
        "name": None,
        "operator": "conv2d",
        "shape": [1, 2, 2],
        "saturated": None,
        "is_batch": False,
    }
    meta = {"schema_version": 1, "outputs": [0], "layers": [layer]}
    np.savez(tmp_path / "trace.npz", meta=np.array(json.dumps(meta)), layer0=array)
    with pytest.raises(InputError):
        load_trace(tmp_path / "trace.npz")


def test_a_trace_of_another_version_is_refused(tmp_path: Path) -> None:
    """The version that is saved is never looked at."""
    Simulator(mixed_program()).run(random_int8(0, 2, 4, 4)).save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as archive:
        arrays = dict(archive)
    arrays["meta"] = np.array(json.dumps(json.loads(str(arrays["meta"])) | {"schema_version": 2}))
    np.savez(tmp_path / "newer.npz", **arrays)
    assert zipfile.is_zipfile(tmp_path / "newer.npz")
    with pytest.raises(InputError):
        load_trace(tmp_path / "newer.npz")


def test_loaded_outputs_and_those_of_torch_are_read_only_too(tmp_path: Path) -> None:
    program, sample = mixed_program(), random_int8(0, 2, 4, 4)
    Simulator(program).run(sample).save(tmp_path / "trace.npz")
    for trace in (load_trace(tmp_path / "trace.npz"), torch_trace(program, sample)):
        assert not any(layer.output.flags.writeable for layer in trace)
