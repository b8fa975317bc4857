"""`ai8xsim simulate`: run a checkpoint on a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import FILE, LOADER_OPTIONS, OUTPUT_OPTIONS, loader_options, with_options
from ai8xsim.cli.output import (
    diagnostic_record,
    print_json,
    refuse_existing,
    show_diagnostics,
    write_file,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ai8xsim.checkpoint import Checkpoint
    from ai8xsim.diagnostics import Diagnostic
    from ai8xsim.network import NetworkDescription
    from ai8xsim.program import Program
    from ai8xsim.trace import Trace

    Array = npt.NDArray[np.integer[Any]]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Origin:
    """Where the samples come from: exactly one of them is given."""

    sample: Path | None
    batch: Path | None
    random: int | None
    input_shape: tuple[int, ...] | None


class InputShape(click.ParamType[tuple[int, ...]]):
    """Sizes parted by commas: 3,32,32."""

    name = "C,H,W"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            sizes = tuple(int(size) for size in str(value).split(","))
        except ValueError:
            sizes = ()
        if len(sizes) in {2, 3} and min(sizes) > 0:
            return sizes
        return self.fail(f"{value!r} is neither C,H,W nor C,L", param, ctx)


@click.command()
@click.argument("network", type=FILE)
@click.option("--checkpoint", type=FILE, required=True, help="The quantized checkpoint.")
@click.option("--sample", type=FILE, help="One sample: a .npy of integers, (C, H, W) or (C, L).")
@click.option("--batch", type=FILE, help="Several samples: (N, C, H, W) or (N, C, L).")
@click.option("--random", type=int, metavar="SEED", help="A random sample, the same for the same seed.")
@click.option(
    "--input-shape", type=InputShape(), help="The shape of a --random sample, where the layers do not fix it."
)
@click.option("--output", type=FILE, help="Write the output as .npy.")
@click.option("--trace", "trace_file", type=FILE, help="Write every layer's output as .npz.")
@click.option("--expect", type=FILE, help="Compare with an output (.npy) or a trace (.npz).")
@click.option("--save-sample", type=FILE, help="Write the samples that were used as .npy.")
@click.option("--threads", type=click.IntRange(1), help="Work on so many parts of a batch at a time.")
@with_options(*LOADER_OPTIONS, *OUTPUT_OPTIONS)
def simulate(network: Path, checkpoint: Path, **flags: Any) -> int:
    """Run the network NETWORK with a quantized checkpoint, bit for bit as the chip does."""
    origin = Origin(flags["sample"], flags["batch"], flags["random"], flags["input_shape"])
    _refuse_other_than_one(origin)
    outputs = (flags["output"], flags["trace_file"], flags["save_sample"])
    refuse_existing(outputs, flags["force"])
    program, samples = _load(network, checkpoint, origin, flags)
    trace = _run(program, samples, flags)
    _write(trace, samples, outputs, flags["force"])
    _show(program, trace, flags)
    return 0 if flags["expect"] is None else _compare(trace, flags["expect"], flags["quiet"])


def _refuse_other_than_one(origin: Origin) -> None:
    given = [value for value in (origin.sample, origin.batch, origin.random) if value is not None]
    if len(given) != 1:
        raise click.UsageError("give one of --sample, --batch and --random")


def _load(
    network: Path, checkpoint: Path, origin: Origin, flags: dict[str, Any]
) -> tuple["Program", "Array"]:
    """The program and its samples; the faults of all files in one run."""
    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.network import read_network
    from ai8xsim.program import resolve

    found: list[Diagnostic] = []
    described = stored = samples = None
    try:
        described = read_network(network)
    except Ai8xsimError as fault:
        found += fault.diagnostics
    try:
        stored = read_checkpoint(checkpoint)
    except Ai8xsimError as fault:
        found += fault.diagnostics
    try:
        samples = _read_samples(origin)
    except Ai8xsimError as fault:
        found += fault.diagnostics
    if found or described is None or stored is None:
        raise Ai8xsimError(found)
    if samples is None:
        samples = _random_sample(origin, described, stored, flags)
    shape = samples.shape[1:] if origin.batch else samples.shape
    return resolve(described, stored, flags["device"], shape, loader_options(flags)), samples


def _read_samples(origin: Origin) -> "Array | None":
    from ai8xsim.cli.arrays import read_batch, read_sample

    if origin.sample is not None:
        return read_sample(origin.sample)
    return read_batch(origin.batch) if origin.batch is not None else None


def _random_sample(
    origin: Origin, network: "NetworkDescription", checkpoint: "Checkpoint", flags: dict[str, Any]
) -> "Array":
    import numpy as np

    from ai8xsim.program.infer import infer_input_shape

    shape = origin.input_shape
    if shape is None:
        shape = infer_input_shape(network, checkpoint, flags["device"], loader_options(flags))
    if shape is None:
        raise click.UsageError(
            "the description fits inputs of any size, or of none; give --input-shape C,H,W"
        )
    return np.random.default_rng(origin.random).integers(-128, 128, shape, dtype=np.int8)


def _run(program: "Program", samples: "Array", flags: dict[str, Any]) -> "Trace":
    from ai8xsim.report.terminal import progress_bar
    from ai8xsim.simulator import Simulator

    simulator = Simulator(program, threads=flags["threads"])
    with progress_bar("simulating", hidden=flags["quiet"] or flags["as_json"]) as progress:
        return simulator.run(samples, progress=progress)


def _write(trace: "Trace", samples: "Array", outputs: tuple[Path | None, ...], force: bool) -> None:
    import numpy as np

    output, trace_file, save_sample = outputs
    if output is not None:
        write_file(output, lambda stream: np.save(stream, trace.output), force)
    if trace_file is not None:
        write_file(trace_file, trace.save, force)
    if save_sample is not None:
        write_file(save_sample, lambda stream: np.save(stream, samples.astype(np.int64)), force)


def _show(program: "Program", trace: "Trace", flags: dict[str, Any]) -> None:
    from ai8xsim.report.terminal import print_trace

    if flags["as_json"]:
        print_json(_record(program, trace))
        return
    if flags["quiet"]:
        return
    show_diagnostics(program.diagnostics)
    if flags["random"] is not None:
        click.echo(f"a random sample of {program.input_shape}, seed {flags['random']}")
    print_trace(trace)


def _record(program: "Program", trace: "Trace") -> dict[str, Any]:
    last = trace.layers[-1]
    return {
        "schema_version": SCHEMA_VERSION,
        "device": program.device.name,
        "output": {
            "shape": list(trace.output.shape),
            "dtype": str(trace.output.dtype),
            "sha256": _digest(last.digests),
        },
        "layers": [
            {
                "index": layer.index,
                "name": layer.name,
                "operator": layer.operator,
                "shape": list(layer.shape),
                "sha256": _digest(layer.digests),
                "saturated": layer.saturated,
            }
            for layer in trace
        ],
        "diagnostics": [diagnostic_record(d) for d in program.diagnostics],
    }


def _digest(digests: tuple[str, ...]) -> str | list[str]:
    """One digest for one sample, a list for several."""
    return digests[0] if len(digests) == 1 else list(digests)


def _compare(trace: "Trace", expected: Path, quiet: bool) -> int:
    from ai8xsim.cli.arrays import read_array
    from ai8xsim.report.terminal import print_comparison
    from ai8xsim.trace import load_trace, output_difference

    if expected.suffix == ".npz":
        difference = trace.first_difference(load_trace(expected))
    else:
        difference = output_difference(trace, read_array(expected))
    if not quiet or difference is not None:
        print_comparison(difference, expected.name)
    return 0 if difference is None else 1
