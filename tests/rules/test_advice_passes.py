"""What the help of a diagnostic advises must itself pass."""

import re
from itertools import pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002, Diagnostic, Findings, Options, Severity, check
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.network import parse_network

from ..simulator.small_programs import stored_layer

Entry = dict[str, object]
ASSIGNMENT = re.compile(r"`(\w+): (0x[0-9a-f]+|\d+)`")
PLACE = re.compile(r" in layer (\d+)")


def checked(layers: list[Entry], options: Options = Options()) -> Findings:  # noqa: B008  (frozen)
    """4x8x8 samples, and kernels of 4x4x3x3 for all convolutions."""
    text = yaml.safe_dump({"arch": "net", "dataset": "none", "layers": layers})
    reading = parse_network(text)
    assert reading.network is not None
    stored = tuple(
        stored_layer(f"layer{n}", np.ones((4, 4, 3, 3), np.int64))
        for n, layer in enumerate(entry for entry in layers if entry["op"] == "conv2d")
    )
    return check(reading.network, MAX78000, Checkpoint("x", None, None, stored), np.zeros((4, 8, 8)), options)


def errors(found: Findings) -> list[Diagnostic]:
    return [d for d in found if d.severity is Severity.ERROR]


def applied(layers: list[Entry], diagnostic: Diagnostic) -> list[Entry]:
    """The layers after doing what the help says: "write `key: value` in layer N" (here, where no layer is named)."""
    own = re.match(r"layer (\d+)", diagnostic.message)
    assert own is not None, diagnostic.message
    changed = [dict(entry) for entry in layers]
    for found in ASSIGNMENT.finditer(diagnostic.help):
        place = PLACE.match(diagnostic.help, found.end())
        number = int(place[1]) if place else int(own[1])
        changed[number][found[1]] = int(found[2], 0)
    assert changed != layers, diagnostic.help
    return changed


OFFSETS = st.one_of(st.integers(0, 0x200).map(lambda n: 4 * n), st.sampled_from([0x1000, 0x7F00, 0x7FFC]))


@st.composite
def streams(draw: st.DrawFn) -> list[Entry]:
    layers: list[Entry] = []
    for _ in range(draw(st.integers(2, 4))):
        layers.append({"processors": 0xF, "op": "conv2d", "streaming": True, "out_offset": draw(OFFSETS)})
        if draw(st.booleans()):
            layers[-1]["in_offset"] = draw(OFFSETS)
    layers.append({"processors": 0xF, "op": "conv2d", "out_offset": 0x6000})
    return layers


@settings(max_examples=60, deadline=None)
@given(streams())
def test_advice_for_rings_leads_to_a_sound_network(layers: list[Entry]) -> None:
    """Each piece of advice mends what it stands for; after a few of them nothing is left."""
    for _ in range(20):
        faults = [d for d in errors(checked(layers, Options(fifo=True))) if d.code.startswith("ring")]
        if not faults:
            return
        layers = applied(layers, faults[0])
    raise AssertionError("the advice leads in circles")


def test_advice_for_a_buffer_s_address_is_its_address() -> None:
    """Shift, insert, read: without a single address, and then with what the help says."""
    layers = """
    - {processors: 0x000f, op: conv2d, out_offset: 0x1000}
    - {processors: 0x000f, output_processors: 0x000f, op: none, in_sequences: past, buffer_shift: 1, out_offset: 0x4000}
    - {processors: 0x000f, output_processors: 0x000f, op: linear, flatten: true, in_sequences: 0, in_offset: 0x1000,
       buffer_insert: 1}
    - {processors: 0x000f, op: conv1d, kernel_size: 1, pad: 0, in_sequences: past, out_offset: 0x2000}
    """
    entries = yaml.safe_load(layers)
    buffer = {"name": "past", "processors": 0xF, "channels": 4, "dim": 5, "offset": 0x4000}
    text = {"arch": "net", "dataset": "none", "layers": entries, "data_buffer": [buffer]}
    shapes = ((4, 4, 3, 3), (4, 256), (4, 4, 1))
    stored = tuple(stored_layer(f"layer{n}", np.ones(shape, np.int64)) for n, shape in enumerate(shapes))

    def found() -> list[Diagnostic]:
        network = parse_network(yaml.safe_dump(text)).network
        assert network is not None
        return errors(check(network, MAX78002, Checkpoint("x", None, None, stored), np.zeros((4, 8, 8))))

    faults = [d for d in found() if d.code == "buffer-address"]
    assert [re.sub(r".*(`.*`).*", r"\1", d.help) for d in faults] == [
        "`in_offset: 0x4004`", "`in_dim: 4`", "`out_offset: 0x4010`", "`in_offset: 0x4000`", "`in_dim: 5`",
    ]  # fmt: skip
    for fault in faults:
        entries = applied(entries, fault)
    text["layers"] = entries
    assert found() == []


