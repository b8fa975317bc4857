"""Items that are built wrongly: no pair, no float32 tensor, not on the CPU, unreadable."""

from dataclasses import replace

from ai8xsim.data.findings.subject import Found, Subject, offenders
from ai8xsim.diagnostics import error, warning

GOOD = "torch.float32"


def item_unreadable(subject: Subject) -> Found:
    """Items whose reading raised."""
    failures = [(r.title, index, found) for r in subject.readings for index, found in r.failures]
    for chip, digests in zip(subject.chip, subject.digests, strict=False):
        failures += [(chip.title, index, found) for index, found in digests.failures]
    if failures:
        readings = sum(len(r.items) + len(r.failures) for r in subject.readings)
        more = sum(d.compared for d in subject.digests) - sum(
            len(r.items) + len(r.failures) for r in subject.chip
        )
        title, index, first = failures[0]
        message = (
            f"{len(failures)} of {readings + more} samples cannot be read, first item {index} of {title}"
        )
        yield replace(
            error("item-unreadable", message), span=first.span, label=first.label, notes=first.notes
        )


def item_structure(subject: Subject) -> Found:
    """Items that are no (data, label)."""
    if bad := offenders(subject.readings, lambda item: bool(item.structure)):
        message = f"{bad.count} are not (data, label): {bad.where} is {bad.first.structure}"
        place = subject.dataset.place("loader")
        yield error("item-structure", message, place, help="let `__getitem__` return `data, label`")


def item_device(subject: Subject) -> Found:
    """Tensors that are not on the CPU."""
    if bad := offenders(subject.readings, lambda item: item.device != "cpu"):
        message = f"{bad.count} are not on the CPU: {bad.where} is on `{bad.first.device}`"
        why = ("workers of a DataLoader are processes of their own, which cannot share tensors of a GPU",)
        mend = "leave tensors on the CPU; the training software moves each batch to its device"
        yield error("item-device", message, subject.dataset.place("loader"), "", why, mend)


def item_type(subject: Subject) -> Found:
    """Data that is no float32 tensor; an array of float32 will do, because batches are made of it."""
    seen = [item for r in subject.readings for item in r.items if not item.structure]
    wrong = offenders(subject.readings, lambda i: not i.structure and i.kind not in {GOOD, "numpy.float32"})
    place = subject.dataset.place("loader")
    if wrong:
        message = f"{wrong.count} are not of type {GOOD}: {wrong.where} is {wrong.first.kind}"
        why = ("weights are float32 in training and in evaluation, and PyTorch does not mix types",)
        yield error("item-type", message, place, "", why, _mend(wrong.first.kind))
    elif any(item.kind == "numpy.float32" for item in seen):
        arrays = offenders(subject.readings, lambda i: i.kind == "numpy.float32")
        message = f"{arrays.count} are NumPy arrays, not tensors: first {arrays.where}"
        yield warning("item-type", message, place, help="return torch.from_numpy(data)")


def _mend(kind: str) -> str:
    if kind.startswith("numpy"):
        return "convert the array with `astype(numpy.float32)` before `torch.from_numpy` or `ToTensor`"
    if kind.startswith("torch"):
        return "convert it with `.float()`"
    return "put `ToTensor` in front of `ai8x.normalize`"
