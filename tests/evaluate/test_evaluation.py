"""Evaluations in this process: they equal sample-by-sample simulation, end early and go on, and refuse bad data."""

import random
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from ai8xsim import Ai8xsimError, InputError, Program, Simulator, render
from ai8xsim.data import find_dataset, unfold
from ai8xsim.evaluate import Evaluation, Kind, Subject, Task, computed, cut, evaluate
from ai8xsim.evaluate.batches import LARGEST_SLICE, LARGEST_TARGET, prefetched
from ai8xsim.evaluate.document import document
from ai8xsim.evaluate.fingerprint import program_digest
from ai8xsim.evaluate.journal import Journal
from ai8xsim.evaluate.sources import ModelSource, Sources
from tests.evaluate.conftest import MODEL_FILE

Pairs = list[tuple[Any, int]]


@pytest.fixture
def subject(program: Program, pairs: Pairs) -> Subject:
    return Subject.of(program, pairs, labels=range(10))


def same(left: Evaluation, right: Evaluation) -> bool:
    columns = all(np.array_equal(left.columns[name], right.columns[name]) for name in left.columns)
    return left.scores == right.scores and columns and document(left) == document(right)


def sources(folder: Path, name: str = "HeldOut", **given: Any) -> Sources:
    network, checkpoint = folder / "network.yaml", folder / "checkpoint.pth.tar"
    return Sources(network, checkpoint, f"{folder / 'my_data.py'}:{name}", folder, **given)


def test_an_evaluation_equals_the_simulation_of_each_sample(subject: Subject, pairs: Pairs) -> None:
    simulator, evaluation = Simulator(subject.program), evaluate(subject)
    answers = [int(simulator.run(image).output.argmax()) for image, _ in pairs]
    assert evaluation.columns["answer"].tolist() == answers
    assert evaluation.columns["target"].tolist() == [label for _, label in pairs]
    assert evaluation.top(1) == sum(a == label for a, (_, label) in zip(answers, pairs, strict=True)) / len(
        pairs
    )
    assert int(evaluation.confusion.sum()) == len(pairs)


def test_progress_counts_samples_to_the_end(subject: Subject) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(subject, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 360)
    assert seen[-1] == (360, 360)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 1_000_000])
def test_slices_cover_everything_once_and_are_small(program: Program, count: int) -> None:
    slices = cut(program, count)
    assert sum(map(len, slices)) == count
    assert [s.start for s in slices[1:]] == [s.stop for s in slices[:-1]]
    assert max(map(len, slices)) <= LARGEST_SLICE
    assert len(slices) >= min(count, 33)


def test_a_run_that_ended_early_goes_on_where_it_was(subject: Subject, tmp_path: Path) -> None:
    whole, binding = evaluate(subject), {"of": "this test"}
    with Journal(tmp_path / "j", binding) as journal, pytest.raises(KeyboardInterrupt):
        evaluate(subject, finished=journal, progress=_interrupting(after=100))
    counted: list[int] = []

    def counting(slices: Any) -> Any:
        counted.append(sum(map(len, slices)))
        return computed(subject, slices)

    with Journal(tmp_path / "j", binding) as journal:
        kept = sum(map(len, journal.parts.values()))
        again = evaluate(subject, counting, journal)
    assert kept >= 100
    assert counted == [
        360 - kept + 2 * len(cut(subject.program, 360)[0])
    ]  # two slices are looked at once more
    assert same(again, whole)


