"""Tree of places -> NetworkDescription, by the table of keys. Every fault of the file in one run."""

import os
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from typing import Any

from ai8xsim.diagnostics import Diagnostic, Span, by_place, closest, error, errors_among
from ai8xsim.errors import NetworkError
from ai8xsim.network.description import (
    DataBufferDescription,
    Given,
    LayerDescription,
    NetworkDescription,
    UnloadDescription,
)
from ai8xsim.network.keys import TABLES, Key
from ai8xsim.network.nodes import Mapping, Node, Scalar, brief
from ai8xsim.network.parse import UnreadableError, parse_yaml
from ai8xsim.network.rules import check_description
from ai8xsim.network.values import RefusedError

Values = dict[str, Given[Any]]


@dataclass(frozen=True)
class Reading:
    """What reading a text gave: all diagnostics, and the description unless an error stands against it."""

    network: NetworkDescription | None
    diagnostics: tuple[Diagnostic, ...]


def read_network(path: str | os.PathLike[str]) -> NetworkDescription:
    """The network description in a YAML file.

    Raises NetworkError with every fault of the file, OSError where it cannot be opened.
    Source: vendor document, chapter "Network Loader Configuration Language".

    >>> read_network("networks/digits/network.yaml").arch.value
    'ai8xsim_digits'
    """
    with open(path, "rb") as stream:
        content = stream.read()
    reading = parse_network(content, os.fspath(path))
    if reading.network is None:
        raise NetworkError(reading.diagnostics)
    return reading.network


def parse_network(content: bytes | str, file: str = "network.yaml") -> Reading:
    """The description in a text, with all diagnostics; `file` is the name that they show."""
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        root = parse_yaml(text, file)
    except UnicodeDecodeError as fault:
        mend = "save the file as UTF-8 text"
        found = error("yaml-syntax", f"byte {fault.start} of the file is not UTF-8", Span(file), help=mend)
        return Reading(None, (found,))
    except UnreadableError as fault:
        return Reading(None, (fault.diagnostic,))
    if root is None:
        return Reading(None, (_empty_file(file),))
    return _Reader(file).read(root)


def _empty_file(file: str) -> Diagnostic:
    mend = "a description needs at least `arch`, `dataset` and `layers`"
    return error("empty-file", f"`{os.path.basename(file)}` describes nothing", Span(file), help=mend)