def test_the_width_that_is_advised_has_room() -> None:
    """The first layer leaves 256 words of 768: the second takes 512 with 8 bits, 256 with 4."""
    layers = [
        {"processors": 0xFFFFFFFFFFFFFFFF, "op": "conv2d", "out_offset": offset} for offset in (0x1000, 0)
    ]
    shapes = ((512, 64, 3, 3), (64, 512, 3, 3))

    def fault(**second: int) -> list[Diagnostic]:
        text = {"arch": "net", "dataset": "none", "layers": [layers[0], layers[1] | second]}
        network = parse_network(yaml.safe_dump(text)).network
        assert network is not None
        stored = tuple(stored_layer(f"layer{n}", np.ones(shape, np.int64)) for n, shape in enumerate(shapes))
        found = check(network, MAX78000, Checkpoint("x", None, None, stored), np.zeros((64, 4, 4)))
        return [d for d in found if d.code == "weight-memory"]

    (diagnostic,) = fault()
    assert diagnostic.help == "quantize it again, to `quantization: 4`: then all weights have room"
    assert fault(quantization=4) == []


MOVABLE = {"overwrites-input", "overwritten-data", "overwritten-output"}
CLOSE = st.integers(0, 0x30).map(lambda n: 64 * n)


@st.composite
def networks(draw: st.DrawFn) -> list[Entry]:
    """A chain, a skip connection of interleaved operands, and a concatenation, all with offsets at random."""
    layers: list[Entry] = [
        {"processors": 0xF, "op": "conv2d", "name": f"n{n}", "out_offset": draw(CLOSE)} for n in range(3)
    ]
    base = draw(CLOSE)
    layers.append({"processors": 0xF, "op": "none", "name": "a", "in_sequences": ["n0"]})
    layers[-1] |= {"in_offset": layers[0]["out_offset"], "out_offset": base, "write_gap": 1}
    layers.append({"processors": 0xF, "op": "conv2d", "name": "b", "in_sequences": ["n2"], "write_gap": 1})
    layers[-1] |= {"in_offset": layers[2]["out_offset"], "out_offset": base + 4}
    layers.append({"processors": 0xF, "op": "add", "in_sequences": ["a", "b"], "in_offset": base})
    layers[-1]["out_offset"] = draw(CLOSE)
    place = draw(CLOSE)
    layers.append({"processors": 0xF, "op": "conv2d", "name": "c", "out_offset": place})
    layers.append(
        {"processors": 0xF, "op": "none", "name": "d", "out_offset": place, "output_processors": 0xF0}
    )
    layers[-1] |= {"in_sequences": ["n1"], "in_offset": layers[1]["out_offset"]}
    layers.append({"processors": 0xFF, "op": "none", "in_sequences": ["c", "d"], "out_offset": draw(CLOSE)})
    if draw(st.booleans()):
        layers[draw(st.integers(0, 7))]["output"] = True
    for layer in layers[:-1]:
        layer.setdefault("output_processors", 0xF)
    return layers


def cause(diagnostic: Diagnostic) -> tuple[str, str]:
    return diagnostic.code, diagnostic.message


@settings(max_examples=20, deadline=None)
@given(networks())
def test_an_offset_that_is_advised_is_free(layers: list[Entry]) -> None:
    follow(layers)


@pytest.mark.deep
@settings(max_examples=500, deadline=None)
@given(networks())
def test_an_offset_that_is_advised_is_free_in_many_networks(layers: list[Entry]) -> None:
    follow(layers)


def follow(layers: list[Entry]) -> None:
    """Do what is advised until nothing is left to be moved.

    It mends its fault and makes no new one, of its own layer or of those that lie beside it."""
    for _ in range(12):
        before = errors(checked(layers))
        faults = [d for d in before if d.code in MOVABLE]
        assert {d.code for d in before} <= MOVABLE
        if not faults:
            return
        changed = applied(layers, faults[0])
        moved = {n for n in range(len(layers)) if layers[n]["out_offset"] != changed[n]["out_offset"]}
        layers, known = changed, {*map(cause, before)}
        after = {*map(cause, errors(checked(layers)))}
        assert cause(faults[0]) not in after
        for _, message in after - known:  # what was behind it may come to light, but of others
            culprit, *victim = re.findall(r"layer (\d+)", message)
            assert not {int(culprit), *map(int, victim[:1])} & moved, message
    raise AssertionError("the advice leads in circles")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 0xF0 // 4), CLOSE, CLOSE)
