"""Data-set files: what they must hold, what loaders get and may return, and where it is said."""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ai8xsim import Ai8xsimError, InputError, render
from ai8xsim import nn as ai8x
from ai8xsim.data import Dataset, find_dataset, load_datasets
from ai8xsim.nn.loading import model_stand_ins

HEAD = """
import torch
import ai8x


class Items(torch.utils.data.Dataset):
    def __init__(self, args, count):
        self.normalize, self.count = ai8x.normalize(args=args), count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        import helper
        if index >= self.count:
            raise IndexError
        return self.normalize(torch.full((1, 2, 2), index / 255)), helper.LABEL


def load(data, load_train=True, load_test=True):
    (data_dir, args) = data
    print("loading from", data_dir)
    train = Items(args, 5) if load_train else None
    test = Items(args, 1 if args.truncate_testset else 3) if load_test else None
    return train, test

"""
GOOD = """datasets = [
    {
        'name': 'Good',
        'input': (1, 2, 2),
        'output': ('no', 'yes'),
        'weight': (1, 0.5),
        'loader': load,
    },
]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helper.py").write_text("LABEL = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str) -> str:
    Path("mine.py").write_text(HEAD + text)
    return "mine.py"


def said(text: str) -> list[str]:
    """What is found in a data-set file: errors, or the warnings of its data sets."""
    try:
        return [render(d) for dataset in load_datasets(written(text)) for d in dataset.diagnostics]
    except Ai8xsimError as fault:
        return [render(d) for d in fault.diagnostics]


def entry(**changes: str) -> str:
    keys = {"name": "'Good'", "input": "(1, 2, 2)", "output": "('no', 'yes')", "loader": "load"} | changes
    return "{" + ", ".join(f"'{key}': {value}" for key, value in keys.items() if value) + "}"


def test_a_data_set_is_read_as_it_stands(folder: Path) -> None:
    (dataset,) = load_datasets(written(GOOD))
    assert (dataset.name, dataset.input, dataset.output) == ("Good", (1, 2, 2), ("no", "yes"))
    assert (dataset.weight, dataset.regression, dataset.collate) == ((1.0, 0.5), False, None)
    assert str(dataset.span) == f"mine.py:{HEAD.count(chr(10)) + 3}:9"
    assert dataset.diagnostics == ()
    assert find_dataset("mine.py:Good").span == dataset.span
    assert not {"ai8x", "helper", "ai8xsim_user_mine"} & sys.modules.keys()


def test_the_loader_gets_what_the_training_software_gives(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = find_dataset(f"{written(GOOD)}:Good")
    train, test = dataset.load("somewhere", act_mode_8bit=True)
    assert (len(train), len(test)) == (5, 3)
    assert capsys.readouterr() == ("", "loading from somewhere\n")
    with dataset.present():
        image, label = train[4]
    assert label == 1
    assert torch.equal(image, torch.full((1, 2, 2), -124.0))
    train, test = dataset.load("somewhere", act_mode_8bit=False, train=False, truncate_testset=True)
    assert train is None
    assert len(test) == 1
    with dataset.present():
        assert torch.equal(test[0][0], torch.full((1, 2, 2), -1.0))


def test_loaded_data_sets_can_be_pickled_where_their_modules_are_present(folder: Path) -> None:
    dataset = find_dataset(f"{written(GOOD)}:Good")
    train, _ = dataset.load(".", act_mode_8bit=True)
    with dataset.present():
        again = pickle.loads(pickle.dumps(train))
        assert torch.equal(again[2][0], train[2][0])


def test_arguments_are_complete(folder: Path) -> None:
    args = find_dataset(f"{written(GOOD)}:Good").arguments(act_mode_8bit=True)
    assert (args.act_mode_8bit, args.truncate_testset, args.device, args.num_classes) == (
        True,
        False,
        "cpu",
        2,
    )
    assert args.dimensions == (1, 2, 2)
    signal = Dataset("Signal", (2, 512), ("amplitude",), lambda data, **_: (None, None))
    assert signal.arguments(False).dimensions == (2, 512, 1)
    assert signal.is_regression


@pytest.mark.parametrize(
    ("datasets", "code", "words"),
    [
        ("data_sets = []", "no-datasets", "rename `data_sets` to `datasets`"),
        ("", "no-datasets", "has no list `datasets`"),
        ("datasets = []", "no-datasets", "is empty"),
        ("datasets = {}", "no-datasets", "is a dict, not a list"),
        ("datasets = [load]", "dataset-key", "element 0 of `datasets` is a function"),
        (f"datasets = [{entry(input='')}]", "dataset-key", "has no `input`"),
        (f"datasets = [{entry(output='', outputs='(1, 2)')}]", "dataset-key", "rename `outputs` to `output`"),
        (f"datasets = [{entry(wieght='(1, 2)')}]", "dataset-key", "did you mean `weight`?"),
        (f"datasets = [{entry()}, {entry()}]", "dataset-name", "there are two data sets `Good`"),
        (f"datasets = [{entry(name='7')}]", "dataset-value", "`name` is 7, not a text"),
        (f"datasets = [{entry(input='28')}]", "dataset-value", "not a tuple of integers"),
        (f"datasets = [{entry(input='(1, 2.5, 2)')}]", "dataset-value", "not a tuple of integers"),
        (f"datasets = [{entry(input='(28,)')}]", "dataset-value", "has 1 sizes"),
        (f"datasets = [{entry(input='(0, 2, 2)')}]", "dataset-value", "count from 1"),
        (f"datasets = [{entry(output='2')}]", "dataset-value", "`output` is 2, not a tuple of labels"),
        (f"datasets = [{entry(output='()')}]", "dataset-value", "not a tuple of labels"),
        (f"datasets = [{entry(output='(1, 1)')}]", "dataset-value", "label 1 twice"),
        (f"datasets = [{entry(output='(torch.ones(2), torch.ones(2))')}]", "dataset-value", "a Tensor"),
        (f"datasets = [{entry(output='(1, [2, 3])')}]", "dataset-value", "the label [2, 3], a list"),
        (f"datasets = [{entry(output=repr('id'))}]", "text-as-output", "('id',)"),
        (f"datasets = [{entry(weight='(1, 2, 3)')}]", "dataset-value", "3 numbers for 2 labels"),
        (f"datasets = [{entry(weight='(1, -1)')}]", "dataset-value", "not negative"),
        (f"datasets = [{entry(weight=repr('even'))}]", "dataset-value", "not a tuple of numbers"),
        (f"datasets = [{entry(regression='1')}]", "dataset-value", "not True or False"),
        (f"datasets = [{entry(collate='[]')}]", "dataset-value", "`collate` is [], not a function"),
        (f"datasets = [{entry(fold_ratio='0')}]", "dataset-value", "not a whole number from 1"),
        (f"datasets = [{entry(loader='None')}]", "dataset-value", "not a function"),
        (f"datasets = [{entry(loader='lambda data: None')}]", "loader-signature", "load_train"),
        (f"datasets = [{entry(loader='lambda a, b, load_train, load_test: 0')}]", "loader-signature", "'b'"),
        ("import nowhere_to_be_found", "not-importable", "nowhere_to_be_found"),
    ],
)
def test_a_violation_is_said(folder: Path, datasets: str, code: str, words: str) -> None:
    (shown,) = said(datasets)
    assert f"[{code}]" in shown
    assert words in shown


def test_all_violations_are_said_at_once_at_their_places(folder: Path) -> None:
    text = GOOD.replace("(1, 2, 2)", "(1, 2, 2, 2)").replace("'weight': (1, 0.5)", "'weight': (1,)")
    first, second = said(text)
    line = HEAD.count("\n") + 4
    assert first == (
        f"error[dataset-value]: data set `Good`: `input` has 4 sizes: (1, 2, 2, 2)\n"
        f"  --> mine.py:{line}:9\n   |\n{line} |         'input': (1, 2, 2, 2),\n   |         ^^^^^^^\n"
        f"   = help: `input` is (channels, height, width), or (channels, length) for 1D data"
    )
    assert "`weight` has 1 numbers for 2 labels" in second
    assert f"mine.py:{line + 2}:9" in second


def test_places_count_characters_and_other_line_ends_are_none(folder: Path) -> None:
    listed = entry(name="'Größe', 'input': (1,)", input="")
    (shown,) = said(f"TEXT = '\x0c\u2028'\ndatasets = [{listed}]")
    *_, line, underline, _ = shown.split("\n")
    assert line.index("'input'") == underline.index("^")
    assert underline.count("^") == len("'input'")


@pytest.mark.parametrize(
    "listed",
    [
        f"MORE = [{entry()}, {entry(name=repr('Two'), input='(1,)')}]\ndatasets = [*MORE, {entry(name=repr('3'))}]",
        f"datasets = [{entry(name=repr('Two'), input='(1,)')}]\ndatasets += [{entry()}]",
    ],
)
def test_a_list_that_is_put_together_is_pointed_at_as_a_whole(folder: Path, listed: str) -> None:
    (shown,) = said(listed)
    assert "data set `Two`: `input` has 1 sizes" in shown
    *_, line, underline, _ = shown.split("\n")
    assert line.partition(" | ")[2].startswith("datasets")
    assert underline.endswith("| ^^^^^^^^")


def test_a_wrong_name_is_corrected(folder: Path) -> None:
    with pytest.raises(InputError, match="did you mean `Good`"):
        find_dataset(f"{written(GOOD)}:God")
    with pytest.raises(InputError, match="it has Good"):
        find_dataset("mine.py:Other")
    with pytest.raises(ValueError, match="FILE:NAME"):
        find_dataset("mine.py")
    with pytest.raises(OSError, match="No such file"):
        find_dataset("nothing.py:Good")


def test_a_loader_that_raises_is_shown_where_it_does(folder: Path) -> None:
    bad = "def bad(data, load_train=True, load_test=True):\n    print('reading')\n    return {}['images']\n\n"
    dataset = find_dataset(f"{written(bad + 'datasets = [' + entry(loader='bad') + ']')}:Good")
    with pytest.raises(InputError) as caught:
        dataset.load(".", act_mode_8bit=True)
    line = HEAD.count("\n") + 3
    assert render(caught.value.diagnostics[0]) == (
        f"error[loader-failed]: the loader of `Good` failed\n  --> mine.py:{line}:5\n   |\n"
        f"{line} |     return {{}}['images']\n   |     ^^^^^^^^^^^^^^^^^^^ it failed here\n"
        "   = note: KeyError: 'images'\n   = note: it printed: reading"
    )


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            "print('get the archive first'); raise SystemExit",
            "loader-failed",
            "it printed: get the archive first",
        ),
        ("raise ValueError('no such\\nfile')", "loader-failed", "ValueError: no such"),
        ("import helper; helper.missing()", "loader-failed", "has no attribute 'missing'"),
        ("open(data[0] + '/labels.csv')", "loader-failed", "labels.csv"),
        ("return load(data)[0]", "loader-result", "a Items instead of two data sets"),
        ("return ()", "loader-result", "0 things instead of two"),
        ("return load(data, True, False)", "loader-result", "no test set"),
        ("return 5, load(data)[1]", "loader-result", "a int, has no items"),
    ],
)
def test_a_loader_that_fails_says_why(folder: Path, body: str, code: str, words: str) -> None:
    bad = f"def bad(data, load_train=True, load_test=True):\n    {body}\n\n"
    dataset = find_dataset(f"{written(bad + 'datasets = [' + entry(loader='bad') + ']')}:Good")
    with pytest.raises(InputError) as caught:
        dataset.load(str(folder), act_mode_8bit=True)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert words in render(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import nowhere.deeper", "install `nowhere` into this environment"),
        ("from .helper import LABEL", "import it by its name, without the dot: the file's folder"),
        ("from helper import NOTHING", "name that with `--path`"),
        ("LABEL = 1 // 0", ""),
        ("LABEL = = 1", ""),
    ],
    ids=["absent", "relative", "name", "other", "syntax"],
)
def test_a_file_that_cannot_be_imported_is_told_where_and_why(folder: Path, line: str, words: str) -> None:
    (folder / "helper.py").write_text("LABEL = 1\n")
    with pytest.raises(InputError) as caught:
        load_datasets(written(f"{line}\n{GOOD}"))
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.code, found.span.file, found.span.line) == (
        "not-importable",
        "mine.py",
        HEAD.count("\n") + 1,
    )
    assert found.span.text == line
    assert words in found.help
    assert bool(words) == bool(found.help)


def test_a_fault_in_a_helper_names_the_line_of_the_data_set_file(folder: Path) -> None:
    (folder / "helper.py").write_text("LABEL = 1\n\ndef fail():\n    raise RuntimeError('inside')\n")
    bad = "def bad(data, load_train=True, load_test=True):\n    import helper\n    helper.fail()\n\n"
    dataset = find_dataset(f"{written(bad + 'datasets = [' + entry(loader='bad') + ']')}:Good")
    with pytest.raises(InputError) as caught:
        dataset.load(".", act_mode_8bit=True)
    assert str(caught.value.diagnostics[0].span) == f"mine.py:{HEAD.count(chr(10)) + 3}:5"


def test_a_file_of_models_and_data_sets_gets_all_of_ours(folder: Path) -> None:
    both = "class Net(ai8x.FusedConv2dReLU):\n    pass\n\n" + GOOD
    with pytest.raises(InputError, match="cannot be imported"):
        load_datasets(written(both))
    (dataset,) = load_datasets("mine.py", stand_ins=model_stand_ins())
    assert dataset.source is not None
    assert issubclass(dataset.source.module.Net, ai8x.Layer)


def test_items_of_a_data_set_are_samples_of_the_simulator(folder: Path) -> None:
    from ai8xsim.data import to_sample

    dataset = find_dataset(f"{written(GOOD)}:Good")
    train, _ = dataset.load(".", act_mode_8bit=True)
    with dataset.guarded("reading an item"):
        sample = to_sample(train[3][0])
    assert sample.dtype == np.int64
    assert sample.tolist() == [[[-125, -125], [-125, -125]]]
    with pytest.raises(InputError, match="reading an item") as caught, dataset.guarded("reading an item"):
        train[99]
    assert "IndexError" in render(caught.value.diagnostics[0])


def test_a_vendor_style_collate_is_kept(folder: Path) -> None:
    static = "class Own(Items):\n    @staticmethod\n    def collate(batch):\n        return batch\n\n"
    text: Any = static + f"datasets = [{entry(collate='Own.collate')}]"
    assert find_dataset(f"{written(text)}:Good").collate([1]) == [1]  # type: ignore[misc]
