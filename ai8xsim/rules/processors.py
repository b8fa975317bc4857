"""Processor maps: how many bits, and which."""

from collections.abc import Iterator
from dataclasses import replace

from ai8xsim.device import MEMORIES, PROCESSORS_PER_MEMORY, PROCESSORS_PER_QUADRANT
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import enabled, suggested_processors
from ai8xsim.machine.places import input_layout
from ai8xsim.machine.processors import (
    buffer_processor_faults,
    input_processor_faults,
    output_processor_faults,
    pass_through_faults,
)
from ai8xsim.memory import quadrants_of
from ai8xsim.program import Layer
from ai8xsim.rules.streams import fed_processors
from ai8xsim.rules.subject import Subject


def processor_count(subject: Subject) -> Iterator[Diagnostic]:
    """Maps that do not fit the input channels."""
    if subject.program is None:
        return
    for layer in subject.layers:
        if layer.index not in subject.doubtful:
            faults = input_processor_faults(subject.program, layer)
            yield from (_fed(subject, layer, fault) for fault in faults)


def _fed(subject: Subject, layer: Layer, fault: Diagnostic) -> Diagnostic:
    """The fault with a map that FIFOs can feed, where they feed the layer."""
    fed = _fed_by_fifo(subject, layer)
    return fault if fed is None else replace(fault, help=f"write `processors: {fed:#018x}`, which FIFOs feed")


def _fed_by_fifo(subject: Subject, layer: Layer) -> int | None:
    """Processors for the layer that FIFOs can feed; None where none feeds it, or too few."""
    if layer is not subject.layers[0] or not subject.has_fifo:
        return None
    return fed_processors(subject, input_layout(layer).expected_processors)


def output_processor_count(subject: Subject) -> Iterator[Diagnostic]:
    """Maps that do not fit the output channels, unless the next layer's map is wrong in itself."""
    if subject.program is None:
        return
    for layer, after in zip(subject.layers, [*subject.layers[1:], None], strict=True):
        is_default = not layer.gives("output_processors") and after is not None
        if (
            is_default
            and after is not None
            and (not input_layout(after).is_complete or after.index in subject.doubtful)
        ):
            continue
        if after is None and layer.index != subject.network.layers[-1].index and subject.doubtful:
            continue
        yield from output_processor_faults(subject.program, layer)


def buffer_processors(subject: Subject) -> Iterator[Diagnostic]:
    """Data buffers whose map does not fit their channels."""
    if subject.program is not None:
        yield from buffer_processor_faults(subject.program)


def shared_chw_memory(subject: Subject) -> Iterator[Diagnostic]:
    """CHW channels in one memory instance."""
    for layer in subject.layers[:1]:
        layout = input_layout(layer)
        if layout.is_chw and len(layout.memories) < len(enabled(layout.processors)):
            message = f"{layer.title} reads CHW data with several processors of one memory instance"
            mend = f"write `processors: 0x{suggested_processors(layout):016x}`, every fourth processor"
            if layout.expected_processors > MEMORIES:
                mend = f"write `data_format: HWC`: there are {MEMORIES} memory instances, for as many CHW channels"
            elif (fed := _fed_by_fifo(subject, layer)) is not None:
                mend = f"write `processors: {fed:#018x}`, which FIFOs feed"
            why = "four processors share a memory, and a CHW word belongs to one channel"
            yield error("shared-chw-memory", message, layer.span_of("processors"), notes=(why,), help=mend)


def pass_through_processors(subject: Subject) -> Iterator[Diagnostic]:
    """Output processors of layers that move data within their quadrants."""
    for layer in subject.layers:
        yield from pass_through_faults(layer)


def depthwise_processors(subject: Subject) -> Iterator[Diagnostic]:
    """Depthwise layers that begin within a word."""
    for layer in subject.layers:
        if layer.convolution is None or layer.convolution.geometry.groups == 1:
            continue
        read, write = enabled(layer.placement.processors), enabled(layer.placement.output_processors)
        if write[0] % PROCESSORS_PER_MEMORY:
            message = f"{layer.title} is depthwise and its output begins at processor {write[0]}"
            mend = "begin at a multiple of four"
            yield error("depthwise-processors", message, layer.span_of("output_processors"), help=mend)
        if read[0] % PROCESSORS_PER_MEMORY and read[-1] - read[0] >= PROCESSORS_PER_QUADRANT:
            message = f"{layer.title} is depthwise over several quadrants and begins at processor {read[0]}"
            mend = "begin at a multiple of four"
            yield error("depthwise-processors", message, layer.span_of("processors"), help=mend)


def quadrant_0_unused(subject: Subject) -> Iterator[Diagnostic]:
    """Networks without the first quadrant."""
    if subject.layers and 0 not in used_quadrants(subject):
        message = "no layer uses a processor of quadrant 0 (processors 0 to 15)"
        why = "the vendor's loader generates no code for such a network"
        span = subject.layers[0].span_of("processors")
        yield error("quadrant-0-unused", message, span, notes=(why,), help="move the processors down")


def used_quadrants(subject: Subject) -> tuple[int, ...]:
    """The quadrants of which any layer uses a processor."""
    processors = 0
    for described in subject.network.layers:
        processors |= described.processors.value
    return quadrants_of(processors | subject.layers[-1].placement.output_processors)


def bias_group_unused(subject: Subject) -> Iterator[Diagnostic]:
    """Bias in a quadrant that is switched off."""
    if not subject.layers or subject.options.ignore_bias_groups:
        return
    used = used_quadrants(subject)
    for layer in subject.layers:
        others = [q for q in layer.placement.bias_groups if q not in used]
        if others:
            message = f"{layer.title}: `bias_group` names quadrant {others[0]}, which no layer uses"
            names = ", ".join(map(str, used))
            mend = f"the quadrants in use are {names}"
            yield error("bias-group-unused", message, layer.span_of("bias_group"), help=mend)


def fifo_channels(subject: Subject) -> Iterator[Diagnostic]:
    """More channels than FIFOs."""
    for layer in subject.layers[:1]:
        if not subject.has_fifo:
            return
        channels, is_chw = layer.operand_shape.channels, layer.placement.data_format == "chw"
        is_fast = subject.options.fast_fifo or subject.options.fast_fifo_quad
        limit = (1 if is_chw else 4) if is_fast else (4 if is_chw else 16)
        if channels > limit:
            message = f"{layer.title} reads {channels} channels by FIFO, at most {limit} are possible"
            mend = "load the sample into memory (leave out `--fifo`), or use fewer channels"
            yield error("fifo-channels", message, layer.span_of("processors"), help=mend)
