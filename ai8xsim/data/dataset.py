"""A data set as a data-set file describes it, and the call of its loader."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

from ai8xsim.diagnostics import Diagnostic, Span, error
from ai8xsim.errors import InputError
from ai8xsim.models import UserFile, line_of

LINES_KEPT = 5


@dataclass(frozen=True)
class Dataset:
    """One entry of a file's list `datasets`.

    name: how the training software is told to use it. input: shape of one item, (C, H, W) or (C, L). output: its
    labels. loader: called by `load`. weight: the loss's weight for each label. regression: no classes but numbers.
    visualize, collate: functions of the user, or None. fold_ratio: by how much the items are folded, as the file says.
    span: where it stands; `place(key)` is where one of its keys does. diagnostics: warnings about it, not part of
    equality.
    """

    name: str
    input: tuple[int, ...]
    output: tuple[Any, ...]
    loader: Callable[..., Any]
    weight: tuple[float, ...] | None = None
    regression: bool = False
    visualize: Callable[..., Any] | None = None
    collate: Callable[..., Any] | None = None
    fold_ratio: int = 1
    span: Span = field(default_factory=lambda: Span(""), compare=False)
    source: UserFile | None = field(default=None, compare=False, repr=False)
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_regression(self) -> bool:
        """Whether items are labelled with numbers: said so, or implied by a single label."""
        return self.regression or len(self.output) == 1

    def place(self, key: str) -> Span:
        """Where a key of the dictionary stands in the file."""
        return self.places.get(key, self.span)

    def arguments(self, act_mode_8bit: bool, truncate_testset: bool = False) -> SimpleNamespace:
        """What loaders get as `args`: all that the training software's own data sets read, on the CPU."""
        channels, *size = self.input
        return SimpleNamespace(
            act_mode_8bit=act_mode_8bit, truncate_testset=truncate_testset, device="cpu", gpus=None,
            dataset=self.name, labels=self.output, num_classes=len(self.output), regression=self.is_regression,
            dimensions=(channels, *size, *(1,) * (2 - len(size))), obj_detection=False, evaluate=act_mode_8bit,
            deterministic=True, seed=None, batch_size=256, workers=0, validation_split=0.1, enable_mp_mode=False,
        )  # fmt: skip

    def load(
        self,
        data_dir: str | Path,
        act_mode_8bit: bool,
        train: bool = True,
        test: bool = True,
        truncate_testset: bool = False,
    ) -> tuple[Any, Any]:
        """The train set and the test set that the loader makes, None for one that was not asked for.

        act_mode_8bit: integers in -128..127 for quantized checkpoints, else floats in [-1, 1) for training.
        What the loader prints goes to stderr. Its classes can be pickled, and its own late imports find `ai8x`, inside
        `with dataset.present():`.
        Raises InputError where the loader fails or returns something else; the place is in the user's code.
        """
        given = (str(data_dir), self.arguments(act_mode_8bit, truncate_testset))
        with self.guarded("the loader") as printed:
            result = self.loader(given, load_train=train, load_test=test)
        return self._checked(result, (train, test), tuple(printed))

    @contextmanager
    def present(self) -> Iterator[None]:
        """The modules of the user's file stand in their places inside: for reading items, pickling, late imports."""
        if self.source is None:
            yield
            return
        with self.source.present():
            yield

    @contextmanager
    def guarded(self, what: str) -> Iterator[deque[str]]:
        """`present`, and whatever the user's code raises becomes an InputError that names the line.

        Yields the last lines that were printed, which go to stderr instead of stdout.
        """
        stream = _Listener(sys.stderr)
        with self.present(), redirect_stdout(stream):
            try:
                yield stream.lines
            except InputError:
                raise
            except (Exception, SystemExit) as fault:
                self._refuse(fault, what, stream.lines)

    def _refuse(self, fault: BaseException, what: str, printed: Sequence[str]) -> NoReturn:
        ended = isinstance(fault, SystemExit)
        name = "it ended the program" if ended else f"{type(fault).__name__}: {fault}"
        notes = (name, *(f"it printed: {line}" for line in printed))
        message = f"{what} of `{self.name}` failed"
        place = self._place(fault)
        mend = "see what it printed: mostly it wants files in the folder of data" if ended else ""
        found = error("loader-failed", message, place, "it failed here" if place.line else "", notes, mend)
        raise InputError([found]) from fault

    def _place(self, fault: BaseException) -> Span:
        if self.source is None:
            return Span(self.span.file)
        return line_of(fault, self.source.path, self.source.folders)

    def _checked(self, result: Any, asked: tuple[bool, bool], printed: tuple[str, ...]) -> tuple[Any, Any]:
        mend = "return `train_dataset, test_dataset`, with None for one that was not asked for"
        if not isinstance(result, tuple | list) or len(result) != 2:
            what = (
                f"{len(result)} things" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
            )
            message = f"the loader of `{self.name}` returned {what} instead of two data sets"
            raise InputError([error("loader-result", message, self.span, help=mend)])
        found = []
        for name, part, wanted in zip(("train", "test"), result, asked, strict=True):
            if wanted and part is None:
                message = f"the loader of `{self.name}` returned no {name} set, though it was asked for"
                notes = tuple(f"it printed: {line}" for line in printed)
                found.append(error("loader-result", message, self.span, "", notes, mend))
            elif wanted and not (hasattr(part, "__getitem__") and hasattr(part, "__len__")):
                message = (
                    f"the {name} set of `{self.name}`, a {type(part).__name__}, has no items or no length"
                )
                mend_part = "give its class the methods `__getitem__` and `__len__`"
                found.append(error("loader-result", message, self.span, help=mend_part))
        if found:
            raise InputError(found)
        train, test = (part if wanted else None for part, wanted in zip(result, asked, strict=True))
        return train, test


class _Listener:
    """A stream that passes everything on and remembers the last lines."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def write(self, text: str) -> int:
        """Pass on, and remember."""
        self.lines.extend(line for line in text.splitlines() if line.strip())
        return self.stream.write(text)

    def flush(self) -> None:
        """Pass on."""
        self.stream.flush()
