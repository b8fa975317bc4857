"""The table of checks of a data set: one row a code."""

from typing import NamedTuple

from ai8xsim.data.findings import folds, labels, modes, processes, sets, shapes, types, values
from ai8xsim.data.findings.subject import Finder


class Check(NamedTuple):
    """A check: the code of what it finds, and the function that does."""

    code: str
    find: Finder


CHECKS = (
    Check("empty-set", sets.empty_set),
    Check("item-unreadable", types.item_unreadable),
    Check("item-structure", types.item_structure),
    Check("item-device", types.item_device),
    Check("item-type", types.item_type),
    Check("item-shape", shapes.item_shape),
    Check("item-nan", values.item_nan),
    Check("not-normalized", values.not_normalized),
    Check("normalized-twice", values.normalized_twice),
    Check("mode-ignored", values.mode_ignored),
    Check("item-fraction", values.item_fraction),
    Check("item-range", values.item_range),
    Check("mode-factor", modes.mode_factor),
    Check("narrow-range", values.narrow_range),
    Check("constant-channel", values.constant_channel),
    Check("scrambled-axes", folds.scrambled_axes),
    Check("fold-ratio", folds.fold_ratio),
    Check("fold-order", folds.fold_order),
    Check("label-shape", labels.label_shape),
    Check("label-type", labels.label_type),
    Check("label-range", labels.label_range),
    Check("class-missing", labels.class_missing),
    Check("class-weight", labels.class_weight),
    Check("unsteady-items", sets.unsteady_items),
    Check("unsteady-split", sets.unsteady_split),
    Check("truncation-ignored", sets.truncation_ignored),
    Check("overlapping-sets", sets.overlapping_sets),
    Check("repeated-items", sets.repeated_items),
    Check("not-picklable", processes.not_picklable),
    Check("workers-fail", processes.workers_fail),
)
