"""Samples: is an array what a program takes?"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.errors import InputError
from ai8xsim.formats import ACTIVATION
from ai8xsim.program import Shape

Array = npt.NDArray[Any]
INT8 = np.dtype(np.int8)


class Samples(NamedTuple):
    """Samples that a program takes: int8, (N, channels, rows, columns). `is_batch` tells how they came."""

    nchw: npt.NDArray[np.int8]
    is_batch: bool

    @property
    def nhwc(self) -> npt.NDArray[np.int8]:
        """With the channels last."""
        return np.ascontiguousarray(self.nchw.transpose(0, 2, 3, 1))


def checked_samples(samples: npt.ArrayLike, shape: Shape) -> Samples:
    """The samples as int8; no copy is made of int8.

    samples: integers, or floats without fractions, in [-128, 127]; one sample of `shape` or a batch of them.
    Raises InputError that says which value stands where and what to do.
    """
    array = as_int8(samples, shape)
    return Samples(array.reshape(-1, *shape.chw), is_batch=is_batch(array.shape, shape))


def as_int8(samples: npt.ArrayLike, shape: Shape) -> npt.NDArray[np.int8]:
    """As `checked_samples`, but in the shape that they came in."""
    array = as_array(samples)
    fault = _type_fault(array) or _shape_fault(array.shape, shape) or _value_fault(array)
    if fault is not None:
        raise InputError([fault])
    return array.astype(np.int8, copy=False)


def is_batch(given: tuple[int, ...], shape: Shape) -> bool:
    """Whether an array that is given in a shape is a batch of samples, or one sample.

    Raises InputError if it is neither.

    >>> is_batch((3, 8), Shape(3, 8, 1, is_1d=True)), is_batch((1, 3, 8), Shape(3, 8, 1, is_1d=True))
    (False, True)
    """
    fault = _shape_fault(given, shape)
    if fault is not None:
        raise InputError([fault])
    return given not in _accepted(shape)


def as_array(values: object) -> Array:
    """The numbers of a tensor, an array, a list or a number: an array on the CPU, apart from the graph of gradients.

    bfloat16, which NumPy lacks, becomes float32, which holds all of its values. Strangers that NumPy can only wrap come
    back as arrays of objects. Raises InputError where nothing can be made of them.

    >>> as_array([[1, 2]]).shape
    (1, 2)
    """
    try:
        return np.asarray(values)
    except ValueError as ragged:
        message = "samples are no array: their parts have different lengths"
        raise InputError([error("sample-shape", message, notes=(str(ragged),))]) from None
    except (TypeError, RuntimeError):  # tensors of a graph, of a GPU, of bfloat16
        return _of_tensor(values)


def _of_tensor(values: Any) -> Array:
    """The numbers of what NumPy does not take as it is."""
    try:
        there = values.detach().cpu()
        return np.asarray(there.float() if "bfloat16" in str(there.dtype) else there)
    except (AttributeError, TypeError, RuntimeError) as fault:  # sparse, or on the device `meta`
        message = f"samples are of type {type(values).__name__}, and no array can be made of them"
        raise InputError([error("sample-type", message, notes=(str(fault),))]) from None


def integer_fault(array: Array) -> Diagnostic | None:
    """Why the values are no integers in int8, if they are none; floats without fractions are.

    >>> integer_fault(np.array([1.0, 200.0])).message
    'samples[1] is 200.0, outside int8 [-128, 127]'
    """
    return _type_fault(array) or _value_fault(array)


def _accepted(shape: Shape) -> tuple[tuple[int, ...], ...]:
    """The shapes of one sample: 1D data may have a last axis of 1, or lack it."""
    return (shape.chw, shape.chw[:2]) if shape.columns == 1 else (shape.chw,)


def _shape_fault(given: tuple[int, ...], shape: Shape) -> Diagnostic | None:
    accepted = _accepted(shape)
    if given in accepted or (given[1:] in accepted and given[0] > 0):
        return None
    wanted = f"{shape.array_shape} or a batch (N, {', '.join(map(str, shape.array_shape))})"
    message = f"samples have the shape {given}, the program takes {wanted}"
    return error("sample-shape", message, help=_shape_remedy(given, shape))


def _shape_remedy(given: tuple[int, ...], shape: Shape) -> str:
    if given[:1] == (0,):
        return "the batch is empty"
    if shape.channels == 1 and given == (shape.rows, shape.columns):
        return "a grey image needs a channel axis, (1, H, W): use samples[None]"
    if shape.channels == 1 and len(given) == 3 and given[1:] == (shape.rows, shape.columns):
        return "grey images need a channel axis, (N, 1, H, W): use samples[:, None]"
    if given == (shape.rows, shape.columns, shape.channels):
        return "the channels come last; use samples.transpose(2, 0, 1)"
    if len(given) == 4 and given[1:] == (shape.rows, shape.columns, shape.channels):
        return "the channels come last; use samples.transpose(0, 3, 1, 2)"
    if len(given) in {3, 4} and given[-2:] == (shape.rows, shape.columns):
        return f"take data with {shape.channels} channels, or a network and a checkpoint for {given[-3]}"
    return "reshape or resize them, or, in Python, give resolve their shape as input_shape"


def _type_fault(array: Array) -> Diagnostic | None:
    if np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating):
        return None
    strangers = [type(value).__name__ for value in array.flat[:1] if not isinstance(value, int | float)]
    kind = strangers[0] if array.dtype == object and strangers else array.dtype
    message = f"samples are of type {kind}, not integers"
    return error("sample-type", message, help="convert them to int8")


def _value_fault(array: Array) -> Diagnostic | None:
    if array.dtype == np.int8:
        return None
    outside = (array < ACTIVATION.minimum) | (array > ACTIVATION.maximum) | np.isnan(array)
    if outside.any():
        place, value = _first(array, outside)
        message = f"samples[{place}] is {value}, outside {ACTIVATION}"
        mend = f"{int(outside.sum())} of {array.size} values are; normalize the data to -128..127 first"
        return error("sample-range", message, help=mend)
    if np.issubdtype(array.dtype, np.floating) and (fractions := array != np.floor(array)).any():
        place, value = _first(array, fractions)
        message = f"samples[{place}] is {value}, not an integer"
        return error("sample-fraction", message, help=fraction_remedy(array))
    return None


def fraction_remedy(array: Array) -> str:
    """How floats become integers in -128..127; their range tells what they are.

    >>> fraction_remedy(np.array([-1, 0.5]))
    'scale data in [-1, 1) by 128: data = (data * 128).round().clip(-128, 127)'
    """
    low, high = array.min(), array.max()
    if low >= 0 and high <= 1:
        return (
            "data in [0, 1] is not normalized: data = ((data - 0.5) * 256).round().clip(-128, 127), "
            "which `ai8x.normalize(args=args)` does at the end of a loader's transforms"
        )
    if low >= -1 and high <= 1:
        return "scale data in [-1, 1) by 128: data = (data * 128).round().clip(-128, 127)"
    return "round it to integers: data = data.round().clip(-128, 127)"


def _first(array: Array, mask: npt.NDArray[np.bool_]) -> tuple[str, object]:
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    return ", ".join(map(str, index)), array[index].item()
