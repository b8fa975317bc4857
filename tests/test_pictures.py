"""From pictures to samples and back: property by property, every mode of Pillow, damaged files."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ai8xsim import InputError, read_checkpoint, read_network, render, resolve
from ai8xsim.cli.picture import photo_of
from ai8xsim.data import from_rgb565, to_rgb565, unfold
from ai8xsim.data.loaders.class_folders import ClassFolders
from ai8xsim.device import MAX78000
from ai8xsim.images import (
    COLOURS,
    NORMALIZE,
    Conversion,
    convert,
    output_picture,
    palette,
    resize_of,
    sample_picture,
)
from ai8xsim.nn import bayer_filter, fold, normalize
from ai8xsim.program import Shape
from ai8xsim.simulator import Simulator
from ai8xsim.transforms.pictures import Picture, read_alpha, read_picture
from tests.test_cli import CONTENT, FINE, USAGE, simulate, work

Pixels = npt.NDArray[np.uint8]
__all__ = ["work"]  # a fixture


class Args:
    """What loaders give to the vendor's classes."""

    act_mode_8bit = True


@st.composite
def pictures(draw: st.DrawFn, rows: int | None = None, columns: int | None = None) -> Pixels:
    size = rows or draw(st.integers(1, 20)), columns or draw(st.integers(1, 20))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return generator.integers(0, 256, (*size, 3), dtype=np.uint8)


@given(pictures(12, 8), st.sampled_from(COLOURS), st.sampled_from([1, 2, 4]))
def test_a_sample_is_what_a_loader_delivers(pixels: Pixels, colour: Any, ratio: int) -> None:
    """The vendor's road: ToTensor, its own transforms, `normalize`, `fold`; no step of ours."""
    picture: Any = pixels
    if colour == "grey":
        picture = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    if colour == "rgb565":
        picture = pixels & np.array([0xF8, 0xFC, 0xF8], np.uint8)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255)
    tensor = bayer_filter()(tensor) if colour == "bayer" else tensor
    expected = fold(ratio)(normalize(Args)(tensor))
    shape = Shape(*expected.shape)
    done = convert(Picture(pixels, ()), Conversion.of(shape, colour, ratio))
    assert done.sample.dtype == np.int8
    assert np.array_equal(done.sample, expected.numpy())


@given(pictures(), st.sampled_from(COLOURS), st.sampled_from(["stretch", "crop", "fit", (30, 30)]),
       st.sampled_from(["loader", "firmware"]), st.integers(1, 3))  # fmt: skip
def test_every_conversion_gives_the_shape(
    pixels: Pixels, colour: Any, resize: Any, how: Any, ratio: int
) -> None:
    channels = (3 if colour in {"rgb", "rgb565"} else 1) * ratio**2
    conversion = Conversion.of(Shape(channels, 4, 6), colour, resize=resize, normalize=how)
    done = convert(Picture(pixels, ()), conversion)
    assert done.sample.shape == (channels, 4, 6)
    assert conversion.fold == ratio
    assert done.steps[0] == f"picture of {pixels.shape[0]} x {pixels.shape[1]} pixels"


