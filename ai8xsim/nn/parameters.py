"""What modules are called with: the vendor's parameters in the vendor's order, and what of it no hardware can do.

Source: `spec/TRAINING.md` 2.5; `spec/ARITHMETIC.md`, "Limits".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any

from ai8xsim.nn.table import Kind

LARGEST_POOL, LARGEST_PADDING, LARGEST_STRIDE = 16, 2, 3
LARGEST_LINEAR = 1024
LARGEST_DILATION = 16  # of pools and 2D convolutions, on the MAX78002
CONV1D_KERNELS, CONV2D_KERNELS = tuple(range(1, 10)), (1, 3)
# A Conv1d on the MAX78000 keeps 9 columns; one of up to 3 taps without padding is spread over time instead.
CONV1D_SPAN, CONV1D_SPREAD_TAPS, CONV1D_DILATION, MAX78002_CONV1D_DILATION = 9, 3, 1023, 2047
MAX78002_PADDED_CONV1D_INPUTS = 64
TRANSPOSABLE = frozenset({"Conv2d", "ConvTranspose2d"})
BATCHNORMS = frozenset({None, "Affine", "NoAffine"})


@dataclass(frozen=True)
class Parameters:
    """All parameters of a module, in their order. kernel_size None: a pool, and no operation.

    pool_size, pool_stride, pool_dilation: of the pool in front; a stride of None is the size. batchnorm: "Affine",
    "NoAffine" or None. weight_bits, bias_bits, quantize_activation: (8, 8, True) for a model that takes a quantized
    checkpoint. eps, momentum: of the batch normalization.
    """

    in_channels: int
    out_channels: int
    kernel_size: Any
    op: str = "Conv2d"
    pooling: str | None = None
    pool_size: Any = 2
    pool_stride: Any = 2
    pool_dilation: Any = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    bias: Any = True
    activation: str | None = None
    wide: bool = False
    batchnorm: str | None = None
    weight_bits: int | None = None
    bias_bits: int | None = None
    quantize_activation: bool = False
    groups: int = 1
    eps: float = 1e-5
    momentum: float = 0.05


_OF_2D = tuple(entry.name for entry in fields(Parameters))
_WITHOUT_OP = tuple(name for name in _OF_2D if name != "op")
_OF_LINEAR = (
    "in_features",
    "out_features",
    "pooling",
    "bias",
    "activation",
    "wide",
    "batchnorm",
    "weight_bits",
    "bias_bits",
    "quantize_activation",
)
_CALLED = MappingProxyType({"in_features": "in_channels", "out_features": "out_channels"})


def names_of(operation: str) -> tuple[str, ...]:
    """The names of a module's parameters, in their order.

    >>> names_of("Linear")[:4]
    ('in_features', 'out_features', 'pooling', 'bias')
    """
    return {"Conv2d": _OF_2D, "Linear": _OF_LINEAR}.get(operation, _WITHOUT_OP)


def default_of(operation: str, name: str) -> Any:
    """What a parameter is where it is not given; MISSING where it must be."""
    special = {("Linear", "bias"): None, ("ConvTranspose2d", "stride"): 2}
    declared = {entry.name: entry.default for entry in fields(Parameters)}
    return special.get((operation, name), declared[_CALLED.get(name, name)])


def bound(name: str, kind: Kind, args: Sequence[Any], given: Mapping[str, Any]) -> Parameters:
    """The parameters of a call of the module `name`. Raises TypeError, as any function does that is called wrongly."""
    names = names_of(kind.operation)
    if len(args) > len(names):
        raise TypeError(f"{name} takes {len(names)} arguments, not {len(args)}")
    stated = dict(zip(names, args, strict=False))
    fixed = dict(_fixed(kind))
    named = {**stated, **given}
    faults = {
        "is given two": stated.keys() & given.keys(),
        "takes no": named.keys() - set(names),
        "says by its name": named.keys() & fixed.keys(),
    }
    for words, which in faults.items():
        if which:
            raise TypeError(f"{name} {words} {', '.join(sorted(which))}")
    values = {key: default_of(kind.operation, key) for key in names} | named | fixed
    lacking = [key for key, value in values.items() if value is MISSING]
    if lacking:
        raise TypeError(f"{name} needs {', '.join(lacking)}")
    if kind.has_batchnorm and "batchnorm" not in named:
        values["batchnorm"] = "Affine"
    if kind.is_depthwise:
        values["groups"] = values["in_channels"]
    if values.get("pool_stride", 0) is None:
        values["pool_stride"] = values["pool_size"]
    values = {_CALLED.get(key, key): value for key, value in values.items()}
    return Parameters(**{"kernel_size": None, "op": kind.operation, **values})


def _fixed(kind: Kind) -> Iterator[tuple[str, Any]]:
    """What the name of a module says."""
    if kind.pooling:
        yield "pooling", kind.pooling
    if kind.activation:
        yield "activation", kind.activation
    if kind.is_depthwise:
        yield "groups", None  # as many as there are inputs


def refusals(kind: Kind, parameters: Parameters, die: int) -> Iterator[str]:
    """What no hardware can do, or not this device (85 or 87)."""
    if parameters.weight_bits is None:
        is_complete = parameters.bias_bits is None and not parameters.quantize_activation
    else:
        is_complete = parameters.bias_bits is not None and bool(parameters.quantize_activation)
    if not is_complete:
        yield "give weight_bits, bias_bits and quantize_activation together, or none of them"
    if parameters.batchnorm not in BATCHNORMS:
        yield f"batchnorm is {parameters.batchnorm!r}; it must be 'Affine', 'NoAffine' or None"
    if parameters.batchnorm is not None and not parameters.bias:
        yield "a batch normalization needs `bias=True`, into which it is folded"
    if parameters.pooling is not None:
        yield from _of_pool(parameters, die)
    if kind.operation == "Conv2d" and parameters.op not in TRANSPOSABLE:
        yield f"op is {parameters.op!r}; it must be 'Conv2d' or 'ConvTranspose2d'"
    if parameters.op == "Linear":
        yield from _of_linear(parameters)
    elif parameters.kernel_size is not None:
        yield from _of_convolution(parameters, die)


def _of_pool(parameters: Parameters, die: int) -> Iterator[str]:
    if parameters.pooling not in {"Max", "Avg"}:
        yield f"pooling is {parameters.pooling!r}; it must be 'Max', 'Avg' or None"
    stride, most = parameters.pool_stride, 1 if parameters.op == "Conv1d" else 2
    for name, value in (("pool_size", parameters.pool_size), ("pool_stride", stride)):
        numbers = _numbers(value)
        if len(numbers) not in {1, most} or not all(1 <= number <= LARGEST_POOL for number in numbers):
            yield f"{name} is {value}; it must be 1 to {LARGEST_POOL}{'' if most == 1 else ', or two such numbers'}"
    if len(set(_numbers(stride))) > 1:
        yield f"pool_stride is {stride}; it must be the same for rows and columns"
    spread = set(_numbers(parameters.pool_dilation)) - {1}
    if spread and (die != 87 or parameters.pooling == "Avg"):
        yield "pool_dilation is for max pools on the MAX78002"
    elif not spread <= set(range(1, LARGEST_DILATION + 1)):
        yield f"pool_dilation is {parameters.pool_dilation}; it must be 1 to {LARGEST_DILATION}"


def _of_linear(parameters: Parameters) -> Iterator[str]:
    sizes = (parameters.in_channels, parameters.out_channels)
    if max(sizes) > LARGEST_LINEAR:
        yield f"Linear has at most {LARGEST_LINEAR} inputs and outputs, not {sizes[0]} and {sizes[1]}"
    if parameters.pooling is not None or parameters.batchnorm is not None:
        yield "Linear has no pool and no batch normalization"


def _of_convolution(parameters: Parameters, die: int) -> Iterator[str]:
    is_1d, kernel = parameters.op == "Conv1d", parameters.kernel_size
    allowed = CONV1D_KERNELS if is_1d else CONV2D_KERNELS
    taps = set(_numbers(kernel))
    if len(taps) > 1 or not taps <= set(allowed):
        yield f"kernel_size is {kernel}; it must be one of {list(allowed)}{'' if is_1d else ', and square'}"
        return
    if parameters.padding not in range(LARGEST_PADDING + 1):
        yield f"padding is {parameters.padding}; it must be 0, 1 or 2"
    if parameters.groups != 1 and die != 87:
        yield "groups are for the MAX78002; set the device"
    yield from _of_stride(parameters)
    yield from _of_columns(parameters, die, taps.pop()) if is_1d else _of_dilation(parameters, die)


def _of_stride(parameters: Parameters) -> Iterator[str]:
    is_plain = parameters.op == "Conv2d" and parameters.pooling is None
    step = 2 if parameters.op == "ConvTranspose2d" else 1
    allowed = range(1, LARGEST_STRIDE + 1) if is_plain else (step,)
    if parameters.stride not in allowed:
        yield f"stride is {parameters.stride}; it must be {' or '.join(map(str, allowed))} here"


def _of_dilation(parameters: Parameters, die: int) -> Iterator[str]:
    largest = LARGEST_DILATION if die == 87 and parameters.op == "Conv2d" else 1
    if parameters.dilation not in range(1, largest + 1):
        yield f"dilation is {parameters.dilation}; it must be 1, or 1 to {LARGEST_DILATION} in a Conv2d on the MAX78002"


def _of_columns(parameters: Parameters, die: int, taps: int) -> Iterator[str]:
    """A Conv1d's taps lie within what the device keeps of a row."""
    dilation, padding = parameters.dilation, parameters.padding
    if die == 87:
        is_possible = dilation <= MAX78002_CONV1D_DILATION
    else:
        is_spread = taps <= CONV1D_SPREAD_TAPS and padding == 0 and dilation <= CONV1D_DILATION
        is_possible = (taps - 1) * dilation < CONV1D_SPAN or is_spread
    if dilation < 1 or not is_possible:
        yield f"dilation is {dilation}, too large for kernel_size {taps} with padding {padding}"
    if die == 87 and padding and parameters.in_channels > MAX78002_PADDED_CONV1D_INPUTS:
        yield f"padding is {padding}; on the MAX78002 a Conv1d of more than 64 channels has none"


def _numbers(value: Any) -> tuple[int, ...]:
    """One number or several, as a tuple."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)
