"""Traces: finding the first difference, digests, look-up, saving and loading."""

import hashlib
import io
import json
import struct
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import InputError, Simulator, Trace
from ai8xsim.trace import Difference, LayerTrace, digest_of, load_trace, output_difference

from .networks_drawn import DrawnNetwork, networks
from .small_programs import mixed_program, random_int8
from .test_three_roads import DRAWN


def layer_of(index: int, name: str | None, output: npt.ArrayLike, is_batch: bool = False) -> LayerTrace:
    values = np.asarray(output, np.int8) if np.asarray(output).dtype != np.int32 else np.asarray(output)
    channels, rows, *columns = values.shape[is_batch:]
    shape = (channels, rows, columns[0] if columns else 1)
    return LayerTrace(index, name, "conv2d", shape, values, None, is_batch)


def trace_of(*layers: LayerTrace, outputs: tuple[int, ...] | None = None) -> Trace:
    return Trace(layers, (layers[-1].index,) if outputs is None else outputs)


def three_layers() -> Trace:
    """Executed in the order 0, 2, 1; the middle one has no name, the last one is 1D."""
    layers = (
        layer_of(0, "Conv", random_int8(0, 2, 3, 4)),
        layer_of(2, None, random_int8(1, 3, 2, 2)),
        layer_of(1, "head", random_int8(2, 5, 6)),
    )
    return trace_of(*layers, outputs=(0, 1))


def changed(trace: Trace, place: int, index: tuple[int, ...], value: int) -> Trace:
    """The trace with one value of one layer changed."""
    layers = list(trace.layers)
    output = layers[place].output.copy()
    output[index] = value
    layers[place] = replace(layers[place], output=output)
    return Trace(tuple(layers), trace.output_indices)


# The first difference


def test_layers_are_paired_by_names_before_numbers() -> None:
    a, b, c = (random_int8(seed, 2, 3, 4) for seed in range(3))
    ours = trace_of(layer_of(0, "conv", a), layer_of(1, "fc", b))
    more = trace_of(layer_of(0, "conv", a), layer_of(1, "copy", c), layer_of(2, "FC", b))
    difference = ours.first_difference(more)
    assert difference == Difference(1, "copy", None, None, None, "only the other trace has it")
    assert more.first_difference(ours) == Difference(1, "copy", None, None, None, "the other trace lacks it")
    assert ours.first_difference(trace_of(layer_of(0, "first", a), layer_of(1, None, b))) is None
    twice = trace_of(layer_of(0, "fc", a), layer_of(1, "fc", b))
    assert ours.first_difference(twice) is None  # whose name says nothing


def test_a_trace_repeated_is_that_of_the_batch() -> None:
    a, b = random_int8(0, 2, 3, 4), random_int8(1, 2, 2, 3, 4)
    three = trace_of(layer_of(0, None, np.stack([a] * 3), is_batch=True))
    assert three.first_difference(trace_of(layer_of(0, None, a)).repeated(3)) is None
    pairs = trace_of(layer_of(0, None, np.concatenate([b, b]), is_batch=True))
    assert pairs.first_difference(trace_of(layer_of(0, None, b, is_batch=True)).repeated(2)) is None


@given(data=st.data())
@settings(DRAWN, max_examples=100)
def test_a_single_different_value_is_found(data: st.DataObject) -> None:
    trace = three_layers()
    place = data.draw(st.integers(0, 2))
    layer = trace.layers[place]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in layer.output.shape)
    ours = int(layer.output[index])
    theirs = data.draw(st.integers(-128, 127).filter(lambda value: value != ours))
    difference = trace.first_difference(changed(trace, place, index, theirs))
    wanted = (*index, 0)[:3]
    assert difference == Difference(layer.index, layer.name, wanted, ours, theirs)
    assert str(difference) == f"{layer.title} at {wanted}: {ours}, not {theirs}"


@given(data=st.data())
@settings(DRAWN, max_examples=50)
def test_of_several_differences_the_first_one_in_execution_and_memory_order_is_found(
    data: st.DataObject,
) -> None:
    trace = three_layers()
    places = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))
    planted = data.draw(st.lists(places, min_size=1, max_size=6, unique=True))
    other = trace
    for place, *index in planted:
        cut = tuple(index[: trace.layers[place].output.ndim])
        other = changed(other, place, cut, int(trace.layers[place].output[cut]) ^ 1)
    place, *index = min((place, *index[: trace.layers[place].output.ndim]) for place, *index in planted)
    difference = trace.first_difference(other)
    assert difference is not None
    assert (difference.layer, difference.index) == (trace.layers[place].index, (*index, 0)[:3])


