"""An evaluation in the terminal."""

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from ai8xsim.diagnostics import printable
from ai8xsim.evaluate import Evaluation, Kind
from ai8xsim.evaluate.document import TOP, flips
from ai8xsim.evaluate.measures import class_measures, confused, mean
from ai8xsim.report.terminal import console, plain_table, print_table

SHOWN_CLASSES, SHOWN_FLIPS, SHOWN_CONFUSIONS = 40, 10, 5


def print_evaluation(evaluation: Evaluation) -> None:
    """How often the chip is right, each class, what is confused, and what the model answers otherwise."""
    screen = console()
    for line in (*_figures(evaluation), *_agreement(evaluation)):
        screen.print(Text(printable(line)), soft_wrap=True)
    if 0 < len(evaluation.task.classes) <= SHOWN_CLASSES:
        _print_classes(evaluation)
    wrong = confused(evaluation.scores.pairs, evaluation.task.classes, SHOWN_CONFUSIONS)
    if wrong:
        told = ", ".join(f"{target} as {answer} ({count:,})" for target, answer, count in wrong)
        screen.print(Text(printable(f"most often confused: {told}")), soft_wrap=True)


def _figures(evaluation: Evaluation) -> Iterator[str]:
    scores, kind = evaluation.scores, evaluation.task.kind
    if kind is Kind.CLASSIFICATION:
        right, near = scores.ranks.below(1), scores.ranks.below(TOP)
        yield f"accuracy: {_share(right, scores.samples)} samples right"
        if len(evaluation.task.classes) > TOP:
            yield f"top {TOP}: {_share(near, scores.samples)}"
        if scores.tied:
            yield f"ties: in {scores.tied:,} samples several classes have the best score; the first of them counts"
    elif kind is Kind.SEGMENTATION:
        measures = class_measures(scores.pairs, evaluation.task.classes)
        right = int(evaluation.confusion.trace())
        yield f"pixel accuracy: {_share(right, scores.pairs.total)} pixels right, in {scores.samples:,} samples"
        yield f"mean IoU: {_ratio(mean([row.iou for row in measures]))}"
    else:
        answers = evaluation.task.answers
        mse, mae = (scores.mean(errors, answers) for errors in (scores.squared, scores.absolute))
        yield f"{scores.samples:,} samples of {answers:,} values, in units in which data reach from -1 to 1"
        yield f"mean squared error: {mse:.6g}; its root: {mse**0.5:.6g}; mean absolute error: {mae:.6g}"


def _agreement(evaluation: Evaluation) -> Iterator[str]:
    scores = evaluation.scores
    if not scores.compared:
        return
    yield (
        f"agreement with the model: {_share(scores.agreeing, scores.compared)} samples answered alike, "
        f"{scores.equal:,} with every output value equal"
    )
    found = list(flips(evaluation))
    for flip in found[:SHOWN_FLIPS]:
        yield "  " + _flip(flip)
    if len(found) > SHOWN_FLIPS:
        yield f"  and {len(found) - SHOWN_FLIPS:,} more; `--output` writes them all"


def _flip(flip: Any) -> str:
    if "differing" in flip:
        return f"sample {flip['sample']}: {flip['differing']:,} answers differ"
    return f"sample {flip['sample']} is {flip['target']}; chip {flip['chip']}, model {flip['model']}"


def _print_classes(evaluation: Evaluation) -> None:
    titles = ("class", "samples", "answered", "precision", "recall", "F1", "IoU")
    table = plain_table(*titles)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in class_measures(evaluation.scores.pairs, evaluation.task.classes):
        ratios = map(_ratio, (row.precision, row.recall, row.f1, row.iou))
        table.add_row(Text(printable(row.name)), f"{row.support:,}", f"{row.answered:,}", *ratios)
    print_table(console(), table)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}, {part:,} of {whole:,}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
