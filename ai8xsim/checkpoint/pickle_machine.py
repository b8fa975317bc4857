"""Interprets a pickle without executing anything.

`pickletools.genops` takes a pickle apart into opcodes; the functions here play them on a stack of plain
values (`pickle_stack.py`).

The file may come from a stranger, so that every step is bounded: no recursion, no allocation that the file
merely announces, no hashing of anything but text, and a limit on the number of steps.
"""

import pickletools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, Any

from ai8xsim.checkpoint.faults import damaged
from ai8xsim.checkpoint.pickle_stack import Constructor, Inert, InertObject, Machine, set_item

_LARGEST_INTEGER_BITS = 128  # the magic number of legacy files has 77
_MEMO_INDICES = 1 << 32
_NEWEST_PROTOCOL = 5
_NUMBER = InertObject(Inert("builtins", "int"))


def interpret(
    stream: IO[bytes],
    constructors: Mapping[Inert, Constructor],
    persistent: Callable[[object], object],
) -> object:
    """The value that a pickle describes; the stream is left behind it.

    Values are None, bool, int (to 128 bits), float, str, bytes, list, tuple and dict (text keys only), what
    the constructors and `persistent` return, and for everything else `Inert` and `InertObject`. They may be
    cyclic and arbitrarily deep: do not compare, hash or print them as a whole.

    Raises UnreadableError (`damaged-checkpoint`) for everything that is no pickle.

    >>> import io, pickle
    >>> interpret(io.BytesIO(pickle.dumps({"epoch": 3, 7: "gone"})), {}, str)
    {'epoch': 3}
    >>> print(interpret(io.BytesIO(b"cos\\nsystem\\n(S'reboot'\\ntR."), {}, str))
    os.system
    """
    machine = Machine(constructors, persistent)
    try:
        for opcode, argument, position in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.pop()
            machine.position = position or 0
            machine.spend(1)
            _HANDLERS[opcode.name](machine, argument)
    except (
        ValueError,
        OverflowError,
        MemoryError,
        Warning,
    ) as fault:  # a Warning: Python may run with -W error
        reason = str(fault)[:200] or type(fault).__name__
        raise damaged(
            "the pickle in it cannot be read to its end", f"near byte {machine.position}: {reason}"
        ) from None
    raise AssertionError("genops ends with STOP or raises")


def _nothing(machine: Machine, argument: Any) -> None:
    """Frames only matter to readers that read ahead."""


def _check_protocol(machine: Machine, argument: Any) -> None:
    if argument > _NEWEST_PROTOCOL:
        raise ValueError(f"pickle protocol {argument}, the newest is {_NEWEST_PROTOCOL}")


def _refuse(machine: Machine, argument: Any) -> None:
    raise ValueError("it needs a buffer from outside")


def _constant(value: object) -> Callable[[Machine, Any], None]:
    return lambda machine, argument: machine.push(value)


def _push(machine: Machine, argument: Any) -> None:
    machine.push(argument)


def _push_integer(machine: Machine, argument: Any) -> None:
    machine.push(argument if argument.bit_length() <= _LARGEST_INTEGER_BITS else _NUMBER)


def _pop(machine: Machine, argument: Any) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: Machine, argument: Any) -> None:
    machine.pop_mark()


def _duplicate(machine: Machine, argument: Any) -> None:
    machine.push(machine.top())


def _mark(machine: Machine, argument: Any) -> None:
    machine.mark()


def _empty_list(machine: Machine, argument: Any) -> None:
    machine.push([])


def _empty_dict(machine: Machine, argument: Any) -> None:
    machine.push({})


def _empty_set(machine: Machine, argument: Any) -> None:
    machine.push(InertObject(Inert("builtins", "set")))


def _frozenset(machine: Machine, argument: Any) -> None:
    machine.pop_mark()
    machine.push(InertObject(Inert("builtins", "frozenset")))


def _list(machine: Machine, argument: Any) -> None:
    machine.push(machine.pop_mark())


