"""The stack on which the opcodes of a pickle work, and the values that may lie on it.

What a pickle would import stays a name (`Inert`), what it would call stays a note of the call
(`InertObject`). Only constructors that the caller hands over are followed, and they get plain values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

STEPS = 1 << 21  # a checkpoint of 100 layers with its optimizer takes some 20,000


@dataclass(frozen=True, slots=True)
class Inert:
    """A class or function that a pickle names. It is never imported and never called.

    >>> str(Inert("os", "system"))
    'os.system'
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class InertObject:
    """What a pickle would have made by calling `maker`, and was not made."""

    maker: object

    def __str__(self) -> str:
        return str(self.maker) if isinstance(self.maker, Inert) else "object"


Constructor = Callable[[tuple[object, ...]], object]


class Machine:
    """The stack, the marked stacks below it, and the memo of one pickle.

    constructors: what may be built, each from its tuple of arguments.
    persistent: makes a value of a persistent id.
    Both raise ValueError for what they do not understand; so does the machine.
    """

    def __init__(
        self, constructors: Mapping[Inert, Constructor], persistent: Callable[[object], object]
    ) -> None:
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.constructors = constructors
        self.persistent = persistent
        self.steps_left = STEPS
        self.position = 0

    def spend(self, steps: int) -> None:
        """Counts steps, so that a small file cannot ask for endless work."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise ValueError(f"more than {STEPS} steps")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        return self.stack[-1]

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[object]:
        """The values since the last mark, which is forgotten."""
        if not self.marked:
            raise ValueError("a mark is missing on the stack")
        values, self.stack = self.stack, self.marked.pop()
        return values

    def construct(self, maker: object, arguments: object) -> object:
        """What `maker(*arguments)` stands for: a value if the maker is known, else an inert object."""
        if not isinstance(maker, Inert) or not isinstance(arguments, tuple):
            return InertObject(maker)
        if maker == Inert("collections", "OrderedDict"):
            return self._dictionary(arguments)
        constructor = self.constructors.get(maker)
        return constructor(arguments) if constructor else InertObject(maker)

    def _dictionary(self, arguments: tuple[object, ...]) -> dict[str, object]:
        pairs = arguments[0] if arguments else []  # Python 2 gave [[key, value], ...]
        entries: dict[str, object] = {}
        for pair in pairs if isinstance(pairs, list) else []:
            self.spend(1)
            if isinstance(pair, list | tuple) and len(pair) == 2:
                set_item(entries, pair[0], pair[1])
        return entries


def set_item(entries: object, key: object, value: object) -> None:
    """Sets `entries[key]` where the key is text. Nothing that a checkpoint needs has another key."""
    if isinstance(entries, dict) and isinstance(key, str):
        entries[key] = value
