"""Golden cases whose description no memory can carry out, by the reason; the vectors do not mark them.

Their expected values are what the loader's simulator computes, which works on tensors and never looks at addresses.
"""

from typing import NamedTuple

from ai8xsim.machine.ledger import Kind

ELSEWHERE = frozenset({Kind.FOREIGN, Kind.UNWRITTEN})
LOST = frozenset({Kind.OVERWRITTEN})


class Group(NamedTuple):
    """Cases with one reason: what `check` calls it, and in which ways the memory level finds bytes misread."""

    reason: str
    code: str
    kinds: frozenset[Kind]
    names: tuple[str, ...]


WRONG = (  # `check` calls these errors
    Group(
        "a layer writes over data that a later layer reads; the loader protects the last layer's output only",
        "overwritten-data", LOST,
        ("fuzz-00075", "fuzz-00134", "fuzz-00221", "fuzz-00285"),
    ),
    Group(
        "a layer's 32-bit output lies over its own input, which is not the output of the layer before: "
        "there the loader does not look",
        "overwrites-input", LOST,
        ("fuzz-00378",),
    ),
    Group(
        "in_dim makes other channels of the same values, of which more pixels are read than were written, "
        "up to where the output lies",
        "overwrites-input", ELSEWHERE,
        ("rand2-00292",),
    ),
    Group(
        "a hidden layer has 32-bit output: the loader hands it on, the hardware would read single bytes",
        "hidden-wide", frozenset({Kind.FOREIGN}),
        (
            "rand2-00468", "rand2-00524", "rand2-00728", "rand2-00872", "rand2-00924", "rand2-01176",
            "rand2-01228", "rand2-01240", "rand2-01248", "rand2-01264", "rand2-01296", "rand2-01328",
        ),
    ),
    Group(
        "element-wise operands do not interleave (no write_gap); the loader only warns",
        "operands-apart", ELSEWHERE,
        (
            "rand2-00136", "rand2-00504", "rand2-00836", "rand2-00980", "rand2-00988", "rand2-01032",
            "rand2-01040", "rand2-01048", "rand2-01072", "rand2-01076", "rand2-01084", "rand2-01096",
            "rand2-01112", "rand2-01116", "rand2-01180", "rand2-01272", "rand2-01324", "rand2-01340",
        ),
    ),
    Group(
        "the sample is concatenated with a layer that writes to another offset; the loader only warns",
        "misplaced-input", frozenset({Kind.UNWRITTEN}),
        ("rand2-00232", "rand2-00992", "rand2-01008", "rand2-01016", "rand2-01104", "rand2-01128"),
    ),
)  # fmt: skip
DOUBTFUL = (  # `check` only warns of these
    Group(
        "in_dim makes other channels of the same values, or in_crop drops rows: nothing on the chip "
        "rearranges data, and a FIFO skips none",
        "misplaced-input", ELSEWHERE,
        (
            "rand2-00044", "rand2-00064", "rand2-00164", "rand2-00200", "rand2-00264", "rand2-00344",
            "rand2-00384", "rand2-00416", "rand2-00452", "rand2-00484", "rand2-00532", "rand2-00628",
            "rand2-00684", "rand2-00700", "rand2-00736", "rand2-00752", "rand2-00776",
        ),
    ),
    Group(
        "one pixel is inserted as two rows of a data buffer: the chip writes it once",
        "misplaced-input", frozenset({Kind.STALE}),
        ("rand2-00128", "rand2-00140", "rand2-00584", "rand2-00768", "rand2-00888"),
    ),
    Group(
        "run with overlap_data, and the output does overtake the input",
        "overwrites-input", LOST,
        ("fuzz-00001", "fuzz-00057", "fuzz-00194", "fuzz-00250", "fuzz-00298", "fuzz-00327"),
    ),
)  # fmt: skip
EQUAL_BY_CHANCE = frozenset(
    {"rand2-00264", "rand2-00768", "rand2-01104"}
)  # every layer makes the same of other bytes


def names(table: tuple[Group, ...]) -> frozenset[str]:
    return frozenset(name for group in table for name in group.names)


def group_of(name: str) -> Group | None:
    """The group of a case; None where memory and vector agree."""
    return next((group for group in (*WRONG, *DOUBTFUL) if name in group.names), None)
