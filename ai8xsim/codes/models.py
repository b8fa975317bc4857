"""Codes of users' PyTorch models and what is loaded into them."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 6 and 9",
    Code("not-importable", "A model file cannot be imported, or has no such name.",
         "The file's own code runs when it is imported; `import ai8x` in it means ours.",
         "Name the factory as FILE:FACTORY, and with `--path` the repository that its helpers lie in."),
    Code("model-failed", "A model's own code failed: in its factory, or on a batch.",
         "A factory is called with pretrained, num_classes, num_channels, dimensions, bias and, for a quantized "
         "checkpoint, weight_bits, bias_bits and quantize_activation. A model is called with a batch of the data set's "
         "or the sample's shape.",
         "See the line that failed. Let the data set's `input` and the factory agree; give other arguments of the "
         "factory with `--model-argument NAME=VALUE`."),
    Code("missing-tensors", "The checkpoint lacks weights or biases of the model, or has them in other sizes.",
         "A model with some of its weights random would compute nonsense.",
         "Take the checkpoint of this model, and make the model as it was trained (`bias`, sizes)."),
    Code("ignored-tensors", "The checkpoint holds tensors for which the model has no place.",
         "The vendor's loader drops them without a word: a model made without bias loses stored biases.",
         "Make the model with `bias=True`, or accept it."),
    Code("activation-threshold", "A trained checkpoint holds activation thresholds.",
         "Training software of 2025 shifts a layer's output by so much less while it trains, and its quantizer takes "
         "that into `output_shift`; training with the chip's arithmetic knows only the shift.",
         "Quantize the checkpoint, or load it with `setting(behaviour=\"vendor\")`."),
    Code("defaulted-tensors", "The checkpoint lacks numbers of the model's layers.",
         "Old files have no `shift_quantile`, for example; the layer keeps its default.", "Nothing, mostly."),
)  # fmt: skip
