"""Figures of merit from exact counts; those of classes as scikit-learn defines them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.evaluate.histogram import Histogram


@dataclass(frozen=True)
class ClassMeasures:
    """How one class fares. A ratio of nothing is None.

    support: how many samples (or pixels) are of the class; answered: how many are said to be.
    precision: the share of right ones among those answered; recall: among those that are; f1: their harmonic mean;
    iou: right ones over those that are or are said to be of the class (intersection over union, Jaccard index).
    """

    name: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


def class_measures(pairs: Histogram, classes: tuple[str, ...]) -> tuple[ClassMeasures, ...]:
    """The measures of each class, from counts of target * classes + answer.

    scikit-learn counts weighted samples: here each pair that occurred is one, and its count the weight.

    >>> [m.recall for m in class_measures(Histogram.of([0, 0, 1, 3]), ("cat", "dog"))]
    [0.6666666666666666, 1.0]
    """
    from sklearn.metrics import jaccard_score, precision_recall_fscore_support

    count = len(classes)
    targets, answers = np.divmod(pairs.values, count)
    weighed: dict[str, Any] = {"labels": range(count), "average": None, "sample_weight": pairs.counts}
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, answers, zero_division=np.nan, **weighed
    )
    iou = jaccard_score(targets, answers, zero_division=0, **weighed)
    support, answered = (np.bincount(who, pairs.counts, count).astype(int) for who in (targets, answers))
    met = (support + answered) > 0
    return tuple(
        ClassMeasures(
            name=classes[n],
            support=int(support[n]),
            answered=int(answered[n]),
            precision=_number(precision[n]),
            recall=_number(recall[n]),
            f1=_number(f1[n]) if met[n] else None,
            iou=_number(iou[n]) if met[n] else None,
        )
        for n in range(count)
    )


def mean(values: list[float | None]) -> float | None:
    """The mean of what there is; None if there is nothing.

    >>> mean([0.5, None, 1.0])
    0.75
    """
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _number(value: np.floating[Any] | float) -> float | None:
    return None if np.isnan(value) else float(value)


def confused(pairs: Histogram, classes: tuple[str, ...], most: int) -> list[tuple[str, str, int]]:
    """The wrong answers given most often: the class, the answer, how often; of equals, by their numbers.

    >>> confused(Histogram.of([0, 1, 1, 2]), ("cat", "dog"), 1)
    [('cat', 'dog', 2)]
    """
    targets, answers = np.divmod(pairs.values, len(classes))
    wrong: npt.NDArray[Any] = np.flatnonzero(targets != answers)
    order = wrong[np.argsort(-pairs.counts[wrong], kind="stable")][:most]
    return [(classes[targets[n]], classes[answers[n]], int(pairs.counts[n])) for n in order]
