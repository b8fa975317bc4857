"""Who competes: ai8xsim, what users would run instead, and the vendor loader's way of computing.

The exact ones compute the program and must agree in every bit. PyTorch's compute plain layers of the same shapes: how
fast they are is known, what they would answer is not asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ai8xsim import Program, Simulator, Trace
from ai8xsim.engine.executor import Keep
from benchmarks.baseline import SLICE, NumpyNetwork
from benchmarks.measure import fastest

if TYPE_CHECKING:
    from benchmarks.torch_networks import Operators, TorchNetwork

Samples = npt.NDArray[np.integer[Any]]


class UnfitError(Exception):
    """A contestant cannot run a program; the reason."""


class Runner(Protocol):
    """A program made ready to run, so that no run pays for packing or compiling."""

    def run(self, samples: npt.ArrayLike, keep: Keep = "all") -> Trace: ...


@dataclass(frozen=True)
class Work:
    """A run on certain samples, ready to be timed.

    choice: which of several ways was the fastest.   repeats: runs that a call of `run` makes.
    """

    run: Callable[[], object]
    choice: str = ""
    repeats: int = 1


class Entrant(Protocol):
    """A contestant with its program."""

    def answer(self, samples: Samples, keep: Keep = "outputs") -> Trace | None:
        """What it computes; None from one that computes plain layers only."""

    def work(self, samples: Samples) -> Work:
        """A run on these samples. Raises UnfitError."""


@dataclass(frozen=True)
class Exact:
    """Computes what the chip computes."""

    runner: Runner

    def answer(self, samples: Samples, keep: Keep = "outputs") -> Trace:
        """The trace."""
        return self.runner.run(samples, keep)

    def work(self, samples: Samples) -> Work:
        """A run with the outputs as its result, the samples given as a user has them: int8, channels first."""
        return Work(partial(self.runner.run, samples, "outputs"))


@dataclass(frozen=True)
class Plain:
    """PyTorch, in the fastest of several ways.

    in_slices: as NumPy goes through large batches: tensors of more than 32 MB are mapped anew each time.
    """

    networks: "Mapping[str, TorchNetwork]"
    in_slices: bool

    def answer(self, samples: Samples, keep: Keep = "outputs") -> None:
        """Not asked."""

    def work(self, samples: Samples) -> Work:
        """A run on samples that have their type and layout already. Raises UnfitError."""
        part = samples[:SLICE] if self.in_slices else samples
        choice = self._choice(part)
        return Work(self.networks[choice].work(samples, len(part)), choice)

    def _choice(self, samples: Samples) -> str:
        from benchmarks.torch_networks import UnsupportedError

        works, faults = {}, []
        for name, network in self.networks.items():
            try:
                works[name] = network.work(samples)
            except UnsupportedError as fault:
                faults.append(str(fault))
        if not works:
            raise UnfitError(faults[0])
        return fastest(works) if len(works) > 1 else next(iter(works))


@dataclass(frozen=True)
class Contestant:
    """prepare: makes a program ready for the instruction set that is asked for (ours alone has a choice)."""

    prepare: Callable[[Program, str | None], Entrant] = field(repr=False)
    threads: int = 1

    def set_threads(self) -> None:
        """Give PyTorch as many threads as this contestant may use; the others are told when they are made."""
        import torch

        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)


OURS = "ai8xsim"
KERNELS = "ai8xsim's kernels alone"
NUMPY = "numpy int64"
FLOAT = "torch float32"
SLICED = f"torch float32, {SLICE} samples at a time"
QUANTIZED = "torch quantized"
THREADS = (1, 2)


def entry(name: str, threads: int) -> str:
    """A contestant's name in the table of them all.

    >>> entry(OURS, 1), entry(OURS, 2)
    ('ai8xsim', 'ai8xsim, 2 threads')
    """
    return name if threads == 1 else f"{name}, {threads} threads"


def simulator(program: Program, target: str | None = None, threads: int = 1) -> Simulator:
    """Ours. The only place that passes an instruction set on."""
    chosen: dict[str, Any] = {} if target is None else {"target": target}
    return Simulator(program, threads=threads, **chosen)


def _ours(threads: int, program: Program, target: str | None) -> Entrant:
    return Exact(simulator(program, target, threads))


def _kernels(program: Program, target: str | None) -> Entrant:
    from benchmarks.kernels import Kernels

    return Kernels(program, target)


def _numpy(program: Program, target: str | None) -> Entrant:
    try:
        return Exact(NumpyNetwork(program))
    except ValueError as fault:
        raise UnfitError(str(fault)) from None


def _float(in_slices: bool, program: Program, target: str | None) -> Entrant:
    import torch

    from benchmarks.torch_networks import FloatOperators

    formats = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    ways = {name: FloatOperators(layout) for name, layout in formats.items()}
    return _plain(program, ways, in_slices=in_slices)


def _quantized(program: Program, target: str | None) -> Entrant:
    import torch

    from benchmarks.torch_networks import QuantizedOperators

    present = torch.backends.quantized.supported_engines
    engines = [engine for engine in ("onednn", "x86", "qnnpack") if engine in present]
    engines = [name for name in engines if name != "qnnpack"] or engines  # a mobile library: only where alone
    return _plain(program, {name: QuantizedOperators(name) for name in engines}, in_slices=True)


def _plain(program: Program, ways: "Mapping[str, Operators]", *, in_slices: bool) -> Entrant:
    from benchmarks.torch_networks import TorchNetwork, UnsupportedError

    networks, faults = {}, []
    for name, operators in ways.items():
        try:
            networks[name] = TorchNetwork(program, operators)
        except UnsupportedError as fault:
            faults.append(str(fault))
    if not networks:
        raise UnfitError(faults[0] if faults else "this PyTorch has no quantized engine")
    return Plain(networks, in_slices)


CONTESTANTS: Mapping[str, Contestant] = MappingProxyType(
    {
        OURS: Contestant(partial(_ours, 1)),
        KERNELS: Contestant(_kernels),
        FLOAT: Contestant(partial(_float, False)),
        SLICED: Contestant(partial(_float, True)),
        QUANTIZED: Contestant(_quantized),
        NUMPY: Contestant(_numpy),
        entry(OURS, 2): Contestant(partial(_ours, 2), 2),
        entry(FLOAT, 2): Contestant(partial(_float, False), 2),
        entry(SLICED, 2): Contestant(partial(_float, True), 2),
        entry(QUANTIZED, 2): Contestant(_quantized, 2),
    }
)
