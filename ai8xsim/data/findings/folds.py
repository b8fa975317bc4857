"""Fold order, fold ratio and order of axes, recognised by smoothness.

In a picture neighbours are alike. Every guess of how an item was made is undone, and the guess after which neighbours
differ least is the likely one. It must stand more tests, because stripes and other regular patterns can be smooth in a
wrong order: neighbours within a fold differ as much as neighbours across its border, parts that are said to come from
different places are not the same picture, colours that are equal at each place were read in the right order already,
and most samples agree. Noise has no smooth order: then nothing is said.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ai8xsim.data.findings.subject import Found, Subject
from ai8xsim.data.reading import Array
from ai8xsim.diagnostics import Diagnostic, NotRun, error
from ai8xsim.transforms import pixels

LOOKED_AT = 24
CLEARLY = 0.88  # roughness of the better guess over that of the other
EVEN = 2.0  # largest difference of neighbours at one place in the fold, over the least; photographs stay below 1.9
GREY = 0.3  # difference of colours at one place over that of neighbours
SAME_PICTURE = 0.6  # correlation of the parts of a fold; those of photographs are above 0.8
SCRAMBLED = 0.6
AGREEMENT = 0.75  # of the samples
FEWEST = 3  # samples from which the order of axes can be told
COLOURS = (1, 3)
STANDARD, PLAIN = "channel (i * r + j) * C + c", "not folded"


class Guess(NamedTuple):
    """How an item may have been made: folded by a ratio, with the channels in an order; `undo` gives the picture."""

    ratio: int
    order: str
    undo: Callable[[Array], Array]


def fold_ratio(subject: Subject) -> Found:
    """A stated `fold_ratio` by which the channels cannot have been folded."""
    dataset, r = subject.dataset, subject.dataset.fold_ratio
    if r > 1 and (len(dataset.input) < 3 or dataset.input[0] % (r * r)):
        message = (
            f"`fold_ratio` is {r}, but the {dataset.input[0]} channels of `input` are no multiple of {r * r}"
        )
        yield error(
            "fold-ratio", message, dataset.place("fold_ratio"), help="state the ratio of the loader's `fold`"
        )


def fold_order(subject: Subject) -> Found:
    """Items folded in another order, or by another ratio, than the chip's tools unfold."""
    dataset = subject.dataset
    items = _pictures(subject)
    if len(dataset.input) != 3 or dataset.input[0] < 4 or not items:
        yield NotRun("fold-order", "items are no pictures of four channels or more")
        return
    guesses = list(_guesses(dataset.input[0], dataset.fold_ratio))
    if dataset.input[0] == dataset.fold_ratio**2:
        guesses = guesses[1:]  # a folded Bayer picture is smooth in each channel, and rough unfolded
    rough = np.array([[sum(roughness(guess.undo(item))) for guess in guesses] for item in items])
    sums = rough.sum(axis=0)
    best, expected = int(np.argmin(sums)), _expected(guesses, sums, dataset.fold_ratio)
    if expected is None or best == expected or sums[best] >= CLEARLY * sums[expected]:
        return
    agree = int((rough[:, best] < rough[:, expected]).sum())
    if agree >= AGREEMENT * len(items) and _is_credible(guesses[best], guesses[expected], items):
        yield _wrong_fold(subject, guesses[best], (agree, len(items)), sums[best] / sums[expected])


def _expected(guesses: list[Guess], sums: Array, stated: int) -> int | None:
    """The guess that the file stands for: the ratio it states, else the smoothest that is all right."""
    fine = [n for n, guess in enumerate(guesses) if _is_fine(guess, stated)]
    return min(fine, key=lambda n: float(sums[n])) if fine else None


def _is_fine(guess: Guess, stated: int) -> bool:
    if stated > 1:
        return guess.order == STANDARD and guess.ratio == stated
    return guess.order in {STANDARD, PLAIN}