def _interrupting(after: int) -> Any:
    def report(done: int, total: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    return report


def test_a_run_over_changed_data_does_not_go_on(subject: Subject, pairs: Pairs, tmp_path: Path) -> None:
    with Journal(tmp_path / "j", {}) as journal, pytest.raises(KeyboardInterrupt):
        evaluate(subject, finished=journal, progress=_interrupting(after=100))
    other = Subject.of(
        subject.program, [(image, (label + 1) % 10) for image, label in pairs], labels=range(10)
    )
    with Journal(tmp_path / "j", {}) as journal, pytest.raises(InputError) as refused:
        evaluate(other, finished=journal)
    assert refused.value.diagnostics[0].code == "changed-data"


@pytest.mark.parametrize("changed", [0, 359])
def test_a_finished_run_over_changed_data_is_not_shown_again(
    subject: Subject, pairs: Pairs, tmp_path: Path, changed: int
) -> None:
    with Journal(tmp_path / "j", {}) as journal:
        whole = evaluate(subject, finished=journal)
    other = list(pairs)
    other[changed] = (pairs[changed][0], (pairs[changed][1] + 1) % 10)
    with Journal(tmp_path / "j", {}) as journal:
        assert same(evaluate(subject, finished=journal), whole)
        with pytest.raises(InputError) as refused:
            evaluate(Subject.of(subject.program, other, labels=range(10)), finished=journal)
    assert refused.value.diagnostics[0].code == "changed-data"


def test_the_next_slices_are_loaded_meanwhile_but_not_all() -> None:
    loaded: list[int] = []
    gate = threading.Event()

    def slow(item: int) -> int:
        loaded.append(item)
        if item == 3:
            gate.set()
        return item

    results = prefetched(slow, range(100), ahead=3)
    assert next(results) == 0
    assert gate.wait(10)
    time.sleep(0.05)  # whoever loads too much has the time to
    assert max(loaded) == 3
    results.close()
    assert max(loaded) <= 4


def test_a_fault_of_the_loader_ends_the_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda n: 1 // (n - 2), range(100)))
    assert threading.active_count() == before


def test_what_is_random_in_a_data_set_is_the_same_in_every_run(program: Program) -> None:
    class Random:
        def __len__(self) -> int:
            return 130

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return np.random.randint(-128, 128, (1, 8, 8)), index % 10  # noqa: NPY002  (as loaders do it)

    subject = Subject.of(program, Random(), labels=range(10))
    backwards = [part for indices in reversed(cut(program, 130)) for part in computed(subject, [indices])]
    assert same(evaluate(subject), evaluate(subject, lambda slices: iter(backwards)))


def _drawn_next() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002  (the loaders')


@pytest.mark.parametrize("work", ["of", "evaluate", "open"])
def test_the_callers_generators_go_on_as_if_nothing_had_been(folder: Path, work: str) -> None:
    model = ModelSource(f"{folder / 'my_model.py'}:digits")
    opened = sources(folder, "Draws").open()
    works: dict[str, Callable[[], Any]] = {
        "of": lambda: Subject.of(opened.program, opened.data),
        "evaluate": lambda: evaluate(opened),
        "open": sources(folder, "Draws", model=model).open,
    }
    seeds = (random.seed, np.random.seed, torch.manual_seed)
    for seed in seeds:
        seed(1)
    undisturbed = _drawn_next()
    for seed in seeds:
        seed(1)
    works[work]()
    assert _drawn_next() == undisturbed


@pytest.mark.parametrize(
    ("sample", "code", "text"),
    [
        (np.full((1, 8, 8), 200), "sample-range", "sample 7: samples[0, 0, 0] is 200, outside int8"),
        (np.full((1, 8, 8), 0.5), "sample-fraction", "sample 7: samples[0, 0, 0] is 0.5, not an integer"),
        (np.full((1, 8, 8), np.nan), "sample-range", "sample 7: samples[0, 0, 0] is nan"),
        (np.zeros((8, 8)), "sample-shape", "sample 7: samples have the shape (8, 8)"),
        (np.zeros((1, 1, 8, 8)), "sample-shape", "sample 7 is a batch of the shape (1, 1, 8, 8)"),
        ("image", "sample-type", "sample 7: samples are of type <U5"),
        (None, "sample-type", "sample 7: samples are of type NoneType"),
        (
            torch.ones(1, 8, 8, dtype=torch.complex64),
            "sample-type",
            "sample 7: samples are of type complex64",
        ),
        (torch.empty(1, 8, 8, device="meta"), "sample-type", "sample 7: samples are of type Tensor, and no"),
        ([[1, 2], [3]], "sample-shape", "sample 7: samples are no array"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_wrong_sample_is_named(program: Program, pairs: Pairs, sample: Any, code: str, text: str) -> None:
    data = [*pairs[:7], (sample, 0), *pairs[8:]]
    with pytest.raises(InputError) as refused:
        evaluate(Subject.of(program, data, labels=range(10)))
    (found, *_) = refused.value.diagnostics
    assert found.code == code
    assert found.message.startswith(text)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (10, "it is 10, and the classes are 0..9"),
        (-1, "it is -1, and"),
        (2.5, "it is 2.5, and"),
        ([1, 2], "it is list of the shape (2,), not one number"),
        ("two", "it is str of the shape ()"),
        ([1, [2, 3]], "it is list of no shape, not one number"),
        (1 + 2j, "it is complex of the shape (), not one number"),
    ],
)
def test_a_wrong_target_is_named(program: Program, pairs: Pairs, target: Any, text: str) -> None:
    data = [*pairs[:7], (pairs[7][0], target), *pairs[8:]]
    with pytest.raises(InputError) as refused:
        evaluate(Subject.of(program, data, labels=range(10)))
    (found,) = refused.value.diagnostics
    assert found.code == "invalid-target"
    assert f"the target of sample 7 cannot be used: {text}" in found.message


def test_an_empty_data_set_is_refused(program: Program) -> None:
    with pytest.raises(InputError) as refused:
        Subject.of(program, [])
    assert refused.value.diagnostics[0].code == "no-samples"


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (np.zeros((2, 8, 8)), "a ndarray"),
        ({"image": 0, "label": 1}, "a dict of 2"),
        ((0, 1, 2), "a tuple of 3"),
        ("ab", "a str"),
        (torch.zeros(2, 1, 8, 8), "a Tensor"),
    ],
)
def test_an_item_that_is_no_pair_is_refused(program: Program, pairs: Pairs, item: Any, what: str) -> None:
    with pytest.raises(InputError) as refused:
        evaluate(Subject.of(program, [pairs[0], item], labels=range(10)))
    (found,) = refused.value.diagnostics
    assert found.code == "unloadable-sample"
    assert found.message == f"sample 1 is {what}, no pair of a sample and its target"


def test_items_are_taken_in_every_form_of_the_same_numbers(subject: Subject, pairs: Pairs) -> None:
    def as_parameter(image: Any) -> Any:
        return torch.from_numpy(image).float().requires_grad_()

    forms = (np.float64, torch.from_numpy, as_parameter, lambda image: as_parameter(image).bfloat16(), list)
    data = [(forms[n % len(forms)](image), torch.tensor(label)) for n, (image, label) in enumerate(pairs)]
    assert same(evaluate(Subject.of(subject.program, data, labels=range(10))), evaluate(subject))


def test_another_number_of_labels_draws_a_warning(program: Program, pairs: Pairs) -> None:
    (found,) = Subject.of(program, pairs, labels=("cat", "dog")).diagnostics
    assert (found.code, found.severity.value) == ("class-count", "warning")
    assert "names 2 classes, the network tells 10 apart" in found.message


def test_files_give_the_subject_and_its_evaluation(folder: Path, subject: Subject) -> None:
    opened = sources(folder).open()
    assert opened.task == subject.task
    assert same(evaluate(opened), evaluate(subject))


def test_a_failing_item_points_into_the_users_file(folder: Path) -> None:
    with pytest.raises(Ai8xsimError) as refused:
        evaluate(sources(folder, "Broken").open())
    text = render(refused.value.diagnostics[0])
    assert "loading sample 23 of `Broken` failed" in text
    assert 'raise FileNotFoundError("image 23 is not there")' in text


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("TooLoud", "sample-range"),
        ("OtherLabels", "invalid-target"),
        ("Boxes", "unscorable-target"),
        ("Dictionaries", "unloadable-sample"),
        ("Ends", "loader-failed"),
        ("NoLength", "loader-failed"),
    ],
)
def test_bad_data_sets_draw_diagnostics(folder: Path, name: str, code: str) -> None:
    with pytest.raises(Ai8xsimError) as refused:
        evaluate(sources(folder, name).open())
    assert code in {found.code for found in refused.value.diagnostics}


