"""The functional level: tensors in, tensors out, every bit as the chip computes it."""

import os
from typing import get_args

import numpy.typing as npt

from ai8xsim.engine.choose import choose_executor
from ai8xsim.engine.executor import Keep, Series
from ai8xsim.program import Program
from ai8xsim.progress import Progress
from ai8xsim.samples import checked_samples
from ai8xsim.trace import Trace

KEEP = get_args(Keep)
THREADS_VARIABLE = "AI8XSIM_THREADS"


class Simulator:
    """Runs a program on samples. It keeps nothing from run to run, and several threads may use it at once.

    threads: how many share the work: a batch by its samples, a single large sample by its rows. None: the
        environment variable AI8XSIM_THREADS, else 1.
    target: the instruction set of the kernels: "avx512vnni", "avxvnni", "avx2", "generic", or "portable" for
        kernels without generated code. None: the environment variable AI8XSIM_TARGET, else the fastest that
        runs here. The results are the same.
    Raises ValueError for threads below 1 and for a target that does not run here.

    >>> import ai8xsim, numpy as np
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> Simulator(program).run(np.zeros((1, 8, 8), np.int8)).output.shape
    (10, 1, 1)
    """

    def __init__(self, program: Program, threads: int | None = None, target: str | None = None) -> None:
        self.program = program
        self._arguments = (threads, target)
        self._executor = choose_executor(program, _threads(threads), target)
        self._outputs = program.outputs

    def run(self, samples: npt.ArrayLike, keep: Keep = "all", progress: Progress | None = None) -> Trace:
        """The trace of one sample or a batch; every sample starts with empty data buffers.

        samples: integers in [-128, 127], (C, H, W) or (N, C, H, W), for 1D data (C, L) or (N, C, L).
        keep: "all" layers, or output layers only, which is faster and counts no saturated values.
        progress: called with samples done and samples in all.
        Raises InputError.
        """
        if keep not in KEEP:
            raise ValueError(f"keep is {keep!r}; it must be one of {KEEP}")
        checked = checked_samples(samples, self.program.input_shape)
        return Trace(self._executor.run(checked, keep, progress), self._outputs)

    def session(self) -> "Session":
        """A series of runs between which the data buffers are kept, as on the chip."""
        return Session(self.program, self._executor.series())

    def __reduce__(self) -> tuple[type["Simulator"], tuple[Program, int | None, str | None]]:
        """What a process needs to make its own: compiled plans and threads stay where they are."""
        return type(self), (self.program, *self._arguments)


class Session:
    """Runs samples one after another; data buffers live on from sample to sample and from run to run.

    Only one thread may use it at a time.
    """

    def __init__(self, program: Program, series: Series) -> None:
        self._program, self._series = program, series

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
        """The trace of one sample or of several in turn; as `Simulator.run` otherwise."""
        if keep not in KEEP:
            raise ValueError(f"keep is {keep!r}; it must be one of {KEEP}")
        checked = checked_samples(samples, self._program.input_shape)
        layers, outputs = self._series.run(checked), self._program.outputs
        kept = (layer for layer in layers if keep == "all" or layer.index in outputs)
        return Trace(tuple(kept), outputs)


def _threads(threads: int | None) -> int:
    if threads is None:
        given = os.environ.get(THREADS_VARIABLE) or "1"
        if not given.isdecimal() or int(given) < 1:
            raise ValueError(f"{THREADS_VARIABLE} is {given!r}; it must be a number, 1 or more")
        return int(given)
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be 1 or more")
    return threads
