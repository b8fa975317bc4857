"""The memories in the terminal: who lies where, how long, and what is free."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from ai8xsim.device import PROCESSORS
from ai8xsim.diagnostics import printable
from ai8xsim.layout import DataLayout, enabled
from ai8xsim.machine.ledger import SAMPLE
from ai8xsim.machine.lives import Live, lives
from ai8xsim.machine.places import input_layout, is_streamed, output_layout, streams_on
from ai8xsim.memory import plan_bias, plan_weights, quadrants_of, weight_capacity
from ai8xsim.program import Layer, Program
from ai8xsim.report.terminal import console, plain_table, print_table
from ai8xsim.rules.needs import bias_needs, compute_words, weight_needs

CELLS = 32


def print_memory_map(program: Program) -> None:
    """The data memories while each layer runs, and where its weights and its bias lie."""
    device = program.device
    parts = (
        (f"data memory: 16 instances of {device.data_memory_bytes:,} bytes", place_table(program)),
        (
            f"the instances one over another, in cells of {device.data_memory_bytes // CELLS:,} bytes:\n"
            "i input, o output, * both, # other data that is still needed, x such data lost, . free",
            picture_table(program),
        ),
        (
            f"weight memory: words of 72 bits, {device.weight_memory_kernels} a processor",
            weight_table(program),
        ),
        (f"bias memory: {device.bias_memory_bytes} bytes a quadrant", bias_table(program)),
    )
    screen = console()
    for title, table in parts:
        screen.print(title, highlight=False, soft_wrap=True)
        print_table(screen, table)


def place_table(program: Program) -> Table:
    """Where each layer reads and writes (offsets, and the instances), and the words that wait in each processor."""
    table = plain_table("layer", "name", "input", "output", "TRAM words")
    for layer in program.layers:
        places = (_range(program, layer, is_input=is_input) for is_input in (True, False))
        words = compute_words(layer) * input_layout(layer).passes
        table.add_row(str(layer.index), Text(printable(layer.name or "")), *places, str(words))
    return table


def picture_table(program: Program) -> Table:
    """How long each layer's output is needed, what it is written over, and what else lives while the layer runs."""
    table = plain_table("layer", "lives until", "overwrites", "free", "picture")
    everything = lives(program)
    for place, layer in enumerate(program.layers):
        alive = [live for live in everything if live.born < place <= live.dies]
        own = next((live for live in everything if live.writer == layer.index), None)
        lost = _lost(program, everything, layer, place)
        table.add_row(
            str(layer.index),
            _until(program, own),
            ", ".join(_name(live.writer) for live in lost),
            f"{_free(program, alive, own):,}",
            _picture(program, layer, alive, lost),
        )
    return table


def _range(program: Program, layer: Layer, is_input: bool) -> str:
    layout = input_layout(layer) if is_input else output_layout(layer)
    if is_streamed(program, layer) if is_input else streams_on(program, layer):
        return "streams"
    return f"{layout.offset:#06x}-{layout.offset + layout.size_bytes:#06x} in {_memories(layout)}"


def _memories(layout: DataLayout) -> str:
    """Instances as ranges: 0-3,8."""
    parts: list[list[int]] = []
    for memory in layout.memories:
        if parts and memory == parts[-1][-1] + 1:
            parts[-1].append(memory)
        else:
            parts.append([memory])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _until(program: Program, live: Live | None) -> str:
    if live is None:
        return ""
    return "the end" if live.dies >= len(program.layers) else f"layer {program.layers[live.dies].index}"


def _name(writer: int) -> str:
    if writer >= 0:
        return f"layer {writer}"
    return "sample" if writer == SAMPLE else "buffer"


def _lost(program: Program, everything: Iterable[Live], layer: Layer, place: int) -> list[Live]:
    """Data that is still needed behind this layer and lies, at least in part, where it writes."""
    if streams_on(program, layer) or layer.buffer_update is not None:
        return []
    written = output_layout(layer)
    return [
        live for live in everything if live.born < place < live.dies and _hits(live.layout, written, program)
    ]


def _hits(one: DataLayout, other: DataLayout, program: Program) -> bool:
    if not (one.is_complete and other.is_complete):
        return False
    size = program.device.data_memory_bytes
    ours, theirs = (set(layout.addresses(size).ravel().tolist()) - {-1} for layout in (one, other))
    return bool(ours & theirs)


def _free(program: Program, alive: Sequence[Live], own: Live | None) -> int:
    """The bytes that are free in the fullest memory instance."""
    spans = [*alive, *([own] if own else [])]
    fullest = 0
    for memory in range(16):
        taken = sorted((s.start, s.end) for s in spans if memory in s.layout.memories)
        used = end = 0
        for start, stop in taken:
            used += max(0, stop - max(start, end))
            end = max(end, stop)
        fullest = max(fullest, used)
    return max(0, program.device.data_memory_bytes - fullest)


def _picture(program: Program, layer: Layer, alive: Sequence[Live], lost: Sequence[Live]) -> str:
    """The instance that the layer's input begins in, in cells."""
    cell = program.device.data_memory_bytes // CELLS
    cells = ["."] * CELLS
    others = [live for live in alive if live.writer not in {entry.index for entry in layer.inputs}]
    for live in others:
        _mark(cells, live.start, live.end, cell, "x" if live in lost else "#")
    if not is_streamed(program, layer):
        read = input_layout(layer)
        _mark(cells, read.offset, read.offset + read.size_bytes, cell, "i")
    if not streams_on(program, layer):
        write = output_layout(layer)
        _mark(cells, write.offset, write.offset + write.size_bytes, cell, "o")
    return "".join(cells)


def _mark(cells: list[str], start: int, end: int, cell: int, sign: str) -> None:
    for number in range(start // cell, min(len(cells), -(-end // cell))):
        cells[number] = "*" if sign == "o" and cells[number] == "i" else sign


def weight_table(program: Program) -> Table:
    """Where each layer's kernels lie, and how full the weight memories are behind it."""
    table = plain_table("layer", "name", "bits", "kernels", "words", "from", "processors", "filled")
    needs = weight_needs(program)
    layers = {layer.index: layer for layer in program.layers}
    used = [0] * PROCESSORS
    for place in plan_weights(program.device, needs):
        need = place.need
        for processor in enabled(need.processors) if place.first is not None else ():
            used[processor] += place.words
        share = max(used[p] / weight_capacity(program.device, p) for p in range(PROCESSORS))
        table.add_row(
            str(place.layer),
            Text(printable(layers[place.layer].name or "")),
            str(need.bits),
            str(need.kernels),
            str(place.words),
            "no room" if place.first is None else str(place.first),
            f"{need.processors:#018x}",
            f"{share:.0%}",
        )
    return table


def bias_table(program: Program) -> Table:
    """Where each layer's bias lies."""
    table = plain_table("layer", "name", "bytes", "quadrant", "from")
    layers = {layer.index: layer for layer in program.layers}
    processors = program.layers[-1].placement.output_processors
    for layer in program.layers:
        processors |= layer.placement.processors
    for place in plan_bias(program.device, bias_needs(program, quadrants_of(processors))):
        first = "no room" if place.first is None else str(place.first)
        name = Text(printable(layers[place.layer].name or ""))
        table.add_row(str(place.layer), name, str(place.need.size), str(place.quadrant), first)
    return table
