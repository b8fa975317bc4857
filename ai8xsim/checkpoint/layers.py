"""One layer's tensors: integers for the chip, or what is wrong with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from ai8xsim.checkpoint.container import Container
from ai8xsim.checkpoint.faults import QUANTIZE_AGAIN, UnreadableError, shown, too_many
from ai8xsim.checkpoint.model import CheckpointLayer
from ai8xsim.checkpoint.names import WeightKey
from ai8xsim.checkpoint.pickle_stack import InertObject
from ai8xsim.checkpoint.tensors import Storage, Tensor, check_window, values_of
from ai8xsim.checkpoint.values import (
    LARGEST_INTEGER,
    Fractions,
    check_bias,
    check_range,
    find_fractions,
    number_text,
    to_integers,
)
from ai8xsim.diagnostics import Diagnostic, error, errors_among, warning

_T = TypeVar("_T")
_WEIGHT_BITS = (0, 1, 2, 4, 8)  # 0: the file does not say
_INTEGER_BYTES = 8  # of the int64 that a value becomes
# The largest weight memory holds 19 million weights of one bit: 230 million bytes as float32 and int64.
_MOST_BYTES = 1 << 28


class StateReader:
    """Reads the values of a state dictionary. Together they are bounded, however often a byte is used."""

    def __init__(self, state: Mapping[str, object], container: Container) -> None:
        self.state = state
        self._container = container
        self._storages: dict[Storage, bytes] = {}
        self._bytes_left = _MOST_BYTES

    def array(self, key: str, axes: tuple[int, ...]) -> NDArray[Any]:
        """The values under a key, with one of these numbers of axes. Raises UnreadableError."""
        tensor = self.state[key]
        if not isinstance(tensor, Tensor):
            kind = str(tensor) if isinstance(tensor, InertObject) else type(tensor).__name__
            raise _invalid(f"{shown(key)} is no plain tensor, but {shown(kind)}")
        if len(tensor.shape) not in axes or tensor.size == 0:
            wanted = " or ".join(map(str, axes))
            reason = f"{wanted} axes with at least one value are expected"
            raise _invalid(f"{shown(key)} has the shape {_shape(tensor)}", reason)
        return self._read(tensor)

    def integer(self, key: str) -> int | None:
        """The whole number under a key, None if there is no such key. Raises UnreadableError."""
        number = self.state.get(key)
        if isinstance(number, Tensor):
            if number.size != 1:
                raise _invalid(f"{shown(key)} has the shape {_shape(number)}", "one value is expected")
            number = self._read(number).item()
        if number is None and key not in self.state:
            return None
        if not isinstance(number, int | float):
            raise _invalid(f"{shown(key)} is no number")
        if not abs(number) <= LARGEST_INTEGER or number != int(number):
            raise _invalid(f"{shown(key)} is {number_text(number)}", "an integer is expected")
        return int(number)

    def weight_bits(self, key: str) -> int | None:
        """The number of bits under a key, None if there is no such key. Raises UnreadableError."""
        bits = self.integer(key)
        if bits is not None and bits not in _WEIGHT_BITS:
            reason = "1, 2, 4 or 8 bits are possible; 0 means that the file does not say"
            raise _invalid(f"{shown(key)} is {bits}", reason)
        return bits

    def _read(self, tensor: Tensor) -> NDArray[Any]:
        storage = tensor.storage
        storage_bytes = storage.size * storage.element.size_bytes
        check_window(tensor, storage_bytes)
        self._spend(tensor.size * _INTEGER_BYTES)
        if storage not in self._storages:
            self._spend(storage_bytes)
            self._storages[storage] = self._container.read(storage)
        return values_of(tensor, self._storages[storage], self._container.byte_order)

    def _spend(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            why = "the largest weight memory of these chips has 2,396,160 bytes"
            raise too_many(f"the declared weights and biases take more than {_MOST_BYTES >> 20} MiB", why)


@dataclass(frozen=True, slots=True)
class LayerFindings:
    """What became of one layer: `layer` is None if it has faults or fractions."""

    layer: CheckpointLayer | None
    fractions: Fractions | None
    diagnostics: tuple[Diagnostic, ...]


def read_layer(key: WeightKey, reader: StateReader) -> LayerFindings:
    """A layer's integers, or all that is wrong with them. Raises UnreadableError for `too-many-weights`."""
    found: list[Diagnostic] = []
    weight = _attempt(found, key.key, lambda: reader.array(key.key, (2, 3, 4)))
    bias = (
        _attempt(found, key.bias, lambda: reader.array(key.bias, (1,))) if key.bias in reader.state else None
    )
    shift = _attempt(found, key.output_shift, lambda: reader.integer(key.output_shift))
    bits = _attempt(found, key.weight_bits, lambda: reader.weight_bits(key.weight_bits))
    found += _overlooked(key, reader.state)
    if weight is None:
        return LayerFindings(None, None, tuple(found))
    fractions = find_fractions(key, weight, bias)
    if fractions is None:
        found += check_range(key, weight)
        found += [] if bias is None else check_bias(key, bias, bits)
    if fractions or errors_among(found):
        return LayerFindings(None, fractions, tuple(found))
    integers = None if bias is None else to_integers(bias)
    scale = _final_scale(key, reader)
    layer = CheckpointLayer(key.layer, key.key, to_integers(weight), integers, shift, bits, scale)
    return LayerFindings(layer, None, tuple(found))


def _final_scale(key: WeightKey, reader: StateReader) -> int | None:
    """The scale of the training software, which the chip does not need; None where it is no whole number."""
    try:
        return reader.integer(f"{key.owner}.final_scale")
    except UnreadableError:
        return None


def _overlooked(key: WeightKey, state: Mapping[str, object]) -> list[Diagnostic]:
    """The chip gets what the vendor's loader reads; it reads a layer's settings in one place only."""
    unread = [name for name in key.overlooked if name in state]
    if not unread:
        return []
    message = f"the vendor's loader does not find {shown(unread[0])}"
    why = f"for {shown(key.key)} it looks for {shown(key.output_shift)}, else takes shift 0 and 8-bit weights"
    remedy = f"save the weight as {shown(f'{key.prefix}{key.layer}.op.weight')}"
    return [warning("unread-layer-values", message, notes=(why,), help=remedy)]


def _attempt(found: list[Diagnostic], key: str, read: Callable[[], _T]) -> _T | None:
    """What `read` returns; None if it raises a fault, which is then among those found."""
    try:
        return read()
    except UnreadableError as fault:
        if fault.diagnostic.code == "too-many-weights":
            raise  # once for the file, not once for every tensor after it
        where = f"needed for {shown(key)}"
        notes = (
            fault.diagnostic.notes
            if shown(key) in fault.diagnostic.message
            else (*fault.diagnostic.notes, where)
        )
        found.append(replace(fault.diagnostic, notes=notes))
        return None


def _shape(tensor: Tensor) -> str:
    return shown("x".join(map(str, tensor.shape)) or "[]")


def _invalid(message: str, *notes: str) -> UnreadableError:
    return UnreadableError(error("invalid-layer-value", message, notes=notes, help=QUANTIZE_AGAIN))
