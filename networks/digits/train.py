"""Train the bundled digits network, quantize it, and prove the quantized files right.

    python networks/digits/train.py [--output DIR] [--force]

reads `network.yaml` next to this file and writes `checkpoint.pth.tar` (the quantized network) and
`samples.npz` (the held-out images). It takes less than a minute on one core, and a second run on the same
machine writes the same numbers.

It prints three accuracies on the held-out images: of the float network, of the network trained with
quantization in the loop (quantization-aware training, QAT), and of the integers in the checkpoint. The
last two agree in every output of every layer, or nothing is written.

Source of the arithmetic: TRAINING.md sections 2.3, 6, 7 and 8; ARITHMETIC.md, "One layer".
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import yaml
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
CLASSES = 10
SEED = 78000
HELD_OUT = 0.2  # of the 1797 images
BATCH = 64
FLOAT_EPOCHS, FLOAT_RATE = 60, 4e-3
QAT_EPOCHS, QAT_RATE = 60, 1e-3
LARGEST_SHIFT = 15  # the hardware shifts an accumulator by -15..15 bits
ACTIVATION_MAX = 127 / 128  # int8 activations are read as -1..127/128
WIDE_MAX = 32768.0

Integers: TypeAlias = npt.NDArray[np.int64]
State: TypeAlias = OrderedDict[str, Tensor]


# ---------------------------------------------------------------------------------- description


@dataclass(frozen=True)
class LayerPlan:
    """What `network.yaml` says about one layer; `in_channels` counts the processors it enables."""

    name: str
    linear: bool
    in_channels: int
    out_channels: int
    kernel_size: int
    padding: int
    pool: int  # size and stride of max pooling; 1 for none
    weight_bits: int
    relu: bool
    wide: bool  # a 32-bit output


def read_network(path: Path) -> tuple[str, list[LayerPlan]]:
    """The network's name and its layers, with the channel counts that the processor maps imply.

    The model is built from the file that ships, so that the two cannot disagree.
    """
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    layers: list[dict[str, Any]] = description["layers"]
    channels = [layer["processors"].bit_count() for layer in layers]
    channels.append(layers[-1]["output_processors"].bit_count())
    plans = [read_plan(layer, *counts) for layer, counts in zip(layers, pairwise(channels), strict=True)]
    return description["arch"], plans


def read_plan(layer: dict[str, Any], in_channels: int, out_channels: int) -> LayerPlan:
    """One layer of the description. It knows square kernels and non-overlapping square pools only."""
    pool = layer.get("max_pool", 1)
    if layer.get("pool_stride", 1) != pool:
        raise ValueError(f"{layer['name']}: this script pools without overlap only")
    return LayerPlan(
        name=layer["name"],
        linear=layer["op"] == "linear",
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=int(layer.get("kernel_size", "1x1").partition("x")[0]),
        padding=layer.get("pad", 0),
        pool=pool,
        weight_bits=layer.get("quantization", 8),
        relu=layer["activate"] == "ReLU",
        wide=layer.get("output_width", 8) == 32,
    )


# --------------------------------------------------------------------------------------- images


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) as int8, as the chip gets them, and their labels (N,) as uint8."""

    images: npt.NDArray[np.int8]
    labels: npt.NDArray[np.uint8]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Images as float32 in -1..127/128, as training wants them, and labels as int64."""
        return torch.from_numpy(self.images).float() / 128, torch.from_numpy(self.labels).long()


def load_split() -> tuple[Digits, Digits]:
    """Training and held-out images; every digit has the same share of both."""
    pixels, labels = load_digits(return_X_y=True)
    images = normalize(pixels.reshape(-1, 1, 8, 8) / 16)
    parts = train_test_split(
        images, labels.astype(np.uint8), test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def normalize(images: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Pixels 0..1 as int8 around 0; the brightest saturates at 127 (ties go to even numbers)."""
    return np.clip(np.rint((images - 0.5) * 256), -128, 127).astype(np.int8)


