"""Users' model files on our modules and on the vendor's, both as evaluation of a quantized checkpoint.

The vendor's training software is not ours to bring: whoever has a clone of its repository names it.
"""

import importlib
import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

import ai8xsim.nn as ours
from benchmarks.measure import Timing, interleaved
from benchmarks.race import WrongAnswerError

# Entry of the golden `vendor_eval.json` -> folder of the golden networks with its checkpoint.
MODELS: Mapping[str, str] = MappingProxyType(
    {
        "mnist": "demo-mnist-max78000",
        "kws20_v3": "demo-kws20_v3-max78000",
        "cats-dogs": "demo-cats-dogs-max78000",
    }
)
ON_BYTES, ON_FLOATS, THEIRS = "ai8xsim.nn", "ai8xsim.nn on floats", "the vendor's ai8x"
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Evaluations:
    """How long a batch takes, by who evaluates it."""

    model: str
    batch: int
    threads: int
    timings: Mapping[str, Timing]

    def ratio(self, name: str) -> float:
        """How many times faster than the vendor's modules."""
        return self.timings[THEIRS].wall_median / self.timings[name].wall_median


def evaluations(training: Path, golden: Path, batch: int, seconds: float) -> Iterator[Evaluations]:
    """A row for each model. Raises WrongAnswerError, OSError."""
    facts = json.loads((golden / "vendor_eval.json").read_text(encoding="utf-8"))
    for name, folder in MODELS.items():
        yield _evaluated(
            name, facts[name], training, golden / "networks" / folder / "checkpoint.pth.tar", batch, seconds
        )


def _evaluated(
    name: str, facts: Mapping[str, Any], training: Path, checkpoint: Path, batch: int, seconds: float
) -> Evaluations:
    file, arguments = f"{training / facts['model_file']}:{facts['factory']}", _arguments(facts)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-128, 128, (batch, *facts["dimensions"]), generator=generator).float()
    models = {
        ON_BYTES: _our_model(file, arguments, checkpoint, int8=True),
        ON_FLOATS: _our_model(file, arguments, checkpoint, int8=False),
        "as the vendor's": _our_model(file, arguments, checkpoint, behaviour="vendor"),
    }
    with torch.no_grad(), _vendor(training) as ai8x:
        models[THEIRS] = _their_model(ai8x, file, arguments, models[ON_BYTES].state_dict())
        answers = {who: model(x) for who, model in models.items()}
        if not torch.equal(answers[ON_BYTES], answers[ON_FLOATS]):
            raise WrongAnswerError(f"{name}: bytes and floats differ")
        if not torch.equal(answers[THEIRS], answers["as the vendor's"]):
            raise WrongAnswerError(f"{name}: the vendor's modules compute something else than we say they do")
        works = {who: partial(models[who], x) for who in (ON_BYTES, ON_FLOATS, THEIRS)}
        timings = interleaved(works, seconds, pause_seconds=PAUSE_SECONDS)
    return Evaluations(name, batch, torch.get_num_threads(), timings)


def _arguments(facts: Mapping[str, Any]) -> dict[str, Any]:
    channels, *dimensions = facts["dimensions"]
    return {
        "num_classes": facts["num_classes"],
        "num_channels": channels,
        "dimensions": tuple(dimensions) if len(dimensions) > 1 else (*dimensions, 1),
        "bias": facts["use_bias"],
    }


def _our_model(file: str, arguments: Mapping[str, Any], checkpoint: Path, **how: Any) -> torch.nn.Module:
    with ours.setting("MAX78000", simulate=True, **how):
        model = ours.load_model(file, **arguments)
        ours.fuse_bn_layers(model)
        ours.load_checkpoint(model, checkpoint)
        ours.update_model(model)
    return model.eval()


@contextmanager
def _vendor(training: Path) -> Iterator[ModuleType]:
    """The vendor's module, importable with its helpers while the `with` lasts."""
    if not (training / "ai8x.py").is_file():
        raise FileNotFoundError(2, "no `ai8x.py` of the vendor's training software", str(training))
    paths, modules = list(sys.path), dict(sys.modules)
    sys.path[:0] = [str(training), str(training / "models")]
    try:
        with redirect_stdout(io.StringIO()):
            ai8x = importlib.import_module("ai8x")
            ai8x.set_device(85, True, False)
        yield ai8x
    finally:
        sys.path[:] = paths
        for name in sys.modules.keys() - modules.keys():
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(training)):
                del sys.modules[name]


def _their_model(
    ai8x: ModuleType, file: str, arguments: Mapping[str, Any], state: Mapping[str, torch.Tensor]
) -> torch.nn.Module:
    """The same file on the vendor's modules, with the same numbers in it."""
    path, factory = file.rsplit(":", 1)
    spec = importlib.util.spec_from_file_location("model_on_vendor_modules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    quantized = {"weight_bits": 8, "bias_bits": 8, "quantize_activation": True}
    model: torch.nn.Module = getattr(module, factory)(pretrained=False, **arguments, **quantized)
    ai8x.fuse_bn_layers(model)
    own = model.state_dict()
    fitted = {name: state[name].reshape(own[name].shape).to(own[name].dtype) for name in own if name in state}
    model.load_state_dict(fitted, strict=False)
    ai8x.update_model(model)
    return model.eval()


def print_evaluations(rows: list[Evaluations]) -> None:
    """The rows, for people."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("model", "batch", "modules", "ms", "x the vendor's"):
        table.add_column(title, justify="left" if title in {"model", "modules"} else "right")
    for row in rows:
        for name, timing in row.timings.items():
            milliseconds = f"{timing.wall_median * 1e3:.2f}"
            table.add_row(row.model, str(row.batch), name, milliseconds, f"{row.ratio(name):.1f}")
    Console(highlight=False).print(table)


def evaluations_json(rows: list[Evaluations]) -> dict[str, Any]:
    """The rows, for tools."""
    return {"schema_version": 1, "modules": [asdict(row) for row in rows]}
