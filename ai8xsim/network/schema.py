"""A JSON Schema (draft 7) of the description language, made from the table of keys.

Editors complete and check descriptions with it: `# yaml-language-server: $schema=ai8xsim.schema.json` as the first
line of a file. It knows each key and its values; what several keys must fulfil together is `check`'s affair.
"""

import re
from functools import singledispatch
from typing import Any

from ai8xsim.network.keys import TABLES, Key
from ai8xsim.network.values import (
    Anything,
    Boolean,
    Choice,
    Dimensions,
    Integer,
    KernelSize,
    LayerReference,
    ListOf,
    Pair,
    ProcessorMap,
    Quantization,
    Records,
    Text,
    TwoIntegers,
    ValueType,
)

Schema = dict[str, Any]

_SCALARS = ("string", "number", "boolean")


def json_schema() -> Schema:
    """The schema of a network description.

    >>> json_schema()["required"]
    ['arch', 'dataset', 'layers']
    """
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Network description for MAX78000 and MAX78002",
        **_mapping("global"),
        "definitions": {table: _mapping(table) for table in TABLES if table != "global"},
    }


def _mapping(table: str) -> Schema:
    """A mapping with the keys of a table; of the spellings of a key one may stand there."""
    keys = TABLES[table].values()
    properties = {spelling: _property(key) for key in keys for spelling in key.spellings}
    required = [key.name for key in keys if key.required and not key.synonyms]
    alternatives = [_one_of(key) for key in keys if key.synonyms]
    mapping: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        mapping["required"] = required
    if alternatives:
        mapping["allOf"] = alternatives
    return mapping


def _property(key: Key) -> Schema:
    notes = [key.summary, f"Default: {key.default}.", *([f"{key.scope}."] if key.scope else [])]
    return {"description": " ".join(notes), **schema_of(key.type)}


def _one_of(key: Key) -> Schema:
    """Exactly one spelling of a key that must be there, at most one of another."""
    present = [{"required": [spelling]} for spelling in key.spellings]
    if key.required:
        return {"oneOf": present}
    pairs = [
        {"required": [first, second]}
        for number, first in enumerate(key.spellings)
        for second in key.spellings[number + 1 :]
    ]
    return {"not": {"anyOf": pairs}}


@singledispatch
def schema_of(value_type: ValueType) -> Schema:
    """The schema of what a key takes."""
    raise TypeError(f"there is no schema of {value_type!r}")


@schema_of.register
def _(value_type: Integer) -> Schema:
    return {"type": "integer", "minimum": value_type.minimum, "maximum": value_type.maximum}


@schema_of.register
def _(value_type: Boolean) -> Schema:
    return {"enum": [True, False, 1, 0]}


@schema_of.register
def _(value_type: Text) -> Schema:
    return {"type": list(_SCALARS), "minLength": 1}


@schema_of.register
def _(value_type: Choice) -> Schema:
    words = sorted(value_type.meanings)
    pattern = "|".join(_any_case(word) for word in words)
    numbers = [int(word) for word in words if word.isdecimal()]
    choices: list[Schema] = [{"type": "string", "pattern": f"^({pattern})$"}]
    if numbers:
        choices.append({"enum": numbers})
    return {"anyOf": choices}


def _any_case(word: str) -> str:
    """A pattern that ignores case; JSON Schema has no flag for it."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else re.escape(c) for c in word)


@schema_of.register
def _(value_type: ProcessorMap) -> Schema:
    digits = "^(0[xX])?[0-9a-fA-F._]*[0-9a-fA-F][0-9a-fA-F._]*$"
    return {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": (1 << 64) - 1},
            {"type": "string", "pattern": digits},
        ]
    }


@schema_of.register
def _(value_type: Pair) -> Schema:
    return {"anyOf": [schema_of(value_type.element), _two(value_type.element)]}


@schema_of.register
def _(value_type: TwoIntegers) -> Schema:
    return _two(value_type.element)


@schema_of.register
def _(value_type: Dimensions) -> Schema:
    return {"anyOf": [schema_of(value_type.element), _two(value_type.element)]}


def _two(element: ValueType) -> Schema:
    return {"type": "array", "items": schema_of(element), "minItems": 2, "maxItems": 2}


@schema_of.register
def _(value_type: KernelSize) -> Schema:
    return {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 9},
            {"type": "string", "pattern": "^([1-9]|1[xX]1|3[xX]3)$"},
        ]
    }


@schema_of.register
def _(value_type: LayerReference) -> Schema:
    numbers = [word for word, _ in value_type.words if isinstance(word, int)]
    choices: list[Schema] = [
        {"type": "integer", "minimum": 0},
        {"type": "string", "minLength": 1},
        {"type": "boolean"},  # YAML 1.1 reads names such as `on` so
    ]
    if numbers:
        choices.append({"enum": numbers})
    return {"anyOf": choices}


@schema_of.register
def _(value_type: ListOf) -> Schema:
    one = schema_of(value_type.element)
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@schema_of.register
def _(value_type: Quantization) -> Schema:
    words = "|".join(_any_case(word) for word in ("bin", "binary"))
    return {"anyOf": [{"enum": [1, 2, 4, 8]}, {"type": "string", "pattern": f"^({words})$"}]}


@schema_of.register
def _(value_type: Anything) -> Schema:
    return {}


@schema_of.register
def _(value_type: Records) -> Schema:
    least = {"minItems": 1} if value_type.table == "layer" else {}
    return {"type": "array", "items": {"$ref": f"#/definitions/{value_type.table}"}, **least}
