"""The items against the network that they are for."""

from dataclasses import dataclass, field

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.data.dataset import Dataset
from ai8xsim.data.findings.subject import Found, NotRun
from ai8xsim.device import Device
from ai8xsim.diagnostics import error, errors_among
from ai8xsim.errors import ResolveError
from ai8xsim.machine.processors import input_processor_faults
from ai8xsim.network import NetworkDescription
from ai8xsim.program import Options, resolve
from ai8xsim.program.invent import random_checkpoint

NOT_ABOUT_DATA = frozenset({"missing-key"})


@dataclass(frozen=True)
class Against:
    """A network, and its checkpoint if there is one."""

    network: NetworkDescription
    device: Device
    checkpoint: Checkpoint | None = None
    options: Options = field(default_factory=Options)


def network_input(dataset: Dataset, against: Against) -> Found:
    """A network that does not take samples of this shape.

    Without a checkpoint, layers that do not state their channels leave open whether the network takes the samples.
    """
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
        found = tuple(input_processor_faults(program.layers[0]))
    if found:
        message = f"{network.arch.value} does not take samples of {shape} on {device.name}"
        why = tuple(d.sentence() for d in found[:3])
        mend = "`input` and the description must be about the same data: size, fold, channels"
        yield error("network-input", message, dataset.place("input"), "", why, mend)
    elif against.checkpoint is None:
        yield NotRun("network-input", "no checkpoint says the sizes of weights; only channels were compared")
