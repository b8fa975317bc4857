"""Evaluation on the processor's 8-bit products, where PyTorch has exact ones: several times as fast as on floats.

From layer to layer the activations stay bytes, with the channels next to each other; see `Activations`.

The products are oneDNN's, by names that PyTorch does not promise to keep, and on some processors they saturate. So a
layer takes this road only after two trials, here and now: the largest products that there are, in its geometry, and
its own weights on samples of each shape, as its floats compute them. Otherwise floats it is.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ai8xsim.nn.activations import ZERO, Activations
from ai8xsim.nn.operands import Numbers, Operands, operands_of

# Within these bounds oneDNN's float32 holds every sum that does not saturate, and the quarter that rounds it.
LEAST_UNIT, BIAS_LIMIT, MOST_PRODUCTS = 2.0**-13, 1 << 22, 1 << 15
PIECE_VALUES = 1 << 18  # measured: what is made of so many floats on the way stays in a core's cache
PROBE_SEED = 0
TRIED_CHANNELS = 8  # more than are summed up at once; few enough that float32 holds the sums of all taps
ONE_DIMENSIONAL = (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d)
CONVOLUTIONS, POOLS = (nn.Conv1d, nn.Conv2d), (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)

Pair = tuple[int, int]
Convolution = nn.Conv1d | nn.Conv2d


def bytes_of(x: Tensor) -> Tensor | None:
    """A batch as bytes (N, C, H, W); None where it is not of integers in [-128, 127]."""
    stored = x.stored if isinstance(x, Activations) else None
    if stored is not None:
        return stored
    values = x.floats() if isinstance(x, Activations) else x
    if values.numel() == 0:
        return None
    nchw = values if values.dim() == 4 else values.unsqueeze(2)
    integers = nchw.new_empty(nchw.shape, dtype=torch.int8)
    together = max(1, PIECE_VALUES // nchw[0].numel())
    rest = nchw.new_empty(nchw[:together].shape)
    for start in range(0, len(nchw), together):
        piece = nchw[start : start + together]
        rounded = integers[start : start + together].copy_(piece)
        if not _is_zero(rest[: len(piece)].copy_(rounded).sub_(piece)):
            return None
    return _channels_last(integers.view(torch.uint8).bitwise_xor_(ZERO))


def _is_zero(differences: Tensor) -> bool:
    """Whether every difference of two floats is 0, which has no bit set; measured: far sooner than by comparing."""
    return not differences.view(torch.uint8).amax().item()


def axes_of(module: Any) -> int:
    """How many axes a batch of a convolution's or pool's has."""
    return 3 if isinstance(module, ONE_DIMENSIONAL) else 4


def is_usual(pool: Any) -> bool:
    """Whether a module is a pool as the chip has them, on whose calls nobody waits."""
    if type(pool) not in POOLS:
        return False
    extras = ("ceil_mode", "return_indices", "divisor_override", "_forward_hooks", "_forward_pre_hooks")
    return _rows_columns(pool, "padding", 0) == (0, 0) and not any(
        getattr(pool, name, None) for name in extras
    )


def pooled(data: Tensor, pool: Any, round_avg: bool) -> Tensor:
    """A pool of bytes: the largest, or the average as the chip rounds it; empty where they are too few."""
    parts = _windows(data, *(_rows_columns(pool, name, 1) for name in ("kernel_size", "stride", "dilation")))
    if isinstance(pool, nn.MaxPool1d | nn.MaxPool2d):
        return _channels_last(reduce(torch.maximum, parts))
    total, taps = next(parts).to(torch.float32), 1
    for part in parts:
        total.add_(part)
        taps += 1
    average = total.sub_(ZERO * taps).div_(taps)
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
    numbers = value if isinstance(value, tuple | list) else (value,)
    return (of_one_row, numbers[0]) if axes_of(module) == 3 else (numbers[0], numbers[-1])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class Products:
    """A convolution on bytes, its weights packed for oneDNN. Raises what PyTorch raises where it has no such thing."""

    def __init__(self, op: Convolution, operands: Operands, activation: str | None) -> None:
        self._activation = activation
        self._is_of_one_row = axes_of(op) == 3
        numbers = {"stride": 1, "padding": 0, "dilation": 1}
        self._steps = [list(_rows_columns(op, name, of_one_row)) for name, of_one_row in numbers.items()]
        self._groups = op.groups
        weight = operands.weight.to(torch.int8)
        self._zeros = weight.new_zeros(len(weight), dtype=torch.int32)
        self._scales = weight.new_full((len(weight),), operands.unit, dtype=torch.float32)
        # A quarter more, and ties go up: oneDNN rounds them to even, and meets none.
        quarter = 0.25 if operands.unit < 1 else 0.0
        self._bias = (operands.bias.float() + quarter) * operands.unit
        nchw = weight if weight.dim() == 4 else weight.unsqueeze(2)
        given = (self._scales, 1.0, ZERO, *self._steps, self._groups, None)
        self._weight = torch.ops.onednn.qconv_prepack(nchw, *given)

    def __call__(self, data: Tensor) -> Tensor:
        parameters = (self._weight, self._scales, self._zeros, self._bias, *self._steps, self._groups)
        activation = "relu" if self._activation == "ReLU" else "none"
        x = _samples_as_rows(data) if self._is_of_one_row else data
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, ZERO, *parameters, 1.0, ZERO, torch.uint8, activation, [], ""
        )
        y = _samples_as_rows(y) if self._is_of_one_row else y
        return _magnitudes(y) if self._activation == "Abs" else y


def _samples_as_rows(data: Tensor) -> Tensor:
    """Samples of one row each as the rows of a single sample, or the reverse: oneDNN is faster on one image."""
    return data.transpose(0, 2)


def _magnitudes(data: Tensor) -> Tensor:
    values = data.to(torch.int16).sub_(ZERO).abs_().clamp_(max=127)
    return values.add_(ZERO).to(torch.uint8)


class Packed:
    """What became of a layer's numbers: products on bytes, for shapes of samples with which they proved exact."""

    def __init__(self, op: Convolution, numbers: Numbers) -> None:
        self.numbers = numbers.kept()
        self._op = op
        self._is_exact: dict[torch.Size, bool] = {}
        operands = operands_of(op, self.numbers)
        self._products: Products | None = None
        try:
            if _is_within(operands) and _multiplies_exactly(op, operands.weight):
                self._products = Products(op, operands, numbers.activation)
        except (AttributeError, RuntimeError):
            pass  # another PyTorch, or a processor for which it has no such operation

    def products(self, data: Tensor, on_floats: Callable[[Tensor], Tensor]) -> Products | None:
        """The products for a batch of bytes, held against `on_floats`, the layer's other road, once for each shape.

        None where they would not be exact; and where no convolution is possible, for which floats have better words.
        """
        products, shape = self._products, data.shape[1:]
        if products is None:
            return None
        if shape not in self._is_exact:
            self._is_exact[shape] = _is_fitting(self._op, data) and self._agrees(products, data, on_floats)
        return products if self._is_exact[shape] else None

    def _agrees(self, products: Products, data: Tensor, on_floats: Callable[[Tensor], Tensor]) -> bool:
        weight = self.numbers.weight
        probe = _probe(data, weight, self._op.groups)
        expected = on_floats(Activations(probe, weight.dim()).floats())
        return torch.equal(Activations(products(probe), weight.dim()).floats(), expected)


