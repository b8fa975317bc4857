"""What may stand behind a key: each type reads a node, says what it wants, and refuses with a reason."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from ai8xsim.device import PROCESSORS
from ai8xsim.diagnostics import closest
from ai8xsim.network.nodes import Items, Node, Scalar, brief


@dataclass(frozen=True)
class Reference:
    """A pointer to a layer (sequence number or name), the sample (`input`), a data buffer, or `stop`."""

    target: int | str

    def __str__(self) -> str:
        return f"`{self.target}`"


INPUT = Reference("input")
STOP = Reference("stop")


class RefusedError(Exception):
    """A node is not what its key takes. `code` is the diagnostic's code."""

    def __init__(self, code: str, message: str, help: str = "") -> None:  # noqa: A002
        self.code = code
        self.message = message
        self.help = help
        super().__init__(message)


class ValueType(Protocol):
    """Reads nodes into values."""

    def describe(self) -> str:
        """What is wanted, to complete the sentence "must be ..."."""

    def read(self, node: Node) -> object:
        """The value of the node, or RefusedError."""


def _wrong_type(wanted: ValueType, node: Node, help: str = "") -> RefusedError:  # noqa: A002
    return RefusedError("wrong-type", f"must be {wanted.describe()}, not {brief(node)}", help)


def _without_quotes(node: Node, pattern: str) -> str:
    """What to do about a text that is a value of the wanted type but for its quotes."""
    is_text = isinstance(node, Scalar) and isinstance(node.value, str)
    fits = isinstance(node, Scalar) and re.fullmatch(pattern, node.text, re.IGNORECASE)
    return f"write `{node.text}` without quotes" if is_text and fits and isinstance(node, Scalar) else ""


@dataclass(frozen=True)
class Integer:
    """A whole number within limits."""

    minimum: int
    maximum: int

    def describe(self) -> str:
        return f"an integer from {self.minimum} to {self.maximum}"

    def read(self, node: Node) -> int:
        if not isinstance(node, Scalar) or isinstance(node.value, bool) or not isinstance(node.value, int):
            raise _wrong_type(self, node, _without_quotes(node, r"-?(0x[0-9a-f]+|\d+)"))
        if not self.minimum <= node.value <= self.maximum:
            raise RefusedError("out-of-range", f"must be {self.describe()}, not {brief(node)}")
        return node.value


@dataclass(frozen=True)
class Boolean:
    """true or false; 1 and 0 count as well."""

    def describe(self) -> str:
        return "true or false"

    def read(self, node: Node) -> bool:
        if isinstance(node, Scalar) and isinstance(node.value, int) and node.value in {0, 1}:
            return bool(node.value)
        raise _wrong_type(self, node, _without_quotes(node, "true|false"))


@dataclass(frozen=True)
class Text:
    """Any words."""

    def describe(self) -> str:
        return "a text"

    def read(self, node: Node) -> str:
        if isinstance(node, Scalar) and node.value is not None and node.text:
            return node.text
        raise _wrong_type(self, node)


@dataclass(frozen=True)
class Choice:
    """One of a few words, in any case; several words may mean the same."""

    meanings: MappingProxyType[str, str]

    @classmethod
    def of(cls, **meanings: str) -> "Choice":
        """`of(none="none passthrough")`: each meaning with the words that stand for it, parted by spaces."""
        words = {word: meaning for meaning, words in meanings.items() for word in words.split()}
        return cls(MappingProxyType(words))

    def describe(self) -> str:
        words = [f"`{word}`" for word in self.meanings]
        return f"{', '.join(words[:-1])} or {words[-1]}"

    def read(self, node: Node) -> str:
        if not isinstance(node, Scalar):
            raise _wrong_type(self, node)
        if node.value is None:
            raise _wrong_type(self, node, "write the word `None`" if "none" in self.meanings else "")
        word = node.text.lower()
        if word not in self.meanings:
            meant = closest(word, self.meanings)
            mend = f"did you mean `{meant}`?" if meant else ""
            raise RefusedError("unknown-value", f"must be {self.describe()}, not {brief(node)}", mend)
        return self.meanings[word]


@dataclass(frozen=True)
class ProcessorMap:
    """64 bits, one for each processor: an integer, or hex digits with dots or underscores between."""

    def describe(self) -> str:
        return "a map of 64 processors, not empty, such as 0x0000.0000.0000.ffff"

    def read(self, node: Node) -> int:
        if not isinstance(node, Scalar) or isinstance(node.value, bool):
            raise _wrong_type(self, node)
        bits = node.value
        if isinstance(bits, str):
            digits = bits.replace(".", "").replace("_", "")
            if not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,4000}", digits):
                raise _wrong_type(self, node)
            bits = int(digits, 16)
        if not isinstance(bits, int):
            raise _wrong_type(self, node)
        if not 0 < bits < 1 << PROCESSORS:
            raise RefusedError("out-of-range", f"must be {self.describe()}, not {brief(node)}")
        return bits


def _alone(wanted: ValueType, element: Integer, node: Node) -> int:
    """A number that stands for itself where several could stand; the message names both."""
    try:
        return element.read(node)
    except RefusedError as fault:
        sizes = isinstance(node, Scalar) and re.fullmatch(r"(\d+) *[x*,] *(\d+)", node.text, re.IGNORECASE)
        mend = f"write `[{sizes[1]}, {sizes[2]}]`" if sizes else fault.help
        raise RefusedError(fault.code, f"must be {wanted.describe()}, not {brief(node)}", mend) from None


