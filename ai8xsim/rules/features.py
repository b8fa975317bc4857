"""What a device does not have, as far as the description alone can tell."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ai8xsim.device import MAX78002, WORD_BYTES, Device
from ai8xsim.diagnostics import Diagnostic, error
from ai8xsim.layout import pass_count
from ai8xsim.network import STOP, DataBufferDescription, Given, LayerDescription
from ai8xsim.program.weights import kernel_size_of
from ai8xsim.rules.subject import Subject


def too_many_layers(subject: Subject) -> Iterator[Diagnostic]:
    """More layers than registers."""
    layers, limit = subject.network.layers, subject.device.layers
    if len(layers) > limit:
        message = f"the network has {len(layers)} layers, the {subject.device} holds {limit}"
        label = f"{len(layers) - limit} too many from here on"
        mend = "pool and combine in the layer that convolves, so that these need no layer of their own"
        yield error("too-many-layers", message, layers[limit].span, label, help=mend)


class _Feature(NamedTuple):
    key: str
    is_used: Callable[[Any], bool]
    is_there: Callable[[Device], bool]


_FEATURES = (
    _Feature("groups", lambda value: value != 1, lambda device: device.supports_depthwise),
    _Feature("pool_dilation", lambda value: value != (1, 1), lambda device: device.pool_dilation > 1),
    _Feature("read_gap", lambda value: value > 0, lambda device: device.supports_read_gap),
    _Feature("quantization", lambda value: isinstance(value, str), lambda d: d.supports_binary_weights),
    _Feature("bypass", bool, lambda device: device.supports_bypass),
    _Feature("readahead", bool, lambda device: device.supports_read_ahead),
    _Feature("calcx4", bool, lambda device: device.supports_calcx4),
    _Feature("simulated_sequence", lambda value: True, lambda device: device.supports_link_layers),
    _Feature("snoop_sequence", lambda value: True, lambda device: device.supports_snoop),
)


def not_on_device(subject: Subject) -> Iterator[Diagnostic]:
    """Keys that ask for what the device lacks."""
    device = subject.device
    for layer in subject.network.layers:
        for feature in _FEATURES:
            given: Given[Any] | None = getattr(layer, feature.key)
            if given and feature.is_used(given.value) and not feature.is_there(device):
                yield _missing(subject, f"{layer.title}: `{given.key}`", given)
        if layer.operation == "conv2d" and layer.dilation and max(layer.dilation.value) > device.dilation_2d:
            yield _missing(subject, f"{layer.title}: `dilation` of a Conv2d", layer.dilation)
        if not device.supports_link_layers and layer.next_sequence and jumps(subject, layer):
            yield _missing(subject, f"{layer.title}: `next_sequence`", layer.next_sequence)
    if subject.network.snoop and not device.supports_snoop:
        yield _missing(subject, "`snoop`", subject.network.snoop)
    if subject.options.start_layer and not device.supports_start_layer:
        yield error("not-on-device", f"the {device} cannot start at another layer than 0")


def jumps(subject: Subject, layer: LayerDescription) -> bool:
    """Whether `next_sequence` says anything else than what happens anyway."""
    assert layer.next_sequence is not None
    layers = subject.network.layers
    if layer.next_sequence.value == STOP:
        return False
    is_last = layer.index == len(layers) - 1
    return is_last or subject.network.find_layer(layer.next_sequence.value) != layers[layer.index + 1]


def _missing(subject: Subject, what: str, given: Given[Any]) -> Diagnostic:
    message = f"{what} is not supported by the {subject.device}"
    mend = (
        "remove it" if subject.device == MAX78002 else "remove it, or take the MAX78002 (`--device MAX78002`)"
    )
    return error("not-on-device", message, given.span, f"not on the {subject.device}", help=mend)


def elementwise_conv1d(subject: Subject) -> Iterator[Diagnostic]:
    """Operands in front of a Conv1d."""
    for layer in subject.network.layers:
        if layer.operation == "conv1d" and layer.eltwise:
            message = f"{layer.title}: an element-wise operation cannot be combined with Conv1d"
            mend = f"write a layer `op: {layer.eltwise.value}` before this one"
            yield error("elementwise-conv1d", message, layer.eltwise.span, help=mend)


def conv1d_dilation(subject: Subject) -> Iterator[Diagnostic]:
    """Dilations of a Conv1d that no hardware can do."""
    limit = subject.device.dilation_1d
    for layer in subject.network.layers:
        if layer.operation != "conv1d" or layer.dilation is None:
            continue
        taps, dilation, span = kernel_size_of(layer)[0], layer.dilation.value[0], layer.dilation.span
        reach = (taps - 1) * dilation
        why = (f"({taps} taps - 1) * {dilation} = {reach}; below 9 the kernel is stretched by zeros",)
        if dilation > limit:
            message = f"{layer.title} is dilated by {dilation}, the {subject.device} can do {limit}"
            yield error("conv1d-dilation", message, span)
        elif reach >= 9 and taps > 3:
            message = f"{layer.title}: a kernel of {taps} cannot be dilated by {dilation}"
            mend = f"use `dilation: {8 // (taps - 1)}` at most, or a kernel of 3 at most"
            yield error("conv1d-dilation", message, span, notes=why, help=mend)
        elif reach >= 9:
            if layer.pad is None:
                message = (
                    f"{layer.title}: dilated by {dilation}, a Conv1d cannot be padded, and the default is 1"
                )
                yield error("conv1d-dilation", message, span, notes=why, help="write `pad: 0`")
            for obstacle in _obstacles(layer):
                message = f"{layer.title}: dilated by {dilation}, a Conv1d cannot have `{obstacle.key}`"
                yield error("conv1d-dilation", message, obstacle.key_span, notes=why, help=_without(obstacle))


def _without(obstacle: Given[Any]) -> str:
    return "write `pad: 0`" if obstacle.key == "pad" else "remove it"


def _obstacles(layer: LayerDescription) -> Iterator[Given[Any]]:
    """What a widely dilated Conv1d cannot be combined with."""
    pools = [given for given in (layer.max_pool, layer.avg_pool, layer.pool_stride) if given]
    yield from (given for given in pools if max(given.value) > 1)
    if layer.pad and layer.pad.value > 0:
        yield layer.pad
    flags = (layer.flatten, layer.readahead, layer.streaming, layer.bypass)
    yield from (given for given in flags if given and given.value)


def pad_and_kernel(subject: Subject) -> Iterator[Diagnostic]:
    """Padding that hides whole windows, whether it is stated or the default."""
    for layer in subject.network.layers:
        if layer.operation not in {"conv1d", "conv2d", "linear"}:
            continue
        default = 0 if layer.operation == "linear" else 1
        pad = layer.pad.value if layer.pad else default
        kernel = min(kernel_size_of(layer)) if layer.operation != "conv1d" else kernel_size_of(layer)[0]
        if pad < kernel:
            continue
        mend = f"write `pad: {kernel - 1}`"
        if layer.pad is None:
            message = f"{layer.title} has no `pad` and pads by {pad}, its kernel has {kernel}"
        else:
            message = f"{layer.title} pads by {pad}, its kernel has {kernel}"
            mend += " or a larger kernel" if kernel < 3 and layer.operation != "linear" else ""
        span = (layer.pad or layer.kernel_size or layer.processors).span
        yield error("pad-and-kernel", message, span, help=mend)


def flatten_combination(subject: Subject) -> Iterator[Diagnostic]:
    """What stands beside `flatten` and cannot."""
    for layer in subject.network.layers:
        if not layer.is_flattened or layer.flatten is None:
            continue
        pool = layer.max_pool or layer.avg_pool
        if not layer.has_convolution:
            message = f"{layer.title} flattens without a convolution"
            mend = "flatten in the Linear layer that follows"
            yield error("flatten-combination", message, layer.flatten.span, help=mend)
        if pool and pool.value != (1, 1):
            message = f"{layer.title} pools and flattens"
            yield error("flatten-combination", message, pool.key_span, help="pool in the layer before")
        if subject.streams(layer) and layer.streaming:
            message = f"{layer.title} streams and flattens"
            yield error("flatten-combination", message, layer.streaming.span, help="do not stream this layer")


def hidden_chw(subject: Subject) -> Iterator[Diagnostic]:
    """CHW behind the first layer."""
    for layer in subject.network.layers:
        given = layer.data_format
        if given and given.value == "chw" and layer.index != subject.first.index:
            message = f"{layer.title}: only the first layer can read CHW data"
            yield error("hidden-chw", message, given.span, "layers write HWC", help="remove it")


def buffer_address(subject: Subject) -> Iterator[Diagnostic]:
    """Layers that read or write a data buffer and do not say where."""
    network = subject.network
    for layer in network.layers:
        references = layer.in_sequences.value if layer.in_sequences else ()
        read = [buffer for buffer in map(network.find_buffer, references) if buffer]
        missing = {}
        if read and layer.in_offset is None:
            missing["in_offset"] = f"{_first_row_read(layer, read[0]):#06x}"
        if read and layer.in_dim is None:
            missing["in_dim"] = _rows_read(layer, read[0])
        if layer.buffer_insert and layer.out_offset is None:
            missing["out_offset"] = _rows_written(subject, layer)
        for key, value in missing.items():
            message = f"{layer.title} uses a data buffer and does not state `{key}`"
            why = "the buffer lies where its own `offset` says, not where the layer before writes"
            mend = f"add `{key}: {value}`" if value else f"add `{key}`"
            yield error("buffer-address", message, layer.span, notes=(why,), help=mend)


def _row_bytes(buffer: DataBufferDescription) -> int:
    """The bytes of a buffer's row in each memory instance."""
    columns = (*buffer.dim.value, 1)[1]
    return columns * pass_count(buffer.channels.value) * WORD_BYTES


