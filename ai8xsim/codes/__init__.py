"""The table of diagnostic codes: what each one means, why it is so, and how to mend it.

`ai8xsim explain CODE` prints a row. Codes are stable; their texts may improve.
"""

from types import MappingProxyType

from ai8xsim.codes import (
    checkpoint,
    comparison,
    data,
    description,
    device,
    evaluation,
    fitting,
    images,
    memories,
    models,
    samples,
    training,
)
from ai8xsim.codes.code import Code

ROOMS = (
    description,
    checkpoint,
    fitting,
    device,
    memories,
    models,
    comparison,
    data,
    samples,
    training,
    evaluation,
    images,
)
CODES = MappingProxyType({row.name: row for room in ROOMS for row in room.ROWS})

__all__ = ["CODES", "Code"]