def _is_credible(best: Guess, expected: Guess, items: Sequence[Array]) -> bool:
    if _is_grey([expected.undo(item) for item in items], [best.undo(item) for item in items]):
        return False
    if best.order == PLAIN:
        return _likeness(items, expected.ratio) < SAME_PICTURE
    return unevenness([best.undo(item) for item in items], best.ratio) < EVEN


def _wrong_fold(subject: Subject, best: Guess, agree: tuple[int, int], share: float) -> Diagnostic:
    stated = subject.dataset.fold_ratio
    count = f"{agree[0]} of {agree[1]} samples"
    why = (f"undone that way, neighbouring pixels differ {share:.0%} as much as undone the chip's way",)
    place = subject.dataset.place("loader")
    if best.order in {STANDARD, PLAIN}:
        seen = f"folded by {best.ratio}" if best.order == STANDARD else "not folded, or cut into tiles"
        message = f"{count} look {seen}, not folded by {stated}"
        mend = f"fold by {stated} with `ai8x.fold`, or state the ratio that the loader folds by"
        return error("fold-ratio", message, place, "", why, mend)
    message = f"{count} look folded by {best.ratio} in another order: {best.order}"
    mend = f"use `ai8x.fold(fold_ratio={best.ratio})`: channel (i * r + j) * C + c holds c at [i::r, j::r]"
    return error("fold-order", message, place, "", why, mend)


def scrambled_axes(subject: Subject) -> Found:
    """Pictures with the channels last that were reshaped, not transposed, to have the channels first."""
    items = _pictures(subject)
    if len(subject.dataset.input) != 3 or subject.dataset.input[0] < 2 or len(items) < FEWEST:
        yield NotRun("scrambled-axes", "items are no pictures of two channels or more, or too few")
        return
    stated = subject.dataset.fold_ratio
    guesses = [g for g in _guesses(subject.dataset.input[0], stated) if g.order in {STANDARD, PLAIN}]
    read = [_read(guesses, item) for item in items]
    anew = [_read(guesses, _reshaped(item)) for item in items]
    as_is, again = (np.array([roughness(picture) for picture in pictures]) for pictures in (read, anew))
    (across, down), (across_again, down_again) = as_is.sum(axis=0), again.sum(axis=0)
    agree = int((again.sum(axis=1) < as_is.sum(axis=1)).sum())
    clearer = down > 0 and down_again < SCRAMBLED * down and across_again <= across
    if clearer and agree >= AGREEMENT * len(items) and not _is_grey(read, anew):
        count = f"{agree} of {len(items)} samples"
        message = f"{count} look as if (H, W, C) was reshaped to (C, H, W) instead of transposed"
        why = (f"read as (H, W, C), neighbouring rows differ {down_again / down:.0%} as much",)
        mend = "use `permute(2, 0, 1)` or `transpose(2, 0, 1)`, or `ToTensor`, which does it"
        yield error("scrambled-axes", message, subject.dataset.place("loader"), "", why, mend)


def roughness(picture: Array) -> tuple[float, float]:
    """The mean difference of neighbouring pixels in a row, and in a column.

    >>> roughness(np.array([[[0, 1], [2, 3]]]))
    (1.0, 2.0)
    """
    wide = picture.astype(np.int32)
    across, down = (np.abs(np.diff(wide, axis=axis)) for axis in (-1, -2))
    return tuple(float(part.mean()) if part.size else 0.0 for part in (across, down))  # type: ignore[return-value]


def unevenness(pictures: Sequence[Array], ratio: int) -> float:
    """How much the difference of neighbours depends on their place in a fold: the largest over the least, 1 at best.

    >>> unevenness([np.array([[[0, 0, 9, 9, 0, 0, 9, 9]] * 8])], 4) > 1000
    True
    """
    worst = 1.0
    for axis in (-1, -2):
        total, count = np.zeros(ratio), np.zeros(ratio)
        for picture in pictures:
            steps = np.moveaxis(np.abs(np.diff(picture.astype(np.int32), axis=axis)), axis, -1)
            for place in range(ratio):
                total[place] += steps[..., place::ratio].sum()
                count[place] += steps[..., place::ratio].size
        means = total[count > 0] / count[count > 0]
        if means.size and means.max() > 0:
            worst = max(worst, float(means.max() / max(means.min(), 1e-6)))
    return worst


