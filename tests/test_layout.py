"""The vendor document's pictures of the data memory, as tests."""

import numpy as np

from ai8xsim.layout import Address, DataLayout, enabled, packed_processors, pass_count, processors_per_pass

ALL = (1 << 64) - 1


def hwc(channels: int, processors: int, pixels: int = 4) -> DataLayout:
    return DataLayout(processors=processors, offset=0, channels=channels, pixels=pixels)


def test_192_channels_on_64_processors_take_three_words_a_pixel() -> None:
    """Document, "Multi-Pass": memory 0 stores 0-3, 64-67, 128-131; memory 1 stores 4-7, 68-71, 132-135."""
    for first, memory in ((0, 0), (64, 0), (128, 0), (4, 1), (68, 1), (132, 1)):
        for lane in range(4):
            assert hwc(192, ALL).address(first + lane, 0) == Address(memory, first // 64, lane)


def test_processor_0_works_on_channels_0_64_and_128() -> None:
    places = [hwc(192, ALL).address(channel, 0) for channel in (0, 64, 128)]
    assert {(place.memory, place.lane) for place in places} == {(0, 0)}


def test_100_channels_need_52_processors() -> None:
    """Document, key `processors`: 100 div 2 is 50, and 52 is the next multiple of 4."""
    assert (pass_count(100), processors_per_pass(100)) == (2, 52)
    assert len(enabled(packed_processors(100))) == 52


def test_the_document_s_conv2d_picture() -> None:
    """Document, "Example: Conv2d": five channels of 2x2 as eight words in two memories.

    The channels are read off the words; what is tested is that their bytes lie where the words say.
    """
    words = {
        (0, 0): 0x33EAD6CB, (0, 1): 0x54C8B8F5, (0, 2): 0x9D22CE2C, (0, 3): 0xFE10D28C,
        (1, 0): 0x00000018, (1, 1): 0x00000029, (1, 2): 0x000000E1, (1, 3): 0x00000047,
    }  # fmt: skip
    channels = np.array(
        [
            [0xCB, 0xF5, 0x2C, 0x8C],
            [0xD6, 0xB8, 0xCE, 0xD2],
            [0xEA, 0xC8, 0x22, 0x10],
            [0x33, 0x54, 0x9D, 0xFE],
            [0x18, 0x29, 0xE1, 0x47],
        ]
    )
    packed = dict.fromkeys(words, 0)
    for (channel, pixel), value in np.ndenumerate(channels):
        place = hwc(5, 0b11111).address(channel, pixel)
        packed[place.memory, place.word] |= int(value) << 8 * place.lane
    assert packed == words


def test_processors_need_not_be_adjacent() -> None:
    assert hwc(2, 0x0001_0000_0000_0001).address(1, 3) == Address(12, 3, 0)