def test_faults_of_all_files_come_at_once(folder: Path) -> None:
    (folder / "network.yaml").write_text("layers: 5")
    (folder / "my_data.py").write_text("nothing = 1")
    with pytest.raises(Ai8xsimError) as refused:
        sources(folder).open()
    assert {"no-datasets"} < {found.code for found in refused.value.diagnostics}


def test_a_file_may_describe_data_sets_and_models(folder: Path) -> None:
    file = folder / "my_data.py"
    file.write_text(file.read_text() + "\n\nclass Net(ai8x.Conv2d):\n    pass\n" + MODEL_FILE)
    model = ModelSource(f"{file}:digits")
    assert evaluate(sources(folder, model=model).open()).scores.equal == 360


def test_a_model_that_is_the_network_agrees_everywhere(folder: Path) -> None:
    model = ModelSource(f"{folder / 'my_model.py'}:digits")
    evaluation = evaluate(sources(folder, model=model).open())
    assert (evaluation.scores.agreeing, evaluation.scores.equal) == (360, 360)
    assert len(evaluation.flips) == 0


def test_every_flip_is_told_with_both_answers(folder: Path) -> None:
    model = ModelSource(f"{folder / 'my_model.py'}:digits", given=(("worse", True),))
    evaluation = evaluate(sources(folder, model=model).open())
    record = document(evaluation)["model"]
    assert (record["agreeing"], record["equal_outputs"]) == (0, 0)
    assert [flip["sample"] for flip in record["flips"]] == list(range(360))
    for flip in record["flips"]:
        assert int(flip["model"]) == (int(flip["chip"]) + 1) % 10


def test_a_model_of_another_size_is_refused(subject: Subject) -> None:
    other = Subject(
        subject.program, subject.data, subject.task, model=lambda samples: np.zeros((len(samples), 3))
    )
    with pytest.raises(InputError) as refused:
        evaluate(other)
    assert refused.value.diagnostics[0].code == "model-output"


