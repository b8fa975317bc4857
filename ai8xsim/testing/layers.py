"""PyTorch modules with integer weights, drawn; and what each must give, from the slow reference in plain integers."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from ai8xsim.kernels import reference
from ai8xsim.testing.values import int8_arrays, weights

if TYPE_CHECKING:
    from ai8xsim.nn import Layer

Array = npt.NDArray[Any]
BITS = (8, 8, 4, 2, 1)


@dataclass(frozen=True, eq=False)
class DrawnLayer:
    """A module of `ai8xsim.nn` for evaluation, and data (C, H, W), (C, L) or (C,) that it takes."""

    module: "Layer"
    data: npt.NDArray[np.int8]

    def output(self) -> Array:
        """What the module computes, as integers, without the batch axis."""
        return outputs_of(self.module, self.data)

    def expected(self) -> Array:
        """What the slow reference computes."""
        return reference_output(self.module, self.data)


@st.composite
def layers(draw: st.DrawFn, device: str = "MAX78002") -> DrawnLayer:
    """Modules of every kind of the table but batch normalizations, with drawn weights, shifts and data."""
    from ai8xsim.nn import modules, setting
    from ai8xsim.nn.table import kinds

    is_able = device == "MAX78002"
    known = [k for k in kinds() if not k.has_batchnorm and (is_able or not k.is_depthwise)]
    kind = draw(st.sampled_from(known))
    bits, channels = draw(st.sampled_from(BITS)), draw(st.sampled_from([1, 2, 3, 5]))
    outputs = channels if kind.is_depthwise else draw(st.integers(1, 4))
    arguments, shape = _arguments(draw, kind, channels)
    wide = kind.activation is None and draw(st.booleans())
    quantized = {"weight_bits": bits, "bias_bits": bits, "quantize_activation": True}
    with setting(device, simulate=True, round_avg=draw(st.booleans())):
        module = getattr(modules, kind.name)(
            channels, outputs, bias=True, wide=wide, **arguments, **quantized
        )
    _fill(draw, module, bits)
    return DrawnLayer(module, draw(int8_arrays(shape)))


def _arguments(draw: st.DrawFn, kind: Any, channels: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    if kind.operation == "Linear":
        return {}, (channels,)
    is_1d = kind.operation == "Conv1d"
    # Halved by a pool, they are still as long as the longest kernel.
    size = (draw(st.integers(10, 14)),) if is_1d else (draw(st.integers(6, 9)), draw(st.integers(6, 9)))
    sizes = [1, 2, 5] if is_1d else [3] if kind.operation == "ConvTranspose2d" else [1, 3]
    kernel = draw(st.sampled_from(sizes))
    arguments: dict[str, Any] = {"kernel_size": kernel, "padding": draw(st.integers(0, min(2, kernel - 1)))}
    if kind.pooling:
        arguments |= {"pool_size": draw(st.integers(1, 2)), "pool_stride": draw(st.integers(1, 2))}
    return arguments, (channels, *size)


def _fill(draw: st.DrawFn, module: "Layer", bits: int) -> None:
    import torch

    op: Any = module.op
    drawn = draw(weights(tuple(op.weight.shape), bits))
    bias = draw(int8_arrays(tuple(op.bias.shape))).astype(np.int64) << bits - 1
    op.weight.data = torch.from_numpy(drawn).float()
    op.bias.data = torch.from_numpy(bias).float()
    module.output_shift.data = torch.tensor([float(draw(st.integers(-15 - 8 + bits, 15 - 8 + bits)))])


def outputs_of(module: Any, data: Array) -> Array:
    """What a module gives for one item of integers, as integers. Raises AssertionError where it gives fractions."""
    import torch

    with torch.no_grad():
        y = module(torch.from_numpy(data.astype(np.float32))[None])[0].double().numpy()
    assert np.array_equal(y, np.rint(y)), "the output has fractions: the chip has none"
    return np.asarray(y, np.int64)


def reference_output(module: "Layer", data: Array) -> Array:
    """What the chip computes for a module of `ai8xsim.nn` and one item, from the slow reference."""
    op: Any = module.op
    x = data.astype(np.int64).reshape(*data.shape, *(1,) * (3 - data.ndim))
    if module.pool is not None:
        x = reference.pool(x, {"Max": "max", "Avg": "average"}[module.pooling or ""], _window(module.pool),
                           module.setting.round_avg)  # fmt: skip
    if op is None:
        return x.reshape(x.shape[: data.ndim])
    bits = module.bits or 8
    weight = op.weight.detach().numpy().astype(np.int64)
    weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim))
    bias = None if op.bias is None else op.bias.detach().numpy().astype(np.int64) >> bits - 1
    convolve = reference.convolve_transposed if _is_transposed(op) else reference.convolve
    acc = convolve(x, weight, bias, _geometry(op, data.ndim))
    if not module.wide:
        shift = int(module.output_shift.item()) + 8 - bits
        activation = (module.activation or "none").lower()
        values = [reference.activate(reference.requantize(int(a), shift), activation) for a in acc.ravel()]
        acc = np.array(values, np.int64).reshape(acc.shape)
    return acc.reshape(acc.shape[: data.ndim])


def _is_transposed(op: Any) -> bool:
    return hasattr(op, "output_padding") and any(_pair(op.output_padding, 0))


def _geometry(op: Any, axes: int) -> SimpleNamespace:
    """A linear layer is a convolution with a kernel of one; 1D data has one column."""
    if axes == 1:
        return SimpleNamespace(
            kernel_size=(1, 1),
            padding=(0, 0),
            stride=(1, 1),
            dilation=(1, 1),
            groups=1,
            output_padding=(0, 0),
        )
    return SimpleNamespace(
        kernel_size=_pair(op.kernel_size, 1), padding=_pair(op.padding, 0), stride=_pair(op.stride, 1),
        dilation=_pair(op.dilation, 1), groups=op.groups, output_padding=_pair(op.output_padding, 0),
    )  # fmt: skip


def _window(pool: Any) -> SimpleNamespace:
    is_1d = type(pool).__name__.endswith("1d")
    rest = 1 if is_1d else None
    sizes = {
        "kernel_size": _pair(pool.kernel_size, rest),
        "stride": _pair(pool.stride, rest),
        "dilation": _pair(getattr(pool, "dilation", 1), rest),
    }
    return SimpleNamespace(**sizes)


def _pair(value: Any, second: int | None) -> tuple[int, int]:
    """(rows, columns); `second` is the columns' where the value says only the rows'."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(values) == 2:
        return int(values[0]), int(values[1])
    return int(values[0]), int(values[0] if second is None else second)