def shift_randomly(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by -1, 0 or 1 pixels per axis.

    1437 images are soon learnt by heart: in cross-validation this gained the float network 0.2 points.
    """
    padded = functional.pad(images, (1, 1, 1, 1), value=-1.0)  # -1 is the background
    windows = padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    rows, columns = torch.randint(0, 3, (2, len(images)), generator=generator)
    return windows[torch.arange(len(images)), :, rows, columns]


# --------------------------------------------------------------------------------------- model


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2), with the gradient of the identity (straight-through).

    `x - x.detach()` is exactly zero, so that the value is exact too: `x + (rounded - x)` is not.
    """
    return (x - x.detach()) + torch.floor(x + 0.5).detach()


class QuantizedLayer(nn.Module):
    """Max pooling, convolution or linear, ReLU: float at first, with the chip's numbers after
    `start_quantization`.

    The buffers are those of the vendor's checkpoints, in their order: `state_dict` has the right form.
    """

    output_shift: Tensor
    weight_bits: Tensor
    bias_bits: Tensor
    quantize_activation: Tensor
    adjust_output_shift: Tensor

    def __init__(self, plan: LayerPlan, pixels: int) -> None:
        """`pixels`: rows times columns of the input, which a linear layer counts as channels."""
        super().__init__()
        for key in ("output_shift", "weight_bits", "bias_bits", "quantize_activation", "adjust_output_shift"):
            self.register_buffer(key, torch.zeros(1))
        self.register_buffer("shift_quantile", torch.ones(1))
        self.plan = plan
        self.op: nn.Linear | nn.Conv2d
        if plan.linear:
            self.op = nn.Linear(plan.in_channels * pixels, plan.out_channels)
        else:
            self.op = nn.Conv2d(plan.in_channels, plan.out_channels, plan.kernel_size, padding=plan.padding)

    def start_quantization(self) -> None:
        """From now on round weights, biases and activations as the chip will have them."""
        self.weight_bits.fill_(self.plan.weight_bits)
        self.bias_bits.fill_(self.plan.weight_bits)
        self.quantize_activation.fill_(1)
        self.adjust_output_shift.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W'), or to (N, C') for a linear layer."""
        if self.plan.pool > 1:
            x = functional.max_pool2d(x, self.plan.pool)
        y = self.quantized(x) if bool(self.quantize_activation) else self.activated(self.sums(x))
        limits = (-WIDE_MAX, WIDE_MAX) if self.plan.wide else (-1.0, ACTIVATION_MAX)
        return y.clamp(*limits)

    def quantized(self, x: Tensor) -> Tensor:
        """The layer with rounded parameters. Hidden layers yield multiples of 2**-7.

        The parameters use the whole range of their bits, scaled by the power of two that the largest
        one allows; the output shift takes the scale back, except in a wide layer, which has no shift.
        """
        shift = output_shift(torch.cat([parameter.flatten() for parameter in self.op.parameters()]))
        sums = self.sums(x, scale=2.0**-shift)
        if self.plan.wide:
            return round_half_up(sums * 2**14) / 2**14
        return round_half_up(self.activated(sums * 2.0**shift) * 128) / 128

    def sums(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """The sums of products, with the bias; parameters times `scale` and rounded, or as they are."""
        weight, bias = self.op.weight, self.op.bias
        assert bias is not None
        if scale is not None:
            bits = self.plan.weight_bits
            weight, bias = round_parameter(weight * scale, bits), round_parameter(bias * scale, bits)
        if self.plan.linear:
            return functional.linear(x.flatten(1), weight, bias)
        return functional.conv2d(x, weight, bias, padding=self.plan.padding)

    def activated(self, y: Tensor) -> Tensor:
        """ReLU, where the description has one."""
        return y.relu() if self.plan.relu else y


def output_shift(parameters: Tensor) -> Tensor:
    """The power of two next above the largest |parameter|, as an exponent (float32 logarithm)."""
    limit = parameters.detach().abs().max()
    return -torch.log2(1 / limit).floor().clamp(-LARGEST_SHIFT, LARGEST_SHIFT)


def round_parameter(parameter: Tensor, bits: int) -> Tensor:
    """Rounded to a multiple of 2**(1 - bits) and held inside -1 to 1, 1 excluded."""
    unit = 2.0 ** (bits - 1)
    return (round_half_up(parameter * unit) / unit).clamp(-1.0, 1 - 1 / unit)


class DigitsNet(nn.Module):
    """The network of the description: one layer after the other."""

    def __init__(self, plans: Sequence[LayerPlan], side: int) -> None:
        """`side`: rows, and columns, of the input image."""
        super().__init__()
        for plan in plans:
            side //= plan.pool
            self.add_module(plan.name, QuantizedLayer(plan, side * side))
            side += 2 * plan.padding - plan.kernel_size + 1

    def layers(self) -> Iterator[QuantizedLayer]:
        """The layers in order."""
        for layer in self.children():
            assert isinstance(layer, QuantizedLayer)
            yield layer

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What every layer yields."""
        found = []
        for layer in self.layers():
            x = layer(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) to scores (N, 10)."""
        return self.outputs(x)[-1]


# -------------------------------------------------------------------------------------- training


def train(model: DigitsNet, data: Digits, epochs: int, rate: float) -> None:
    """Adam on cross-entropy; the rate falls along a cosine to zero. Deterministic for a given SEED."""
    images, labels = data.tensors()
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images), generator=generator), BATCH):
            optimizer.zero_grad()
            scores = model(shift_randomly(images[batch], generator))
            loss = functional.cross_entropy(scores, labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()


def train_network(plans: Sequence[LayerPlan], data: Digits, held_out: Digits) -> DigitsNet:
    """Trained in float first, then with quantization in the loop; prints both accuracies."""
    torch.manual_seed(SEED)
    model = DigitsNet(plans, side=data.images.shape[-1])
    train(model, data, FLOAT_EPOCHS, FLOAT_RATE)
    print_accuracy("float", scores_of(model, held_out), held_out)
    for layer in model.layers():
        layer.start_quantization()
    train(model, data, QAT_EPOCHS, QAT_RATE)
    print_accuracy("QAT", scores_of(model, held_out), held_out)
    return model


def scores_of(model: DigitsNet, data: Digits) -> npt.NDArray[Any]:
    """The model's scores (N, 10) for all images."""
    with torch.no_grad():
        return np.asarray(model(data.tensors()[0]))


