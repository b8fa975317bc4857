"""Why somebody else's layer differs: the layer is computed again in other ways, until one gives what they have.

Each layer is given their inputs, so that a layer that only passes on a difference is not blamed for it. A cause is
named when it explains every value; otherwise it is said where the differences lie.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ai8xsim.checkpoint import Checkpoint
from ai8xsim.compare.measures import Observed
from ai8xsim.compare.operators import CHIP, Arithmetic, Run, computed
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.network.description import ELEMENTWISE
from ai8xsim.program import Layer, Program
from ai8xsim.program.operations import Activation, OutputStage, PoolKind, Source
from ai8xsim.samples import checked_samples

Prepare = Callable[[Tensor], Tensor]

SHIFTS = range(-15, 16)
SAME_SAMPLE = "let both read one file; `simulate --save-sample` writes what the chip is given"


@dataclass(frozen=True)
class Variation:
    """A cause: what it is called, and how the layer is computed then.

    prepare: what happens to the input; added: to the accumulator; factor: by what the output is multiplied.
    """

    diagnostic: Diagnostic
    layer: Layer
    arithmetic: Arithmetic = CHIP
    added: Tensor | None = None
    factor: float = 1.0
    prepare: Prepare | None = None

    def outcome(self, inputs: list[Tensor]) -> Tensor:
        """The output in this case."""
        if self.prepare is not None:
            inputs = [self.prepare(x) for x in inputs]
        if self.added is None:
            return computed(self.layer, inputs, self.arithmetic) * self.factor
        raw = replace(self.layer, output_stage=OutputStage(32, 0, Activation.NONE))
        acc = computed(raw, inputs, self.arithmetic) + self.added
        stage = self.layer.output_stage
        if stage.bits == 32:
            return acc
        y = (acc * 2.0**stage.shift / 128 + 0.5).floor().clamp(-128, 127)
        return y.clamp(0) if stage.activation is Activation.RELU else y


@dataclass(frozen=True, eq=False)
class Outputs:
    """A layer's output, ours and theirs; known: which values they state, None: all."""

    ours: Tensor
    theirs: Tensor
    known: Tensor | None = None

    def equal(self, outcome: Tensor) -> bool:
        """Whether an outcome is theirs, as far as they state it."""
        same = outcome == self.theirs
        return bool((same if self.known is None else same | ~self.known).all())

    @property
    def completed(self) -> Tensor:
        """Theirs, with ours where they state nothing."""
        return self.theirs if self.known is None else torch.where(self.known, self.theirs, self.ours)

    @property
    def stated(self) -> Tensor:
        """Where they state a value."""
        return torch.ones_like(self.ours, dtype=torch.bool) if self.known is None else self.known


def diagnose(
    program: Program, samples: Any, theirs: Mapping[int, Observed], checkpoint: Checkpoint | None = None
) -> tuple[Diagnostic, ...]:
    """The cause for every layer that does not follow from its own inputs as they have them."""
    checked = checked_samples(samples, program.input_shape)
    x = torch.from_numpy(np.ascontiguousarray(checked.nhwc.transpose(0, 3, 1, 2))).double()
    run, found = Run(program, x), []
    for layer in program.layers:
        inputs = run.inputs(layer)
        ours = computed(layer, inputs)
        other = theirs.get(layer.index)
        if other is None or other.values.shape != tuple(ours.shape):
            run.store(layer, ours)
            continue
        known = None if other.known is None else torch.from_numpy(other.known)
        theirs_here = Outputs(ours, torch.from_numpy(np.array(other.values, dtype=np.float64)), known)
        if not theirs_here.equal(ours):
            found.append(_cause(layer, inputs, theirs_here, checkpoint))
        run.store(layer, theirs_here.completed)
    return tuple(found)


def _cause(layer: Layer, inputs: list[Tensor], outputs: Outputs, checkpoint: Checkpoint | None) -> Diagnostic:
    differing, stated = int((outputs.ours != outputs.completed).sum()), int(outputs.stated.sum())
    count = f"{differing} of {stated} values differ"
    for variation in (*_variations(layer), *_of_checkpoint(layer, checkpoint), *_of_input(layer)):
        if outputs.equal(variation.outcome(inputs)):
            why = (count, f"computed that way, all {stated} values are theirs")
            return replace(variation.diagnostic, notes=why)
    return _unexplained(layer, outputs, count)


def _variations(layer: Layer) -> Iterator[Variation]:
    yield from _averages(layer)
    yield from _pools(layer)
    yield from _combinations(layer)
    if layer.convolution is None:
        return
    yield from _activations(layer)
    yield from _shifts(layer)
    yield from _widths(layer)
    if layer.output_stage.bits == 8:
        message = f"{layer.title}: they round the output otherwise than half up"
        found = error("output-rounding", message, layer.span)
        for way in (torch.round, torch.floor, torch.trunc):
            yield Variation(found, layer, Arithmetic(requantize=way))


