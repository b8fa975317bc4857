"""A path -> the checkpoint in it, or every fault that keeps it from being one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ai8xsim.checkpoint.container import open_container
from ai8xsim.checkpoint.faults import SAVE_AGAIN, UnreadableError, foreign, listed, shown, too_many
from ai8xsim.checkpoint.layers import StateReader, read_layer
from ai8xsim.checkpoint.model import Checkpoint, CheckpointLayer
from ai8xsim.checkpoint.names import WeightKey, batchnorm_layers, find_weights, only_settings, split_prefix
from ai8xsim.checkpoint.pickle_stack import Inert, InertObject
from ai8xsim.checkpoint.tensors import Tensor
from ai8xsim.checkpoint.values import Fractions
from ai8xsim.diagnostics import Diagnostic, Span, by_place, error, errors_among, warning
from ai8xsim.errors import CheckpointError

# Far more than a chip has: a network that is only too large is refused where its device is known.
_MOST_LAYERS = 1 << 12


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The quantized checkpoint in a file, in either format of `torch.save`, without torch.

    Nothing in the file is ever executed or imported, and only weights, biases, output shifts and weight bits
    are read, so that a file from a stranger is safe to read and an optimizer's state costs nothing.

    Raises CheckpointError with all faults: the file is no checkpoint, is damaged, or is not quantized;
    OSError if it cannot be opened.
    Source: `spec/TRAINING.md` sections 6 and 12; `izer/checkpoint.py` of the vendor's loader.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "mnist-q.pth.tar")
    ...     _ = path.write_bytes(b"")
    ...     read_checkpoint(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ai8xsim.errors.CheckpointError: ...mnist-q.pth.tar: the file is empty (0 bytes); copy it or save it again
    """
    name = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with open_container(file) as container:
                content = dictionary_in(container.content)
                layers, diagnostics = _read_layers(StateReader(state_in(content), container))
        except UnreadableError as fault:
            content, layers, diagnostics = {}, (), [fault.diagnostic]
    placed = by_place(replace(d, span=Span(name)) for d in diagnostics)
    if errors_among(placed):
        raise CheckpointError(placed)
    return Checkpoint(name, text_in(content.get("arch")), count_in(content.get("epoch")), layers, placed)


def text_in(value: object) -> str | None:
    """The value if it is a text, else None."""
    return value if isinstance(value, str) else None


def count_in(value: object) -> int | None:
    """The value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def dictionary_in(content: object) -> Mapping[str, object]:
    """The dictionary that a checkpoint is. Raises UnreadableError if it is something else."""
    if isinstance(content, dict):
        return content
    if isinstance(content, Inert | InertObject):
        raise foreign(f"the file holds a pickled object, {shown(content)}, not a dictionary")
    kind = "tensor" if isinstance(content, Tensor) else type(content).__name__
    raise foreign(f"the file holds a {kind}, not a dictionary")


def state_in(content: Mapping[str, object]) -> Mapping[str, object]:
    """The state dictionary of a checkpoint. Raises UnreadableError if there is none."""
    state = content.get("state_dict")
    if isinstance(state, dict):
        return state
    if "state_dict" in content:
        raise foreign("the checkpoint's `state_dict` is not a dictionary")
    if _holds_tensors(content):
        remedy = 'wrap it: `torch.save({"arch": name, "epoch": epoch, "state_dict": state_dict}, path)`'
        raise foreign("the file holds a bare state dictionary, without `state_dict` around it", remedy=remedy)
    inside = f"its keys are {listed(list(content))}" if content else "it has no keys"
    similar = [key for key, value in content.items() if _holds_tensors(value)]
    remedy = f"save what is under {shown(similar[0])} as `state_dict`" if similar else SAVE_AGAIN
    raise foreign("the checkpoint has no `state_dict`", inside, remedy=remedy)


def _holds_tensors(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _read_layers(reader: StateReader) -> tuple[tuple[CheckpointLayer, ...], list[Diagnostic]]:
    """The layers of a state dictionary, and what is to be said about all of them."""
    state = reader.state
    keys = find_weights(state)
    if len(keys) > _MOST_LAYERS:
        raise too_many(f"the checkpoint has {len(keys)} layers with weights", "the largest chip has 128")
    vectors = [key for key in keys if _is_vector(state[key.key])]
    found = [read_layer(key, reader) for key in keys if not _is_vector(state[key.key])]
    diagnostics = [*_unfused(state, keys, vectors), *(d for findings in found for d in findings.diagnostics)]
    fractions = [findings.fractions for findings in found if findings.fractions]
    if fractions:
        diagnostics = [_unquantized(fractions, len(found)), *errors_among(diagnostics)]
    if not found and not vectors:
        diagnostics.append(_no_weights(state))
    layers = tuple(findings.layer for findings in found if findings.layer)
    return layers, [*diagnostics, *_all_zero(layers)]


def _is_vector(value: object) -> bool:
    return isinstance(value, Tensor) and len(value.shape) == 1


def _unfused(
    state: Mapping[str, object], keys: Sequence[WeightKey], vectors: Sequence[WeightKey]
) -> list[Diagnostic]:
    prefixes = {key.prefix for key in keys} or {split_prefix(key)[0] for key in state}
    by_shape = (key.layer.removesuffix(".bn") for key in vectors)
    layers = list(dict.fromkeys([*batchnorm_layers(state, prefixes), *by_shape]))
    if not layers:
        return []
    message = f"batch normalisation is not folded into the weights of {listed(layers)}"
    notes = tuple(f"{shown(key.key)} has 1 axis; the chip's weights have 2 to 4" for key in vectors[:1])
    remedy = "fold it into weights and biases first (`ai8x.fuse_bn_layers(model)`), then quantize"
    return [error("unfused-batchnorm", message, notes=notes, help=remedy)]


def _unquantized(fractions: Sequence[Fractions], layer_count: int) -> Diagnostic:
    count, total = sum(f.count for f in fractions), sum(f.total for f in fractions)
    message = f"the checkpoint is not quantized: {count} of {total} weights and biases are not integers"
    where = f"{len(fractions)} of {layer_count} layers are affected: {listed([f.layer for f in fractions])}"
    notes = (where, f"for example, {fractions[0].example}")
    return error("unquantized-checkpoint", message, notes=notes, help="quantize it first: `ai8xsim quantize`")


def _no_weights(state: Mapping[str, object]) -> Diagnostic:
    """A warning where the network may well have none, an error where something else is in the file."""
    message = "the checkpoint's `state_dict` has no weights"
    if only_settings(state):
        why = "that is right only for a network of pooling and element-wise layers"
        return warning("no-weights", message, notes=(why,))
    inside = f"its keys are {listed(list(state))}"
    remedy = "a layer is a tensor with 2 to 4 axes under a key like `conv1.op.weight`"
    return error("no-weights", message, notes=(inside,), help=remedy)


def _all_zero(layers: Sequence[CheckpointLayer]) -> list[Diagnostic]:
    names = [layer.name for layer in layers if not layer.weight.any()]
    if not names:
        return []
    message = f"all weights of {listed(names)} are zero"
    why = "such a layer gives the same output for every input"
    return [
        warning(
            "all-zero-weights", message, notes=(why,), help="check how the network was trained and quantized"
        )
    ]
