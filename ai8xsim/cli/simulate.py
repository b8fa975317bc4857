"""`ai8xsim simulate`: run a checkpoint on a sample."""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import (
    FILE,
    LOADER_OPTIONS,
    OUTPUT_OPTIONS,
    loader_options,
    make_simulator,
    with_options,
)
from ai8xsim.cli.output import (
    diagnostic_record,
    print_json,
    refuse_outputs,
    show_diagnostics,
)
from ai8xsim.cli.picture import (
    PICTURE_OPTIONS,
    Drawings,
    Photo,
    draw,
    drawings_of,
    photo_of,
    refuse_contradictions,
)
from ai8xsim.diagnostics import Diagnostic, by_place, errors_among
from ai8xsim.errors import collect
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import numpy.typing as npt

    from ai8xsim.checkpoint import Checkpoint
    from ai8xsim.device import Device
    from ai8xsim.network import NetworkDescription
    from ai8xsim.program import Program, Shape
    from ai8xsim.progress import Progress
    from ai8xsim.trace import Difference, Trace
    from ai8xsim.transforms.pictures import Picture

    Array = npt.NDArray[np.integer[Any]]

SCHEMA_VERSION = 1
LARGEST_SAMPLE = 1 << 24
LISTED_VALUES = 1 << 12  # in JSON, one a line; more are for --output


@dataclass(frozen=True)
class Origin:
    """Where the samples come from: exactly one of them is given."""

    sample: Path | None
    batch: Path | None
    image: Path | None
    random: int | None
    input_shape: tuple[int, ...] | None


class InputShape(click.ParamType[tuple[int, ...]]):
    """Sizes parted by commas: 3,32,32."""

    name = "C,H,W"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        words = str(value).split(",")
        sizes = tuple(int(word) for word in words if word.isdecimal() and len(word) < 6)
        if len(words) == len(sizes) in {2, 3} and min(sizes) > 0 and prod(sizes) <= LARGEST_SAMPLE:
            return sizes
        return self.fail(f"{value!r} is neither C,H,W nor C,L of a sample for these devices", param, ctx)


@click.command()
@click.argument("network", type=FILE)
@click.option("--checkpoint", type=FILE, required=True, help="The quantized checkpoint.")
@click.option("--sample", type=FILE, help="One sample: a .npy of integers, (C, H, W) or (C, L).")
@click.option("--batch", type=FILE, help="Several samples: (N, C, H, W) or (N, C, L).")
@with_options(*PICTURE_OPTIONS)
@click.option(
    "--random", type=click.IntRange(0), metavar="SEED", help="A random sample, the same for the same seed."
)
@click.option(
    "--input-shape",
    type=InputShape(),
    help="The shape of a --random or --image sample, where the layers do not fix it.",
)
@click.option("--output", type=FILE, help="Write the output as .npy.")
@click.option("--trace", "trace_file", type=FILE, help="Write every layer's output as .npz.")
@click.option("--expect", type=FILE, help="Compare with an output (.npy) or a trace (.npz).")
@click.option("--save-sample", type=FILE, help="Write the samples that were used as .npy.")
@click.option(
    "--level",
    type=click.Choice(["functional", "memory"]),
    default="functional",
    show_default=True,
    help="Tensors, or the bytes of the data memories.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Run all samples N times one after another, as the chip does: what memory and data buffers hold stays.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads that share the work (or AI8XSIM_THREADS).")
@with_options(*LOADER_OPTIONS, *OUTPUT_OPTIONS)
def simulate(network: Path, checkpoint: Path, **flags: Any) -> int:
    """Run the network NETWORK with a quantized checkpoint, bit for bit as the chip does."""
    from ai8xsim.errors import Ai8xsimError

    origin = Origin(*(flags[name] for name in ("sample", "batch", "image", "random", "input_shape")))
    _refuse_other_than_one(origin)
    refuse_contradictions(flags)
    outputs = (flags["output"], flags["trace_file"], flags["save_sample"])
    inputs = (network, checkpoint, origin.sample, origin.batch, origin.image, flags["expect"])
    refuse_outputs((*outputs, flags["picture"], flags["sample_picture"]), inputs, flags["force"])
    try:
        loaded = _load(network, checkpoint, origin, flags)
        trace = _run(loaded, origin, flags)
        difference = loaded.expectation(trace) if loaded.expectation else None
        _write(trace, loaded.samples, outputs)
        draw(trace, loaded.samples, loaded.drawings, flags)
    except Ai8xsimError as fault:
        if not flags["as_json"]:
            raise
        print_json(_failure(flags["device"], fault.diagnostics))
        return 1
    misreads = _misreads(loaded.program, trace)
    _show(loaded, trace, flags, Verdict(difference, misreads))
    return 0 if difference is None and not errors_among(misreads) else 1


