"""`ai8xsim demo`: the bundled network on the bundled real images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import make_simulator
from ai8xsim.cli.output import show_diagnostics

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ai8xsim.program import Program
    from ai8xsim.rules import Findings

    Array = npt.NDArray[np.integer[Any]]


def bundled_folder() -> Path:
    """The bundled network: inside the installed package, or in `networks/` of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "networks" / "digits"


@click.command()
@click.option("--quiet", is_flag=True, help="Print errors only.")
def demo(quiet: bool) -> int:
    """Check the bundled network, simulate it on real images, and compare every layer with PyTorch."""
    from ai8xsim.compare import torch_trace
    from ai8xsim.report.terminal import print_demo, progress_bar

    program, images, labels, findings = _load(bundled_folder())
    if not quiet:
        show_diagnostics(findings)
    if findings.has_errors:
        return 1
    with progress_bar("simulating", hidden=quiet) as progress:
        ours = make_simulator(program).run(images, progress=progress)
    theirs = torch_trace(program, images)
    if not quiet:
        print_demo(program, ours, theirs, labels)
    return 0 if ours.first_difference(theirs) is None else 1


def _load(folder: Path) -> tuple["Program", "Array", "Array", "Findings"]:
    import numpy as np

    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.device import MAX78000
    from ai8xsim.network import read_network
    from ai8xsim.program import resolve
    from ai8xsim.rules import check

    with np.load(folder / "samples.npz", allow_pickle=False) as samples:
        images, labels = samples["images"], samples["labels"]
    network = read_network(folder / "network.yaml")
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    findings = check(network, MAX78000, checkpoint, images[0])
    return resolve(network, checkpoint, MAX78000, images.shape[1:]), images, labels, findings
