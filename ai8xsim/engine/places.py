"""Where regions lie in the arena, and which steps can therefore go side by side."""

from collections.abc import Mapping, Sequence

from ai8xsim.engine.draft import Draft
from ai8xsim.engine.tensor import Region

ALIGNMENT = 64  # values from which on a region may begin; bytes, where memory does

Places = Mapping[int, int]  # by the number of a region: where it begins, for one sample


def places_of(drafts: Sequence[Draft]) -> tuple[dict[int, int], tuple[int, int]]:
    """Where each region begins, for one sample, and the size of the memory of activations and of sums.

    The largest regions choose first; each takes the lowest place that is free during its whole life.
    """
    lives: dict[Region, tuple[int, int]] = {}
    for time, draft in enumerate(drafts):
        for region in draft.regions:
            first = 0 if region.is_kept else lives.get(region, (time, time))[0]
            lives[region] = (first, len(drafts) if region.is_kept else time)
    places: dict[int, int] = {}
    sizes = []
    for is_sums in (False, True):
        regions = sorted((r for r in lives if r.is_sums is is_sums), key=lambda r: (-r.size, r.number))
        settled: list[Region] = []
        for region in regions:
            busy = [other for other in settled if _meet(lives[region], lives[other])]
            places[region.number] = _lowest_place(region, busy, places)
            settled.append(region)
        sizes.append(max((places[r.number] + _rounded(r.size) for r in regions), default=0))
    return places, (sizes[0], sizes[1])


def _lowest_place(region: Region, busy: Sequence[Region], places: Places) -> int:
    place = 0
    for other in sorted(busy, key=lambda r: places[r.number]):
        if place + _rounded(region.size) <= places[other.number]:
            break
        place = max(place, places[other.number] + _rounded(other.size))
    return place


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _meet(life: tuple[int, int], other: tuple[int, int]) -> bool:
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
