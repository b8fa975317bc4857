"""What several keys must fulfil together, as far as the description alone can tell.

Each rule is a function from the description to diagnostics; `RULES` is their list.
Sources: `spec/ARITHMETIC.md` ("Defaults and traps of the language"); vendor document, per-layer keys.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ai8xsim.diagnostics import Diagnostic, Span, closest, error, warning
from ai8xsim.network.description import ELEMENTWISE, Given, LayerDescription, NetworkDescription
from ai8xsim.network.values import INPUT, STOP, Reference

Rule = Callable[[NetworkDescription], Iterator[Diagnostic]]

RESERVED_NAMES = frozenset({"stop", "input"})


def check_description(network: NetworkDescription) -> Iterator[Diagnostic]:
    """Every finding of every rule."""
    for rule in RULES:
        yield from rule(network)


def _names(network: NetworkDescription) -> Iterator[Diagnostic]:
    seen: dict[str, Span] = {}
    named = [layer.name for layer in network.layers if layer.name]
    for given in sorted(named + [buffer.name for buffer in network.data_buffer], key=lambda g: g.span):
        name = given.value.lower()
        if name in RESERVED_NAMES:
            message = f"`{given.value}` is a reserved name"
            yield error("reserved-name", message, given.span, "reserved", help="choose another name")
        elif name in seen:
            where = f"the first one stands on line {seen[name].line}; upper and lower case count as the same"
            yield error(
                "duplicate-name", f"the name `{given.value}` is given twice", given.span, "", (where,)
            )
        seen.setdefault(name, given.span)


def _references(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        for given in (layer.next_sequence, layer.simulated_sequence):
            if given and given.value != STOP and _is_beyond(given.value, network):
                message = f"{layer.title} goes on to {given.value}, and the last layer is {_last(network)}"
                yield warning(
                    "sequence-beyond-end", message, given.span, "taken as `stop`", help="write `stop`"
                )
            elif given and given.value != STOP:
                yield from _unknown_layer(network, layer, given, given.value)
        for other in (layer.snoop_sequence, layer.weight_source):
            if other:
                yield from _unknown_layer(network, layer, other, other.value)
        for reference in layer.in_sequences.value if layer.in_sequences else ():
            if layer.in_sequences and reference != INPUT and network.find_buffer(reference) is None:
                yield from _unknown_layer(network, layer, layer.in_sequences, reference)


def _last(network: NetworkDescription) -> int:
    return network.layers[-1].number


def _is_beyond(reference: Reference, network: NetworkDescription) -> bool:
    return isinstance(reference.target, int) and reference.target > _last(network)


def _unknown_layer(
    network: NetworkDescription, layer: LayerDescription, given: Given[Any], reference: Reference
) -> Iterator[Diagnostic]:
    if network.find_layer(reference) is not None:
        return
    word = str(reference.target)
    names = [entry.name.value for entry in network.layers if entry.name]
    if given is layer.in_sequences:
        names += [buffer.name.value for buffer in network.data_buffer]
    meant = closest(word, names)
    numbers = ", ".join(str(entry.number) for entry in network.layers[:20])
    mend = f"did you mean `{meant}`?" if meant else f"the layers are numbered {numbers}"
    if names and not meant:
        mend += f"; the names are {', '.join(f'`{name}`' for name in names[:20])}"
    if isinstance(reference.target, int) and word in names:
        mend = f'without quotes a number counts the layers; write `"{word}"` for the layer of this name'
    elif word.isdecimal() and network.find_layer(Reference(int(word))):
        mend = f"write `{word}` without quotes for the layer of this number"
    elif "," in word and given is layer.in_sequences:
        mend = f"write a list: `[{word}]`"
    message = f"{layer.title}: `{given.key}` names {reference}, which is no layer"
    yield error("unknown-layer", message, given.span, help=mend)


def _operations(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.op is None:
            message = f"{layer.title} has no `op` and counts as Conv2d"
            mend = "write `op: conv2d`, or `op: passthrough` where it has no weights"
            yield warning("default-operation", message, layer.span, help=mend)
        if layer.has_convolution:
            continue
        if layer.activate and layer.activate.value != "none":
            message = f"{layer.title} has an activation and no convolution"
            why = "the activation belongs to the convolution's output stage"
            mend = f"remove `{layer.activate.key}`, or activate the layer before"
            span = layer.activate.span
            yield error("activation-without-convolution", message, span, "not possible here", (why,), mend)
        if layer.output_width and layer.output_width.value == "32":
            message = f"{layer.title} asks for 32-bit output without a convolution"
            yield error("wide-without-convolution", message, layer.output_width.span, "must be 8 here")
        if layer.pad and layer.pad.value:
            message = f"{layer.title} pads without a convolution"
            yield error("pad-without-convolution", message, layer.pad.span, "must be 0 here")
        if layer.dilation:
            message = f"{layer.title} dilates without a convolution"
            yield error("dilation-without-convolution", message, layer.dilation.key_span, help="remove it")


def _dilations(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.dilation and layer.operation == "convtranspose2d" and layer.dilation.value != (1, 1):
            message = f"{layer.title}: ConvTranspose2d is not dilated"
            yield error("dilation", message, layer.dilation.span, "must be 1", help="remove it")


def _kernels(network: NetworkDescription) -> Iterator[Diagnostic]:
    wanted = {"conv1d": 1, "conv2d": 2, "convtranspose2d": 2, "linear": 0}
    for layer in network.layers:
        given, operation = layer.kernel_size, layer.operation
        if given is None or operation not in wanted:
            continue
        size = "x".join(map(str, given.value))
        if operation == "linear":
            message = f"{layer.title}: Linear takes no `kernel_size`"
            yield error("kernel-size", message, given.key_span, "always 1x1", help="remove it")
        elif len(given.value) != wanted[operation]:
            mend = "write `3x3` or `1x1`"
            if operation == "conv1d":
                mend = f"write its length, such as `kernel_size: {given.value[0]}`"
            yield error(
                "kernel-size", f"{layer.title}: {operation} has no kernel of {size}", given.span, help=mend
            )
        elif operation == "convtranspose2d" and given.value != (3, 3):
            message = f"{layer.title}: ConvTranspose2d has no kernel of {size}"
            yield error("kernel-size", message, given.span, "must be 3x3")


def _strides(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        is_transposed = layer.operation == "convtranspose2d"
        fixed = 2 if is_transposed else 1
        if layer.stride and layer.stride.value != (fixed, fixed):
            message = f"{layer.title}: the stride of {layer.operation} is fixed to {fixed}"
            mend = "" if is_transposed else "to step by more, pool before the convolution with `pool_stride`"
            yield error("stride", message, layer.stride.span, f"must be {fixed}", help=mend)
        if is_transposed and layer.output_pad and layer.output_pad.value != 1:
            message = f"{layer.title}: the output padding of ConvTranspose2d is fixed to 1"
            yield error("output-pad", message, layer.output_pad.span, "must be 1")


def _pooling(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        pool = layer.max_pool or layer.avg_pool
        if layer.max_pool and layer.avg_pool:
            message = f"{layer.title} pools twice: `max_pool` and `avg_pool`"
            why = "as in the vendor's loader the max pool is done and the average pool is not"
            yield warning(
                "two-pools", message, layer.avg_pool.key_span, "ignored", (why,), "remove one of them"
            )
        if pool and layer.pool_stride is None and pool.value != (1, 1):
            message = f"{layer.title} pools without `pool_stride`"
            mend = f"write `pool_stride: {pool.value[0]}` for windows that do not overlap"
            yield warning("default-pool-stride", message, pool.span, "moves by 1", help=mend)
        if layer.pool_dilation and not pool:
            message = f"{layer.title} has `pool_dilation` and no pool"
            yield error("pool-dilation-without-pool", message, layer.pool_dilation.key_span, help="remove it")


def _one_elementwise(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if (
            layer.op
            and layer.eltwise
            and layer.operation in ELEMENTWISE
            and layer.operation != layer.eltwise.value
        ):
            message = f"{layer.title} has two element-wise operations: `{layer.op.value}` and `{layer.eltwise.value}`"
            yield error("two-eltwise", message, layer.eltwise.span, help="keep one of them")


def _without_effect(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.has_convolution:
            continue
        if layer.output_shift and layer.output_shift.value:
            message = f"{layer.title} shifts without a convolution"
            why = "the shift belongs to the convolution's output stage"
            span = layer.output_shift.span
            yield error("shift-without-convolution", message, span, "must be 0 here", (why,), "remove it")
        for given in (layer.quantization, layer.groups):
            if given and given.value not in {0, 1}:
                message = f"{layer.title}: `{given.key}` has no effect without a convolution"
                yield warning("no-effect", message, given.key_span, "ignored", help="remove it")


def _wide_buffers(network: NetworkDescription) -> Iterator[Diagnostic]:
    for buffer in network.data_buffer:
        if buffer.width and buffer.width.value == "32":
            message = f"the data buffer `{buffer.name.value}`: `width` has no effect, layers read 8 bits"
            yield warning("no-effect", message, buffer.width.span, "ignored", help="remove it")


def _elementwise(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.operands and layer.elementwise is None:
            message = f"{layer.title} has `operands` and no element-wise operation"
            mend = "add `eltwise: add`, or remove it"
            yield error("operands-without-eltwise", message, layer.operands.key_span, help=mend)
        pools = [given for given in (layer.max_pool, layer.avg_pool) if given and given.value != (1, 1)]
        if layer.pool_first and not layer.pool_first.value and not (pools and layer.elementwise):
            message = f"{layer.title}: `pool_first: false` needs a pool and an element-wise operation"
            yield error(
                "pool-first", message, layer.pool_first.key_span, "nothing to order", help="remove it"
            )


def _defaults(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.out_offset is None:
            message = f"{layer.title} has no `out_offset` and writes at 0"
            mend = "write the `out_offset` that is meant: `0x0000`, or where nothing else lies"
            yield warning("default-out-offset", message, layer.span, help=mend)
        if layer.in_channel_skip and layer.in_channel_skip.value:
            message = f"{layer.title}: `in_channel_skip` has no effect"
            yield warning("no-effect", message, layer.in_channel_skip.key_span, "ignored", help="remove it")


def _default_padding(network: NetworkDescription) -> Iterator[Diagnostic]:
    """The loader's default lists are shared: a Conv1d without `pad` changes every other default padding."""
    unpadded = [layer for layer in network.layers if layer.pad is None]
    culprits = [layer for layer in unpadded if layer.operation == "conv1d"]
    for layer in culprits:
        message = f"{layer.title} is a Conv1d without `pad` and is padded by 1"
        why = "the vendor's document says that the default is 3, its loader uses 1"
        yield warning("default-pad", message, layer.span, notes=(why,), help=_usual_pad(layer))
    for layer in unpadded:
        if culprits and layer.operation in {"conv2d", "convtranspose2d"}:
            message = f"{layer.title} has no `pad`: 1 is meant, the vendor's loader would pad rows only"
            why = f"its default is shared with {culprits[0].title}, a Conv1d without `pad`"
            yield warning("shared-default-pad", message, layer.span, notes=(why,), help=_usual_pad(layer))