def test_in_a_batch_the_sample_stands_in_front_of_the_index() -> None:
    ours = trace_of(layer_of(0, None, np.zeros((4, 2, 3, 3)), is_batch=True))
    assert ours.first_difference(changed(ours, 0, (2, 1, 0, 2), 5)) == Difference(0, None, (2, 1, 0, 2), 0, 5)


def test_a_batch_of_one_equals_the_sample_alone() -> None:
    single = trace_of(layer_of(0, None, np.ones((2, 3, 3))))
    batch = trace_of(layer_of(0, None, np.ones((1, 2, 3, 3)), is_batch=True))
    assert single.first_difference(batch) is None
    assert batch.first_difference(single) is None


def test_equal_traces_have_no_difference() -> None:
    assert three_layers().first_difference(three_layers()) is None


def test_values_are_compared_not_types() -> None:
    ours = trace_of(layer_of(0, None, np.full((1, 1, 2), 7)))
    theirs = trace_of(layer_of(0, None, np.full((1, 1, 2), 7, np.int32)))
    assert ours.first_difference(theirs) is None
    wide = trace_of(layer_of(0, None, np.array([[[7, 7 + 256]]], np.int32)))
    assert ours.first_difference(wide) == Difference(0, None, (0, 0, 1), 7, 263)


def test_a_layer_that_the_other_trace_lacks_is_named() -> None:
    trace = three_layers()
    difference = trace.first_difference(trace_of(trace.layers[0], trace.layers[2]))
    assert difference == Difference(2, None, None, None, None, "the other trace lacks it")
    assert str(difference) == "layer 2: the other trace lacks it"


def test_a_layer_that_only_the_other_trace_has_is_named() -> None:
    trace = three_layers()
    difference = trace_of(*trace.layers[:2]).first_difference(trace)
    assert difference == Difference(1, "head", None, None, None, "only the other trace has it")
    assert str(difference) == "layer 1 (`head`): only the other trace has it"


def test_a_different_value_comes_before_a_layer_that_is_missing_behind_it() -> None:
    trace = three_layers()
    other = changed(trace, 0, (0, 0, 0), int(trace.layers[0].output[0, 0, 0]) ^ 1)
    difference = trace.first_difference(trace_of(other.layers[0]))
    assert difference is not None
    assert difference.layer == 0


def test_different_shapes_are_told() -> None:
    ours, theirs = (trace_of(layer_of(3, "a", np.zeros(shape))) for shape in ((2, 3, 4), (2, 4, 3)))
    difference = ours.first_difference(theirs)
    assert difference == Difference(3, "a", None, None, None, "the shapes differ: 1x2x3x4 and 1x2x4x3")
    assert str(difference) == "layer 3 (`a`): the shapes differ: 1x2x3x4 and 1x2x4x3"


def test_different_numbers_of_samples_are_a_difference_of_shapes() -> None:
    ours, theirs = (trace_of(layer_of(0, None, np.zeros((n, 1, 1, 2)), is_batch=True)) for n in (2, 3))
    difference = ours.first_difference(theirs)
    assert difference is not None
    assert difference.reason == "the shapes differ: 2x1x1x2 and 3x1x1x2"


def test_length_and_length_by_one_are_the_same_shape() -> None:
    flat, column = (trace_of(layer_of(0, None, np.ones(shape))) for shape in ((2, 5), (2, 5, 1)))
    assert flat.first_difference(column) is None


def test_an_expected_output_may_lack_axes_of_one_and_have_any_type() -> None:
    trace = trace_of(layer_of(4, "out", [[[1]], [[-2]], [[3]]]))
    for same in (np.array([1, -2, 3]), np.array([[1.0], [-2.0], [3.0]]), np.array([[[[1]], [[-2]], [[3]]]])):
        assert output_difference(trace, same) is None
    assert output_difference(trace, np.array([1, -2, 4])) == Difference(4, "out", (2, 0, 0), 3, 4)
    shorter = output_difference(trace, np.array([1, -2]))
    assert shorter == Difference(4, "out", None, None, None, "the shapes differ: 3x1x1 and 2")


# Digests


def digest_by_hand(values: npt.ArrayLike) -> str:
    numbers = np.asarray(values).ravel(order="C").tolist()
    return hashlib.sha256(b"".join(struct.pack("<i", number) for number in numbers)).hexdigest()


