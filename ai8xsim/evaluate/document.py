"""An evaluation as a JSON document, and as tables (CSV) of its samples and of its classes.

They hold nothing of the run itself, such as its time: the same evaluation gives the same bytes.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, BinaryIO

from ai8xsim.evaluate.measures import ClassMeasures, class_measures, mean
from ai8xsim.evaluate.run import Evaluation
from ai8xsim.evaluate.task import Kind

SCHEMA_VERSION = 1
TOP = 5


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation for JSON. What is not defined, such as a ratio of nothing, is null.

    Always: `schema_version`, `kind`, `samples`, `model` (null without one; else `agreeing` and `equal_outputs`,
    numbers of samples, and `flips`, each sample that the model answers otherwise).
    classification: `accuracy` (`top1`, `top5`), `right`, `tied`, `balanced_accuracy`, `macro_f1`, `classes`,
    `confusion`.
    segmentation: `pixels`, `pixel_accuracy`, `mean_iou`, `classes`, `confusion`.
    regression: `values`, `mse`, `rmse`, `mae`, in units in which data reach from -1 to 1.
    """
    figures = {
        Kind.CLASSIFICATION: _classification,
        Kind.SEGMENTATION: _segmentation,
        Kind.REGRESSION: _regression,
    }[evaluation.task.kind](evaluation)
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": evaluation.task.kind.value,
        "samples": evaluation.scores.samples,
    }
    return {**head, **figures, "model": _model(evaluation)}


def write_samples(evaluation: Evaluation, stream: BinaryIO) -> None:
    """Write a table with a row for each sample: its index, and the columns of `Part`, classes by their names."""
    columns = evaluation.columns
    named = [_named(evaluation, name, values) for name, values in columns.items()]
    _write_table(stream, ["sample", *columns], zip(range(evaluation.scores.samples), *named, strict=True))


def write_classes(evaluation: Evaluation, stream: BinaryIO) -> None:
    """Write a table with a row for each class: its measures, and how often it was answered as each class."""
    classes = evaluation.task.classes
    measures = class_measures(evaluation.scores.pairs, classes)
    names = [entry.name for entry in fields(ClassMeasures)]
    rows = (
        [*(getattr(row, name) for name in names), *counts.tolist()]
        for row, counts in zip(measures, evaluation.confusion, strict=True)
    )
    _write_table(stream, [*names, *(f"as {name}" for name in classes)], rows)


def flips(evaluation: Evaluation) -> Iterator[Mapping[str, Any]]:
    """Each sample that the model answers otherwise: its index, and both answers, or how many of them differ."""
    columns, classes = evaluation.columns, evaluation.task.classes
    for index in evaluation.flips.tolist():
        if "model" in columns:
            target, chip, model = (classes[columns[name][index]] for name in ("target", "answer", "model"))
            yield {"sample": index, "target": target, "chip": chip, "model": model}
        else:
            yield {"sample": index, "differing": int(columns["differing"][index])}


def _classification(evaluation: Evaluation) -> dict[str, Any]:
    scores = evaluation.scores
    measures = class_measures(scores.pairs, evaluation.task.classes)
    return {
        "accuracy": {"top1": evaluation.top(1), f"top{TOP}": evaluation.top(TOP)},
        "right": scores.ranks.below(1),
        "tied": scores.tied,
        "balanced_accuracy": mean([row.recall for row in measures]),
        "macro_f1": mean([row.f1 for row in measures]),
        **_classes(evaluation, measures),
    }


def _segmentation(evaluation: Evaluation) -> dict[str, Any]:
    pixels = evaluation.scores.pairs.total
    measures = class_measures(evaluation.scores.pairs, evaluation.task.classes)
    return {
        "pixels": pixels,
        "pixel_accuracy": int(evaluation.confusion.trace()) / pixels,
        "mean_iou": mean([row.iou for row in measures]),
        **_classes(evaluation, measures),
    }


def _classes(evaluation: Evaluation, measures: Sequence[ClassMeasures]) -> dict[str, Any]:
    return {"classes": [asdict(row) for row in measures], "confusion": evaluation.confusion.tolist()}


def _regression(evaluation: Evaluation) -> dict[str, Any]:
    scores, answers = evaluation.scores, evaluation.task.answers
    mse = scores.mean(scores.squared, answers)
    return {
        "values": scores.samples * answers,
        "mse": mse,
        "rmse": mse**0.5,
        "mae": scores.mean(scores.absolute, answers),
    }


def _model(evaluation: Evaluation) -> dict[str, Any] | None:
    scores = evaluation.scores
    if not scores.compared:
        return None
    return {"agreeing": scores.agreeing, "equal_outputs": scores.equal, "flips": list(flips(evaluation))}


def _named(evaluation: Evaluation, name: str, values: Any) -> Iterable[Any]:
    classes = evaluation.task.classes
    if classes and name in {"target", "answer", "model"}:
        return (classes[value] for value in values.tolist())
    convert: Callable[[Any], Any] = int if values.dtype.kind == "b" else lambda value: value
    return map(convert, values.tolist())


def _write_table(stream: BinaryIO, titles: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """As RFC 4180 has it, in UTF-8; what is not defined is left empty."""
    text = io.TextIOWrapper(stream, "utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(titles)
    writer.writerows(rows)
    text.flush()
    text.detach()  # the stream is closed by whoever opened it
