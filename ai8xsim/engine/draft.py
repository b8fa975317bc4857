"""A step as it is thought of, before it becomes a row of tables."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.tensor import Offsets, Region
from ai8xsim.kernels.generated.steps import Kind


@dataclass(frozen=True)
class Draft:
    """A step. `pixels`: offsets of one sample, a row per pixel: output, then an input from each of `sources`.

    `output` is None where results go to the run's outputs; `sources` is empty where they come from the samples.
    `fields`: the other fields of the step.
    """

    kind: Kind
    output: Region | None
    sources: tuple[Region, ...]
    pixels: npt.NDArray[np.int64]
    taps: Offsets = field(default_factory=lambda: np.zeros(1, np.int64))
    weights: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    starts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    fields: dict[str, int] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[Region, ...]:
        return self.sources if self.output is None else (self.output, *self.sources)
