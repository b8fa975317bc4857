"""`check`: every rule over a description and what belongs to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy.typing as npt

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device, check_is_device
from ai8xsim.diagnostics import Diagnostic, NotRun, Severity, by_place, errors_among
from ai8xsim.errors import Ai8xsimError, InputError
from ai8xsim.network import NetworkDescription
from ai8xsim.program import Options
from ai8xsim.program.infer import infer_input_shape
from ai8xsim.program.resolve import Draft, draft
from ai8xsim.rules.subject import Needs, Rule, Subject
from ai8xsim.rules.table import RULES
from ai8xsim.samples import as_array, checked_samples

Array = npt.NDArray[Any]
ERRORS_OF_CHECK = frozenset({"hidden-wide"})  # computed as the loader does, but no chip can


@dataclass(frozen=True)
class Findings(Sequence[Diagnostic]):
    """What `check` found, sorted by place, and which rules it could not apply.

    deduced: the shape of the sample, (C, H, W) or (C, L), where none was given and the layers imply one.
    """

    diagnostics: tuple[Diagnostic, ...]
    not_run: tuple[NotRun, ...] = ()
    deduced: tuple[int, ...] | None = None

    @property
    def has_errors(self) -> bool:
        """Whether the network cannot work."""
        return bool(errors_among(self.diagnostics))

    @overload
    def __getitem__(self, index: int) -> Diagnostic: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Diagnostic, ...]: ...
    def __getitem__(self, index: int | slice) -> Diagnostic | tuple[Diagnostic, ...]:
        return self.diagnostics[index]

    def __len__(self) -> int:
        return len(self.diagnostics)


def check(
    network: NetworkDescription,
    device: Device,
    checkpoint: Checkpoint | None = None,
    sample: npt.ArrayLike | None = None,
    options: Options = Options(),  # noqa: B008  (frozen)
) -> Findings:
    """Every fault of a description for a device, with all that is given to hold it against.

    Without a checkpoint only the description's own rules are applied; without a sample its shape is deduced where
    the description fixes it. Rules that could not be applied are listed with the reason. Never raises for a fault.
    Source: `spec/ARITHMETIC.md` ("Limits"); vendor document, the chapters on limitations.

    >>> import ai8xsim
    >>> network = ai8xsim.read_network("networks/digits/network.yaml")
    >>> findings = check(network, ai8xsim.MAX78000)
    >>> len(findings), len(findings.not_run) > 0
    (0, True)
    """
    check_is_device(device)
    found: list[Diagnostic] = [*network.diagnostics, *(checkpoint.diagnostics if checkpoint else ())]
    subject = Subject(network, device, options, checkpoint)
    why = "it needs a checkpoint, which knows the numbers of channels"
    array = _sample(sample, found)
    if checkpoint is not None:
        drafted, why = _draft(subject, checkpoint, array, found)
        if drafted is not None:
            subject = replace(subject, program=drafted.program, doubtful=drafted.doubtful)
            found += drafted.diagnostics
        if array is not None and subject.program is not None:
            found += _values(array, subject)
    runnable = [rule for rule in RULES if _can_run(rule, subject)]
    for rule in runnable:
        found += subject.once(rule.find)
    not_run = tuple(NotRun(rule.code, why) for rule in RULES if rule not in runnable)
    deduced = subject.program.input_shape.array_shape if subject.program and array is None else None
    return Findings(by_place(_as_errors(found)), not_run, deduced)


def _can_run(rule: Rule, subject: Subject) -> bool:
    if rule.needs is Needs.PROGRAM:
        return subject.program is not None
    return rule.needs is Needs.DESCRIPTION or subject.checkpoint is not None


def _as_errors(found: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    for diagnostic in found:
        is_worse = diagnostic.code in ERRORS_OF_CHECK
        yield replace(diagnostic, severity=Severity.ERROR) if is_worse else diagnostic


def _sample(sample: npt.ArrayLike | None, found: list[Diagnostic]) -> Array | None:
    if sample is None:
        return None
    try:
        return as_array(sample)
    except InputError as fault:
        found += fault.diagnostics
        return None


def _draft(
    subject: Subject, checkpoint: Checkpoint, sample: Array | None, found: list[Diagnostic]
) -> tuple[Draft | None, str]:
    """The program as far as it can be known, or why there is none."""
    shape: tuple[int, ...] | None = sample.shape if sample is not None else None
    if shape is None:
        try:
            shape = infer_input_shape(subject.network, checkpoint, subject.device, subject.options)
        except Ai8xsimError as fault:
            found += fault.diagnostics
            return None, "the network cannot be resolved, see the errors"
    if shape is None:
        return None, "it needs the sample's shape, which the description does not fix: give a sample"
    drafted = draft(subject.network, checkpoint, subject.device, shape, subject.options)
    return drafted, "the network cannot be resolved, see the errors"


def _values(sample: Array, subject: Subject) -> Iterator[Diagnostic]:
    """What is wrong with the sample's values."""
    assert subject.program is not None
    try:
        checked_samples(sample, subject.program.input_shape)
    except InputError as fault:
        yield from fault.diagnostics
