"""What a pickle of torch says about a tensor, and the tensor's values.

A tensor is a window into a storage: an offset, a shape and strides, all counted in elements. The pickle
describes the window with a call of `torch._utils._rebuild_tensor_v2` and the storage with a persistent id.
Both become plain descriptions here; values are read for the tensors that somebody asks for, one by one.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ai8xsim.checkpoint.faults import UnreadableError, damaged, shown
from ai8xsim.checkpoint.pickle_stack import Constructor, Inert
from ai8xsim.diagnostics import error

ByteOrder = Literal["<", ">"]
_MOST_AXES = 64  # of torch
_LARGEST_COUNT = 1 << 62


@dataclass(frozen=True, slots=True)
class ElementType:
    """The type of a storage's elements. `code` is numpy's letter and size, "" if numpy has none.

    size_bytes: of one element; 0 if it is not known.
    """

    name: str
    size_bytes: int
    code: str = ""


_ELEMENT_TYPES = (
    ("FloatStorage", ElementType("float32", 4, "f4")),
    ("DoubleStorage", ElementType("float64", 8, "f8")),
    ("HalfStorage", ElementType("float16", 2, "f2")),
    ("BFloat16Storage", ElementType("bfloat16", 2, "u2")),  # the upper half of a float32
    ("CharStorage", ElementType("int8", 1, "i1")),
    ("ShortStorage", ElementType("int16", 2, "i2")),
    ("IntStorage", ElementType("int32", 4, "i4")),
    ("LongStorage", ElementType("int64", 8, "i8")),
    ("ByteStorage", ElementType("uint8", 1, "u1")),
    ("UntypedStorage", ElementType("uint8", 1, "u1")),
    ("BoolStorage", ElementType("bool", 1, "?")),
    ("ComplexFloatStorage", ElementType("complex64", 8)),
    ("ComplexDoubleStorage", ElementType("complex128", 16)),
    ("QInt8Storage", ElementType("qint8", 1)),
    ("QUInt8Storage", ElementType("quint8", 1)),
    ("QInt32Storage", ElementType("qint32", 4)),
    ("QUInt4x2Storage", ElementType("quint4x2", 1)),
    ("QUInt2x4Storage", ElementType("quint2x4", 1)),
    ("", ElementType("uint16", 2, "u2")),  # newer types have no storage class of their own
    ("", ElementType("uint32", 4, "u4")),
    ("", ElementType("uint64", 8, "u8")),
)
_BY_STORAGE = MappingProxyType({storage: element for storage, element in _ELEMENT_TYPES if storage})
_BY_NAME = MappingProxyType({element.name: element for _, element in _ELEMENT_TYPES})


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements in the file: `size` elements of storage `key`, from element `start` of `total`.

    Only old files share storages between views; otherwise `start` is 0 and `size` is `total`.
    """

    key: str
    element: ElementType
    total: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A window into a storage. Offset and strides count elements of type `element`."""

    storage: Storage
    element: ElementType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of values that the shape declares; nothing says yet that the file has them."""
        return math.prod(self.shape)


def describe_storage(persistent_id: object) -> object:
    """The storage that a persistent id describes; the class that it names, for an old pickled module.

    Raises ValueError for what is neither.

    >>> describe_storage(("storage", Inert("torch", "FloatStorage"), "0", "cuda:0", 12)).total
    12
    """
    match persistent_id:
        case ("storage", Inert() as kind, str(key), _, int(total)):
            return _storage(kind, key, total, (0, total))
        case ("storage", Inert() as kind, str(key), _, int(total), None):
            return _storage(kind, key, total, (0, total))
        case ("storage", Inert() as kind, str(key), _, int(total), (_, int(start), int(size))):
            return _storage(kind, key, total, (start, size))
        case ("module", Inert() as module, *_):
            return module
    raise ValueError("a persistent id that describes no storage")


def _storage(kind: Inert, key: str, total: int, view: tuple[int, int]) -> Storage:
    start, size = view
    if min(total, start, size) < 0 or total > _LARGEST_COUNT or start + size > total:
        raise ValueError(f"a storage of {total} elements with a view of {size} at {start}")
    return Storage(key, _BY_STORAGE.get(kind.name, ElementType(str(kind), 0)), total, start, size)


