"""The example loaders: what their items are, and that nothing can spoil their prepared files."""

import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ai8xsim import InputError, data, render
from ai8xsim.data import CheckPlan, check_data, find_dataset
from ai8xsim.data.loaders.class_folders import ClassFolders, class_folder_loader
from ai8xsim.data.loaders.portraits import Portraits, portrait_loader
from ai8xsim.data.loaders.store import Pair, Source, in_test_set, open_store
from ai8xsim.data.loaders.voc import VocImages, voc_loader

from ..conftest import ROOT
from .photographs import crop, write_classes, write_portraits, write_voc

FORMS = ("files", "memory")
CHIP, TRAINING = (
    SimpleNamespace(act_mode_8bit=True, truncate_testset=False),
    SimpleNamespace(act_mode_8bit=False, truncate_testset=False),
)
SMALL = Portraits(16, test_share=0.3)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portraits(tmp_path_factory.mktemp("portraits"), 20)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return write_portraits(tmp_path / "few", 5)


def loaded(folder: Path, portraits: Portraits, args: Any = CHIP) -> tuple[Any, Any]:
    return portrait_loader(portraits)((str(folder), args))


def contents(items: Any) -> list[str]:
    return [
        hashlib.sha256(image.numpy().tobytes() + label.numpy().tobytes()).hexdigest()
        for image, label in items
    ]


def items_of(store: Any) -> list[Pair]:
    return [store[n] for n in range(len(store))]


def equal(ours: list[Pair], theirs: list[Pair]) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(a, b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", ["Portraits_80", "Portraits_352", "Portraits_352_memory"])
def test_portraits_have_no_findings(name: str, portraits: Path) -> None:
    dataset = find_dataset(f"{ROOT / 'networks' / 'data' / 'portraits.py'}:{name}")
    found = check_data(dataset, portraits, CheckPlan(12, workers=1))
    assert [render(d) for d in found.diagnostics] == []
    assert not {"fold-order", "mode-factor", "workers-fail", "overlapping-sets"} & {
        n.rule for n in found.not_run
    } - {"fold-order" if name == "Portraits_80" else ""}


def test_a_portrait_is_cropped_at_both_ends_and_in_the_middle(portraits: Path) -> None:
    sources = SMALL.sources(portraits)
    assert len(sources) == 60
    whole = np.asarray(Image.open(sources[0].files[0]))
    side = replace(SMALL, size=60)
    for part, top in enumerate((0, 10, 20)):
        image, label = side(sources[part])
        assert (image == whole[top : top + 60]).all()
        alpha = np.asarray(Image.open(sources[part].files[1]))[top : top + 60, :, 3]
        assert (label == (alpha >= 128)).all()
        assert 0 < label.mean() < 1
    wide = replace(SMALL, size=60, crops=1)
    assert (wide(Source("middle", sources[0].files))[0] == whole[10:70]).all()


def test_items_are_what_the_functions_of_ours_make(portraits: Path) -> None:
    for fold in (1, 4):
        recipe = replace(SMALL, fold_ratio=fold)
        (train, test), (half_train, _) = loaded(portraits, recipe), loaded(portraits, recipe, TRAINING)
        sources = recipe.sources(portraits)
        wanted = [source for source in sources if not in_test_set(source.name, 0.3)]
        assert (len(train), len(test)) == (len(wanted), 60 - len(wanted))
        for n in (0, len(train) - 1):
            pixels, label = recipe(wanted[n])
            image, target = train[n]
            assert image.dtype == torch.float32
            assert (image.numpy() == data.fold(data.from_unsigned(pixels.transpose(2, 0, 1)), fold)).all()
            assert target.dtype == torch.int64
            assert (target.numpy() == label).all()
            assert torch.equal(half_train[n][0] * 128, image)


def test_both_forms_of_storage_hold_the_same(portraits: Path) -> None:
    files, memory = (loaded(portraits, replace(SMALL, storage=form)) for form in FORMS)
    for one, other in zip(files, memory, strict=True):
        assert contents(one) == contents(other)
    with pytest.raises(ValueError, match="'disk', not one of files, memory"):
        loaded(portraits, replace(SMALL, storage="disk"))


def test_crops_of_a_portrait_stay_together_in_every_process(portraits: Path) -> None:
    names = {source.name for source in SMALL.sources(portraits)}
    test = {name for name in names if in_test_set(name, 0.3)}
    assert {name.partition("#")[0] for name in test}.isdisjoint(
        name.partition("#")[0] for name in names - test
    )
    assert 0 < len(test) < len(names) / 2
    code = "from ai8xsim.data.loaders.store import in_test_set as t; print(*[n for n in range(99) if t(str(n), .5)])"
    seen = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
                       check=True).stdout for seed in ("1", "2")
    }  # fmt: skip
    assert seen == {" ".join(str(n) for n in range(99) if in_test_set(str(n), 0.5)).encode() + b"\n"}


