"""Who competes: whatever runs a program on samples. All in one thread."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy.typing as npt

from ai8xsim import Program, Simulator, Trace
from ai8xsim.simulator import Keep
from benchmarks.baseline import NumpyNetwork


class Runner(Protocol):
    """A program made ready to run, so that no run pays for packing or compiling."""

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace: ...


OURS = "ai8xsim"
NUMPY = "numpy int64"

CONTESTANTS: Mapping[str, Callable[[Program], Runner]] = MappingProxyType(
    {OURS: partial(Simulator, threads=1), NUMPY: NumpyNetwork}
)
