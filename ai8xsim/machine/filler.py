"""What a layer writes beside the values of its output: words are written whole, and some layers write more words."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ai8xsim.device import PROCESSORS_PER_MEMORY, WORD_BYTES
from ai8xsim.layout import NOWHERE, Addresses, DataLayout, enabled
from ai8xsim.machine.dilated import surplus
from ai8xsim.program import Layer
from ai8xsim.program.operations import Operator

Mask = npt.NDArray[np.bool_]


def filler(layer: Layer, layout: DataLayout, memory_bytes: int) -> Addresses:
    """The bytes written that belong to no channel: (steps, bytes), of the layer's schedule; NOWHERE fills up.

    Outputs begin at the first processor of a memory instance, and processors left out in between count like any
    other with a kernel of zeros. A pass-through writes the words of its own processors only.
    UNVERIFIED: that the bytes behind the last channel, up to the end of the word, are written as well.
    """
    extra = surplus(layer)
    beside = _beside(layout, layer.operator, memory_bytes).reshape(layer.output_shape.rows, -1)
    if not extra.width:
        return beside
    whole = replace(layout, bits=8, gap=0)  # the loader goes back as many words as rows of 8 bits have
    parts = [
        _whole(whole, np.arange(-extra.before, 0), memory_bytes),
        beside,
        _whole(layout, layout.pixels + np.arange(extra.behind), memory_bytes),
    ]
    width = max(part.shape[1] for part in parts)
    ends = [np.full((len(part), width - part.shape[1]), NOWHERE) for part in parts]
    return np.concatenate([np.concatenate(pair, axis=1) for pair in zip(parts, ends, strict=True)])


def _beside(layout: DataLayout, operator: Operator, memory_bytes: int) -> Addresses:
    """The bytes beside the channels, of each pixel of the output."""
    lanes = _lanes(layout, operator)
    places = _places(layout, lanes, np.arange(layout.pixels), memory_bytes)
    return places[:, ~_carries(layout, lanes)].reshape(layout.pixels, -1)


def _whole(layout: DataLayout, pixels: Addresses, memory_bytes: int) -> Addresses:
    """All bytes of the words of pixels that a widely dilated Conv1d writes, and that are no output."""
    places = _places(layout, _lanes(layout, Operator.CONV1D), pixels, memory_bytes)
    return places.reshape(len(pixels), int(np.prod(places.shape[1:])))


def _lanes(layout: DataLayout, operator: Operator) -> npt.NDArray[np.int64]:
    """The processors whose bytes are written."""
    used = enabled(layout.processors)
    if operator is Operator.PASSTHROUGH:
        lanes = [p for m in layout.memories for p in range(4 * m, 4 * m + PROCESSORS_PER_MEMORY)]
    else:
        first, last = (p // PROCESSORS_PER_MEMORY for p in (used[0], used[-1]))
        lanes = list(range(first * PROCESSORS_PER_MEMORY, (last + 1) * PROCESSORS_PER_MEMORY))
    if layout.bits == 32:  # each has a word of its own, and behind the last channel none is written
        lanes = [lane for lane in lanes if lane <= used[-1]]
    return np.array(lanes)


def _places(
    layout: DataLayout, lanes: npt.NDArray[np.int64], pixels: Addresses, memory_bytes: int
) -> Addresses:
    """The bytes of processors in the words of pixels: (pixels, passes, processors, bytes)."""
    memories, bytes_ = np.divmod(lanes, PROCESSORS_PER_MEMORY)
    step = layout.bits // 8 * (layout.gap + 1)
    words = (pixels[:, None] * layout.passes + np.arange(layout.passes)) * step + layout.offset // WORD_BYTES
    if layout.bits == 32:
        inside = ((words[:, :, None] + bytes_) * WORD_BYTES)[..., None] + np.arange(WORD_BYTES)
    else:
        inside = (words[:, :, None] * WORD_BYTES + bytes_)[..., None]
    exists = (inside >= 0) & (inside < memory_bytes)
    return np.where(exists, memories[:, None] * memory_bytes + inside, NOWHERE)


def _carries(layout: DataLayout, lanes: npt.NDArray[np.int64]) -> Mask:
    """For each pass and processor, whether it carries a channel."""
    used, full = enabled(layout.processors), layout.expected_processors
    in_last_pass = layout.channels - (layout.passes - 1) * full
    counts = [full] * (layout.passes - 1) + [in_last_pass]
    return np.array([np.isin(lanes, used[:count]) for count in counts])
