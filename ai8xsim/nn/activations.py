"""Activations as bytes, which are a float tensor to everybody who looks at them, and made one when somebody does."""

from typing import Any

import torch
from torch import Tensor

ZERO = 128  # the byte of the value 0: oneDNN multiplies unsigned by signed bytes


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
        given = kwargs or {}
        result = func(*_with_floats(args), **_with_floats(given))
        if torch.Tag.inplace_view in func.tags:  # it changed the floats' shape: what is said of it follows
            with torch._C._DisableTorchDispatch():
                func(*args, **given)
        return result

    def floats(self) -> Tensor:
        """The values as a tensor of the usual kind."""
        data = self._bytes  # before the floats are looked at: another thread may just have made them
        if self._floats is None:
            assert data is not None
            values = data.contiguous().to(torch.float32).sub_(ZERO).reshape(self.shape)
            self._floats, self._bytes = values, None
        return self._floats

    @property
    def stored(self) -> Tensor | None:
        """The bytes (N, C, H, W); None once there are floats."""
        return self._bytes

    __array__ = _of_floats("__array__")
    __deepcopy__ = _of_floats("__deepcopy__")
    __dlpack__ = _of_floats("__dlpack__")
    __reduce_ex__ = _of_floats("__reduce_ex__")
    __repr__ = _of_floats("__repr__")
    apply_ = _of_floats("apply_")
    data_ptr = _of_floats("data_ptr")
    map_ = _of_floats("map_")
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
    if type(x) is Activations:
        return not is_watched()
    is_plain = type(x) is Tensor and x.dtype == torch.float32 and x.device.type == "cpu"
    return is_plain and not is_watched() and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def is_watched() -> bool:
    """Whether somebody needs a gradient or a graph of what is computed, or counts the operations."""
    is_traced: bool = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_traced or torch.is_grad_enabled() or torch._C._len_torch_dispatch_stack() > 0