def _is_grey(pictures: Sequence[Array], better: Sequence[Array]) -> bool:
    """Whether three colours are one: they differ little, even against neighbours in the better reading."""
    if pictures[0].shape[0] != COLOURS[-1]:
        return False
    colours = np.mean([np.abs(np.diff(p.astype(np.int32), axis=0)).mean() for p in pictures])
    return bool(colours <= GREY * np.mean([sum(roughness(p)) / 2 for p in better]))


def _likeness(items: Sequence[Array], ratio: int) -> float:
    """The mean correlation of the parts of a fold with the first one; 1 where they do not vary."""
    found = []
    for item in items:
        parts = item.astype(np.float64).reshape(ratio * ratio, item.shape[0] // ratio**2, -1)
        parts -= parts.mean(axis=-1, keepdims=True)
        flat = parts.reshape(len(parts), -1)
        norms = np.sqrt((flat**2).sum(axis=1))
        if (norms > 0).all():
            found += list((flat[1:] @ flat[0]) / (norms[1:] * norms[0]))
    return float(np.mean(found)) if found else 1.0


def _read(guesses: Sequence[Guess], item: Array) -> Array:
    """The smoothest of the pictures that an item can be."""
    return min((guess.undo(item) for guess in guesses), key=lambda picture: sum(roughness(picture)))


def _reshaped(item: Array) -> Array:
    channels, rows, columns = item.shape
    return np.ascontiguousarray(item).reshape(rows, columns, channels).transpose(2, 0, 1)


def _pictures(subject: Subject) -> list[Array]:
    """Some items of 8-bit mode, or what there is of training mode, that are not constant."""
    exact = [item.values for _, item in subject.fitting_chip() if item.values is not None]
    if not exact:
        items = [item for r in subject.training for item in subject.fitting(r)]
        exact = [np.clip(item.values, -(1 << 15), 1 << 15) for item in items if item.values is not None]
    varied = [values for values in exact if values.ndim == 3 and values.min() != values.max()]
    return varied[:: max(1, len(varied) // LOOKED_AT)][:LOOKED_AT]


def _guesses(channels: int, stated: int) -> Iterator[Guess]:
    """Every way in which a picture can have got this many channels."""
    yield Guess(1, PLAIN, lambda item: item)
    for r in range(2, 17):
        rest, remainder = divmod(channels, r * r)
        if remainder or not rest or (rest not in COLOURS and r != stated):
            continue
        yield Guess(r, STANDARD, lambda item, r=r: pixels.unfold(item, r))  # type: ignore[misc]
        yield from _other_orders(r, rest)


def _other_orders(r: int, count: int) -> Iterator[Guess]:
    def reordered(item: Array, axes: tuple[int, int, int], sizes: tuple[int, int, int]) -> Array:
        """The channels, which lie in an order of sizes, brought into the standard one (i, j, c)."""
        rows, columns = item.shape[1:]
        parts = item.reshape(*sizes, rows, columns).transpose(*axes, 3, 4)
        return pixels.unfold(parts.reshape(-1, rows, columns), r)

    if count > 1:
        name = "channel c * r * r + i * r + j, as `pixel_unshuffle` has it"
        yield Guess(r, name, lambda item: reordered(item, (1, 2, 0), (count, r, r)))
    name = "channel (j * r + i) * C + c, columns before rows"
    yield Guess(r, name, lambda item: reordered(item, (1, 0, 2), (r, r, count)))
    root = round(r**0.5)
    if root * root == r:
        name = f"folded by {root} twice"
        yield Guess(r, name, lambda item: pixels.unfold(pixels.unfold(item, root), root))
