"""How inputs become operands: joined, split, cropped, reshaped. Data is channels-last, of any type."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.program import Layer
from ai8xsim.program.operations import Join

Data = npt.NDArray[Any]


def operand_blocks(layer: Layer, inputs: Sequence[Data]) -> list[Data]:
    """The operands, each in the shape of `layer.operand_shape`; one where nothing is combined."""
    return [_shaped(block, layer) for block in _operands(_joined(layer.join, inputs), layer)]


def _operands(data: Data, layer: Layer) -> list[Data]:
    """Equal consecutive blocks of channels."""
    if layer.elementwise is None:
        return [data]
    return list(np.split(data, layer.elementwise.operands, axis=3))


def _joined(join: Join, inputs: Sequence[Data]) -> Data:
    if len(inputs) == 1:
        return inputs[0]
    if join is Join.CHANNELS:
        return np.concatenate(inputs, axis=3)
    pixels = [data.reshape(len(data), -1, 1, data.shape[3]) for data in inputs]
    return np.concatenate(pixels, axis=1)


def _shaped(data: Data, layer: Layer) -> Data:
    """Without the cropped rows, in the operand's shape: values keep their order channel, row, column."""
    front, behind = layer.crop
    data = data[:, front : data.shape[1] - behind]
    shape = layer.operand_shape
    if data.shape[1:] == (shape.rows, shape.columns, shape.channels):
        return np.ascontiguousarray(data)
    x_nchw = data.transpose(0, 3, 1, 2).reshape(-1, *shape.chw)
    return np.ascontiguousarray(x_nchw.transpose(0, 2, 3, 1))
