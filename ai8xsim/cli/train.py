"""`ai8xsim train`: a user's model on a user's data set, with the chip's rounding in the loop."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai8xsim.cli.options import FILE, model_argument
from ai8xsim.cli.output import print_json, show_diagnostics

if TYPE_CHECKING:
    from ai8xsim.data import Dataset
    from ai8xsim.train import Data, Recipe, Result, Training
    from ai8xsim.train.state import Resumed

SCHEMA_VERSION = 1
FOLDER = click.Path(path_type=Path, file_okay=False)
LARGEST_SEED = (1 << 32) - 1  # of NumPy's generators


@click.command()
@click.argument("model", metavar="FILE:FACTORY")
@click.argument("dataset", metavar="FILE:NAME")
@click.option("--data", "data_dir", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True,
              help="The folder of data that the loader is given.")  # fmt: skip
@click.option("--output", type=FOLDER, required=True, help="The folder for checkpoints; it is made.")
@click.option("--device", type=click.Choice(["MAX78000", "MAX78002"]), default="MAX78000", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True)
@click.option("--qat-learning-rate", type=click.FloatRange(0, min_open=True),
              help="For the epochs with quantization; a quarter of the other by default.")  # fmt: skip
@click.option("--schedule", type=click.Choice(["cosine", "constant"]), default="cosine", show_default=True)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--weight-decay", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--validation-split", type=click.FloatRange(0, 0.9), default=0.1, show_default=True,
              help="The share of the training set that chooses the best epoch; 0: the last one is it.")  # fmt: skip
@click.option("--qat-policy", type=FILE, help="YAML: start_epoch, weight_bits, shift_quantile, overrides.")
@click.option(
    "--no-qat", is_flag=True, help="Train floats only.  [default: 8 bits from half of the epochs on]"
)
@click.option("--use-bias", is_flag=True, help="Make the model with biases.")
@click.option("--model-argument", "arguments", multiple=True, metavar="NAME=VALUE",
              help="A further argument of the factory; may be repeated.")  # fmt: skip
@click.option("--path", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
              help="The repository that the files belong to.")  # fmt: skip
@click.option(
    "--out-fold-ratio", type=click.IntRange(1), default=1, help="By how much the model's output is folded."
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that load data."
)
@click.option(
    "--torch-device", default="cpu", show_default=True, help="Where PyTorch computes, such as cuda."
)
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder, by its policy.")
@click.option("--force", is_flag=True, help="Begin anew, overwriting the folder's checkpoints.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def train(model: str, dataset: str, **flags: Any) -> int:
    """Train the model that FILE:FACTORY makes on the data set FILE:NAME.

    Both files are as the vendor's training software has them; their code is run.
    """
    from ai8xsim.report.training import EpochTable

    last = _last_checkpoint(flags)
    try:
        recipe, data, training = _prepared(model, dataset, flags, last)
    except ValueError as fault:
        raise click.UsageError(str(fault).partition("\n")[0]) from None
    flags["output"].mkdir(parents=True, exist_ok=True)
    quiet = flags["quiet"] or flags["as_json"]
    with EpochTable(training.goal.metric, recipe.epochs, hidden=quiet) as table:
        result = training.run(data, flags["output"], table.show, table.progress)
        if not quiet:
            table.finish(result)
    if flags["as_json"]:
        print_json(_record(training, result))
    return 0


def _last_checkpoint(flags: dict[str, Any]) -> Path | None:
    """The checkpoint to go on from; None to begin. What is there is left alone: the training overwrites it."""
    from ai8xsim.train.state import FILES, RESUMABLE

    folder: Path = flags["output"]
    there = [folder / name for name in FILES if (folder / name).exists()]
    if flags["resume"]:
        last = next((path for path in there if path.name in RESUMABLE), None)
        if last is None:
            raise click.UsageError(f"{folder} holds no checkpoint to resume from")
        return last
    if there and not flags["force"]:
        raise click.UsageError(f"{there[0]} exists; --resume goes on from it, --force begins anew")
    return None


def _prepared(
    model: str, dataset: str, flags: dict[str, Any], last: Path | None
) -> "tuple[Recipe, Data, Training]":
    """Every fault of the files is found before the first epoch."""
    from ai8xsim.data import find_dataset
    from ai8xsim.nn import load_model, setting
    from ai8xsim.nn.loading import model_stand_ins
    from ai8xsim.train import Data, Goal, Training, seed_generators
    from ai8xsim.train.state import read_training

    found = find_dataset(dataset, flags["path"], model_stand_ins())
    resumed = None if last is None else read_training(last)
    recipe = _recipe(flags, resumed)
    show_diagnostics((*found.diagnostics, *recipe.diagnostics))
    arch, arguments = model.rpartition(":")[2], _arguments(found, flags)
    about = _about(arch, found, arguments, flags)
    if resumed is not None:
        resumed.check(recipe, about)
    goal = Goal.of(found, flags["out_fold_ratio"])
    with setting(flags["device"]):
        seed_generators(recipe.seed)
        made = load_model(model, path=flags["path"], **arguments)
        where = flags["torch_device"]
        if resumed is None:
            training = Training.begin(made, goal, recipe, arch, where)
        else:
            training = Training.resume(made, goal, recipe, resumed, where)
    training.about = about
    train_set, test_set = found.load(flags["data_dir"], act_mode_8bit=False)
    data = Data(train_set, test_set, found.collate, flags["workers"], found.present, found.guarded)
    return recipe, data, training


def _about(arch: str, dataset: "Dataset", arguments: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """What must be the same when the training is resumed, beside its recipe."""
    names = ("device", "out_fold_ratio")
    given = {name: flags[name] for name in names}
    return {"model": arch, "dataset": dataset.name, **given, "arguments": arguments}


def _arguments(dataset: "Dataset", flags: dict[str, Any]) -> dict[str, Any]:
    """Of the model's factory."""
    channels, *size = dataset.input
    return {
        "num_classes": len(dataset.output),
        "num_channels": channels,
        "dimensions": (*size, *(1,) * (2 - len(size))),
        "bias": flags["use_bias"],
        **dict(map(model_argument, flags["arguments"])),
    }


def _recipe(flags: dict[str, Any], resumed: "Resumed | None") -> "Recipe":
    from ai8xsim.train import Policy, Recipe, read_policy

    if flags["no_qat"] and flags["qat_policy"]:
        raise click.UsageError("give one of --qat-policy and --no-qat")
    if flags["no_qat"]:
        policy = None
    elif flags["qat_policy"]:
        policy = read_policy(flags["qat_policy"])
    elif resumed is not None:
        policy = resumed.policy
    else:
        policy = Policy(max(1, flags["epochs"] // 2))
    names = ("epochs", "batch_size", "learning_rate", "qat_learning_rate", "schedule", "optimizer", "weight_decay",
             "validation_split", "seed")  # fmt: skip
    return Recipe(**{name: flags[name] for name in names}, policy=policy)


def _record(training: "Training", result: "Result") -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "arch": training.arch,
        "metric": training.goal.metric,
        "epochs": [vars(epoch) for epoch in result.epochs],
        "best": str(result.best),
        "best_epoch": training.progress.best_epoch,
        "test_score": result.test_score,
    }
