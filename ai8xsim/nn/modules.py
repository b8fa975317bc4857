"""The modules, made from the table. `modules.pyi` names them for editors and type checkers."""

import sys
from typing import Any

from torch import nn

from ai8xsim.nn.layer import Layer, Parts
from ai8xsim.nn.setting import current_setting
from ai8xsim.nn.table import Kind, kinds

LARGEST_POOL = 16


class Fused(Layer):
    """A module of a kind of the table; its classes differ in `kind` only.

    in_channels, out_channels, kernel_size: of the operation. pool_size, pool_stride, pool_dilation: of the pool in
    front; a stride of None is the size. batchnorm: "Affine", "NoAffine" or None, where the kind has one.
    weight_bits, bias_bits, quantize_activation: (8, 8, True) for a model that takes a quantized checkpoint.
    Raises ValueError for what the hardware cannot do.
    """

    kind = Kind("Conv2d")

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any = None, **given: Any) -> None:
        kind = self.kind
        batchnorm = given.pop("batchnorm", "Affine" if kind.has_batchnorm else None)
        groups = in_channels if kind.is_depthwise else 1
        groups = given.pop("groups", groups)
        pool = _pool(kind, given)
        numbers = (given.pop("eps", 1e-5), given.pop("momentum", 0.05))
        wide, bits = given.pop("wide", False), _bits(given)
        activation = given.pop("activation", kind.activation)
        bias = given.pop("bias", None if kind.operation == "Linear" else True)
        if batchnorm is not None and not bias:
            raise ValueError(f"{kind.name}: a batch normalization needs `bias=True`, into which it is folded")
        op = _operation(kind, (in_channels, out_channels, kernel_size), groups, bias, given)
        norm = _norm(kind, batchnorm, out_channels, numbers)
        super().__init__(Parts(kind.pooling, pool, op, norm), activation, wide)
        if bits is not None:
            self.set_bits(bits)

    @property
    def is_never_activated_by_vendor(self) -> bool:
        return self.kind.is_never_activated_by_vendor


class Pool(Layer):
    """A pool without an operation; `pooling` and `dimensions` say which."""

    pooling_kind = "Max"
    dimensions = 2

    def __init__(self, kernel_size: Any, stride: Any = None, dilation: Any = 1, **given: Any) -> None:
        kind = Kind(f"Conv{self.dimensions}d", self.pooling_kind)
        bits = _bits(given)
        given |= {"pool_size": kernel_size, "pool_stride": stride, "pool_dilation": dilation}
        pool = _pool(kind, given)
        _refuse_rest(kind, given)
        super().__init__(Parts(self.pooling_kind, pool), None, False)
        if bits is not None:
            self.set_bits(bits)


def _bits(given: dict[str, Any]) -> int | None:
    weight_bits, bias_bits = given.pop("weight_bits", None), given.pop("bias_bits", None)
    is_on = given.pop("quantize_activation", False)
    if (weight_bits is None) != (bias_bits is None) or bool(is_on) != (weight_bits is not None):
        raise ValueError("give weight_bits, bias_bits and quantize_activation together, or none of them")
    return weight_bits  # type: ignore[no-any-return]


def _pool(kind: Kind, given: dict[str, Any]) -> nn.Module | None:
    size, stride = given.pop("pool_size", 2), given.pop("pool_stride", 2)
    dilation = given.pop("pool_dilation", 1)
    if kind.pooling is None:
        return None
    stride = size if stride is None else stride
    for name, value in (("pool_size", size), ("pool_stride", stride)):
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(1 <= number <= LARGEST_POOL for number in numbers):
            raise ValueError(f"{kind.name}: {name} is {value}; it must be 1 to {LARGEST_POOL}")
    if dilation not in {1, (1, 1)} and (current_setting().die != 87 or kind.pooling == "Avg"):
        raise ValueError(f"{kind.name}: pool_dilation is for max pools on the MAX78002")
    dimensions = "1d" if kind.operation == "Conv1d" else "2d"
    made = getattr(nn, f"{kind.pooling}Pool{dimensions}")
    extra = {"dilation": dilation} if kind.pooling == "Max" else {}
    pool: nn.Module = made(size, stride, padding=0, **extra)
    return pool


def _norm(kind: Kind, batchnorm: str | None, channels: int, numbers: tuple[float, float]) -> nn.Module | None:
    if batchnorm is None:
        return None
    made = nn.BatchNorm1d if kind.operation == "Conv1d" else nn.BatchNorm2d
    return made(channels, eps=numbers[0], momentum=numbers[1], affine=batchnorm == "Affine")


def _operation(
    kind: Kind, sizes: tuple[int, int, Any], groups: int, bias: Any, given: dict[str, Any]
) -> nn.Module:
    inputs, outputs, kernel = sizes
    padding, dilation = given.pop("padding", 0), given.pop("dilation", 1)
    stride = given.pop("stride", 2 if kind.operation == "ConvTranspose2d" else 1)
    given.pop("op", None)
    _refuse_rest(kind, given)
    if kind.operation == "Linear":
        if max(inputs, outputs) > 1024:
            raise ValueError(f"Linear has at most 1024 inputs and outputs, not {inputs} and {outputs}")
        return nn.Linear(inputs, outputs, bias is True)
    kernel = kernel[0] if isinstance(kernel, tuple) else kernel
    _check_kernel(kind, kernel, padding, groups)
    named = {"padding": padding, "dilation": dilation, "groups": groups, "bias": bool(bias)}
    if kind.operation == "ConvTranspose2d":
        return nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride, output_padding=1, **named)
    made = nn.Conv1d if kind.operation == "Conv1d" else nn.Conv2d
    return made(inputs, outputs, kernel, stride=stride, **named)


def _check_kernel(kind: Kind, kernel: int, padding: int, groups: int) -> None:
    allowed = range(1, 10) if kind.operation == "Conv1d" else (1, 3)
    if kernel not in allowed:
        raise ValueError(f"{kind.name}: kernel_size is {kernel}; it must be one of {list(allowed)}")
    if padding not in {0, 1, 2}:
        raise ValueError(f"{kind.name}: padding is {padding}; it must be 0, 1 or 2")
    if groups != 1 and current_setting().die != 87:
        raise ValueError(f"{kind.name}: groups are for the MAX78002; set the device")


def _refuse_rest(kind: Kind, given: dict[str, Any]) -> None:
    if given:
        raise TypeError(f"{kind.name} takes no {', '.join(sorted(given))}")


def _make() -> list[str]:
    """Put a class for each row of the table into this module, under its own name, so that it can be pickled."""
    here = sys.modules[__name__]
    names = []
    for kind in kinds():
        body = {"kind": kind, "__module__": __name__, "__doc__": f"{kind.name}: see `Fused`."}
        setattr(here, kind.name, type(kind.name, (Fused,), body))
        names.append(kind.name)
    for pooling in ("Max", "Avg"):
        for dimensions in (1, 2):
            name = f"{pooling}Pool{dimensions}d"
            body = {"pooling_kind": pooling, "dimensions": dimensions, "__module__": __name__}
            setattr(
                here,
                name,
                type(name, (Pool,), body | {"__doc__": f"{name} in front of nothing: see `Pool`."}),
            )
            names.append(name)
    return names


__all__ = ["Fused", "Pool", *_make()]  # noqa: PLE0604
