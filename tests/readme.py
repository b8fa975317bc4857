"""The README's commands. `python tests/readme.py N` prints the N-th installation command, as a newcomer types it."""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def shell_blocks() -> list[str]:
    """The blocks of commands to type, in the order of the README."""
    return re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)


def sessions() -> list[tuple[str, str]]:
    """Each command of the tour (`$ ai8xsim ...`) with the output that the README shows for it."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    shown = []
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            shown.append((command, output))
    return shown


if __name__ == "__main__":
    print(shell_blocks()[int(sys.argv[1]) - 1].strip())
