"""What executors have in common: samples in, the layers' traces out."""

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer
from ai8xsim.progress import Progress
from ai8xsim.samples import Samples
from ai8xsim.trace import LayerTrace

Keep = Literal["all", "outputs"]
LayerTraces = tuple[LayerTrace, ...]  # in the order of execution


class Series(Protocol):
    """Runs samples one after another; data buffers live on."""

    def run(self, samples: Samples) -> LayerTraces:
        """Every layer's output."""


class Executor(Protocol):
    """Runs a program on samples, which start with empty data buffers."""

    def run(self, samples: Samples, keep: Keep, progress: Progress | None) -> LayerTraces:
        """Every layer's output, or the output layers'."""

    def series(self) -> Series:
        """A series of runs that begins with empty data buffers."""


def traced(
    layer: Layer, output_nchw: npt.NDArray[Any], saturated: int | None, *, is_batch: bool
) -> LayerTrace:
    """A layer's output (N, channels, rows, columns) as users get it; it can no longer be written to."""
    samples = output_nchw[..., 0] if layer.output_shape.is_1d else output_nchw
    output = samples if is_batch else samples[0]
    output.setflags(write=False)
    return untold(layer, is_batch=is_batch).with_output(output, saturated)


def untold(layer: Layer, *, is_batch: bool) -> LayerTrace:
    """The trace of a layer but for its output."""
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=np.zeros(0, np.int8),
        saturated=None,
        is_batch=is_batch,
    )