def accuracy(scores: npt.NDArray[Any], data: Digits) -> float:
    """The share of images, in percent, whose largest score is that of their label."""
    return 100 * float((scores.argmax(axis=1) == data.labels).mean())


def print_accuracy(stage: str, scores: npt.NDArray[Any], data: Digits) -> None:
    """One line for one stage."""
    print(f"{stage:<10}{accuracy(scores, data):6.2f} % of {len(scores)} held-out images", flush=True)


# ---------------------------------------------------------------------------------- quantization


def quantize(state: State) -> State:
    """A trained state in the form of a quantized checkpoint (the vendor's method MAX_BIT_SHIFT)."""
    quantized: State = OrderedDict((key, value.clone()) for key, value in state.items())
    for key in state:
        if key.endswith(".op.weight"):
            quantize_layer(quantized, key.removesuffix(".op.weight"))
    return quantized


def quantize_layer(state: State, layer: str) -> None:
    """Replace one layer's parameters by integers, in place.

    The weights lie in -2**(bits-1)..2**(bits-1)-1; so do the biases, which are then stored times
    2**(bits-1): the loader divides by that, and the chip adds the bias times 128.
    """
    weight, bias = state[f"{layer}.op.weight"], state[f"{layer}.op.bias"]
    bits = int(state[f"{layer}.weight_bits"])
    largest = torch.quantile(torch.cat([weight.flatten(), bias.flatten()]).abs(), 1.0)
    exponent = (1 / largest).log2().floor().clamp(-7 - bits, 23 - bits)
    state[f"{layer}.op.weight"] = to_integers(weight * 2.0 ** (bits - 1) * 2.0**exponent, bits)
    bias = to_integers(2.0 ** (bits - 1) * (bias * 2.0**exponent), bits)
    state[f"{layer}.op.bias"] = bias * 2.0 ** (bits - 1)
    state[f"{layer}.output_shift"] = -exponent.reshape(1)
    state[f"{layer}.bias_bits"] = torch.full((1,), float(bits))
    state[f"{layer}.quantize_activation"] = torch.ones(1)
    state[f"{layer}.adjust_output_shift"] = torch.zeros(1)


def to_integers(x: Tensor, bits: int) -> Tensor:
    """Rounded half up and saturated to signed integers of `bits` bits, as float32."""
    return torch.floor(x + 0.5).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def pack_checkpoint(arch: str, state: State, top1: float) -> bytes:
    """The checkpoint file. Packed in memory, because torch would write the file's name into it."""
    epoch = FLOAT_EPOCHS + QAT_EPOCHS - 1
    extras = {"current_top1": top1, "best_top1": top1, "best_epoch": epoch}
    content = {"epoch": epoch, "arch": arch, "state_dict": state, "extras": extras}
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# ---------------------------------------------------------------------------- integer evaluation


def evaluate_integers(plans: Sequence[LayerPlan], state: State, x: Integers) -> list[Integers]:
    """What every layer yields on the chip for images (N, 1, 8, 8): integers from the first step to the last.

    Hidden layers yield int8 values in units of 2**-7, the last one its accumulators.
    """
    outputs = []
    for plan in plans:
        x = evaluate_layer(plan, state, x)
        outputs.append(x)
    return outputs


