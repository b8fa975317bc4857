"""Bit-exact emulator of the CNN accelerator in MAX78000 and MAX78002.

    network    = ai8xsim.read_network("network.yaml")
    checkpoint = ai8xsim.read_checkpoint("checkpoint.pth.tar")
    program    = ai8xsim.resolve(network, checkpoint, ai8xsim.MAX78000, input_shape=(1, 28, 28))
    trace      = ai8xsim.Simulator(program).run(samples)

Public names load on first use, so that `import ai8xsim` costs next to nothing.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ai8xsim.version import __version__

if TYPE_CHECKING:
    from ai8xsim.checkpoint import Checkpoint, read_checkpoint
    from ai8xsim.device import DEVICES, MAX78000, MAX78002, Device
    from ai8xsim.diagnostics import Diagnostic, Severity, Span, render
    from ai8xsim.errors import Ai8xsimError, CheckpointError, InputError, NetworkError, ResolveError
    from ai8xsim.machine.ledger import Misread
    from ai8xsim.machine.machine import Machine, MachineTrace
    from ai8xsim.network import NetworkDescription, read_network
    from ai8xsim.program import Options, Program, resolve
    from ai8xsim.rules import Findings, check
    from ai8xsim.simulator import Session, Simulator
    from ai8xsim.trace import Difference, LayerTrace, Trace, load_trace

_ROOMS = MappingProxyType(
    {
        "checkpoint": ("Checkpoint", "read_checkpoint"),
        "device": ("DEVICES", "MAX78000", "MAX78002", "Device"),
        "diagnostics": ("Diagnostic", "Severity", "Span", "render"),
        "errors": ("Ai8xsimError", "CheckpointError", "InputError", "NetworkError", "ResolveError"),
        "machine.ledger": ("Misread",),
        "machine.machine": ("Machine", "MachineTrace"),
        "network": ("NetworkDescription", "read_network"),
        "program": ("Options", "Program", "resolve"),
        "rules": ("Findings", "check"),
        "simulator": ("Session", "Simulator"),
        "trace": ("Difference", "LayerTrace", "Trace", "load_trace"),
    }
)
_HOMES = MappingProxyType({name: room for room, names in _ROOMS.items() for name in names})

__all__ = [
    "DEVICES",
    "MAX78000",
    "MAX78002",
    "Ai8xsimError",
    "Checkpoint",
    "CheckpointError",
    "Device",
    "Diagnostic",
    "Difference",
    "Findings",
    "InputError",
    "LayerTrace",
    "Machine",
    "MachineTrace",
    "Misread",
    "NetworkDescription",
    "NetworkError",
    "Options",
    "Program",
    "ResolveError",
    "Session",
    "Severity",
    "Simulator",
    "Span",
    "Trace",
    "__version__",
    "check",
    "load_trace",
    "read_checkpoint",
    "read_network",
    "render",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ai8xsim' has no attribute {name!r}")
    return getattr(import_module(f"ai8xsim.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
