"""Data, labels and models that cannot be trained with: each fault gets a diagnostic."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ai8xsim.data import find_dataset
from ai8xsim.errors import InputError
from ai8xsim.nn import setting
from ai8xsim.train import Data

from .runs import DATASET, IMAGE, begin, data, recipe


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    items = [(torch.zeros(1, 8, 8), 10)] * 4
    with pytest.raises(InputError, match="a label is 10; the model tells 10 classes apart"):
        begin(recipe()).run(Data(items, items), tmp_path)
    items = [(torch.zeros(1, 8, 8), torch.zeros(5, 5, dtype=torch.long))] * 4
    with pytest.raises(InputError, match="the labels are 5x5") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "labels-do-not-fit"
    assert refusal.value.diagnostics[0].span is None
    items = [(torch.zeros(1, 8, 8), torch.eye(10)[3])] * 4
    with pytest.raises(InputError, match="they must be the numbers of classes"):
        begin(recipe()).run(Data(items, items), tmp_path)


class Items:
    """A thing per item; exceptions are raised."""

    def __init__(self, *things: Any) -> None:
        self.things = things

    def __len__(self) -> int:
        return len(self.things)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.things[index], Exception):
            raise self.things[index]
        return self.things[index]


FAULTY: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "raises": ((KeyError("item"),), "loader-failed", "KeyError: 'item'"),
    "sizes": (((IMAGE, 1), (IMAGE[:, 1:], 1)), "loader-failed", "equal size"),
    "no label": ((IMAGE,), "item-structure", "a batch is of type Tensor"),
    "three": (((IMAGE, 1, 2),), "item-structure", "a batch is 3 values (Tensor)"),
    "text": (((IMAGE, "cat"),), "item-structure", "the labels of a batch are 1 values (str)"),
    "list": (((IMAGE, [1, 2]),), "item-structure", "the labels of a batch are 2 values (Tensor)"),
    "two labels": (({"x": IMAGE},), "item-structure", "a batch is of type dict"),
}


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(("things", "code", "words"), FAULTY.values(), ids=list(FAULTY))
def test_faulty_items_draw_a_diagnostic(
    things: tuple[Any, ...], code: str, words: str, is_train: bool, tmp_path: Path
) -> None:
    good, bad, dataset = [(IMAGE, 1)] * 4, Items(*things), find_dataset(DATASET)
    sets = (bad, good) if is_train else (good, bad)
    given = Data(*sets, guarded=dataset.guarded)
    with pytest.raises(InputError) as refusal:
        begin(recipe(epochs=1, policy=None)).run(given, tmp_path)
    (found,) = refusal.value.diagnostics
    assert found.code == code
    assert ("train set" if is_train else "test set") in found.message
    assert words in found.message + " ".join(found.notes)


def test_what_a_worker_raises_is_said_without_its_traceback(tmp_path: Path) -> None:
    bad = Items(KeyError("item"))
    given = Data(bad, [(IMAGE, 1)], workers=1, guarded=find_dataset(DATASET).guarded)
    with pytest.raises(InputError) as refusal:
        begin(recipe(epochs=1, policy=None)).run(given, tmp_path)
    (note,) = refusal.value.diagnostics[0].notes
    assert "KeyError: 'item'" in note
    assert "Traceback" not in note


def test_a_collate_that_makes_no_batch_draws_a_diagnostic(tmp_path: Path) -> None:
    good = [(IMAGE, 1)] * 4
    batches = {
        "of type int": 5, "a single number": (torch.tensor(1), torch.zeros(4)),
        "4 items and 3 labels": (torch.zeros(4, 1, 8, 8), torch.zeros(3)),
    }  # fmt: skip
    for words, batch in batches.items():
        with pytest.raises(InputError, match=words) as refusal:
            begin(recipe()).run(Data(good, good, collate=lambda _, batch=batch: batch), tmp_path)
        assert "`collate` must return" in refusal.value.diagnostics[0].help


def test_all_sets_without_items_are_named() -> None:
    with pytest.raises(InputError) as refusal:
        Data([], [])
    assert [d.message for d in refusal.value.diagnostics] == [
        "the train set has no items",
        "the test set has no items",
    ]
    assert {d.code for d in refusal.value.diagnostics} == {"empty-set"}


def test_a_model_that_cannot_learn_is_refused(tmp_path: Path) -> None:
    import ai8xsim.nn as ai8x

    class Still(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = ai8x.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 10)

    with setting("MAX78000"):
        model = Still()
    with pytest.raises(InputError, match="does not depend on its weights"):
        begin(recipe(), model).run(data(64), tmp_path)


def test_items_that_the_model_cannot_compute_are_refused(tmp_path: Path) -> None:
    items = [(torch.zeros(3, 8, 8), 1)] * 4
    with pytest.raises(InputError, match="the model, given items of 3x8x8, failed") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "model-failed"


def test_a_loss_without_bound_ends_the_training(tmp_path: Path) -> None:
    items = [(torch.full((1, 8, 8), float("nan")), 1)] * 4
    with pytest.raises(InputError, match="lower the learning rate") as refusal:
        begin(recipe()).run(Data(items, items), tmp_path)
    assert refusal.value.diagnostics[0].code == "loss-not-finite"
    assert refusal.value.diagnostics[0].span is None
