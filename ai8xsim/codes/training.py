"""Codes of training: policies, data that do not fit the model, runs that cannot be resumed."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 2 and 5",
    Code("policy-key", "A policy of quantization-aware training lacks a key, or has one that is not read.",
         "`start_epoch` and `weight_bits` say when and how; `shift_quantile` and `overrides` may be left out.",
         "Spell the keys as listed."),
    Code("policy-value", "A value of a policy has the wrong type or range, or names a layer that is not there.",
         "Weights have 1, 2, 4 or 8 bits; the first epochs train floats; an override of a misspelt layer would be "
         "passed over without a word.", "See the message."),
    Code("no-quantized-epoch", "A training ends before its quantization begins.",
         "The epochs are counted from 0; those before `start_epoch` train floats, and the chip computes with none.",
         "Train longer, or begin earlier; `--no-qat` says that floats are wanted."),
    Code("nothing-to-quantize", "The model has no layers with weights that the chip could compute.",
         "Layers of `ai8x` are quantized; PyTorch's own are not, and no description could name them.",
         "Make the model of `ai8x` modules, or train it with `--no-qat`."),
    Code("labels-do-not-fit", "The model's output and the data set's labels do not fit each other.",
         "A loss needs one output for each label of `output`, and labels that count from 0.",
         "Let the model's last layer, the data set's `output` and its labels agree."),
    Code("loss-not-finite", "The loss became infinite or no number.",
         "With too large a learning rate weights grow without bound.", "Lower the learning rate."),
    Code("cannot-resume", "A training cannot be resumed from this file, or not with these options.",
         "What comes out depends on the data set, the model and every number of the recipe; only epochs may be added.",
         "Resume from the last checkpoint of the same training, with the same options."),
)  # fmt: skip
