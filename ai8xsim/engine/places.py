"""Where regions lie in the arena, and which steps can therefore go side by side."""

from collections.abc import Mapping, Sequence

from ai8xsim.engine.draft import Draft
from ai8xsim.engine.tensor import Region

ALIGNMENT = 64  # values from which on a region may begin; bytes, where memory does

Life = tuple[int, int]  # the first and the last step that a region is used in
Lives = Mapping[Region, Life]
Places = Mapping[int, int]  # by the number of a region: where it begins, for one sample


def places_of(drafts: Sequence[Draft], *, is_shared: bool = False) -> tuple[dict[int, int], tuple[int, int]]:
    """Where each region begins, for one sample, and the size of the memory of activations and of sums.

    is_shared: whether threads may share the steps.
    """
    lives = _lives(drafts)
    arrange = _around_the_same_middle if is_shared else _close_together
    activations, sums = (
        arrange({region: life for region, life in lives.items() if region.is_sums is is_sums})
        for is_sums in (False, True)
    )
    places = {region.number: place for region, place in (activations | sums).items()}
    return places, (_end(activations), _end(sums))


def _lives(drafts: Sequence[Draft]) -> dict[Region, Life]:
    """Of each region, the first and the last step that it is used in."""
    lives: dict[Region, Life] = {}
    for time, draft in enumerate(drafts):
        for region in draft.regions:
            first = 0 if region.is_kept else lives.get(region, (time, time))[0]
            lives[region] = (first, len(drafts) if region.is_kept else time)
    return lives


def _close_together(lives: Lives) -> dict[Region, int]:
    """The largest regions choose first; each takes the lowest place that is free during its whole life."""
    places: dict[Region, int] = {}
    for region in _largest_first(lives):
        busy = [other for other in places if _meet(lives[region], lives[other])]
        places[region] = _lowest_place(region, busy, places)
    return places


def _lowest_place(region: Region, busy: Sequence[Region], places: Mapping[Region, int]) -> int:
    place = 0
    for other in sorted(busy, key=lambda r: places[r]):
        if place + _rounded(region.size) <= places[other]:
            break
        place = max(place, places[other] + _rounded(other.size))
    return place


def _around_the_same_middle(lives: Lives) -> dict[Region, int]:
    """Regions that share memory have the same middle.

    A thread computes the same part of each image. So the memory that it writes to stays its own from step to step;
    to get it from another processor's cache takes longer than many a step. Networks need up to a quarter more memory
    like this, and a single thread has nothing of it.
    """
    places: dict[Region, int] = {}
    first = 0
    for slot in _slots(lives):
        size = _rounded(slot[0].size)
        for region in slot:
            places[region] = first + (size - _rounded(region.size)) // 2 // ALIGNMENT * ALIGNMENT
        first += size
    return places


def _slots(lives: Lives) -> list[list[Region]]:
    """Regions that can share memory, the largest first: each goes to the first slot that is free during its life."""
    slots: list[list[Region]] = []
    for region in _largest_first(lives):
        free = [slot for slot in slots if not any(_meet(lives[region], lives[other]) for other in slot)]
        if free:
            free[0].append(region)
        else:
            slots.append([region])
    return slots


def _largest_first(lives: Lives) -> list[Region]:
    return sorted(lives, key=lambda region: (-region.size, region.number))


def _end(places: Mapping[Region, int]) -> int:
    return max((place + _rounded(region.size) for region, place in places.items()), default=0)


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _meet(life: Life, other: Life) -> bool:
    return life[0] <= other[1] and other[0] <= life[1]


def waits_of(drafts: Sequence[Draft], places: Places) -> list[bool]:
    """Of each step, whether all steps before it must be done first; else it can go beside those since the last one
    that had to wait."""
    waits: list[bool] = []
    beside: list[Draft] = []
    for draft in drafts:
        waits.append(any(_depends(draft, other, places) for other in beside))
        beside = [draft] if waits[-1] else [*beside, draft]
    return waits


def _depends(draft: Draft, earlier: Draft, places: Places) -> bool:
    """Whether a step reads what an earlier one writes, or writes what that one reads or writes.

    Steps that fill a region together write different values of it: its border, parts of a convolution, data that is
    joined. Only buffers are written again and again.
    """
    output, written = draft.output, earlier.output
    if written is not None and any(_overlap(region, written, places) for region in draft.sources):
        return True
    if output is None:
        return False
    if any(_overlap(output, region, places) for region in earlier.sources):
        return True
    is_shared = output == written and not output.is_kept
    return written is not None and _overlap(output, written, places) and not is_shared


def _overlap(one: Region, other: Region, places: Places) -> bool:
    first, second = places[one.number], places[other.number]
    return (
        one.is_sums is other.is_sums
        and first < second + _rounded(other.size)
        and second < first + _rounded(one.size)
    )