@dataclass(frozen=True)
class Verdict:
    """What a run has to say besides its values: how it differs from the expectation, what was misread in memory."""

    difference: "Difference | None"
    misreads: tuple[Diagnostic, ...]


def _misreads(program: "Program", trace: "Trace") -> tuple[Diagnostic, ...]:
    """What the memory level found, each finding once."""
    from ai8xsim.machine.machine import MachineTrace
    from ai8xsim.rules.misreads import misread_diagnostics

    if not isinstance(trace, MachineTrace):
        return ()
    found = (d for inference in trace.misreads for d in misread_diagnostics(program, inference))
    return by_place(found)


def _refuse_other_than_one(origin: Origin) -> None:
    given = [origin.sample, origin.batch, origin.image, origin.random]
    if len([value for value in given if value is not None]) != 1:
        raise click.UsageError("give one of --sample, --batch, --image and --random")


@dataclass(frozen=True)
class Loaded:
    """What a run needs: the program, its samples, and what compares a trace with the expectation, if any; the picture
    that the sample was made from, and how pictures are drawn."""

    program: "Program"
    samples: "Array"
    expectation: "Callable[[Trace], Difference | None] | None"
    photo: Photo | None
    drawings: Drawings


def _load(network: Path, checkpoint: Path, origin: Origin, flags: dict[str, Any]) -> Loaded:
    """Read all files; the faults of all of them in one run."""
    from ai8xsim.checkpoint import read_checkpoint
    from ai8xsim.errors import Ai8xsimError
    from ai8xsim.network import read_network

    found: list[Diagnostic] = []
    described = collect(found, lambda: read_network(network))
    stored = collect(found, lambda: read_checkpoint(checkpoint))
    samples = collect(found, lambda: _read_samples(origin))
    picture = collect(found, lambda: _read_picture(origin.image))
    expectation = collect(found, lambda: _read_expectation(flags["expect"], flags["repeat"]))
    if found or described is None or stored is None:
        raise Ai8xsimError(found)
    photo = None
    if samples is None:
        wanted = _input_shape(origin, described, stored, flags)
        photo = photo_of(picture, wanted, flags) if picture is not None else None
        samples = photo.converted.sample if photo else _random_sample(origin, wanted)
    program = _program((described, stored), samples, origin, flags)
    return Loaded(program, samples, expectation, photo, drawings_of(program, samples, photo, flags))


def _program(
    files: "tuple[NetworkDescription, Checkpoint]", samples: "Array", origin: Origin, flags: dict[str, Any]
) -> "Program":
    """The program for the samples; where a batch does not fit and one sample of its shape would, that is said."""
    from ai8xsim.diagnostics import Span, error
    from ai8xsim.errors import Ai8xsimError, InputError
    from ai8xsim.program import resolve

    def resolved(shape: tuple[int, ...]) -> "Program":
        return resolve(*files, flags["device"], shape, loader_options(flags))

    if origin.batch is None:
        return resolved(samples.shape)
    try:
        return resolved(samples.shape[1:])
    except Ai8xsimError:
        if samples.ndim == 3 and collect([], lambda: resolved(samples.shape)) is not None:
            message = f"a batch has the shape (N, C, H, W) or (N, C, L); {samples.shape} is one sample"
            mend = "for one sample use --sample"
            found = error("sample-rank", message, Span(str(origin.batch)), help=mend)
            raise InputError([found]) from None
        raise


def _read_picture(path: Path | None) -> "Picture | None":
    from ai8xsim.transforms.pictures import read_picture

    return None if path is None else read_picture(path)


def _read_expectation(path: Path | None, repeat: int) -> "Callable[[Trace], Difference | None] | None":
    """What compares a trace with a file; a file of one pass stands for each of those that are repeated."""
    from ai8xsim.cli.arrays import read_expected
    from ai8xsim.trace import load_trace, output_difference

    if path is None:
        return None
    if path.suffix == ".npz":
        stored = load_trace(path)
        return lambda trace: trace.first_difference(_as_often(stored, trace, repeat))
    expected = read_expected(path)
    return lambda trace: output_difference(trace, _tiled(expected, trace, repeat))


def _as_often(stored: "Trace", trace: "Trace", repeat: int) -> "Trace":
    one_pass = len(stored.layers[0].samples) * repeat == len(trace.layers[0].samples)
    return stored.repeated(repeat) if repeat > 1 and one_pass else stored


def _tiled(expected: "Array", trace: "Trace", repeat: int) -> "Array":
    import numpy as np

    if repeat == 1 or expected.size * repeat != trace.output.size:
        return expected
    samples = len(trace.output) // repeat
    return np.concatenate([expected if samples > 1 else expected[None]] * repeat)


def _read_samples(origin: Origin) -> "Array | None":
    from ai8xsim.cli.arrays import read_batch, read_sample

    if origin.sample is not None:
        return read_sample(origin.sample)
    return read_batch(origin.batch) if origin.batch is not None else None


