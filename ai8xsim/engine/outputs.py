"""Where a call's outputs lie in memory, and the traces that they become."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.executor import Keep, LayerTraces, trace_without_output
from ai8xsim.engine.lower import Emitted, Lowered
from ai8xsim.trace import LayerTrace

WORD = np.dtype(np.int64)
INT32 = 4  # bytes

Outputs = npt.NDArray[np.int64]  # see `Handle`


class Result(NamedTuple):
    """A layer's trace but for its output, and where that lies."""

    trace: LayerTrace
    counter: int  # of its saturated values, or -1
    shape: tuple[int, ...]
    kind: np.dtype[Any]
    first_byte: int
    strides: tuple[int, ...]


class Layout(NamedTuple):
    """The outputs of a call for so many samples."""

    counts: int  # of saturated values
    words: int
    results: tuple[Result, ...]

    def new_outputs(self) -> Outputs:
        """Memory for them. Only counts are zero: everything else will be written."""
        outputs = np.empty(self.words, WORD)
        if self.counts:
            outputs[: self.counts] = 0
        return outputs

    def traces(self, outputs: Outputs) -> LayerTraces:
        """What a run has left there."""
        return tuple([_traced(result, outputs) for result in self.results])


def _traced(result: Result, outputs: Outputs) -> LayerTrace:
    trace, counter, shape, kind, first_byte, strides = result
    output = np.ndarray(shape, kind, outputs, first_byte, strides)
    output.setflags(write=False)
    return trace.with_output(output, int(outputs[counter]) if counter >= 0 else None)


def first_bytes(lowered: Lowered, count: int) -> tuple[int, int]:
    """Where the outputs of so many samples begin, of int32 and of int8."""
    wide = WORD.itemsize * lowered.counts
    return wide, wide + INT32 * lowered.sums * count


def layout_of(lowered: Lowered, count: int, keep: Keep, *, is_batch: bool) -> Layout:
    """The layout for so many samples, which came as a batch or not."""
    wide, activations = first_bytes(lowered, count)
    words = 1 + (activations + lowered.activations * count) // WORD.itemsize
    results = (
        _result(
            entry if keep == "all" else replace(entry, counter=-1),
            count,
            wide if entry.is_wide else activations,
            is_batch,
        )
        for entry in lowered.emitted
        if keep == "all" or entry.layer.is_output
    )
    return Layout(lowered.counts, words, tuple(results))


def _result(entry: Emitted, count: int, first_byte: int, is_batch: bool) -> Result:
    """first_byte: of all outputs of its type."""
    layer, kind = entry.layer, np.dtype(np.int32 if entry.is_wide else np.int8)
    shape: tuple[int, ...] = (count, *layer.output_shape.chw)
    _, channels, rows, columns = shape
    size = kind.itemsize
    pixel_step = size * channels
    strides: tuple[int, ...] = (pixel_step * columns * rows, size, pixel_step * columns, pixel_step)
    first_byte += size * entry.first * count
    axes = slice(0 if is_batch else 1, 3 if layer.output_shape.is_1d else 4)  # that users see
    trace = trace_without_output(layer, is_batch=is_batch)
    return Result(trace, entry.counter, shape[axes], kind, first_byte, strides[axes])
