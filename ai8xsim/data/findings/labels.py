"""Labels: their shape, their type, their range, how many of each class."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ai8xsim.data.findings.subject import Found, Subject, offenders
from ai8xsim.data.reading import Array, Item
from ai8xsim.diagnostics import Diagnostic, NotRun, error, warning

GOOD = frozenset({"int", "numpy.int64", "torch.int64"})
ENOUGH_FOR_EACH_CLASS = 20
CLEARLY = 2.0  # times more weight for a class with times more items
UNBALANCED = 10.0


def label_shape(subject: Subject) -> Found:
    """Labels that are neither one number nor a map of numbers nor objects; maps that are no maps of the items."""
    if subject.dataset.is_regression:
        return
    place = subject.dataset.place("loader")
    if bad := offenders(subject.readings, lambda item: _is_misshapen(subject, item)):
        what = _described(bad.first)
        message = f"{bad.count} have labels that are neither a number nor a map: {bad.where} has {what}"
        why = ("the loss of a classification takes one number for an item, or a map of them",)
        yield error("label-shape", message, place, "", why, _shape_mend(subject, bad.first.label))
        return
    labels = [i.label for r in subject.readings for i in r.items if isinstance(i.label, np.ndarray)]
    shapes = sorted({label.shape for label in labels})
    if len(shapes) > 1:
        message = f"labels have {len(shapes)} shapes: {', '.join(map(_sizes, shapes[:5]))}"
        yield error("label-shape", message, place, help="give all labels one shape: batches are made of them")
    elif shapes and (sizes := shapes[0][-2:]) and not _are_proportional(sizes, subject.dataset.input[1:]):
        items = f"the items, {_sizes(subject.dataset.input)}"
        message = f"label maps of {_sizes(sizes)} have other proportions than {items}"
        yield warning("label-shape", message, place, help="cut and resize the map as the image")


def label_type(subject: Subject) -> Found:
    """Labels that the loss does not take: classes are int64."""
    if subject.dataset.is_regression:
        return
    bad = offenders(
        subject.readings,
        lambda item: (
            not (item.structure or _is_detection(item) or _is_misshapen(subject, item))
            and item.label_kind not in GOOD
        ),
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
    if subject.dataset.is_regression and (subject.dataset.regression or not are_objects(subject)):
        yield from _regression(subject)
        return
    classes = len(subject.dataset.output)
    bad = offenders(subject.readings, lambda item: _outside(item, classes) is not None)
    if bad:
        value = _outside(bad.first, classes)
        least = 1 if _is_detection(bad.first) else 0
        span = f"{least}..{classes - 1 + least}"
        message = f"{bad.count} have labels outside {span}: {bad.where} has {_shown(value)}"
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
    elif counts.min() > 0 and counts.max() >= UNBALANCED * counts.min() and not label_maps(subject):
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
    labels = [None if _is_misshapen(subject, item) else item.label for item in reading.items]
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


def label_maps(subject: Subject) -> list[Array]:
    """The labels that are maps of numbers, one for each pixel."""
    labels = (item.label for r in subject.readings for item in r.items if not _is_misshapen(subject, item))
    return [label for label in labels if isinstance(label, np.ndarray) and label.ndim > 0]


def are_objects(subject: Subject) -> bool:
    """Whether labels are of objects and their boxes."""
    return any(_is_detection(item) for r in subject.readings for item in r.items)


def labels_of_objects(label: Any) -> Array | None:
    """The labels (N,) of (boxes, labels), or of (boxes, key points, labels); None where this is no such thing.

    boxes: four numbers for each object.

    >>> labels_of_objects(([[0, 0, 5, 5], [1, 1, 3, 3]], [1, 2]))
    array([1, 2])
    """
    if not isinstance(label, tuple | list) or len(label) not in {2, 3}:
        return None
    try:
        boxes, labels = np.asarray(label[0]), np.asarray(label[-1])
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ):  # parts of different lengths, or tensors that cannot be read
        return None
    are_boxes = boxes.size == 0 or (boxes.ndim == 2 and boxes.shape[1] == 4)
    numbers = all(part.dtype.kind in "iuf" for part in (boxes, labels))
    return labels if numbers and are_boxes and labels.ndim == 1 and len(boxes) == len(labels) else None


def _is_detection(item: Item) -> bool:
    """Whether the label is of objects: (boxes, labels), or a dictionary that a `collate` understands."""
    return isinstance(item.label, Mapping) or labels_of_objects(item.label) is not None


def _is_misshapen(subject: Subject, item: Item) -> bool:
    """Whether the label is built of several numbers in a way that no loss takes."""
    label = item.label
    if item.structure or _is_detection(item):
        return False
    if not isinstance(label, np.ndarray):
        return isinstance(label, tuple | list)
    if label.ndim == 0:
        return False
    axes = len(subject.dataset.input) - 1
    is_map = label.ndim == axes or (label.ndim == axes + 1 and label.shape[0] == 1)
    is_one_hot = max(label.shape) == label.size == len(subject.dataset.output)
    return not is_map or label.size < 2 or is_one_hot


def _shape_mend(subject: Subject, label: Any) -> str:
    if not isinstance(label, np.ndarray):
        return "return one number" if len(label) > 1 else "return the number itself, without a list around it"
    if label.size == 1:
        return "take the number out: `label.squeeze()`"
    if label.size == len(subject.dataset.output):
        return "return the number of the class: `label.argmax()`"
    if len(label) == len(subject.dataset.output):
        return "return the numbers of the classes: `label.argmax(0)`"
    return "return one number, or a map of the size of the item"


def _described(item: Item) -> str:
    if isinstance(item.label, np.ndarray):
        return f"an array of the shape {item.label.shape}"
    return f"a {item.label_kind} of {len(item.label)}"


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _are_proportional(sizes: tuple[int, ...], others: tuple[int, ...]) -> bool:
    """Whether a map is an item's, or one that is smaller or larger."""
    return len(sizes) < 2 or sizes[0] * others[1] == sizes[1] * others[0]


def _shown(value: Any) -> str:
    try:
        return f"{value:g}"
    except OverflowError:  # of an integer beyond all floats
        return "a number that no float holds"


def _outside(item: Item, classes: int) -> Any:
    """The first label that is no class; None where there is none."""
    label, least = item.label, 0
    if (objects := labels_of_objects(label)) is not None:
        label, least = objects, 1
    if isinstance(label, int):  # beyond int64, or it would be an array
        return label
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
