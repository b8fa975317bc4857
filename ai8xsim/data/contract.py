"""The data-set contract: what a file's list `datasets` must hold, every violation a diagnostic.

Source: the vendor's `train.py` and application note "Data Loader Design for MAX78000 Model Training";
`spec/TRAINING.md` 8.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, cast

from ai8xsim.data.dataset import Dataset
from ai8xsim.data.places import Places, find_places
from ai8xsim.diagnostics import Diagnostic, Span, closest, error, errors_among, warning
from ai8xsim.errors import InputError
from ai8xsim.models import UserFile, open_user_file, split_name

NEEDED = ("name", "input", "output", "loader")
OPTIONAL = ("weight", "regression", "visualize", "collate", "fold_ratio")


def load_datasets(
    file: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    stand_ins: Mapping[str, ModuleType] | None = None,
) -> tuple[Dataset, ...]:
    """The data sets that a user's file describes in its list `datasets`, in their order; its code is run.

    `import ai8x` in the file means our `normalize`, `fold`, `unfold_batch` and `bayer_filter`. path: a folder from
    which the file may import helpers, its grandparent by default. stand_ins: other modules for names, for files that
    describe models too.
    Raises InputError with every violation of the contract, OSError where the file cannot be opened. Warnings are in
    the `diagnostics` of each data set.
    """
    repository = None if path is None else Path(path)
    source = open_user_file(Path(file), {**data_stand_ins(), **(stand_ins or {})}, repository)
    places = find_places(Path(file))
    listed = getattr(source.module, "datasets", None)
    if not isinstance(listed, list | tuple) or not listed:
        raise InputError([_no_datasets(source, listed, places)])
    read = [_Entry(value, index, places).read(source) for index, value in enumerate(listed)]
    found = [diagnostic for _, diagnostics in read for diagnostic in diagnostics]
    found += _duplicates([made for made, _ in read if made is not None])
    if errors_among(found):
        raise InputError(found)
    return tuple(replace(made, diagnostics=tuple(said)) for made, said in read if made is not None)


def find_dataset(
    name: str,
    path: str | os.PathLike[str] | None = None,
    stand_ins: Mapping[str, ModuleType] | None = None,
) -> Dataset:
    """The data set `FILE:NAME`, as `load_datasets` reads it.

    Raises InputError also where there is none of the name, with what it was probably meant to be; ValueError where
    this is not FILE:NAME.
    """
    file, wanted = split_name(name)
    datasets = load_datasets(file, path, stand_ins)
    for dataset in datasets:
        if dataset.name == wanted:
            return dataset
    names = [dataset.name for dataset in datasets]
    meant = closest(wanted, names)
    mend = f"did you mean `{meant}`?" if meant else f"it has {', '.join(names[:20])}"
    raise InputError(
        [error("dataset-name", f"the file has no data set `{wanted}`", Span(str(file)), help=mend)]
    )


def data_stand_ins() -> dict[str, ModuleType]:
    """What `ai8x` means in a data-set file."""
    from ai8xsim.transforms import named

    front = ModuleType("ai8x", "What `ai8x` means in a data-set file: what is done to data.")
    names = ("bayer_filter", "fold", "normalize", "unfold_batch")
    front.__dict__.update({name: getattr(named, name) for name in names})
    return {"ai8x": front}


def _no_datasets(source: UserFile, listed: Any, places: Places) -> Diagnostic:
    example = "datasets = [{'name': 'Mine', 'input': (1, 28, 28), 'output': ('no', 'yes'), 'loader': load}]"
    if listed is None:
        lists = [name for name, value in vars(source.module).items() if isinstance(value, list)]
        meant = closest("datasets", lists)
        mend = f"rename `{meant}` to `datasets`" if meant else f"describe it: {example}"
        return error("no-datasets", "the file has no list `datasets`", Span(str(source.path)), help=mend)
    what = "is empty" if isinstance(listed, list | tuple) else f"is a {type(listed).__name__}, not a list"
    return error("no-datasets", f"`datasets` {what}", places.whole, help=f"describe one: {example}")


def _duplicates(datasets: Sequence[Dataset]) -> Iterator[Diagnostic]:
    first: dict[str, Dataset] = {}
    for dataset in datasets:
        if dataset.name in first:
            why = (f"the first one stands in line {first[dataset.name].span.line}",)
            message = f"there are two data sets `{dataset.name}`"
            mend = "give this one another name: only the first one is ever found"
            yield error("dataset-name", message, dataset.span, "", why, mend)
        first.setdefault(dataset.name, dataset)


class _Entry:
    """One element of the list, and what is found in it."""

    def __init__(self, value: Any, index: int, places: Places) -> None:
        self.value, self.index, self.places = value, index, places
        self.found: list[Diagnostic] = []

    def read(self, source: UserFile) -> tuple[Dataset | None, list[Diagnostic]]:
        """The data set, or None, and what was found."""
        if not isinstance(self.value, Mapping):
            message = f"element {self.index} of `datasets` is a {type(self.value).__name__}, not a dictionary"
            self.found.append(error("dataset-key", message, self.places.entry(self.index)))
            return None, self.found
        self._check_keys()
        values = {key: self._checked(key, check) for key, check in CHECKS.items() if key in self.value}
        self._check_weight(values.get("weight"), values.get("output"))
        if errors_among(self.found):
            return None, self.found
        given = {key: value for key, value in values.items() if value is not None}
        span = self.places.key(self.index, "name")
        places = {str(key): self.place(str(key)) for key in self.value}
        make = cast(Callable[..., Dataset], Dataset)
        return make(**given, span=span, source=source, places=places), self.found

    def label(self) -> str:
        """How messages call it."""
        name = self.value.get("name")
        return f"data set `{name}`" if isinstance(name, str) else f"data set {self.index}"

    def fault(self, key: str, message: str, mend: str = "") -> None:
        """Note that a value is wrong."""
        self.found.append(error("dataset-value", f"{self.label()}: {message}", self.place(key), help=mend))

    def place(self, key: str) -> Span:
        """Where a key stands."""
        return self.places.key(self.index, key)

    def _check_keys(self) -> None:
        unknown = [key for key in self.value if key not in (*NEEDED, *OPTIONAL)]
        for key in NEEDED:
            if key not in self.value:
                meant = closest(key, (k for k in unknown if isinstance(k, str)))
                unknown = [k for k in unknown if k != meant]
                mend = f"rename `{meant}` to `{key}`" if meant else f"a data set has {', '.join(NEEDED)}"
                message = f"{self.label()} has no `{key}`"
                self.found.append(error("dataset-key", message, self.places.entry(self.index), help=mend))
        for key in unknown:
            meant = closest(str(key), (*NEEDED, *OPTIONAL))
            mend = f"did you mean `{meant}`?" if meant else "the training software does not read it"
            message = f"{self.label()} has a key `{key}` that nobody reads"
            self.found.append(warning("dataset-key", message, self.place(str(key)), help=mend))

    def _checked(self, key: str, check: "Check") -> Any:
        return check(self, key, self.value[key])

    def _check_weight(self, weight: tuple[float, ...] | None, output: tuple[Any, ...] | None) -> None:
        if weight is not None and output is not None and len(weight) != len(output):
            message = f"`weight` has {len(weight)} numbers for {len(output)} labels"
            self.fault("weight", message, "give each label of `output` one weight")


Check = Callable[[_Entry, str, Any], Any]


def _name(entry: _Entry, key: str, value: Any) -> str | None:
    if isinstance(value, str) and value.strip():
        return value
    entry.fault(key, f"`name` is {value!r}, not a text", "the name is what `--dataset` is given")
    return None


def _input(entry: _Entry, key: str, value: Any) -> tuple[int, ...] | None:
    mend = "`input` is (channels, height, width), or (channels, length) for 1D data"
    if not isinstance(value, tuple | list) or not all(_is_integer(v) for v in value):
        entry.fault(key, f"`input` is {value!r}, not a tuple of integers", mend)
        return None
    sizes = tuple(int(v) for v in value)
    if len(sizes) not in {2, 3}:
        entry.fault(key, f"`input` has {len(sizes)} sizes: {sizes}", mend)
        return None
    if min(sizes) < 1:
        entry.fault(key, f"`input` is {sizes}", "sizes count from 1")
        return None
    return sizes


def _output(entry: _Entry, key: str, value: Any) -> tuple[Any, ...] | None:
    if isinstance(value, str) and value:
        message = f"{entry.label()}: `output` is the text {value!r}, which counts as {len(value)} labels"
        mend = f"write a comma: ({value!r},)"
        entry.found.append(warning("text-as-output", message, entry.place(key), help=mend))
        return tuple(value)
    if isinstance(value, str) or not isinstance(value, Sequence) or not len(value):
        entry.fault(key, f"`output` is {value!r}, not a tuple of labels", "list the labels of the classes")
        return None
    labels = tuple(value)
    odd = [label for label in labels if not _is_name(label)]
    if odd:
        message = f"`output` has the label {odd[0]!r:.60}, a {type(odd[0]).__name__}"
        entry.fault(key, message, "labels are names or numbers")
        return None
    doubled = [label for place, label in enumerate(labels) if label in labels[:place]]
    if doubled:
        entry.fault(key, f"`output` has the label {doubled[0]!r} twice", "each class is listed once")
        return None
    return labels


def _loader(entry: _Entry, key: str, value: Any) -> Callable[..., Any] | None:
    if not callable(value):
        entry.fault(key, f"`loader` is {value!r}, not a function", "name the function, without calling it")
        return None
    try:
        inspect.signature(value).bind((None, None), load_train=True, load_test=True)
    except TypeError as fault:
        name = getattr(value, "__name__", "loader")
        mend = f"write `def {name}(data, load_train=True, load_test=True):` and begin with `(data_dir, args) = data`"
        call = "loader((data_dir, args), load_train=..., load_test=...)"
        message = f"{entry.label()}: `loader` cannot be called as {call}: {fault}"
        entry.found.append(error("loader-signature", message, entry.place(key), help=mend))
        return None
    except ValueError:  # a callable without a signature to ask for
        pass
    return cast(Callable[..., Any], value)


def _weight(entry: _Entry, key: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or not all(
        isinstance(v, Real) and not isinstance(v, bool) for v in value
    ):
        entry.fault(key, f"`weight` is {value!r}, not a tuple of numbers", "give each label one weight")
        return None
    weights = tuple(float(v) for v in value)
    if not all(0 <= w < float("inf") for w in weights) or not any(weights):
        entry.fault(key, f"`weight` is {weights}", "weights are finite, not negative, and not all 0")
        return None
    return weights


def _flag(entry: _Entry, key: str, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    entry.fault(key, f"`{key}` is {value!r}, not True or False")
    return None


def _function(entry: _Entry, key: str, value: Any) -> Callable[..., Any] | None:
    if value is None or callable(value):
        return cast("Callable[..., Any] | None", value)
    entry.fault(key, f"`{key}` is {value!r}, not a function")
    return None


def _ratio(entry: _Entry, key: str, value: Any) -> int | None:
    if _is_integer(value) and 1 <= value <= 32:
        return int(value)
    entry.fault(
        key, f"`{key}` is {value!r}, not a whole number from 1", "it says by how much the items are folded"
    )
    return None


def _is_name(label: Any) -> bool:
    """Whether labels like this can be told apart: it has a hash, and is no array of several values."""
    try:
        hash(label)
    except TypeError:
        return False
    return getattr(label, "ndim", 0) == 0


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "name": _name, "input": _input, "output": _output, "loader": _loader, "weight": _weight,
        "regression": _flag, "visualize": _function, "collate": _function, "fold_ratio": _ratio,
    }
)  # fmt: skip
