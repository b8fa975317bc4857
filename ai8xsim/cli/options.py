"""Options that several commands share."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ai8xsim.device import DEVICES, Device

if TYPE_CHECKING:
    from ai8xsim.program import Options, Program
    from ai8xsim.simulator import Simulator

F = TypeVar("F", bound=Callable[..., Any])


LARGEST_OFFSET = 1 << 32


class HexInteger(click.ParamType[int]):
    """An integer, in hex (`0x2000`) or decimal."""

    name = "offset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        if not 0 <= number < LARGEST_OFFSET or number % 4:
            self.fail(
                f"{value!r} is no offset: a multiple of 4 from 0 to {LARGEST_OFFSET - 4:#x}", param, ctx
            )
        return number


class DeviceName(click.ParamType[Device]):
    """MAX78000 or MAX78002, in any case."""

    name = "device"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "|".join(DEVICES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Device:
        if isinstance(value, Device):
            return value
        known = DEVICES.get(str(value).upper())
        return known or self.fail(f"{value!r} is none of {', '.join(DEVICES)}", param, ctx)


FILE = click.Path(path_type=Path, dir_okay=False)

LOADER_OPTIONS = (
    click.option("--device", type=DeviceName(), default="MAX78000", show_default=True, help="The device."),
    click.option("--avg-pool-rounding", is_flag=True, help="Round average pools instead of truncating them."),
    click.option("--output-width", type=click.Choice(["8", "32"]), help="The last layer's output in bits."),
    click.option("--start-layer", type=click.IntRange(0), default=0, help="The first layer executed."),
    click.option("--fifo", is_flag=True, help="The sample arrives through FIFOs."),
    click.option("--fast-fifo", is_flag=True, help="The sample arrives through the fast FIFO."),
    click.option("--fast-fifo-quad", is_flag=True, help="The fast FIFO feeds all four quadrants."),
    click.option("--overlap-data", is_flag=True, help="Output may overwrite input."),
    click.option("--ignore-streaming", is_flag=True, help="Leave `streaming` out of account."),
    click.option("--ignore-bias-groups", is_flag=True, help="Any quadrant may hold a bias."),
    click.option("--input-offset", type=HexInteger(), help="Where the sample lies, in bytes."),
    click.option("--simple1b", is_flag=True, help="1-bit weights by XOR (not known how: an error)."),
)

OUTPUT_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--force", is_flag=True, help="Overwrite existing outputs."),
)

MODEL_OPTIONS = (
    click.option("--model", metavar="FILE:FACTORY", help="A model file written for `ai8x`; its code is run."),
    click.option(
        "--path",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        metavar="DIR",
        help="The repository that the user's files belong to.",
    ),
    click.option(
        "--model-argument",
        "arguments",
        multiple=True,
        metavar="NAME=VALUE",
        help="A further argument of the factory, such as num_classes=11; may be repeated.",
    ),
    click.option(
        "--behaviour",
        type=click.Choice(["chip", "vendor"]),
        default="chip",
        show_default=True,
        help="Whether the model's modules compute as the chip or as the vendor's.",
    ),
)


def model_argument(text: str) -> tuple[str, Any]:
    """NAME=VALUE; the value is a JSON value, or else a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"--model-argument: {text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """A decorator that adds options in the order in which they are listed."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def loader_options(flags: dict[str, Any]) -> "Options":
    """The resolver's options from a command's flags."""
    from ai8xsim.program import Options

    known = {entry.name: flags[entry.name] for entry in fields(Options)}
    width = known["output_width"]
    return Options(**known | {"output_width": int(width) if width else None})


def make_simulator(program: "Program", threads: int | None = None) -> "Simulator":
    """The simulator; an environment variable that says nonsense is wrong usage."""
    from ai8xsim.simulator import Simulator

    try:
        return Simulator(program, threads=threads)
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
