"""Plans of the weight and bias memories."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002
from ai8xsim.device import Device
from ai8xsim.layout import enabled
from ai8xsim.memory import (
    BANK,
    BiasNeed,
    WeightNeed,
    leading_dummies,
    plan_bias,
    plan_weights,
    quadrants_of,
    weight_capacity,
)

ALL = (1 << 64) - 1


@st.composite
def weight_needs(draw: st.DrawFn) -> list[WeightNeed]:
    needs = []
    for layer in range(draw(st.integers(1, 8))):
        first, count = draw(st.integers(0, 60)), draw(st.integers(1, 64))
        processors = draw(st.sampled_from([ALL, (1 << count) - 1 << first & ALL]))
        kernels, taps = draw(st.integers(1, 900)), draw(st.sampled_from([1, 3, 9]))
        bits = draw(st.sampled_from([1, 2, 4, 8]))
        needs.append(WeightNeed(layer, processors, kernels, taps, bits, draw(st.booleans())))
    return needs


@settings(max_examples=200, deadline=None)
@given(weight_needs(), st.sampled_from([MAX78000, MAX78002]))
def test_kernels_never_share_a_word(needs: list[WeightNeed], device: Device) -> None:
    taken: set[tuple[int, int]] = set()
    for place in plan_weights(device, needs):
        if place.first is None:
            continue
        assert place.first % 4 == 0
        words = range(place.first, place.first + place.words)
        mine = {(processor, word) for processor in enabled(place.need.processors) for word in words}
        assert not taken & mine
        assert all(word < weight_capacity(device, processor) for processor, word in mine)
        if place.need.is_depthwise and place.words <= BANK:
            assert words[0] // BANK == words[-1] // BANK
        taken |= mine


@settings(max_examples=200, deadline=None)
@given(weight_needs())
def test_room_is_found_where_a_whole_memory_is_free(needs: list[WeightNeed]) -> None:
    alone = plan_weights(MAX78000, needs[:1])[0]
    assert (alone.first is None) == (needs[0].words > 768)


@pytest.mark.parametrize(
    ("kernels", "taps", "bits", "words"),
    [(8, 9, 8, 8), (9, 1, 8, 1), (10, 1, 8, 2), (16, 9, 4, 8), (17, 9, 4, 9), (64, 9, 1, 8), (3, 1, 2, 1)],
)
def test_words_of_a_layer(kernels: int, taps: int, bits: int, words: int) -> None:
    assert WeightNeed(0, 1, kernels, taps, bits).words == words


def test_the_documents_capacity() -> None:
    """Document, "Limitations": 768 * 64 kernels and 432 KiB; 2,340 KiB with 5,120 kernels in four processors."""
    sizes = [sum(weight_capacity(device, p) for p in range(64)) * 9 for device in (MAX78000, MAX78002)]
    assert sizes == [432 * 1024, 2340 * 1024]


@st.composite
def bias_needs(draw: st.DrawFn) -> list[BiasNeed]:
    quadrants = st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True).map(tuple)
    return [
        BiasNeed(layer, draw(st.integers(1, 600)), draw(quadrants), draw(st.booleans()), draw(st.booleans()))
        for layer in range(draw(st.integers(1, 10)))
    ]


@settings(max_examples=200, deadline=None)
@given(bias_needs(), st.sampled_from([MAX78000, MAX78002]))
def test_bias_never_shares_a_byte(needs: list[BiasNeed], device: Device) -> None:
    taken: set[tuple[int, int]] = set()
    for place in plan_bias(device, needs):
        assert place.quadrant in place.need.quadrants
        if place.first is None:
            assert min(
                place.used[q] for q in place.need.quadrants
            ) + place.need.size > device.bias_memory_bytes or (place.need.in_all)
            continue
        mine = {(place.quadrant, byte) for byte in range(place.first, place.first + place.need.size)}
        assert not taken & mine
        assert max(byte for _, byte in mine) < device.bias_memory_bytes
        taken |= mine


def test_quadrants_and_dummies() -> None:
    assert quadrants_of(ALL) == (0, 1, 2, 3)
    assert quadrants_of(0x8000_0000) == (1,)
    assert [leading_dummies(1 << p) for p in range(6)] == [0, 1, 2, 3, 0, 1]