def test_truncation_leaves_one_item(portraits: Path) -> None:
    args = SimpleNamespace(act_mode_8bit=True, truncate_testset=True)
    for form in FORMS:
        recipe = replace(SMALL, storage=form)
        train, test = loaded(portraits, recipe, args)
        assert len(train) > 1
        assert contents(test) == contents(loaded(portraits, recipe)[1])[:1]


def never(source: Source) -> Pair:
    raise AssertionError(f"{source.name} was made again")


def counted(source: Source) -> Pair:
    """An item that takes a moment to make, and is different for each source."""
    generator = np.random.default_rng(source.part)
    return generator.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.array(source.part % 7, np.uint8)


def sources_of(folder: Path, count: int) -> list[Source]:
    path = folder / "original.bin"
    if not path.exists():
        path.write_bytes(b"original")
        os.utime(path, ns=(10**18, 10**18))
    return [Source(f"{n}", (str(path),), n) for n in range(count)]


@pytest.mark.parametrize("form", FORMS)
def test_items_are_made_once(form: str, tmp_path: Path) -> None:
    sources = sources_of(tmp_path, 300)
    steps: list[tuple[int, int]] = []
    first = open_store(
        form, tmp_path / "store", sources, counted, lambda done, total: steps.append((done, total))
    )
    assert steps[-1][0] == steps[-1][1] >= 300
    assert equal(items_of(open_store(form, tmp_path / "store", sources, never)), items_of(first))
    assert equal(items_of(first), [counted(source) for source in sources])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spoil", ["cut", "empty", "byte", "garbage", "gone"])
def test_a_damaged_file_is_noticed_and_made_anew(form: str, spoil: str, tmp_path: Path) -> None:
    sources = sources_of(tmp_path, 300)
    good = items_of(open_store(form, tmp_path / "store", sources, counted))
    before = files_of(tmp_path / "store")
    store = open_store(form, tmp_path / "store", sources, counted)
    for path in list((tmp_path / "store").rglob("*.npz"))[:20]:
        whole = path.read_bytes()
        place = whole.index(b"PK\x03\x04", 10) - 40  # within the numbers of the first array
        spoilt = {"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x00" * len(whole), "gone": None,
                  "byte": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:]}[spoil]  # fmt: skip
        path.unlink() if spoilt is None else path.write_bytes(spoilt)
    if form == "files":
        assert equal(items_of(store), good)
    assert equal(items_of(open_store(form, tmp_path / "store", sources, counted)), good)
    assert files_of(tmp_path / "store") == before


def test_workers_mend_damaged_files(tmp_path: Path) -> None:
    folder = write_portraits(tmp_path, 8)
    recipe = replace(SMALL, storage="files")
    train, _ = loaded(folder, recipe)
    good = contents(train)
    for path in (folder / "prepared").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:200])
    batches = DataLoader(train, batch_size=5, num_workers=2, multiprocessing_context="fork")
    assert contents([item for batch in batches for item in zip(*batch, strict=True)]) == good
    assert contents(train) == good


CHILD = """
import os, signal, sys
import numpy as np
from ai8xsim.data.loaders.store import open_store
from tests.data.test_loaders import counted, sources_of
from pathlib import Path

folder, form, where, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
written, savez = 0, np.savez

def dying(stream, **arrays):
    global written
    written += 1
    if where == "within" and written > after:
        stream.write(b"PK half of a file")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    savez(stream, **arrays)

def progress(done, total):
    if where == "between" and written >= after:
        os.kill(os.getpid(), signal.SIGKILL)

np.savez = dying
open_store(form, folder / "store", sources_of(folder, 700), counted, progress)
"""


