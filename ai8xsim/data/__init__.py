"""Data in front of the chip: pixels to its range, the contract of data-set files, checks of what a loader delivers.

image  = ai8xsim.data.normalize(pixels_chw)                # integers in -128..127
sample = ai8xsim.data.to_sample(ai8xsim.data.fold(image, 4))
"""

from ai8xsim.data.check import CheckPlan, DataFindings, check_data
from ai8xsim.data.contract import data_stand_ins, find_dataset, load_datasets
from ai8xsim.data.dataset import Dataset
from ai8xsim.data.images import (
    bayer_filter,
    fold,
    fold_image,
    from_rgb565,
    from_unsigned,
    normalize,
    to_rgb565,
    to_sample,
    to_unsigned,
    unfold,
    unfold_image,
)

__all__ = [
    "CheckPlan",
    "DataFindings",
    "Dataset",
    "bayer_filter",
    "check_data",
    "data_stand_ins",
    "find_dataset",
    "fold",
    "fold_image",
    "from_rgb565",
    "from_unsigned",
    "load_datasets",
    "normalize",
    "to_rgb565",
    "to_sample",
    "to_unsigned",
    "unfold",
    "unfold_image",
]
