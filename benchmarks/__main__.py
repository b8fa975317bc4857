"""`python -m benchmarks`: our functional level against NumPy, on real networks."""

import json
from pathlib import Path

import click
from rich.console import Console

from benchmarks.cases import BUNDLED, GOLDEN, NETWORKS, bundled_case, golden_case
from benchmarks.race import Row, WrongAnswerError, race
from benchmarks.report import as_json
from benchmarks.table import print_result


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--golden",
    type=click.Path(file_okay=False, path_type=Path),
    default=GOLDEN,
    show_default="beside the repository",
    help="The golden data; without it only the bundled network is measured.",
)
@click.option(
    "--network",
    "names",
    type=click.Choice([BUNDLED, *NETWORKS]),
    multiple=True,
    metavar="NAME",
    help=f"Measure this one only; may be repeated. {', '.join((BUNDLED, *NETWORKS))}.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 64),
    show_default=True,
    help="Samples in a run; may be repeated.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Time for a row; what takes longer is left out.",
)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result there, with all spreads.",
)
def main(
    golden: Path, names: tuple[str, ...], batches: tuple[int, ...], seconds: float, file: Path | None
) -> None:
    """How fast ai8xsim simulates real networks, against int64 NumPy. Wrong answers end with exit code 1."""
    wanted = [name for name in (BUNDLED, *NETWORKS) if not names or name in names]
    missing = [name for name in wanted if name != BUNDLED and not _folder(golden, name).is_dir()]
    notes = [f"not measured, because not in {golden}: {', '.join(missing)}"] if missing else []
    rows: list[Row] = []
    with Console(stderr=True).status("") as status:
        try:
            for name in wanted:
                if name not in missing:
                    status.update(f"measuring {name}")
                    case = bundled_case() if name == BUNDLED else golden_case(_folder(golden, name))
                    rows += race(case, batches, seconds)
        except WrongAnswerError as fault:
            raise click.ClickException(str(fault)) from None
    print_result(rows, notes)
    if file is not None:
        file.write_text(json.dumps(as_json(rows, notes), indent=2) + "\n", encoding="utf-8")


def _folder(golden: Path, name: str) -> Path:
    return golden / "networks" / name


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
