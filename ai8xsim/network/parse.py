"""YAML text -> tree of places. The only module that knows YAML.

Only safe, standard scalars are constructed; no tag of the file can name a class or a function.
"""

from types import MappingProxyType

import yaml

from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.network.nodes import Items, Mapping, Node, Scalar

YamlNode = yaml.nodes.Node
DEEPEST = 50
NO_BREAK_SPACE = "\u00a0"
SIGNS = frozenset({"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"})  # `<<` and `=`, which mean no value
CLOSING = MappingProxyType({"while parsing a flow sequence": "]", "while parsing a flow mapping": "}"})


class UnreadableError(Exception):
    """The text is no usable YAML; carries the diagnostic."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(diagnostic.message)


def parse_yaml(text: str, file: str) -> Node | None:
    """The document as a tree, or None if it holds nothing. Raises UnreadableError."""
    lines = tuple(text.splitlines())
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as fault:
        raise UnreadableError(_syntax_fault(fault, file, lines)) from None
    except (yaml.YAMLError, ValueError) as fault:
        raise UnreadableError(
            error("yaml-syntax", f"not a YAML text: {_first_line(fault)}", Span(file))
        ) from None
    except RecursionError:
        raise UnreadableError(error("yaml-syntax", "values are nested too deeply", Span(file))) from None
    return None if root is None else _Tree(file, lines).node(root, depth=0)


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0]


def _syntax_fault(fault: yaml.MarkedYAMLError, file: str, lines: tuple[str, ...]) -> Diagnostic:
    """The fault where it lies. What was never finished lies where it began: YAML notices it lines behind that."""
    message = f"YAML syntax: {fault.problem or _first_line(fault)}"
    begun, noticed = fault.context_mark, fault.problem_mark
    mend = _unfinished(fault, lines)
    if mend and begun is not None:
        text = _line(lines, begun)
        length = len(text.rstrip()) - begun.column
        span = Span(file, begun.line + 1, begun.column + 1, length, text)
        label = f"begins here; noticed in line {noticed.line + 1}" if noticed else ""
        return error("yaml-syntax", message, span, label, help=mend)
    if fault.problem == "but found another document":
        message = "YAML syntax: a second document begins here"
        mend = "put each description into a file of its own, or remove the `---`"
    mark = noticed or begun
    span = Span(file, mark.line + 1, mark.column + 1, 1, _line(lines, mark)) if mark else Span(file)
    where = f", begun in line {begun.line + 1}" if begun else ""
    return error(
        "yaml-syntax",
        message,
        span,
        notes=(fault.context + where,) if fault.context else (),
        help=mend or "indent with spaces, two for each level, and put a space after each `:` and `-`",
    )


def _unfinished(fault: yaml.MarkedYAMLError, lines: tuple[str, ...]) -> str:
    """How to finish what the file begins and does not end; "" where that is not the fault."""
    begun, noticed = fault.context_mark, fault.problem_mark
    if begun is None or fault.context is None:
        return ""
    if fault.context == "while scanning a simple key":
        if NO_BREAK_SPACE in _line(lines, begun):
            return "write a plain space after the `:`; the one in this line is a no-break space"
        return "write `key: value`, with a colon and a space between them"
    if fault.context == "while scanning a quoted scalar":
        return "close the quotation mark"
    if fault.context in CLOSING and (noticed is None or noticed.line != begun.line):
        return f"close the bracket with `{CLOSING[fault.context]}`, and part what is in it by commas"
    return ""


def _line(lines: tuple[str, ...], mark: yaml.Mark) -> str:
    return lines[mark.line] if mark.line < len(lines) else ""


class _Tree:
    """Turns YAML's nodes into ours; an alias is converted once, so that nested aliases cost nothing."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        self._file = file
        self._lines = lines
        self._scalars = yaml.constructor.SafeConstructor()
        self._done: dict[int, Node] = {}

    def node(self, source: YamlNode, depth: int) -> Node:
        if depth > DEEPEST:  # also what an alias to its own surroundings leads to
            raise UnreadableError(error("yaml-syntax", "values are nested too deeply", self._span(source)))
        if id(source) not in self._done:
            self._done[id(source)] = self._convert(source, depth)
        return self._done[id(source)]

    def _convert(self, source: YamlNode, depth: int) -> Node:
        span = self._span(source)
        if isinstance(source, yaml.MappingNode):
            pairs = ((self.node(k, depth + 1), self.node(v, depth + 1)) for k, v in source.value)
            return Mapping(tuple(pairs), span)
        if isinstance(source, yaml.SequenceNode):
            return Items(tuple(self.node(item, depth + 1) for item in source.value), span)
        return self._scalar(source, span)

    def _scalar(self, source: YamlNode, span: Span) -> Scalar:
        if source.tag in SIGNS:  # the reader of keys says what to do about them
            return Scalar(source.value, source.value, span)
        try:
            value = self._scalars.construct_object(source)
        except Exception as fault:  # PyYAML's own converters fail in many ways on tags that lie
            message = f"`{source.value[:40]}` is no value of the type that it names"
            raise UnreadableError(error("yaml-syntax", message, span, notes=(_first_line(fault),))) from None
        known = value is None or isinstance(value, int | float | str)
        return Scalar(value if known else source.value, source.value, span)

    def _span(self, source: YamlNode) -> Span:
        start, end = source.start_mark, source.end_mark
        text = self._lines[start.line] if start.line < len(self._lines) else ""
        last = end.column if end.line == start.line else len(text)
        return Span(self._file, start.line + 1, start.column + 1, max(1, last - start.column), text)
