"""What was computed: each executed layer's output. A trace stands on its own; it needs no program."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ai8xsim.diagnostics import Span, error
from ai8xsim.errors import InputError

Integers = npt.NDArray[np.integer[Any]]
META_VERSION = 1


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's output.

    index: the layer's place in the description.  shape: one sample's, always (C, H, W); 1D counts as (C, L, 1).
    output: int8, or int32 for 32-bit output; (C, H, W) or (C, L), with a leading batch axis for a batch.
    saturated: how many outputs lay outside int8 before they were saturated, over the whole batch;
        None where nothing is rounded, or where nobody counted (`keep="outputs"`).
    """

    index: int
    name: str | None
    operator: str
    shape: tuple[int, int, int]
    output: Integers
    saturated: int | None
    is_batch: bool = False

    def with_output(self, output: Integers, saturated: int | None) -> "LayerTrace":
        """Another output of the same layer, in less than half the time that a constructor of frozen fields takes.

        It is a plain `LayerTrace`, whatever this is.
        """
        made = object.__new__(LayerTrace)
        fields = made.__dict__
        fields |= self.__dict__
        fields["output"], fields["saturated"] = output, saturated
        fields.pop("_digests", None)
        return made

    @property
    def samples(self) -> Integers:
        """The output as (N, C, H, W), one sample or many."""
        return self.output.reshape(-1, *self.shape)

    @property
    def digests(self) -> tuple[str, ...]:
        """Each sample's SHA-256 of the output as little-endian int32 in the order channel, row, column.

        They are kept, though not by `cached_property`: its lock, before Python 3.12, outlives a fork.
        """
        kept: dict[str, tuple[str, ...]] = self.__dict__
        if "_digests" not in kept:
            kept["_digests"] = tuple(digest_of(sample) for sample in self.samples)
        return kept["_digests"]

    @property
    def digest(self) -> str:
        """The digest of the only sample. Raises ValueError if there are several."""
        if len(self.digests) != 1:
            raise ValueError(
                f"{self.title} has {len(self.digests)} samples, each with a digest: see `digests`"
            )
        return self.digests[0]

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"layer {self.index}" + (f" (`{self.name}`)" if self.name else "")


def digest_of(values: Integers) -> str:
    """The SHA-256 of integers as little-endian int32 in C order.

    >>> digest_of(np.array([[0, -1]]))[:8]
    '5981693c'
    """
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<i4").tobytes()).hexdigest()


@dataclass(frozen=True)
class Difference:
    """Where two traces part. `index` is (channel, row, column), with the sample in front for a batch;
    it is None, and so are the values, where a layer is missing or has another shape (see `reason`)."""

    layer: int
    name: str | None
    index: tuple[int, ...] | None
    ours: int | None
    theirs: int | None
    reason: str = ""

    def __str__(self) -> str:
        title = f"layer {self.layer}" + (f" (`{self.name}`)" if self.name else "")
        if self.index is None:
            return f"{title}: {self.reason}"
        return f"{title} at {self.index}: {self.ours}, not {self.theirs}"


