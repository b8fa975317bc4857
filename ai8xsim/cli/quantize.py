"""`ai8xsim quantize`: trained checkpoint to quantized checkpoint."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ai8xsim.cli.options import FILE
from ai8xsim.cli.output import diagnostic_record, print_json, refuse_outputs, show_diagnostics
from ai8xsim.diagnostics import Diagnostic, Span, warning
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from ai8xsim.quantize import Quantized

SCHEMA_VERSION = 1


@click.command()
@click.argument("trained", type=FILE)
@click.argument("quantized", type=FILE)
@click.option(
    "--network", type=FILE, help="The description: its `quantization` gives the widths of the layers."
)
@click.option("--bits", type=click.Choice(["1", "2", "4", "8"]), default="8", show_default=True,
              help="The width of layers of which neither description nor checkpoint says anything.")  # fmt: skip
@click.option("--clip-method", type=click.Choice(["max", "avgmax", "stddev", "scale"]), default="max",
              show_default=True, help="What counts as a layer's largest weight; the rest saturates.")  # fmt: skip
@click.option("--deviations", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True,
              help="For `stddev`: how many standard deviations.")  # fmt: skip
@click.option("--scale", type=click.FloatRange(0, 1, min_open=True), default=0.85, show_default=True,
              help="For `scale`: the part of the largest weight.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--force", is_flag=True, help="Overwrite an existing output.")
def quantize(trained: Path, quantized: Path, **flags: Any) -> None:
    """Quantize the checkpoint TRAINED to the integers of the chip, and write it to QUANTIZED."""
    refuse_outputs((quantized,), (trained, flags["network"]), flags["force"])
    result = _quantized(trained, flags)
    result = replace(result, diagnostics=(*result.diagnostics, *_unused_bits(trained, result, flags["bits"])))
    show_diagnostics(() if flags["quiet"] else result.diagnostics)
    from ai8xsim.quantize import save_quantized

    write_file(quantized, lambda stream: save_quantized(result, stream))
    if flags["as_json"]:
        print_json(_record(result))
    elif not flags["quiet"]:
        from ai8xsim.report.terminal import print_quantized

        print_quantized(result)


def _quantized(trained: Path, flags: dict[str, Any]) -> "Quantized":
    from ai8xsim.network import read_network
    from ai8xsim.quantize import QuantizeOptions
    from ai8xsim.quantize import quantize as quantize_checkpoint

    network = read_network(flags["network"]) if flags["network"] else None
    options = QuantizeOptions(
        bits=int(flags["bits"]),
        clip=flags["clip_method"],
        deviations=flags["deviations"],
        scale=flags["scale"],
    )
    return quantize_checkpoint(trained, network, options)


def _unused_bits(trained: Path, result: "Quantized", bits: str) -> Iterator[Diagnostic]:
    """A warning where the width was asked for and no layer has it: a width that is stated comes first."""
    asked = click.get_current_context().get_parameter_source("bits") is ParameterSource.COMMANDLINE
    widths = sorted({layer.bits for layer in result.layers})
    if asked and int(bits) not in widths:
        message = f"`--bits {bits}` has no effect: checkpoint or description state {', '.join(map(str, widths))} bits"
        mend = "give `--network` with `quantization` in the layers, or train by a policy with that width"
        yield warning("unused-bits", message, Span(str(trained)), help=mend)


def _record(result: "Quantized") -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "arch": result.trained.arch,
        "layers": [
            {
                "name": layer.name,
                "bits": layer.bits,
                "output_shift": layer.output_shift,
                "largest": layer.largest,
                "saturated": layer.saturated,
                "count": layer.count,
                "error": layer.error,
                "notes": list(layer.notes),
            }
            for layer in result.layers
        ],
        "diagnostics": [diagnostic_record(diagnostic) for diagnostic in result.diagnostics],
    }
