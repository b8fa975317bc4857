"""Which kernels are chosen: by name, by environment variable, by what Numba is told of the processor."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ai8xsim import MAX78000, Simulator, read_checkpoint, read_network, resolve
from ai8xsim.engine.choose import choose_executor
from ai8xsim.engine.portable import PortableExecutor
from ai8xsim.engine.run import GeneratedExecutor
from ai8xsim.kernels.generated import targets
from ai8xsim.kernels.generated.targets import PORTABLE, TARGETS, VARIABLE, available_targets, choose_target
from tests.conftest import ROOT
from tests.simulator.small_programs import mixed_program, program_of

DIGITS = ROOT / "networks" / "digits"
ON_X86 = pytest.mark.skipif(
    not any("avx2" in target.features for target in available_targets()), reason="x86 with AVX2"
)
IN_A_PROCESS = """
from tests.engine.test_choose_target import digits_output, number_of
from ai8xsim.kernels.generated.targets import available_targets
print(*[target.name for target in available_targets()])
print(number_of(digits_output(None)))
"""


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def digits_output(target: str | None) -> "np.ndarray[tuple[int, ...], np.dtype[np.integer]]":
    """What the bundled network makes of all bundled images."""
    network, checkpoint = (
        read_network(DIGITS / "network.yaml"),
        read_checkpoint(DIGITS / "checkpoint.pth.tar"),
    )
    samples = np.load(DIGITS / "samples.npz")["images"]
    program = resolve(network, checkpoint, MAX78000, samples.shape[1:])
    return Simulator(program, target=target).run(samples).output


def number_of(output: "np.ndarray[tuple[int, ...], np.dtype[np.integer]]") -> int:
    """A number that changes with every value and its place."""
    return int((output.ravel().astype(np.int64) * np.arange(1, output.size + 1)).sum())


def test_the_fastest_target_is_chosen() -> None:
    assert choose_target() == available_targets()[0]


@pytest.mark.parametrize("target", available_targets(), ids=lambda target: target.name)
def test_a_target_is_chosen_by_its_name(target: targets.Target) -> None:
    assert choose_target(target.name) == target
    assert isinstance(choose_executor(mixed_program(), 1, target.name), GeneratedExecutor)


def test_portable_is_no_target() -> None:
    assert choose_target(PORTABLE) is None
    assert isinstance(choose_executor(mixed_program(), 1, PORTABLE), PortableExecutor)


def test_an_unknown_name_is_refused_with_those_that_run_here() -> None:
    known = ", ".join([*(target.name for target in available_targets()), PORTABLE])
    with pytest.raises(ValueError, match=f"^target 'avx1024' does not run here; choose one of {known}$"):
        choose_target("avx1024")
    with pytest.raises(ValueError, match="'avx1024' does not run here"):
        Simulator(mixed_program(), target="avx1024")


@pytest.mark.parametrize("target", [t for t in TARGETS if t.features], ids=lambda target: target.name)
def test_a_target_that_does_not_run_here_is_refused(
    target: targets.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_features", lambda: {"sse2"})
    with pytest.raises(
        ValueError, match=f"^target '{target.name}' does not run here; choose one of generic, portable$"
    ):
        choose_target(target.name)
    assert choose_target() == TARGETS[-1]


def test_the_environment_variable_chooses_and_an_argument_overrides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "generic")
    assert choose_target() == TARGETS[-1]
    assert choose_target(available_targets()[0].name) == available_targets()[0]
    monkeypatch.setenv(VARIABLE, PORTABLE)
    assert choose_target() is None
    assert isinstance(choose_executor(mixed_program(), 1, None), PortableExecutor)
    monkeypatch.setenv(VARIABLE, "")
    assert choose_target() == available_targets()[0]
    monkeypatch.setenv(VARIABLE, "sse9")
    with pytest.raises(ValueError, match="'sse9' does not run here"):
        Simulator(mixed_program())


def test_a_program_that_needs_more_than_32_bits_is_run_by_portable_kernels() -> None:
    """A layer that reads another's sums."""
    layers = (
        "- {op: conv2d, kernel_size: 1x1, pad: 0, output_width: 32}\n- {op: conv2d, kernel_size: 1x1, pad: 0}"
    )
    program = program_of(layers, [[[[1]]]], [[[[1]]]], input_shape=(1, 4, 4))
    assert isinstance(choose_executor(program, 1, available_targets()[0].name), PortableExecutor)


OLDER = {
    "haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}, "avx2"),
    "x86-64": ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}, "generic"),
}
OTHERS = {
    "generic": ({"NUMBA_CPU_NAME": "generic"}, "generic"),
    "alderlake": ({"NUMBA_CPU_NAME": "alderlake", "NUMBA_CPU_FEATURES": "+avx2,+avxvnni"}, "avxvnni"),
    "cascadelake": (
        {
            "NUMBA_CPU_NAME": "cascadelake",
            "NUMBA_CPU_FEATURES": "+avx2,+avx512f,+avx512bw,+avx512vl,+avx512vnni",
        },
        "avx512vnni",
    ),
}


@ON_X86
@pytest.mark.parametrize("processor", OLDER)
def test_numba_told_of_an_older_processor_uses_older_instructions(processor: str) -> None:
    check_in_a_process(*OLDER[processor])


@pytest.mark.deep
@ON_X86
@pytest.mark.parametrize("processor", OTHERS)
def test_numba_told_of_another_processor_uses_its_instructions(processor: str) -> None:
    told, chosen = OTHERS[processor]
    if chosen not in {target.name for target in available_targets()}:
        pytest.skip(f"{chosen} does not run here")
    check_in_a_process(told, chosen)


@pytest.mark.deep
@ON_X86
def test_features_that_numba_may_not_use_are_not_used() -> None:
    """What the processor has besides does not matter."""
    from numba.core.registry import cpu_target

    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    without = [f"-{f[1:]}" if f[1:] in {"avx512vnni", "avxvnni"} else f for f in features.split(",")]
    check_in_a_process({"NUMBA_CPU_FEATURES": ",".join(without)}, "avx2")


def check_in_a_process(told: dict[str, str], chosen: str) -> None:
    """The target is chosen there and the values are right."""
    names, number = in_a_process(told)
    assert names.split()[0] == chosen
    assert int(number) == number_of(digits_output(PORTABLE))


def in_a_process(environment: dict[str, str]) -> tuple[str, str]:
    """The names of the available targets, and what the digits give."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, number = done.stdout.splitlines()
    return names, number
