"""Threads that stand by between calls: they look for the next one for a while, since to wake them takes longer than
much of the work does.

Each has a post, two int64 that it shares with those who call it. Its state goes round

    ASLEEP, CALLED -> READY   by the thread itself, when it has done its work
    READY -> CALLED           by a caller, who then puts down what is to be done: only one gets the thread
    READY -> ASLEEP           by the thread when its patience ends
"""

from ai8xsim.kernels.compiled import compiled, compiled_part
from ai8xsim.kernels.generated.shared import change_shared, read_shared, write_shared

ASLEEP, READY, CALLED = 0, 1, 2
POST_SIZE = 8  # int64, a line of the cache: the state, then the address of what is to be done
CALL = 8  # bytes from the state to it

# Looks at the post, for some 300 microseconds: longer than callers take between two samples, if they do little else.
PATIENCE = 300_000


@compiled_part
def next_call(post: int) -> int:
    """Be ready, and wait for a call: the address of what is to be done, 0 where none comes."""
    write_shared(post + CALL, 0)
    write_shared(post, READY)
    looks = 0
    while True:
        if read_shared(post) == CALLED:
            call: int = read_shared(post + CALL)
            if call != 0:
                return call
        looks += 1
        if looks > PATIENCE and change_shared(post, READY, ASLEEP):
            return 0


@compiled
def call_thread(post: int, call: int) -> bool:
    """Tell the thread of a post the address of what is to be done, if it is ready."""
    if not change_shared(post, READY, CALLED):
        return False
    write_shared(post + CALL, call)
    return True
