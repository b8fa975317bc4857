"""What is evaluated, by the names of files: this process, or one on another machine, opens them for itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ai8xsim.checkpoint import Checkpoint, read_checkpoint
from ai8xsim.data import find_dataset
from ai8xsim.data.reading import seeded
from ai8xsim.device import DEVICES
from ai8xsim.diagnostics import Diagnostic
from ai8xsim.errors import Ai8xsimError, collect
from ai8xsim.evaluate.fingerprint import digest_of_file, fingerprint
from ai8xsim.evaluate.subject import Subject, first_target
from ai8xsim.evaluate.task import label_diagnostics, task_of
from ai8xsim.models import split_name
from ai8xsim.network import read_network
from ai8xsim.program import Options, Program, resolve

Model = Callable[[npt.NDArray[np.int8]], npt.NDArray[Any]]


@dataclass(frozen=True)
class ModelSource:
    """A user's model, FILE:FACTORY; see `ai8xsim.compare.model.Factory`."""

    name: str
    path: str | None = None
    given: tuple[tuple[str, Any], ...] = ()
    behaviour: Literal["chip", "vendor"] = "chip"

    def absolute(self) -> "ModelSource":
        """The same with paths that hold in every working directory."""
        path = None if self.path is None else str(Path(self.path).resolve())
        return replace(self, name=_absolute(self.name), path=path)


@dataclass(frozen=True)
class Sources:
    """The files of an evaluation. dataset: FILE:NAME. data: the folder that its loader is given.

    path: a folder from which the data-set file may import helpers. fold: the ratio by which the output is folded;
    None: as the targets tell.
    """

    network: Path
    checkpoint: Path
    dataset: str
    data: Path
    device: str = "MAX78000"
    options: Options = field(default_factory=Options)
    path: str | None = None
    fold: int | None = None
    model: ModelSource | None = None

    @property
    def code(self) -> tuple[Path, ...]:
        """The user's files whose code is run."""
        names = [self.dataset] if self.model is None else [self.dataset, self.model.name]
        return tuple(split_name(name)[0] for name in names)

    @seeded(0)
    def open(self) -> Subject:
        """The subject. The user's code in the data-set file, and in the model file, is run.

        Python's, NumPy's and torch's generators are seeded meanwhile, and afterwards go on as before.

        Raises Ai8xsimError with the faults of all files, OSError, ValueError for what is not FILE:NAME.
        """
        from ai8xsim.nn.loading import model_stand_ins  # the file may describe models too

        found: list[Diagnostic] = []
        network = collect(found, lambda: read_network(self.network))
        checkpoint = collect(found, lambda: read_checkpoint(self.checkpoint))
        dataset = collect(found, lambda: find_dataset(self.dataset, self.path, model_stand_ins()))
        if network is None or checkpoint is None or dataset is None:
            raise Ai8xsimError(found)
        device = DEVICES[self.device]
        program = collect(found, lambda: resolve(network, checkpoint, device, dataset.input, self.options))
        with seeded(0):  # some loaders divide their data at random
            sets = collect(found, lambda: dataset.load(self.data, act_mode_8bit=True, train=False))
        if program is None or sets is None:
            raise Ai8xsimError(found)
        data = sets[1]
        with dataset.present():
            target = first_target(data, self.dataset, dataset)
        task = task_of(program, dataset.output, dataset.is_regression, target, self.fold)
        model, said = (None, ()) if self.model is None else _model(self.model, program, checkpoint)
        labels = label_diagnostics(task, dataset.output, dataset.span)
        diagnostics = (*program.diagnostics, *dataset.diagnostics, *labels, *said)
        return Subject(program, data, task, self.dataset, dataset, model, diagnostics)

    def absolute(self) -> "Sources":
        """The same with paths that hold in every working directory."""
        return replace(
            self,
            network=self.network.resolve(),
            checkpoint=self.checkpoint.resolve(),
            dataset=_absolute(self.dataset),
            data=self.data.resolve(),
            path=None if self.path is None else str(Path(self.path).resolve()),
            model=None if self.model is None else self.model.absolute(),
        )

    def fingerprint(self, subject: Subject) -> Mapping[str, str]:
        """What the results depend on, by name; the same in every working directory."""
        here = self.absolute()
        file = digest_of_file(split_name(here.dataset)[0])
        origin = {"dataset": here.dataset, "dataset file": file, "data": str(here.data)}
        if here.model is not None:
            origin["model"] = str(here.model)
            origin["model file"] = digest_of_file(split_name(here.model.name)[0])
            origin["checkpoint"] = digest_of_file(here.checkpoint)
        return fingerprint(subject, **origin)


def _absolute(name: str) -> str:
    """FILE:NAME with the file's whole path."""
    file, attribute = split_name(name)
    return f"{file.resolve()}:{attribute}"


def _model(
    source: ModelSource, program: Program, checkpoint: Checkpoint
) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The user's model with the checkpoint in it, and what was said on the way."""
    from ai8xsim.compare.model import Factory, answers, trained_model
    from ai8xsim.nn import setting

    def chosen() -> Any:
        rounds = program.options.avg_pool_rounding
        return setting(program.device.name, simulate=True, round_avg=rounds, behaviour=source.behaviour)

    with chosen():
        model, loaded = trained_model(Factory(source.name, source.path, source.given), program, checkpoint)

    def run(samples: npt.NDArray[np.int8]) -> npt.NDArray[Any]:
        with chosen():
            return answers(model, program, samples)

    return run, loaded.diagnostics