@given(pictures(8, 8), st.integers(1, 2))
def test_firmware_and_its_picture_are_inverse(pixels: Pixels, ratio: int) -> None:
    shape = Shape(3 * ratio**2, 8 // ratio, 8 // ratio)
    done = convert(Picture(pixels, ()), Conversion.of(shape, normalize="firmware"))
    assert np.array_equal(sample_picture(done.sample, ratio), pixels)


def test_colour_and_fold_follow_from_channels() -> None:
    found = {
        c: (made.colour, made.fold)
        for c in (1, 3, 4, 9, 12, 48, 64)
        for made in [Conversion.of(Shape(c, 2, 2))]
    }
    assert found == {
        1: ("grey", 1), 3: ("rgb", 1), 4: ("grey", 2), 9: ("grey", 3), 12: ("rgb", 2), 48: ("rgb", 4), 64: ("grey", 8),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "colour", "ratio"),
    [
        (Shape(5, 8, 8), None, None),
        (Shape(3, 8, 8), "grey", None),
        (Shape(12, 8, 8), "rgb", 4),
        (Shape(3, 8, 1, True), None, None),
    ],
)
def test_a_shape_that_no_picture_has_is_refused(shape: Shape, colour: Any, ratio: int | None) -> None:
    with pytest.raises(InputError) as refused:
        Conversion.of(shape, colour, ratio)
    assert refused.value.diagnostics[0].code == "image-network"
    assert f"has the shape {shape} of the network's sample" in refused.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("shape", "colour", "ratio", "mend"),
    [
        (Shape(3, 8, 8), "grey", None, "leave out --colour and --fold: rgb fits"),
        (Shape(48, 8, 8), None, 3, "leave out --colour and --fold: rgb, folded by 4, fits"),
        (Shape(5, 8, 8), None, None, "give another network, or a .npy"),
    ],
)
def test_what_fits_is_told_to_whoever_asked_for_something_else(
    shape: Shape, colour: Any, ratio: int | None, mend: str
) -> None:
    with pytest.raises(InputError) as refused:
        Conversion.of(shape, colour, ratio)
    assert refused.value.diagnostics[0].help == mend


def test_the_middle_is_cut_out_of_a_larger_size() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[3:7, 2:8] = 255
    conversion = Conversion.of(Shape(3, 4, 6), resize=(10, 10), normalize="firmware")
    assert (convert(Picture(pixels, ()), conversion).sample == 127).all()
    with pytest.raises(InputError) as refused:
        convert(Picture(pixels, ()), Conversion.of(Shape(3, 4, 6), resize=(3, 9)))
    assert refused.value.diagnostics[0].code == "image-size"


@pytest.mark.parametrize(
    ("resize", "corner", "middle"), [("stretch", 127, 127), ("crop", 127, 127), ("fit", -128, 127)]
)
def test_ways_to_resize(resize: str, corner: int, middle: int) -> None:
    white = Picture(np.full((4, 16, 3), 255, np.uint8), ())
    sample = convert(white, Conversion.of(Shape(3, 8, 8), resize=resize)).sample
    assert (sample[0, 0, 0], sample[0, 4, 4]) == (corner, middle)


@pytest.mark.parametrize("text", ["", "0x5", "5", "big", "5x", "-1x4", "99999999x9"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        resize_of(text)


MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16")


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((5, 4), 200, np.uint8))
    image = grey.convert(mode, dither=Image.Dither.NONE)
    if mode == "I;16":
        image = Image.fromarray(np.full((5, 4), 200 * 257, np.uint16))
    file = tmp_path / ("p.tif" if mode in {"CMYK", "YCbCr", "LA"} else "p.png")
    image.save(file)
    expected = 255 if mode == "1" else 200
    pixels = read_picture(file).pixels
    assert pixels.shape == (5, 4, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 2
    if mode in {"L", "P", "RGB", "I;16"}:
        assert (pixels == expected).all()


def png_of_16_bits(path: Path, values: Any) -> None:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    rows, columns, channels = values.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {2: 4, 3: 2, 4: 6}[channels]
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
    )
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


KINDS = (
    "RGB",
    "L",
    "1",
    "P",
    "LA",
    "RGBA",
    "transparent colour",
    "I;16",
    "RGB;16",
    "RGBA;16",
    "JPEG",
    "turned",
)


def write_kind(kind: str, path: Path) -> None:
    """A picture (24, 24) with all that a kind of file can hold."""
    values = np.random.default_rng(7).integers(0, 1 << 16, (24, 24, 4), dtype=np.uint16)
    image = Image.fromarray((values >> 8).astype(np.uint8))
    if kind.endswith(";16"):
        channels = {"I": 1, "RGB": 3, "RGBA": 4}[kind.partition(";")[0]]
        if channels == 1:
            Image.fromarray(values[..., 0]).save(path)
        else:
            png_of_16_bits(path, values[..., :channels])
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGB").save(path, exif=exif)
    elif kind == "transparent colour":
        image.convert("RGB").quantize(16).save(path, transparency=3)
    elif kind == "JPEG":
        image.convert("RGB").save(path, "JPEG")
    else:
        image.convert(kind).save(path)


@pytest.mark.parametrize("kind", KINDS)
def test_firmwares_range_is_what_the_loaders_of_ours_store(kind: str, tmp_path: Path) -> None:
    """`--image --normalize firmware` and a folder of classes make the same sample of the same file."""
    file = tmp_path / "test" / "cats" / "p.png"
    for folder in (file.parent, tmp_path / "train" / "cats"):
        folder.mkdir(parents=True)
        write_kind(kind, folder / file.name)
    ((image, _),) = ClassFolders(("cats",), size=16, flips=False).open(tmp_path, "test", act_mode_8bit=True)
    flags = {"resize": "stretch", "colour": None, "fold": None}
    made = {
        how: photo_of(read_picture(file), Shape(3, 16, 16), {**flags, "normalize": how}).converted.sample
        for how in NORMALIZE
    }
    assert np.array_equal(made["firmware"], image.numpy())
    assert np.array_equal(made["loader"], normalize(Args)((image + 128) / 255))
    assert (made["loader"] != made["firmware"]).any()


@pytest.mark.parametrize(("channels", "expected"), [(2, [0, 0, 0]), (3, [0, 0, 255]), (4, [0, 0, 255])])
def test_of_16_bits_a_colour_the_upper_8_are_taken_and_it_is_said(
    channels: int, expected: list[int], tmp_path: Path
) -> None:
    values = np.array([[[129, 255, 65535, 65535][:channels]]], np.uint16)
    png_of_16_bits(tmp_path / "p.png", values)
    picture = read_picture(tmp_path / "p.png")
    assert picture.pixels.tolist() == [[expected]]
    assert picture.notes[0] == "the upper 8 of 16 bits taken"
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tmp_path / "q.png")
    assert read_picture(tmp_path / "q.png").notes == ()


