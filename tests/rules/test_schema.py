"""The JSON Schema and the parser, held together."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim.cli.schema import schema
from ai8xsim.network import parse_network
from ai8xsim.network.keys import TABLES
from ai8xsim.network.schema import json_schema

from ..conftest import GOLDEN, ROOT

FILES = sorted(
    [*GOLDEN.glob("*/*/network.yaml"), *ROOT.glob("networks/**/*.yaml"), *ROOT.glob("tests/faults/*.yaml")]
)
VALIDATOR = jsonschema.Draft7Validator(json_schema())
SEEN_BY_THE_PARSER = {  # what a schema cannot see, or YAML hides from it
    "duplicate-key", "duplicate-sequence", "duplicate-name", "reserved-name", "unknown-layer", "yaml-syntax",
    "empty-file",
}  # fmt: skip
OF_ONE_VALUE = {
    "wrong-type",
    "out-of-range",
    "unknown-value",
    "unknown-key",
    "missing-key",
    "synonymous-keys",
}


def is_valid(text: str) -> bool:
    return VALIDATOR.is_valid(yaml.safe_load(text))


def test_it_is_a_schema_of_draft_7() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())
    printed = CliRunner().invoke(schema, []).output
    assert json.loads(printed) == json_schema()


def test_every_key_is_in_it() -> None:
    described = json_schema()
    for table, keys in TABLES.items():
        place = described if table == "global" else described["definitions"][table]
        spellings = {spelling for key in keys.values() for spelling in key.spellings}
        assert set(place["properties"]) == spellings


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_parser_and_schema_agree_on_a_file(path: Path) -> None:
    """What the parser takes the schema takes; what it refuses for a single value, the schema refuses."""
    text = path.read_text()
    found = {d.code for d in parse_network(text).diagnostics if d.severity == "error"}
    if found & SEEN_BY_THE_PARSER:
        return
    assert is_valid(text) == (not found & OF_ONE_VALUE)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([1 << 64, 4096, 4097, 16384, 1.5]),
    st.sampled_from(
        ["3x3", "1X1", "2x2", "0x0f", "ReLU", "relu", "None", "conv2d", "hwc", "binary", "stop", "", "a b"]
    ),
    st.lists(st.integers(-1, 17), max_size=3),
    st.just({}),
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted({s for key in TABLES["layer"].values() for s in key.spellings})), VALUES)
def test_parser_and_schema_agree_on_a_value(key: str, value: object) -> None:
    layer = {"processors": 1, "op": "conv2d", key: value}
    if key in {"operation", "operator", "convolution"}:
        del layer["op"]
    text = yaml.safe_dump({"arch": "a", "dataset": "d", "layers": [layer]})
    found = {d.code for d in parse_network(text).diagnostics if d.severity == "error"}
    assert is_valid(text) == (not found & OF_ONE_VALUE), parse_network(text).diagnostics