def _first_row_read(layer: LayerDescription, buffer: DataBufferDescription) -> int:
    skipped = layer.buffer_shift.value if layer.buffer_shift else 0
    return buffer.offset.value + skipped * _row_bytes(buffer)


def _rows_read(layer: LayerDescription, buffer: DataBufferDescription) -> str:
    rows, *columns = buffer.dim.value
    rows -= layer.buffer_shift.value if layer.buffer_shift else 0
    return f"[{rows}, {columns[0]}]" if columns else f"{rows}"


def _rows_written(subject: Subject, layer: LayerDescription) -> str:
    """Where the last rows of the buffer begin; "" where it is not clear which buffer is meant."""
    written = layer.output_processors.value if layer.output_processors else None
    buffers = [b for b in subject.network.data_buffer if b.processors.value == written]
    buffers = buffers or list(subject.network.data_buffer)
    if len(buffers) != 1 or layer.buffer_insert is None:
        return ""
    rows = buffers[0].dim.value[0] - layer.buffer_insert.value
    return f"{buffers[0].offset.value + rows * _row_bytes(buffers[0]):#06x}" if rows >= 0 else ""


def unaligned_offset(subject: Subject) -> Iterator[Diagnostic]:
    """Offsets that are no multiple of a word."""
    network = subject.network
    given = [(layer.title, g) for layer in network.layers for g in (layer.in_offset, layer.out_offset) if g]
    given += [(f"the data buffer `{buffer.name.value}`", buffer.offset) for buffer in network.data_buffer]
    given += [(f"`unload` entry {number}", entry.offset) for number, entry in enumerate(network.unload)]
    for title, offset in given:
        if offset.value % 4:
            message = f"{title}: `{offset.key}` is {offset.value:#06x}, no multiple of 4"
            why = "offsets are counted in words of 4 bytes; the rest is lost"
            mend = f"write `{offset.key}: {offset.value & ~3:#06x}` or `{offset.value + 3 & ~3:#06x}`"
            yield error("unaligned-offset", message, offset.span, notes=(why,), help=mend)
