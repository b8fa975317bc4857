"""What `modules.pyi` says: classes and parameters by name, for those who cannot see a table at work."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

from ai8xsim.nn.parameters import Parameters, default_of, names_of
from ai8xsim.nn.table import OPERATIONS, POOLS, kinds

HEAD = '''"""Made from the table by `ai8xsim.nn.stub`; a test holds the two together."""

from typing import Any

from ai8xsim.nn.layer import Layer
from ai8xsim.nn.table import Kind

__all__: list[str]

class Fused(Layer):
    kind: Kind
    def __init__(self, *args: Any, **given: Any) -> None: ...
'''


def stub() -> str:
    """The text of `modules.pyi`."""
    lines = [HEAD.rstrip()]
    for kind in kinds():
        if kind.name in OPERATIONS:
            lines += ["", f"class {kind.name}({kind.base}):", *_signature(kind.operation), ""]
        else:
            lines.append(f"class {kind.name}({kind.base}): ...")
    for name, kind in POOLS.items():
        lines += ["", f"class {name}({kind.name}):"]
        lines += [
            "    def __init__(self, kernel_size: Any, stride: Any = None, dilation: Any = 1, **given: Any) -> None: ..."
        ]
    return "\n".join([*lines, ""])


def _signature(operation: str) -> Iterator[str]:
    yield "    def __init__("
    yield "        self,"
    types = {entry.name: _named(entry.type) for entry in fields(Parameters)}
    for name in names_of(operation):
        default = default_of(operation, name)
        value = "" if default is MISSING else f" = {default!r}".replace("'", '"')
        yield f"        {name}: {types.get(name, 'int')}{value},"
    yield "    ) -> None: ..."


def _named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).removeprefix("typing.")
