"""What rules look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.diagnostics import Diagnostic
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program import Layer, Options, Program


class Needs(StrEnum):
    """What a rule needs besides the description and the device."""

    DESCRIPTION = "description"
    CHECKPOINT = "checkpoint"
    PROGRAM = "program"


@dataclass(frozen=True)
class Subject:
    """A description for a device, and as much more of it as is known.

    program: what could be resolved, perhaps not to its end. doubtful: its layers against which an error stands.
    """

    network: NetworkDescription
    device: Device
    options: Options
    checkpoint: Checkpoint | None = None
    program: Program | None = None
    doubtful: frozenset[int] = frozenset()
    _found: dict["Find", tuple[Diagnostic, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def once(self, find: "Find") -> tuple[Diagnostic, ...]:
        """What `find` finds, sought once for all rules that ask: a ledger of the memories takes its time."""
        if find not in self._found:
            self._found[find] = tuple(find(self))
        return self._found[find]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that could be resolved, in the order of execution."""
        return self.program.layers if self.program else ()

    @property
    def first(self) -> LayerDescription:
        """The layer that is executed first."""
        return self.network.layers[min(self.options.start_layer, len(self.network.layers) - 1)]

    @property
    def has_fifo(self) -> bool:
        """Whether the sample arrives by FIFO."""
        return self.options.fifo or self.options.fast_fifo or self.options.fast_fifo_quad

    def streams(self, layer: LayerDescription) -> bool:
        """Whether the layer streams."""
        return bool(layer.streaming and layer.streaming.value) and not self.options.ignore_streaming


Find = Callable[[Subject], Iterator[Diagnostic]]


@dataclass(frozen=True)
class Rule:
    """One rule: its code, what it needs, and the function that finds what is wrong."""

    code: str
    needs: Needs
    find: Find


def following(program: Program, layer: Layer) -> Layer | None:
    """The layer that is executed next, None behind the last one."""
    place = program.order.index(layer.index) + 1
    return program.layers[place] if place < len(program.layers) else None
