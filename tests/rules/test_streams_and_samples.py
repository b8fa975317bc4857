"""Data that passes by: samples that arrive by FIFO, rows that stream through rings; and where the sample lies."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002, Machine, Options, Severity, check
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.device import Device
from ai8xsim.machine import ledger
from ai8xsim.machine.rings import rings

from ..simulator.small_programs import network_of, program_of, random_int8, stored_layer

KERNEL = np.ones((4, 4, 3, 3), np.int64)
FIFO = Options(fifo=True)


def errors(
    layers: str, options: Options, device: Device = MAX78000, buffers: str = ""
) -> list[tuple[str, str, str]]:
    """Code, message and help of each error, with a kernel of 4x4x3x3 for each convolution."""
    count = layers.count("conv2d")
    stored = tuple(stored_layer(f"layer{n}", KERNEL) for n in range(count))
    found = check(
        network_of(layers, buffers), device, Checkpoint("x", None, None, stored), np.zeros((4, 8, 8)), options
    )
    return [(d.code, d.message, d.help) for d in found if d.severity is Severity.ERROR]


TWICE = """
- {processors: 0xf, op: conv2d, out_offset: 0x1000}
- {processors: 0xf, op: conv2d, in_sequences: input, in_offset: 0, out_offset: 0x2000}
"""


def test_a_sample_in_memory_can_be_read_twice() -> None:
    assert errors(TWICE, Options()) == []


def test_a_sample_that_came_by_fifo_cannot() -> None:
    ((code, message, help_),) = errors(TWICE, FIFO)
    assert code == "not-kept"
    assert message == "layer 1 reads the sample, which arrived by FIFO and is not kept in memory"
    assert "leave out `--fifo`" in help_
    program = program_of(TWICE, KERNEL, KERNEL, input_shape=(4, 8, 8), device=MAX78000, options=FIFO)
    trace = Machine(program).run(random_int8(1, 4, 8, 8))
    assert {m.reader for m in trace.misreads[0]} == {1}
    assert not trace[1].output.any()


def test_streaming_needs_the_fifo_so_both_must_go() -> None:
    ((_, _, help_),) = errors(TWICE.replace("op: conv2d, out", "op: conv2d, streaming: true, out", 1), FIFO)
    assert help_ == "leave out `--fifo` and `streaming`: the sample is then loaded into memory"


STREAM = """
- {processors: 0xf, op: conv2d, streaming: true, out_offset: 0x1000}
- {processors: 0xf, op: conv2d, streaming: true, out_offset: 0x2000}
- {processors: 0xf, op: conv2d, in_sequences: LAYER, in_offset: OFFSET, out_offset: 0x3000}
"""


def stream(layer: int, offset: int) -> str:
    return STREAM.replace("LAYER", str(layer)).replace("OFFSET", f"{offset:#x}")


def test_the_last_streaming_layer_writes_to_memory() -> None:
    assert errors(stream(1, 0x2000), FIFO) == []


def test_what_streams_on_is_not_in_memory_for_a_later_layer() -> None:
    ((code, message, help_),) = errors(stream(0, 0x1000), FIFO)
    assert code == "not-kept"
    assert (
        message
        == "layer 2 reads the output of layer 0, which streams on to layer 1 and is not kept in memory"
    )
    assert help_ == "remove `streaming` from layer 1 and the layers behind it"
    program = program_of(
        stream(0, 0x1000), KERNEL, KERNEL, KERNEL, input_shape=(4, 8, 8), device=MAX78000, options=FIFO
    )
    assert {m.reader for m in Machine(program).run(random_int8(1, 4, 8, 8)).misreads[0]} == {2}


def test_what_streams_on_cannot_be_unloaded() -> None:
    layers = stream(1, 0x2000).replace("out_offset: 0x1000", "out_offset: 0x1000, output: true")
    ((code, message, _),) = errors(layers, FIFO)
    assert code == "not-kept"
    assert "layer 0, an output of the network, streams on to layer 1" in message
    program = program_of(layers, KERNEL, KERNEL, KERNEL, input_shape=(4, 8, 8), device=MAX78000, options=FIFO)
    assert {m.wanted for m in Machine(program).run(random_int8(1, 4, 8, 8)).misreads[0]} == {0}


BUFFER = "- {processors: 0xf, dim: [8, 8], channels: 4, offset: 0x4000, name: past}"
BUFFER_FIRST = """
- {processors: 0xf, op: none, in_sequences: past, in_offset: 0x4000, in_dim: [8, 8], out_offset: 0x1000}
- {processors: 0xf, op: conv2d, in_sequences: input, in_offset: 0x4000, out_offset: 0x2000}
"""


def test_the_sample_is_loaded_where_the_first_layer_reads_and_that_must_be_its_place() -> None:
    """The loader knows no other place for it than the first layer's."""
    ((code, message, help_),) = errors(BUFFER_FIRST, Options(), MAX78002, BUFFER)
    assert code == "sample-place"
    assert (
        message == "layer 0 is executed first and reads the data buffer `past`; the sample is loaded over it"
    )
    assert help_ == "let layer 1, which reads the sample, be executed first"


