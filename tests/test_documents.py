"""What the documents promise: commands run and print what is shown, examples in docstrings hold.

`python -m tests.test_documents` writes the README's outputs anew; `git diff` shows what to review.
"""

import doctest
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest

from .conftest import ROOT
from .readme import README, sessions, shell_blocks

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "ai8xsim").rglob("*.py")
    if path.stem != "__main__"
)


def output_of(command: str) -> str:
    """What a command of the tour prints, both streams, in the repository's folder, 100 columns wide."""
    words = command.replace("ai8xsim ", f"{sys.executable} -m ai8xsim ", 1)
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    shown = subprocess.run(
        words, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return tidy(shown.stdout + shown.stderr)


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(import_module(module)).failed == 0


@pytest.mark.parametrize(("command", "output"), sessions(), ids=lambda text: text.partition("\n")[0][:60])
def test_the_tour_shows_what_the_commands_print(command: str, output: str) -> None:
    assert output_of(command) == tidy(output)


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_first_two_commands_are_the_promised_ones() -> None:
    demo, tests = shell_blocks()[:2]
    assert demo.strip().endswith("ai8xsim demo")
    assert tests.strip().endswith("pytest")
    assert all("-c constraints.txt" in command for command in (demo, tests))


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for line in re.findall(r'^    "[a-zA-Z-]+[>=].*$', text, re.MULTILINE):
        assert "#" in line, line


def test_constraints_pin_every_dependency() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    named = re.findall(r'^    "([a-zA-Z-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {name.lower() for name in named} <= pinned


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    texts = {
        path: path.read_text(errors="ignore")
        for path in paths
        if path.suffix in {".py", ".md", ".toml", ".yaml"}
    }
    pattern = re.compile("/" + "work/|/" + "root/|/home/[a-z]")
    assert [path.name for path, text in texts.items() if pattern.search(text)] == []


def rewrite() -> None:
    """Put the real outputs into the README."""
    text = README.read_text()
    for command, output in sessions():
        gap = "\n" if output.endswith("\n\n") else ""
        text = text.replace(f"$ {command}\n{output}", f"$ {command}\n{output_of(command)}{gap}")
    README.write_text(text)


if __name__ == "__main__":
    rewrite()
