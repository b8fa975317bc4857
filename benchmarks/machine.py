"""What a speed depends on: the processor, by more than its trade name, and the versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ai8xsim import __version__

CPUINFO = Path("/proc/cpuinfo")
TELLING_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def processor(cpuinfo: Path = CPUINFO) -> str:
    """The processor's name, as Linux tells it, else as Python does.

    Virtual machines often hide the model behind a bare brand, so family and model stand beside the name.
    """
    facts = _facts(cpuinfo)
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in facts:
        return name
    family, model = int(facts["cpu family"]), int(facts.get("model", 0))
    generation = _zen(family, model) if facts.get("vendor_id") == "AuthenticAMD" else None
    return f"{name} (family {family} model {model}{f', {generation}' if generation else ''})"


def telling_flags(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """The instruction sets that decide about 8-bit products, as the kernel lists them."""
    facts = _facts(cpuinfo)
    flags = facts.get("flags", facts.get("Features", "")).split()
    return tuple(flag for flag in TELLING_FLAGS if flag in flags)


def versions() -> dict[str, str]:
    """The versions that a speed depends on."""
    packages = {}
    for name in ("numpy", "numba", "llvmlite", "torch"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {"ai8xsim": __version__, "python": platform.python_version(), **packages}


def _facts(cpuinfo: Path) -> Mapping[str, str]:
    """The first processor's entries."""
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    pairs = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    return {key.strip(): value.strip() for key, _, value in pairs}


def _zen(family: int, model: int) -> str | None:
    """AMD's generation. Family 25 holds two of them, which share its models in blocks of 16."""
    if family == 23:
        return "Zen 2" if model >= 0x30 else "Zen"
    if family == 25:
        return "Zen 4" if model >> 4 in {0x1, 0x6, 0x7, 0xA} else "Zen 3"
    return "Zen 5" if family == 26 else None
