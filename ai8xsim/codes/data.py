"""Codes of images and of data-set files."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 8",
    Code("pixel-range", "Values that should be pixels are none.",
         "Pixels are integers 0..255, or floats in [0, 1]; other values would be saturated without a word.",
         "Scale them to one of the two, as it was done in training; normalize once, not twice."),
    Code("fold-shape", "An image cannot be folded or unfolded by this ratio.",
         "Folding by r takes every r-th pixel in both directions; unfolding needs r * r channels for each colour.",
         "Crop or resize to multiples of the ratio."),
    Code("image-shape", "An image has not the three colour channels that this needs.",
         "A Bayer filter and RGB565 choose between red, green and blue.", "Give (3, H, W), channels first."),
    Code("no-datasets", "A data-set file has no list `datasets` with data sets in it.",
         "The training software finds data sets in the module's list `datasets` of dictionaries.",
         "Add `datasets = [{'name': ..., 'input': ..., 'output': ..., 'loader': ...}]`."),
    Code("dataset-key", "A data set lacks a key, has an unknown one, or is no dictionary.",
         "`name`, `input`, `output` and `loader` are read always; `weight`, `regression`, `collate` and `visualize` "
         "where they are; a misspelt key is passed over without a word.", "Spell the keys as listed."),
    Code("dataset-value", "A value of a data set's dictionary has the wrong type, length or range.",
         "`input` becomes the model's channels and dimensions, the number of labels in `output` its classes, and each "
         "class has one `weight`.", "See the message."),
    Code("dataset-name", "A data set's name is taken already, or there is none of that name.",
         "The training software takes the first one of a name.", "Give each data set a name of its own."),
    Code("text-as-output", "The labels of a data set are a text, which counts as one label for each character.",
         "Python reads ('id') as 'id', not as a tuple; the number of labels is then 2, and the model gets 2 outputs.",
         "Write a comma: ('id',)."),
    Code("loader-signature", "A loader cannot be called as the training software calls it.",
         "It is called as loader((data_dir, args), load_train=..., load_test=...).", "Give it these parameters."),
    Code("loader-failed", "A loader raised an exception, or ended the program.",
         "The exception and what the loader printed before are shown; the place is in the user's file.",
         "Mend the loader, or bring the files that it wants into the folder of data."),
    Code("loader-result", "A loader returned something other than two data sets.",
         "The training software takes (train, test), each with a length and items (data, label), or None for the one "
         "that was not asked for.", "Return `train_dataset, test_dataset`."),
)  # fmt: skip