def _usual_pad(layer: LayerDescription) -> str:
    """The padding to state where the default was meant, or the one without which the layer is a fault."""
    taps = layer.kernel_size.value[0] if layer.kernel_size else 9 if layer.operation == "conv1d" else 3
    dilation = layer.dilation.value[0] if layer.dilation else 1
    is_wide = layer.operation == "conv1d" and dilation > 1 and (taps - 1) * dilation >= 9
    return f"write `pad: {0 if taps == 1 or is_wide else 1}`"


def _weight_sources(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        if layer.weight_source is None:
            continue
        for given in (layer.output_shift, layer.quantization):
            if given:
                message = f"{layer.title}: `{given.key}` has no effect beside `weight_source`"
                why = "weights, bias and shift are those of the source"
                yield warning("no-effect", message, given.key_span, "ignored", (why,), "remove it")


def _buffers(network: NetworkDescription) -> Iterator[Diagnostic]:
    for layer in network.layers:
        reads = [network.find_buffer(r) for r in layer.in_sequences.value] if layer.in_sequences else []
        if layer.buffer_shift and (len(reads) != 1 or reads[0] is None):
            message = f"{layer.title}: `buffer_shift` needs `in_sequences` with the name of one data buffer"
            yield error("buffer-shift", message, layer.buffer_shift.key_span, help=_buffer_names(network))
        if layer.buffer_shift and layer.has_convolution:
            message = f"{layer.title}: `buffer_shift` needs a pass-through layer"
            mend = f"write `{layer.op.key if layer.op else 'op'}: passthrough`"
            yield error("buffer-shift", message, layer.buffer_shift.key_span, help=mend)
        if layer.buffer_shift and layer.buffer_insert:
            message = f"{layer.title} shifts a data buffer and inserts into one"
            mend = "shift in a layer of its own, before the one that inserts"
            yield error("buffer-insert", message, layer.buffer_insert.key_span, help=mend)
        if layer.buffer_insert and not network.data_buffer:
            message = f"{layer.title}: `buffer_insert` has no data buffer to write to"
            yield error("buffer-insert", message, layer.buffer_insert.key_span, help="add `data_buffer`")


def _buffer_names(network: NetworkDescription) -> str:
    names = ", ".join(f"`{buffer.name.value}`" for buffer in network.data_buffer)
    return f"the data buffers are {names}" if names else "add a `data_buffer`"


RULES: tuple[Rule, ...] = (
    _names,
    _references,
    _operations,
    _dilations,
    _kernels,
    _strides,
    _pooling,
    _elementwise,
    _one_elementwise,
    _without_effect,
    _defaults,
    _default_padding,
    _weight_sources,
    _buffers,
    _wide_buffers,
)
