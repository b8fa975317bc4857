"""The table of keys and its readers."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import NetworkError, Span, read_network
from ai8xsim.diagnostics import Diagnostic, errors_among
from ai8xsim.network import (
    INPUT,
    STOP,
    DataBufferDescription,
    Given,
    LayerDescription,
    NetworkDescription,
    Reference,
    UnloadDescription,
    parse_network,
)
from ai8xsim.network.keys import TABLES, Key

TYPES = {
    "global": NetworkDescription,
    "layer": LayerDescription,
    "data_buffer": DataBufferDescription,
    "unload": UnloadDescription,
}
NOT_KEYS = {"layers_span", "index", "number", "span", "path", "diagnostics"}
KEYS = [(table, key) for table, rows in TABLES.items() for key in rows.values()]
BUFFER = "data_buffer:\n  - {name: tcn_buffer, processors: 0xf, channels: 4, dim: 15, offset: 0}\n"


def network(layer: str = "", top: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in layer.splitlines())
    return f"arch: net\ndataset: data\n{top}layers:\n  - processors: 0xf\n{lines}"


def layer_of(text: str) -> LayerDescription:
    reading = parse_network(text)
    assert reading.network is not None, reading.diagnostics
    return reading.network.layers[0]


@pytest.mark.parametrize("table", TABLES)
def test_the_description_has_a_field_for_every_key_and_no_other(table: str) -> None:
    assert {entry.name for entry in fields(TYPES[table])} - NOT_KEYS == set(TABLES[table])


@pytest.mark.parametrize(("table", "key"), KEYS, ids=lambda value: getattr(value, "name", value))
def test_every_example_is_accepted_under_every_spelling(table: str, key: Key) -> None:
    """The examples that `explain` shows are parsed as they stand, each spelling in turn."""
    for spelling in key.spellings:
        example = key.example.replace(key.name, spelling, 1)
        found = [d.code for d in parse_network(surrounded(table, key, example)).diagnostics]
        assert not {"unknown-key", "wrong-type", "out-of-range", "unknown-value"} & set(found), found


def surrounded(table: str, key: Key, example: str) -> str:
    """A description with the example in its place, and nothing of the same key besides."""
    others = {"name": "name: x", "channels": "channels: 4", "dim": "dim: 4", "offset": "offset: 0"}
    others["processors"] = "processors: 0xf"
    if table in {"data_buffer", "unload"}:
        required = [others[k.name] for k in TABLES[table].values() if k.required and k.name != key.name]
        entry = "\n    ".join([example, *required])
        return network(top=f"{table}:\n  - {entry}\n")
    if table == "layer":
        first = "" if key.name == "processors" else "processors: 0xf\n    "
        return f"arch: net\ndataset: data\nlayers:\n  - {first}{example}\n"
    top = {"arch": "arch: net\n", "dataset": "dataset: data\n", "layers": "layers:\n  - processors: 0xf\n"}
    return "".join(text for name, text in top.items() if name != key.name) + example


def test_every_key_says_what_it_takes_and_does() -> None:
    for _, key in KEYS:
        assert key.summary.endswith(".")
        assert key.default
        assert key.type.describe()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("op: MLP", "op", "linear"),
        ("operation: Passthrough", "op", "passthrough"),
        ("convolution: CONV1D", "op", "conv1d"),
        ("op: Bitwise_Or", "op", "or"),
        ("activation: rElU", "activate", "relu"),
        ("data_format: BIG", "data_format", "chw"),
        ("quantization: Bin", "quantization", "binary"),
        ("kernel_size: 1X1", "kernel_size", (1, 1)),
        ("op: conv1d\nkernel_size: 9", "kernel_size", (9,)),
        ("max_pool: 2", "max_pool", (2, 2)),
        ("max_pool: [2, 3]", "max_pool", (2, 3)),
        ("in_dim: 32", "in_dim", (32,)),
        ("in_dim: [32, 1]", "in_dim", (32, 1)),
        ("in_sequences: -1", "in_sequences", (INPUT,)),
        ("in_sequences: [Input, 0]", "in_sequences", (INPUT, Reference(0))),
        ("next_sequence: Stop", "next_sequence", STOP),
        ("next_sequence: -1", "next_sequence", STOP),
        ("output_processors: '0x0000.0000_0000.00ff'", "output_processors", 255),
        ("output_processors: ff.00", "output_processors", 0xFF00),
        ("bias_quadrant: 0", "bias_group", (0,)),
        ("flatten: yes", "flatten", True),
        ("flatten: 0", "flatten", False),
        ("output_width: 32", "output_width", "32"),
    ],
)
def test_values_mean_this(text: str, name: str, value: object) -> None:
    given_value = getattr(layer_of(network(text)), name)
    assert isinstance(given_value, Given)
    assert given_value.value == value


def test_every_value_keeps_its_file_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(network("pad: 1\nop: conv2d   # why"))
    layer = read_network(file).layers[0]
    assert layer.op is not None
    assert layer.op.span == Span(str(file), 6, 9, 6)
    assert layer.op.span.text == "    op: conv2d   # why"
    assert layer.op.key_span == Span(str(file), 6, 5, 2)
    assert all(value.span.line > 0 for value in layer.given())


def test_layers_are_sorted_by_sequence_and_counted_without_gaps() -> None:
    text = "arch: a\ndataset: d\nlayers:\n"
    for sequence, name in ((7, "last"), (3, "first"), (None, "second")):
        text += f"  - processors: 1\n    name: {name}\n" + (f"    sequence: {sequence}\n" if sequence else "")
    reading = parse_network(text)
    assert reading.network is not None
    found = [(e.name.value, e.index, e.number) for e in reading.network.layers if e.name]
    assert found == [("first", 0, 3), ("second", 1, 4), ("last", 2, 7)]
    assert reading.network.find_layer(Reference("last")) is reading.network.layers[2]
    assert reading.network.find_layer(Reference(4)) is reading.network.layers[1]


def test_buffers_are_found_by_name_in_any_case() -> None:
    reading = parse_network(network("in_sequences: TCN_Buffer\nop: passthrough", BUFFER))
    assert reading.network is not None
    assert reading.network.find_buffer(Reference("tcn_buffer")) is reading.network.data_buffer[0]


def test_all_faults_are_found_in_one_run_sorted_by_place() -> None:
    text = network("pad: 9\npadd: 1\nactivate: no\nop: conv5d\nin_sequences: [3]\nname: stop")
    found = [d.code for d in parse_network(text).diagnostics if d.severity == "error"]
    sure = ["unknown-layer", "reserved-name"]  # whatever the refused values were meant to be
    assert found == ["out-of-range", "unknown-key", "unknown-value", "unknown-value", *sure]


def test_equality_leaves_the_diagnostics_out() -> None:
    first, second = (parse_network(network("op: conv2d")).network for _ in range(2))
    assert first == second
    assert first is not None
    assert first.diagnostics


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "!!python/name:os.system",
        "&a [*a]",
        "&a {b: *a}",
        "[" * 3000,
        "{a: " * 3000,
        "!!int abc",
        "!!binary x",
        "!!timestamp 2001-99-99",
        "!!timestamp foo",
        "!!bool foo",
        '!!int ""',
        '!!float ""',
        "!!int _",
        "2001-99-99",
        "layers: " + "9" * 10000,
        "\x00",
        "arch: \udcff",
        "--- a\n--- b\n",
        "? [a]\n: b\n",
        "a: &b 1\n<<: *b",
        "%YAML 9.9\n---\na: 1",
        "arch: [x\n",
        "\t- a",
        "layers: {}",
        "layers: [[]]",
        "layers: [null]",
        "arch: {a: b}\ndataset: [1]\nlayers: [{processors: [1]}]",
    ],
)
def test_hostile_text_draws_errors_and_runs_nothing(text: str, tmp_path: Path) -> None:
    reading = parse_network(text)
    assert reading.network is None
    assert reading.diagnostics
    assert not (tmp_path / "hacked").exists()


def test_aliases_of_aliases_cost_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    )
    reading = parse_network(bomb + network())
    assert {d.code for d in reading.diagnostics if d.severity == "error"} == {"unknown-key"}


def test_a_text_that_is_no_utf8_is_said_so() -> None:
    (found,) = parse_network(b"arch: \xff\xfe").diagnostics
    assert "byte 6" in found.message


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_network(b"\xef\xbb\xbf" + network("op: conv2d").encode()).network is not None


def test_a_file_with_errors_raises_with_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(network("pad: 9\nquantization: 3"))
    with pytest.raises(NetworkError, match="must be an integer from 0 to 2") as caught:
        read_network(file)
    assert len([d for d in caught.value.diagnostics if d.severity == "error"]) == 2
    with pytest.raises(FileNotFoundError):
        read_network(tmp_path / "missing.yaml")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.sampled_from([key.name for _, key in KEYS]))
def test_any_text_behind_any_key_draws_a_diagnostic_or_a_result(value: str, key: str) -> None:
    parse_network(network(f"{key}: {value}"))
    parse_network(f"{key}: {value}\n" + network())


@pytest.mark.parametrize(
    ("old", "new", "line", "mend"),
    [
        ("pad: 1", "pad 1", 6, "with a colon and a space"),
        ("pad: 1", "pad=1", 6, "with a colon and a space"),
        ("pad: 1", "pad:\u00a01", 6, "no-break space"),
        ("dataset: data", "dataset:data", 2, "with a colon and a space"),
        ("[a, b]", "[a, b", 7, "close the bracket with `]`"),
        ("{a: 1}", "{a: 1", 8, "close the bracket with `}`"),
        ("op: conv2d", 'op: "conv2d', 5, "close the quotation mark"),
        ("pad: 1", "pad: 1: 2", 6, "indent with spaces"),
        ("    pad: 1", "   pad: 1", 6, "indent with spaces"),
    ],
    ids=["colon", "equals", "no-break", "space", "bracket", "brace", "quote", "twice", "indent"],
)
def test_what_is_never_finished_is_found_where_it_begins(old: str, new: str, line: int, mend: str) -> None:
    right = network("op: conv2d\npad: 1\nin_sequences: [a, b]\nmore: {a: 1}\nactivate: ReLU")
    assert right.count(old) == 1
    (found,) = parse_network(right.replace(old, new)).diagnostics
    assert (found.code, found.span is not None and found.span.line) == ("yaml-syntax", line)
    assert mend in found.help


@pytest.mark.parametrize("sign", ["<<", "="])
@pytest.mark.parametrize("place", ["key", "value"])
def test_the_signs_that_yaml_reserves_are_words_like_others(sign: str, place: str) -> None:
    text = network(f"{sign}: *first" if place == "key" else f"op: {sign}", top="snoop: &first [1]\n")
    (found,) = errors_among(parse_network(text).diagnostics)
    assert found.code == ("unknown-key" if place == "key" else "unknown-value")
    assert found.span is not None
    assert found.span.line == 6
    assert ("merge" in found.help) == (place == "key" and sign == "<<")


def test_what_a_merge_would_bring_is_not_missed() -> None:
    text = "arch: a\ndataset: b\nlayers:\n  - &d {processors: 1, op: none, out_offset: 0}\n  - {<<: *d}\n"
    (found,) = parse_network(text).diagnostics
    assert found.code == "unknown-key"


def test_two_descriptions_in_a_file_are_told_apart() -> None:
    (found,) = parse_network(network() + "---\n" + network()).diagnostics
    assert found.span is not None
    assert (found.code, found.span.line) == ("yaml-syntax", 5)
    assert "`---`" in found.help


@pytest.mark.parametrize(
    ("name", "reference", "mend"),
    [
        ("12", "12", '"12"` for the layer of this name'),
        ("x", '"0"', "`0` without quotes"),
        ("conv1", "conv", "did you mean `conv1`"),
    ],
)
def test_numbers_and_names_are_not_mixed_up(name: str, reference: str, mend: str) -> None:
    layer = f"name: {name}\nop: none\nout_offset: 0\nweight_source: {reference}"
    (found,) = parse_network(network(layer)).diagnostics
    assert found.code == "unknown-layer"
    assert mend in found.help


def errors_of(layer: str) -> list[Diagnostic]:
    return list(errors_among(parse_network(network(layer + "\nout_offset: 0\nop: conv2d")).diagnostics))


@given(
    st.sampled_from(["pad", "max_pool", "in_dim", "write_gap", "out_channels", "flatten"]), st.integers(1, 2)
)
def test_a_number_in_quotes_is_told_to_lose_them(key: str, number: int) -> None:
    value = "true" if key == "flatten" else str(number)
    (found,) = errors_of(f"{key}: '{value}'")
    assert found.help == f"write `{value}` without quotes"
    assert errors_of(f"{key}: {value}") == []


@given(
    st.sampled_from(["max_pool", "avg_pool", "pool_stride", "pool_dilation", "in_dim"]),
    st.tuples(*[st.integers(1, 16)] * 2),
    st.sampled_from(["{}x{}", "{} x {}", "{}X{}", "{}*{}", "{}, {}"]),
)
def test_two_sizes_in_one_word_are_told_to_be_a_list(key: str, sizes: tuple[int, int], form: str) -> None:
    """The language writes kernels as 3x3, and everything else as [3, 3]."""
    pool = "" if "pool" not in key or key.endswith("_pool") else "max_pool: 2\n"
    (found,) = errors_of(f"{pool}{key}: {form.format(*sizes)}")
    assert found.help == f"write `[{sizes[0]}, {sizes[1]}]`"
    assert errors_of(f"{pool}{key}: {[*sizes]}") == []


@pytest.mark.parametrize(
    ("layer", "mend"),
    [
        ("in_dim: [1, 28, 28]", "write `[28, 28]`"),
        ("in_dim: [28]", "write `28`"),
        ("in_sequences: 0, 1", "`[0, 1]`"),
        ("padding: 1", "did you mean `pad`?"),
        ("weight_bits: 4", "did you mean `quantization`?"),
        ("bias: true", "the checkpoint"),
    ],
)
def test_what_others_call_otherwise_is_known(layer: str, mend: str) -> None:
    (found,) = errors_of(layer)
    assert mend in found.help


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("arch: a\ndataset: d\nlayers:\n  - {processors: 1, out_ofset: 0x2000}", "out_ofset"),
        ("arch: a\ndataset: d\nlayers:\n  - {procesors: 1, out_offset: 0x2000}", "procesors"),
        ("arch: a\ndatset: d\nlayers:\n  - {processors: 1, out_offset: 0x2000}", "datset"),
    ],
)
def test_what_a_misspelt_key_was_meant_to_say_is_not_missed_as_well(text: str, word: str) -> None:
    found = {diagnostic.code: diagnostic.message for diagnostic in parse_network(text).diagnostics}
    assert found.keys() == {"unknown-key", "default-operation"}
    assert word in found["unknown-key"]
