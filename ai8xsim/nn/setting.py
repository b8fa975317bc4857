"""For which device, and how, modules compute: an argument in a context, never a global variable.

`with setting(...)` holds for the modules made or updated inside it, in this thread of execution; `set_device` is the
same for model files that were written for the vendor's module, and holds until it is called again.
Source: `spec/TRAINING.md` 1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

Behaviour = Literal["chip", "vendor"]


@dataclass(frozen=True)
class Setting:
    """What a module is made for.

    die: 85 is the MAX78000, 87 the MAX78002. simulate: evaluate with the integers of a quantized checkpoint, instead
    of training. round_avg: round average pools. behaviour: "chip" computes what the hardware does, "vendor" what the
    vendor's own PyTorch modules do. int8: evaluate on 8-bit products where the processor has exact ones: the
    same values, sooner.
    """

    die: int = 85
    simulate: bool = False
    round_avg: bool = False
    behaviour: Behaviour = "chip"
    int8: bool = True

    @property
    def weight_inputs(self) -> int:
        return 256

    @property
    def weight_depth(self) -> int:
        return 5120 if self.die == 87 else 768


_CURRENT: ContextVar[Setting | None] = ContextVar("ai8xsim.nn setting", default=None)


def current_setting() -> Setting:
    """The setting that holds here."""
    return _CURRENT.get() or Setting()


@contextmanager
def setting(
    device: str | int = "MAX78000",
    simulate: bool = False,
    round_avg: bool = False,
    behaviour: Behaviour = "chip",
    int8: bool = True,
) -> Iterator[Setting]:
    """A setting that holds inside the `with`."""
    chosen = Setting(die_of(device), simulate, round_avg, behaviour, int8)
    token = _CURRENT.set(chosen)
    try:
        yield chosen
    finally:
        _CURRENT.reset(token)


def set_device(device: str | int, simulate: bool, round_avg: bool, verbose: bool = True) -> None:
    """As the vendor's `ai8x.set_device`: from here on modules are for this device. The behaviour stays as it is."""
    _CURRENT.set(replace(current_setting(), die=die_of(device), simulate=simulate, round_avg=round_avg))


def die_of(device: str | int) -> int:
    """85 or 87, from a die or a name such as MAX78000, ai85 or 78002. Raises ValueError.

    >>> die_of("MAX78002"), die_of("ai85"), die_of(87)
    (87, 85, 87)
    """
    word = str(device).lower().removeprefix("max").removeprefix("ai")
    known = {"78000": 85, "78002": 87, "85": 85, "87": 87}
    if word not in known:
        raise ValueError(f"{device!r} is no device; it must be MAX78000 or MAX78002")
    return known[word]


_NAMES = MappingProxyType(
    {
        "device": "die",
        "simulate": "simulate",
        "round_avg": "round_avg",
        "WEIGHT_INPUTS": "weight_inputs",
        "WEIGHT_DEPTH": "weight_depth",
    }
)


class DeviceFront:
    """What model files read as `ai8x.dev`: the setting that holds where they read it."""

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return getattr(current_setting(), _NAMES[name])
        if name in {"DATA_BITS", "ACTIVATION_BITS", "DEFAULT_WEIGHT_BITS"}:
            return 8
        raise AttributeError(f"`dev` has no {name!r}; it has {', '.join(_NAMES)}")
