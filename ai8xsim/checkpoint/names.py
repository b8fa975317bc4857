"""Which keys of a state dictionary belong to which layer.

A key is a prefix, a layer, an operator and a parameter: `module.` `conv1` `.op` `.weight`. Wrappers add
prefixes (DataParallel `module.`, torch.compile `_orig_mod.`), old models name the operator after its type or
not at all. A file may hold a network twice, with a prefix and without: then the first counts, whole. What
else stands under its name may be noise, so nothing is mixed.

Source: `spec/TRAINING.md` sections 6 and 12; `izer/checkpoint.py` of the vendor's loader.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PREFIXES = re.compile(r"(?:module\.|_orig_mod\.)*")
_OPERATORS = frozenset({"op", "conv1d", "conv2d", "convtranspose2d", "linear"})
_SETTINGS = frozenset(
    {
        "output_shift",
        "weight_bits",
        "bias_bits",
        "quantize_activation",
        "adjust_output_shift",
        "shift_quantile",
        "activation_threshold",
        "final_scale",
        "clamp_activation",
    }
)
_STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


@dataclass(frozen=True, slots=True)
class WeightKey:
    """The key of a weight, and what follows from it.

    >>> key = find_weights({"module.conv1.op.weight": 0})[0]
    >>> key.layer, key.bias, key.output_shift
    ('conv1', 'module.conv1.op.bias', 'module.conv1.output_shift')
    """

    key: str
    prefix: str
    layer: str

    @property
    def bias(self) -> str:
        return self.key.removesuffix("weight") + "bias"

    @property
    def owner(self) -> str:
        """Where the vendor's loader looks for shift and width: two levels up, or one if there is no second."""
        return self.key.rsplit(".", maxsplit=2)[0]

    @property
    def output_shift(self) -> str:
        return f"{self.owner}.output_shift"

    @property
    def weight_bits(self) -> str:
        return f"{self.owner}.weight_bits"

    @property
    def overlooked(self) -> tuple[str, ...]:
        """Keys of the layer's own shift and width, if the loader does not look there (no operator level)."""
        own = f"{self.prefix}{self.layer}"
        return () if own == self.owner else (f"{own}.output_shift", f"{own}.weight_bits")


def split_prefix(key: str) -> tuple[str, str]:
    """What wrappers put in front of a key, and the rest.

    >>> split_prefix("module._orig_mod.conv1.op.weight")
    ('module._orig_mod.', 'conv1.op.weight')
    """
    found = _PREFIXES.match(key)
    end = found.end() if found else 0
    return key[:end], key[end:]


def find_weights(state: Mapping[str, object]) -> tuple[WeightKey, ...]:
    """The keys of weights in the order of the file, of each name only the first.

    >>> state = {"module.a.op.weight": 0, "a.op.weight": 0, "fc.weight": 0, "fc.bias": 0}
    >>> [key.key for key in find_weights(state)]
    ['module.a.op.weight', 'fc.weight']
    """
    first: dict[str, WeightKey] = {}
    for key in state:
        prefix, name = split_prefix(key)
        if name.endswith(".weight") and name not in first:
            first[name] = WeightKey(key, prefix, _layer_of(prefix, name.removesuffix(".weight"), state))
    return tuple(first.values())


def _layer_of(prefix: str, module: str, state: Mapping[str, object]) -> str:
    """The layer whose operator a module is: its parent, unless the module itself is the layer."""
    parent, _, last = module.rpartition(".")
    settings = (f"{prefix}{parent}.{name}" for name in ("output_shift", "weight_bits"))
    if parent and (last in _OPERATORS or any(key in state for key in settings)):
        return parent
    return module


def batchnorm_layers(state: Mapping[str, object], prefixes: Iterable[str]) -> tuple[str, ...]:
    """The layers whose batch normalisation still stands in the file, by the names of its statistics.

    >>> batchnorm_layers({"conv1.bn.running_mean": 0, "conv2.op.weight": 0, "bn3.running_var": 0}, [""])
    ('conv1', 'bn3')
    """
    found: dict[str, None] = {}
    forms = frozenset(prefixes)
    for key in state:
        prefix, name = split_prefix(key)
        module, _, last = name.rpartition(".")
        if prefix in forms and (last in _STATISTICS or module.endswith(".bn")):
            found[module.removesuffix(".bn")] = None
    return tuple(found)


def only_settings(state: Mapping[str, object]) -> bool:
    """Whether a state dictionary is one of a network without weights: pooling and element-wise layers only.

    >>> only_settings({}), only_settings({"add.output_shift": 0}), only_settings({"encoder": 0})
    (True, True, False)
    """
    return all(key.rpartition(".")[2] in _SETTINGS for key in state)
