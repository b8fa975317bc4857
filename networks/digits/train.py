"""Train the bundled digits network, quantize it, and prove the quantized files right.

    python networks/digits/train.py [--output DIR] [--force]

trains `model.py` on `dataset.py` by `qat_policy.yaml`, and writes `checkpoint.pth.tar` (the quantized network) and
`samples.npz` (the held-out images). It takes about a minute on one core, and a second run on the same machine
writes the same numbers. Nothing is written unless `check` finds no fault, and the simulator agrees with the trained
model in every output of every layer for every held-out image.

`ai8xsim train` does the first step for any model and data set.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ai8xsim import MAX78000, Simulator, Trace, check, read_checkpoint, read_network, resolve
from ai8xsim.compare.measures import compare
from ai8xsim.compare.model import match, observe
from ai8xsim.data import find_dataset
from ai8xsim.diagnostics import render
from ai8xsim.files import write_file
from ai8xsim.nn import Layer, load_model, setting
from ai8xsim.program import Program
from ai8xsim.quantize import quantize, save_quantized
from ai8xsim.train import Data, Epoch, Goal, Recipe, Result, Training, read_policy, seed_generators

HERE = Path(__file__).resolve().parent
ARCH = "ai8xsim_digits"
SEED = 78000


def recipe() -> Recipe:
    """How the network is trained: all images, 60 epochs of floats and 60 with the chip's rounding."""
    return Recipe(
        epochs=120,
        batch_size=64,
        learning_rate=4e-3,
        qat_learning_rate=1e-3,
        validation_split=0.0,
        seed=SEED,
        policy=read_policy(HERE / "qat_policy.yaml"),
    )


def train(folder: Path) -> tuple[Training, Result]:
    """The trained model, its checkpoints in a folder."""
    dataset = find_dataset(f"{HERE / 'dataset.py'}:digits")
    seed_generators(SEED)
    with setting("MAX78000"):
        model = load_model(f"{HERE / 'model.py'}:{ARCH}", 10, 1, (8, 8), bias=True)
    training = Training.begin(model, Goal.of(dataset), recipe(), ARCH)
    train_set, test_set = dataset.load(HERE, act_mode_8bit=False)
    return training, training.run(Data(train_set, test_set), folder, tell=print_epoch)


def print_epoch(epoch: Epoch) -> None:
    """Every tenth epoch."""
    if epoch.number % 10 == 9:
        kind = "quantized" if epoch.is_quantized else "float"
        print(
            f"epoch {epoch.number:3} {kind:<9} loss {epoch.loss:.4f}, {epoch.score:.2f} % right", flush=True
        )


def held_out() -> tuple[Any, Any]:
    """The test images as the chip gets them (N, 1, 8, 8), int8, and their labels, uint8."""
    _, test = find_dataset(f"{HERE / 'dataset.py'}:digits").load(HERE, act_mode_8bit=True, train=False)
    images = np.stack([image.numpy() for image, _ in test]).astype(np.int8)
    return images, np.array([int(label) for _, label in test], np.uint8)


def simulated(checkpoint: Path, images: Any) -> tuple[Program, Trace]:
    """What the chip computes. Raises ArithmeticError if `check` finds anything."""
    network, stored = read_network(HERE / "network.yaml"), read_checkpoint(checkpoint)
    findings = check(network, MAX78000, stored, images[0])
    if findings.diagnostics:
        raise ArithmeticError("\n".join(map(render, findings.diagnostics)))
    program = resolve(network, stored, MAX78000, images.shape[1:])
    return program, Simulator(program).run(images)


def prove_equal(training: Training, program: Program, trace: Trace, images: Any) -> None:
    """Raise unless the model as it was trained yields the chip's numbers: every layer, image, channel and pixel.

    A hidden layer's unit is 2**-7; a wide layer has 7 fraction bits from its input and `bits` - 1 from its weights.
    """
    outputs: dict[str, Any] = {}
    modules = {name: module for name, module in training.model.named_modules() if isinstance(module, Layer)}
    for name, module in modules.items():
        module.register_forward_hook(
            lambda _, inputs, y, name=name: outputs.update({name: y.double().numpy()})
        )
    with torch.no_grad():
        training.model.eval()(torch.from_numpy(images).float() / 128)
    for layer in trace:
        assert layer.name is not None
        trained = modules[layer.name]
        unit = 2 ** (7 + trained.bits - 1 if trained.wide else 7)
        difference = np.abs(outputs[layer.name].reshape(layer.output.shape) * unit - layer.output)
        print(f"  {layer.name:<6} {layer.output.size:>7} outputs, largest difference {difference.max():g}")
        if difference.any():
            raise ArithmeticError(f"{layer.name}: the checkpoint does not compute what was trained")


def prove_compared(checkpoint: Path, program: Program, trace: Trace, images: Any) -> None:
    """Raise unless the model file in evaluation, with the quantized checkpoint in it, computes the same."""
    from ai8xsim.compare.model import Factory, trained_model

    with setting("MAX78000", simulate=True):
        model, _ = trained_model(Factory(f"{HERE / 'model.py'}:{ARCH}"), program, read_checkpoint(checkpoint))
        matched = match(program, observe(model, program, images))
    if not compare(trace, matched.layers).is_equal:
        raise ArithmeticError("the model file with the quantized checkpoint differs from the chip")


def main() -> int:
    """Train, quantize, check, simulate, compare, write."""
    parser = argparse.ArgumentParser(description="Train and quantize the bundled digits network.")
    parser.add_argument("--output", type=Path, default=HERE, help="a folder; default: next to this script")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    arguments = parser.parse_args()
    checkpoint, samples = (arguments.output / name for name in ("checkpoint.pth.tar", "samples.npz"))
    existing = [str(path) for path in (checkpoint, samples) if path.exists()]
    if existing and not arguments.force:
        print(f"{' and '.join(existing)}: exists; give --force to overwrite", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the order of float sums, and so the result, must not depend on the cores
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as folder:
        training, result = train(Path(folder))
        quantized = quantize(result.best, read_network(HERE / "network.yaml"))
        made = Path(folder) / "quantized.pth.tar"
        write_file(made, lambda stream: save_quantized(quantized, stream))
        images, labels = held_out()
        program, trace = simulated(made, images)
        prove_equal(training, program, trace, images)
        prove_compared(made, program, trace, images)
        right = 100 * float((trace.output.reshape(len(labels), -1).argmax(1) == labels).mean())
        last_float = next(e for e in reversed(result.epochs) if not e.is_quantized)
        print(f"float {last_float.score:.2f} %, quantized {right:.2f} % of {len(labels)} held-out images")
        write_file(checkpoint, lambda stream: stream.write(made.read_bytes()))
    write_file(samples, lambda stream: np.savez_compressed(stream, images=images, labels=labels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
