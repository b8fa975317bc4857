"""Tree of places -> NetworkDescription, by the table of keys. Every fault of the file in one run."""

import os
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from types import MappingProxyType
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

LOADER_FLAGS = frozenset(  # users look for them among the keys
    {"fifo", "fast_fifo", "fast_fifo_quad", "overlap_data", "avg_pool_rounding", "start_layer", "ignore_streaming",
     "ignore_bias_groups", "input_offset"}
)  # fmt: skip
OTHER_WORDS = MappingProxyType(  # PyTorch's, and the checkpoint's
    {"padding": "pad", "weight_bits": "quantization", "bits": "quantization", "type": "op", "shift": "output_shift",
     "input_size": "in_dim", "input_shape": "in_dim", "inputs": "in_sequences", "pool": "max_pool"}
)  # fmt: skip
MERGE = "<<"  # what YAML would take over from elsewhere, required keys among it
SURE_CODES = frozenset({"duplicate-name", "reserved-name", "unknown-layer", "sequence-beyond-end"})


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
        self._doubtful: set[Span] = set()  # places in layers of which a value was refused
        self._misspelt: dict[Span | None, set[str]] = {}  # by mapping, the keys that it probably has

    def read(self, root: Node) -> Reading:
        network = self._network(root)
        if network is not None:
            self._found += [d for d in check_description(network) if not self._is_consequence(d)]
        found = by_place(self._found)
        if network is None or errors_among(found):
            return Reading(None, found)
        return Reading(replace(network, diagnostics=found), found)

    def _is_consequence(self, diagnostic: Diagnostic) -> bool:
        """Whether a rule speaks of a layer in doubt, of something else than its names and references, or misses a key
        that is misspelt."""
        if any(f"no `{key}`" in diagnostic.message for key in self._misspelt.get(diagnostic.span, ())):
            return True
        return diagnostic.span in self._doubtful and diagnostic.code not in SURE_CODES

    def _network(self, root: Node) -> NetworkDescription | None:
        """The description as far as it can be read; values that are missing have stand-ins, and errors."""
        values = self._values(root, "global", "the description")
        if values is None:
            return None
        given = values.pop("layers", None)
        layers = self._layers(given)
        buffers = self._records(values.pop("data_buffer", None), "data_buffer", DataBufferDescription)
        unloads = self._records(values.pop("unload", None), "unload", UnloadDescription)
        if not layers:
            return None
        stand_ins = {name: Given("", name, root.span, root.span) for name in ("arch", "dataset")}
        keys: dict[str, Any] = {**stand_ins, **values}
        return NetworkDescription(
            path=self._file,
            layers=layers,
            layers_span=given.key_span if given else None,
            data_buffer=buffers,
            unload=unloads,
            **keys,
        )

    def _layers(self, given: Given[tuple[Node, ...]] | None) -> tuple[LayerDescription, ...]:
        if given is None:
            return ()
        if not given.value:
            self._found.append(error("missing-key", "`layers` is empty", given.key_span, "no layer follows"))
        read = [values for i, node in enumerate(given.value) if (values := self._layer(node, i))]
        self._number(read)
        numbered = sorted(_numbered(read), key=lambda entry: entry[0])
        return tuple(
            LayerDescription(index=index, number=number, **values)
            for index, (number, values) in enumerate(numbered)
        )

    def _layer(self, node: Node, index: int) -> dict[str, Any] | None:
        values: dict[str, Any] | None = self._values(node, "layer", _title(node, index))
        if values is None:
            return None
        return {"processors": Given(1, "processors", node.span, node.span), **values, "span": node.span}

    def _number(self, layers: list[dict[str, Any]]) -> None:
        taken: dict[int, Span] = {}
        for number, values in _numbered(layers):
            if number in taken:
                span = values["sequence"].span if "sequence" in values else values["span"]
                first = f"the first one stands on line {taken[number].line}"
                message = f"sequence number {number} is given to two layers"
                self._found.append(error("duplicate-sequence", message, span, notes=(first,)))
            taken.setdefault(number, values["span"])

    def _records(self, given: Given[tuple[Node, ...]] | None, table: str, make: type[Any]) -> Any:
        records = []
        required = {key.name for key in TABLES[table].values() if key.required}
        for index, node in enumerate(given.value if given else ()):
            values = self._values(node, table, f"`{table}` entry {index}")
            if values is not None and required <= values.keys():
                records.append(make(span=node.span, **values))
        return tuple(records)

    def _values(self, node: Node, table: str, owner: str) -> Values | None:
        """The values of a mapping, without those that are refused; None if it is none."""
        if not isinstance(node, Mapping):
            message = f"{owner} must be a mapping of keys to values, not {brief(node)}"
            self._found.append(error("wrong-type", message, node.span))
            return None
        values: Values = {}
        seen: dict[str, Scalar] = {}
        misspelt: set[str] = set()
        for key_node, value_node in node.pairs:
            key = self._key(key_node, TABLES[table], owner)
            if key is None or not isinstance(key_node, Scalar):
                misspelt |= _meant(key_node, TABLES[table])
                continue
            if key.name in seen:
                self._found.append(_repetition(seen[key.name], key_node, owner))
                continue
            seen[key.name] = key_node
            value = self._value(key, key_node, value_node, owner)
            if value is None:
                self._doubt(node)
            else:
                values[key.name] = value
        if any(isinstance(key, Scalar) and key.text == MERGE for key, _ in node.pairs):
            self._doubt(node)
        else:
            self._require(TABLES[table], {*seen, *misspelt}, node, owner)
        self._misspelt[node.span] = misspelt
        return values

    def _doubt(self, node: Mapping) -> None:
        self._doubtful |= {node.span, *(part.span for pair in node.pairs for part in pair)}

    def _key(self, node: Node, table: MappingOf[str, Key], owner: str) -> Key | None:
        word = node.text if isinstance(node, Scalar) else brief(node)
        spellings = {spelling: key for key in table.values() for spelling in key.spellings}
        if word in spellings:
            return spellings[word]
        meant = _closest_spelling(word, table)
        mend = f"did you mean `{meant}`?" if meant else f"the keys are {', '.join(sorted(table))}"
        if word.replace("-", "_").strip("_") in LOADER_FLAGS:
            flag = "--" + word.replace("_", "-").strip("-")
            mend = f"`{flag}` is a flag of the command line and not a key: remove it here, and add `{flag}` there"
        if word == "bias" and table is TABLES["layer"]:
            mend = "remove it: a layer has a bias if the checkpoint has one for it"
        if word == MERGE:
            mend = "write the keys out: the vendor's loader does not merge mappings"
        kind = "not a layer key" if table is TABLES["layer"] else "not a key here"
        short = word if len(word) <= 40 else word[:37] + "..."
        self._found.append(error("unknown-key", f"{owner} has no key `{short}`", node.span, kind, help=mend))
        return None

    def _value(self, key: Key, key_node: Scalar, node: Node, owner: str) -> Given[Any] | None:
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


