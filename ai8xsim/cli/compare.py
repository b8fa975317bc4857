"""`ai8xsim compare`: the chip's layers against somebody else's, and why they differ."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import (
    FILE,
    LOADER_OPTIONS,
    MODEL_OPTIONS,
    loader_options,
    make_simulator,
    model_argument,
    with_options,
)
from ai8xsim.cli.output import diagnostic_record, print_json, refuse_outputs, show_diagnostics
from ai8xsim.diagnostics import Diagnostic, errors_among
from ai8xsim.errors import collect
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from ai8xsim.checkpoint import Checkpoint
    from ai8xsim.compare import Comparison
    from ai8xsim.compare.measures import Observed
    from ai8xsim.compare.model import Factory
    from ai8xsim.program import Program
    from ai8xsim.trace import Trace

SCHEMA_VERSION = 1


@click.command()
@click.argument("network", type=FILE)
@click.option("--checkpoint", type=FILE, required=True, help="The quantized checkpoint.")
@click.option("--sample", type=FILE, required=True, help="One sample: a .npy of integers.")
@with_options(*MODEL_OPTIONS)
@click.option("--against", type=FILE,
              help="A trace (.npz) or an output (.npy) of another run, or the loader's sampleoutput.h.")  # fmt: skip
@click.option("--trained", type=FILE,
              help="The checkpoint before quantization: show what --model loses from floats to integers.")  # fmt: skip
@click.option("--html", type=FILE, help="Write the comparison as one HTML file.")
@with_options(*LOADER_OPTIONS)
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def compare(network: Path, **flags: Any) -> int:
    """Compare NETWORK, layer by layer, with a model file, another run, or PyTorch's own operators.

    Without --model and --against the model is built from the description itself. With --trained the model computes in
    floats: the layers are listed by what they lose, the worst first, and differences are no failure.
    """
    from ai8xsim.errors import Ai8xsimError

    if flags["model"] and flags["against"]:
        raise click.UsageError("give one of --model and --against")
    if flags["trained"] and not flags["model"]:
        raise click.UsageError("--trained needs --model, which computes in floats")
    inputs = (network, flags["checkpoint"], flags["sample"], flags["against"], flags["trained"])
    refuse_outputs((flags["html"],), inputs, flags["force"])
    try:
        sides = _load(network, flags)
        theirs = _theirs(sides, flags)
    except Ai8xsimError as fault:
        if not flags["as_json"]:
            raise
        print_json({"schema_version": SCHEMA_VERSION, **_nothing(fault.diagnostics)})
        return 1
    return _verdict(network, sides, theirs, flags)


@dataclass(frozen=True)
class Sides:
    """What is compared: our trace, and what it comes from."""

    program: "Program"
    checkpoint: "Checkpoint"
    sample: Any
    trace: "Trace"


@dataclass(frozen=True)
class Theirs:
    """The other side: layers by number, what of it is no layer of ours, what was said on the way."""

    layers: Mapping[int, "Observed"]
    unmatched: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def _load(network: Path, flags: dict[str, Any]) -> Sides:
    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.cli.arrays import read_sample
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.network import read_network
    from ai8xsim.program import resolve

    found: list[Diagnostic] = []
    described = collect(found, lambda: read_network(network))
    checkpoint = collect(found, lambda: read_checkpoint(flags["checkpoint"]))
    sample = collect(found, lambda: read_sample(flags["sample"]))
    if described is None or checkpoint is None or sample is None:
        raise Ai8xsimError(found)
    program = resolve(described, checkpoint, flags["device"], sample.shape, loader_options(flags))
    return Sides(program, checkpoint, sample, make_simulator(program).run(sample))


def _theirs(sides: Sides, flags: dict[str, Any]) -> Theirs:
    from ai8xsim.compare import torch_trace
    from ai8xsim.compare.measures import observed, observed_as

    if flags["model"]:
        return _of_model(sides, flags)
    if flags["against"] is None:
        return Theirs(observed(torch_trace(sides.program, sides.sample)))
    if flags["against"].suffix == ".npz":
        from ai8xsim.trace import load_trace

        return Theirs(*observed_as(sides.trace, load_trace(flags["against"])))
    if flags["against"].suffix == ".h":
        from ai8xsim.compare.known_answer import expected_outputs, read_known_answer

        answer = read_known_answer(flags["against"], sides.program.device)
        layers, said = expected_outputs(sides.program, answer)
        return Theirs(layers, (), said)
    return Theirs(_of_output(sides, flags["against"]))


def _of_model(sides: Sides, flags: dict[str, Any]) -> Theirs:
    from ai8xsim.compare.model import Factory, match, observe, trained_model
    from ai8xsim.nn import setting

    path = None if flags["path"] is None else str(flags["path"])
    factory = Factory(flags["model"], path, tuple(model_argument(text) for text in flags["arguments"]))
    if flags["trained"]:
        return _of_floats(sides, factory, flags["trained"])
    rounds = flags["avg_pool_rounding"]
    name = flags["device"].name
    try:
        with setting(name, simulate=True, round_avg=rounds, behaviour=flags["behaviour"]):
            model, loaded = trained_model(factory, sides.program, sides.checkpoint)
            matched = match(sides.program, observe(model, sides.program, sides.sample))
    except ValueError as fault:
        raise click.UsageError(f"--model: {fault}") from None
    return Theirs(matched.layers, matched.unmatched, loaded.diagnostics)


def _of_floats(sides: Sides, factory: "Factory", trained: Path) -> Theirs:
    from ai8xsim.compare.floats import float_outputs

    try:
        matched = float_outputs(factory, sides.program, trained, sides.checkpoint, sides.sample)
    except ValueError as fault:
        raise click.UsageError(f"--model: {fault}") from None
    return Theirs(matched.layers, matched.unmatched)


def _of_output(sides: Sides, path: Path) -> "dict[int, Observed]":
    """The last layer's output from a file of one array; its axes of one do not count."""
    from ai8xsim.cli.arrays import read_expected
    from ai8xsim.compare.measures import Observed
    from ai8xsim.diagnostics import Span, error
    from ai8xsim.errors import InputError

    expected, last = read_expected(path), sides.trace.layers[-1]
    if expected.size != last.output.size:
        message = f"the output has {last.output.size} values, this file {expected.size}"
        raise InputError([error("sample-shape", message, Span(str(path)))])
    return {last.index: Observed(path.name, expected.reshape(last.samples.shape))}


