"""Number formats one can ask: minimum, maximum, bits, unit.

Source: vendor document, chapters "Number Format" and `output_width`.
"""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class NumberFormat:
    """A set of integers. One step of the integer is worth `2**-fraction_bits`.

    >>> ACTIVATION.minimum, ACTIVATION.maximum, ACTIVATION.unit
    (-128, 127, 0.0078125)
    >>> 128 in ACTIVATION
    False
    """

    name: str
    bits: int
    fraction_bits: int
    minimum: int
    maximum: int

    @property
    def unit(self) -> float:
        """What one step is worth."""
        return 2.0**-self.fraction_bits

    def __contains__(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        return f"{self.name} [{self.minimum}, {self.maximum}]"


def _signed(name: str, bits: int, fraction_bits: int) -> NumberFormat:
    return NumberFormat(name, bits, fraction_bits, -(1 << bits - 1), (1 << bits - 1) - 1)


ACTIVATION = _signed("int8", 8, 7)
BIAS = _signed("int8", 8, 7)
WIDE_OUTPUT = _signed("int32", 32, 14)

WEIGHT = MappingProxyType({bits: _signed(f"{bits}-bit", bits, bits - 1) for bits in (1, 2, 4, 8)})
BINARY_WEIGHT = NumberFormat("binary", 1, 0, -1, 1)  # -1 and +1, without 0; MAX78002 only