def _averages(layer: Layer) -> Iterator[Variation]:
    if layer.pooling is None or layer.pooling.kind is not PoolKind.AVERAGE:
        return
    other = "round" if not layer.pooling.rounding else "truncate"
    message = f"{layer.title}: they {other} the averages, the chip does not as it is set"
    mend = "`--avg-pool-rounding` and the model's `round_avg` must say the same"
    span = layer.span_of("avg_pool", "op")
    found = error("average-rounding", message, span, help=mend)
    flipped = replace(layer, pooling=replace(layer.pooling, rounding=not layer.pooling.rounding))
    yield Variation(found, flipped)
    message = f"{layer.title}: they round averages half to even, the chip half away from zero"
    mend = "expect the difference: it is of the training software's evaluation (`behaviour` vendor)"
    yield Variation(error("average-rounding", message, span, help=mend), layer, Arithmetic(torch.round))
    message = f"{layer.title}: their averages keep fractions, as PyTorch's own pool computes them"
    mend = "use the pooling modules of `ai8x`"
    yield Variation(error("plain-pooling", message, span, help=mend), layer, Arithmetic(lambda mean: mean))


def _pools(layer: Layer) -> Iterator[Variation]:
    """The largest value in the place of the average, or the other way round."""
    names = {PoolKind.MAX: "max", PoolKind.AVERAGE: "avg"}
    if layer.pooling is None or layer.pooling.kind not in names:
        return
    own = layer.pooling.kind
    (other,) = set(names) - {own}
    message = f"{layer.title}: its pool is {own}, theirs is {other}"
    mend = f"write `{names[other]}_pool` in the place of `{names[own]}_pool`, or use the module that fits"
    found = error("pooling-differs", message, layer.span_of(f"{names[own]}_pool", "op"), help=mend)
    for rounding in (False, True):
        yield Variation(found, replace(layer, pooling=replace(layer.pooling, kind=other, rounding=rounding)))


def _combinations(layer: Layer) -> Iterator[Variation]:
    """Another element-wise operation, or the other order of it and the pool."""
    elementwise = layer.elementwise
    if elementwise is None:
        return
    span = layer.span_of("eltwise", "op")
    for other in sorted(ELEMENTWISE - {elementwise.operation}):
        message = f"{layer.title}: its operation is `{elementwise.operation}`, theirs is `{other}`"
        mend = f"write `eltwise: {other}`, or use the module that fits"
        found = error("elementwise-differs", message, span, help=mend)
        yield Variation(found, replace(layer, elementwise=replace(elementwise, operation=other)))
    if layer.pooling is not None:
        flipped = replace(elementwise, pool_first=not elementwise.pool_first)
        own, other = ("behind", "before") if elementwise.pool_first else ("before", "behind")
        message = f"{layer.title}: its `{elementwise.operation}` comes {own} the pool, theirs {other} it"
        mend = f"write `pool_first: {str(flipped.pool_first).lower()}`, or pool in the model where the layer does"
        found = error("elementwise-differs", message, layer.span_of("pool_first", "eltwise"), help=mend)
        yield Variation(found, replace(layer, elementwise=flipped))


def _activations(layer: Layer) -> Iterator[Variation]:
    own = layer.output_stage.activation
    for activation in Activation:
        if activation is not own:
            message = f"{layer.title}: its activation is {_named(own)}, theirs is {_named(activation)}"
            found = error(
                "activation-differs", message, layer.span_of("activate", "op"),
                help=f"write `activate: {_named(activation)}`, or use the module that fits",
            )  # fmt: skip
            stage = replace(layer.output_stage, activation=activation)
            yield Variation(found, replace(layer, output_stage=stage))


def _named(activation: Activation) -> str:
    return {"none": "None", "relu": "ReLU", "abs": "Abs"}[activation.value]


def _shifts(layer: Layer) -> Iterator[Variation]:
    stage, span = layer.output_stage, layer.span_of("output_shift", "quantization", "op")
    if stage.bits == 32:
        for power in SHIFTS:
            message = f"{layer.title}: their 32-bit output is scaled by 2**{power}, the chip's never"
            mend = "scale the logits on the host if their size matters"
            if power:
                yield Variation(
                    error("wide-output-scaled", message, span, help=mend), layer, factor=2.0**power
                )
        return
    for shift in SHIFTS:
        if shift != stage.shift:
            message = f"{layer.title}: its output is shifted by {stage.shift}, theirs by {shift}"
            mend = "let the description's `output_shift` and the checkpoint's agree"
            other = replace(layer, output_stage=replace(stage, shift=shift))
            yield Variation(error("output-shift-differs", message, span, help=mend), other)