def _input_shape(
    origin: Origin, network: "NetworkDescription", checkpoint: "Checkpoint", flags: dict[str, Any]
) -> "Shape":
    """The shape of a sample that is yet to be made."""
    from ai8xsim.program import Shape
    from ai8xsim.program.infer import infer_input_shape

    sizes = origin.input_shape
    if sizes is None:
        sizes = infer_input_shape(network, checkpoint, flags["device"], loader_options(flags))
    if sizes is None:
        raise click.UsageError(
            "the description fits inputs of any size, or of none; give --input-shape C,H,W"
        )
    channels, rows, *columns = sizes
    return Shape(channels, rows, columns[0]) if columns else Shape(channels, rows, 1, is_1d=True)


def _random_sample(origin: Origin, shape: "Shape") -> "Array":
    import numpy as np

    generator = np.random.default_rng(origin.random)
    return generator.integers(-128, 128, shape.array_shape, dtype=np.int8)


def _run(loaded: Loaded, origin: Origin, flags: dict[str, Any]) -> "Trace":
    from ai8xsim.diagnostics import Span
    from ai8xsim.errors import InputError
    from ai8xsim.report.terminal import progress_bar

    run = _runner(loaded, origin, flags)
    try:
        with progress_bar("simulating", hidden=flags["quiet"] or flags["as_json"]) as progress:
            return run(progress)
    except InputError as fault:
        file = Span(str(origin.sample or origin.batch))
        raise InputError(replace(diagnostic, span=file) for diagnostic in fault.diagnostics) from None


def _runner(loaded: Loaded, origin: Origin, flags: dict[str, Any]) -> "Callable[[Progress], Trace]":
    """What runs the samples, given something that reports its progress."""
    import numpy as np

    samples, repeat = loaded.samples, flags["repeat"]
    if repeat > 1:
        batch = samples if origin.batch else samples[None]
        samples = np.concatenate([batch] * repeat)
    if flags["level"] == "memory":
        from ai8xsim.machine.machine import Machine

        machine = Machine(loaded.program)
        return lambda progress: machine.run(samples, keep_memory=repeat > 1, progress=progress)
    simulator = make_simulator(loaded.program, flags["threads"])
    if repeat > 1:
        return lambda progress: simulator.session().run(samples)
    return lambda progress: simulator.run(samples, progress=progress)


def _write(trace: "Trace", samples: "Array", outputs: tuple[Path | None, ...]) -> None:
    import numpy as np

    output, trace_file, save_sample = outputs
    if output is not None:
        write_file(output, lambda stream: np.save(stream, trace.output))
    if trace_file is not None:
        write_file(trace_file, trace.save)
    if save_sample is not None:
        write_file(save_sample, lambda stream: np.save(stream, samples.astype(np.int64)))


def _show(loaded: Loaded, trace: "Trace", flags: dict[str, Any], verdict: Verdict) -> None:
    from ai8xsim.report.terminal import print_comparison, print_trace

    program, photo = loaded.program, loaded.photo
    expected, difference = flags["expect"], verdict.difference
    diagnostics = by_place([*program.diagnostics, *verdict.misreads])
    if flags["as_json"]:
        comparison = {"difference": str(difference) if difference else None} if expected else {}
        image = {"image": {"steps": list(photo.converted.steps)}} if photo else {}
        print_json(_record(program, trace, diagnostics) | image | comparison)
        return
    show_diagnostics(errors_among(diagnostics) if flags["quiet"] else diagnostics)
    if not flags["quiet"]:
        if flags["random"] is not None:
            click.echo(f"a random sample of {program.input_shape}, seed {flags['random']}")
        if photo is not None:
            click.echo("; ".join(photo.converted.steps))
        print_trace(trace)
    if expected and (difference is not None or not flags["quiet"]):
        print_comparison(difference, expected.name)


def _record(program: "Program", trace: "Trace", diagnostics: tuple[Diagnostic, ...]) -> dict[str, Any]:
    output = trace.layers[-1]
    return {
        "schema_version": SCHEMA_VERSION,
        "device": program.device.name,
        "output": {
            "shape": list(trace.output.shape),
            "dtype": str(trace.output.dtype),
            "sha256": _digest(output.digests),
            "values": trace.output.tolist() if trace.output.size <= LISTED_VALUES else None,
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
        "diagnostics": [diagnostic_record(d) for d in diagnostics],
    }


def _failure(device: "Device", diagnostics: "Iterable[Diagnostic]") -> dict[str, Any]:
    records = [diagnostic_record(d) for d in diagnostics]
    head = {"schema_version": SCHEMA_VERSION, "device": device.name}
    return {**head, "output": None, "layers": [], "diagnostics": records}


def _digest(digests: tuple[str, ...]) -> str | list[str]:
    """One digest for one sample, a list for several."""
    return digests[0] if len(digests) == 1 else list(digests)
