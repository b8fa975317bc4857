"""A trained checkpoint, whole: every tensor of its state dictionary, and the numbers beside it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from ai8xsim.checkpoint.container import open_container
from ai8xsim.checkpoint.faults import UnreadableError
from ai8xsim.checkpoint.layers import StateReader
from ai8xsim.checkpoint.read import count_in, dictionary_in, state_in, text_in
from ai8xsim.checkpoint.tensors import Tensor
from ai8xsim.diagnostics import Span
from ai8xsim.errors import CheckpointError

_ANY_AXES = tuple(range(9))


@dataclass(frozen=True, eq=False)
class TrainedCheckpoint:
    """What training leaves: tensors by their keys, in the order of the file, and what is said of the training.

    extras: the plain values under `extras`; an optimizer's state and classes are left out.
    """

    path: str
    arch: str | None
    epoch: int | None
    tensors: Mapping[str, NDArray[Any]]
    extras: Mapping[str, int | float | str]


def read_state(path: str | os.PathLike[str]) -> TrainedCheckpoint:
    """The trained (or quantized) checkpoint in a file, without torch and without running anything in it.

    Raises CheckpointError if it is none or is damaged, OSError if it cannot be opened.
    """
    name = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with open_container(file) as container:
                content = dictionary_in(container.content)
                state = state_in(content)
                reader = StateReader(state, container)
                keys = [key for key, value in state.items() if isinstance(value, Tensor) and value.size]
                tensors = {key: reader.array(key, _ANY_AXES) for key in keys}
        except UnreadableError as fault:
            raise CheckpointError([replace(fault.diagnostic, span=Span(name))]) from None
    extras = content.get("extras")
    plain = (
        {k: v for k, v in extras.items() if isinstance(v, int | float | str)}
        if isinstance(extras, dict)
        else {}
    )
    return TrainedCheckpoint(
        name, text_in(content.get("arch")), count_in(content.get("epoch")), MappingProxyType(tensors),
        MappingProxyType(plain),
    )  # fmt: skip