@dataclass(frozen=True)
class Pair:
    """Two integers [rows, columns], or one that counts for both."""

    element: Integer

    def describe(self) -> str:
        return f"{self.element.describe()}, or two of them [rows, columns]"

    def read(self, node: Node) -> tuple[int, int]:
        if not isinstance(node, Items):
            both = _alone(self, self.element, node)
            return both, both
        if len(node.items) != 2:
            raise _wrong_type(self, node)
        rows, columns = (self.element.read(item) for item in node.items)
        return rows, columns


@dataclass(frozen=True)
class TwoIntegers:
    """Exactly two integers."""

    element: Integer

    def describe(self) -> str:
        return f"a list of two numbers, each {self.element.describe()}"

    def read(self, node: Node) -> tuple[int, int]:
        if not isinstance(node, Items) or len(node.items) != 2:
            raise _wrong_type(self, node)
        first, second = (self.element.read(item) for item in node.items)
        return first, second


@dataclass(frozen=True)
class Dimensions:
    """A length L (1D), or [H, W] (2D); the number of values tells which was written."""

    element: Integer

    def describe(self) -> str:
        return f"a length ({self.element.describe()}) or two numbers [rows, columns]"

    def read(self, node: Node) -> tuple[int, ...]:
        if not isinstance(node, Items):
            return (_alone(self, self.element, node),)
        if len(node.items) != 2:
            raise _wrong_type(self, node, self._remedy(node))
        return tuple(self.element.read(item) for item in node.items)

    @staticmethod
    def _remedy(node: Items) -> str:
        """What to write instead of a list of one, or of three with the channels in front."""
        words = [item.text for item in node.items if isinstance(item, Scalar)]
        if len(words) == 1:
            return f"write `{words[0]}`"
        return f"channels do not count: write `[{words[1]}, {words[2]}]`" if len(words) == 3 else ""


@dataclass(frozen=True)
class KernelSize:
    """`3x3`, `1x1`, or a length for Conv1d."""

    def describe(self) -> str:
        return "`1x1` or `3x3`, or a length from 1 to 9 for Conv1d"

    def read(self, node: Node) -> tuple[int, ...]:
        if not isinstance(node, Scalar) or isinstance(node.value, bool):
            raise _wrong_type(self, node, "write `kernel_size: 3x3`" if isinstance(node, Items) else "")
        word = node.text.lower()
        if re.fullmatch(r"[1-9]", word):
            return (int(word),)
        if word in {"1x1", "3x3"}:
            return int(word[0]), int(word[2])
        raise RefusedError("out-of-range", f"must be {self.describe()}, not {brief(node)}")


@dataclass(frozen=True)
class LayerReference:
    """A layer's sequence number or name; `words` are the special ones that are allowed besides."""

    words: tuple[tuple[int | str, Reference], ...] = ()

    def describe(self) -> str:
        special = "".join(f", or `{word}`" for word, _ in self.words)
        return f"a layer's sequence number or name{special}"

    def read(self, node: Node) -> Reference:
        if not isinstance(node, Scalar) or not node.text:
            raise _wrong_type(self, node)
        is_number = isinstance(node.value, int) and not isinstance(node.value, bool)
        target = node.value if is_number and isinstance(node.value, int) else node.text.lower()
        special = dict(self.words).get(target)
        if special is not None:
            return special
        if isinstance(node.value, float) or node.value is None:
            raise _wrong_type(self, node)
        if isinstance(target, int) and target < 0:
            raise RefusedError("out-of-range", f"must be {self.describe()}, not {brief(node)}")
        return Reference(target)


@dataclass(frozen=True)
class ListOf:
    """A list, or one element alone."""

    element: ValueType

    def describe(self) -> str:
        return f"{self.element.describe()}, or a list of them"

    def read(self, node: Node) -> tuple[object, ...]:
        if not isinstance(node, Items):
            return (self.element.read(node),)
        if not node.items:
            raise _wrong_type(self, node)
        return tuple(self.element.read(item) for item in node.items)


@dataclass(frozen=True)
class Quantization:
    """The width of the weights in bits, or `binary`."""

    def describe(self) -> str:
        return "1, 2, 4, 8 or `binary`"

    def read(self, node: Node) -> int | str:
        if not isinstance(node, Scalar) or isinstance(node.value, bool):
            raise _wrong_type(self, node)
        if node.text.lower() in {"bin", "binary"}:
            return "binary"
        if isinstance(node.value, int) and node.value in {1, 2, 4, 8}:
            return node.value
        raise RefusedError("out-of-range", f"must be {self.describe()}, not {brief(node)}")


@dataclass(frozen=True)
class Anything:
    """Whatever stands there; nobody reads it."""

    def describe(self) -> str:
        return "anything"

    def read(self, node: Node) -> str:
        return brief(node)


@dataclass(frozen=True)
class Records:
    """A list of mappings, each with the keys of the named table."""

    table: str

    def describe(self) -> str:
        return "a list of mappings"

    def read(self, node: Node) -> tuple[Node, ...]:
        if not isinstance(node, Items):
            raise _wrong_type(self, node, "begin each entry with `- `")
        return node.items