def _widths(layer: Layer) -> Iterator[Variation]:
    """8 bits of output in the place of 32, with whatever shift, or the other way round."""
    bits = 8 if layer.output_stage.bits == 32 else 32
    message = f"{layer.title}: its output has {layer.output_stage.bits} bits, theirs {bits}"
    mend = f"write `output_width: {bits}`" + ("" if bits == 8 else ", which the model calls `wide=True`")
    found = error("output-width-differs", message, layer.span_of("output_width", "op"), help=mend)
    for shift in sorted(SHIFTS, key=abs) if bits == 8 else (0,):
        yield Variation(found, replace(layer, output_stage=OutputStage(bits, shift, Activation.NONE)))


def _of_checkpoint(layer: Layer, checkpoint: Checkpoint | None) -> Iterator[Variation]:
    """What the file holds and the chip does not use: the low bits of a bias, a final scale."""
    if layer.convolution is None or checkpoint is None:
        return
    weights = layer.convolution.weights
    stored = next((entry for entry in checkpoint.layers if entry.name == weights.source), None)
    if stored is None:
        return
    if stored.bias is not None and weights.bias is not None:
        exact = stored.bias.astype(np.float64) * 2.0 ** (8 - weights.bits)
        low = torch.from_numpy(exact - weights.bias.astype(np.float64) * 128).reshape(1, -1, 1, 1)
        message = f"{layer.title}: they add the bias with all its bits, the chip without the lowest"
        mend = "expect the difference, or quantize the checkpoint again"
        yield Variation(error("exact-bias", message, layer.span, help=mend), layer, added=low)
    if stored.final_scale:
        message = f"{layer.title}: they multiply the output by 2**{stored.final_scale}"
        mend = "train without `final_scale`"
        yield Variation(
            error("final-scale", message, layer.span, help=mend), layer, factor=2.0**stored.final_scale
        )


def _of_input(layer: Layer) -> Iterator[Variation]:
    """What may have happened to the sample before it arrived."""
    if [source.source for source in layer.inputs] != [Source.SAMPLE]:
        return
    for what, prepare in (*RANGES, *_folds(layer.operand_shape.channels)):
        found = error("sample-differs", f"{layer.title}: their sample {what}", layer.span, help=SAME_SAMPLE)
        yield Variation(found, layer, prepare=prepare)


def _folds(channels: int) -> Iterator[tuple[str, Prepare]]:
    """Other orders in which the pixels of a square may have become channels."""
    for side in range(2, 9):
        if channels % side**2 == 0:
            colours = channels // side**2
            for what, parts, order in _orders(colours, side):
                yield f"is folded in another order: {what}", partial(_reordered, parts=parts, order=order)


def _orders(colours: int, side: int) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    yield "the row changes before the column", (side, side, colours), (1, 0, 2)
    if colours > 1:
        yield "the pixel changes before the colour", (side * side, colours), (1, 0)
        yield "the colour changes before the pixel", (colours, side * side), (1, 0)
        yield "the row changes before the column, each colour apart", (colours, side, side), (0, 2, 1)


def _reordered(x: Tensor, parts: tuple[int, ...], order: tuple[int, ...]) -> Tensor:
    split = x.reshape(len(x), *parts, *x.shape[2:])
    axes = (0, *(axis + 1 for axis in order), len(parts) + 1, len(parts) + 2)
    return split.permute(*axes).reshape(x.shape)


def _unsigned(x: Tensor) -> Tensor:
    return x.remainder(256)


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(2, 3) if x.shape[2] == x.shape[3] else x


RANGES: tuple[tuple[str, Prepare], ...] = (
    ("is not normalized: it is 128 higher", lambda x: x + 128),
    ("is not normalized: it is 128 lower", lambda x: x - 128),
    ("is read as unsigned bytes", _unsigned),
    ("has rows and columns exchanged", _transposed),
    ("has its channels in the opposite order", lambda x: x.flip(1)),
    ("is divided by 128, as for training", lambda x: x / 128),
)


def _unexplained(layer: Layer, outputs: Outputs, count: str) -> Diagnostic:
    """Where the differences lie."""
    differs = _by_channel(outputs.ours != outputs.completed).any(1)
    # all zero, as behind a ReLU, would be equal by chance
    says_something = _by_channel((outputs.ours != 0) & outputs.stated).any(1)
    equal = int((~differs & says_something).sum())
    if equal and layer.convolution is not None:
        channels = differs.nonzero().flatten().tolist()
        shown = ", ".join(map(str, channels[:8])) + (", ..." if len(channels) > 8 else "")
        message = f"{layer.title}: the weights or biases of {len(channels)} output channels differ"
        why = (count, f"{equal} other channels that are not all zero are equal; these differ: {shown}")
        mend = "see whether both have the same checkpoint"
        return error("weights-differ", message, layer.span, "", why, mend)
    message = f"{layer.title}: its output differs, and no cause that is known explains every value"
    mend = "see whether both have the same checkpoint, the same kernel, padding, stride and pooling"
    return error("unexplained-difference", message, layer.span, "", (count,), mend)


def _by_channel(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (C, N * H * W)."""
    return x.transpose(0, 1).flatten(1)
