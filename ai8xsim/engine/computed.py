"""What an executor returns: the common ground of the generated and the portable kernels."""

from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer, Program
from ai8xsim.progress import Progress
from ai8xsim.trace import LayerTrace

Keep = Literal["all", "outputs"]
Int8 = npt.NDArray[np.int8]


class Computed(NamedTuple):
    """A layer's output, (N, rows, columns, channels), and how many of its values saturated, None if not counted."""

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


def output_indices(program: Program) -> tuple[int, ...]:
    """The layers that are outputs of the network, in the order of execution."""
    return tuple(layer.index for layer in program.layers if layer.is_output)


def layer_trace(computed: Computed, is_batch: bool) -> LayerTrace:
    """A layer's output as a trace has it: channels first, without the batch axis for a single sample."""
    layer = computed.layer
    shape, x_nchw = layer.output_shape, computed.output.transpose(0, 3, 1, 2)
    samples = x_nchw[..., 0] if shape.is_1d else x_nchw
    output = samples if is_batch else samples[0]
    output.setflags(write=False)
    return LayerTrace(
        index=layer.index,
        name=layer.name,
        operator=layer.operator.value,
        shape=shape.chw,
        output=output,
        saturated=computed.saturated,
        is_batch=is_batch,
    )