def _is_fitting(op: Convolution, data: Tensor) -> bool:
    """Whether bytes have a convolution's channels, and are enough for an output."""
    numbers = {"kernel_size": 1, "padding": 0, "dilation": 1}
    kernel, padding, dilation = (_rows_columns(op, *number) for number in numbers.items())
    spans = [dilation[n] * (kernel[n] - 1) - 2 * padding[n] for n in (0, 1)]
    is_large_enough = all(size > span for size, span in zip(data.shape[2:], spans, strict=True))
    return is_large_enough and op.in_channels == data.shape[1]


def _is_within(operands: Operands) -> bool:
    """Whether weights are int8, and sums within what oneDNN holds exactly."""
    weight, bias, unit = operands
    fits = unit >= LEAST_UNIT and bias.abs().max() < BIAS_LIMIT and weight[0].numel() <= MOST_PRODUCTS
    return bool(fits) and torch.equal(weight.to(torch.int8).to(weight.dtype), weight)


def _multiplies_exactly(op: Convolution, weight: Tensor) -> bool:
    """Whether the largest products that there are, 255 times 127 side by side, add up in this geometry.

    Without VNNI a processor adds two of them in 16 bits, where they saturate, or the weights are halved.
    """
    weights = torch.zeros_like(weight, dtype=torch.float32)
    weights[:, :TRIED_CHANNELS] = 127
    taps = weights[0].numel() // weights.shape[1]
    most = float(127 * 127 * taps * min(TRIED_CHANNELS, weights.shape[1]))
    spans = [
        dilation * (kernel - 1) + 1 for dilation, kernel in zip(op.dilation, op.kernel_size, strict=True)
    ]
    rows_columns = [1] * (2 - len(spans)) + [
        span + op.stride[0] for span in spans
    ]  # a whole window is among them
    data = _channels_last(weights.new_full((1, op.in_channels, *rows_columns), 255).to(torch.uint8))
    bias = weights.new_full((len(weights),), -most)
    found = Products(op, Operands(weights, bias, 1.0), None)(data)
    return bool((found.flatten(2).amax(2) == ZERO).all())


def _probe(data: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A few samples with which whatever can saturate on the way does.

    Ends of int8 at random, the same end everywhere, and the ends that add up to the largest sums of one output.
    """
    generator, device = torch.Generator().manual_seed(PROBE_SEED), data.device
    shape = data.shape[1:]
    any_value = torch.randint(0, 256, shape, generator=generator, device=device)
    ends = torch.randint(0, 2, shape, generator=generator, device=device) * 255
    is_any = torch.rand(shape, generator=generator, device=device) < 0.1
    by_input = weight.flatten(2).sum(2)
    largest = by_input[by_input.abs().sum(1).argmax()].repeat(groups)
    alike = (largest >= 0).to(any_value.dtype).reshape(-1, 1, 1).expand(shape) * 255
    samples = (torch.where(is_any, any_value, ends), torch.zeros_like(ends), alike, 255 - alike)
    return _channels_last(torch.stack(samples).to(torch.uint8))
