"""How a model is trained: every number that decides what comes out."""

from dataclasses import dataclass
from math import cos, pi
from typing import Any, Literal

from ai8xsim.diagnostics import Diagnostic, warning
from ai8xsim.train.policy import Policy


@dataclass(frozen=True)
class Recipe:
    """What decides the outcome of a training, beside model and data.

    learning_rate: of the float epochs; qat_learning_rate: of those with quantization, a quarter of it by default.
    Both fall along a cosine to zero with "cosine", and stay with "constant". validation_split: the share of the
    training set that is held out to choose the best epoch; 0: the last epoch is the best. seed: of weights' order,
    batches and augmentation. The same recipe on the same machine gives the same checkpoint.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    qat_learning_rate: float | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    validation_split: float = 0.1
    seed: int = 0
    policy: Policy | None = None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Warnings: those of the policy, and one if no epoch is left for it."""
        if self.policy is None:
            return ()
        if self.policy.start_epoch < self.epochs:
            return self.policy.diagnostics
        start = self.policy.start_epoch
        message = (
            f"no epoch is trained with quantization: that begins at epoch {start}, of {self.epochs} from 0"
        )
        mend = "train longer, or let `start_epoch` of a policy be smaller"
        return *self.policy.diagnostics, warning("no-quantized-epoch", message, help=mend)

    def is_quantized(self, epoch: int) -> bool:
        """Whether an epoch trains with quantization in the loop."""
        return self.policy is not None and epoch >= self.policy.start_epoch

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch.

        >>> [Recipe(epochs=2, learning_rate=1.0).rate(epoch) for epoch in (0, 1)]
        [1.0, 0.5]
        """
        if self.is_quantized(epoch):
            assert self.policy is not None
            start, end = self.policy.start_epoch, self.epochs
            highest = self.learning_rate / 4 if self.qat_learning_rate is None else self.qat_learning_rate
        else:
            start, end = 0, min(self.epochs, self.policy.start_epoch) if self.policy else self.epochs
            highest = self.learning_rate
        if self.schedule == "constant":
            return highest
        return highest * (1 + cos(pi * (epoch - start) / (end - start))) / 2

    def record(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        plain = {name: value for name, value in vars(self).items() if name != "policy"}
        return {**plain, "policy": self.policy.record() if self.policy else None}