def test_the_fingerprint_tells_runs_apart(folder: Path, program: Program) -> None:
    one = sources(folder)
    first = dict(one.fingerprint(one.open()))
    assert first == dict(one.fingerprint(one.open()))
    assert first["network"] == program_digest(program)
    (folder / "my_data.py").write_text((folder / "my_data.py").read_text() + "\n# another\n")
    assert {name for name, value in one.fingerprint(one.open()).items() if value != first[name]} == {
        "dataset file"
    }
    text = (folder / "network.yaml").read_text().replace("name: conv1", "name: first", 1)
    (folder / "network.yaml").write_text(text)
    assert one.fingerprint(one.open())["network"] != first["network"]


def test_a_folded_output_is_segmented(pictures: Program, pairs: Pairs) -> None:
    generator = np.random.default_rng(0)
    data = [(image, generator.integers(0, 4, (1, 8, 8))) for image, _ in pairs[:70]]
    subject = Subject.of(pictures, data, labels="abcd")
    assert subject.task == Task(Kind.SEGMENTATION, tuple("abcd"), (8, 8), 2)
    evaluation, simulator = evaluate(subject), Simulator(pictures)
    answers = [unfold(simulator.run(image).output, 2).argmax(axis=0) for image, _ in data]
    right = [int((answer == target[0]).sum()) for answer, (_, target) in zip(answers, data, strict=True)]
    assert evaluation.columns["right"].tolist() == right
    record = document(evaluation)
    assert record["pixel_accuracy"] == sum(right) / (70 * 64)
    truth = np.concatenate([target.ravel() for _, target in data])
    ious = jaccard_score(truth, np.concatenate(answers).ravel(), average=None, zero_division=0)
    assert record["mean_iou"] == pytest.approx(float(ious.mean()), abs=1e-12)


def test_values_are_held_against_values(pictures: Program, pairs: Pairs) -> None:
    generator = np.random.default_rng(0)
    data = [(image, generator.normal(0, 40, (16, 4, 4)).astype(np.float32)) for image, _ in pairs[:70]]
    subject = Subject.of(pictures, data, regression=True)
    evaluation, simulator = evaluate(subject), Simulator(pictures)
    outputs = np.stack([simulator.run(image).output for image, _ in data]).astype(np.float64)
    errors = (outputs - np.stack([target for _, target in data])) / 128
    record = document(evaluation)
    assert record["mse"] == pytest.approx(float(np.square(errors).mean()), rel=1e-12)
    assert record["mae"] == pytest.approx(float(np.abs(errors).mean()), rel=1e-12)
    assert record["values"] == 70 * 256


def test_a_folded_output_is_unfolded_before_values_are_compared(pictures: Program, pairs: Pairs) -> None:
    output = Simulator(pictures).run(pairs[0][0]).output
    subject = Subject.of(pictures, [(pairs[0][0], unfold(output, 2))], regression=True)
    assert subject.task.fold == 2
    assert document(evaluate(subject))["mse"] == 0


def test_a_target_that_is_no_number_is_refused(pictures: Program, pairs: Pairs) -> None:
    wrong = [(pairs[0][0], np.full((16, 4, 4), value)) for value in (0.0, np.inf)]
    with pytest.raises(InputError) as refused:
        evaluate(Subject.of(pictures, wrong, regression=True))
    assert "the target of sample 1 cannot be used: it is not finite" in refused.value.diagnostics[0].message
    for target in ("cat", 3, np.zeros((5, 5)), {"boxes": 1}):
        with pytest.raises(InputError) as refused:
            Subject.of(pictures, [(pairs[0][0], target)])
        assert refused.value.diagnostics[0].code == "unscorable-target"


def test_targets_are_as_large_as_squares_allow(pictures: Program, pairs: Pairs) -> None:
    def subject(value: float) -> Subject:
        return Subject.of(pictures, [(pairs[0][0], np.full((16, 4, 4), value))], regression=True)

    assert document(evaluate(subject(LARGEST_TARGET)))["mse"] == pytest.approx((LARGEST_TARGET / 128) ** 2)
    for value in (1e200, -1e200):
        with pytest.raises(InputError) as refused:
            evaluate(subject(value))
        reason = f"the target of sample 0 cannot be used: it is {value:g}, too large for squared errors"
        assert refused.value.diagnostics[0].message == reason


@pytest.mark.parametrize("name", ["network.yaml", "notes.txt", "none"])
def test_a_file_that_is_not_python_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("datasets = []")
    with pytest.raises(InputError) as refused:
        find_dataset(f"{folder / name}:HeldOut")
    (found,) = refused.value.diagnostics
    assert (found.code, found.message) == ("not-importable", "this is no Python file (.py)")


def test_what_is_installed_inside_the_users_folder_stays_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a virtual environment inside a project: some packages cannot be imported a second time."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    file = folder / "my_data.py"
    file.write_text("import colorsys\n" + file.read_text())
    around = Path(sysconfig.get_path("stdlib")).parent
    find_dataset(f"{file}:HeldOut", path=around)
    assert "colorsys" in sys.modules