class _Reader:
    """Reads mappings by their tables and collects what is wrong with them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[Diagnostic] = []
        self._doubtful_lines: set[int] = set()

    def read(self, root: Node) -> Reading:
        network = self._network(root)
        if network is not None:
            found_by_rules = check_description(network)
            self._found += [d for d in found_by_rules if d.span and d.span.line not in self._doubtful_lines]
        found = by_place(self._found)
        if network is None or errors_among(found):
            return Reading(None, found)
        return Reading(replace(network, diagnostics=found), found)

    def _network(self, root: Node) -> NetworkDescription | None:
        values = self._values(root, "global", "the description")
        if values is None:
            return None
        layers = self._layers(values.pop("layers", None))
        buffers = self._records(values.pop("data_buffer", None), "data_buffer", DataBufferDescription)
        unloads = self._records(values.pop("unload", None), "unload", UnloadDescription)
        if layers is None or buffers is None or unloads is None or not {"arch", "dataset"} <= values.keys():
            return None
        keys: dict[str, Any] = dict(values)
        return NetworkDescription(path=self._file, layers=layers, data_buffer=buffers, unload=unloads, **keys)

    def _layers(self, given: Given[tuple[Node, ...]] | None) -> tuple[LayerDescription, ...] | None:
        if given is None:
            return None
        if not given.value:
            self._found.append(error("missing-key", "`layers` is empty", given.key_span, "no layer follows"))
            return None
        read = [self._layer(node, index) for index, node in enumerate(given.value)]
        self._number(read)
        if any(values is None or "processors" not in values for values in read):
            return None
        numbered = sorted(_numbered(read), key=lambda entry: entry[0])
        return tuple(
            LayerDescription(index=index, number=number, **values)
            for index, (number, values) in enumerate(numbered)
        )

    def _layer(self, node: Node, index: int) -> dict[str, Any] | None:
        values: dict[str, Any] | None = self._values(node, "layer", _title(node, index))
        return None if values is None else values | {"span": node.span}

    def _number(self, layers: list[dict[str, Any] | None]) -> None:
        taken: dict[int, Span] = {}
        for number, values in _numbered(layers):
            if number in taken:
                span = values["sequence"].span if "sequence" in values else values["span"]
                first = f"the first one stands on line {taken[number].line}"
                message = f"sequence number {number} is given to two layers"
                self._found.append(error("duplicate-sequence", message, span, notes=(first,)))
            taken.setdefault(number, values["span"])

    def _records(self, given: Given[tuple[Node, ...]] | None, table: str, make: type[Any]) -> Any:
        entries = given.value if given else ()
        read = [self._values(node, table, f"`{table}` entry {i}") for i, node in enumerate(entries)]
        required = {key.name for key in TABLES[table].values() if key.required}
        if any(values is None or not required <= values.keys() for values in read):
            return None
        return tuple(
            make(span=node.span, **values) for node, values in zip(entries, read, strict=True) if values
        )

    def _values(self, node: Node, table: str, owner: str) -> Values | None:
        if not isinstance(node, Mapping):
            message = f"{owner} must be a mapping of keys to values, not {brief(node)}"
            self._found.append(error("wrong-type", message, node.span))
            return None
        values: Values = {}
        refused: set[str] = set()
        for key_node, value_node in node.pairs:
            key = self._key(key_node, TABLES[table], owner)
            if key is None or self._is_repeated(key, key_node, values, owner):
                continue
            value = self._value(key, key_node, value_node, owner)
            if value is None:
                refused.add(key.name)
                self._doubtful_lines |= {
                    node.span.line,
                    *(span_node.span.line for span_node, _ in node.pairs),
                }
            else:
                values[key.name] = value
        self._require(TABLES[table], values.keys() | refused, node, owner)
        return values

    def _key(self, node: Node, table: MappingOf[str, Key], owner: str) -> Key | None:
        word = node.text if isinstance(node, Scalar) else brief(node)
        spellings = {spelling: key for key in table.values() for spelling in key.spellings}
        if word in spellings:
            return spellings[word]
        meant = closest(word, spellings)
        mend = f"did you mean `{meant}`?" if meant else f"the keys are {', '.join(sorted(table))}"
        if word == "<<":
            mend = "write the keys out: the vendor's loader does not merge mappings"
        kind = "not a layer key" if table is TABLES["layer"] else "not a key here"
        short = word if len(word) <= 40 else word[:37] + "..."
        self._found.append(error("unknown-key", f"{owner} has no key `{short}`", node.span, kind, help=mend))
        return None

    def _is_repeated(self, key: Key, node: Node, values: Values, owner: str) -> bool:
        first = values.get(key.name)
        if first is None or not isinstance(node, Scalar):
            return False
        where = f"the first one stands on line {first.key_span.line}"
        if first.key == node.text:
            message = f"{owner} gives `{node.text}` twice"
            self._found.append(
                error("duplicate-key", message, node.span, "again", (where,), "keep one of them")
            )
        else:
            message = f"{owner} gives both `{first.key}` and `{node.text}`, which mean the same"
            self._found.append(
                error("synonymous-keys", message, node.span, "a synonym", (where,), "keep one")
            )
        return True

    def _value(self, key: Key, key_node: Node, node: Node, owner: str) -> Given[Any] | None:
        assert isinstance(key_node, Scalar)
        try:
            return Given(key.type.read(node), key_node.text, key_node.span, node.span)
        except RefusedError as fault:
            message = f"{owner}: `{key_node.text}` {fault.message}"
            self._found.append(error(fault.code, message, node.span, help=fault.help))
            return None

    def _require(self, table: MappingOf[str, Key], present: set[str], node: Node, owner: str) -> None:
        for key in table.values():
            if key.required and key.name not in present:
                start = replace(node.span, length=1)
                message = f"{owner} lacks `{key.name}`"
                mend = f"add, for example, `{key.example.splitlines()[0]}`"
                self._found.append(error("missing-key", message, start, help=mend))


def _title(node: Node, index: int) -> str:
    pairs = node.pairs if isinstance(node, Mapping) else ()
    names = [v.text for k, v in pairs if isinstance(k, Scalar) and k.text == "name" and isinstance(v, Scalar)]
    return f"layer {index}" + (f" (`{names[0][:40]}`)" if names else "")


def _numbered(layers: list[dict[str, Any] | None]) -> list[tuple[int, dict[str, Any]]]:
    """Each layer with its sequence number: the given one, else one more than the layer before it in the file."""
    numbered = []
    following = 0
    for values in layers:
        if values is not None:
            number = values["sequence"].value if "sequence" in values else following
            numbered.append((number, values))
            following = number + 1
    return numbered
