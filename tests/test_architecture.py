"""The boundaries of the package, as tables. A new file must be given a row before it can be merged."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ai8xsim
from ai8xsim.codes import CODES

PACKAGE = Path(__file__).resolve().parents[1] / "ai8xsim"
FILES = sorted(PACKAGE.rglob("*.py"))
ROWS = (  # a module imports only from rows above its own, and from its own room
    {"diagnostics", "codes", "progress", "version"},
    {"errors", "device", "files", "formats"},
    {"layout"},
    {"memory"},
    {"network", "checkpoint", "kernels"},
    {"program", "trace"},
    {"samples", "engine", "transforms"},
    {"simulator", "machine", "models"},
    {"nn"},
    {"data"},
    {"rules", "quantize", "images"},
    {"compare", "testing"},
    {"evaluate", "train"},
    {"report"},
    {"cli", "__init__"},
    {"__main__"},
)
LEVEL = {name: number for number, row in enumerate(ROWS) for name in row}
ALONE = ("kernels/reference.py",)  # independent roads to an answer import nothing of ours
NEVER = {name: {"kernels", "engine", "simulator"} for name in ("compare", "nn", "data")}
ONLY_IN = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "torch": {"compare", "data", "nn", "quantize", "testing", "train"},
    "sklearn": {"evaluate/measures.py"},
    "distributed": {"evaluate/cluster.py"},
    "yaml": {"network/parse.py"},
    "click": {"cli"},
    "rich": {"report"},
    "hypothesis": {"testing"},
    "PIL": {"data", "images", "report", "transforms/pictures.py"},
    "jinja2": {"report"},
    "matplotlib": {"data"},
}
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, LINES_OF_A_KERNEL, PARAMETERS = 450, 60, 80, 6


def identity(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            module = node.module or ""
            yield from ([f"ai8xsim.{a.name}" for a in node.names] if module == "ai8xsim" else [module])


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    assert here in LEVEL, f"give `{here}` a row"
    for name in imports(ast.parse(path.read_text())):
        top, *rest = name.split(".")
        if top == "ai8xsim" and rest and rest[0] != here:
            assert LEVEL[rest[0]] < LEVEL[here], f"{here} imports {rest[0]}"
            assert rest[0] not in NEVER.get(here, set()) or rest[-1] == "geometry", (
                f"{here} imports {rest[0]}"
            )
        assert top != "ai8xsim" or identity(path) not in ALONE, f"{identity(path)} must stay alone"
        allowed = ONLY_IN.get(top, {here})
        assert {here, identity(path)} & allowed, f"{here} imports {top}, only {sorted(allowed)} may"


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_budgets_are_kept(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES_OF_A_FILE
    allowed = LINES_OF_A_KERNEL if room(path) == "kernels" else LINES_OF_A_FUNCTION
    for function in functions(ast.parse(text)):
        docstring = ast.get_docstring(function, clean=False) or ""
        lines = (function.end_lineno or 0) - function.lineno + 1 - docstring.count("\n")
        assert lines <= allowed, f"{function.name} has {lines} lines"
        a = function.args
        count = len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs)
        assert count <= PARAMETERS, f"{function.name} has {count} parameters"


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_nothing_prints_exits_or_keeps_global_state(path: Path) -> None:
    tree = ast.parse(path.read_text())
    talks = room(path) in {"cli", "report"}
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: a global"
        if isinstance(node, ast.Call) and not talks:
            assert getattr(node.func, "id", "") not in {"print", "exit"}, f"line {node.lineno}: print or exit"
    for statement in tree.body:
        names = getattr(statement, "targets", [getattr(statement, "target", None)])
        is_public_list = any(getattr(name, "id", "") == "__all__" for name in names)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and not is_public_list:
            mutable = isinstance(statement.value, ast.List | ast.Dict | ast.Set)
            assert not mutable, f"line {statement.lineno}: use a tuple, a frozenset or a MappingProxyType"


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_every_module_and_public_name_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has none"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has none"


def test_public_names_load_and_are_complete() -> None:
    for name in ai8xsim.__all__:
        assert getattr(ai8xsim, name) is not None
    homes = {name for names in ai8xsim._ROOMS.values() for name in names}
    assert homes | {"__version__"} == set(ai8xsim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ai8xsim.nothing


def test_no_module_is_called_a_bag() -> None:
    assert not {path.stem for path in FILES} & {"utils", "helpers", "common", "misc"}


def codes_in(path: Path) -> Iterator[str]:
    """The codes that a file gives to its diagnostics."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "error",
            "warning",
            "note",
            "RefusedError",
        }:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_the_table_of_codes_is_exactly_what_is_used() -> None:
    used = {code for path in FILES for code in codes_in(path)}
    assert used == set(CODES)


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import ai8xsim", ("numba", "torch", "numpy", "yaml", "rich", "click")),
        ("from ai8xsim import read_network", ("numba", "torch", "numpy", "rich")),
        ("from ai8xsim import read_checkpoint", ("numba", "torch", "rich")),
        ("from ai8xsim import resolve", ("numba", "torch", "rich")),
        ("from ai8xsim import Simulator", ("torch", "rich")),
        ("import ai8xsim.evaluate.sources", ("torch", "sklearn", "distributed", "PIL", "rich")),
        ("import ai8xsim.images", ("torch", "numba", "rich")),
        ("import ai8xsim.cli", ("numba", "torch", "numpy", "yaml", "rich")),
    ],
)
def test_imports_load_only_what_they_need(statement: str, unwanted: tuple[str, ...]) -> None:
    probe = f"import sys; {statement}; print(*[m for m in {unwanted!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []
