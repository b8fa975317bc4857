"""A data set through the functional level: how often the chip is right, and where PyTorch would answer otherwise.

    subject    = Subject.of(program, data, labels=dataset.output)
    evaluation = evaluate(subject, progress=print)
    evaluation.top(1), evaluation.confusion

Each slice of the data set gives a small part; parts add up exactly, so that a run that was killed and taken up again,
or spread over a cluster, has the result of an undisturbed one.
"""

from ai8xsim.evaluate.batches import cut
from ai8xsim.evaluate.run import Evaluation, computed, evaluate
from ai8xsim.evaluate.scores import Part, Scores
from ai8xsim.evaluate.subject import Subject
from ai8xsim.evaluate.task import Kind, Task

__all__ = ["Evaluation", "Kind", "Part", "Scores", "Subject", "Task", "computed", "cut", "evaluate"]