def _tuple(machine: Machine, argument: Any) -> None:
    machine.push(tuple(machine.pop_mark()))


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def push_tuple(machine: Machine, argument: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return push_tuple


def _dict(machine: Machine, argument: Any) -> None:
    values = machine.pop_mark()
    machine.push({})
    _set_all(machine, values)


def _append(machine: Machine, argument: Any) -> None:
    value = machine.pop()
    _extend(machine, [value])


def _appends(machine: Machine, argument: Any) -> None:
    values = machine.pop_mark()
    _extend(machine, values)


def _extend(machine: Machine, values: list[object]) -> None:
    target = machine.top()
    if isinstance(target, list):
        target.extend(values)


def _set_item(machine: Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_all(machine, [key, value])


def _set_items(machine: Machine, argument: Any) -> None:
    values = machine.pop_mark()
    _set_all(machine, values)


def _set_all(machine: Machine, values: list[object]) -> None:
    if len(values) % 2:
        raise ValueError("a key without a value")
    target = machine.top()
    for key, value in zip(values[::2], values[1::2], strict=True):
        set_item(target, key, value)


def _add_items(machine: Machine, argument: Any) -> None:
    machine.pop_mark()
    machine.top()  # a set; nothing that a checkpoint needs is in one


def _global(machine: Machine, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    machine.push(Inert(module, name))


def _stack_global(machine: Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a global name that is not text")
    machine.push(Inert(module, name))


def _extension(machine: Machine, argument: Any) -> None:
    machine.push(Inert("copyreg", f"extension {argument}"))


def _reduce(machine: Machine, argument: Any) -> None:
    arguments, maker = machine.pop(), machine.pop()
    machine.push(machine.construct(maker, arguments))


def _reduce_with_keywords(machine: Machine, argument: Any) -> None:
    machine.pop()
    _reduce(machine, argument)


def _instance(machine: Machine, argument: Any) -> None:
    machine.pop_mark()
    _global(machine, argument)
    machine.push(InertObject(machine.pop()))


def _object(machine: Machine, argument: Any) -> None:
    values = machine.pop_mark()
    if not values:
        raise ValueError("an object without a class")
    machine.push(InertObject(values[0]))


def _build(machine: Machine, argument: Any) -> None:
    machine.pop()  # the state of an object, or the attributes of a dictionary
    machine.top()


def _put(machine: Machine, argument: Any) -> None:
    if not 0 <= argument < _MEMO_INDICES:
        raise ValueError(f"a memo index outside 0..{_MEMO_INDICES - 1}")
    machine.memo[argument] = machine.top()


def _memoize(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _get(machine: Machine, argument: Any) -> None:
    if argument not in machine.memo:
        raise ValueError("a memo index that was never set")
    machine.push(machine.memo[argument])


def _persistent_text(machine: Machine, argument: Any) -> None:
    machine.push(machine.persistent(argument))


def _persistent(machine: Machine, argument: Any) -> None:
    machine.push(machine.persistent(machine.pop()))


_HANDLERS = MappingProxyType(
    {
        **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _push_integer),
        **dict.fromkeys(("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"), _push),
        **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push),
        **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push),
        **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
        **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), _refuse),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
        **dict.fromkeys(("REDUCE", "NEWOBJ"), _reduce),
        "PROTO": _check_protocol,
        "FRAME": _nothing,
        "NONE": _constant(None),
        "NEWTRUE": _constant(True),
        "NEWFALSE": _constant(False),
        "POP": _pop,
        "POP_MARK": _pop_mark,
        "DUP": _duplicate,
        "MARK": _mark,
        "EMPTY_LIST": _empty_list,
        "LIST": _list,
        "APPEND": _append,
        "APPENDS": _appends,
        "EMPTY_TUPLE": _constant(()),
        "TUPLE": _tuple,
        "TUPLE1": _tuple_of(1),
        "TUPLE2": _tuple_of(2),
        "TUPLE3": _tuple_of(3),
        "EMPTY_DICT": _empty_dict,
        "DICT": _dict,
        "SETITEM": _set_item,
        "SETITEMS": _set_items,
        "EMPTY_SET": _empty_set,
        "FROZENSET": _frozenset,
        "ADDITEMS": _add_items,
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "NEWOBJ_EX": _reduce_with_keywords,
        "INST": _instance,
        "OBJ": _object,
        "BUILD": _build,
        "MEMOIZE": _memoize,
        "PERSID": _persistent_text,
        "BINPERSID": _persistent,
    }
)
