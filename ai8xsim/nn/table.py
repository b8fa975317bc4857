"""The table of modules: operation, pool, batch normalization, activation; and the name that says so.

Source: `spec/TRAINING.md` 2.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

OPERATIONS = ("Conv1d", "Conv2d", "ConvTranspose2d", "Linear")


@dataclass(frozen=True)
class Kind:
    """One class of modules."""

    operation: str
    pooling: str | None = None
    is_depthwise: bool = False
    has_batchnorm: bool = False
    activation: str | None = None

    @property
    def name(self) -> str:
        """`Fused` in front where more than the operation is in it.

        >>> Kind("Conv2d", "Max", has_batchnorm=True, activation="ReLU").name
        'FusedMaxPoolConv2dBNReLU'
        """
        pool = f"{self.pooling}Pool" if self.pooling else ""
        norm = "BN" if self.has_batchnorm else ""
        inner = (
            f"{pool}{'Depthwise' if self.is_depthwise else ''}{self.operation}{norm}{self.activation or ''}"
        )
        is_plain = not (pool or norm or self.activation)
        return inner if is_plain else f"Fused{inner}"

    @property
    def base(self) -> str:
        """The class of the module that this one is a special case of."""
        if self.name != self.operation:
            return self.operation
        return "Conv2d" if self.operation == "ConvTranspose2d" else "Fused"

    @property
    def is_never_activated_by_vendor(self) -> bool:
        """Whether the vendor's class of this name leaves its `Abs` out. Source: `spec/TRAINING.md` 2.5."""
        return self.name in {"FusedMaxPoolConv1dBNAbs", "FusedAvgPoolConv1dBNAbs"}


def kinds() -> Iterator[Kind]:
    """Every module with an operation."""
    for operation, pooling, norm, activation in product(
        OPERATIONS,
        (None, "Max", "Avg"),
        (False, True),
        (None, "ReLU", "Abs"),
    ):
        if operation == "Linear" and (pooling or norm):
            continue
        yield Kind(operation, pooling, False, norm, activation)
        if operation in {"Conv2d", "ConvTranspose2d"}:
            yield Kind(operation, pooling, True, norm, activation)


POOLS = MappingProxyType(
    {
        f"{pooling}Pool{dimensions}d": Kind(f"Conv{dimensions}d", pooling)
        for pooling, dimensions in product(("Max", "Avg"), (1, 2))
    }
)
