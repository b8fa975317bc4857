"""Faults that were found last: shared weights before the start layer, traces that contradict themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai8xsim import InputError, Options, ResolveError
from ai8xsim.trace import load_trace

from .small_programs import program_of

POINT = "kernel_size: 1x1, pad: 0"


@pytest.mark.parametrize("between", ["", "- {op: none}\n"])
def test_a_weight_source_before_the_start_layer_is_refused(between: str) -> None:
    """IndexError; with a layer between, the program ends before the layer that shares, without a word."""
    layers = f"- {{op: conv2d, {POINT}}}\n{between}- {{op: conv2d, {POINT}, weight_source: 0}}"
    with pytest.raises(ResolveError):
        program_of(layers, input_shape=(1, 4, 4), options=Options(start_layer=1))


LAYER = {
    "index": 0,
    "name": None,
    "operator": "conv2d",
    "shape": [1, 2, 2],
    "saturated": None,
    "is_batch": False,
}


@pytest.mark.parametrize(
    "meta",
    [
        {"layers": [], "outputs": []},
        {"layers": [LAYER], "outputs": [7]},
        {"layers": [LAYER, LAYER], "outputs": [0]},
        {"layers": [LAYER | {"name": 5}], "outputs": [0]},
    ],
)
def test_a_trace_that_contradicts_itself_is_refused(meta: dict[str, Any], tmp_path: Path) -> None:
    """It is loaded; `output` then raises IndexError, `outputs` KeyError, `trace["x"]` AttributeError."""
    text = np.array(json.dumps({"schema_version": 1} | meta))
    np.savez(tmp_path / "trace.npz", meta=text, layer0=np.zeros((1, 2, 2), np.int8))
    with pytest.raises(InputError):
        load_trace(tmp_path / "trace.npz")