def _rebuild_tensor(arguments: tuple[object, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, offset, shape, stride, *_):
            return _tensor(storage, storage.element, offset, (shape, stride))
    raise ValueError("a tensor without storage, offset, shape and strides")


def _rebuild_tensor_v3(arguments: tuple[object, ...]) -> Tensor:
    match arguments:
        case (Storage() as storage, offset, shape, stride, _, _, Inert() as dtype, *_):
            element = _BY_NAME.get(dtype.name, ElementType(str(dtype), 0))
            return _tensor(storage, element, offset, (shape, stride))
    raise ValueError("a tensor without storage, offset, shape, strides and type")


def _tensor(storage: Storage, element: ElementType, offset: object, window: tuple[object, object]) -> Tensor:
    shape, stride = (_counts(numbers) for numbers in window)
    if len(shape) != len(stride):
        raise ValueError(f"a tensor with {len(shape)} axes and {len(stride)} strides")
    return Tensor(storage, element, _counts((offset,))[0], shape, stride)


def _counts(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > _MOST_AXES:
        raise ValueError("a tensor whose shape or strides are no short list")
    if not all(isinstance(n, int) and 0 <= n <= _LARGEST_COUNT for n in numbers):
        raise ValueError("a tensor whose offset, shape or strides are no counts")
    return tuple(numbers)


def _rebuild_parameter(arguments: tuple[object, ...]) -> object:
    if not arguments:
        raise ValueError("a parameter without a tensor")
    return arguments[0]


def _rebuild_from_type(arguments: tuple[object, ...]) -> object:
    """A subclass of Tensor: (how to rebuild it, the class, the arguments, its attributes)."""
    match arguments:
        case (Inert() as maker, _, tuple() as inner, *_) if maker in _TENSORS:
            return _TENSORS[maker](inner)
    raise ValueError("a tensor subclass without a tensor")


_TENSORS: MappingProxyType[Inert, Constructor] = MappingProxyType(
    {
        Inert("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        Inert("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        Inert("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
        Inert("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        Inert("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    }
)
CONSTRUCTORS: MappingProxyType[Inert, Constructor] = MappingProxyType(
    {**_TENSORS, Inert("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type}
)


def check_window(tensor: Tensor, storage_bytes: int) -> None:
    """Raises UnreadableError if a storage of so many bytes cannot give the tensor's values.

    `damaged-checkpoint`: it reaches beyond the end.  `invalid-layer-value`: its elements are no real numbers.
    """
    element = tensor.element
    if not element.code:
        message = f"values of type {shown(element.name)} are not supported"
        raise UnreadableError(error("invalid-layer-value", message, help="store weights as float32 or int8"))
    count = storage_bytes // element.size_bytes
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=True))
    if last >= count:
        reason = f"it reads element {last}, counted from 0, and the storage has {count}"
        raise damaged("a tensor reaches beyond its storage", reason)


def values_of(tensor: Tensor, data: bytes, byte_order: ByteOrder) -> NDArray[Any]:
    """The tensor's values, in its shape: a read-only view of `data` in its own type, or float32 for bfloat16.

    tensor: with at least one value.  data: all bytes of its storage.
    Raises UnreadableError as `check_window` does.

    >>> int16 = ElementType("int16", 2, "i2")
    >>> transposed = Tensor(Storage("0", int16, 6, 0, 6), int16, 0, (3, 2), (1, 3))
    >>> values_of(transposed, bytes((1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0)), "<").tolist()
    [[1, 4], [2, 5], [3, 6]]
    """
    check_window(tensor, len(data))
    element = tensor.element
    dtype = np.dtype(element.code).newbyteorder(byte_order)
    flat = np.frombuffer(data, dtype, len(data) // element.size_bytes)[tensor.offset :]
    # the stride of an axis with one element is never used, and may be any number
    steps = [s * element.size_bytes if n > 1 else 0 for n, s in zip(tensor.shape, tensor.stride, strict=True)]
    values = np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)
    return (values.astype("u4") << 16).view("f4") if element.name == "bfloat16" else values
