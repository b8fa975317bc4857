"""A whole network in one compiled call: alone, or shared with other threads."""

from functools import cache
from typing import Any, Protocol

from ai8xsim.kernels.compiled import Array, compiled_for, compiled_part, inlined
from ai8xsim.kernels.generated.handles import CALL_TYPES, address_of, handles_at, run_of, step_at, tell_call
from ai8xsim.kernels.generated.shared import add_shared, claim, wait_for
from ai8xsim.kernels.generated.standby import next_call
from ai8xsim.kernels.generated.steps import Handle, Kind, Run
from ai8xsim.kernels.generated.targets import FOUR, TILES_TOGETHER, Target
from ai8xsim.kernels.generated.work import Range, Step, work

ALONE = 0  # instead of a number of threads

# Multiplications below which a step is not worth sharing. Claims cost time too: a thread has one piece of a step, of a
# large one up to PIECES of this size, so that none waits long for another. A bit of a counter stands for each.
WORTH_SHARING, WORTH_A_PIECE, PIECES = 200_000, 2_000_000, 4
MOST_PIECES = 63
COUNTERS = 2  # for each step: which pieces are claimed, how many are done
TILES = 4  # of which pieces have a multiple, as most blocks of them have
INT64 = 8  # bytes


class CompiledRun(Protocol):
    """Runs a call in an arena, whose handles it completes; without numbers, they were told of the call before."""

    def __call__(self, handles: Array, samples: Array, outputs: Array, numbers: Array) -> None: ...


@cache
def runner_of(target: Target) -> CompiledRun:
    """`run_network` for a target; with a post, also what others call for afterwards, until nobody does for a while."""
    marker = target.marker

    @compiled_for(*CALL_TYPES)
    def run(handles: Array, samples: Array, outputs: Array, numbers: Array) -> None:
        if len(numbers):
            tell_call(handles, samples, outputs, numbers)
        post = handles[Handle.POST]
        call = address_of(handles, 0)
        while call:
            run_network(marker, handles_at(call))
            call = next_call(post) if post else 0

    return run


@inlined
def run_network(target: Any, handles: Array) -> None:
    """Run samples, as many at a time as the handles say.

    Other threads may call this at the same time; whoever comes, early, late or never, the work is done.
    threads = 0: no other thread takes part.
    threads = 1: the samples are divided: a thread claims the next ones, and runs them alone, in an arena of its own.
    threads > 1: each step is divided: threads claim piece after piece of it, and go on to the next one, which may have
    to wait until all pieces before are done. They share the arena.
    In the end, threads wait for each other: who made the call must, and the others have nothing else to do.
    Counters, as many as `counters_for` says, and the counts of saturated values are shared in any case.
    """
    run, end = run_of(target, handles), handles[Handle.END_SAMPLE]
    places, threads, steps = handles[Handle.PLACES], handles[Handle.THREADS], handles[Handle.STEP_COUNT]
    done, counters = handles[Handle.COUNTERS], handles[Handle.COUNTERS] + INT64
    for turn, first in enumerate(range(handles[Handle.FIRST_SAMPLE], end, places)):
        if threads == 1 and add_shared(counters + INT64 * turn, 1) > 0:
            continue
        count = min(places, end - first)
        shared = counters + INT64 * (1 + COUNTERS * steps) * turn
        _run_steps(run, (handles[Handle.FIRST_STEP], steps), (first, count), (threads, shared))
        if threads == 1:
            add_shared(done, count)
    if threads == 1:
        wait_for(done, end - handles[Handle.FIRST_SAMPLE])


def counters_for(steps: int, turns: int, threads: int) -> int:
    """The counters that threads need for so many steps and turns: the first counts samples that were divided."""
    return 1 + turns * (1 if threads == 1 else 1 + COUNTERS * steps)


@inlined
def _run_steps(run: Run, steps: Range, samples: Range, others: Range) -> None:
    """Run steps on some samples.   others: how many threads share them, if any do; the address of their counters."""
    threads, shared = others
    own = add_shared(shared, 1) if threads > 1 else 0
    waited = steps[0]
    for number in range(steps[0], steps[1]):
        step = step_at(run.plan, number)
        if threads > 1 and step.waits:
            _wait_for_steps(run, (waited, number), samples, others)
            waited = number
        _run_step(run, step, samples, (own, threads), _claimed(shared, number))
    if threads > 1:
        _wait_for_steps(run, (waited, steps[1]), samples, others)


@compiled_part
def _wait_for_steps(run: Run, steps: Range, samples: Range, others: Range) -> None:
    """Wait until all pieces of some steps are done."""
    threads, shared = others
    for number in range(steps[0], steps[1]):
        step = step_at(run.plan, number)
        wait_for(_claimed(shared, number) + INT64, _pieces(step, step.pixel_count * samples[1], threads))


@inlined
def _claimed(shared: int, number: int) -> int:
    """The address of a step's counters."""
    return shared + INT64 * (1 + COUNTERS * number)


@compiled_part
def _pieces(step: Step, pixels: int, threads: int) -> int:
    """Into how many pieces a step is divided; each thread has as many as the others."""
    effort = step.work * pixels
    if threads < 2 or effort < WORTH_SHARING:
        return 1
    rounds = max(1, min(PIECES, effort // (threads * WORTH_A_PIECE), pixels // (threads * _together(step))))
    pieces: int = min(pixels, MOST_PIECES, threads * rounds)
    return pieces


@compiled_part
def _together(step: Step) -> int:
    """Pixels that are best computed together."""
    if step.kind == Kind.MAXIMUM and step.is_together:
        return FOUR
    return TILES_TOGETHER if step.kind == Kind.MULTIPLY_TILES else 1


@compiled_part
def _bound(step: Step, pixels: int, piece: int, pieces: int) -> int:
    """Where a piece begins."""
    unit = min(_together(step), TILES, pixels // pieces)
    return pixels if piece == pieces else pixels * piece // pieces // unit * unit


@inlined
def _run_step(run: Run, step: Step, samples: Range, thread: Range, claimed: int) -> None:
    """thread: its number and how many there are.   claimed: address of the step's counters, if there are others.

    Each thread begins with pieces of its own: in the same part of all images, which then stays in its cache.
    """
    first, count = samples
    own, threads = thread
    pixels = step.pixel_count * count
    pieces = _pieces(step, pixels, threads)
    for turn in range(pieces):
        piece = (own * pieces // max(1, threads) + turn) % pieces
        if threads < 2 or claim(claimed, piece):
            part = (_bound(step, pixels, piece, pieces), _bound(step, pixels, piece + 1, pieces))
            saturated = work(run, step, part, first)
            if step.counter >= 0:
                add_shared(run.outputs.counts + INT64 * step.counter, saturated)
            if threads < 2:
                return
            add_shared(claimed + INT64, 1)
