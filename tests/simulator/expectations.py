"""What a program says, brought into the words of `Expected`, so that the two can be compared."""

from typing import Any

from ai8xsim.program import Layer, Program

from .drawn.sketch import Expected


def contradictions(program: Program, expected: tuple[Expected, ...]) -> list[str]:
    """Every statement of the program that is not the expected one."""
    if len(program.layers) != len(expected):
        return [f"{len(program.layers)} layers, not {len(expected)}"]
    found = []
    for layer, wanted in zip(program.layers, expected, strict=True):
        said, should = _said(layer), _should(wanted)
        found += [
            f"{layer.title}: {key} is {said[key]}, not {should[key]}"
            for key in should
            if said[key] != should[key]
        ]
    return found


def _said(layer: Layer) -> dict[str, Any]:
    pooling, element, stage = layer.pooling, layer.elementwise, layer.output_stage
    said = {
        "index": layer.index,
        "number": layer.number,
        "name": layer.name,
        "operator": layer.operator.value,
        "inputs": tuple((source.source, source.index, source.first_row) for source in layer.inputs),
        "element": element and (element.operation, element.operands, element.pool_first),
        "crop": layer.crop,
        "operand_shape": layer.operand_shape,
        "pool": pooling and (pooling.kind.value, *pooling.geometry),
        "flatten": layer.flatten,
        "bits": stage.bits,
        "activation": stage.activation.value,
        "output_shape": layer.output_shape,
        "weight": None,
    }
    if layer.convolution is None:
        return said
    weights, geometry = layer.convolution.weights, layer.convolution.geometry
    return said | {
        "weight": weights.weight.tolist(),
        "bias": None if weights.bias is None else weights.bias.tolist(),
        "shift": stage.shift,
        "groups": geometry.groups,
        "kernel_size": geometry.kernel_size,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "stride": geometry.stride[0],
        "is_transposed": layer.convolution.is_transposed,
    }


def _should(wanted: Expected) -> dict[str, Any]:
    kernel, should = wanted.kernel, {key: getattr(wanted, key) for key in _SAME}
    if kernel is None:
        return should | {"weight": None}
    is_transposed = wanted.operator == "convtranspose2d"
    return should | {
        "weight": kernel.weight.tolist(),
        "bias": None if kernel.bias is None else kernel.bias.tolist(),
        "shift": kernel.shift,
        "groups": kernel.groups,
        "kernel_size": kernel.kernel_size,
        "padding": wanted.padding,
        "dilation": wanted.dilation,
        "stride": 2 if is_transposed else 1,
        "is_transposed": is_transposed,
    }


_SAME = (
    "index",
    "number",
    "name",
    "operator",
    "inputs",
    "element",
    "crop",
    "operand_shape",
    "pool",
    "flatten",
    "bits",
    "activation",
    "output_shape",
)
