"""What the file says: YAML text -> NetworkDescription.

`keys` is the table of the language; `read` applies it; `rules` holds what several keys must fulfil together.
"""

from ai8xsim.network.description import (
    DataBufferDescription,
    Given,
    LayerDescription,
    NetworkDescription,
    UnloadDescription,
)
from ai8xsim.network.read import Reading, parse_network, read_network
from ai8xsim.network.values import INPUT, STOP, Reference

__all__ = [
    "INPUT",
    "STOP",
    "DataBufferDescription",
    "Given",
    "LayerDescription",
    "NetworkDescription",
    "Reading",
    "Reference",
    "UnloadDescription",
    "parse_network",
    "read_network",
]
