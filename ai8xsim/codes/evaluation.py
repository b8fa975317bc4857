"""Codes of evaluations: data sets, journals, clusters."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 8",
    Code("no-samples", "A data set is empty.", "There is nothing to evaluate.",
         "See whether the folder of data holds what the loader looks for."),
    Code("unloadable-sample", "The data set fails to deliver a sample and its target.",
         "Its own code raised an exception, or returned something else than a pair.",
         "Mend the data set; the message, or its note, says what it did."),
    Code("unscorable-target", "A target cannot be held against the network's output.",
         "A class is one number, for an output of one pixel; a segmentation has a number for each pixel; for "
         "regression a target has as many values as the output. Boxes of detected objects are not scored.",
         "Take the data set that the network was made for; say with `--out-fold-ratio` how its output is folded."),
    Code("invalid-target", "A target is no class of the data set, or no finite number, or has another shape.",
         "Classes count from 0; each target must have the first one's shape.", "Mend the data set's labels."),
    Code("class-count", "The data set names another number of classes than the network tells apart.",
         "Classes are then called by their numbers; a target without an output is an error.",
         "Take the network made for this data set."),
    Code("model-output", "A PyTorch model returns something else than the network's last layer.",
         "Its answers are held against the chip's, value by value.", "Take the model the description was made from."),
    Code("not-a-journal", "The file is no journal of an evaluation.", "It may be somebody's work, and is not touched.",
         "Name another file with `--journal`."),
    Code("other-journal", "The journal is of another evaluation.",
         "Results of another network, data set or version cannot be taken over.",
         "Delete the journal, or name another one."),
    Code("no-journal", "The journal cannot be written where the command runs.",
         "It is kept in the working directory unless another file is named; the evaluation itself does not need it.",
         "Name a file that can be written with `--journal`, or run the command in another folder."),
    Code("journal-in-use", "Another process is writing the journal.", "Two runs would spoil each other's results.",
         "Wait for the other run, or name another journal."),
    Code("changed-data", "A data set delivers other samples than when the run began.",
         "A run that is taken up again computes the first and the last finished slice once more to see that.",
         "Delete the journal to begin anew; a test set must not depend on chance."),
    Code("cluster-failed", "A Dask cluster cannot do the work.",
         "Each worker opens the files for itself: all machines need the same files under the same names.",
         "See the message."),
)  # fmt: skip