@dataclass(frozen=True, eq=False)
class Trace:
    """The layers' outputs, in the order of execution; with `keep="outputs"` those of output layers only."""

    layers: tuple[LayerTrace, ...]
    output_indices: tuple[int, ...]

    def __init__(self, layers: tuple[LayerTrace, ...], output_indices: tuple[int, ...]) -> None:
        """As that of frozen fields, in half the time."""
        fields = self.__dict__
        fields["layers"], fields["output_indices"] = layers, output_indices

    def __getitem__(self, key: int | str) -> LayerTrace:
        """A layer by its number or, in any case, by its name. Raises KeyError."""
        wanted = key.lower() if isinstance(key, str) else key
        for layer in self.layers:
            if wanted == layer.index or (layer.name is not None and wanted == layer.name.lower()):
                return layer
        known = ", ".join(layer.title for layer in self.layers)
        raise KeyError(f"the trace has no layer {key!r}; it has {known}")

    def __iter__(self) -> Iterator[LayerTrace]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def output(self) -> Integers:
        """The last layer's output."""
        return self.layers[-1].output

    @property
    def outputs(self) -> Mapping[int, Integers]:
        """Every output layer's output, by layer number."""
        return MappingProxyType({index: self[index].output for index in self.output_indices})

    def first_difference(self, other: "Trace") -> Difference | None:
        """Where the other trace parts from this one, in the order of execution; None if they are equal.

        Layers are paired as by `paired`.
        """
        pairs, extras = paired(self, other)
        for ours, theirs in pairs:
            found = _difference(ours, theirs)
            if found is not None:
                return found
        for extra in extras:
            return Difference(extra.index, extra.name, None, None, None, "only the other trace has it")
        return None

    def repeated(self, times: int) -> "Trace":
        """The trace of a run that gives the same outputs so many times one after another, as a batch."""
        layers = (
            replace(layer, output=np.concatenate([layer.output[slice(None) if layer.is_batch else None]] * times),
                    saturated=None, is_batch=True)
            for layer in self.layers
        )  # fmt: skip
        return Trace(tuple(layers), self.output_indices)

    def save(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the trace as npz: arrays `layer{number}`, and `meta`, a JSON text."""
        arrays: dict[str, Any] = {f"layer{layer.index}": layer.output for layer in self.layers}
        np.savez_compressed(file, meta=np.array(json.dumps(self._meta())), **arrays)

    def _meta(self) -> dict[str, Any]:
        layers = [
            {
                "index": layer.index,
                "name": layer.name,
                "operator": layer.operator,
                "shape": layer.shape,
                "saturated": layer.saturated,
                "is_batch": layer.is_batch,
            }
            for layer in self.layers
        ]
        return {"schema_version": META_VERSION, "layers": layers, "outputs": self.output_indices}


def paired(
    ours: Trace, theirs: Trace
) -> tuple[tuple[tuple[LayerTrace, LayerTrace | None], ...], tuple[LayerTrace, ...]]:
    """Our layers, each with theirs of the same name, and theirs that are left.

    Where both have a name, the names are what a layer is known by: a layer more or less shifts the numbers of all
    others. What has no such partner, or shares its name with others, is paired by number.
    """
    mine, others = _by_name(ours), _by_name(theirs)
    partners = {mine[name].index: others[name] for name in mine if name in others}
    taken = {layer.index for layer in partners.values()}
    free = {layer.index: layer for layer in theirs if layer.index not in taken}
    pairs = tuple(
        (layer, partners[layer.index] if layer.index in partners else free.pop(layer.index, None))
        for layer in ours
    )
    return pairs, tuple(free.values())


def _by_name(trace: Trace) -> dict[str, LayerTrace]:
    """The layers whose name, in any case, no other layer has."""
    names = [layer.name.lower() for layer in trace if layer.name is not None]
    return {
        layer.name.lower(): layer
        for layer in trace
        if layer.name is not None and names.count(layer.name.lower()) == 1
    }


def load_trace(file: str | os.PathLike[str] | BinaryIO) -> Trace:
    """The trace in an npz file, given by its path or opened.

    Raises InputError if the file holds none, OSError if it cannot be opened.
    """
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as stream:
            return _loaded(stream, os.fspath(file))
    return _loaded(file, "trace")


def _loaded(stream: BinaryIO, name: str) -> Trace:
    try:
        with np.load(stream, allow_pickle=False) as archive:
            return _stored_trace(archive)
    except Exception as fault:  # what a damaged archive makes zipfile, numpy and json raise is open-ended
        mend = "make one with `ai8xsim simulate --trace`"
        message, why = "this is no trace, or a damaged one", str(fault).partition("\n")[0]
        raise InputError([error("not-a-trace", message, Span(name), notes=(why,), help=mend)]) from None


def output_difference(trace: Trace, expected: Integers) -> Difference | None:
    """Where the trace's output parts from an expected one, or None. Axes of one do not count.

    Integer values are compared, whatever the type that they are stored in.
    """
    ours = trace.layers[-1]
    if expected.size != ours.output.size or _long_axes(expected) != _long_axes(ours.output):
        sizes = f"{_size(ours.output.shape)} and {_size(expected.shape)}"
        return Difference(ours.index, ours.name, None, None, None, f"the shapes differ: {sizes}")
    theirs = replace(ours, output=expected.reshape(ours.output.shape))
    return _difference(ours, theirs)


def _long_axes(values: Integers) -> list[int]:
    return [size for size in values.shape if size != 1]


def _stored_trace(archive: Mapping[str, Any]) -> Trace:
    meta = json.loads(str(archive["meta"]))
    if meta["schema_version"] != META_VERSION:
        raise ValueError(f"it is of version {meta['schema_version']}, this ai8xsim reads {META_VERSION}")
    layers = tuple(_stored_layer(entry, archive) for entry in meta["layers"])
    outputs = tuple(int(index) for index in meta["outputs"])
    indices = [layer.index for layer in layers]
    if not layers or len(set(indices)) < len(indices) or not set(outputs) <= set(indices):
        raise ValueError(f"it holds the layers {indices} and names the outputs {list(outputs)}")
    return Trace(layers, outputs)


def _stored_layer(entry: Mapping[str, Any], archive: Mapping[str, Integers]) -> LayerTrace:
    """A layer of an npz file. Raises ValueError or another exception where it contradicts itself."""
    channels, rows, columns = (int(size) for size in entry["shape"])
    output = archive[f"layer{int(entry['index'])}"]
    if entry["name"] is not None and not isinstance(entry["name"], str):
        raise ValueError(f"layer {entry['index']} has a name that is no text")
    if output.dtype not in (np.int8, np.int32) or min(channels, rows, columns) < 1:
        raise ValueError(f"layer {entry['index']} is {output.dtype} of shape {entry['shape']}")
    output.reshape(-1, channels, rows, columns)
    output.flags.writeable = False
    return LayerTrace(
        index=int(entry["index"]),
        name=entry["name"],
        operator=str(entry["operator"]),
        shape=(channels, rows, columns),
        output=output,
        saturated=None if entry["saturated"] is None else int(entry["saturated"]),
        is_batch=bool(entry["is_batch"]),
    )


def _difference(ours: LayerTrace, theirs: LayerTrace | None) -> Difference | None:
    if theirs is None:
        return Difference(ours.index, ours.name, None, None, None, "the other trace lacks it")
    mine, others = ours.samples, theirs.samples
    if mine.shape != others.shape:
        sizes = " and ".join(_size(values.shape) for values in (mine, others))
        return Difference(ours.index, ours.name, None, None, None, f"the shapes differ: {sizes}")
    if np.array_equal(mine, others):
        return None
    place = tuple(int(i) for i in np.argwhere(mine != others)[0])
    index = place if ours.is_batch else place[1:]
    return Difference(ours.index, ours.name, index, int(mine[place]), int(others[place]))


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
