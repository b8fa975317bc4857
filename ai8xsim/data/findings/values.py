"""Values that the chip cannot take, or that waste its range. The cause is named once, not its consequences."""

from collections.abc import Iterable

import numpy as np

from ai8xsim.data.findings.subject import Found, Offenders, Subject, offenders
from ai8xsim.data.reading import Array, Item, Reading
from ai8xsim.diagnostics import error, warning
from ai8xsim.formats import ACTIVATION

NARROW = 0.25  # of the 256 values
DOUBLED_SHARE = 0.2


def item_nan(subject: Subject) -> Found:
    """NaN and infinities."""

    def is_bad(item: Item) -> bool:
        return item.values is not None and not item.is_exact and not bool(np.isfinite(item.values).all())

    if bad := offenders(subject.readings, is_bad):
        values = bad.first.values
        assert values is not None
        count = int((~np.isfinite(values)).sum())
        message = f"{bad.count} hold NaN or infinite values: {bad.where} has {count} of {values.size}"
        mend = "look for divisions by 0 and for files that could not be read"
        yield error("item-nan", message, subject.dataset.place("loader"), help=mend)


def forgotten(subject: Subject, readings: Iterable[Reading]) -> str:
    """In which range the items of a mode are, if they were not normalized: "[0, 1]", "0..255", or ""."""
    readings = tuple(readings)
    items = [item for r in readings for item in subject.fitting(r)]
    if not items:
        return ""
    steps = 1 if readings[0].act_mode_8bit else 128
    lowest, highest = _extremes(items, steps)
    if lowest < 0 or highest == 0:
        return ""
    if highest > 1 and (highest > ACTIVATION.maximum or steps == 128):
        return "0..255" if highest <= 256 else ""
    return "[0, 1]" if highest <= 1 and (steps == 1 or not all(item.is_exact for item in items)) else ""


def is_doubled(subject: Subject) -> bool:
    """Whether the items went through `normalize` twice, in both modes.

    8-bit mode then knows -128 and 127 only, which tells them from images of few levels. In training mode the values
    are even, at most 126, many of them -128: a black-and-white image, which knows two values as well, has 127 there.
    """
    chip, training = (
        [i for r in mode for i in subject.fitting(r)] for mode in (subject.chip, subject.training)
    )
    if not chip or not training or not all(item.is_exact for item in (*chip, *training)):
        return False
    if not all(np.isin(_of(item), (ACTIVATION.minimum, ACTIVATION.maximum)).all() for item in chip):
        return False
    values = np.concatenate([_of(item).ravel() for item in training])
    if values.min() == values.max():
        return False
    even = not bool((values & 1).any())
    return even and float((values == ACTIVATION.minimum).mean()) > DOUBLED_SHARE


def not_normalized(subject: Subject) -> Found:
    """`normalize` forgotten, in one mode or both."""
    found = {name: forgotten(subject, readings) for name, readings in _modes(subject)}
    modes = [name for name, span in found.items() if span]
    if modes:
        span = found[modes[0]]
        bad = _all_of(subject, modes[0])
        values = bad.first.values
        assert values is not None
        steps = 1 if modes[0] == "8-bit" else 128
        message = f"in {' and '.join(modes)} mode {bad.count} lie in {span}, as if `normalize` was forgotten"
        why = f"{bad.where} goes from {values.min() / steps:g} to {values.max() / steps:g}"
        mend = "end the transforms with `ai8x.normalize(args=args)`"
        if span == "0..255":
            mend += ", and divide pixels by 255 (`ToTensor` does) or 256 in front of it"
        yield error("not-normalized", message, subject.dataset.place("loader"), "", (why,), mend)


def normalized_twice(subject: Subject) -> Found:
    """`normalize` applied to what it made."""
    if is_doubled(subject):
        bad = _all_of(subject, "training")
        share = np.mean([float((_of(i) == ACTIVATION.minimum).mean()) for _, i in bad.found])
        message = f"{bad.count} look as if they were normalized twice, first {bad.where}"
        why = (
            f"in training mode all values are even multiples of 1/128, and {share:.0%} of them are -1",
            "the lower half of the range becomes -1 when `normalize` gets [-1, 1) instead of [0, 1]",
        )
        mend = "call `ai8x.normalize` once, on values in [0, 1]"
        yield error("normalized-twice", message, subject.dataset.place("loader"), "", why, mend)


def item_fraction(subject: Subject) -> Found:
    """Values between the steps of the chip: in 8-bit mode an error, in training a difference that nobody sees."""
    if not _is_explained(subject, subject.chip) and not ignores_mode(subject):
        bad = offenders(subject.chip, _has_fractions)
        if bad:
            message = f"{bad.count} hold fractions in 8-bit mode: {bad.where} has {_fraction(bad.first)}"
            mend = "end the transforms with `ai8x.normalize(args=args)`, which rounds"
            yield error("item-fraction", message, subject.dataset.place("loader"), help=mend)
    if not _is_explained(subject, subject.training):
        bad = offenders(subject.training, _has_fractions)
        if bad:
            first = f"{bad.where} has {_fraction(bad.first, 128)}"
            message = f"{bad.count} hold values in training mode that are no multiples of 1/128: {first}"
            why = ("the network is trained on values that the device never sees",)
            mend = "end the transforms with `ai8x.normalize(args=args)`, which rounds"
            yield warning("item-fraction", message, subject.dataset.place("loader"), "", why, mend)


