"""Data sets in other processes: pickle, workers, batches."""

from ai8xsim.data.findings.subject import Found, Subject
from ai8xsim.diagnostics import NotRun, error, warning


def not_picklable(subject: Subject) -> Found:
    """Data sets that cannot be sent to another process."""
    if subject.workers.pickle_fault:
        message = "the data set cannot be pickled"
        why = (
            subject.workers.pickle_fault,
            "where processes are not forked, workers get the data set by pickle",
        )
        mend = (
            "use functions and classes of the module instead of lambdas and local functions; open files late"
        )
        yield warning("not-picklable", message, subject.dataset.place("loader"), "", why, mend)


def workers_fail(subject: Subject) -> Found:
    """DataLoader workers that fail, or deliver something else."""
    seen = subject.workers
    if seen.why_not:
        yield NotRun("workers-fail", seen.why_not)
    elif seen.fault:
        message = "a DataLoader with workers fails"
        mend = "give `collate` in the dictionary where items have different sizes; keep tensors on the CPU"
        yield error("workers-fail", message, subject.dataset.place("loader"), "", (seen.fault,), mend)
    elif seen.different:
        count = f"{len(seen.different)} of {seen.read} samples"
        message = f"{count} of the test set are others when workers read them, first item {seen.different[0]}"
        mend = "open files in `__getitem__`, not before; keep no position between items"
        yield error("workers-fail", message, subject.dataset.place("loader"), help=mend)
