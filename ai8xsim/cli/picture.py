"""The options of `ai8xsim simulate` that turn a picture into a sample, and an output into a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ai8xsim.cli.options import FILE
from ai8xsim.files import write_file

if TYPE_CHECKING:
    from ai8xsim.images import Conversion, Converted, Drawn
    from ai8xsim.program import Program, Shape
    from ai8xsim.trace import Trace
    from ai8xsim.transforms.pictures import Picture

MEANINGLESS = (  # options, those of which one gives them a meaning, and how that is said
    (("colour", "resize", "normalize"), ("image",), "an --image"),
    (("fold",), ("image", "sample_picture", "picture"), "an --image, a --sample-picture or a --picture"),
    (("picture_as", "out_fold_ratio"), ("picture",), "a --picture"),
)
SMALLEST_PICTURE = 128  # pixels of the longer side, so that a sample of 8x8 can be seen


class Resize(click.ParamType[Any]):
    """HxW or a way."""

    name = "HxW|stretch|crop|fit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ai8xsim.images import resize_of

        try:
            return resize_of(str(value))
        except ValueError as fault:
            return self.fail(str(fault), param, ctx)


PICTURE_OPTIONS = (
    click.option("--image", type=FILE, help="A picture (PNG, JPEG, BMP, ...) to make the sample from."),
    click.option(
        "--resize",
        type=Resize(),
        default="stretch",
        show_default=True,
        help="Stretch; crop: cover and cut the middle out; fit: inside, on black; HxW: stretch to that, then cut.",
    ),
    click.option(
        "--colour",
        type=click.Choice(["rgb", "grey", "rgb565", "bayer"]),
        help="What is seen of the picture's colours; rgb or grey by the network's channels.",
    ),
    click.option("--fold", type=click.IntRange(1), metavar="R", help="The fold ratio; else by the channels."),
    click.option(
        "--normalize",
        type=click.Choice(["loader", "firmware"]),
        default="loader",
        show_default=True,
        help="Pixels to -128..127. loader: pixel / 255, as ToTensor and the vendor's `normalize` make it; "
        "firmware: pixel - 128, as firmware and the loaders that come with ai8xsim make it.",
    ),
    click.option("--sample-picture", type=FILE, help="Draw the sample as the chip sees it (.png)."),
    click.option("--picture", type=FILE, help="Draw the output, an image or segments (.png)."),
    click.option(
        "--picture-as",
        type=click.Choice(["image", "segments"]),
        help="What the output is; an image if it has 1 or 3 channels.",
    ),
    click.option("--out-fold-ratio", type=click.IntRange(1), metavar="R", help="The output is folded by R."),
)


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture on its way to a sample: read, and then converted."""

    picture: "Picture"
    conversion: "Conversion"
    converted: "Converted"


def photo_of(picture: "Picture", shape: "Shape", flags: Mapping[str, Any]) -> Photo:
    """The sample of a picture for a network that takes samples of a shape."""
    from ai8xsim.images import Conversion, convert

    how = {name: flags[name] for name in ("resize", "normalize")}
    conversion = Conversion.of(shape, flags["colour"], flags["fold"], **how)
    return Photo(picture, conversion, convert(picture, conversion))


@dataclass(frozen=True)
class Drawings:
    """How the sample and the output are drawn: by which ratios they are folded, and as what the output is shown."""

    sample_ratio: int
    output_ratio: int = 1
    drawn: "Drawn" = "image"


def drawings_of(program: "Program", sample: Any, photo: Photo | None, flags: Mapping[str, Any]) -> Drawings:
    """How to draw the pictures that were asked for, tried out before anything is computed or written.

    Raises InputError or a usage error where they cannot be drawn.
    """
    import numpy as np

    from ai8xsim.images import output_picture, sample_picture

    ratio = photo.conversion.fold if photo else flags["fold"] or 1
    if flags["sample_picture"] is not None:
        sample_picture(sample, ratio)
    if flags["picture"] is None:
        return Drawings(ratio)
    channels, rows, columns = shape = program.layers[-1].output_shape.chw
    if rows * columns == 1:
        raise click.UsageError(f"--picture: the output {'x'.join(map(str, shape))} has one pixel")
    folded_alike = (rows, columns) == sample.shape[1:] and channels % ratio**2 == 0
    out_ratio = flags["out_fold_ratio"] or (ratio if folded_alike else 1)
    is_image = channels in {out_ratio**2, 3 * out_ratio**2}
    drawn: Drawn = flags["picture_as"] or ("image" if is_image else "segments")
    output_picture(np.zeros(shape, np.int8), drawn, out_ratio)
    return Drawings(ratio, out_ratio, drawn)


def draw(trace: "Trace", sample: Any, drawings: Drawings, flags: Mapping[str, Any]) -> None:
    """Write the pictures that were asked for."""
    from ai8xsim.images import output_picture, sample_picture

    if flags["sample_picture"] is not None:
        _save(flags["sample_picture"], sample_picture(sample, drawings.sample_ratio))
    if flags["picture"] is not None:
        output = trace.layers[-1].samples[0]
        _save(flags["picture"], output_picture(output, drawings.drawn, drawings.output_ratio))


def _save(path: Path, pixels: Any) -> None:
    from ai8xsim.images import png

    write_file(path, lambda stream: png(pixels, SMALLEST_PICTURE).save(stream, "PNG"))


def refuse_contradictions(flags: Mapping[str, Any]) -> None:
    """Options of pictures where there is no picture."""
    context = click.get_current_context()
    given = {name for name in flags if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    for names, wanted, what in MEANINGLESS:
        idle = [name for name in names if name in given and not any(flags[other] for other in wanted)]
        if idle:
            raise click.UsageError(f"--{idle[0].replace('_', '-')} is about {what}")
    drawn = flags["picture"] or flags["sample_picture"]
    if drawn and (flags["batch"] is not None or flags["repeat"] > 1):
        raise click.UsageError("--picture and --sample-picture are for one sample")