def streaming_beside_a_buffer(first: int, second: int, past: int) -> tuple[str, str]:
    """Two streaming layers, whose rings begin at `first` and `second`, and a reader of a data buffer."""
    layers = f"""
    - {{processors: 0xf, op: conv2d, streaming: true, in_offset: {first}, out_offset: {second}}}
    - {{processors: 0xf, op: conv2d, streaming: true, out_offset: 0x2000}}
    - {{processors: 0xf, op: none, in_sequences: past, in_offset: {past}, in_dim: [8, 8], out_offset: 0x3000}}
    """
    return layers, BUFFER.replace("0x4000", str(past))


WORDS = st.integers(0, 0x90).map(lambda n: 4 * n)


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, WORDS, st.sampled_from([MAX78000, MAX78002]))
def test_a_ring_may_not_lie_over_a_data_buffer(first: int, second: int, past: int, device: Device) -> None:
    """The rows that stream are written over what the buffer keeps; the offset that is advised is free."""
    layers, buffers = streaming_beside_a_buffer(first, second, past)
    program = program_of(
        layers, KERNEL, KERNEL, input_shape=(4, 8, 8), device=device, options=FIFO, buffers=buffers
    )
    over = [ring for ring in rings(program) if ring.start < past + 8 * 8 * 4 and past < ring.end]
    found = Machine(program).run(random_int8(1, 4, 8, 8)).misreads[0]
    assert {m.wanted for m in found} == ({ledger.BUFFER} if over else set())
    for _ in range(6):
        faults = errors(layers, FIFO, device, buffers)
        rings_over = [fault for fault in faults if fault[0] == "overwritten-data"]
        assert bool(rings_over) == bool(over)
        if not faults:
            return
        key, value, layer = advised(*(rings_over or faults)[0][1:])
        lines = layers.strip().splitlines()
        lines[layer] = re.sub(rf"{key}: \w+", f"{key}: {value}", lines[layer])
        layers = "\n".join(lines)
        program = program_of(
            layers, KERNEL, KERNEL, input_shape=(4, 8, 8), device=device, options=FIFO, buffers=buffers
        )
        over = [ring for ring in rings(program) if ring.start < past + 8 * 8 * 4 and past < ring.end]
    raise AssertionError("the advice leads in circles")


def advised(message: str, help_: str) -> tuple[str, str, int]:
    """Key, value and layer of "write `key: value` in layer N"; without a layer, that of the message."""
    written = re.match(r"write `(\w+): (0x[0-9a-f]+)`(?: in layer (\d+))?", help_)
    own = re.match(r"layer (\d+)", message)
    assert written is not None, help_
    assert own is not None
    return written[1], written[2], int(written[3] or own[1])
