"""What executors have in common: samples in, the layers' traces out."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer
from ai8xsim.progress import Progress
from ai8xsim.trace import LayerTrace

Keep = Literal["all", "outputs"]
Int8 = npt.NDArray[np.int8]
LayerTraces = tuple[LayerTrace, ...]  # in the order of execution
Run = Callable[[Int8, Progress | None], LayerTraces]  # of samples (N, channels, rows, columns)


class Runner(Protocol):
    """Runs a program on samples."""

    def prepared(self, count: int, keep: Keep, *, is_batch: bool) -> Run:
        """What computes every layer's output, or the output layers', for so many samples.

        It is for many runs: what does not depend on the samples' values is done by now.
        """


class Executor(Runner, Protocol):
    """Runs a program on samples, each of which starts with empty data buffers."""

    def series(self) -> Runner:
        """A series of runs that begins with empty data buffers, which live on from sample to sample."""


def traced(
    layer: Layer, output_nchw: npt.NDArray[Any], saturated: int | None, *, is_batch: bool
) -> LayerTrace:
    """A layer's output (N, channels, rows, columns) as users get it; it can no longer be written to."""
    samples = output_nchw[..., 0] if layer.output_shape.is_1d else output_nchw
    output = samples if is_batch else samples[0]
    output.setflags(write=False)
    return trace_without_output(layer, is_batch=is_batch).with_output(output, saturated)


def trace_without_output(layer: Layer, *, is_batch: bool) -> LayerTrace:
    """What is known of a layer's trace before it runs."""
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=np.zeros(0, np.int8),
        saturated=None,
        is_batch=is_batch,
    )
