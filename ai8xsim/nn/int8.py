"""Evaluation on the processor's 8-bit products, where PyTorch has exact ones: several times as fast as on floats.

From layer to layer the activations stay bytes, with the channels next to each other. `Activations` is how they travel:
a float tensor to everybody who looks at it, and made one when somebody does.

The products are oneDNN's, by names that PyTorch does not promise to keep, and on some processors they saturate. So a
layer takes this road only after it has computed a probe as its floats do, here and now; otherwise floats it is.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ai8xsim.nn.operands import Numbers, Operands, operands_of

ZERO = 128  # the byte of the value 0: oneDNN multiplies unsigned by signed bytes
# Within these bounds oneDNN's float32 holds every sum that does not saturate, and the quarter that rounds it.
LEAST_UNIT, MOST_BIAS, MOST_PRODUCTS = 2.0**-13, 1 << 22, 1 << 15
PROBE_SEED = 0
PIECE_VALUES = 1 << 18  # measured: what is made of so many floats on the way stays in a core's cache

ONE_DIMENSIONAL = (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d)

Pair = tuple[int, int]


def _of_floats(name: str) -> Any:
    """A method that goes to the data itself, without an operation that could be dispatched."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.floats(), name)(*args, **kwargs)

    return method


class Activations(Tensor):
    """Bytes (N, C, H, W) that look like float32 of their shape, or of (N, C, L).

    Whatever is done to them is done to the floats, which are made once; from then on they are what counts.
    """

    _bytes: Tensor | None
    _floats: Tensor | None

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, data: Tensor, dimensions: int) -> "Activations":
        shape = data.shape if dimensions == data.dim() else (*data.shape[:2], data.shape[3])
        made: Activations = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        made._bytes, made._floats = data, None
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return func(*_with_floats(args), **_with_floats(kwargs or {}))

    def floats(self) -> Tensor:
        """The values as a tensor of the usual kind."""
        if self._floats is None:
            assert self._bytes is not None
            self._floats = self._bytes.contiguous().to(torch.float32).sub_(ZERO).reshape(self.shape)
            self._bytes = None
        return self._floats

    __array__ = _of_floats("__array__")
    __deepcopy__ = _of_floats("__deepcopy__")
    __dlpack__ = _of_floats("__dlpack__")
    __reduce_ex__ = _of_floats("__reduce_ex__")
    __repr__ = _of_floats("__repr__")
    data_ptr = _of_floats("data_ptr")
    numpy = _of_floats("numpy")
    tolist = _of_floats("tolist")
    untyped_storage = _of_floats("untyped_storage")


def _with_floats(value: Any) -> Any:
    """The arguments of an operation, with tensors of the usual kind."""
    if isinstance(value, Activations):
        return value.floats()
    if isinstance(value, dict):
        return {name: _with_floats(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_with_floats(entry) for entry in value])
    return value


def is_usable(x: Tensor) -> bool:
    """Whether a batch is one that bytes are for: float32, here, and watched by nobody."""
    is_plain = type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu"
    return (is_plain or type(x) is Activations) and not is_watched()


def is_watched() -> bool:
    """Whether somebody needs a gradient or a graph of what is computed."""
    is_traced: bool = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_traced or torch.is_grad_enabled()


def bytes_of(x: Tensor) -> Tensor | None:
    """A batch as bytes (N, C, H, W); None where it is not of integers in [-128, 127]."""
    if isinstance(x, Activations) and x._bytes is not None:
        return x._bytes
    values = x.floats() if isinstance(x, Activations) else x
    if values.numel() == 0:
        return None
    nchw = values if values.dim() == 4 else values.unsqueeze(2)
    data = torch.empty(nchw.shape, dtype=torch.uint8, memory_format=torch.channels_last)
    together = max(1, PIECE_VALUES // nchw[0].numel())
    for start in range(0, len(nchw), together):
        piece = nchw[start : start + together]
        integers = piece.to(torch.int8)
        least, most = torch.aminmax(piece - integers)  # measured: twice as fast as to compare each
        if not least.item() == most.item() == 0:
            return None
        data[start : start + together] = integers.view(torch.uint8)
    return data.bitwise_xor_(ZERO)


def axes_of(module: Any) -> int:
    """How many axes a batch of a convolution's or pool's has."""
    return 3 if isinstance(module, ONE_DIMENSIONAL) else 4


def pooled(data: Tensor, pool: Any, round_avg: bool) -> Tensor:
    """A pool of bytes: the largest, or the average as the chip rounds it; empty where they are too few."""
    parts = _windows(data, *(_rows_columns(pool, name, 1) for name in ("kernel_size", "stride", "dilation")))
    if isinstance(pool, nn.MaxPool1d | nn.MaxPool2d):
        return _channels_last(reduce(torch.maximum, parts))
    taps = [part.to(torch.int32) for part in parts]
    average = (reduce(Tensor.add_, taps) - ZERO * len(taps)).to(torch.float32) / len(taps)
    if round_avg:
        average += average.sign() * 0.5
    integers = average.to(torch.int8)  # which truncates toward zero
    return _channels_last(integers.view(torch.uint8).bitwise_xor_(ZERO))


def _windows(data: Tensor, size: Pair, stride: Pair, dilation: Pair) -> Iterator[Tensor]:
    """For each tap of a pool, the bytes that it meets."""
    ends = [dilation[n] * (size[n] - 1) for n in (0, 1)]
    for taps in product(range(size[0]), range(size[1])):
        starts = [tap * dilation[n] for n, tap in enumerate(taps)]
        rows, columns = (
            slice(start, max(0, data.shape[n + 2] - ends[n]) + start, stride[n])
            for n, start in enumerate(starts)
        )
        yield data[:, :, rows, columns]


def _rows_columns(module: Any, name: str, of_one_row: int) -> Pair:
    """A module's number, or pair of numbers; of one dimension it is for the columns of a single row."""
    value = getattr(module, name, 1)
    numbers = value if isinstance(value, tuple) else (value,)
    return (of_one_row, numbers[0]) if axes_of(module) == 3 else (numbers[0], numbers[-1])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class Products:
    """A convolution on bytes, its weights packed for oneDNN. Made by `pack`, which proves it."""

    def __init__(self, op: nn.Conv1d | nn.Conv2d, operands: Operands, activation: str | None) -> None:
        self._activation = activation
        numbers = {"stride": 1, "padding": 0, "dilation": 1}
        self._steps = [list(_rows_columns(op, name, of_one_row)) for name, of_one_row in numbers.items()]
        self._groups = op.groups
        weight = operands.weight.to(torch.int8)
        outputs = len(weight)
        self._scales = torch.full((outputs,), operands.unit)
        self._zeros = torch.zeros(outputs, dtype=torch.int32)
        # A quarter more, and ties go up: oneDNN rounds them to even, and meets none.
        quarter = 0.25 if operands.unit < 1 else 0.0
        self._bias = (operands.bias + quarter) * operands.unit
        self._weight = torch.ops.onednn.qconv_prepack(
            weight if weight.dim() == 4 else weight.unsqueeze(2),
            self._scales,
            1.0,
            ZERO,
            *self._steps,
            self._groups,
            None,
        )

    def __call__(self, data: Tensor) -> Tensor:
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            data,
            1.0,
            ZERO,
            self._weight,
            self._scales,
            self._zeros,
            self._bias,
            *self._steps,
            self._groups,
            1.0,
            ZERO,
            torch.uint8,
            "relu" if self._activation == "ReLU" else "none",
            [],
            "",
        )
        return _magnitudes(y) if self._activation == "Abs" else y


