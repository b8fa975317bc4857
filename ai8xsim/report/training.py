"""A training in the terminal: a row for each epoch as it is done, and a bar for the one at work."""

from types import MappingProxyType, TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ai8xsim.train import Epoch, Result

NAMES = MappingProxyType({"top1": "% right", "mse": "mse"})


class EpochTable:
    """Rows on stdout, the bar on stderr."""

    def __init__(self, metric: str, epochs: int, hidden: bool = False) -> None:
        self._metric, self._epochs, self._hidden = NAMES[metric], epochs, hidden
        self._screen = Console(highlight=False)
        columns = (
            TextColumn("epoch {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)
        self._task = self._bars.add_task("", total=None)
        self._number = 0

    def __enter__(self) -> Self:
        if not self._hidden:
            self._screen.print(f"{'epoch':>7}  {'weights':<9}  {'rate':>8}  {'loss':>8}  {self._metric:>8}")
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, done: int, total: int) -> None:
        """Batches of the epoch at work."""
        self._bars.update(self._task, completed=done, total=total, description=str(self._number))

    def show(self, epoch: Epoch) -> None:
        """A row; a star marks the best epoch so far."""
        self._number = epoch.number + 1
        if self._hidden:
            return
        kind = "quantized" if epoch.is_quantized else "float"
        score = f"{self._said(epoch.score)}{' *' if epoch.is_best else ''}"
        row = f"{epoch.number:>7}  {kind:<9}  {epoch.learning_rate:>8.2g}  {epoch.loss:>8.4f}  {score}"
        self._screen.print(row)

    def finish(self, result: Result) -> None:
        """Where the best checkpoint is, and how good."""
        score = ""
        if result.test_score is not None:
            score = f": {self._said(result.test_score).strip()} {self._metric} of the test set"
        self._screen.print(f"{result.best}{score}", soft_wrap=True)

    def _said(self, score: float) -> str:
        """Percent with two decimals; a squared error, which may be small, with its first three digits."""
        return f"{score:>8.2f}" if self._metric == NAMES["top1"] else f"{score:>8.3g}"
