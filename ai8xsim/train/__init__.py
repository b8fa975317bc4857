"""Training users' models with the chip's arithmetic in the loop, into checkpoints that the vendor's tools read.

training = Training.begin(model, Goal.of(dataset), Recipe(epochs=60, policy=read_policy("qat.yaml")))
result = training.run(Data(train_set, test_set), Path("run"))
"""

from ai8xsim.train.batches import Data
from ai8xsim.train.goal import Goal, Score
from ai8xsim.train.policy import Override, Policy, read_policy
from ai8xsim.train.recipe import Recipe
from ai8xsim.train.training import Epoch, Result, Training, seed_generators

__all__ = [
    "Data",
    "Epoch",
    "Goal",
    "Override",
    "Policy",
    "Recipe",
    "Result",
    "Score",
    "Training",
    "read_policy",
    "seed_generators",
]