def test_who_reads_elsewhere_is_called_to_where_the_data_moves(over: int, begins: int, ends: int) -> None:
    """The first layer writes over the sample, and the second one may begin at another word: one advice for both."""
    layers: list[Entry] = [
        {"processors": 0xF, "op": "conv2d", "out_offset": 4 * over, "output_processors": 0xF},
        {"processors": 0xF, "op": "conv2d", "in_offset": begins, "out_offset": ends},
    ]
    fault = next(d for d in errors(checked(layers)) if d.code == "overwrites-input")
    left = errors(checked(applied(layers, fault)))
    assert {d.code for d in left} <= {"overwrites-input"}
    assert all(d.message.startswith("layer 1") for d in left)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=3, max_size=3), st.data())
def test_the_map_that_is_advised_is_that_of_the_other_end(groups: list[int], data: st.DataObject) -> None:
    """Three layers, each with four processors of its own; one map has a wrong number of bits: one advice mends it."""
    maps = [0xF << 4 * group for group in [0, *groups]]
    layers: list[Entry] = [
        {"processors": read, "output_processors": write, "op": "conv2d", "out_offset": 0x1000 * (2 - n % 2)}
        for n, (read, write) in enumerate(pairwise(maps))
    ]
    spoiled, key = data.draw(
        st.sampled_from([(0, "output_processors"), (1, "processors"), (2, "processors")])
    )
    bits = st.integers(1, (1 << 64) - 1).filter(lambda value: value.bit_count() != 4)
    layers[spoiled][key] = data.draw(st.one_of(st.sampled_from([1, 0x7, 0xFF, 0xFFFF]), bits))
    faults = [d for d in errors(checked(layers)) if d.code.endswith("processor-count")]
    assert len(faults) == 1
    assert errors(checked(applied(layers, faults[0]))) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, (1 << 64) - 1), st.booleans(), st.sampled_from(["fifo", "fast_fifo_quad"]))
def test_the_map_that_is_advised_is_fed_by_fifos(processors: int, is_chw: bool, flag: str) -> None:
    options = Options(**{flag: True})
    layers: list[Entry] = [
        {"processors": processors, "op": "conv2d", "out_offset": 0, "output_processors": 0xF}
    ]
    if is_chw:
        layers[0]["data_format"] = "chw"
    for _ in range(2):
        codes = {"processor-count", "fifo-processors", "shared-chw-memory"}
        faults = [d for d in errors(checked(layers, options)) if d.code in codes]
        if not faults:
            return
        layers = applied(layers, faults[0])
    assert [d.code for d in errors(checked(layers, options)) if d.code != "fifo-channels"] == []


@pytest.mark.parametrize("key", ["next_sequence", "simulated_sequence"])
def test_a_path_is_ended_by_the_key_that_makes_it_endless(key: str) -> None:
    layer: Entry = {"processors": 0xF, "op": "conv2d", "out_offset": 0x1000}
    text = {"arch": "net", "dataset": "none", "layers": [layer, layer | {"out_offset": 0, key: 0}]}
    stored = tuple(stored_layer(f"layer{n}", np.ones((4, 4, 3, 3), np.int64)) for n in range(2))

    def found() -> list[Diagnostic]:
        network = parse_network(yaml.safe_dump(text)).network
        assert network is not None
        return errors(check(network, MAX78002, Checkpoint("x", None, None, stored), np.zeros((4, 8, 8))))

    (fault,) = found()
    assert fault.help == f"end the path with `{key}: stop`"
    text["layers"][1][key] = "stop"  # type: ignore[index]
    assert found() == []


@pytest.mark.parametrize(("channels", "can_read"), [(64, True), (100, False)])
def test_a_gap_is_not_advised_where_several_passes_read(channels: int, can_read: bool) -> None:
    """The MAX78002 leaves words out as it reads, but not between those of several passes."""
    processors = (1 << (64 if channels == 64 else 52)) - 1
    layers = [
        {"processors": processors, "op": "none", "out_offset": 0x1000, "write_gap": 1},
        {"processors": processors, "op": "none", "out_offset": 0},
    ]
    network = parse_network(yaml.safe_dump({"arch": "net", "dataset": "none", "layers": layers})).network
    assert network is not None
    found = check(network, MAX78002, Checkpoint("x", None, None, ()), np.zeros((channels, 4, 4)))
    (fault,) = errors(found)
    assert fault.code == "misplaced-input"
    assert ("read_gap" in fault.help) == can_read


def test_many_chw_channels_are_advised_to_be_hwc() -> None:
    """There are sixteen memories, and each holds one CHW channel."""
    layers: list[Entry] = [{"processors": 0xFFFFF, "op": "none", "out_offset": 0x1000, "data_format": "chw"}]

    def found() -> list[Diagnostic]:
        network = parse_network(yaml.safe_dump({"arch": "net", "dataset": "none", "layers": layers})).network
        assert network is not None
        return errors(check(network, MAX78000, Checkpoint("x", None, None, ()), np.zeros((20, 4, 4))))

    (fault,) = found()
    assert fault.help.startswith("write `data_format: HWC`")
    layers[0]["data_format"] = "HWC"
    assert found() == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["conv1d", "conv2d"]), st.integers(1, 9), st.integers(1, 12))
