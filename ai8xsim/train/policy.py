"""A policy of quantization-aware training: from which epoch, and how many bits each layer's weights get.

Source: `spec/TRAINING.md` 5.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ai8xsim.diagnostics import Diagnostic, Span, closest, error, errors_among, warning
from ai8xsim.errors import InputError
from ai8xsim.network.nodes import Mapping as MappingNode
from ai8xsim.network.nodes import Node, Scalar, brief
from ai8xsim.network.parse import UnreadableError, parse_yaml

WIDTHS = (1, 2, 4, 8)
NOT_READ = ("outlier_removal_z_score",)  # of the vendor's training of 2025, which clips activations by it


@dataclass(frozen=True)
class Override:
    """What one layer has of its own, None where it has nothing. span: where it stands."""

    weight_bits: int | None = None
    shift_quantile: float | None = None
    span: Span = field(default_factory=lambda: Span(""), compare=False)


@dataclass(frozen=True)
class Policy:
    """When quantization-aware training starts, and how.

    start_epoch: counted from 0; it must be at least 1, since the first epochs are for floats. weight_bits: 1, 2, 4
    or 8. shift_quantile: the share of a layer's weights that the scale must hold. overrides: by the name of a module.
    """

    start_epoch: int
    weight_bits: int = 8
    shift_quantile: float = 1.0
    overrides: Mapping[str, Override] = field(default_factory=lambda: MappingProxyType({}))
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Policy":
        """The policy of a record.

        Raises KeyError, TypeError or ValueError where it is none.

        >>> Policy.of(Policy(30, 4, overrides={"conv1": Override(2)}).record()).overrides["conv1"].weight_bits
        2
        """
        overrides = {name: Override(**own) for name, own in record["overrides"].items()}
        policy = cls(
            record["start_epoch"],
            record["weight_bits"],
            record["shift_quantile"],
            MappingProxyType(overrides),
        )
        widths = {policy.weight_bits, *(own.weight_bits or 8 for own in overrides.values())}
        if type(policy.start_epoch) is not int or not widths <= set(WIDTHS):
            raise ValueError("no policy")
        return policy

    def record(self) -> dict[str, Any]:
        """As a plain dictionary, as `ai8xsim.nn.initiate_qat` takes it."""
        return {
            "start_epoch": self.start_epoch,
            "weight_bits": self.weight_bits,
            "shift_quantile": self.shift_quantile,
            "overrides": {name: _own(override) for name, override in self.overrides.items()},
        }

    def unknown_layers(self, names: Iterable[str]) -> list[Diagnostic]:
        """An error for each override of a layer that is not among a model's names."""
        known = list(names)
        return [
            _unknown(name, self.overrides[name].span, known) for name in self.overrides if name not in known
        ]


def _own(override: Override) -> dict[str, Any]:
    given = {"weight_bits": override.weight_bits, "shift_quantile": override.shift_quantile}
    return {key: value for key, value in given.items() if value is not None}


def _unknown(name: str, span: Span, known: list[str]) -> Diagnostic:
    meant = closest(name, known)
    mend = f"did you mean `{meant}`?" if meant else f"it has {', '.join(known[:20])}"
    return error("policy-value", f"the model has no layer `{name}`", span, "", (), mend)


def read_policy(path: str | os.PathLike[str]) -> Policy:
    """The policy in a YAML file.

    Raises InputError with every fault of it, OSError where it cannot be opened.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        root = parse_yaml(text, os.fsdecode(path))
    except UnreadableError as fault:
        raise InputError([fault.diagnostic]) from None
    if not isinstance(root, MappingNode):
        mend = "write `start_epoch: 30` and `weight_bits: 8`, each on its line"
        raise InputError(
            [error("policy-value", "the policy is no mapping", Span(os.fsdecode(path)), help=mend)]
        )
    reading = _Reading()
    given = reading.mapping(root, POLICY_KEYS, needed=("start_epoch", "weight_bits"))
    if errors_among(reading.found):
        raise InputError(reading.found)
    return Policy(**given, diagnostics=tuple(reading.found))


class _Reading:
    """What is found while the file is read."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def mapping(self, node: MappingNode, keys: "Keys", needed: tuple[str, ...] = ()) -> dict[str, Any]:
        """The values of the known keys."""
        values: dict[str, Any] = {}
        for key, value in node.pairs:
            name = key.text if isinstance(key, Scalar) else ""
            if name in values:
                self.found.append(error("policy-key", f"`{name}` stands there twice", key.span))
            elif name in keys:
                values[name] = keys[name](self, name, value)
            else:
                self.found.append(_unread(name, key, keys))
        for name in needed:
            if name not in values:
                self.found.append(error("policy-key", f"the policy has no `{name}`", node.span))
        return values

    def refuse(self, name: str, wanted: str, node: Node) -> None:
        """Note a value that is not what its key takes."""
        self.found.append(error("policy-value", f"`{name}` must be {wanted}, not {brief(node)}", node.span))


Keys = Mapping[str, Callable[[_Reading, str, Node], Any]]


def _unread(name: str, key: Node, keys: Keys) -> Diagnostic:
    if name in NOT_READ:
        return warning("policy-key", f"`{name}` is not read: activations are not clipped by it", key.span)
    meant = closest(name, keys)
    mend = f"did you mean `{meant}`?" if meant else f"a policy has {', '.join(keys)}"
    return error("policy-key", f"{brief(key)} is no key of a policy", key.span, help=mend)


def _epoch(reading: _Reading, name: str, node: Node) -> int:
    if isinstance(node, Scalar) and type(node.value) is int and node.value >= 1:
        return node.value
    reading.refuse(name, "a whole number from 1, since the epochs before it train floats", node)
    return 1


def _bits(reading: _Reading, name: str, node: Node) -> int:
    if isinstance(node, Scalar) and type(node.value) is int and node.value in WIDTHS:
        return node.value
    reading.refuse(name, "1, 2, 4 or 8", node)
    return 8


def _quantile(reading: _Reading, name: str, node: Node) -> float:
    if isinstance(node, Scalar) and type(node.value) in {int, float}:
        share = float(node.value)  # type: ignore[arg-type]
        if 0 < share <= 1:
            return share
    reading.refuse(name, "a number above 0, at most 1", node)
    return 1.0


def _overrides(reading: _Reading, name: str, node: Node) -> Mapping[str, Override]:
    if not isinstance(node, MappingNode):
        reading.refuse(name, "a mapping of layers", node)
        return MappingProxyType({})
    return MappingProxyType(dict(_layers(reading, node)))


def _layers(reading: _Reading, node: MappingNode) -> Iterator[tuple[str, Override]]:
    for key, value in node.pairs:
        layer = key.text if isinstance(key, Scalar) else brief(key)
        if isinstance(value, MappingNode):
            yield layer, Override(**reading.mapping(value, LAYER_KEYS), span=key.span)
        else:
            reading.refuse(layer, "a mapping, such as `weight_bits: 4` on a line of its own", value)


LAYER_KEYS: Keys = MappingProxyType({"weight_bits": _bits, "shift_quantile": _quantile})
POLICY_KEYS: Keys = MappingProxyType(
    {"start_epoch": _epoch, "weight_bits": _bits, "shift_quantile": _quantile, "overrides": _overrides}
)
