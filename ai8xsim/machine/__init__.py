"""The memory level: the operations on the data memories, where each byte knows its writer."""

from ai8xsim.machine.ledger import BUFFER, NOBODY, SAMPLE, Kind, Misread, Place
from ai8xsim.machine.machine import Machine, MachineTrace

__all__ = ["BUFFER", "NOBODY", "SAMPLE", "Kind", "Machine", "MachineTrace", "Misread", "Place"]
