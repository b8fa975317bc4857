"""Items of another shape than the file states."""

from ai8xsim.data.findings.subject import Found, Subject, offenders
from ai8xsim.diagnostics import error

Shape = tuple[int, ...]


def item_shape(subject: Subject) -> Found:
    """Items whose shape is not `input`."""
    wanted = subject.dataset.input
    bad = offenders(subject.readings, lambda item: item.values is not None and item.shape != wanted)
    if bad:
        message = f"{bad.count} have another shape than `input` {wanted}: {bad.where} is {bad.first.shape}"
        others = sorted({item.shape for _, item in bad.found})
        why = (
            (f"{len(others)} shapes were met: {', '.join(map(str, others[:5]))}",) if len(others) > 1 else ()
        )
        mend = shape_remedy(bad.first.shape, wanted)
        yield error("item-shape", message, subject.dataset.place("input"), "", why, mend)


def shape_remedy(shape: Shape, wanted: Shape) -> str:
    """What to do to get one shape out of the other.

    >>> shape_remedy((80, 80, 3), (3, 80, 80))
    'the channels come last; ToTensor moves them to the front, or `permute(2, 0, 1)`'
    """
    if shape[:1] == (1,) and shape[1:] == wanted:
        return "there is an axis of 1 in front; the DataLoader makes batches: return `data[0]`"
    if len(wanted) == 3 and shape == (*wanted[1:], wanted[0]):
        return "the channels come last; ToTensor moves them to the front, or `permute(2, 0, 1)`"
    if len(wanted) == 3 and shape == (wanted[0], wanted[2], wanted[1]):
        return "height and width are exchanged; `input` is (channels, height, width)"
    if len(wanted) == 2 and shape == wanted[::-1]:
        return "the channels come last; use `.T`"
    if len(wanted) == 2 and shape == (*wanted, 1):
        return "1D data has the shape (C, L): return `data[..., 0]`"
    if (folded := _fold_between(shape, wanted)) > 1:
        return f"fold it: `ai8x.fold(fold_ratio={folded})` behind `normalize`"
    if (folded := _fold_between(wanted, shape)) > 1:
        return f"it is folded by {folded}, `input` is not"
    if sorted(shape) == sorted(wanted):
        return "reorder the axes to (channels, height, width)"
    return "change `input`, or reshape the data"


def _fold_between(flat: Shape, folded: Shape) -> int:
    """By which ratio folding leads from one shape to the other; 0 where by none."""
    if len(flat) != 3 or len(folded) != 3 or not flat[1] or not folded[1] or flat[1] % folded[1]:
        return 0
    r = flat[1] // folded[1]
    return r if folded == (flat[0] * r * r, flat[1] // r, flat[2] / r) else 0