def item_range(subject: Subject) -> Found:
    """Values outside -128..127, or [-1, 1) in training."""
    for name, readings in _modes(subject):
        if _is_explained(subject, readings) or (name == "training" and ignores_mode(subject)):
            continue
        bad = offenders(readings, _is_outside)
        if bad:
            steps, span = (1, "-128..127") if name == "8-bit" else (128, "[-1, 127/128]")
            values = bad.first.values
            assert values is not None
            extremes = f"{np.nanmin(values) / steps:g} to {np.nanmax(values) / steps:g}"
            message = (
                f"{bad.count} in {name} mode have values outside {span}: {bad.where} goes from {extremes}"
            )
            why = ("the device saturates what is outside; training does not",)
            mend = "`ai8x.normalize` wants values in [0, 1]"
            yield error("item-range", message, subject.dataset.place("loader"), "", why, mend)


def ignores_mode(subject: Subject) -> bool:
    """Whether both modes deliver the very same numbers, so that one of them must be wrong."""
    pairs = [
        (a.values, b.values)
        for one, other in zip(subject.chip, subject.training, strict=True)
        for a, b in zip(subject.fitting(one), subject.fitting(other), strict=False)
        if a.index == b.index
    ]
    varied = [(a, b) for a, b in pairs if a is not None and b is not None and a.any()]
    return bool(varied) and all(np.array_equal(a.astype(np.float64) * 128, b) for a, b in varied)


def mode_ignored(subject: Subject) -> Found:
    """`args.act_mode_8bit` without effect."""
    if not ignores_mode(subject) or _is_explained(subject, subject.chip):
        return
    bad = _all_of(subject, "8-bit")
    values = bad.first.values
    assert values is not None
    which = "training's" if _has_fractions(bad.first) or np.abs(values).max() <= 1 else "8-bit"
    message = (
        f"`args.act_mode_8bit` changes nothing: {bad.count} are the same in both modes, first {bad.where}"
    )
    why = (f"both have {which} range, {values.min():g} to {values.max():g}",)
    mend = "give the `args` of `(data_dir, args) = data` to `ai8x.normalize(args=args)`"
    yield error("mode-ignored", message, subject.dataset.place("loader"), "", why, mend)


def narrow_range(subject: Subject) -> Found:
    """Channels that use little of the range: bits that the chip has and the data does not use."""
    used = channel_use(subject)
    narrow = [
        (c, low, high)
        for c, (low, high) in enumerate(used)
        if 0 < high - low + 1 < NARROW * 256 and high > low
    ]
    if narrow and not _is_explained(subject, subject.chip):
        c, low, high = min(narrow, key=lambda entry: entry[2] - entry[1])
        share = (high - low + 1) / 256
        total = len(subject.fitting_chip())
        of = f"{len(narrow)} of {len(used)} channels"
        message = f"{of} use less than {NARROW:.0%} of the range in all {total} samples"
        why = (f"channel {c} goes from {low} to {high}, {share:.0%} of -128..127",)
        mend = "scale the data to the whole of [0, 1] in front of `normalize`, here and on the device"
        yield warning("narrow-range", message, subject.dataset.place("loader"), "", why, mend)


def constant_channel(subject: Subject) -> Found:
    """Channels that have one value in all samples."""
    used = channel_use(subject)
    total = len(subject.fitting_chip())
    constant = [(c, low) for c, (low, high) in enumerate(used) if low == high]
    if constant and total > 1:
        c, value = constant[0]
        message = f"{len(constant)} of {len(used)} channels are constant in all {total} samples"
        why = (f"channel {c} is {value} everywhere",)
        mend = "look at the contact sheet (`--sheet`); a channel without data costs weights and time"
        yield warning("constant-channel", message, subject.dataset.place("loader"), "", why, mend)


def channel_use(subject: Subject) -> list[tuple[int, int]]:
    """The least and the greatest value of every channel over all exact items of 8-bit mode."""
    pairs = subject.fitting_chip()
    if not pairs:
        return []
    flat = [_of(item).reshape(item.shape[0], -1) for _, item in pairs]
    low = np.min([values.min(axis=1) for values in flat], axis=0)
    high = np.max([values.max(axis=1) for values in flat], axis=0)
    return [(int(a), int(b)) for a, b in zip(low, high, strict=True)]


def _modes(subject: Subject) -> tuple[tuple[str, tuple[Reading, ...]], ...]:
    return (("8-bit", subject.chip), ("training", subject.training))


def _all_of(subject: Subject, mode: str) -> Offenders:
    readings = dict(_modes(subject))[mode]
    found = tuple((r, item) for r in readings for item in subject.fitting(r))
    varied = sorted(found, key=lambda pair: bool(np.ptp(_of(pair[1]).astype(np.float64)) == 0))
    return Offenders(tuple(varied), len(found))


def _is_explained(subject: Subject, readings: tuple[Reading, ...]) -> bool:
    """Whether a graver cause was named already."""
    return bool(forgotten(subject, readings)) or is_doubled(subject)


def _extremes(items: Iterable[Item], steps: int) -> tuple[float, float]:
    arrays = [_of(item) for item in items]
    return min(float(a.min()) for a in arrays) / steps, max(float(a.max()) for a in arrays) / steps


def _of(item: Item) -> Array:
    assert item.values is not None
    return item.values


def _has_fractions(item: Item) -> bool:
    if item.values is None or item.is_exact:
        return False
    finite = item.values[np.isfinite(item.values)]
    return bool((finite != np.round(finite)).any())


def _is_outside(item: Item) -> bool:
    if item.values is None or item.is_exact:
        return False
    finite = item.values[np.isfinite(item.values)]
    return finite.size > 0 and bool(
        (finite < ACTIVATION.minimum).any() or (finite > ACTIVATION.maximum).any()
    )


def _fraction(item: Item, steps: int = 1) -> str:
    values = _of(item)
    return f"{float(values[np.isfinite(values) & (values != np.round(values))][0]) / steps:.6g}"
