"""Compiled kernels on disk: kept between processes, never stale, never a reason to fail, and out of others' reach."""

import os
import re
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .own_process import ROOT, OwnProcess, in_own_process

NOBODY = 54321  # a user that owns nothing here
NEAREST = [-64, -1, 0, 1, 64]  # what `_shift` returns


def package_copy(folder: Path) -> Path:
    """The folder of a copy of the package, with nothing compiled."""
    shutil.copytree(ROOT / "ai8xsim", folder / "ai8xsim", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def in_cache(cache: Path) -> dict[str, str]:
    """The environment in which compiled kernels are kept in a folder."""
    return {"NUMBA_CACHE_DIR": str(cache)}


def kept(cache: Path) -> dict[str, int]:
    """The files in a folder of compiled kernels, and when they were made."""
    return {file.name: file.stat().st_mtime_ns for file in (cache / "ai8xsim").iterdir()}


# What the processes do


def _network() -> list[Any]:
    """The digests and the saturated values of a small network, and whether its kernel came from the cache."""
    from ai8xsim import Simulator
    from ai8xsim.kernels.generated.driver import runner_of
    from ai8xsim.kernels.generated.targets import choose_target

    from ..simulator.small_programs import mixed_program, random_int8

    trace = Simulator(mixed_program()).run(random_int8(0, 3, 2, 4, 4))
    target = choose_target()
    kernel: Any = runner_of(target) if target else None
    return [
        [[*layer.digests, layer.saturated] for layer in trace],
        len(kernel.stats.cache_hits) if kernel else 0,
    ]


def _shift() -> list[Any]:
    """The results of a kernel that is compiled fast, and whether it came from the cache."""
    from ai8xsim.kernels.requantize import shift_right

    kernel: Any = shift_right
    results = np.zeros(5, np.int8)
    kernel(np.array([-128, -3, -1, 1, 128], np.int32), 1, 0, results)
    return [results.tolist(), len(kernel.stats.cache_hits)]


def _folder() -> list[Any]:
    """Where compiled kernels are kept, whether it works, and who may use that folder."""
    from ai8xsim.kernels.cache import cache_folder

    folder, (results, _) = cache_folder(), _shift()
    compiled = any(file.name.startswith("requantize.shift_right") for file in folder.iterdir())
    return [str(folder), results == NEAREST and compiled, stat.S_IMODE(folder.stat().st_mode)]


def _folder_without_a_home() -> list[Any]:
    """As in a container: a user that the system does not know."""
    import pwd

    def unknown(user: int) -> Any:
        raise KeyError(user)

    os.environ.pop("HOME", None)
    os.environ.pop("XDG_CACHE_HOME", None)
    pwd.getpwuid = unknown
    return _folder()


def _shift_on_a_full_disk() -> list[Any]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    return _shift()


# Kept between processes


def _results(work: Any, environments: list[dict[str, str]]) -> list[Any]:
    """What processes return that start at once."""
    processes = [OwnProcess(work, environment=environment) for environment in environments]
    return [process.result(300) for process in processes]


def _targets() -> list[str]:
    from ai8xsim.kernels.generated.targets import available_targets

    return [target.name for target in available_targets()]


def test_cold_processes_may_start_at_once_and_later_ones_compile_nothing(tmp_path: Path) -> None:
    environments = [in_cache(tmp_path)] * 4
    assert [results for results, _ in _results(_shift, environments)] == [NEAREST] * 4
    files = kept(tmp_path)
    assert _results(_shift, environments) == [[NEAREST, 1]] * 4
    assert kept(tmp_path) == files


@pytest.mark.deep
def test_cold_processes_of_all_targets_may_start_at_once(tmp_path: Path) -> None:
    targets = [*_targets(), _targets()[0], "portable", "portable"]
    environments = [{**in_cache(tmp_path), "AI8XSIM_TARGET": target} for target in targets]
    facts = [found for found, _ in _results(_network, environments)]
    assert facts == facts[:1] * len(targets)
    files = kept(tmp_path)
    assert _results(_network, environments) == [[facts[0], int(t != "portable")] for t in targets]
    assert kept(tmp_path) == files


# Damaged files


def _truncate(code: bytes) -> bytes:
    return code[: len(code) // 2]


def _replace_all(code: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(code))


def _empty(code: bytes) -> bytes:
    return b""


def _other_pickle(code: bytes) -> bytes:
    return b"N."  # None


def _spoil_a_third(code: bytes) -> bytes:
    at = len(code) // 3
    return code[:at] + b"\xff" * 64 + code[at + 64 :]


def _spoil_the_middle(code: bytes) -> bytes:
    at = len(code) // 2
    return code[:at] + b"\xff" * 64 + code[at + 64 :]


DAMAGES = (_truncate, _replace_all, _empty, _spoil_a_third, _spoil_the_middle, _other_pickle)


def _survives(damage: Any, work: Any, cache: Path) -> None:
    right, _ = in_own_process(work, environment=in_cache(cache))
    for file in (cache / "ai8xsim").iterdir():
        file.write_bytes(damage(file.read_bytes()))
    assert in_own_process(work, environment=in_cache(cache)) == [right, 0]
    assert in_own_process(work, environment=in_cache(cache)) == [right, 1]


@pytest.mark.parametrize("damage", DAMAGES[:4])
def test_a_damaged_file_is_compiled_anew(damage: Any, tmp_path: Path) -> None:
    _survives(damage, _shift, tmp_path)


@pytest.mark.deep
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_the_large_kernel_is_compiled_anew(damage: Any, tmp_path: Path) -> None:
    _survives(damage, _network, tmp_path)


def test_a_full_disk_does_not_hinder_a_run(tmp_path: Path) -> None:
    results, _ = in_own_process(_shift_on_a_full_disk, environment=in_cache(tmp_path))
    assert results == NEAREST


# Changed sources


def change(package: Path, file: str, old: str, new: str) -> None:
    """Edit a kernel's source."""
    path = package / "ai8xsim" / "kernels" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old} in {file}"
    path.write_text(text.replace(old, new))


def test_a_changed_generator_shows_at_once_in_another_files_kernel(tmp_path: Path) -> None:
    package, cache = package_copy(tmp_path / "package"), tmp_path / "cache"
    first = in_own_process(_network, environment=in_cache(cache), package=package)
    before = set(kept(cache))
    assert in_own_process(_network, environment=in_cache(cache), package=package) == [first[0], 1]
    change(package, "requantize.py", "return max(value, 0)", "return max(value, 1)")
    second = in_own_process(_network, environment=in_cache(cache), package=package)
    assert second[1] == 0
    assert second[0][0] != first[0][0]
    assert not before & set(kept(cache))


@pytest.mark.deep
def test_a_changed_micro_kernel_shows_at_once(tmp_path: Path) -> None:
    package, cache = package_copy(tmp_path / "package"), tmp_path / "cache"
    first = in_own_process(_network, environment=in_cache(cache), package=package)
    change(
        package,
        "generated/microkernel.py",
        "after(builder, job.pixels, PAIR_BYTES * pixel), 4)",
        "job.pixels, 4)",
    )
    second = in_own_process(_network, environment=in_cache(cache), package=package)
    assert second[1] == 0
    assert second[0] != first[0]


@pytest.mark.parametrize("edit", ["in its line", "a line above"])
def test_files_of_other_sources_are_removed(edit: str, tmp_path: Path) -> None:
    package, cache = package_copy(tmp_path / "package"), tmp_path / "cache"
    in_own_process(_shift, environment=in_cache(cache), package=package)
    before = set(kept(cache))
    comment = "# \n" if edit == "a line above" else "#\t"
    file = package / "ai8xsim" / "kernels" / "requantize.py"
    file.write_text(
        comment + "\n" + file.read_text() if edit == "a line above" else file.read_text() + comment
    )
    assert in_own_process(_shift, environment=in_cache(cache), package=package) == [NEAREST, 0]
    assert not before & set(kept(cache))


def test_kernels_are_made_of_nothing_but_their_own_sources() -> None:
    """Or else a change elsewhere would not be noticed."""
    for file in (ROOT / "ai8xsim" / "kernels").rglob("*.py"):
        assert not re.findall(r"^\s*(?:from|import) ai8xsim\.(?!kernels)", file.read_text(), re.M), file


# Where


class Places:
    """A package in whose folder nothing can be written, and the other places for compiled kernels."""

    def __init__(self, folder: Path) -> None:
        self.package = package_copy(folder / "package")
        (self.package / "ai8xsim" / "kernels" / "__pycache__").touch()  # which stops the administrator too
        self.user, self.temporary = folder / "user", folder / "temporary"
        self.temporary.mkdir()
        self.own = self.temporary / f"ai8xsim-{os.getuid()}"

    def chosen(self, function: Any = _folder) -> tuple[Path, int]:
        """The folder that a process chooses, and its permissions."""
        environment = {
            "XDG_CACHE_HOME": str(self.user),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        folder, works, mode = in_own_process(function, environment=environment, package=self.package)
        assert works
        return Path(folder), mode


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_the_folder_of_the_sources_is_used_if_it_can_be_written_to(tmp_path: Path) -> None:
    package = package_copy(tmp_path)
    folder, works, _ = in_own_process(_folder, package=package)
    assert (Path(folder), works) == (package / "ai8xsim" / "kernels" / "__pycache__", True)


def test_a_read_only_package_keeps_kernels_in_the_users_cache(places: Places) -> None:
    assert places.chosen()[0] == places.user / "ai8xsim"
    assert list(places.temporary.iterdir()) == []


def test_without_a_users_cache_kernels_are_kept_in_a_private_temporary_folder(places: Places) -> None:
    places.user.touch()
    assert places.chosen() == places.chosen() == (places.own, 0o700)


def test_a_user_without_a_home_keeps_kernels_in_a_private_temporary_folder(places: Places) -> None:
    assert places.chosen(_folder_without_a_home) == (places.own, 0o700)


def _writable_by_all(places: Places) -> None:
    places.own.mkdir()
    places.own.chmod(0o777)


def _readable_by_all(places: Places) -> None:
    places.own.mkdir()
    places.own.chmod(0o755)


def _a_link(places: Places) -> None:
    (places.temporary / "others").mkdir(mode=0o700)
    places.own.symlink_to(places.temporary / "others")


def _a_file(places: Places) -> None:
    places.own.touch()


def _of_others(places: Places) -> None:
    if os.getuid() != 0:
        pytest.skip("only the administrator can give a folder away")
    places.own.mkdir(mode=0o700)
    os.chown(places.own, NOBODY, NOBODY)


@pytest.mark.parametrize("plant", [_writable_by_all, _readable_by_all, _a_link, _a_file, _of_others])
def test_a_temporary_folder_that_others_may_have_filled_is_not_used(plant: Any, places: Places) -> None:
    places.user.touch()
    plant(places)
    folder, mode = places.chosen()
    assert folder != places.own
    assert folder.parent == places.temporary
    assert mode == 0o700
    assert not folder.is_symlink()