@pytest.mark.parametrize(("form", "after"), [("files", 0), ("files", 123), ("memory", 1)])
@pytest.mark.parametrize("where", ["between", "within"])
def test_killed_in_the_middle_and_started_again_is_as_if_undisturbed(
    form: str, after: int, where: str, tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
        sources_of(folder, 1)
    open_store(form, calm / "store", sources_of(calm, 700), counted)
    command = [sys.executable, "-c", CHILD, str(killed), form, where, str(after)]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    left = files_of(killed / "store")
    assert len([name for name in left if name.endswith(".npz")]) == max(after, where == "between")
    assert any(name.endswith(".tmp") for name in left) == (where == "within")
    again = open_store(form, killed / "store", sources_of(killed, 700), counted)
    assert equal(items_of(again), [counted(source) for source in sources_of(calm, 700)])
    assert files_of(killed / "store") == files_of(calm / "store")


LOADING = """
import os, signal, sys
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from ai8xsim.data.loaders.portraits import Portraits, portrait_loader

folder, form, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count, savez = 0, np.savez

def dying(stream, **arrays):
    global count
    count += 1
    if count > after:
        stream.write(b"PK half of a file")
        os.kill(os.getpid(), signal.SIGKILL)
    savez(stream, **arrays)

np.savez = dying
args = SimpleNamespace(act_mode_8bit=True, truncate_testset=False)
portrait_loader(Portraits(16, test_share=0.3, storage=form))((folder, args))
"""


@pytest.mark.parametrize(("form", "after"), [("files", 17), ("files", 45), ("memory", 0), ("memory", 1)])
def test_a_loader_that_was_killed_goes_on_as_if_undisturbed(
    form: str, after: int, portraits: Path, tmp_path: Path
) -> None:
    recipe = replace(SMALL, storage=form)
    calm = [contents(part) for part in loaded(portraits, recipe)]
    for part in ("clip_img", "matting"):
        shutil.copytree(portraits / part, tmp_path / part)
    command = [sys.executable, "-c", LOADING, str(tmp_path), form, str(after)]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    made = len(list((tmp_path / "prepared").rglob("*.npz")))
    assert made == after
    assert [contents(part) for part in loaded(tmp_path, recipe)] == calm
    assert not list((tmp_path / "prepared").rglob("*.tmp"))


def prepare(folder: Path, form: str) -> str:
    store = open_store(form, folder / "store", sources_of(folder, 700), counted)
    return hashlib.sha256(b"".join(image.tobytes() for image, _ in items_of(store))).hexdigest()


@pytest.mark.parametrize("form", FORMS)
def test_processes_that_prepare_one_folder_at_once_agree(form: str, tmp_path: Path) -> None:
    sources_of(tmp_path, 1)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        digests = pool.starmap(prepare, [(tmp_path, form)] * 4)
    wanted = hashlib.sha256(b"".join(counted(s)[0].tobytes() for s in sources_of(tmp_path, 700))).hexdigest()
    assert set(digests) == {wanted}
    assert not [name for name in files_of(tmp_path / "store") if name.endswith(".tmp")]


@pytest.mark.parametrize("form", FORMS)
def test_a_photograph_that_was_changed_is_a_new_item(form: str, few: Path) -> None:
    recipe = replace(SMALL, storage=form, test_share=0.0)
    train, _ = portrait_loader(recipe)((few, CHIP), load_test=False)
    before = contents(train)
    photo = recipe.sources(few)[3].files[0]
    Image.new("RGB", (60, 80), (255, 0, 0)).save(photo)
    after = contents(portrait_loader(recipe)((few, CHIP), load_test=False)[0])
    assert [n for n in range(len(before)) if before[n] != after[n]] == [3, 4, 5]


def spoil(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif how == "text":
        path.write_text("<html>not found</html>")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("side", "how", "code"),
    [
        (0, "cut", "not-an-image"),
        (0, "text", "not-an-image"),
        (1, "cut", "not-an-image"),
        (1, "gone", "no-matte"),
    ],
)
def test_what_is_wrong_with_the_originals_is_said(side: int, how: str, code: str, few: Path) -> None:
    path = Path(SMALL.sources(few)[0].files[side])
    spoil(path, how)
    with pytest.raises(InputError) as caught:
        loaded(few, SMALL)
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert path.name in render(found)


def test_mattes_of_another_size_and_empty_folders_are_said(few: Path, tmp_path: Path) -> None:
    matte = SMALL.sources(few)[0].files[1]
    Image.open(matte).resize((50, 50)).save(matte)
    with pytest.raises(InputError, match="60 x 80, its matte 50 x 50") as caught:
        loaded(few, SMALL)
    assert caught.value.diagnostics[0].code == "matte-mismatch"
    with pytest.raises(InputError, match="does not exist") as caught:
        loaded(tmp_path / "nowhere", SMALL)
    assert caught.value.diagnostics[0].code == "no-images"


def test_folders_of_classes(tmp_path: Path) -> None:
    write_classes(tmp_path, ("cats", "dogs"), 25)
    dataset = find_dataset(f"{ROOT / 'networks' / 'data' / 'class_folders.py'}:CatsDogs")
    found = check_data(dataset, tmp_path, CheckPlan(60, workers=1))
    assert [render(d) for d in found.diagnostics] == []
    train, test = dataset.load(tmp_path, act_mode_8bit=True)
    assert (len(train) + len(test), 3 < len(test) < 20) == (50, True)
    labels = [label for _, label in train]
    assert labels == sorted(labels)
    assert set(labels) == {0, 1}


def test_sets_that_are_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    for kind, count in (("train", 4), ("test", 2)):
        write_classes(tmp_path / kind, ("a", "b", "c"), count)
    load = class_folder_loader(ClassFolders(("a", "b", "c"), 16, storage="files"))
    train, test = load((tmp_path, CHIP))
    assert ([label for _, label in train], [label for _, label in test]) == (
        [0] * 4 + [1] * 4 + [2] * 4,
        [0, 0, 1, 1, 2, 2],
    )
    torch.manual_seed(0)
    seen = {train[0][0].numpy().tobytes() for _ in range(20)}
    assert len(seen) == 2
    with pytest.raises(InputError, match="does not exist"):
        class_folder_loader(ClassFolders(("a", "d"), 16))((tmp_path, CHIP))


def test_there_may_be_more_classes_than_a_byte_counts(tmp_path: Path) -> None:
    names = tuple(f"c{n:03}" for n in range(300))
    for name in names:
        (tmp_path / "train" / name).mkdir(parents=True)
        crop(0, 9, 8).save(tmp_path / "train" / name / "p.png")
    for form in FORMS:
        train, _ = class_folder_loader(ClassFolders(names, 8, storage=form))(
            (tmp_path, CHIP), load_test=False
        )
        assert [label for _, label in train] == list(range(300))
    write_voc(tmp_path, {"train": [(name,) for name in names[250:]], "val": []})
    train, _ = voc_loader(VocImages(names, size=8))((tmp_path, CHIP), load_test=False)
    assert [label for _, label in train] == list(range(250, 300))


def test_voc_keeps_single_objects_of_the_classes(tmp_path: Path) -> None:
    shown = [
        ("cat",),
        ("car",),
        ("cat", "dog"),
        ("chair",),
        (),
        ("aeroplane",),
        ("bird",),
        ("dog",),
        ("horse",),
        ("boat",),
    ]
    write_voc(tmp_path, {"train": shown * 3, "val": shown})
    dataset = find_dataset(f"{ROOT / 'networks' / 'data' / 'voc.py'}:VOC_CIFAR")
    train, test = dataset.load(tmp_path, act_mode_8bit=True)
    assert [dataset.output[label] for _, label in test] == [
        "cat",
        "automobile",
        "airplane",
        "bird",
        "dog",
        "horse",
        "ship",
    ]
    assert len(train) == 21
    found = check_data(dataset, tmp_path, CheckPlan(60, workers=0))
    assert [render(d) for d in found.diagnostics] == []
    (tmp_path / "Annotations" / "000003.xml").write_text("<annotation><object>")
    with pytest.raises(InputError, match=r"000003\.xml.* cannot be read") as caught:
        voc_loader(VocImages(("cat",)))((tmp_path, CHIP))
    assert caught.value.diagnostics[0].code == "damaged-annotation"


def test_the_digits_are_those_of_the_bundled_network(digits: Path) -> None:
    dataset = find_dataset(f"{digits / 'dataset.py'}:digits")
    _, test = dataset.load(digits, act_mode_8bit=True)
    with np.load(digits / "samples.npz") as bundled:
        assert [label for _, label in test] == bundled["labels"].tolist()
        assert (np.stack([data.to_sample(image) for image, _ in test]) == bundled["images"]).all()
    found = check_data(dataset, digits, CheckPlan(400, workers=0))
    assert [render(d) for d in found.diagnostics] == []
