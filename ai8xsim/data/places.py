"""Where in a data-set file its data sets stand, so that diagnostics can point there."""

import ast
from dataclasses import dataclass
from pathlib import Path

from ai8xsim.diagnostics import Span


@dataclass(frozen=True)
class Places:
    """The places of the list `datasets`, its elements and their keys; the file where a place is not known."""

    whole: Span
    entries: tuple[Span, ...] = ()
    keys: tuple[tuple[tuple[str, Span], ...], ...] = ()

    def entry(self, index: int) -> Span:
        """Where an element begins."""
        return self.entries[index] if index < len(self.entries) else self.whole

    def key(self, index: int, name: str) -> Span:
        """Where a key of an element stands."""
        known = dict(self.keys[index]) if index < len(self.keys) else {}
        return known.get(name, self.entry(index))


def find_places(path: Path) -> Places:
    """The places in a file; only the file's name where the list is not written out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")  # as the tree counts them
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return Places(Span(str(path)))

    def span(node: ast.expr, length: int) -> Span:
        line = lines[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode()) + 1  # the tree counts bytes
        return Span(str(path), node.lineno, column, length, line)

    for node in reversed(tree.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(t, ast.Name) and t.id == "datasets" for t in targets) and value is not None:
            elements = _elements(node, value)
            entries = tuple(span(element, 1) for element in elements)
            keys = tuple(
                tuple((str(k.value), span(k, len(ast.unparse(k)))) for k in _keys(element))
                for element in elements
            )
            first = targets[0]
            whole = span(first, len("datasets")) if isinstance(first, ast.Name) else Span(str(path))
            return Places(whole, entries, keys)
    return Places(Span(str(path)))


def _elements(node: ast.stmt, value: ast.expr) -> list[ast.expr]:
    """The elements of a list that is written out whole, one for each data set; else none."""
    if isinstance(node, ast.AugAssign) or not isinstance(value, ast.List | ast.Tuple):
        return []
    return [] if any(isinstance(element, ast.Starred) for element in value.elts) else value.elts


def _keys(element: ast.expr) -> list[ast.Constant]:
    return [k for k in element.keys if isinstance(k, ast.Constant)] if isinstance(element, ast.Dict) else []
