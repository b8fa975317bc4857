"""How the simulator is called: batches, threads, sessions, samples it takes and samples it refuses."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai8xsim import MAX78000, MAX78002, InputError, Options, Program, Simulator, Trace, resolve
from ai8xsim.checkpoint import Checkpoint
from ai8xsim.engine import portable
from ai8xsim.engine.portable import PortableExecutor
from ai8xsim.kernels.generated.targets import available_targets

from .networks_drawn import DrawnNetwork, networks
from .slow_machine import slow_trace
from .small_programs import WINDOW, mixed_program, network_of, program_of, random_int8, stored_layer
from .test_three_roads import DRAWN

PASS = "- {op: none}"


def digests(trace: Trace) -> list[tuple[str, ...]]:
    return [layer.digests for layer in trace]


# Batches


def batch_departure(samples: npt.NDArray[Any], threads: int | None = None) -> str | None:
    """Where a batch is not the sum of its samples; or None."""
    machine = Simulator(mixed_program(), threads=threads)
    batch, singles = machine.run(samples), [machine.run(sample) for sample in samples]
    for place, layer in enumerate(batch):
        alone = [single.layers[place] for single in singles]
        if layer.digests != tuple(single.digest for single in alone):
            return f"{layer.title}: digests"
        if not np.array_equal(layer.output, np.stack([single.output for single in alone])):
            return f"{layer.title}: output"
        if layer.saturated is not None and layer.saturated != sum(single.saturated or 0 for single in alone):
            return f"{layer.title}: saturated"
        if not layer.is_batch or any(single.is_batch for single in alone):
            return f"{layer.title}: is_batch"
    return None


@pytest.mark.parametrize("threads", [None, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 33, 50])
def test_a_batch_equals_its_samples(count: int, threads: int | None) -> None:
    assert batch_departure(random_int8(count, count, 2, 4, 4), threads) is None


def _buffers_shared_by_all_runs(patch: pytest.MonkeyPatch) -> None:
    fresh, shared = PortableExecutor.empty_buffers, {}
    patch.setattr(PortableExecutor, "empty_buffers", lambda self, n: shared.setdefault(n, fresh(self, n)))


def _chunks_out_of_order(patch: pytest.MonkeyPatch) -> None:
    in_order = PortableExecutor._map
    patch.setattr(
        PortableExecutor, "_map", lambda self, work, chunks: reversed(list(in_order(self, work, chunks)))
    )


def _first_chunk_counted(patch: pytest.MonkeyPatch) -> None:
    complete = portable._joined

    def joined(layer: Any, parts: Any, is_batch: bool) -> Any:
        first = complete(layer, parts[:1], is_batch)
        return replace(complete(layer, parts, is_batch), saturated=first.saturated)

    patch.setattr(portable, "_joined", joined)


@pytest.mark.parametrize("plant", [_buffers_shared_by_all_runs, _chunks_out_of_order, _first_chunk_counted])
def test_a_fault_planted_in_the_batches_is_noticed(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI8XSIM_TARGET", "portable")
    plant(monkeypatch)
    assert batch_departure(random_int8(0, 33, 2, 4, 4)) is not None


def test_samples_in_a_batch_saturate_differently() -> None:
    """Or else the sums above would prove little."""
    machine = Simulator(mixed_program())
    singles = [machine.run(sample) for sample in random_int8(50, 50, 2, 4, 4)]
    assert len({single["first"].saturated for single in singles}) > 3


@given(networks())
@settings(DRAWN, max_examples=60)
def test_a_drawn_batch_equals_its_samples_in_any_order(network: DrawnNetwork) -> None:
    samples = np.concatenate([network.samples] * 6 + [network.samples[::-1]])
    batch = Simulator(network.program, threads=2).run(samples)
    singles = [Simulator(network.program).run(sample) for sample in samples]
    for place, layer in enumerate(batch):
        assert list(layer.digests) == [single.layers[place].digest for single in singles]


@given(networks())
@settings(DRAWN, max_examples=60)
def test_keep_outputs_holds_output_layers_only_with_equal_values(network: DrawnNetwork) -> None:
    machine = Simulator(network.program)
    everything, outputs = machine.run(network.samples), machine.run(network.samples, keep="outputs")
    assert tuple(layer.index for layer in outputs) == network.outputs == outputs.output_indices
    for layer in outputs:
        assert layer.digests == everything[layer.index].digests
        assert layer.saturated is None
    assert np.array_equal(outputs.output, everything.output)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_refuses_to_be_copied(copied: Any) -> None:
    """Or else two of them would share their buffers."""
    for target in (None, "portable"):
        session = Simulator(mixed_program(), target=target).session()
        session.run(random_int8(0, 2, 4, 4))
        with pytest.raises(TypeError, match="start another one"):
            copied(session)


@pytest.mark.parametrize("target", [None, "portable"])
def test_where_outputs_only_are_kept_nothing_is_counted(target: str | None) -> None:
    machine, sample = Simulator(mixed_program(), target=target), random_int8(0, 2, 4, 4)
    for trace in (machine.run(sample, "outputs"), machine.session().run(sample, "outputs")):
        assert [(layer.name, layer.saturated) for layer in trace] == [("first", None), ("last", None)]


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_counts_samples_up_to_all_of_them(threads: int) -> None:
    told: list[tuple[int, int]] = []
    machine = Simulator(mixed_program(), threads=threads)
    machine.run(random_int8(0, 33, 2, 4, 4), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (33, 33)
    assert {total for _, total in told} == {33}
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_progress_of_one_sample_is_one_of_one() -> None:
    told: list[tuple[int, int]] = []
    machine = Simulator(mixed_program())
    machine.run(random_int8(0, 2, 4, 4), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=f"^threads is {threads}; it must be 1 or more$"):
        Simulator(mixed_program(), threads=threads)


def test_one_simulator_may_run_in_several_threads_at_once() -> None:
    machine, samples = Simulator(mixed_program(), threads=2), random_int8(0, 12, 20, 2, 4, 4)
    alone = [digests(machine.run(batch)) for batch in samples]
    with ThreadPoolExecutor(4) as pool:
        assert [digests(trace) for trace in pool.map(machine.run, samples)] == alone


# Samples that are taken


SHAPES_1D = [(3, 5), (3, 5, 1), (1, 3, 5), (1, 3, 5, 1), (4, 3, 5), (4, 3, 5, 1)]


@pytest.mark.parametrize("shape", SHAPES_1D)
def test_1d_samples_may_have_a_last_axis_of_one(shape: tuple[int, ...]) -> None:
    program = program_of(
        "- {op: conv1d, kernel_size: 3, pad: 1}", random_int8(0, 2, 3, 3), input_shape=(3, 5)
    )
    samples = random_int8(1, *shape)
    trace = Simulator(program).run(samples)
    slow = slow_trace(program, samples.reshape(-1, 3, 5))
    assert trace.first_difference(slow) is None
    batch_axis = () if shape in SHAPES_1D[:2] else (shape[0],)
    assert trace.output.shape == (*batch_axis, 2, 5)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (2, 3, 5), (2, 3, 5, 1)])
def test_2d_samples_of_one_column_may_lack_it(shape: tuple[int, ...]) -> None:
    program = program_of(PASS, input_shape=(3, 5, 1))
    trace = Simulator(program).run(random_int8(0, *shape))
    assert trace.output.shape == (*shape[: 0 if shape[0] == 3 else 1], 3, 5, 1)


NUMBERS = ["int8", "int16", "int32", "int64", "float16", "float32", "float64", "longdouble"]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_of_any_type_are_taken_if_they_are_int8_values(dtype: str) -> None:
    samples, program = random_int8(0, 2, 4, 4), mixed_program()
    assert digests(Simulator(program).run(samples.astype(dtype))) == digests(Simulator(program).run(samples))


@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_unsigned_numbers_up_to_127_are_taken(dtype: str) -> None:
    samples = np.abs(random_int8(0, 2, 4, 4).clip(-127))
    machine = Simulator(mixed_program())
    assert digests(machine.run(samples.astype(dtype))) == digests(machine.run(samples))


def test_lists_and_arrays_with_any_strides_are_taken() -> None:
    samples, machine = random_int8(0, 2, 4, 4), Simulator(mixed_program())
    expected = digests(machine.run(samples))
    backwards = samples[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    for same in (samples.tolist(), np.asfortranarray(samples), backwards, samples.astype(">i2")):
        assert digests(machine.run(same)) == expected


# Samples that are refused


WHOLE = np.zeros((3, 4, 5), np.int64)
SHAPE = "samples have the shape {}, the program takes (3, 4, 5) or a batch (N, 3, 4, 5); {}"
RESHAPE = "reshape or resize them, or, in Python, give resolve their shape as input_shape"
OUTSIDE = (
    "samples[{}] is {}, outside int8 [-128, 127]; {} of {} values are; normalize the data to -128..127 first"
)
FRACTION = "samples[{}] is {}, not an integer; {}"
UNNORMALIZED = (
    "data in [0, 1] is not normalized: data = ((data - 0.5) * 256).round().clip(-128, 127), "
    "which `ai8x.normalize(args=args)` does at the end of a loader's transforms"
)
FOR_TRAINING = "scale data in [-1, 1) by 128: data = (data * 128).round().clip(-128, 127)"
TYPE = "samples are of type {}, not integers; convert them to int8"


def with_values(
    *values: tuple[tuple[int, ...], float], dtype: str = "int64", batch: int = 0
) -> npt.NDArray[Any]:
    array = np.zeros((batch, 3, 4, 5) if batch else (3, 4, 5), dtype)
    for place, value in values:
        array[place] = value
    return array


REFUSED: dict[str, tuple[Any, str]] = {
    "200": (with_values(((2, 3, 4), 200)), OUTSIDE.format("2, 3, 4", 200, 1, 60)),
    "128": (with_values(((0, 0, 0), 128)), OUTSIDE.format("0, 0, 0", 128, 1, 60)),
    "-129": (with_values(((0, 1, 2), -129), ((1, 0, 0), 300)), OUTSIDE.format("0, 1, 2", -129, 2, 60)),
    "in a batch": (with_values(((1, 2, 3, 4), -1000), batch=2), OUTSIDE.format("1, 2, 3, 4", -1000, 1, 120)),
    "uint8": (with_values(((0, 0, 1), 255), dtype="uint8"), OUTSIDE.format("0, 0, 1", 255, 1, 60)),
    "uint64": (with_values(((0, 0, 1), 2**63), dtype="uint64"), OUTSIDE.format("0, 0, 1", 2**63, 1, 60)),
    "int64": (with_values(((0, 0, 1), -(2**63))), OUTSIDE.format("0, 0, 1", -(2**63), 1, 60)),
    "nan": (with_values(((0, 0, 1), np.nan), dtype="float32"), OUTSIDE.format("0, 0, 1", "nan", 1, 60)),
    "inf": (with_values(((0, 0, 1), -np.inf), dtype="float64"), OUTSIDE.format("0, 0, 1", "-inf", 1, 60)),
    "127.5": (with_values(((0, 0, 1), 127.5), dtype="float64"), OUTSIDE.format("0, 0, 1", 127.5, 1, 60)),
    "half": (with_values(((1, 0, 0), 0.5), dtype="float32"), FRACTION.format("1, 0, 0", 0.5, UNNORMALIZED)),
    "-0.25 in a batch": (
        with_values(((1, 0, 3, 0), -0.25), dtype="float16", batch=3), FRACTION.format("1, 0, 3, 0", -0.25, FOR_TRAINING)
    ),
    "outside comes before fractions": (
        with_values(((0, 0, 0), 0.5), ((2, 0, 0), 128), dtype="float64"), OUTSIDE.format("2, 0, 0", "128.0", 1, 60)
    ),
    "bool": (WHOLE.astype(bool), TYPE.format("bool")),
    "complex": (WHOLE.astype(complex), TYPE.format("complex128")),
    "str": (WHOLE.astype("U1"), TYPE.format("<U1")),
    "bytes": (WHOLE.astype("S1"), TYPE.format("|S1")),
    "objects": (WHOLE.astype(object), TYPE.format("object")),
    "dates": (WHOLE.astype("datetime64[s]"), TYPE.format("datetime64[s]")),
    "beyond 64 bits": ((WHOLE.astype(object) + 2**70).tolist(), TYPE.format("object")),
    "a number": (5, SHAPE.format((), RESHAPE)),
    "None": (None, "samples are of type NoneType, not integers; convert them to int8"),
    "one axis": (np.zeros(60, int), SHAPE.format((60,), RESHAPE)),
    "two axes": (np.zeros((4, 5), int), SHAPE.format((4, 5), RESHAPE)),
    "five axes": (np.zeros((1, 1, 3, 4, 5), int), SHAPE.format((1, 1, 3, 4, 5), RESHAPE)),
    "other sizes": (np.zeros((3, 5, 4), int), SHAPE.format((3, 5, 4), RESHAPE)),
    "channels last": (
        np.zeros((4, 5, 3), int), SHAPE.format((4, 5, 3), "the channels come last; use samples.transpose(2, 0, 1)")
    ),
    "channels last in a batch": (
        np.zeros((7, 4, 5, 3), int),
        SHAPE.format((7, 4, 5, 3), "the channels come last; use samples.transpose(0, 3, 1, 2)"),
    ),
    "empty batch": (np.zeros((0, 3, 4, 5), int), SHAPE.format((0, 3, 4, 5), "the batch is empty")),
    "empty list": ([], SHAPE.format((0,), "the batch is empty")),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_a_wrong_sample_is_refused_in_one_sentence(fault: str) -> None:
    samples, sentence = REFUSED[fault]
    machine = Simulator(program_of(PASS, input_shape=(3, 4, 5)))
    for run in (machine.run, machine.session().run):
        with pytest.raises(InputError) as refusal:
            run(samples)
        assert str(refusal.value) == sentence


def test_every_sample_is_checked_whatever_came_before() -> None:
    sample, machine = random_int8(0, 2, 4, 4), Simulator(program_of(PASS, input_shape=(2, 4, 4)))
    for runner in (machine, machine.session()):
        expected = runner.run(sample).output
        for wrong in (sample[:1], sample + 0.5, sample.astype(np.int16) + 200, sample[:, :3]):
            for _ in range(2):
                with pytest.raises(InputError, match="samples"):
                    runner.run(wrong)
        with pytest.raises(ValueError, match="keep is 'some'"):
            runner.run(sample, "some")  # type: ignore[arg-type]
        assert np.array_equal(runner.run(sample).output, expected)


def test_the_shapes_of_1d_samples_are_named_as_such() -> None:
    with pytest.raises(InputError) as refusal:
        Simulator(program_of(PASS, input_shape=(3, 5))).run(np.zeros((5, 3), int))
    wanted = "samples have the shape (5, 3), the program takes (3, 5) or a batch (N, 3, 5); "
    assert str(refusal.value) == wanted + RESHAPE


def test_a_refusal_survives_the_way_back_from_a_worker_process() -> None:
    with pytest.raises(InputError) as refusal:
        Simulator(program_of(PASS)).run(5)
    returned = pickle.loads(pickle.dumps(refusal.value))
    assert (type(returned), str(returned)) == (InputError, str(refusal.value))
    assert returned.diagnostics == refusal.value.diagnostics


# What belongs to whom


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 2, 4, 4)])
@pytest.mark.parametrize("dtype", ["int8", "int64", "float64"])
def test_the_samples_are_never_changed_and_later_changes_do_not_matter(
    shape: tuple[int, ...], dtype: str
) -> None:
    samples = random_int8(0, *shape).astype(dtype)
    untouched = samples.copy()
    trace = Simulator(program_of("- {op: none}\n- {op: add, in_sequences: [0, input]}")).run(samples)
    assert np.array_equal(samples, untouched)
    samples[...] = 1
    assert np.array_equal(trace[0].output, untouched)


def test_samples_that_are_read_only_are_taken() -> None:
    samples = random_int8(0, 2, 4, 4)
    samples.flags.writeable = False
    assert len(Simulator(mixed_program()).run(samples)) == 6


@pytest.mark.parametrize("keep", ["all", "outputs"])
@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 2, 4, 4), (20, 2, 4, 4)])
def test_outputs_are_read_only(shape: tuple[int, ...], keep: Any) -> None:
    machine = Simulator(mixed_program())
    for trace in (
        machine.run(random_int8(0, *shape), keep),
        machine.session().run(random_int8(0, *shape), keep),
    ):
        for layer in trace:
            assert not layer.output.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                layer.output[...] = 0


def test_outputs_are_int8_and_wide_ones_int32() -> None:
    trace = Simulator(mixed_program()).run(random_int8(0, 2, 4, 4))
    assert [str(layer.output.dtype) for layer in trace] == ["int8"] * 5 + ["int32"]


def test_a_trace_can_be_pickled() -> None:
    trace = Simulator(mixed_program()).run(random_int8(0, 5, 2, 4, 4))
    returned = pickle.loads(pickle.dumps(trace))
    assert trace.first_difference(returned) is None
    assert digests(returned) == digests(trace)
    assert [layer.saturated for layer in returned] == [layer.saturated for layer in trace]
    assert returned.output_indices == trace.output_indices


def both_devices() -> tuple[Program, Program]:
    """All weights are +1 and -1: binary ones, with another shift, on one device only."""
    network, weight = network_of("- {op: conv2d}"), np.where(random_int8(0, 2, 2, 3, 3) < 0, -1, 1)
    checkpoint = Checkpoint("x.pth.tar", None, None, (stored_layer("conv", weight),))
    ours, theirs = (resolve(network, checkpoint, device, (2, 4, 4)) for device in (MAX78000, MAX78002))
    return ours, theirs


def test_two_devices_in_one_process_give_what_each_gives_alone() -> None:
    programs, samples = both_devices(), random_int8(1, 3, 2, 4, 4)
    alone = [slow_trace(program, samples) for program in programs]
    machines = [Simulator(program) for program in programs]
    for _ in range(2):
        for machine, expected in zip(machines, alone, strict=True):
            assert machine.run(samples).first_difference(expected) is None
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda machine: machine.run(samples), machines * 4))
    assert [trace.first_difference(alone[place % 2]) for place, trace in enumerate(together)] == [None] * 8
    assert alone[0].first_difference(alone[1]) is not None


# Rolling buffers


MEMORY = """
- {name: write, op: none, buffer_insert: 1, output_processors: 0xf0}
- {name: read, op: none, in_sequences: window}
- {name: move, op: none, in_sequences: window, buffer_shift: 1}
""".strip()


def memory() -> Simulator:
    """A window of four rows: writes the sample into the last one, reads all, moves them to the front."""
    return Simulator(program_of(MEMORY, input_shape=(2, 1), buffers=WINDOW))


def test_a_session_keeps_its_rolling_buffers_from_run_to_run() -> None:
    session = memory().session()
    read = [session.run([[value], [-value]])["read"].output.tolist() for value in (1, 2, 3)]
    assert read == [
        [[0, 0, 0, 1], [0, 0, 0, -1]],
        [[0, 0, 1, 2], [0, 0, -1, -2]],
        [[0, 1, 2, 3], [0, -1, -2, -3]],
    ]
    together = session.run([[[4], [-4]], [[5], [-5]]])["read"].output
    assert together.tolist()[1][0] == [2, 3, 4, 5]


def test_a_run_starts_with_empty_buffers_for_every_sample() -> None:
    machine, samples = memory(), [[[value], [-value]] for value in range(1, 20)]
    for _ in range(2):
        read = machine.run(samples)["read"].output
        assert read[:, 0].tolist() == [[0, 0, 0, value] for value in range(1, 20)]


def test_sessions_do_not_share_their_buffers() -> None:
    machine = memory()
    first, second = machine.session(), machine.session()
    first.run([[7], [7]])
    machine.run([[8], [8]])
    assert second.run([[9], [9]])["read"].output.tolist() == [[0, 0, 0, 9]] * 2
    assert first.run([[9], [9]])["read"].output.tolist() == [[0, 0, 7, 9]] * 2


def test_what_a_session_returned_does_not_change_later() -> None:
    session = memory().session()
    read = session.run([[7], [7]])["read"]
    session.run([[8], [8]])
    assert read.output.tolist() == [[0, 0, 0, 7]] * 2


# Arithmetic that one can foretell


OPERATIONS = {
    "conv2d": ("- {op: conv2d, output_shift: %s}", (3, 2, 3, 3)),
    "conv1d": ("- {op: conv1d, kernel_size: 3, in_dim: 16, output_shift: %s}", (3, 2, 3)),
    "convtranspose2d": ("- {op: convtranspose2d, output_shift: %s}", (2, 3, 3, 3)),
    "linear": ("- {op: linear, flatten: true, output_shift: %s}", (3, 32)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@given(
    bias=st.lists(st.sampled_from((-128, -127, -65, -3, -1, 0, 1, 3, 64, 127)), min_size=3, max_size=3),
    shift=st.integers(-15, 15),
    sample=st.integers(0, 100),
)
@settings(DRAWN, max_examples=25)
def test_zero_weights_give_the_bias(operation: str, bias: list[int], shift: int, sample: int) -> None:
    layer, shape = OPERATIONS[operation]
    stored = stored_layer("zero", np.zeros(shape), bias)
    network = network_of((layer % shift).replace("output_shift", "quantization: 8, output_shift"))
    program = resolve(network, Checkpoint("x.pth.tar", None, None, (stored,)), MAX78000, (2, 4, 4))
    output = Simulator(program).run(random_int8(sample, 2, 4, 4)).output
    scaled = [value << shift if shift >= 0 else (value + (1 << -shift - 1)) >> -shift for value in bias]
    expected = np.array(scaled).clip(-128, 127).reshape(3, *[1] * (output.ndim - 1))
    assert (output == expected).all()


@pytest.mark.parametrize("channels", [2, 5, 64, 65, 130])
@pytest.mark.parametrize("operation", ["conv2d", "conv1d", "convtranspose2d"])
def test_input_channels_may_be_exchanged_with_their_weights(operation: str, channels: int) -> None:
    ends = (channels, 3) if operation == "convtranspose2d" else (3, channels)
    taps = (3,) if operation == "conv1d" else (3, 3)
    shape = (channels, 7) if operation == "conv1d" else (channels, 5, 7)
    samples, weight = random_int8(1, 2, *shape), random_int8(2, *ends, *taps)
    order = np.random.default_rng(3).permutation(channels)
    exchanged = weight[order] if operation == "convtranspose2d" else weight[:, order]
    layer = f"- {{op: {operation}, output_shift: -5{', kernel_size: 3' * (operation == 'conv1d')}}}"
    plain, permuted = (program_of(layer, w, input_shape=shape) for w in (weight, exchanged))
    ours, theirs = Simulator(plain).run(samples), Simulator(permuted).run(samples[:, order])
    assert ours.first_difference(theirs) is None
    assert ours.output.any()


@pytest.mark.parametrize("outputs", [2, 5, 64, 65])
def test_output_channels_follow_the_order_of_the_weights(outputs: int) -> None:
    samples, weight = random_int8(1, 2, 4, 4), random_int8(2, outputs, 2, 3, 3)
    order = np.random.default_rng(3).permutation(outputs)
    layer = "- {op: conv2d, output_shift: -2}"
    plain, permuted = (Simulator(program_of(layer, w)).run(samples) for w in (weight, weight[order]))
    assert np.array_equal(plain.output[order], permuted.output)


@given(value=st.integers(-128, 127), other=st.integers(-128, 127))
@settings(DRAWN, max_examples=50)
def test_element_wise_results_saturate_once(value: int, other: int) -> None:
    samples = np.broadcast_to(np.array([value, other])[:, None, None], (2, 4, 4))
    results = {"add": value + other, "sub": value - other, "or": value | other, "xor": value ^ other}
    for operation, exact in results.items():
        trace = Simulator(program_of(f"- {{op: {operation}}}")).run(samples)
        saturated = max(-128, min(127, exact))
        assert (trace.output == saturated).all()
        assert trace.layers[0].saturated == (16 if saturated != exact else 0)


# Behaviour that nothing has verified: it must at least be what the comments claim


def test_behind_another_wide_layer_a_sum_keeps_its_lower_32_bits() -> None:
    """UNVERIFIED in `portable._wide`."""
    wide = "- {op: conv2d, kernel_size: 1x1, pad: 0, output_width: 32}\n"
    layers, weights = wide * 5 + "- {op: conv2d, kernel_size: 1x1, pad: 0}", [np.full((1, 1, 1, 1), -101)] * 6
    program, samples = program_of(layers, *weights, input_shape=(1, 1, 2)), np.array([[[127, -128]]])
    trace = Simulator(program).run(samples)
    exact = [127 * (-101) ** 5, -128 * (-101) ** 5]
    assert max(map(abs, exact)) > 2**31
    assert trace[4].output.ravel().tolist() == [(value + 2**31) % 2**32 - 2**31 for value in exact]
    assert trace.first_difference(slow_trace(program, [samples])) is None


@pytest.mark.parametrize(("activation", "expected"), [("ReLU", [0, 127, 0]), ("Abs", [127, 127, 5])])
def test_an_activation_of_a_hidden_wide_layer_saturates_to_127(activation: str, expected: list[int]) -> None:
    layers = f"- {{op: conv2d, kernel_size: 1x1, pad: 0, output_width: 32, activate: {activation}}}\n{PASS}"
    program = program_of(layers, np.full((1, 1, 1, 1), -5), input_shape=(1, 1, 3))
    assert Simulator(program).run([[[127, -128, 1]]]).output.ravel().tolist() == expected


def test_one_row_inserted_as_several_stands_in_each_of_them() -> None:
    """UNVERIFIED in `portable._update_buffer`."""
    layers = "- {op: none, buffer_insert: 3, output_processors: 0xf0}\n- {op: none, in_sequences: window}"
    program = program_of(layers, input_shape=(2, 1), buffers=WINDOW)
    assert Simulator(program).run([[5], [-6]]).output.tolist() == [[0, 5, 5, 5], [0, -6, -6, -6]]


@given(rows=st.integers(1, 20), stride=st.integers(1, 5), dilation=st.integers(1, 6))
@settings(DRAWN, max_examples=60)
def test_dilated_subsampling_counts_windows_by_the_loaders_formula(
    rows: int, stride: int, dilation: int
) -> None:
    """UNVERIFIED in `program.loader`: the user is told, and windows that would fit are dropped."""
    count = (rows + stride - dilation) // stride
    if count < 1 or (dilation, stride) == (1, 1):
        return
    layer = f"- {{op: none, max_pool: 1, pool_stride: {stride}, pool_dilation: {dilation}}}"
    program = program_of(layer, input_shape=(1, rows), device=MAX78002)
    sample = np.arange(rows)[np.newaxis]
    assert Simulator(program).run(sample).output.tolist() == [list(range(0, rows, stride))[:count]]
    warned = [d for d in program.diagnostics if any("UNVERIFIED" in note for note in d.notes)]
    assert len(warned) == (dilation > 1)


@pytest.mark.parametrize("option", [None, 32])
def test_the_last_layer_is_wide_by_its_key_or_by_an_option(option: int | None) -> None:
    key = "" if option else ", output_width: 32"
    layer = f"- {{op: conv2d, kernel_size: 1x1, pad: 0{key}}}"
    program = program_of(layer, [[[[127]]]], input_shape=(1, 1, 1), options=Options(output_width=option))
    trace = Simulator(program).run([[[-128]]])
    assert (trace.output.item(), trace.output.dtype, trace.layers[0].saturated) == (-16256, np.int32, None)


@pytest.mark.parametrize("target", [*(target.name for target in available_targets()), "portable"])
def test_an_output_does_not_change_with_the_samples(target: str) -> None:
    """Not even where a layer only hands them on."""
    program = program_of("- {op: none}", input_shape=(1, 4, 4))
    samples = random_int8(0, 2, 1, 4, 4)
    trace, wanted = Simulator(program, target=target).run(samples), samples.copy()
    samples[:] = 0
    assert np.array_equal(trace.output, wanted)
