"""The sets as wholes: empty, changing, overlapping, repeating, not truncated."""

from collections import Counter

from ai8xsim.data.findings.subject import Found, Subject
from ai8xsim.data.reading import Reading
from ai8xsim.diagnostics import NotRun, error, warning

REPEATED_SHARE = 0.1
FEW = 10


def empty_set(subject: Subject) -> Found:
    """Sets without items."""
    for reading in subject.chip:
        if reading.length == 0:
            message = f"the {reading.name} set is empty"
            mend = "see whether the folder of data holds what the loader looks for"
            yield error("empty-set", message, subject.dataset.place("loader"), help=mend)


def changes_when_loaded_again(subject: Subject) -> tuple[int, int, str] | None:
    """How many test items are others after the loader was called again, of how many, and the first one.

    Items that change from reading to reading anyway say nothing about the loader.
    """
    test = _test(subject)
    again = subject.reloaded
    if test is None or again is None or subject.restless[0] or any(n == "test" for n, _ in subject.unseeded):
        return None
    if test.length != again.length:
        return (
            abs(test.length - again.length),
            test.length,
            f"it has {test.length} items, then {again.length}",
        )
    before = {item.index: item.digest for item in test.items if item.digest}
    others = [item.index for item in again.items if before.get(item.index, item.digest) != item.digest]
    if not others:
        return None
    return len(others), len(again.items), f"item {others[0]} is another one"


def unsteady_split(subject: Subject) -> Found:
    """A loader that makes another test set each time: by an unseeded shuffle, for example."""
    changed = changes_when_loaded_again(subject)
    elsewhere = subject.elsewhere.different
    if subject.elsewhere.why_not:
        yield NotRun("unsteady-split in another process", subject.elsewhere.why_not)
    if elsewhere and not changed:
        count = f"{len(elsewhere)} of {subject.elsewhere.read} samples"
        message = f"{count} of the test set are others in another process, first item {elsewhere[0]}"
        why = ("Python's `hash` of a text is another one in each process, and so is the order of a set",)
        mend = "split by hashlib's hash of the name, and sort what comes out of a set"
        yield warning("unsteady-split", message, subject.dataset.place("loader"), "", why, mend)
    if changed:
        number, total, first = changed
        message = (
            f"{number} of {total} samples of the test set change when the loader is called again: {first}"
        )
        why = ("then items of the test set have been trained on before, and no accuracy can be repeated",)
        mend = "split by a hash of the file name (hashlib, not Python's `hash`), or shuffle with a fixed seed"
        yield warning("unsteady-split", message, subject.dataset.place("loader"), "", why, mend)


def unsteady_items(subject: Subject) -> Found:
    """A test set with augmentation."""
    changed, total = subject.restless
    if changed:
        count = f"{len(changed)} of {total} samples"
        message = f"{count} of the test set change from reading to reading, first item {changed[0]}"
        mend = "augment the train set only"
        yield warning("unsteady-items", message, subject.dataset.place("loader"), help=mend)


def truncation_ignored(subject: Subject) -> Found:
    """`args.truncate_testset` without effect."""
    test = _test(subject)
    if subject.truncated is None or test is None or test.length <= 1:
        yield NotRun("truncation-ignored", "there is no test set of more than one item")
    elif subject.truncated != 1:
        message = f"with `args.truncate_testset` the test set has {subject.truncated} items instead of 1"
        mend = "if `args.truncate_testset`, keep one item: in the attribute that `__len__` counts"
        yield warning("truncation-ignored", message, subject.dataset.place("loader"), help=mend)


def overlapping_sets(subject: Subject) -> Found:
    """Items of the test set that are in the train set as well."""
    sets = {digests.name: digests for digests in subject.digests}
    if not {"train", "test"} <= sets.keys():
        yield NotRun("overlapping-sets", "there are not both sets")
        return
    train, test = sets["train"], sets["test"]
    common = [digest for digest in test.first if digest in train.first]
    if common:
        ours, theirs = test.first[common[0]], train.first[common[0]]
        first = f"item {ours} of the test set is item {theirs} of the train set"
        message = (
            f"{len(common)} of {test.compared} samples of the test set are in the train set too: {first}"
        )
        why = (f"{train.compared} of {train.length} items of the train set were compared",)
        mend = "split before crops and augmentation are made, by a hash of the original's name"
        yield error("overlapping-sets", message, subject.dataset.place("loader"), "", why, mend)
    elif (train.compared, test.compared) != (train.length, test.length):
        what, other = (
            f"{digests.compared} of {digests.length} items of the {digests.name} set"
            for digests in (train, test)
        )
        yield NotRun(
            "overlapping-sets", f"the sets are large or unreadable: only {what} were compared with {other}"
        )


def repeated_items(subject: Subject) -> Found:
    """Sets in which many items are the same; constant ones, such as silence, may be."""
    for reading in subject.chip:
        varied = [item for item in reading.items if item.is_varied]
        counts = Counter(item.digest for item in varied)
        doubled = sum(counts.values()) - len(counts)
        if len(reading.items) >= FEW and doubled >= REPEATED_SHARE * len(reading.items):
            digest, times = counts.most_common(1)[0]
            same = [item.index for item in varied if item.digest == digest]
            more = f", and {times - 2} more," if times > 2 else ""
            first = f"items {same[0]} and {same[1]}{more} are equal"
            message = (
                f"{doubled} of {len(reading.items)} samples of the {reading.name} set repeat others: {first}"
            )
            mend = "see whether `__getitem__` uses its index"
            yield warning("repeated-items", message, subject.dataset.place("loader"), help=mend)


def _test(subject: Subject) -> Reading | None:
    return next((r for r in subject.chip if r.name == "test"), None)
