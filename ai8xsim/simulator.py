"""The functional level: tensors in, tensors out, every bit as the chip computes it."""

import os
from functools import lru_cache, partial
from typing import NoReturn, get_args

import numpy.typing as npt

from ai8xsim.engine.choose import choose_executor
from ai8xsim.engine.executor import Keep, Run, Runner
from ai8xsim.program import Program, Shape
from ai8xsim.progress import Progress
from ai8xsim.samples import INT8, as_array, as_int8, is_batch
from ai8xsim.trace import Trace

KEEP = get_args(Keep)
THREADS_VARIABLE = "AI8XSIM_THREADS"
KNOWN_SHAPES = 64  # of samples, for which a way to run them is kept


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
        self._tracer = _Tracer(program, self._executor)

    def run(self, samples: npt.ArrayLike, keep: Keep = "all", progress: Progress | None = None) -> Trace:
        """The trace of one sample or a batch; every sample starts with empty data buffers.

        samples: integers in [-128, 127], (C, H, W) or (N, C, H, W), for 1D data (C, L) or (N, C, L).
        keep: "all" layers, or output layers only, which is faster and counts no saturated values.
        progress: called with samples done and samples in all.
        Raises InputError.
        """
        return self._tracer.trace(samples, keep, progress)

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

    def __init__(self, program: Program, series: Runner) -> None:
        self._tracer = _Tracer(program, series)

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace:
        """The trace of one sample or of several in turn; as `Simulator.run` otherwise."""
        return self._tracer.trace(samples, keep, None)

    def __reduce__(self) -> NoReturn:
        """Its buffers are memory that compiled code knows by address."""
        raise TypeError("a session cannot be copied or pickled; start another one with `Simulator.session`")


class _Tracer:
    """Makes a trace of samples as users have them. What depends on their shape alone is done once."""

    def __init__(self, program: Program, runner: Runner) -> None:
        self._shape, self._outputs = program.input_shape, program.outputs
        self._nchw = (-1, *program.input_shape.chw)
        self._prepared = lru_cache(KNOWN_SHAPES)(partial(_prepared, runner, program.input_shape))

    def trace(self, samples: npt.ArrayLike, keep: Keep, progress: Progress | None) -> Trace:
        if keep not in KEEP:
            raise ValueError(f"keep is {keep!r}; it must be one of {KEEP}")
        array = as_array(samples)
        if array.dtype != INT8:
            array = as_int8(array, self._shape)
        run = self._prepared(array.shape, keep)
        x_nchw = array if array.ndim == len(self._nchw) else array.reshape(self._nchw)
        return Trace(run(x_nchw, progress), self._outputs)


def _prepared(runner: Runner, shape: Shape, given: tuple[int, ...], keep: Keep) -> Run:
    """What runs samples that are given in a shape. Raises InputError if the program takes no such ones."""
    is_a_batch = is_batch(given, shape)
    return runner.prepared(given[0] if is_a_batch else 1, keep, is_batch=is_a_batch)


def _threads(threads: int | None) -> int:
    if threads is None:
        given = os.environ.get(THREADS_VARIABLE) or "1"
        if not given.isdecimal() or int(given) < 1:
            raise ValueError(f"{THREADS_VARIABLE} is {given!r}; it must be a number, 1 or more")
        return int(given)
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be 1 or more")
    return threads
