"""Tensors, arrays, lists: wherever samples are taken, the same numbers come of them, or the same fault."""

import warnings
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ai8xsim import InputError
from ai8xsim.data import to_sample
from ai8xsim.data.reading import observe
from ai8xsim.program import Shape
from ai8xsim.samples import as_array, checked_samples

SHAPE = (2, 3, 4)
SAMPLES = arrays.arrays(np.int8, SHAPE)
FORMS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "list": lambda values: values.tolist(),
        "float64": lambda values: values.astype(np.float64),
        "int8 tensor": torch.from_numpy,
        "float tensor": lambda values: torch.from_numpy(values).float(),
        "parameter": lambda values: torch.nn.Parameter(torch.from_numpy(values).float()),
        "of a graph": lambda values: torch.from_numpy(values).float().requires_grad_() * 1,
        "float16": lambda values: torch.from_numpy(values).half(),
        "bfloat16": lambda values: torch.from_numpy(values).bfloat16(),
        "view": lambda values: torch.from_numpy(values.transpose(2, 1, 0).copy()).permute(2, 1, 0),
    }
)
USERS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "as_array": as_array,
        "checked_samples": lambda sample: checked_samples(sample, Shape(*SHAPE)).nchw[0],
        "to_sample": to_sample,
        "observe": lambda sample: observe(0, (sample, 0), act_mode_8bit=True).values,
    }
)


@pytest.mark.parametrize("form", FORMS)
@given(values=SAMPLES)
def test_every_user_takes_every_form(form: str, values: Any) -> None:
    made = FORMS[form](values)
    taken = {name: take(made) for name, take in USERS.items() if (name, form) != ("observe", "list")}
    assert all(np.array_equal(result, values) for result in taken.values())


def test_what_loaders_may_not_deliver_stays_refused() -> None:
    assert observe(0, ([[1]], 0), act_mode_8bit=True).values is None  # training wants tensors


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (torch.empty(SHAPE, device="meta"), "sample-type"),
        (torch.zeros(SHAPE).to_sparse(), "sample-type"),
        (torch.zeros(SHAPE, dtype=torch.complex64), "sample-type"),
        (np.zeros(SHAPE, complex), "sample-type"),
        (np.full(SHAPE, "a"), "sample-type"),
        ([[[1, 2], [3]]], "sample-shape"),
    ],
)
def test_what_holds_no_numbers_is_a_fault_and_no_exception_of_a_library(sample: Any, code: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for take in (USERS["checked_samples"], to_sample):
            with pytest.raises(InputError) as refused:
                take(sample)
            assert refused.value.diagnostics[0].code == code
        if getattr(sample, "is_sparse", False):
            with pytest.raises(InputError):
                observe(0, (sample, 0), act_mode_8bit=True)
        else:
            assert observe(0, (sample, 0), act_mode_8bit=True).values is None


@given(st.sampled_from([np.bool_, np.uint8, np.int64, np.float32, np.complex64, np.str_]))
def test_arrays_are_passed_through(dtype: Any) -> None:
    values = np.ones(3, dtype)
    assert as_array(values) is values
