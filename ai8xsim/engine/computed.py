"""What an executor returns: the common ground of the generated and the portable kernels."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer, Program
from ai8xsim.progress import Progress
from ai8xsim.trace import LayerTrace, Trace

Keep = Literal["all", "outputs"]
Int8 = npt.NDArray[np.int8]


class Computed(NamedTuple):
    """A layer's output, (N, channels, rows, columns), and how many of its values saturated, None if not counted."""

    layer: Layer
    output: npt.NDArray[Any]
    saturated: int | None


class Series(Protocol):
    """Runs samples one after another; data buffers live on."""

    def run(self, x_nchw: Int8) -> list[Computed]:
        """Every layer's output, in the order of execution."""


class Executor(Protocol):
    """Runs a program on samples (N, channels, rows, columns), which start with empty data buffers."""

    def run(self, x_nchw: Int8, keep: Keep, progress: Progress | None) -> list[Computed]:
        """The layers' outputs, or the output layers', in the order of execution."""

    def series(self) -> Series:
        """A series of runs that begins with empty data buffers."""


class Tracer:
    """Makes traces of what the layers of a program computed."""

    def __init__(self, program: Program) -> None:
        self.outputs = tuple(layer.index for layer in program.layers if layer.is_output)
        self._layers = {layer.index: _without_output(layer) for layer in program.layers}

    def trace(self, computed: Sequence[Computed], *, is_batch: bool) -> Trace:
        """The trace of a run."""
        return Trace(self.layers(computed, is_batch=is_batch), self.outputs)

    def layers(self, computed: Sequence[Computed], *, is_batch: bool) -> tuple[LayerTrace, ...]:
        """The layers' outputs as a trace has them: without the batch axis for a single sample."""
        return tuple([self._layer(entry, is_batch) for entry in computed])

    def _layer(self, computed: Computed, is_batch: bool) -> LayerTrace:
        layer, x_nchw, saturated = computed
        samples = x_nchw[..., 0] if layer.output_shape.is_1d else x_nchw
        output = samples if is_batch else samples[0]
        output.setflags(write=False)
        return self._layers[layer.index].with_output(output, saturated, is_batch=is_batch)


def _without_output(layer: Layer) -> LayerTrace:
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=layer.output_shape.chw,
        output=np.zeros(0, np.int8),
        saturated=None,
    )
