"""What quantization costs: the model in floats, as it was trained, against the chip's integers.

Weights and activations are real numbers, and only what saturates on the chip saturates here too.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.compare.measures import Observed
from ai8xsim.compare.model import Factory, Matched, match, observe, with_fitting_biases
from ai8xsim.nn import Layer, fuse_bn_layers, load_checkpoint, setting
from ai8xsim.program import Program
from ai8xsim.quantize.quantizer import read_trained

STEPS = 128  # of data in [-1, 1)


def float_outputs(
    factory: Factory, program: Program, trained: str | os.PathLike[str], checkpoint: Checkpoint, sample: Any
) -> Matched:
    """What the model computes in floats with a trained checkpoint, layer by layer in the units of the chip.

    trained: before quantization; batch normalizations in it are folded. checkpoint: the quantized one, whose shifts
    say what the unit of a 32-bit output is.
    Raises InputError, CheckpointError, OSError, ValueError.
    """
    with setting(program.device.name, simulate=False):
        model = with_fitting_biases(factory, program, checkpoint)
        _fill_with_floats(model, trained)
    matched = match(program, observe(model, program, sample, scale=1 / STEPS))
    units = _units(program, checkpoint)
    layers = {
        index: Observed(layer.name, layer.values * units[index]) for index, layer in matched.layers.items()
    }
    return Matched(layers, matched.unmatched)


def _fill_with_floats(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Take the checkpoint's real weights, fold its batch normalizations where it still has any, quantize nothing."""
    trained, _ = read_trained(path)
    if not any(".bn." in name for name in trained.tensors):
        fuse_bn_layers(model)
    load_checkpoint(model, path)
    fuse_bn_layers(model)
    model.eval()
    for module in model.modules():
        if isinstance(module, Layer):
            module.set_bits(None)
            module.output_shift.data = torch.zeros(1)


def _units(program: Program, checkpoint: Checkpoint) -> Mapping[int, float]:
    """How many of the chip's units one of the model's is, by layer.

    Hidden layers have 7 fraction bits; a wide one has those of its input and of its weights, which were scaled by
    2**-output_shift.
    """
    shifts = {layer.name: layer.output_shift or 0 for layer in checkpoint.layers}
    units = {}
    for layer in program.layers:
        units[layer.index] = float(STEPS)
        if layer.output_stage.bits == 32 and layer.convolution is not None:
            weights = layer.convolution.weights
            units[layer.index] = STEPS * 2.0 ** (weights.bits - 1 - shifts.get(weights.source, 0))
    return units
