"""The items against the network that they are for."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.data.findings.labels import are_objects, label_maps
from ai8xsim.data.findings.subject import Found, Subject
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic, NotRun, error, errors_among, warning
from ai8xsim.errors import ResolveError
from ai8xsim.machine.processors import input_processor_faults
from ai8xsim.network import NetworkDescription
from ai8xsim.program import Options, Program, resolve
from ai8xsim.program.invent import random_checkpoint

NOT_ABOUT_DATA = frozenset({"missing-key"})


@dataclass(frozen=True)
class Against:
    """A network, and its checkpoint if there is one."""

    network: NetworkDescription
    device: Device
    checkpoint: Checkpoint | None = None
    options: Options = field(default_factory=Options)


def network_input(subject: Subject, against: Against) -> Found:
    """A network that does not take samples of this shape, or tells another number of classes apart.

    Without a checkpoint, layers that do not state their channels leave open whether the network takes the samples.
    """
    dataset = subject.dataset
    network, device, options = against.network, against.device, against.options
    shape = dataset.input
    try:
        checkpoint = against.checkpoint or random_checkpoint(network, device, shape, options=options)
        program = resolve(network, checkpoint, device, shape, options)
    except ResolveError as fault:
        found = errors_among(fault.diagnostics)
        if any(d.code in NOT_ABOUT_DATA for d in found):
            yield NotRun("network-input", "layers do not state `out_channels`; give --checkpoint")
            return
    else:
        found = tuple(input_processor_faults(program, program.layers[0]))
        if not found:
            yield from _class_count(subject, program)
    if found:
        message = f"{network.arch.value} does not take samples of {shape} on {device.name}"
        why = tuple(d.sentence() for d in found[:3])
        mend = "`input` and the description must be about the same data: size, fold, channels"
        yield error("network-input", message, dataset.place("input"), "", why, mend)
    elif against.checkpoint is None:
        yield NotRun("network-input", "no checkpoint says the sizes of weights; only channels were compared")


def _class_count(subject: Subject, program: Program) -> Iterator[Diagnostic]:
    """A network with more or fewer outputs than the data set has classes.

    Where labels are maps the output may be folded, by as much as they are larger.
    """
    dataset, output = subject.dataset, program.layers[-1].output_shape
    if dataset.is_regression or are_objects(subject):
        return
    maps = label_maps(subject)
    axes = max(1, len(dataset.input) - 1)  # of a map: rows and columns, or the places of a signal
    ratio = max(1, maps[0].shape[-axes] // output.rows) if maps else 1
    classes = output.channels // ratio**2
    if classes != len(dataset.output):
        message = f"the data set names {len(dataset.output)} classes, the network tells {classes} apart"
        mend = "take the network made for this data set"
        yield warning("class-count", message, dataset.place("output"), help=mend)