def test_how_opaque_a_picture_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    rgba = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    Image.fromarray(rgba).save(tmp_path / "p.png", exif=exif)
    assert np.array_equal(read_alpha(tmp_path / "p.png"), rgba[::-1, ::-1, 3])
    Image.fromarray(rgba[..., :3]).save(tmp_path / "q.png")
    assert (read_alpha(tmp_path / "q.png") == 255).all()
    (tmp_path / "r.png").write_text("a cat")
    with pytest.raises(InputError) as refused:
        read_alpha(tmp_path / "r.png")
    assert refused.value.diagnostics[0].code == "not-an-image"


def test_sixteen_bits_are_scaled_and_said(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 65535, 32768, 256]], np.uint16)
    Image.fromarray(values).save(tmp_path / "p.png")
    picture = read_picture(tmp_path / "p.png")
    assert picture.pixels[0, :, 0].tolist() == [0, 0, 1, 255, 128, 1]
    assert picture.notes == ("16 bits scaled to 8",)


def test_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "p.tif")
    with pytest.raises(InputError) as refused:
        read_picture(tmp_path / "p.tif")
    assert "error[image-mode]: a picture of mode F has values of no known range" in render(
        refused.value.diagnostics[0]
    )


def test_what_is_transparent_lies_on_black(tmp_path: Path) -> None:
    rgba = np.full((1, 3, 4), 200, np.uint8)
    rgba[0, :, 3] = (0, 255, 128)
    Image.fromarray(rgba).save(tmp_path / "p.png")
    picture = read_picture(tmp_path / "p.png")
    assert picture.pixels[0, :, 0].tolist() == [0, 200, 100]
    assert picture.notes == ("what is transparent lies on black",)
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "q.png")
    assert read_picture(tmp_path / "q.png").notes == ()


