"""Arrays from files of strangers."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError
from ai8xsim.files import seekable

Array = npt.NDArray[Any]


def read_array(path: Path) -> Array:
    """The array in a .npy file. Raises InputError if it is none, OSError if it cannot be opened."""
    try:
        if path.is_fifo():
            return _piped(path)
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        return np.array(mapped)
    except OSError:
        raise
    except Exception as fault:  # of NumPy's header reader, and of Python's tokenizer and parser behind it
        mend = "save one with numpy.save"
        reason = str(fault).partition("\n")[0]
        if "pickle" in reason:  # NumPy's text for whatever has no .npy header recommends to load it unsafely
            reason = "it is no file of plain numbers in NumPy's format"
        why = (reason,)
        found = error(
            "not-an-array", "this is no .npy array, or a damaged one", Span(str(path)), "", why, mend
        )
        raise InputError([found]) from None


def _piped(path: Path) -> Array:
    """The array that comes through a pipe, which can be read only once."""
    with open(path, "rb") as stream, seekable(stream) as stored:
        return np.lib.format.read_array(stored, allow_pickle=False)


def read_integers(path: Path) -> Array:
    """The array in a .npy file, which must be of integer type."""
    array = read_array(path)
    if np.issubdtype(array.dtype, np.integer):
        return array
    message = f"the array is of type {array.dtype}, and a sample must be of integer type"
    raise InputError([error("sample-type", message, Span(str(path)), help=_integer_remedy(array))])


def _integer_remedy(data: Array) -> str:
    """How an array of another type becomes one of integers; it depends on the values in it."""
    from ai8xsim.samples import fraction_remedy

    save = "numpy.save(path, data.astype(numpy.int64))"
    if not np.issubdtype(data.dtype, np.floating) or data.size == 0:
        return f"convert it: {save}"
    if not np.isfinite(data).all():
        return "find out where the values that are not finite come from"
    if (data == np.floor(data)).all():
        return f"its values are integers already; convert it: {save}"
    return f"{fraction_remedy(data)}; then {save}"


def read_expected(path: Path) -> Array:
    """An expected output: integers of any type, or floats without fractions."""
    array = read_array(path)
    is_number = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    if is_number and array.size > 0 and bool(np.all(np.isfinite(array) & (array == np.floor(array)))):
        return array.astype(np.int64)
    message = f"an expected output holds integers; this is {array.size} values of type {array.dtype}"
    raise InputError([error("sample-type", message, Span(str(path)))])


def read_sample(path: Path) -> Array:
    """One sample, (C, H, W) or (C, L)."""
    sample = read_integers(path)
    if sample.ndim in {2, 3}:
        return sample
    message = f"a sample has the shape (C, H, W) or (C, L), this one {sample.shape}"
    mend = "take one out: numpy.save(path, array[0]); or use --batch" if sample.ndim == 4 else "reshape it"
    raise InputError([error("sample-rank", message, Span(str(path)), help=mend)])


def read_batch(path: Path) -> Array:
    """A batch of samples, (N, C, H, W) or (N, C, L)."""
    batch = read_integers(path)
    if batch.ndim in {3, 4} and len(batch) > 0:
        return batch
    message = f"a batch has the shape (N, C, H, W) or (N, C, L), this one {batch.shape}"
    mend = "for one sample use --sample"
    raise InputError([error("sample-rank", message, Span(str(path)), help=mend)])