def _magnitudes(data: Tensor) -> Tensor:
    values = data.to(torch.int16).sub_(ZERO).abs_().clamp_(max=127)
    return values.add_(ZERO).to(torch.uint8)


class Packed(NamedTuple):
    """What became of a layer's numbers: products on bytes, or None where they would not be exact, here or at all.

    shape: of the samples with which that was found out.
    """

    numbers: Numbers
    shape: torch.Size
    products: Products | None

    def is_of(self, numbers: Numbers, data: Tensor) -> bool:
        """Whether it was found out with these numbers and such samples."""
        return self.shape == data.shape[1:] and self.numbers.same(numbers)


def pack(
    op: nn.Conv1d | nn.Conv2d, numbers: Numbers, data: Tensor, on_floats: Callable[[Tensor], Tensor]
) -> Packed:
    """A convolution on bytes, held against `on_floats`, the layer's other road, with a probe of the shape of `data`.

    What no convolution could compute is refused too: floats have the better words for it.
    """
    operands = operands_of(op, numbers, wide=False)
    refused = Packed(numbers.kept(), data.shape[1:], None)
    if not _is_fitting(op, data) or not _is_within(operands):
        return refused
    probe, dimensions = _probe(data, operands.weight, op.groups), operands.weight.dim()
    try:
        products = Products(op, operands, numbers.activation)
        found = products(probe)
    except (
        AttributeError,
        RuntimeError,
    ):  # another PyTorch, or a processor for which it has no such operation
        return refused
    expected = on_floats(Activations(probe, dimensions).floats())
    is_exact = torch.equal(Activations(found, dimensions).floats(), expected)
    return refused._replace(products=products) if is_exact else refused


def _is_fitting(op: nn.Conv1d | nn.Conv2d, data: Tensor) -> bool:
    """Whether bytes have a convolution's channels, and are enough for an output."""
    numbers = {"kernel_size": 1, "padding": 0, "dilation": 1}
    kernel, padding, dilation = (_rows_columns(op, *number) for number in numbers.items())
    spans = [dilation[n] * (kernel[n] - 1) - 2 * padding[n] for n in (0, 1)]
    is_large_enough = all(size > span for size, span in zip(data.shape[2:], spans, strict=True))
    return is_large_enough and op.in_channels == data.shape[1]


def _is_within(operands: Operands) -> bool:
    """Whether weights are int8, and sums within what oneDNN holds exactly."""
    weight, bias, unit = operands
    fits = unit >= LEAST_UNIT and bias.abs().max() <= MOST_BIAS and weight[0].numel() <= MOST_PRODUCTS
    return bool(fits) and torch.equal(weight.to(torch.int8).to(weight.dtype), weight)


def _probe(data: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A few samples with which whatever can saturate on the way does.

    Ends of int8 at random, the same end everywhere, and the ends that add up to the largest sums of one output.
    """
    generator = torch.Generator().manual_seed(PROBE_SEED)
    shape = data.shape[1:]
    any_value = torch.randint(0, 256, shape, generator=generator)
    ends = torch.randint(0, 2, shape, generator=generator) * 255
    is_any = torch.rand(shape, generator=generator) < 0.1
    by_input = weight.flatten(2).sum(2)
    largest = by_input[by_input.abs().sum(1).argmax()].repeat(groups)
    alike = (largest >= 0).to(any_value.dtype).reshape(-1, 1, 1).expand(shape) * 255
    samples = (torch.where(is_any, any_value, ends), torch.zeros_like(ends), alike, 255 - alike)
    return _channels_last(torch.stack(samples).to(torch.uint8))
