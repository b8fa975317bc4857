"""FIFOs and streaming, as far as the description alone can tell."""

from collections.abc import Iterator
from types import MappingProxyType

from ai8xsim.diagnostics import Diagnostic, error, note
from ai8xsim.layout import enabled
from ai8xsim.network import STOP, LayerDescription
from ai8xsim.program.weights import kernel_size_of
from ai8xsim.rules.subject import Subject

HWC_FIFO_PROCESSORS = 0x000F_000F_000F_000F
CHW_FIFO_PROCESSORS = 0x0001_0001_0001_0001
FAST_FIFO_PROCESSORS = 0x0001_0001_0001_000F
FIFO_NAMES = MappingProxyType(
    {
        HWC_FIFO_PROCESSORS: "0-3, 16-19, 32-35, 48-51",
        CHW_FIFO_PROCESSORS: "0, 16, 32, 48",
        FAST_FIFO_PROCESSORS: "0-3, or 0, 16, 32, 48",
    }
)


def _streaming(subject: Subject) -> list[LayerDescription]:
    return [layer for layer in subject.network.layers if subject.streams(layer)]


def too_many_streaming_layers(subject: Subject) -> Iterator[Diagnostic]:
    """More streaming layers than stream registers."""
    layers, limit = _streaming(subject), subject.device.streaming_layers
    given = layers[limit].streaming if len(layers) > limit else None
    if given:
        message = f"{len(layers)} layers stream, the {subject.device} can do {limit}"
        yield error("too-many-streaming-layers", message, given.span, help="remove it here")


def late_streaming(subject: Subject) -> Iterator[Diagnostic]:
    """Streaming that begins behind the first layer."""
    layers = subject.network.layers
    for layer in _streaming(subject):
        before = layers[layer.index - 1]
        if layer.index > subject.first.index and not subject.streams(before) and layer.streaming:
            message = f"{layer.title} streams, and {before.title} before it does not"
            mend = "let all layers up to this one stream, or none"
            yield error("late-streaming", message, layer.streaming.span, help=mend)


def streaming_without_fifo(subject: Subject) -> Iterator[Diagnostic]:
    """Streaming from memory."""
    first = subject.first
    if subject.streams(first) and first.streaming and not subject.has_fifo:
        message = f"{first.title} streams, and no FIFO feeds it"
        yield error("streaming-without-fifo", message, first.streaming.span, help="add `--fifo`")


def streaming_jump(subject: Subject) -> Iterator[Diagnostic]:
    """A streaming layer that is not followed by the next one."""
    layers = subject.network.layers
    for layer in _streaming(subject):
        given = layer.next_sequence
        if given is None or layer.index + 1 == len(layers):
            continue
        if given.value == STOP or subject.network.find_layer(given.value) != layers[layer.index + 1]:
            message = f"{layer.title} streams and does not go on to {layers[layer.index + 1].title}"
            yield error("streaming-jump", message, given.span, help="remove it")


def streaming_padding(subject: Subject) -> Iterator[Diagnostic]:
    """The end of a stream on the MAX78000."""
    layers = _streaming(subject)
    if not layers or subject.device.supports_read_ahead:
        return
    last = layers[-1]
    if last.pad and last.pad.value == 0 and last.has_convolution and not _is_emulated(last):
        message = f"{last.title} is the last streaming layer and has no padding"
        yield error("streaming-padding", message, last.pad.span, help="write `pad: 1`")


def _is_emulated(layer: LayerDescription) -> bool:
    return layer.operation in {"conv2d", "linear"} and kernel_size_of(layer) == (1, 1)


def streaming_pass_through(subject: Subject) -> Iterator[Diagnostic]:
    """Streaming without a convolution on the MAX78002."""
    for layer in _streaming(subject):
        if not layer.has_convolution and subject.device.supports_read_ahead and layer.streaming:
            message = f"{layer.title} streams and does not convolve"
            yield error(
                "streaming-pass-through", message, layer.streaming.span, help="do not stream this layer"
            )


def streaming_1x1(subject: Subject) -> Iterator[Diagnostic]:
    """1x1 kernels that run as 3x3."""
    for layer in _streaming(subject):
        if layer.operation == "conv2d" and kernel_size_of(layer) == (1, 1) and layer.kernel_size:
            message = f"{layer.title} streams: its 1x1 kernel runs as a 3x3 kernel with padding"
            why = "it takes nine times the weight memory"
            yield note("streaming-1x1", message, layer.kernel_size.span, notes=(why,))


def fifo_processors(subject: Subject) -> Iterator[Diagnostic]:
    """Processors that no FIFO feeds."""
    first = subject.first
    if not subject.has_fifo:
        return
    allowed = _allowed(subject)
    others = enabled(first.processors.value & ~allowed)
    fed = fed_processors(subject, first.processors.value.bit_count())
    if others and fed is not None:
        message = f"{first.title} reads by FIFO with processor {others[0]}, which no FIFO feeds"
        mend = f"write `processors: {fed:#018x}`, among the processors {FIFO_NAMES[allowed]}"
        yield error("fifo-processors", message, first.processors.span, help=mend)


def fed_processors(subject: Subject, count: int) -> int | None:
    """So many processors that FIFOs can feed, as a map; None where there are fewer."""
    allowed = _allowed(subject)
    fed = enabled(allowed)[:count]
    return sum(1 << processor for processor in fed) if len(fed) == count else None


def _allowed(subject: Subject) -> int:
    """The processors that FIFOs can feed."""
    first = subject.first
    if first.data_format is not None and first.data_format.value == "chw":
        return CHW_FIFO_PROCESSORS
    is_fast = subject.options.fast_fifo or subject.options.fast_fifo_quad
    return FAST_FIFO_PROCESSORS if is_fast else HWC_FIFO_PROCESSORS


def fifo_start(subject: Subject) -> Iterator[Diagnostic]:
    """FIFO or streaming with another start layer."""
    if subject.options.start_layer and (subject.has_fifo or _streaming(subject)):
        message = f"execution starts at layer {subject.options.start_layer}; FIFOs and streaming start at 0"
        yield error("fifo-start", message, help="leave out `--start-layer`")


def fast_fifo_convolution(subject: Subject) -> Iterator[Diagnostic]:
    """A pass-through behind the fast FIFO."""
    first = subject.first
    if (subject.options.fast_fifo or subject.options.fast_fifo_quad) and not first.has_convolution:
        message = f"{first.title} is fed by the fast FIFO and does not convolve"
        yield error(
            "fast-fifo-convolution", message, (first.op or first.processors).span, help="use `--fifo`"
        )
