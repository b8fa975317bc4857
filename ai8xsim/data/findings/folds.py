"""Fold order, fold ratio and order of axes, recognised by smoothness.

In a picture neighbours are alike. Every guess of how an item was made is undone, and the guess after which neighbours
differ least is the right one. Noise has no smooth order: then nothing is said.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ai8xsim.data.findings.subject import Found, NotRun, Subject
from ai8xsim.data.reading import Array
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.transforms import pixels

LOOKED_AT = 24
CLEARLY = 0.88  # roughness of the better guess over that of the other
SCRAMBLED = 0.7
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
    rough = [[roughness(guess.undo(item)) for guess in guesses] for item in items]
    sums = np.sum(rough, axis=0)
    best = int(np.argmin(sums))
    expected = _expected(guesses, sums, dataset.fold_ratio)
    if expected is None or best == expected or sums[best] >= CLEARLY * sums[expected]:
        return
    agree = sum(row[best] < row[expected] for row in rough)
    yield _wrong_fold(subject, guesses[best], (agree, len(items)), sums[best] / sums[expected])


def _expected(guesses: list[Guess], sums: Array, stated: int) -> int | None:
    """The guess that the file stands for: the ratio it states, else the smoothest that is all right."""
    fine = [
        n
        for n, guess in enumerate(guesses)
        if (guess.order == STANDARD and guess.ratio == stated)
        or (stated == 1 and guess.order in {STANDARD, PLAIN})
    ]
    return min(fine, key=lambda n: float(sums[n])) if fine else None


def _wrong_fold(subject: Subject, best: Guess, agree: tuple[int, int], share: float) -> Diagnostic:
    stated = subject.dataset.fold_ratio
    count = f"{agree[0]} of {agree[1]} samples"
    why = (f"undone that way, neighbouring pixels differ {share:.0%} as much as undone the chip's way",)
    place = subject.dataset.place("loader")
    if best.order == STANDARD or (best.order == PLAIN and stated > 1):
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
    if len(subject.dataset.input) != 3 or subject.dataset.input[0] < 2 or not items:
        yield NotRun("scrambled-axes", "items are no pictures of two channels or more")
        return
    guesses = list(_guesses(subject.dataset.input[0], subject.dataset.fold_ratio))
    as_is = np.array([min(roughness(g.undo(item)) for g in guesses) for item in items])
    again = np.array([min(roughness(g.undo(_reshaped(item))) for g in guesses) for item in items])
    if as_is.sum() > 0 and again.sum() < SCRAMBLED * as_is.sum():
        count = f"{int((again < as_is).sum())} of {len(items)} samples"
        message = f"{count} look as if (H, W, C) was reshaped to (C, H, W) instead of transposed"
        share = again.sum() / as_is.sum()
        why = (f"read as (H, W, C), neighbouring pixels differ {share:.0%} as much",)
        mend = "use `permute(2, 0, 1)` or `transpose(2, 0, 1)`, or `ToTensor`, which does it"
        yield error("scrambled-axes", message, subject.dataset.place("loader"), "", why, mend)


def roughness(picture: Array) -> float:
    """The mean difference of neighbouring pixels, along both axes.

    >>> roughness(np.array([[[0, 1], [2, 3]]]))
    1.5
    """
    wide = picture.astype(np.int32)
    parts = [np.abs(np.diff(wide, axis=axis)) for axis in (-1, -2) if wide.shape[axis] > 1]
    return float(np.mean([part.mean() for part in parts])) if parts else 0.0


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