def test_the_padding_that_is_advised_is_possible(op: str, length: int, dilation: int) -> None:
    """Behind a Conv1d without `pad`, each layer is told what to write; no kernel of 1 is padded, told or not."""
    layer: Entry = {"processors": 0xF, "op": op, "out_offset": 0}
    layer |= {"kernel_size": length, "dilation": dilation} if op == "conv1d" else {"kernel_size": "1x1"}
    layers = [{"processors": 0xF, "op": "conv1d", "kernel_size": 3, "out_offset": 0x1000}, layer]

    def found() -> Findings:
        network = parse_network(yaml.safe_dump({"arch": "net", "dataset": "none", "layers": layers})).network
        assert network is not None
        return check(network, MAX78000)

    assert ("pad-and-kernel" in {d.code for d in found()}) == (op == "conv2d" or length == 1)
    for diagnostic in [d for d in found() if d.code in {"default-pad", "shared-default-pad"}]:
        layers = applied(layers, diagnostic)
    assert not {d.message for d in found() if "pad" in d.message}


@given(st.integers(0, 1), st.sampled_from([None, 0x3, 0xFFFF, 0xF0F0F0]))
def test_a_part_of_a_concatenation_is_called_to_its_own_processors(part: int, written_to: int | None) -> None:
    """The default of `output_processors`, all that read next, is never right for a part."""
    layers: list[Entry] = [
        {"processors": 0xF, "op": "conv2d", "out_offset": 0x1000, "output_processors": 0xF << 4 * n}
        for n in range(2)
    ]
    layers[1] |= {"in_sequences": ["input"], "in_offset": 0}
    layers.append({"processors": 0xFF, "op": "none", "in_sequences": [0, 1], "out_offset": 0x2000})
    if written_to is None and part == 1:
        del layers[1]["output_processors"]
    else:
        layers[part]["output_processors"] = written_to or 0x3
    (fault,) = (d for d in errors(checked(layers)) if d.code == "output-processor-count")
    assert errors(checked(applied(layers, fault))) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([None, 3, 4, 8])] * 2), min_size=3, max_size=3))
def test_every_wrong_statement_of_channels_is_found_in_one_run(
    stated: list[tuple[int | None, int | None]],
) -> None:
    """Who states wrong numbers hides nothing of the layers behind: one fault each, and its advice mends it."""
    layers: list[Entry] = []
    for number, (inputs, outputs) in enumerate(stated):
        op = "none" if number == 1 else "conv2d"
        layers.append({"processors": 0xF, "op": op, "out_offset": 0x1000 * (2 - number % 2)})
        layers[-1] |= {"in_channels": inputs} if inputs else {}
        layers[-1] |= {"out_channels": outputs} if outputs else {}
    wrong = sum(count not in {None, 4} for pair in stated for count in pair)
    found = checked(layers)
    assert [d.code for d in errors(found)] == ["channel-mismatch"] * wrong
    assert not found.not_run
    for diagnostic in errors(found):
        layers = applied(layers, diagnostic)
    assert errors(checked(layers)) == []


@given(st.integers(0x7F10 // 4, 0x7FFC // 4))
def test_a_place_is_found_beside_an_input_that_is_too_large(begins: int) -> None:
    """The first layer's output reaches beyond its memory: that is one fault, and where the second writes another."""
    layers: list[Entry] = [
        {"processors": 0xF, "op": "conv2d", "out_offset": 4 * begins},
        {"processors": 0xF, "op": "conv2d", "out_offset": 4 * begins, "output_processors": 0xF},
    ]
    found = errors(checked(layers))
    assert [d.code for d in found if d.message.startswith("layer 0")] == ["output-too-large"]
    (overlap,) = (d for d in found if d.code == "overwrites-input")
    assert "overwrites-input" not in {d.code for d in errors(checked(applied(layers, overlap)))}


@pytest.mark.parametrize("key", ["op", "operation", "convolution"])
def test_advice_uses_the_word_that_the_file_uses(key: str) -> None:
    """The other word for the same would be one too many."""
    text = (
        f"arch: a\ndataset: b\ndata_buffer:\n  - {{name: past, processors: 0xf, channels: 4, dim: 3, offset: 0}}\n"
        f"layers:\n  - {{processors: 0xf, {key}: conv1d, in_sequences: past, buffer_shift: 1, out_offset: 0x100}}\n"
    )
    found = [d.help for d in parse_network(text).diagnostics if d.code == "buffer-shift"]
    assert found == [f"write `{key}: passthrough`"]