def evaluate_layer(plan: LayerPlan, state: State, x: Integers) -> Integers:
    """One layer: pool, sum, add the bias, shift, round, saturate, activate."""
    keys = ("op.weight", "op.bias", "output_shift", "weight_bits")
    stored = {key: state[f"{plan.name}.{key}"].numpy().astype(np.int64) for key in keys}
    bits, shift = int(stored["weight_bits"][0]), int(stored["output_shift"][0])
    bias = stored["op.bias"] >> (bits - 1)  # stored times 2**(bits-1)
    x = max_pool(x, plan.pool)
    if plan.linear:
        sums = x.reshape(len(x), -1) @ stored["op.weight"].T + bias * 128
    else:
        sums = convolve(x, stored["op.weight"], plan.padding) + bias[:, None, None] * 128
    if plan.wide:
        return sums
    y = requantize(sums, shift + 8 - bits)
    return np.maximum(y, 0) if plan.relu else y


def requantize(accumulator: Integers, shift: int) -> Integers:
    """saturate(floor(accumulator * 2**shift / 128 + 1/2)): ties go up, also the negative ones."""
    if shift > 6:
        return (accumulator << (shift - 7)).clip(-128, 127)
    return ((accumulator + (1 << (6 - shift))) >> (7 - shift)).clip(-128, 127)


def max_pool(x: Integers, size: int) -> Integers:
    """The maximum of every `size` x `size` window, without overlap; what does not fit is dropped."""
    rows, columns = x.shape[2] // size, x.shape[3] // size
    windows = x[:, :, : rows * size, : columns * size].reshape(*x.shape[:2], rows, size, columns, size)
    return np.asarray(windows.max(axis=(3, 5)))


def convolve(x: Integers, weight: Integers, padding: int) -> Integers:
    """(N, C, H, W) and (C', C, k, k) to the sums (N, C', H', W'), with zeros around the input."""
    margin = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), margin, margin))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    return np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


# ------------------------------------------------------------------------------------------ proof


def prove_equal(model: DigitsNet, integers: Sequence[Integers], data: Digits) -> None:
    """Raise unless the QAT model yields the integers' values: every layer, image, channel and pixel.

    A hidden layer's unit is 2**-7; a wide layer has 7 fraction bits from its input and `bits` - 1 from
    its weights.
    """
    with torch.no_grad():
        outputs = model.outputs(data.tensors()[0])
    for layer, trained, exact in zip(model.layers(), outputs, integers, strict=True):
        fraction_bits = 7 + layer.plan.weight_bits - 1 if layer.plan.wide else 7
        difference = np.abs(np.asarray(trained, dtype=np.float64) * 2**fraction_bits - exact)
        print(f"  {layer.plan.name:<6} {exact.size:>7} outputs, largest difference {difference.max():g}")
        if difference.any():
            raise ArithmeticError(f"{layer.plan.name}: the checkpoint does not compute what was trained")


# ------------------------------------------------------------------------------------- the script


def write_file(path: Path, content: bytes) -> None:
    """All of the file or none of it."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def pack_samples(data: Digits) -> bytes:
    """The held-out images and labels as a compressed npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, images=data.images, labels=data.labels)
    return file.getvalue()


def parse_arguments() -> argparse.Namespace:
    """Where to write, and whether to overwrite."""
    parser = argparse.ArgumentParser(description="Train and quantize the bundled digits network.")
    parser.add_argument("--output", type=Path, default=HERE, help="a folder; default: next to this script")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    return parser.parse_args()


def main() -> int:
    """Train, quantize, prove, write."""
    arguments = parse_arguments()
    checkpoint, samples = (arguments.output / name for name in ("checkpoint.pth.tar", "samples.npz"))
    existing = [str(path) for path in (checkpoint, samples) if path.exists()]
    if existing and not arguments.force:
        print(f"{' and '.join(existing)}: exists; give --force to overwrite", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)

    torch.set_num_threads(1)  # the order of float sums, and so the result, must not depend on the cores
    torch.use_deterministic_algorithms(True)
    arch, plans = read_network(HERE / "network.yaml")
    training, held_out = load_split()
    model = train_network(plans, training, held_out)
    top1 = accuracy(scores_of(model, held_out), held_out)
    packed = pack_checkpoint(arch, quantize(OrderedDict(model.state_dict())), top1)

    stored = torch.load(io.BytesIO(packed), weights_only=True)["state_dict"]  # what a reader will see
    integers = evaluate_integers(plans, stored, held_out.images.astype(np.int64))
    print_accuracy("quantized", integers[-1], held_out)
    prove_equal(model, integers, held_out)
    write_file(checkpoint, packed)
    write_file(samples, pack_samples(held_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