def _verdict(network: Path, sides: Sides, theirs: Theirs, flags: dict[str, Any]) -> int:
    from ai8xsim.compare import compare as compare_layers

    comparison = compare_layers(sides.trace, theirs.layers, theirs.unmatched)
    is_lossy = bool(flags["trained"])
    causes: tuple[Diagnostic, ...] = ()
    if not comparison.is_equal and not is_lossy:
        from ai8xsim.compare.causes import diagnose

        causes = diagnose(sides.program, sides.sample, theirs.layers, sides.checkpoint)
    diagnostics = (*sides.program.diagnostics, *theirs.diagnostics, *causes)
    if flags["html"] is not None:
        _write_page(network, comparison, (sides, theirs), diagnostics, flags)
    if flags["as_json"]:
        print_json(_record(comparison, diagnostics))
    else:
        _show(comparison, diagnostics, flags)
    return 0 if comparison.is_equal or is_lossy else 1


def _show(comparison: "Comparison", diagnostics: tuple[Diagnostic, ...], flags: dict[str, Any]) -> None:
    from ai8xsim.report.terminal import print_layers_compared, print_losses

    show_diagnostics(errors_among(diagnostics) if flags["quiet"] else diagnostics)
    if not flags["quiet"]:
        (print_losses if flags["trained"] else print_layers_compared)(comparison)


def _write_page(
    network: Path,
    comparison: "Comparison",
    both: tuple[Sides, Theirs],
    diagnostics: tuple[Diagnostic, ...],
    flags: dict[str, Any],
) -> None:
    from ai8xsim.report.html import Page, comparison_page
    from ai8xsim.version import __version__

    sides, theirs = both
    other = flags["against"] or flags["model"] or "PyTorch's operators"
    kind = f"{other} in floats, from {flags['trained']}" if flags["trained"] else str(other)
    facts = (str(sides.program.device), f"checkpoint {flags['checkpoint']}", f"sample {flags['sample']}",
             f"ai8xsim {__version__}")  # fmt: skip
    page = Page(f"{network} against {kind}", facts, diagnostics)
    text = comparison_page(page, comparison, sides.trace, theirs.layers)
    write_file(flags["html"], lambda stream: stream.write(text.encode()))


def _nothing(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    return {
        "equal": False,
        "layers": [],
        "unmatched": [],
        "diagnostics": [diagnostic_record(d) for d in diagnostics],
    }


def _record(comparison: "Comparison", diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    layers = [
        {
            "index": layer.index,
            "name": layer.name,
            "theirs": layer.theirs,
            "equal": layer.is_equal,
            "reason": layer.reason,
            "measures": _measures(layer.measures),
        }
        for layer in comparison.layers
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "equal": comparison.is_equal,
        "layers": layers,
        "unmatched": list(comparison.unmatched),
        "diagnostics": [diagnostic_record(d) for d in diagnostics],
    }


def _measures(measures: Any) -> dict[str, Any] | None:
    """As JSON has it, which knows neither infinity nor NaN."""
    if measures is None:
        return None
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in asdict(measures).items()
    }
