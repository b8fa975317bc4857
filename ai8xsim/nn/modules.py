"""The modules, made from the table. `modules.pyi` names them for editors and type checkers."""

import sys
from dataclasses import replace
from typing import Any

from torch import nn

from ai8xsim.nn.layer import Layer, Parts
from ai8xsim.nn.parameters import Parameters, bound, refusals
from ai8xsim.nn.setting import current_setting
from ai8xsim.nn.table import POOLS, Kind, kinds


class Fused(Layer):
    """A module of a kind of the table; its classes differ in `kind` only, and take `Parameters`.

    Raises ValueError for what the hardware cannot do, TypeError for a wrong call.
    """

    kind = Kind("Conv2d")

    def __init__(self, *args: Any, **given: Any) -> None:
        name = type(self).__name__
        chosen = bound(name, self.kind, args, given)
        faults = list(refusals(self.kind, chosen, current_setting().die))
        if faults:
            raise ValueError(f"{name}: {'; '.join(faults)}")
        has_operation = chosen.op == "Linear" or chosen.kernel_size is not None
        op = _operation(chosen) if has_operation else None
        parts = Parts(chosen.pooling, _pool(chosen), op, _norm(chosen) if has_operation else None)
        super().__init__(parts, chosen.activation, chosen.wide)
        self.kind = replace(
            self.kind, operation=chosen.op, pooling=chosen.pooling, activation=chosen.activation
        )
        if chosen.weight_bits is not None:
            self.set_bits(chosen.weight_bits, bias_bits=chosen.bias_bits)

    @property
    def is_never_activated_by_vendor(self) -> bool:
        return self.kind.is_never_activated_by_vendor


def _pool(chosen: Parameters) -> nn.Module | None:
    if chosen.pooling is None:
        return None
    dimensions = "1d" if chosen.op == "Conv1d" else "2d"
    made = getattr(nn, f"{chosen.pooling}Pool{dimensions}")
    extra = {"dilation": _of_torch(chosen.pool_dilation)} if chosen.pooling == "Max" else {}
    pool: nn.Module = made(_of_torch(chosen.pool_size), _of_torch(chosen.pool_stride), padding=0, **extra)
    return pool


def _of_torch(numbers: Any) -> Any:
    """A number or a tuple."""
    return tuple(numbers) if isinstance(numbers, list) else numbers


def _norm(chosen: Parameters) -> nn.Module | None:
    if chosen.batchnorm is None:
        return None
    made = nn.BatchNorm1d if chosen.op == "Conv1d" else nn.BatchNorm2d
    is_affine = chosen.batchnorm == "Affine"
    return made(chosen.out_channels, eps=chosen.eps, momentum=chosen.momentum, affine=is_affine)


def _operation(chosen: Parameters) -> nn.Module:
    ends = (chosen.in_channels, chosen.out_channels)
    if chosen.op == "Linear":
        return nn.Linear(*ends, chosen.bias is True)
    kernel = chosen.kernel_size[0] if isinstance(chosen.kernel_size, tuple | list) else chosen.kernel_size
    names = ("stride", "padding", "dilation", "groups")
    named: dict[str, Any] = {name: getattr(chosen, name) for name in names}
    if chosen.op == "ConvTranspose2d":
        named["output_padding"] = 1
    made = {"Conv1d": nn.Conv1d, "ConvTranspose2d": nn.ConvTranspose2d}.get(chosen.op, nn.Conv2d)
    operation: nn.Module = made(*ends, kernel, bias=bool(chosen.bias), **named)
    return operation


def _pool_init(base: Any) -> Any:
    """How a pool without an operation is made of a module with one."""

    def init(self: Any, kernel_size: Any, stride: Any = None, dilation: Any = 1, **given: Any) -> None:
        pool = {"pool_size": kernel_size, "pool_stride": stride, "pool_dilation": dilation}
        base.__init__(self, 0, 0, None, activation=None, **pool, **given)

    return init


def _make() -> list[str]:
    """Put a class for each row of the table into this module, under its own name, so that it can be pickled.

    As in the vendor's module, each is one of its operation's, and a transposed convolution is a convolution.
    """
    here: Any = sys.modules[__name__]
    names = []
    for kind in kinds():
        base = getattr(here, kind.base, Fused)
        body = {"kind": kind, "__module__": __name__, "__doc__": f"{kind.name}: see `Parameters`."}
        setattr(here, kind.name, type(kind.name, (base,), body))
        names.append(kind.name)
    for name, kind in POOLS.items():
        base = getattr(here, kind.name)
        doc = f"{name}: a pool alone; a stride of None is its size."
        setattr(
            here,
            name,
            type(name, (base,), {"__init__": _pool_init(base), "__module__": __name__, "__doc__": doc}),
        )
        names.append(name)
    return names


__all__ = ["Fused", *_make()]  # noqa: PLE0604
