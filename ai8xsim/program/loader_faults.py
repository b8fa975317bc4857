"""Where the vendor's loader would do something else than the description means.

We compute what is meant (and what the hardware is told to do); the user is warned, because the loader's known
answer, or its generated code, will differ.
Source: `spec/ARITHMETIC.md`, "Faults of the loader".
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from ai8xsim.diagnostics import Diagnostic, note, warning
from ai8xsim.program.operations import Join, Layer, Operator, PoolKind, Source

Layers = Sequence[Layer]
Rule = Callable[[Layers], Iterator[Diagnostic]]


def loader_differences(layers: Layers) -> Iterator[Diagnostic]:
    """Every place where the loader's result would differ from ours."""
    for rule in RULES:
        yield from rule(layers)


def _pooling_in_conv1d(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        if layer.operator is not Operator.CONV1D or layer.pooling is None:
            continue
        if layer.pooling.kind is PoolKind.MAX and layer.pooling.geometry.dilation[0] > 1:
            message = f"{layer.title}: the vendor's simulation ignores `pool_dilation` in a Conv1d layer"
            why = "the hardware is programmed with it, and that is computed here"
            yield warning("loader-differs", message, layer.span_of("pool_dilation"), notes=(why,))
        if layer.pooling.kind is PoolKind.AVERAGE and layer.pooling.rounding:
            message = (
                f"{layer.title}: the vendor's simulation does not round an average pool in a Conv1d layer"
            )
            why = "the hardware's rounding switch is global, so it is rounded here"
            yield warning("loader-differs", message, layer.span_of("avg_pool"), notes=(why,))


def _dilated_subsampling(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        p = layer.pooling
        if p is not None and p.kind is PoolKind.NONE and p.geometry.dilation != (1, 1):
            message = f"{layer.title}: `pool_dilation` with a window of 1 may drop windows that would fit"
            why = "UNVERIFIED: the count follows the loader's formula; silicon is unknown"
            yield warning("dilated-subsampling", message, layer.span_of("pool_dilation"), notes=(why,))


def _one_sided_crop(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        if layer.crop[0] and not layer.crop[1]:
            message = f"{layer.title}: with nothing to crop behind, the vendor's loader crops everything"
            yield warning("loader-differs", message, layer.span_of("in_crop"))


def _bias_behind_bypass(layers: Layers) -> Iterator[Diagnostic]:
    biased = [e.index for e in layers if e.convolution and e.convolution.weights.bias is not None]
    for layer in layers:
        if layer.convolution and layer.convolution.is_bypass and any(index > layer.index for index in biased):
            message = f"{layer.title} is bypassed: in the vendor's loader, later layers get the wrong bias"
            why = "a bypassed layer takes no place in its list of bias values"
            yield warning("loader-differs", message, layer.span_of("bypass"), notes=(why,))


def _unequal_concatenation(layers: Layers) -> Iterator[Diagnostic]:
    outputs = {layer.index: layer.output_shape for layer in layers}
    for layer in layers:
        read = {outputs[entry.index].channels for entry in layer.inputs if entry.source is Source.LAYER}
        if layer.join is Join.CHANNELS and layer.elementwise is None and len(read) > 1:
            counts = ", ".join(map(str, sorted(read)))
            message = (
                f"{layer.title} concatenates {counts} channels; the vendor's loader demands equal counts"
            )
            yield warning("loader-differs", message, layer.span_of("in_sequences"))


def _sample_among_inputs(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        sources = [entry.source for entry in layer.inputs]
        if len(sources) > 1 and Source.SAMPLE in sources:
            message = f"{layer.title} joins the sample with a layer"
            why = "the vendor's loader compares the last layer's channels instead of the sample's, and may refuse it"
            yield warning("loader-differs", message, layer.span_of("in_sequences"), notes=(why,))


def _shifted_buffer(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        if layer.buffer_update is not None and layer.buffer_update.shift:
            message = f"{layer.title}: the vendor's simulation shows the whole shifted buffer, rows first"
            why = f"what the layer passes on is {layer.output_shape}"
            yield note("loader-differs", message, layer.span_of("buffer_shift"), notes=(why,))


def _input_behind_jump(layers: Layers) -> Iterator[Diagnostic]:
    following = {layer.index: after.index for layer, after in pairwise(layers)}
    for place, layer in enumerate(layers):
        read = [entry.index for entry in layer.inputs if entry.source is Source.LAYER]
        jumped = [index for index in read if following.get(index) != index + 1]
        if layer.gives("in_sequences") and place and jumped:
            message = f"{layer.title} reads layer {jumped[0]}, behind which the path jumps"
            why = f"the vendor's loader takes the input of layer {jumped[0] + 1} instead"
            yield warning("loader-differs", message, layer.span_of("in_sequences"), notes=(why,))


def _hidden_wide(layers: Layers) -> Iterator[Diagnostic]:
    read = {entry.index for layer in layers for entry in layer.inputs if entry.source is Source.LAYER}
    for layer in layers:
        if layer.output_stage.bits == 32 and (layer.index in read or layer.buffer_update):
            how = "that a later layer reads" if layer.index in read else "and inserts it into a data buffer"
            message = f"{layer.title} has 32-bit output {how}"
            why = "computed as the vendor's loader does; the hardware would read single bytes of it"
            mend = "write `output_width: 8`"
            yield warning("hidden-wide", message, layer.span_of("output_width"), notes=(why,), help=mend)


def _conv2d_on_1d(layers: Layers) -> Iterator[Diagnostic]:
    for layer in layers:
        if layer.operator is Operator.CONV2D and layer.pooled_shape.is_1d and not layer.flatten:
            message = f"{layer.title} is a Conv2d on 1D data {layer.pooled_shape}; the vendor's loader warns"
            mend = "reshape the data with `in_dim`, or use Conv1d"
            yield warning("conv2d-on-1d", message, layer.span_of("op"), help=mend)


RULES: tuple[Rule, ...] = (
    _pooling_in_conv1d,
    _dilated_subsampling,
    _one_sided_crop,
    _bias_behind_bypass,
    _unequal_concatenation,
    _sample_among_inputs,
    _shifted_buffer,
    _input_behind_jump,
    _hidden_wide,
    _conv2d_on_1d,
)
