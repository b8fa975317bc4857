"""The generated kernels alone: a program's steps without the way in and out.

In a network, activations stay in the arena from layer to layer. What a single layer takes there is neither the Python
around a run nor the change of layout at both ends, which outweigh a layer of a few microseconds.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from ai8xsim import Program
from ai8xsim.engine.executor import Keep
from ai8xsim.engine.lower import lower, lowerable
from ai8xsim.engine.run import Engine
from ai8xsim.engine.workers import Workers
from ai8xsim.kernels.generated.driver import runner_of
from ai8xsim.kernels.generated.steps import Kind
from ai8xsim.kernels.generated.targets import choose_target
from benchmarks.contestants import Samples, UnfitError, Work

ENOUGH_MACS = 1_000_000_000  # in one call, that its Python does not count


class Kernels:
    """A program's steps between loading and emitting, run again and again on whatever lies in the arena."""

    def __init__(self, program: Program, target: str | None) -> None:
        chosen = choose_target(target)
        if chosen is None or not lowerable(program):
            raise UnfitError("no generated kernels")
        self._program, self._target = program, chosen

    def answer(self, samples: Samples, keep: Keep = "outputs") -> None:
        """The whole run is asked, which has the same steps."""

    def work(self, samples: Samples) -> Work:
        """Many runs in one call."""
        repeats = 1 + ENOUGH_MACS // max(1, self._program.macs * len(samples))
        x_nchw = np.zeros((1, *self._program.input_shape.chw), np.int8)
        every = np.broadcast_to(x_nchw, (repeats * len(samples), *x_nchw.shape[1:]))
        engine = self._engine(is_single=len(samples) == 1)
        run = engine.prepared(len(every), "outputs", is_batch=True)
        return Work(partial(run, every, None), repeats=repeats)

    def _engine(self, *, is_single: bool) -> Engine:
        lowered = lower(self._program, self._target, keep_all=False, is_single=is_single)
        inner = ~np.isin(lowered.plan.steps["kind"], (Kind.LOAD, Kind.EMIT))
        plan = replace(lowered.plan, steps=lowered.plan.steps[inner])
        return Engine(replace(lowered, plan=plan), self._target, Workers(0, runner_of(self._target)))