@given(seed=st.integers(0, 1000), shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)))
@settings(DRAWN, max_examples=40)
def test_a_digest_is_sha256_of_little_endian_int32_channel_by_channel(
    seed: int, shape: tuple[int, ...]
) -> None:
    values = random_int8(seed, *shape)
    expected = digest_by_hand(values)
    backwards = values.transpose(2, 1, 0).copy().transpose(2, 1, 0)  # other strides, same values
    for same in (values, values.astype(np.int64), values.astype(">i4"), backwards):
        assert digest_of(same) == expected
    assert layer_of(0, None, values).digest == expected


def test_another_output_has_a_digest_of_its_own_and_is_frozen() -> None:
    layer = layer_of(3, "conv", [[[1, 2]]])
    before = layer.digest
    other = layer.with_output(np.array([[[3, 4]]], np.int8), 7)
    assert (other.index, other.name, other.operator, other.shape) == (3, "conv", "conv2d", (1, 1, 2))
    assert (other.saturated, other.is_batch, other.digest) == (7, False, digest_by_hand([[[3, 4]]]))
    assert (layer.digest, layer.output.tolist()) == (before, [[[1, 2]]])
    with pytest.raises(FrozenInstanceError):
        other.saturated = 0  # type: ignore[misc]


def test_a_trace_is_made_of_all_its_fields() -> None:
    """Its constructor is written by hand."""
    trace = Trace((layer_of(0, "conv", [[[1]]]),), (0,))
    assert set(vars(trace)) == {field.name for field in fields(Trace)}
    assert replace(trace, output_indices=()).layers is trace.layers


def test_a_digest_of_wide_values_holds_all_of_their_bits() -> None:
    values = np.array([[[2**31 - 1, -(2**31)], [256, -1]]], np.int32)
    assert layer_of(0, None, values).digest == digest_by_hand(values)
    assert digest_of(values) != digest_of(values.astype(np.int8))


def test_1d_outputs_count_as_a_column() -> None:
    values = random_int8(0, 3, 5)
    flat, column = layer_of(0, None, values), layer_of(0, None, values[..., np.newaxis])
    assert flat.digest == column.digest == digest_by_hand(values)
    assert flat.shape == column.shape == (3, 5, 1)


def test_a_batch_has_one_digest_for_each_sample() -> None:
    values = random_int8(0, 3, 2, 2, 2)
    batch = layer_of(0, None, values, is_batch=True)
    assert batch.digests == tuple(digest_by_hand(sample) for sample in values)
    with pytest.raises(ValueError, match="3 samples"):
        _ = batch.digest


@given(networks())
@settings(DRAWN, max_examples=40)
def test_digests_of_drawn_networks_are_those_of_their_outputs(network: DrawnNetwork) -> None:
    for layer in Simulator(network.program).run(network.samples):
        assert layer.digests == tuple(digest_by_hand(sample) for sample in layer.output)


# Looking layers up


@pytest.mark.parametrize("key", ["Conv", "conv", "CONV", 0, np.int64(0)])
def test_a_layer_is_found_by_name_in_any_case_and_by_number(key: Any) -> None:
    trace = three_layers()
    assert trace[key] is trace.layers[0]
    assert trace[2] is trace.layers[1]
    assert trace[1] is trace["HEAD"] is trace.layers[2]


@pytest.mark.parametrize("key", ["conv2", "", "0", 3, -1])
def test_an_unknown_layer_is_refused_with_those_that_there_are(key: Any) -> None:
    with pytest.raises(KeyError) as refusal:
        _ = three_layers()[key]
    known = "layer 0 (`Conv`), layer 2, layer 1 (`head`)"
    assert refusal.value.args == (f"the trace has no layer {key!r}; it has {known}",)


def test_outputs_map_output_layers_by_number() -> None:
    trace = three_layers()
    assert list(trace.outputs) == [0, 1]
    assert trace.outputs[0] is trace.layers[0].output
    assert trace.output is trace.outputs[1] is trace.layers[2].output
    with pytest.raises(TypeError):
        trace.outputs[5] = trace.output  # type: ignore[index]


def test_a_trace_is_iterated_in_the_order_of_execution() -> None:
    trace = three_layers()
    assert [layer.index for layer in trace] == [0, 2, 1]
    assert len(trace) == 3


def test_traces_cannot_be_changed() -> None:
    trace = three_layers()
    for owner, name in ((trace, "layers"), (trace, "output_indices"), (trace.layers[0], "output")):
        with pytest.raises(FrozenInstanceError):
            setattr(owner, name, None)
    difference = trace.first_difference(changed(trace, 0, (0, 0, 0), 1))
    with pytest.raises(FrozenInstanceError):
        difference.layer = 3  # type: ignore[union-attr, misc]


