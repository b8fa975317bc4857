"""The largest sums that the chip can form, and ties: exact on every target, stored as sums or made activations."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ai8xsim import MAX78002, Options, Program, Simulator, resolve
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.kernels import reference
from ai8xsim.program.operations import Activation, Weights
from tests.engine.targets import NAMES
from tests.simulator.small_programs import network_of, program_of, random_int8, stored_layer

CHANNELS, KERNEL = 2048, 3  # 18432 products: the most of a MAX78002
SHIFTS = range(-15, 16)
FEW_SHIFTS = (-15, -14, -9, -8, -7, -1, 0, 6, 7, 8, 15)
Array = npt.NDArray[Any]

on_every_target = pytest.mark.parametrize("target", NAMES)


@cache
def weight_oihw() -> Array:
    """Each output a pattern of extremes: all of one sign, alternating by channel and by tap, mixed, and near those."""
    shape = (CHANNELS, KERNEL, KERNEL)
    by_channel = np.where(np.arange(CHANNELS) % 2, 127, -128)[:, None, None]
    by_tap = np.where(np.arange(KERNEL * KERNEL).reshape(KERNEL, KERNEL) % 2, 127, -128)
    mixed = [random_int8(seed, *shape) for seed in range(4)]
    signs = [np.where(weight < 0, -128, 127) for weight in mixed]
    plain = [np.full(shape, value) for value in (-128, -128, 127, 127, 1, 0, -1)]
    alternating = [np.broadcast_to(pattern, shape) for pattern in (by_channel, -by_channel - 1, by_tap)]
    return np.stack([*plain, *alternating, *mixed, *signs])


@cache
def samples_of(size: int) -> Array:
    """(samples, CHANNELS, size, size): a matching variety."""
    shape = (CHANNELS, size, size)
    by_channel = np.where(np.arange(CHANNELS) % 2, 127, -128)[:, None, None]
    mixed = random_int8(9, *shape)
    several = [np.full(shape, -128), np.full(shape, 127), np.broadcast_to(by_channel, shape), mixed]
    return np.stack([*several, np.where(mixed < 0, -128, 127)]).astype(np.int8)


@cache
def biases() -> Array:
    return np.resize([-128, 127, 0], len(weight_oihw()))


@cache
def largest_program(size: int, padding: int) -> Program:
    layers = f"- {{op: conv2d, kernel_size: 3x3, pad: {padding}}}"
    stored = (stored_layer("layer0", weight_oihw(), biases()),)
    checkpoint = Checkpoint("x.pth.tar", None, None, stored)
    return resolve(network_of(layers), checkpoint, MAX78002, (CHANNELS, size, size), Options())


@cache
def sums_of(size: int, padding: int) -> Array:
    """(samples, outputs, rows, columns), in 64 bits."""
    border = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(samples_of(size), border).astype(np.float64)  # exact: no sum needs more than 53 bits
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), axis=(2, 3))
    sums = np.einsum("nirckl,oikl->norc", windows, weight_oihw().astype(np.float64), optimize=True)
    return np.asarray(sums.astype(np.int64) + 128 * biases()[:, None, None].astype(np.int64))


def with_stage(program: Program, bits: int, shift: int, activation: Activation) -> Program:
    """The program of one layer with another output stage."""
    (layer,) = program.layers
    stage = replace(layer.output_stage, bits=bits, shift=shift, activation=activation)
    return replace(program, layers=(replace(layer, output_stage=stage),))


def activations_of(sums: Array, shift: int, activation: Activation) -> tuple[Array, int]:
    """In integers of any width; and how many of them saturated."""
    below = 128 * 2 ** max(-shift, 0)
    rounded = (2 * sums * 2 ** max(shift, 0) + below) // (2 * below)
    nearest = rounded.clip(-128, 127)
    change = {"none": lambda v: v, "relu": lambda v: v.clip(0), "abs": lambda v: abs(v).clip(0, 127)}
    return change[activation](nearest), int((nearest != rounded).sum())


def agrees(program: Program, samples: Array, sums: Array, target: str) -> bool:
    """Whether both ways of keeping give what the sums make, in the only layer."""
    stage, machine = program.layers[0].output_stage, Simulator(program, target=target)
    wanted, saturated = activations_of(sums, stage.shift, stage.activation)
    everything, outputs = machine.run(samples), machine.run(samples, keep="outputs")
    assert everything.layers[0].saturated == saturated
    return np.array_equal(everything.output, wanted) and np.array_equal(outputs.output, wanted)


def stages(shifts: Any) -> Iterator[tuple[int, Activation]]:
    return ((shift, activation) for shift in shifts for activation in Activation)


def test_the_sums_are_as_large_as_a_chip_can_form() -> None:
    assert sums_of(3, 0).max() == CHANNELS * KERNEL**2 * 2**14 + 128 * 127
    assert sums_of(3, 0).min() == -CHANNELS * KERNEL**2 * 128 * 127 - 128 * 128
    assert {(sums < 0).any() and (sums > 0).any() for sums in sums_of(3, 0)} == {True}


@on_every_target
@pytest.mark.parametrize(("size", "padding"), [(3, 0), (4, 1)], ids=["one pixel", "16 pixels"])
def test_the_largest_sums_are_exact(target: str, size: int, padding: int) -> None:
    program = with_stage(largest_program(size, padding), 32, 0, Activation.NONE)
    output = Simulator(program, target=target).run(samples_of(size)).output
    assert np.array_equal(output, sums_of(size, padding))


@on_every_target
def test_activations_of_the_largest_sums_are_exact(target: str) -> None:
    for shift, activation in stages(FEW_SHIFTS):
        program = with_stage(largest_program(3, 0), 8, shift, activation)
        assert agrees(program, samples_of(3), sums_of(3, 0), target), (shift, activation)


@pytest.mark.deep
@on_every_target
@pytest.mark.parametrize("shift", SHIFTS)
def test_activations_of_the_largest_sums_are_exact_at_every_shift(target: str, shift: int) -> None:
    for size, padding in ((3, 0), (4, 1)):
        for _, activation in stages([shift]):
            program = with_stage(largest_program(size, padding), 8, shift, activation)
            assert agrees(program, samples_of(size), sums_of(size, padding), target), activation


@cache
def products_program(channels: int) -> Program:
    """A 1x1 convolution whose weights a test replaces."""
    return program_of(
        "- {op: conv2d, kernel_size: 1x1, pad: 0}",
        np.full((5, channels, 1, 1), 127),
        input_shape=(channels, 2, 9),
        device=MAX78002,
    )


def with_weights(program: Program, weight: Array, bias: Array) -> Program:
    (layer,) = program.layers
    assert layer.convolution is not None
    weights = Weights(weight.astype(np.int8), bias.astype(np.int8), 8)
    convolution = replace(layer.convolution, weights=weights)
    return replace(program, layers=(replace(layer, convolution=convolution),))


def halves(shift: int) -> Array:
    """Sums of which a half and its neighbours, above and below zero and near the ends of int8, are rounded."""
    unit = 2 ** max(7 - shift, 0)
    multiples = np.array([-129, -128, -127, -2, -1, 0, 1, 2, 126, 127, 128])
    return np.unique((multiples[:, None] * unit + unit // 2 + np.array([-1, 0, 1])).ravel())


@on_every_target
@pytest.mark.parametrize("activation", Activation)
def test_ties_are_rounded_up_at_every_shift(target: str, activation: Activation) -> None:
    """Sums of any size come from many channels of 127 * 127, one of 127 and one of 1."""
    weight = np.array([127] * 2046 + [1, 1])[None, :, None, None]
    for shift in SHIFTS:
        wanted = halves(shift)
        samples, sums = samples_with_sums(wanted[abs(wanted) < 127 * 127 * 2045])
        program = with_weights(products_program(CHANNELS), weight.repeat(5, 0), np.zeros(5))
        program = with_stage(program, 8, shift, activation)
        assert agrees(program, samples, sums[:, None].repeat(5, 1), target), shift


def samples_with_sums(sums: Array) -> tuple[Array, Array]:
    """Samples (N, CHANNELS, 2, 9) whose pixels have these sums, for weights of 127 and two of 1."""
    pixels = np.resize(sums, -(-len(sums) // 18) * 18)
    sign, size = np.sign(pixels), abs(pixels)
    whole, rest = size // 127, size % 127
    in_front = 127 * np.arange(2046)[:, None]
    parts = (whole - in_front).clip(0, 127)
    last = np.stack([rest, np.zeros_like(rest)])
    data = (sign * np.concatenate([parts, last])).reshape(CHANNELS, -1, 2, 9).swapaxes(0, 1)
    return data.astype(np.int8), pixels.reshape(-1, 2, 9)


@on_every_target
@pytest.mark.parametrize("activation", Activation)
def test_an_accumulator_of_every_size_becomes_what_the_reference_says(
    target: str, activation: Activation
) -> None:
    """Few channels, biases at both ends, all shifts, and each output another sum."""
    random = np.random.default_rng(5)
    weight, bias = random_int8(6, 5, 7, 1, 1), np.array([-128, 127, 0, 1, -1])
    samples = random_int8(7, 3, 7, 2, 9)
    sums = np.einsum("nirc,oi->norc", samples.astype(np.int64), weight[:, :, 0, 0].astype(np.int64))
    sums += 128 * bias[:, None, None]
    for shift in random.permutation(SHIFTS):
        program = with_weights(products_program(7), weight, bias)
        program = with_stage(program, 8, int(shift), activation)
        assert agrees(program, samples, sums, target), shift


def test_activations_here_are_those_of_the_reference() -> None:
    for shift, activation in stages(SHIFTS):
        sums = halves(shift)
        wanted = [reference.activate(reference.requantize(int(acc), shift), activation) for acc in sums]
        assert activations_of(sums, shift, activation)[0].tolist() == wanted
