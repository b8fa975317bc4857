"""Every fault of a loader, planted in one that is right, is found, and nothing else is."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ai8xsim import MAX78000, InputError, read_checkpoint, read_network, render
from ai8xsim.data import CheckPlan, DataFindings, Dataset, check, check_data, find_dataset
from ai8xsim.data.findings.network import Against
from ai8xsim.data.findings.table import CHECKS
from ai8xsim.nn.loading import model_stand_ins

from ..conftest import ROOT

LOADER = '''
import random

import ai8x
import numpy as np
import torch
from sklearn.datasets import load_sample_images

PHOTOS = [photo for photo in load_sample_images().images]


class Crops(torch.utils.data.Dataset):
    """Places of two photographs, 32 x 32; the label says which one."""

    def __init__(self, args, first, count):
        self.args, self.normalize = args, ai8x.normalize(args=args)
        self.indices = range(first, first + count)
        self.reads = 0

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        self.reads += 1
        n = self.indices[index]
        row, column = 29 * n % 390, 53 * n % 600
        crop = np.ascontiguousarray(PHOTOS[n % 2][row : row + 32, column : column + 32])
        image = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
        image = self.normalize(image)
        label = n % 2
        return image, label


def load(data, load_train=True, load_test=True):
    (data_dir, args) = data
    train = Crops(args, 0, 60) if load_train else None
    test = Crops(args, 60, 1 if args.truncate_testset else 20) if load_test else None
    return train, test


datasets = [
    {
        'name': 'Crops',
        'input': (3, 32, 32),
        'output': ('china', 'flower'),
        'loader': load,
    },
]
'''
NORMALIZE = "        image = self.normalize(image)\n"
INPUT = "'input': (3, 32, 32)"
RETURN = "    return train, test\n"
COLLATE = """def collate(batch):
    return torch.stack([image for image, _ in batch]), [label for _, label in batch]