def _closest_spelling(word: str, table: MappingOf[str, Key]) -> str:
    """The spelling of a key that somebody meant, or nothing."""
    spellings = [spelling for key in table.values() for spelling in key.spellings]
    meant = OTHER_WORDS.get(word.lower(), "")
    return meant if meant in spellings else closest(word, spellings)


def _meant(node: Node, table: MappingOf[str, Key]) -> set[str]:
    """The name of the key that is likely to be meant by another word, if there is one."""
    spelling = _closest_spelling(node.text, table) if isinstance(node, Scalar) else ""
    return {key.name for key in table.values() if spelling in key.spellings}


def _repetition(first: Scalar, again: Scalar, owner: str) -> Diagnostic:
    where = f"the first one stands on line {first.span.line}"
    if first.text == again.text:
        message = f"{owner} gives `{again.text}` twice"
        return error("duplicate-key", message, again.span, "again", (where,), "keep one of them")
    message = f"{owner} gives both `{first.text}` and `{again.text}`, which mean the same"
    return error("synonymous-keys", message, again.span, "a synonym", (where,), "keep one")


def _title(node: Node, index: int) -> str:
    pairs = node.pairs if isinstance(node, Mapping) else ()
    names = [v.text for k, v in pairs if isinstance(k, Scalar) and k.text == "name" and isinstance(v, Scalar)]
    return f"layer {index}" + (f" (`{names[0][:40]}`)" if names and names[0] else "")


def _numbered(layers: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Each layer with its sequence number: the given one, else one more than the layer before it in the file."""
    numbered = []
    following = 0
    for values in layers:
        number = values["sequence"].value if "sequence" in values else following
        numbered.append((number, values))
        following = number + 1
    return numbered