def test_a_palette_with_a_transparent_colour_is_seen(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "p.png", transparency=0)
    assert read_picture(tmp_path / "p.png").pixels.tolist() == [[[0, 0, 0], [40, 50, 60]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_that_was_held_otherwise_makes_no_difference(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :8] = 255
    # Source: TIFF 6.0, tag 274: what row 0 and column 0 of the stored picture are in the seen one.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "p.png", exif=exif)
    picture = read_picture(tmp_path / "p.png")
    assert np.array_equal(picture.pixels, upright)
    assert bool(picture.notes) == (orientation > 1)


def test_of_a_film_the_first_picture_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "p.gif", save_all=True, append_images=frames[1:])
    picture = read_picture(tmp_path / "p.gif")
    assert (picture.pixels == 255).all()
    assert picture.notes == ("the first of 2 pictures",)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"]),
    st.integers(0, 400),
    st.binary(max_size=9),
)
def test_a_damaged_picture_draws_a_diagnostic(tmp_path: Path, kind: str, place: int, junk: bytes) -> None:
    stream = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    whole = stream.getvalue()
    (tmp_path / "p").write_bytes(whole[: place % len(whole)] + junk)
    try:
        assert read_picture(tmp_path / "p").pixels.ndim == 3
    except InputError as fault:
        assert fault.diagnostics[0].code in {"not-an-image", "image-mode"}


def test_a_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_text("a cat")
    with pytest.raises(InputError) as refused:
        read_picture(tmp_path / "p.png")
    assert render(refused.value.diagnostics[0]).startswith(
        "error[not-an-image]: this is no picture that can be read"
    )
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "absent.png")