def load("""


def checked(
    folder: Path,
    *changes: tuple[str, str],
    workers: int = 0,
    samples: int = 200,
    stand_ins: Any = None,
    against: Any = None,
) -> DataFindings:
    text = LOADER
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "crops.py").write_text(text)
    dataset = find_dataset(f"{folder / 'crops.py'}:Crops", stand_ins=stand_ins)
    return check_data(dataset, folder, CheckPlan(samples, workers), against)


def after_normalize(code: str) -> tuple[str, str]:
    return NORMALIZE, NORMALIZE + "".join(f"        {line}\n" for line in code.split("\n"))


FOLDED = (INPUT, "'input': (48, 8, 8), 'fold_ratio': 4")
DARK = "torch.where(image.mean(0) < .3, 0, image)"  # a background that was cut away
COARSE = (  # few levels, all of them even: words of a camera, sensors of four bits
    f"((({DARK} * 255).int() & torch.tensor([0xF8, 0xFC, 0xF8])[:, None, None]) / 256)",
    f"(({DARK} * 16).floor().clamp(max=15) / 16)",
    f"(({DARK}).mean(0, keepdim=True).expand(3, 32, 32) * 16).floor().clamp(max=15) / 16",
)
ALL = "of 160 samples"  # both sets in both modes
ONE = "of 80 samples"  # both sets in one mode

PLANTED: dict[str, tuple[list[tuple[str, str]], str, tuple[str, ...]]] = {
    "float64": ([after_normalize("image = image.double()")], "item-type", (f"160 {ALL}", "torch.float64")),
    "bytes": ([after_normalize("image = image.int() if self.args.act_mode_8bit else image")], "item-type",
              (f"80 {ALL}", "torch.int32")),
    "array": ([after_normalize("image = image.numpy()")], "item-type", (f"160 {ALL}", "NumPy arrays")),
    "no array": ([after_normalize("image = 'photo'")], "item-type", (f"160 {ALL}", "is str", "ToTensor")),
    "sparse tensor": (
        [after_normalize("image = torch.sparse_coo_tensor(size=(3, 32, 32), check_invariants=True)")],
        "item-unreadable",
        (f"160 {ALL}",),
    ),
    "not on the CPU": ([after_normalize("image = image.to('meta')")], "item-device", (f"160 {ALL}", "`meta`")),
    "no pair": ([("return image, label", "return image")], "item-structure", (f"160 {ALL}", "is a Tensor")),
    "dictionary": ([("return image, label", "return {'image': image, 'label': label}")], "item-structure",
                   (f"160 {ALL}", "is a dict of 2")),
    "triple": ([("return image, label", "return image, label, n")], "item-structure", ("is 3 parts",)),
    "batch axis": ([after_normalize("image = image[None]")], "item-shape", (f"160 {ALL}", "return `data[0]`")),
    "channels last": ([after_normalize("image = image.permute(1, 2, 0)")], "item-shape", ("ToTensor", "(32, 32, 3)")),
    "rows and columns": (
        [after_normalize("image = image[:, :, :24]"), (INPUT, "'input': (3, 24, 32)")],
        "item-shape", ("exchanged",),
    ),
    "no rows": ([after_normalize("image = image[:, :0]")], "item-shape", (f"160 {ALL}", "(3, 0, 32)")),
    "no columns": ([after_normalize("image = image[:, :, :0]")], "item-shape", (f"160 {ALL}", "(3, 32, 0)")),
    "fold forgotten": ([FOLDED], "item-shape", ("ai8x.fold(fold_ratio=4)",)),
    "fold not stated": ([after_normalize("image = ai8x.fold(4)(image)")], "item-shape", ("it is folded by 4",)),
    "one of other size": (
        [after_normalize("if n == 7: image = image[:, :16]")], "item-shape", (f"2 {ALL}", "item 7 of the train set"),
    ),
    "NaN": ([after_normalize("if n == 65: image[1, 2, 3] = float('nan')")], "item-nan",
            (f"2 {ALL}", "item 5 of the test set", "has 1 of 3072")),
    "infinite": ([after_normalize("image[0, 0, 0] = float('inf')")], "item-nan", (f"160 {ALL}",)),
    "normalize forgotten": ([(NORMALIZE, "")], "not-normalized", ("8-bit and training", f"80 {ONE}", "[0, 1]")),
    "pixels": ([(NORMALIZE, "        image = image * 255\n")], "not-normalized", ("0..255", f"80 {ONE}")),
    "forgotten in 8-bit mode": (
        [(NORMALIZE, "        image = image if self.args.act_mode_8bit else self.normalize(image)\n")],
        "not-normalized", ("in 8-bit mode",),
    ),
    "forgotten in training": (
        [(NORMALIZE, "        image = self.normalize(image) if self.args.act_mode_8bit else image\n")],
        "not-normalized", ("in training mode",),
    ),
    "normalized twice": ([(NORMALIZE, NORMALIZE * 2)], "normalized-twice", (f"80 {ONE}", "even multiples")),
    "always training": (
        [(NORMALIZE, "        image = ((image - .5) * 256).round().clamp(-128, 127) / 128\n")],
        "mode-ignored", (f"80 {ONE}", "training's range"),
    ),
    "always 8-bit": (
        [(NORMALIZE, "        image = ((image - .5) * 256).round().clamp(-128, 127)\n")],
        "mode-ignored", (f"80 {ONE}", "8-bit range"),
    ),
    "not rounded": (
        [(NORMALIZE, "        scale = 1 if self.args.act_mode_8bit else 128\n"
                     "        image = ((image - .5) * 256).clamp(-128, 127) / scale\n")],
        "item-fraction", (f"80 {ONE}", "in 8-bit mode", "in training mode"),
    ),
    "other range in training": (
        [(NORMALIZE, "        image = self.normalize(image) if self.args.act_mode_8bit else image * 1.9 - 1\n")],
        "item-fraction", ("no multiples of 1/128", f"80 {ONE}"),
    ),
    "beyond the range": (
        [after_normalize("image = (image * 2).round() if self.args.act_mode_8bit else (image * 256).round() / 128")],
        "item-range", ("outside -128..127", "outside [-1, 127/128]"),
    ),
    "one in training": (
        [after_normalize("if not self.args.act_mode_8bit: image = torch.where(image > .99, 1., image)")],
        "item-range", ("[-1, 127/128]", "to 1"),
    ),
    "brighter in training": (
        [after_normalize("if not self.args.act_mode_8bit: image = (image + 1 / 128).clamp(-1, 127 / 128)")],
        "mode-factor", (f"{ONE}", "item 0 of the train set", "times 128"),
    ),
    "another colour order in 8-bit mode": (
        [after_normalize("if self.args.act_mode_8bit: image = image.flip(0)")], "mode-factor", (f"80 {ONE}",),
    ),
    "more in training": (
        [("Crops(args, 0, 60)", "Crops(args, 0, 59 + (not args.act_mode_8bit))")], "mode-factor",
        ("59 items in 8-bit mode and 60",),
    ),
    "dark": (
        [("image = self.normalize(image)", "image = self.normalize(image / 5 + .3)")], "narrow-range",
        ("3 of 3 channels", "all 80 samples", "20%"),
    ),
    "dead channel": ([after_normalize("image[2] = 0")], "constant-channel", ("1 of 3", "channel 2 is 0", "80 samples")),
    "reshaped": (
        [("torch.from_numpy(crop).permute(2, 0, 1)", "torch.from_numpy(crop).reshape(3, 32, 32)")],
        "scrambled-axes", ("24 of 24", "permute(2, 0, 1)"),
    ),
    "pixel unshuffle": (
        [FOLDED, after_normalize("image = torch.pixel_unshuffle(image, 4)")], "fold-order",
        ("of 24 samples", "pixel_unshuffle"),
    ),
    "columns before rows": (
        [FOLDED, after_normalize("image = ai8x.fold(4)(image.transpose(1, 2)).transpose(1, 2)")], "fold-order",
        ("columns before rows",),
    ),
    "folded twice": (
        [FOLDED, after_normalize("image = ai8x.fold(2)(ai8x.fold(2)(image))")], "fold-order", ("folded by 2 twice",),
    ),
    "not stated, pixel unshuffle": (
        [(INPUT, "'input': (48, 8, 8)"), after_normalize("image = torch.pixel_unshuffle(image, 4)")],
        "fold-order", ("folded by 4 in another order",),
    ),
    "another ratio": (
        [(INPUT, "'input': (16, 8, 8), 'fold_ratio': 2"), after_normalize("image = ai8x.fold(4)(image[:1])")],
        "fold-ratio", ("folded by 4, not folded by 2",),
    ),
    "tiles": (
        [FOLDED, after_normalize(
            "image = torch.cat([image[:, i:i + 8, j:j + 8] for i in range(0, 32, 8) for j in range(0, 32, 8)])")],
        "fold-ratio", ("tiles",),
    ),
    "impossible ratio": ([(INPUT, INPUT + ", 'fold_ratio': 2")], "fold-ratio", ("no multiple of 4",)),
    "label in a tensor": ([("label = n % 2", "label = torch.tensor([n % 2])")], "label-shape",
                          (f"160 {ALL}", "shape (1,)", "`label.squeeze()`")),
    "label in a list": ([("label = n % 2", "label = [n % 2]")], "label-shape", (f"160 {ALL}", "list of 1", "itself")),
    "label with something": ([("label = n % 2", "label = n % 2, 0")], "label-shape", (f"160 {ALL}", "tuple of 2")),
    "one-hot": ([("label = n % 2", "label = torch.eye(2).long()[n % 2]")], "label-shape",
                (f"160 {ALL}", "shape (2,)", "`label.argmax()`")),
    "one-hot row": ([("label = n % 2", "label = torch.eye(2)[None, n % 2]")], "label-shape",
                    ("shape (1, 2)", "`label.argmax()`")),
    "one-hot floats": ([("label = n % 2", "label = torch.eye(2)[n % 2]")], "label-shape", ("`label.argmax()`",)),
    "one-hot map": ([("label = n % 2", "label = torch.ones(2, 32, 32).long()")], "label-shape", ("`label.argmax(0)`",)),
    "an empty map": ([("label = n % 2", "label = np.zeros((0, 5), int)")], "label-shape", ("shape (0, 5)",)),
    "some labels are maps": ([("label = n % 2", "label = np.full((32, 32) if n % 7 else (), n % 2)")], "label-shape",
                             ("2 shapes: one number, 32x32",)),
    "map of another form": ([("label = n % 2", "label = np.full((3, 5), n % 2)")], "label-shape",
                            ("warning", "3x5", "3x32x32")),
    "huge labels": ([("label = n % 2", "label = n % 2 + 10**30")], "label-range", (f"160 {ALL}", "has 1e+30")),
    "label of bytes": ([("label = n % 2", "label = np.uint8(n % 2)")], "label-type", (f"160 {ALL}", "numpy.uint8")),
    "label of float": ([("label = n % 2", "label = torch.tensor(n % 2.)")], "label-type", ("torch.float32", ".long()")),
    "label as text": ([("label = n % 2", "label = 'ab'[n % 2]")], "label-type", ("type str", "int(label)")),
    "labels from 1": ([("label = n % 2", "label = n % 2 + 1")], "label-range", (f"80 {ALL}", "outside 0..1", "has 2")),
    "label map beyond": (
        [("label = n % 2", "label = np.full((32, 32), 255 if n == 3 else n % 2)")], "label-range",
        ("has 255", f"2 {ALL}"),
    ),
    "object without class": (
        [("label = n % 2", "label = torch.rand(2, 4), torch.tensor([1, 3])")], "label-range",
        ("outside 1..2", "background"),
    ),
    "no items of a class": (
        [("'flower')", "'flower', 'tree')")], "class-missing", ("1 of 3 classes", "none of 60 samples", "`tree`"),
    ),
    "weights in the wrong order": (
        [("label = n % 2", "label = int(n % 10 == 0)"), ("'loader'", "'weight': (1, 0.1), 'loader'")],
        "class-weight", ("`weight` favours `china` over `flower`", "54 and weight 1"),
    ),
    "unequal without weights": (
        [("label = n % 2", "label = int(n % 20 == 0)")], "class-weight", ("57 of 60", "`flower` 3"),
    ),
    "augmented test set": (
        [after_normalize("if torch.rand(1) < .5: image = image.flip(2)")], "unsteady-items",
        ("of 8 samples of the test set",),
    ),
    "unseeded split": (
        [(RETURN, "    if test: test.indices = random.sample(range(60, 200), len(test))\n" + RETURN)],
        "unsteady-split", ("of 20 samples", "hashlib"),
    ),
    "split of changing length": (
        [(RETURN, "    if test and not args.truncate_testset:\n"
                  "        test.indices = range(60, 60 + random.randrange(9, 99))\n" + RETURN)],
        "unsteady-split", ("items, then",),
    ),
    "truncation": ([("1 if args.truncate_testset else 20", "20")], "truncation-ignored", ("20 items instead of 1",)),
    "overlap": (
        [("Crops(args, 60", "Crops(args, 55")], "overlapping-sets",
        ("5 of 20 samples", "item 0 of the test set is item 55 of the train set", "60 of 60 items"),
    ),
    "index not used": (
        [("n = self.indices[index]", "n = self.indices[index // 2]")], "repeated-items",
        ("30 of 60 samples of the train",),
    ),
    "too long": (
        [("return len(self.indices)", "return len(self.indices) + (len(self.indices) == 60)")], "item-unreadable",
        ("2 of 162 samples", "first item 60 of the train set in 8-bit mode", "IndexError", "n = self.indices[index]"),
    ),
    "empty": ([("1 if args.truncate_testset else 20", "0")], "empty-set", ("test set",)),
}  # fmt: skip


def test_the_loader_that_is_right_has_no_findings(tmp_path: Path) -> None:
    found = checked(tmp_path, workers=2)
    assert [render(d) for d in found.diagnostics] == []
    assert {entry.rule for entry in found.not_run} == {"fold-order"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    changes, code, words = PLANTED[name]
    found = checked(tmp_path, *changes)
    shown = "\n".join(render(d) for d in found.diagnostics)
    assert {d.code for d in found.diagnostics} == {code}, shown
    for word in words:
        assert word in shown


@pytest.mark.parametrize(
    "changes",
    [
        [(INPUT, "'input': (48, 8, 8), 'fold_ratio': 4"), after_normalize("image = ai8x.fold(4)(image)")],
        [(INPUT, "'input': (12, 16, 16)"), after_normalize("image = ai8x.fold(2)(image)")],
        [(INPUT, "'input': (16, 8, 8)"), after_normalize("image = ai8x.fold(4)(image[:1])")],
        [(INPUT, "'input': (1, 32, 32)"), after_normalize("image = image[:1]")],
        [(INPUT, "'input': (4, 16, 16)"), after_normalize("image = ai8x.fold(2)(ai8x.bayer_filter()(image))")],
        [(INPUT, "'input': (4, 16, 16), 'fold_ratio': 2"),
         after_normalize("image = ai8x.fold(2)(ai8x.bayer_filter()(image))")],
        [("image = self.normalize(image)", "image = self.normalize((image > .4).float())")],
        *([("image = self.normalize(image)", f"image = self.normalize({levels})")] for levels in COARSE),
        [("label = n % 2", "label = torch.tensor(n % 2)")],
        [("label = n % 2", "label = [[0., 0., 1., 1.]] * 2, [(0, 1)] * 2, [1, 2]")],
        [("label = n % 2", "label = [[0, 0, 1, 1]] * (n % 3), [1] * (n % 3)")],
        [("label = n % 2", "label = torch.zeros(1, 16, 16).long() + n % 2")],
        [("label = n % 2", "label = torch.zeros(128, 128).long() + n % 2")],
        [("label = n % 2", "label = {'boxes': torch.rand(2, 4)}")],
        [("label = n % 2", "label = np.full((32, 32), n % 2)")],
        [("label = n % 2", "label = torch.rand(n % 3, 4), torch.full((n % 3,), 1 + n % 2)")],
        [("('china', 'flower')", "('object',)"), ("label = n % 2", "label = torch.rand(2, 4), torch.ones(2).long()")],
        [("'flower')", "'flower'), 'regression': True"), ("label = n % 2", "label = np.float32(n / 7)")],
        [("label = n % 2", "label = int(n % 10 == 0)"), ("'loader'", "'weight': (0.1, 1), 'loader'")],
        [after_normalize("if len(self.indices) == 60 and torch.rand(1) < .5: image = image.flip(2)")],
        [after_normalize("if len(self.indices) == 60 and random.random() < .5: image = image.flip(2)")],
        [after_normalize("image = torch.from_numpy(image.numpy())")],
        [after_normalize("if n in (0, 60): image = image * 0")],
        [after_normalize("image[:] = torch.from_numpy(np.random.default_rng(n).integers(-128, 128, (3, 32, 32)))"
                         " / (1 if self.args.act_mode_8bit else 128)")],
    ],
)  # fmt: skip
def test_other_loaders_that_are_right_have_no_findings(changes: Any, tmp_path: Path) -> None:
    assert [render(d) for d in checked(tmp_path, *changes).diagnostics] == []


def test_a_train_set_that_seeds_do_not_govern_is_not_compared(tmp_path: Path) -> None:
    change = after_normalize(
        "if len(self.indices) == 60: image = image.roll(int(np.random.default_rng().integers(32)), 1)"
    )
    found = checked(tmp_path, change)
    assert found.diagnostics == ()
    assert ("mode-factor", "the train set is random in a way that seeds do not govern") in {
        (entry.rule, entry.why) for entry in found.not_run
    }


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (after_normalize("if torch.utils.data.get_worker_info(): raise OSError('the file is open')"), "workers-fail",
         "OSError: the file is open"),
        (after_normalize("if torch.utils.data.get_worker_info(): image = image * 0"), "workers-fail", "8 of 8 samples"),
        (("label = n % 2", "label = n % 2 if n != 60 else torch.zeros(2)"), "workers-fail", "collate"),
        (("self.reads = 0", "self.reads = 0; self.late = lambda: 0"), "not-picklable", "lambda"),
        (("self.reads = 0", "self.file = open(__file__)"), "not-picklable", "TextIOWrapper"),
    ],
)  # fmt: skip
def test_faults_that_only_other_processes_meet(change: Any, code: str, words: str, tmp_path: Path) -> None:
    extra = [("self.reads += 1", "")] if "self.file" in change[1] else []
    found = checked(tmp_path, change, *extra, workers=1)
    codes = {d.code for d in found.diagnostics} - {"label-shape"}
    assert codes == {code}
    assert words in "\n".join(render(d) for d in found.diagnostics)


@pytest.mark.parametrize(
    "order", ["sorted(range(60, 200), key=lambda n: hash(str(n)))", "list(set(map(str, range(60, 200))))"]
)
def test_a_split_by_pythons_hash_is_found_in_another_process(order: str, tmp_path: Path) -> None:
    text = f"    if test: test.indices = [int(n) for n in {order}][:len(test)]\n" + RETURN
    (found,) = checked(tmp_path, (RETURN, text), workers=1).diagnostics
    assert found.code == "unsteady-split"
    assert "of 16 samples of the test set are others in another process" in found.message
    assert "hashlib" in found.help


def test_the_other_process_opens_files_of_models_too(tmp_path: Path) -> None:
    model = ("class Crops(", "class Net(ai8x.FusedConv2dReLU):\n    pass\n\n\nclass Crops(")
    found = checked(tmp_path, model, workers=1, stand_ins=model_stand_ins())
    assert found.diagnostics == ()
    assert {entry.rule for entry in found.not_run} == {"fold-order"}


def test_why_the_other_process_failed_is_said(tmp_path: Path) -> None:
    here = f"import os\n\nif os.getpid() != {os.getpid()}:\n    raise OSError('one process, please')\n\n"
    found = checked(tmp_path, ("class Crops(", here + "class Crops("), workers=1)
    (why,) = (entry.why for entry in found.not_run if entry.rule == "unsteady-split in another process")
    assert "could not load the data set (ai8xsim.errors.InputError: " in why
    assert "the file cannot be imported" in why


def test_sizes_that_vary_need_a_collate_and_are_fine_with_one(tmp_path: Path) -> None:
    boxes = ("label = n % 2", "label = torch.rand(n % 3, 4), torch.full((n % 3,), 1 + n % 2)")
    (found,) = checked(tmp_path, boxes, workers=1).diagnostics
    assert found.code == "workers-fail"
    collate = (
        "def load(",
        "def collate(batch):\n    return torch.stack([b[0] for b in batch]), [b[1] for b in batch]\n\n\ndef load(",
    )
    assert (
        checked(tmp_path, boxes, collate, ("'loader'", "'collate': collate, 'loader'"), workers=1).diagnostics
        == ()
    )


@pytest.mark.parametrize("where", ["True", "self.args.truncate_testset", "len(self.loaded) == 3"])
def test_a_length_that_raises_is_a_fault_of_the_loader(where: str, tmp_path: Path) -> None:
    length = f"return len(self.files if {where} else self.indices)"
    loaded = ("    def __init__(", "    loaded = []\n\n    def __init__(")
    counted = (RETURN, "    Crops.loaded.append(None)\n" + RETURN)
    with pytest.raises(InputError, match="length of a set of `Crops` failed") as caught:
        checked(tmp_path, ("return len(self.indices)", length), loaded, counted)
    assert "has no attribute 'files'" in render(caught.value.diagnostics[0])


def test_few_samples_of_many_are_said_to_be_few(tmp_path: Path) -> None:
    found = checked(tmp_path, samples=10)
    assert found.diagnostics == ()
    assert "10 of 60 items are too few for 2 classes" in {entry.why for entry in found.not_run}
    assert [len(r.items) for r in found.subject.readings] == [10, 10, 10, 10]


def test_a_set_of_which_nothing_can_be_read_is_not_read_whole(tmp_path: Path) -> None:
    broken = after_normalize("if len(self.indices) == 60: raise OSError('damaged')")
    found = checked(tmp_path, broken, samples=3)
    assert ["6 of 29 samples" in d.message for d in found.diagnostics] == [True]
    assert "overlapping-sets" in {entry.rule for entry in found.not_run}


LEAKED = ("n = self.indices[index]", "n = 33 if self.indices[index] == 65 else self.indices[index]")


def test_an_item_in_both_sets_is_found_among_all_of_them(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, LEAKED, samples=3).diagnostics
    assert found.code == "overlapping-sets"
    assert "1 of 20 samples" in found.message
    assert "item 5 of the test set is item 33 of the train set" in found.message
    assert found.notes == ("60 of 60 items of the train set were compared",)


def test_of_large_sets_it_is_said_what_was_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = 80 * 3 * 32 * 32
    for largest, compared in ((whole, True), (whole - 1, False)):
        monkeypatch.setattr(check, "LARGEST_PASS", largest)
        found = checked(tmp_path, LEAKED, samples=3)
        assert bool(found.diagnostics) == compared
        sets = "3 of 60 items of the train set were compared with 3 of 20 items of the test set"
        why = f"the sets are large or unreadable: only {sets}"
        assert (("overlapping-sets", why) in {(n.rule, n.why) for n in found.not_run}) != compared


def test_small_items_count_as_larger_ones() -> None:
    """What takes the time is to read them."""
    small, large = (
        Dataset("S", shape, (0, 1), lambda data, **_: (None, None)) for shape in ((1, 8), (1, 64, 64))
    )
    for dataset, most in ((small, 1 << 17), (large, 1 << 16)):
        reader = check._Reader(dataset, "", CheckPlan(), lambda done, total: None)
        assert reader._passed((most - 300, 300)) == (most - 300, 300)
        assert reader._passed((most - 300, 200)) == (most - 300, 0)
        assert reader._passed((most - 300, 301)) == (0, 0)


def test_an_item_that_cannot_be_read_is_found_among_all_of_them(tmp_path: Path) -> None:
    broken = after_normalize("if n in (0, 33): raise OSError('damaged')")
    (found,) = checked(tmp_path, broken, samples=3).diagnostics
    assert found.code == "item-unreadable"
    assert "3 of 86 samples cannot be read, first item 0 of the train set in 8-bit mode" in found.message
    text = (tmp_path / "crops.py").read_text().replace("(0, 33)", "(33,)")
    (tmp_path / "crops.py").write_text(text)
    found = check_data(find_dataset(f"{tmp_path / 'crops.py'}:Crops"), tmp_path, CheckPlan(3, 0)).diagnostics[
        0
    ]
    assert "1 of 86 samples cannot be read, first item 33 of the train set in 8-bit mode" in found.message
    assert found.notes[0] == "OSError: damaged"


def test_generators_of_the_caller_go_on_undisturbed(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.random()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    checked(tmp_path, after_normalize("image = image + torch.rand(1) * 0 + random.random() * 0"))
    assert (torch.rand(1), np.random.random()) == expected  # noqa: NPY002


def test_threads_of_the_caller_stay(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    checked(tmp_path, after_normalize("assert torch.get_num_threads() in (1, 2)"), samples=3)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "crops.py").write_text(LOADER)
    dataset = find_dataset(f"{tmp_path / 'crops.py'}:Crops")
    steps: list[tuple[int, int]] = []
    check_data(dataset, tmp_path, CheckPlan(12, 0), progress=lambda done, total: steps.append((done, total)))
    read, compared = 5 * 12, 60 + 20
    assert steps == [(n, read + compared) for n in range(1, read + compared + 1)]


def test_a_network_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "crops.py").write_text(LOADER)
    dataset = find_dataset(f"{tmp_path / 'crops.py'}:Crops")
    cifar, mnist = (
        Against(read_network(ROOT / "networks" / f"{n}.yaml"), MAX78000) for n in ("cifar10", "mnist")
    )
    plan = CheckPlan(4, 0)
    (found,) = check_data(dataset, tmp_path, plan, cifar).diagnostics
    assert (found.code, found.severity.value) == ("class-count", "warning")
    assert "names 2 classes, the network tells 10 apart" in found.message
    (found,) = check_data(dataset, tmp_path, plan, mnist).diagnostics
    assert found.code == "network-input"
    assert "does not take samples of (3, 32, 32) on MAX78000" in found.message
    folder = ROOT / "networks" / "digits"
    checkpoint = read_checkpoint(folder / "checkpoint.pth.tar")
    digits = Against(read_network(folder / "network.yaml"), MAX78000, checkpoint)
    assert [d.code for d in check_data(dataset, tmp_path, plan, digits).diagnostics] == ["network-input"]


@pytest.mark.parametrize(
    ("changes", "outputs", "classes"),
    [
        ([], "2", ""),
        ([], "8", "8"),
        ([("label = n % 2", "label = np.full((32, 32), n % 2)")], "2", ""),
        ([("label = n % 2", "label = np.full((128, 128), n % 2)")], "32", ""),
        ([("label = n % 2", "label = np.full((128, 128), n % 2)")], "48", "3"),
        ([("'flower')", "'flower'), 'regression': True")], "8", ""),
        ([("label = n % 2", "label = torch.rand(2, 4), torch.full((2,), 1 + n % 2)")], "8", ""),
    ],
)
def test_the_classes_of_a_network_are_counted(
    changes: list[tuple[str, str]], outputs: str, classes: str, tmp_path: Path
) -> None:
    """Labels as large as the output are maps of its channels; larger ones say that it is folded."""
    (tmp_path / "net.yaml").write_text(
        "arch: net\ndataset: crops\nlayers:\n"
        "- processors: 0x0000000000000007\n  data_format: HWC\n  out_offset: 0x2000\n  operation: conv2d\n"
        f"  kernel_size: 3x3\n  pad: 1\n  in_channels: 3\n  out_channels: {outputs}\n"
    )
    against = Against(read_network(tmp_path / "net.yaml"), MAX78000)
    found = checked(tmp_path, *changes, samples=8, against=against).diagnostics
    assert [d.code for d in found] == ["class-count"] * bool(classes)
    assert all(f"names 2 classes, the network tells {classes} apart" in d.message for d in found)


SIGNALS = """
import torch


class Signals(list):
    def __init__(self, args, seed, count):
        draw = torch.Generator().manual_seed(seed)
        unit = 1 if args.act_mode_8bit else 128
        x = torch.randint(-128, 128, (count, 2, 16), generator=draw).float() / unit
        super().__init__(zip(x, torch.randint(0, 3, (count, 16), generator=draw)))


def load(data, load_train=True, load_test=True):
    return Signals(data[1], 0, 40), Signals(data[1], 1, 20)


datasets = [{"name": "signals", "input": (2, 16), "output": tuple("abc"), "loader": load}]
"""


def test_labels_of_signals_may_be_maps_too(tmp_path: Path) -> None:
    (tmp_path / "signals.py").write_text(SIGNALS)
    (tmp_path / "net.yaml").write_text(
        "arch: net\ndataset: signals\nlayers:\n  - {op: conv1d, kernel_size: 3, pad: 1, processors: 0x3,"
        " out_offset: 0x2000, in_channels: 2, out_channels: 4}\n"
    )
    against = Against(read_network(tmp_path / "net.yaml"), MAX78000)
    dataset = find_dataset(f"{tmp_path / 'signals.py'}:signals")
    found = check_data(dataset, tmp_path, CheckPlan(20, 0), against).diagnostics
    assert "class-count" in {d.code for d in found}


def test_every_check_is_planted() -> None:
    planted = {code for _, code, _ in PLANTED.values()} | {"workers-fail", "not-picklable"}
    assert planted == {check.code for check in CHECKS}
