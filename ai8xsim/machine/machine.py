"""The memory level: the layers work on the data memories, byte by byte, in the hardware's order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ai8xsim.engine.portable import Output, joined
from ai8xsim.errors import ResolveError
from ai8xsim.machine.access import accesses
from ai8xsim.machine.data_memory import DataMemory
from ai8xsim.machine.ledger import Ledger, Misread
from ai8xsim.machine.processors import processor_faults
from ai8xsim.program import Program
from ai8xsim.progress import Progress
from ai8xsim.samples import checked_samples
from ai8xsim.trace import Trace


@dataclass(frozen=True, eq=False)
class MachineTrace(Trace):
    """What the memories made of a program: the layers' outputs, and for each sample what was misread.

    Where nothing was misread, the outputs are those of the functional level. An output layer's output is what
    its memory holds when the network is done.
    """

    misreads: tuple[tuple[Misread, ...], ...] = ()


class Machine:
    """Runs a program on the data memories of its device.

    Inputs are written to, read from and written back to the 16 memory instances by processor map, offset, pass,
    gap and data format. A description that addresses the wrong bytes computes what the chip would compute from
    them, and the trace says which bytes those are.

    Raises ResolveError where a layer has not as many processors as its channels need, and where a pass-through
    leaves its quadrants.
    UNVERIFIED: streaming layers hand their rows on without a fault, and what lies under their rings is lost;
    whether rings lie over each other is `check`'s affair.

    >>> import ai8xsim, numpy as np
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> checkpoint = ai8xsim.read_checkpoint("networks/digits/checkpoint.pth.tar")
    >>> program = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 8, 8))
    >>> trace = Machine(program).run(np.zeros((1, 8, 8), np.int8))
    >>> trace.output.shape, trace.misreads
    ((10, 1, 1), ((),))
    """

    def __init__(self, program: Program) -> None:
        faults = tuple(processor_faults(program))
        if faults:
            raise ResolveError(faults)
        self.program = program
        self._plan = accesses(program)

    def run(
        self,
        samples: npt.ArrayLike,
        keep_memory: bool = False,
        progress: Progress | None = None,
    ) -> MachineTrace:
        """The trace of one sample, or of several in turn.

        samples: as for `Simulator.run`.
        keep_memory: leave the memories from sample to sample as they are, as the chip does; otherwise each
            sample finds them empty.
        Raises InputError.
        """
        checked = checked_samples(samples, self.program.input_shape)
        x_nhwc = np.ascontiguousarray(checked.nchw.transpose(0, 2, 3, 1))
        memory, ledger = DataMemory(self.program, self._plan), Ledger(self.program, self._plan)
        parts, misreads = [], []
        for number in range(len(x_nhwc)):
            if number and not keep_memory:
                memory, ledger = DataMemory(self.program, self._plan), Ledger(self.program, self._plan)
            parts.append(memory.inference(x_nhwc[number : number + 1]))
            misreads.append(ledger.inference())
            if progress is not None:
                progress(number + 1, len(x_nhwc))
        return self._trace(parts, tuple(misreads), checked.is_batch)

    def _trace(
        self, parts: list[dict[int, Output]], misreads: tuple[tuple[Misread, ...], ...], is_batch: bool
    ) -> MachineTrace:
        layers = joined(self.program, parts, is_batch=is_batch)
        return MachineTrace(layers, self.program.outputs, misreads)
