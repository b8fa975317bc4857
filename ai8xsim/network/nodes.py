"""The YAML file as a tree of places: every scalar, list and mapping knows where it stands."""

from dataclasses import dataclass

from ai8xsim.diagnostics import Span

Plain = int | float | bool | str | None


@dataclass(frozen=True)
class Scalar:
    """A single value, as YAML understands it, and as it was written."""

    value: Plain
    text: str
    span: Span


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple["Node", ...]
    span: Span


@dataclass(frozen=True)
class Mapping:
    """Pairs of key and value, in the order of the file and with duplicates."""

    pairs: tuple[tuple["Node", "Node"], ...]
    span: Span


Node = Scalar | Items | Mapping


def brief(node: Node) -> str:
    """What stands there, short enough for a message.

    >>> brief(Scalar(None, "", Span("net.yaml")))
    'nothing'
    """
    if isinstance(node, Items):
        return f"a list of {len(node.items)}"
    if isinstance(node, Mapping):
        return "a mapping"
    if node.value is None:
        return f"`{node.text}` (null)" if node.text else "nothing"
    return f"`{node.text}`" if len(node.text) <= 40 else f"`{node.text[:37]}...`"
