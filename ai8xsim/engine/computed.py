"""What an executor returns: the common ground of the generated and the portable kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer

Keep = Literal["all", "outputs"]
Progress = Callable[[int, int], None]
Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Computed:
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
