"""Labels: their type, their range, how many of each class."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ai8xsim.data.findings.subject import Found, NotRun, Subject, offenders
from ai8xsim.data.reading import Array, Item
from ai8xsim.diagnostics import Diagnostic, error, warning

GOOD = frozenset({"int", "numpy.int64", "torch.int64"})
ENOUGH_FOR_EACH_CLASS = 20
CLEARLY = 2.0  # times more weight for a class with times more items
UNBALANCED = 10.0


def label_type(subject: Subject) -> Found:
    """Labels that the loss does not take: classes are int64."""
    if subject.dataset.is_regression:
        return
    bad = offenders(
        subject.readings,
        lambda item: not item.structure and not _is_detection(item) and item.label_kind not in GOOD,
    )
    if bad:
        message = f"{bad.count} have labels of type {bad.first.label_kind}, not int64: first {bad.where}"
        why = ("the loss of a classification takes int64, and so does no other type",)
        mend = f"convert them: {_remedy(bad.first.label_kind)}"
        yield error("label-type", message, subject.dataset.place("loader"), "", why, mend)


def label_range(subject: Subject) -> Found:
    """Labels that are no class of `output`, and labels that are no numbers.

    A single label means regression, but for objects: there it is the only class.
    """
    objects = any(_is_detection(item) for r in subject.readings for item in r.items)
    if subject.dataset.is_regression and not (objects and not subject.dataset.regression):
        yield from _regression(subject)
        return
    classes = len(subject.dataset.output)
    bad = offenders(subject.readings, lambda item: _outside(item, classes) is not None)
    if bad:
        value = _outside(bad.first, classes)
        least = 1 if _is_detection(bad.first) else 0
        span = f"{least}..{classes - 1 + least}"
        message = f"{bad.count} have labels outside {span}: {bad.where} has {value:g}"
        why = (f"`output` lists {classes} classes",)
        mend = (
            "count classes from 1, 0 is the background"
            if least
            else "count classes from 0, in the order of `output`"
        )
        yield error("label-range", message, subject.dataset.place("output"), "", why, mend)


def class_missing(subject: Subject) -> Found:
    """Classes of which the train set has no item."""
    counts, total, length = class_counts(subject)
    if counts is None:
        yield NotRun("class-missing", "the labels are no classes")
    elif total < length and total < ENOUGH_FOR_EACH_CLASS * len(counts):
        yield NotRun("class-missing", f"{total} of {length} items are too few for {len(counts)} classes")
    else:
        missing = [str(subject.dataset.output[i]) for i in np.flatnonzero(counts == 0)]
        if missing:
            message = (
                f"{len(missing)} of {len(counts)} classes are in none of {total} samples of the train set"
            )
            names = ", ".join(f"`{name}`" for name in missing[:8])
            mend = "leave them out of `output`, or see where their items are"
            yield warning("class-missing", message, subject.dataset.place("output"), names, (), mend)


def class_weight(subject: Subject) -> Found:
    """Weights that favour frequent classes, or no weights where classes are very unequal."""
    counts, total, length = class_counts(subject)
    if counts is None:
        return
    if total < length and total < ENOUGH_FOR_EACH_CLASS * len(counts):
        yield NotRun("class-weight", f"{total} of {length} items are too few for {len(counts)} classes")
        return
    weight = subject.dataset.weight
    if weight is not None and len(set(weight)) > 1:
        yield from _wrong_order(subject, counts, np.array(weight))
    elif counts.min() > 0 and counts.max() >= UNBALANCED * counts.min() and not _is_map(subject):
        yield _unbalanced(subject, counts, total)


def _wrong_order(subject: Subject, counts: Array, weight: Array) -> Iterator[Diagnostic]:
    names = subject.dataset.output
    pairs = [
        (a, b)
        for a in range(len(counts))
        for b in range(len(counts))
        if weight[a] >= CLEARLY * weight[b] and counts[a] >= CLEARLY * max(1, counts[b])
    ]
    if pairs:
        a, b = max(pairs, key=lambda pair: counts[pair[0]] / max(1, counts[pair[1]]))
        message = f"`weight` favours `{names[a]}` over `{names[b]}`, which is rarer"
        why = (
            f"`{names[a]}`: {counts[a]} and weight {weight[a]:g}; `{names[b]}`: {counts[b]} and weight {weight[b]:g}",
        )
        mend = "weights grow as classes get rarer: use 1 / count; see whether their order is that of `output`"
        yield warning("class-weight", message, subject.dataset.place("weight"), "", why, mend)


def _unbalanced(subject: Subject, counts: Array, total: int) -> Diagnostic:
    names, most, least = subject.dataset.output, int(counts.argmax()), int(counts.argmin())
    message = (
        f"`{names[most]}` has {counts[most]} of {total} samples of the train set, `{names[least]}` {counts[least]}, "
        "and no `weight` evens it out"
    )
    mend = "add `weight` with a number for each label, greater for rare classes"
    return warning("class-weight", message, subject.dataset.place("output"), help=mend)


def class_counts(subject: Subject) -> tuple[Array | None, int, int]:
    """How often each class is in the items read of the train set, how many were read, how many there are.

    Pixels are counted where labels are maps. None where the labels are no classes, or not all of them.
    """
    reading = next((r for r in subject.chip if r.name == "train"), None)
    classes = len(subject.dataset.output)
    if reading is None or subject.dataset.is_regression:
        return None, 0, 0
    labels = [item.label for item in reading.items]
    usable = [x.ravel() for x in labels if isinstance(x, np.ndarray) and x.dtype.kind in "iu"]
    if not usable or len(usable) < len(labels):
        return None, len(labels), reading.length
    flat = np.concatenate(usable).astype(np.int64)
    if flat.size == 0 or flat.min() < 0 or flat.max() >= classes:
        return None, len(labels), reading.length
    return np.bincount(flat, minlength=classes), len(labels), reading.length


def _regression(subject: Subject) -> Iterator[Diagnostic]:
    def is_bad(item: Item) -> bool:
        return not isinstance(item.label, np.ndarray) or not bool(np.isfinite(item.label).all())

    bad = offenders(subject.readings, lambda item: not item.structure and is_bad(item))
    if bad:
        message = (
            f"{bad.count} have labels that are no finite numbers: {bad.where} has {bad.first.label!r:.60}"
        )
        yield error("label-range", message, subject.dataset.place("output"), help="regression learns numbers")


def _is_map(subject: Subject) -> bool:
    return any(isinstance(i.label, np.ndarray) and i.label.ndim > 0 for r in subject.chip for i in r.items)


def _is_detection(item: Item) -> bool:
    """(boxes, labels), as data sets for object detection have it."""
    return isinstance(item.label, tuple | list | dict)


def _are_boxes(label: tuple[Any, ...]) -> bool:
    """Whether this is (boxes, labels), with four corners a box."""
    if len(label) != 2 or not all(isinstance(part, np.ndarray) for part in label):
        return False
    return bool(label[0].ndim == 2 and label[0].shape[1] == 4 and label[1].ndim == 1)


def _outside(item: Item, classes: int) -> Any:
    """The first label that is no class; None where there is none."""
    label, least = item.label, 0
    if isinstance(label, tuple) and _are_boxes(label):
        label, least = label[1], 1
    if not isinstance(label, np.ndarray) or label.dtype.kind not in "iufb":
        return None
    wrong = label[(label < least) | (label >= classes + least)] if label.ndim else label.reshape(1)
    if label.ndim == 0 and least <= label < classes + least:
        return None
    return wrong.flat[0] if wrong.size else None


def _remedy(kind: str) -> str:
    if kind.startswith("torch"):
        return "`label.long()`"
    return (
        "`label.astype(numpy.int64)`"
        if kind.startswith("numpy")
        else "`int(label)`, counted in the order of `output`"
    )
