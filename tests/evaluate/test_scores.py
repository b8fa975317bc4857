"""Counts: right by slow definitions, and the same however the samples are cut into parts."""

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from ai8xsim import Program
from ai8xsim.data import unfold
from ai8xsim.evaluate import Kind, Scores, Task
from ai8xsim.evaluate.histogram import DENSE, Histogram
from ai8xsim.evaluate.measures import class_measures, confused
from ai8xsim.evaluate.scores import labels_of, score
from ai8xsim.evaluate.task import task_of

Array = npt.NDArray[Any]


@st.composite
def judged(draw: st.DrawFn) -> tuple[Task, Array, Array, Array | None]:
    """A task with outputs of many ties, targets, and perhaps another's outputs."""
    count, classes, fold = draw(st.integers(1, 12)), draw(st.integers(2, 7)), draw(st.integers(1, 2))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kind = draw(st.sampled_from(Kind))
    if kind is Kind.CLASSIFICATION:
        task, shape = Task(kind, tuple("abcdefg"[:classes])), (classes, 1, 1)
        targets: Array = generator.integers(0, classes, count)
    elif kind is Kind.SEGMENTATION:
        task = Task(kind, tuple("abcdefg"[:classes]), (2 * fold, 3 * fold), fold)
        shape = (classes * fold**2, 2, 3)
        targets = generator.integers(0, classes, (count, *task.shape))
    else:
        task, shape = Task(kind, (), (5,), unit=2.0**-14), (5, 1, 1)
        targets = generator.normal(0, 50, (count, 5))
    outputs = generator.integers(-3, 3, (count, *shape)).astype(np.int8)
    theirs = outputs + (generator.random(outputs.shape) < 0.1) if draw(st.booleans()) else None
    return task, outputs, targets, theirs


@given(judged(), st.data())
def test_any_partition_gives_the_same_scores(given: Any, data: st.DataObject) -> None:
    task, outputs, targets, theirs = given
    count = len(outputs)
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5)) if count else []
    bounds = sorted({0, count, *cuts})
    parts = [
        score(
            task, first, outputs[first:end], targets[first:end], None if theirs is None else theirs[first:end]
        )
        for first, end in itertools.pairwise(bounds)
    ]
    whole = score(task, 0, outputs, targets, theirs)
    shuffled = data.draw(st.permutations(parts))
    assert Scores.total(map(Scores.of, shuffled)) == Scores.of(whole)
    for name, column in whole.columns.items():
        assert np.array_equal(np.concatenate([part.columns[name] for part in parts]), column)


@given(judged())
def test_scores_are_those_of_slow_definitions(given: Any) -> None:
    task, outputs, targets, theirs = given
    part = score(task, 0, outputs, targets, theirs)
    scores = Scores.of(part)
    assert scores.samples == len(outputs)
    if task.kind is Kind.REGRESSION:
        errors = outputs.reshape(len(outputs), -1) * 2.0**-14 - targets / 128
        exact = sum(Fraction(float(np.square(row).sum())) for row in errors)
        assert scores.mean(scores.squared, 5) == float(exact / (5 * len(outputs)))
        assert scores.mean(scores.absolute, 5) == pytest.approx(np.abs(errors).mean(), rel=1e-12)
        return
    if task.kind is Kind.CLASSIFICATION:
        values = outputs.reshape(len(outputs), -1)
        answers: Array = values.argmax(axis=1)
        order = np.argsort(-values.astype(int), axis=1, kind="stable")
        ranks = [row.tolist().index(target) for row, target in zip(order, targets, strict=True)]
        assert part.columns["rank"].tolist() == ranks
        tied = [int((row == row.max()).sum()) > 1 for row in values]
        assert scores.tied == sum(tied)
        for k in (1, 2, 5):
            assert scores.ranks.below(k) == sum(rank < k for rank in ranks)
    else:
        answers = unfold(outputs, task.fold).argmax(axis=1)
    expected = confusion_matrix(targets.ravel(), answers.ravel(), labels=range(len(task.classes)))
    assert np.array_equal(scores.pairs.dense(len(task.classes) ** 2).reshape(expected.shape), expected)


@given(judged())
def test_agreement_counts_samples_answered_alike(given: Any) -> None:
    task, outputs, targets, theirs = given
    part = score(task, 0, outputs, targets, theirs)
    scores = Scores.of(part)
    if theirs is None:
        assert (scores.compared, scores.agreeing, scores.equal) == (0, 0, 0)
        return
    rows, others = outputs.reshape(len(outputs), -1), theirs.reshape(len(outputs), -1)
    assert scores.equal == sum(np.array_equal(a, b) for a, b in zip(rows, others, strict=True))
    if task.kind is Kind.CLASSIFICATION:
        assert scores.agreeing == int((rows.argmax(axis=1) == others.argmax(axis=1)).sum())
    assert scores.compared == len(outputs) >= scores.agreeing >= scores.equal


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 1 << 32))
def test_class_measures_are_those_of_the_samples_themselves(classes: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    targets, answers = generator.integers(0, classes, (2, count))
    pairs = Histogram.of(targets * classes + answers)
    rows = class_measures(pairs, tuple(map(str, range(classes))))
    weighed: dict[str, Any] = {"labels": range(classes), "average": None, "zero_division": 0}
    for name, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score),
                          ("iou", jaccard_score)):  # fmt: skip
        ours = [getattr(row, name) or 0 for row in rows]
        assert ours == pytest.approx(measure(targets, answers, **weighed), abs=1e-12)
    for number, row in enumerate(rows):
        assert row.support == int((targets == number).sum())
        assert row.answered == int((answers == number).sum())
        assert (row.recall is None) == (row.support == 0)
        assert (row.precision is None) == (row.answered == 0)
        assert (row.iou is None) == (row.support == row.answered == 0)


def test_most_confused_pairs_come_first() -> None:
    pairs = Histogram.of([1, 1, 2, 5, 5, 5, 0])
    assert confused(pairs, ("a", "b", "c"), 2) == [("b", "c", 3), ("a", "b", 2)]


@given(st.lists(st.integers(-5, DENSE + 5)), st.lists(st.integers(0, 9)))
def test_histograms_count_and_add(left: list[int], right: list[int]) -> None:
    total = Histogram.of(left) + Histogram.of(right)
    assert total == Histogram.of(left + right)
    assert total.total == len(left + right)
    assert total.below(3) == sum(value < 3 for value in left + right)


@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 1 << 32))
def test_labels_are_the_first_of_the_largest(classes: int, fold: int, seed: int) -> None:
    shape = (2, classes * fold**2, 3, 2)
    outputs = np.random.default_rng(seed).integers(-2, 2, shape).astype(np.int8)
    assert np.array_equal(labels_of(outputs, fold), unfold(outputs, fold).argmax(axis=1))


def test_more_than_256_classes_have_labels() -> None:
    outputs = np.full((1, 400, 1, 1), -5, np.int32)
    outputs[0, 399] = 7
    assert labels_of(outputs, 1).ravel().tolist() == [399]


def test_a_task_follows_from_output_and_target(program: Program) -> None:
    assert task_of(program, range(10), False, 3) == Task(Kind.CLASSIFICATION, tuple("0123456789"))
    assert task_of(program, "ab", False, np.float32(3)).classes == tuple("0123456789")
    values = task_of(program, range(10), True, np.zeros(10))
    assert (values.kind, values.answers, values.unit) == (Kind.REGRESSION, 10, 2.0**-14)
