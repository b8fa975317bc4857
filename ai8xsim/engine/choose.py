"""Which kernels run a program."""

from ai8xsim.engine.executor import Executor
from ai8xsim.engine.lower import lowerable
from ai8xsim.engine.portable import PortableExecutor
from ai8xsim.engine.run import GeneratedExecutor
from ai8xsim.kernels.generated.targets import choose_target
from ai8xsim.program import Program


def choose_executor(program: Program, threads: int, target: str | None) -> Executor:
    """The generated kernels for the target, or the portable ones where those are wanted or the others lack something.

    Raises ValueError for a target that does not run here.
    """
    chosen = choose_target(target)
    if chosen is None or not lowerable(program):
        return PortableExecutor(program, threads)
    return GeneratedExecutor(program, chosen, threads)
