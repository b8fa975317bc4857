"""The two modes against each other."""

import numpy as np

from ai8xsim.data.findings.sets import changes_when_loaded_again
from ai8xsim.data.findings.subject import Found, Subject
from ai8xsim.data.findings.values import forgotten, ignores_mode, is_doubled
from ai8xsim.data.reading import Array, Item, Reading
from ai8xsim.diagnostics import Diagnostic, NotRun, error


def mode_factor(subject: Subject) -> Found:
    """8-bit mode is training mode times 128, item by item."""
    if ignores_mode(subject) or is_doubled(subject):
        return
    if forgotten(subject, subject.chip) or forgotten(subject, subject.training):
        return
    if changes_when_loaded_again(subject):
        yield NotRun("mode-factor", "the loader makes another test set at every call")
        return
    compared, different = 0, []
    for chip, training in zip(subject.chip, subject.training, strict=True):
        if chip.length != training.length:
            yield _lengths(subject, chip, training)
        elif any(name == chip.name for name, _ in subject.unseeded):
            yield NotRun("mode-factor", f"the {chip.name} set is random in a way that seeds do not govern")
        else:
            pairs = _pairs(subject, chip, training)
            compared += len(pairs)
            different += [(chip, a, b) for a, b in pairs if not np.array_equal(_of(a), _of(b))]
    if different:
        yield _differ(subject, different, compared)


def _lengths(subject: Subject, chip: Reading, training: Reading) -> Diagnostic:
    message = (
        f"the {chip.name} set has {chip.length} items in 8-bit mode and {training.length} in training mode"
    )
    mend = "`args.act_mode_8bit` may change the range of values, nothing else"
    return error("mode-factor", message, subject.dataset.place("loader"), help=mend)


def _differ(subject: Subject, different: list[tuple[Reading, Item, Item]], compared: int) -> Diagnostic:
    reading, chip, training = different[0]
    ours, theirs = _of(chip), _of(training)
    place = tuple(int(i) for i in np.argwhere(ours != theirs)[0])
    count = f"{len(different)} of {compared} samples"
    message = f"8-bit mode is not training mode times 128 in {count}, first item {chip.index} of the {reading.name} set"
    here = f"[{', '.join(map(str, place))}]"
    why = (
        f"at {here} 8-bit mode has {float(ours[place]):g}, training mode {float(theirs[place]) / 128:g} "
        f"(times 128: {float(theirs[place]):g})",
    )
    mend = "let both modes do the same, and `ai8x.normalize(args=args)` alone choose the range"
    return error("mode-factor", message, subject.dataset.place("loader"), "", why, mend)


def _pairs(subject: Subject, chip: Reading, training: Reading) -> list[tuple[Item, Item]]:
    """Items of both modes that other findings leave nothing to say about."""
    others = {item.index: item for item in subject.fitting(training) if item.is_exact}
    return [(i, others[i.index]) for i in subject.fitting(chip) if i.is_exact and i.index in others]


def _of(item: Item) -> Array:
    assert item.values is not None
    return item.values
