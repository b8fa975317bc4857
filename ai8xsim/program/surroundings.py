"""What a layer's meaning depends on besides its own description."""

from collections.abc import Mapping
from dataclasses import dataclass

from ai8xsim.diagnostics import Diagnostic
from ai8xsim.network import LayerDescription, NetworkDescription
from ai8xsim.program.operations import Options, RollingBuffer, Shape
from ai8xsim.program.weights import AssignedWeights

Found = list[Diagnostic]


@dataclass(frozen=True)
class Surroundings:
    """What a layer's meaning depends on besides its own description and the layers before it."""

    network: NetworkDescription
    options: Options
    input_shape: Shape
    path: tuple[LayerDescription, ...]
    buffers: tuple[RollingBuffer, ...]
    weights: Mapping[int, AssignedWeights]

    def is_last(self, place: int) -> bool:
        """Whether the path ends at this place."""
        return place == len(self.path) - 1