def test_colours_of_segments_differ() -> None:
    assert len({tuple(colour) for colour in palette(256).tolist()}) == 256
    assert palette(1).tolist() == [[0, 0, 0]]


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 1 << 32))
def test_segments_show_the_largest_channel(classes: int, ratio: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    output = generator.integers(-128, 128, (classes * ratio**2, 3, 2)).astype(np.int8)
    drawn = output_picture(output, "segments", ratio)
    assert np.array_equal(drawn, palette(classes)[unfold(output, ratio).argmax(axis=0)])


def test_images_are_drawn_with_128_added() -> None:
    output = np.array([[[-128, 0, 127]]], np.int8)
    assert output_picture(output, "image").tolist() == [[0, 128, 255]]
    wide = np.array([[[-128 * 128, 63, 64, 1 << 20]]], np.int32)
    assert output_picture(wide, "image").tolist() == [[0, 128, 129, 255]]
    with pytest.raises(InputError):
        output_picture(np.zeros((4, 2, 2), np.int8), "image")


def photo(folder: Path) -> Pixels:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return pixels


def test_the_command_runs_the_sample_that_it_saves(work: Path) -> None:
    pixels = photo(work)
    shown = simulate(
        work,
        "--image",
        "photo.png",
        "--save-sample",
        "s.npy",
        "--output",
        "o.npy",
        "--sample-picture",
        "s.png",
    )
    assert shown.returncode == FINE
    assert (
        "picture of 20 x 30 pixels; grey; stretched to 8 x 8; normalized as behind ToTensor (pixel / 255), -128..127"
        in shown.stdout
    )
    sample = np.load(work / "s.npy")
    resized = Image.fromarray(pixels).convert("L").resize((8, 8), Image.Resampling.BILINEAR)
    expected = normalize(Args)(torch.from_numpy(np.array(resized)).float().div(255))
    assert np.array_equal(sample[0], expected.numpy())
    network, checkpoint = read_network(work / "network.yaml"), read_checkpoint(work / "checkpoint.pth.tar")
    output = Simulator(resolve(network, checkpoint, MAX78000, (1, 8, 8))).run(sample).output
    assert np.array_equal(np.load(work / "o.npy"), output)
    seen = np.asarray(Image.open(work / "s.png").resize((8, 8), Image.Resampling.NEAREST))
    assert np.array_equal(seen, sample[0] + 128)


def test_the_command_draws_segments(work: Path) -> None:
    photo(work)
    text = (work / "network.yaml").read_text().partition("  - name: fc")[0]
    (work / "network.yaml").write_text(text)
    words = (
        "--image",
        "photo.png",
        "--input-shape",
        "1,8,8",
        "--picture",
        "p.png",
        "--out-fold-ratio",
        "2",
        "--output",
        "o.npy",
    )
    shown = simulate(work, *words, "--json")
    assert shown.returncode == FINE
    assert json.loads(shown.stdout)["image"]["steps"][1] == "grey"
    expected = output_picture(np.load(work / "o.npy"), "segments", 2)
    drawn = np.asarray(Image.open(work / "p.png").resize((8, 8), Image.Resampling.NEAREST))
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--image", "network.yaml"), CONTENT, "error[not-an-image]"),
        (("--image", "absent.png"), USAGE, "absent.png"),
        (("--image", "photo.png", "--sample", "sample.npy"), USAGE, "give one of --sample, --batch, --image"),
        (("--image", "photo.png", "--resize", "big"), USAGE, "is none of stretch, crop, fit, HxW"),
        (("--image", "photo.png", "--colour", "rgb"), CONTENT, "no picture rgb has the shape 1x8x8"),
        (("--image", "photo.png", "--picture", "p.png"), USAGE, "the output 10x1x1 has one pixel"),
        (("--batch", "batch.npy", "--sample-picture", "p.png"), USAGE, "are for one sample"),
        (("--random", "1", "--colour", "grey"), USAGE, "--colour is about an --image"),
        (("--random", "1", "--resize", "stretch"), USAGE, "--resize is about an --image"),
        (("--random", "1", "--normalize", "loader"), USAGE, "--normalize is about an --image"),
        (
            ("--random", "1", "--fold", "2"),
            USAGE,
            "--fold is about an --image, a --sample-picture or a --picture",
        ),
        (("--random", "1", "--picture-as", "image"), USAGE, "--picture-as is about a --picture"),
        (
            ("--random", "1", "--out-fold-ratio", "2", "--sample-picture", "p.png"),
            USAGE,
            "is about a --picture",
        ),
        (("--random", "1", "--fold", "3", "--sample-picture", "p.png"), CONTENT, "cannot be unfolded by 3"),
    ],
)
def test_wrong_pictures(work: Path, words: tuple[str, ...], code: int, text: str) -> None:
    photo(work)
    shown = simulate(work, *words, "--output", "o.npy")
    assert shown.returncode == code
    assert text in shown.stderr
    assert not (work / "p.png").exists()
    assert not (work / "o.npy").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fold", "3", "--sample-picture", "p.png"), "fold-shape"),
        (("--out-fold-ratio", "3", "--picture", "p.png"), "fold-shape"),
        (("--picture-as", "image", "--picture", "p.png"), "image-network"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_said_in_json_too(
    work: Path, words: tuple[str, ...], code: str
) -> None:
    text = (work / "network.yaml").read_text().partition("  - name: fc")[0]
    (work / "network.yaml").write_text(text)
    shown = simulate(work, "--random", "1", "--input-shape", "1,8,8", *words, "--output", "o.npy", "--json")
    assert shown.returncode == CONTENT
    record = json.loads(shown.stdout)
    assert record["output"] is None
    assert [found["code"] for found in record["diagnostics"]] == [code]
    assert not {"o.npy", "p.png"} & {path.name for path in work.iterdir()}


@given(st.integers(1, 20), st.integers(1, 3))
def test_samples_of_other_than_one_or_three_channels_are_no_pictures(channels: int, ratio: int) -> None:
    sample = np.zeros((channels * ratio**2, 2, 3), np.int8)
    if channels in {1, 3}:
        assert sample_picture(sample, ratio).shape[:2] == (2 * ratio, 3 * ratio)
        return
    with pytest.raises(InputError, match=f"a sample of {channels} channels is no image.*--fold") as refused:
        sample_picture(sample, ratio)
    assert refused.value.diagnostics[0].code == "image-network"


def test_a_signal_is_no_picture() -> None:
    with pytest.raises(InputError, match=r"a sample of the shape \(2, 9\) is no image"):
        sample_picture(np.zeros((2, 9), np.int8), 1)


def test_rgb565_keeps_what_its_words_hold() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    done = convert(Picture(pixels, ()), Conversion.of(Shape(3, 2, 2), "rgb565", normalize="firmware"))
    words = to_rgb565(pixels.transpose(2, 0, 1))
    assert np.array_equal(done.sample.astype(int) + 128, from_rgb565(words))