# Saving and loading


def saved(trace: Trace) -> bytes:
    stream = io.BytesIO()
    trace.save(stream)
    return stream.getvalue()


def equal(ours: Trace, theirs: Trace) -> bool:
    """Whether everything that a trace says is the same, types included."""
    faces = [
        [
            (t.index, t.name, t.operator, t.shape, t.saturated, t.is_batch, t.output.dtype, t.output.shape)
            for t in trace
        ]
        for trace in (ours, theirs)
    ]
    same = faces[0] == faces[1] and ours.output_indices == theirs.output_indices
    return same and ours.first_difference(theirs) is None


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 2, 4, 4), (3, 2, 4, 4)])
@pytest.mark.parametrize("keep", ["all", "outputs"])
def test_a_saved_trace_is_loaded_as_it_was(shape: tuple[int, ...], keep: Any, tmp_path: Path) -> None:
    trace = Simulator(mixed_program()).run(random_int8(0, *shape), keep)
    trace.save(tmp_path / "trace.npz")
    assert equal(load_trace(tmp_path / "trace.npz"), trace)
    assert equal(load_trace(str(tmp_path / "trace.npz")), trace)


@given(networks())
@settings(DRAWN, max_examples=25)
def test_a_saved_trace_of_a_drawn_network_is_loaded_as_it_was(network: DrawnNetwork) -> None:
    trace = Simulator(network.program).run(network.samples)
    assert equal(load_trace(io.BytesIO(saved(trace))), trace)  # type: ignore[arg-type]


def test_a_saved_trace_holds_an_array_for_each_layer_and_json(tmp_path: Path) -> None:
    trace = three_layers()
    trace.save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as archive:
        assert sorted(archive) == ["layer0", "layer1", "layer2", "meta"]
        assert np.array_equal(archive["layer2"], trace[2].output)
        meta = json.loads(str(archive["meta"]))
    assert (meta["schema_version"], meta["outputs"]) == (1, [0, 1])
    assert [(entry["index"], entry["name"]) for entry in meta["layers"]] == [
        (0, "Conv"),
        (2, None),
        (1, "head"),
    ]


NO_TRACE = "{}: this is no trace, or a damaged one; make one with `ai8xsim simulate --trace`"


def refused(path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_trace(path)
    assert str(refusal.value) == NO_TRACE.format(path)
    assert refusal.value.diagnostics[0].code == "not-a-trace"


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x04N.", b"\x00" * 100]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "trace.npz").write_bytes(content)
    refused(tmp_path / "trace.npz")


def test_a_npy_file_and_a_foreign_npz_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    np.savez(tmp_path / "objects.npz", meta=np.array([None, {}], dtype=object))
    np.savez(tmp_path / "no_json.npz", meta=np.array("layers:"))
    for name in ("array.npy", "foreign.npz", "objects.npz", "no_json.npz"):
        refused(tmp_path / name)


META: dict[str, Any] = {
    "schema_version": 1,
    "outputs": [0],
    "layers": [
        {
            "index": 0,
            "name": None,
            "operator": "conv2d",
            "shape": [1, 2, 2],
            "saturated": None,
            "is_batch": False,
        }
    ],
}


def forged(path: Path, meta: Any, **arrays: Any) -> Path:
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)
    return path


@pytest.mark.parametrize(
    "meta",
    [
        [],
        5,
        {},
        {"layers": []},
        META | {"layers": {"index": 0}},
        META | {"layers": [{}]},
        META | {"outputs": None},
        META | {"outputs": ["first"]},
        META | {"layers": [META["layers"][0] | {"shape": [1, 2]}]},
        META | {"layers": [META["layers"][0] | {"index": 7}]},
    ],
)
def test_a_trace_whose_description_is_damaged_is_refused(meta: Any, tmp_path: Path) -> None:
    refused(forged(tmp_path / "trace.npz", meta, layer0=np.zeros((1, 2, 2), np.int8)))


def test_the_forged_trace_itself_is_a_trace(tmp_path: Path) -> None:
    trace = load_trace(forged(tmp_path / "trace.npz", META, layer0=np.zeros((1, 2, 2), np.int8)))
    assert trace.output.shape == (1, 2, 2)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_trace_that_was_cut_off_is_refused(part: float, tmp_path: Path) -> None:
    whole = saved(three_layers())
    (tmp_path / "trace.npz").write_bytes(whole[: int(len(whole) * part)])
    refused(tmp_path / "trace.npz")


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_trace(tmp_path / "missing.npz")
