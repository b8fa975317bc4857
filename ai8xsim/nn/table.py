"""The table of modules: operation, pool, batch normalization, activation; and the name that says so.

Source: `spec/TRAINING.md` 2.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product


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
    def is_never_activated_by_vendor(self) -> bool:
        """Whether the vendor's class of this name leaves its `Abs` out. Source: `spec/TRAINING.md` 2.5."""
        return self.name in {"FusedMaxPoolConv1dBNAbs", "FusedAvgPoolConv1dBNAbs"}


def kinds() -> Iterator[Kind]:
    """Every module with an operation."""
    for operation, pooling, norm, activation in product(
        ("Conv1d", "Conv2d", "ConvTranspose2d", "Linear"),
        (None, "Max", "Avg"),
        (False, True),
        (None, "ReLU", "Abs"),
    ):
        if operation == "Linear" and (pooling or norm):
            continue
        yield Kind(operation, pooling, False, norm, activation)
        if operation in {"Conv2d", "ConvTranspose2d"}:
            yield Kind(operation, pooling, True, norm, activation)


POOLS = ("MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d")


def stub() -> str:
    """What `modules.pyi` says: the classes by name, for those who cannot see a table at work."""
    lines = [
        '"""Made from the table by `ai8xsim.nn.table.stub`; a test holds the two together."""',
        "",
        "from typing import Any",
        "",
        "from ai8xsim.nn.layer import Layer",
        "from ai8xsim.nn.table import Kind",
        "",
        "__all__: list[str]",
        "",
        "class Fused(Layer):",
        "    kind: Kind",
        "    def __init__(",
        "        self, in_channels: int, out_channels: int, kernel_size: Any = None, **given: Any",
        "    ) -> None: ...",
        "",
        "class Pool(Layer):",
        "    pooling_kind: str",
        "    dimensions: int",
        "    def __init__(self, kernel_size: Any, stride: Any = None, dilation: Any = 1, **given: Any) -> None: ...",
        "",
    ]
    lines += [f"class {kind.name}(Fused): ..." for kind in kinds()]
    lines += [f"class {name}(Pool): ..." for name in POOLS]
    return "\n".join([*lines, ""])
