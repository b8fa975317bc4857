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

    Array = npt.NDArray[np.integer[Any]]


def bundled_folder() -> Path:
    """The bundled network: inside the installed package, or in `networks/` of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "networks" / "digits"


@click.command()
@click.option("--quiet", is_flag=True, help="Print errors only.")
def demo(quiet: bool) -> int:
    """Simulate the bundled network on real images, and compare every layer with PyTorch."""
    from ai8xsim.compare import torch_trace
    from ai8xsim.report.terminal import print_demo, progress_bar

    program, images, labels = _load(bundled_folder())
    if not quiet:
        show_diagnostics(program.diagnostics)
    with progress_bar("simulating", hidden=quiet) as progress:
        ours = make_simulator(program).run(images, progress=progress)
    theirs = torch_trace(program, images)
    if not quiet:
        print_demo(program, ours, theirs, labels)
    return 0 if ours.first_difference(theirs) is None else 1


def _load(folder: Path) -> tuple["Program", "Array", "Array"]:
    import numpy as np

    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.device import MAX78000
    from ai8xsim.network import read_network
    from ai8xsim.program import resolve

    with np.load(folder / "samples.npz", allow_pickle=False) as samples:
        images, labels = samples["images"], samples["labels"]
    network = read_network(folder / "network.yaml")
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    return resolve(network, checkpoint, MAX78000, images.shape[1:]), images, labels
