"""LLVM code for the few vector operations in which instruction sets differ."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from llvmlite import ir
from numba.core import cgutils as _cgutils

from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.targets import FOUR, Target

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))

Block = TypeVar("Block")

Builder = Any  # llvmlite has no types
Value = Any
cgutils: Any = _cgutils


def apart(name: str, emit: Callable[[Builder, list[Value]], None]) -> Callable[..., Value]:
    """What an intrinsic for a target does, without a result, as a function of its own, which LLVM does not take in
    where it is called: what is large compiles sooner, and better, alone.

    emit: makes the code from a builder and the arguments behind the target.
    """

    def generate(context: Any, builder: Builder, signature: Any, args: list[Value]) -> Value:
        arguments = args[1:]
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
            function = ir.Function(builder.module, kind, name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            inside = ir.IRBuilder(function.append_basic_block("entry"))
            emit(inside, list(function.args))
            inside.ret_void()
        builder.call(function, arguments)
        return context.get_dummy_value()

    return generate


def keep_pairs_whole(builder: Builder) -> None:
    """Let LLVM tune a function as for Zen 4.

    For other processors, Intel's among them, it may split vpdpwssd in two, a product and a sum: half as fast. llvmlite
    itself knows no such attributes.
    """
    set.add(builder.function.attributes, '"tune-cpu"="znver4"')


def emit_chosen(
    builder: Builder, number: Value, blocks: Sequence[Block], emit: Callable[[Block], None]
) -> None:
    """The code of every block, of which the one of this number is run."""
    done = builder.append_basic_block("done")
    switch = builder.switch(number, done)
    for place, block in enumerate(blocks):
        case = builder.append_basic_block(f"block_{place}")
        switch.add_case(ir.Constant(I64, place), case)
        builder.position_at_end(case)
        emit(block)
        builder.branch(done)
    builder.position_at_end(done)


@contextmanager
def rolled(builder: Builder, count: Value) -> Iterator[Value]:
    """A loop that LLVM does not unroll, which takes its time and gains nothing where the body is long."""
    before, body, end = builder.basic_block, *(builder.append_basic_block(name) for name in ("body", "end"))
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(I64, 0)), body, end)
    builder.position_at_end(body)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), before)
    yield index
    following = builder.add(index, ir.Constant(I64, 1))
    index.add_incoming(following, builder.basic_block)
    latch = builder.cbranch(builder.icmp_signed("<", following, count), body, end)
    latch.set_metadata("llvm.loop", _not_unrolled(builder.module, f"{builder.function.name}.{body.name}"))
    builder.position_at_end(end)


class EvenAddresses:
    """Addresses that go on together through a loop, and of which every four are as far apart.

    Only the first of four takes a register: x86 adds another register to it, once or twice, where it loads. LLVM would
    keep each address, more than there are registers, so it must not see what the first ones are.
    """

    def __init__(self, builder: Builder, firsts: Sequence[Value], step: Value) -> None:
        self._builder, self._firsts = builder, [variable(builder, first) for first in firsts]
        self._behind = [times(builder, step, place) for place in range(1, FOUR)]

    def following(self, count: int) -> list[Value]:
        """The addresses; the next ones are so many bytes on."""
        addresses = []
        for first in self._firsts:
            address = _unseen(self._builder, self._builder.load(first))
            addresses += [address, *(self._builder.add(address, behind) for behind in self._behind)]
            self._builder.store(after(self._builder, address, count), first)
        return addresses


def _unseen(builder: Builder, value: Value) -> Value:
    """A value of which LLVM does not know what it is: an empty line of assembly may have changed it."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)


@dataclass(frozen=True)
class Vectors:
    """Values divided into vectors of one length, which they fill; the last vector takes some values again."""

    builder: Builder
    length: int
    values: Value

    @contextmanager
    def each(self) -> Iterator[Value]:
        """A loop over the first value of each."""
        builder, size = self.builder, ir.Constant(I64, self.length)
        count = builder.udiv(builder.add(self.values, ir.Constant(I64, self.length - 1)), size)
        last = builder.sub(self.values, size)
        with cgutils.for_range(builder, count) as number:
            first = builder.mul(number.index, size)
            yield builder.select(builder.icmp_unsigned("<", first, last), first, last)


def in_vectors(
    builder: Builder, values: Value, lengths: Sequence[int], emit: Callable[[Vectors], None]
) -> None:
    """Code for as many values as there are, in vectors of the largest length that they fill.

    lengths: the choices, the largest first and the last of them 1.
    """
    larger = ir.Constant(I1, 0)
    for length in lengths:
        fills = builder.icmp_unsigned(">=", values, ir.Constant(I64, length))
        with builder.if_then(builder.and_(fills, builder.not_(larger))):
            emit(Vectors(builder, length, values))
        larger = fills


def _not_unrolled(module: Any, name: str) -> Any:
    """What marks a loop: a node whose first part is the node itself."""
    disabled = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    mark = module.add_metadata([ir.MetaDataString(module, name)])
    mark.operands = (mark, disabled)
    return mark


def vector(element: Any, lanes: int) -> Any:
    """The type of a vector."""
    return ir.VectorType(element, lanes)


def splat_constant(element: Any, number: int, lanes: int) -> Value:
    """A constant in every lane."""
    return ir.Constant(vector(element, lanes), [number] * lanes)


def splat(builder: Builder, value: Value, lanes: int) -> Value:
    """A value in every lane."""
    undefined = ir.Constant(vector(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(vector(I32, lanes), [0] * lanes))


def load(builder: Builder, address: Value, kind: Any, align: int = 1) -> Value:
    """What lies at an address."""
    loaded = builder.load(builder.inttoptr(address, ir.PointerType(kind)))
    loaded.align = align
    return loaded


def prefetch(builder: Builder, address: Value) -> None:
    """Ask for the cache line at an address, which will be read soon."""
    pointer = builder.inttoptr(address, ir.PointerType(I8))
    hints = [ir.Constant(I32, number) for number in (0, 3, 1)]  # to read, to be kept, data
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    builder.call(declared(builder, "llvm.prefetch.p0", kind), [pointer, *hints])


def load_lanes(builder: Builder, address: Value, others: Value, lanes: range) -> Value:
    """These lanes of a vector that lies at an address, and otherwise those of `others`; needs masked loads."""
    kind = others.type
    mask = ir.Constant(vector(I1, kind.count), [lane in lanes for lane in range(kind.count)])
    pointer = builder.inttoptr(address, ir.PointerType(kind))
    name = f"llvm.masked.load.v{kind.count}i{kind.element.width}.p0"
    function = declared(builder, name, ir.FunctionType(kind, [pointer.type, I32, mask.type, kind]))
    return builder.call(function, [pointer, ir.Constant(I32, 1), mask, others])


def store(builder: Builder, value: Value, address: Value) -> None:
    """Put a value at an address."""
    builder.store(value, builder.inttoptr(address, ir.PointerType(value.type))).align = 1


def store_first(builder: Builder, values: Value, address: Value, count: Value, most: int) -> None:
    """Put the first `count` bytes of a vector, at least one and at most `most`, at an address; needs masked stores."""
    lanes = values.type.count
    bits, limit = ir.IntType(lanes), ir.Constant(I64, most)
    kept = builder.select(builder.icmp_signed("<", count, limit), count, limit)
    unused = builder.sub(ir.Constant(I64, lanes), kept)
    unused = builder.trunc(unused, bits) if lanes < 64 else unused
    mask = builder.bitcast(builder.lshr(ir.Constant(bits, -1), unused), vector(I1, lanes))
    pointer = builder.inttoptr(address, ir.PointerType(values.type))
    name = f"llvm.masked.store.v{lanes}i8.p0"
    kind = ir.FunctionType(ir.VoidType(), [values.type, pointer.type, I32, mask.type])
    builder.call(declared(builder, name, kind), [values, pointer, ir.Constant(I32, 1), mask])


def multiply_add(builder: Builder, target: Target, sums: Value, x: Value, weights: Value) -> Value:
    """Each lane's sum plus its products: 4 of bytes, or 2 of 16-bit integers.

    x: a pixel's next values as one 32-bit integer.   weights: a vector of bytes.
    """
    pixel = splat(builder, x, target.lanes)
    if target.products == 4:
        return multiply_add_bytes(builder, sums, pixel, weights)
    return multiply_add_pairs(builder, target, sums, pixel, weights)


def multiply_add_bytes(builder: Builder, sums: Value, activations: Value, weights: Value) -> Value:
    """Each lane's sum plus the products of its 4 unsigned activations with its 4 signed weights."""
    lanes = sums.type.count
    octets = vector(I8, 4 * lanes)
    operands = [sums, builder.bitcast(activations, octets), builder.bitcast(weights, octets)]
    return call(builder, f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", sums.type, operands)


def multiply_add_pairs(builder: Builder, target: Target, sums: Value, pixel: Value, weights: Value) -> Value:
    """Each lane's sum plus the products of its 2 numbers with its 2 weights, of 16 bits; the sum wraps round.

    Without an instruction for all of it, this is the pattern that LLVM turns into pmaddwd on x86 and smull, smlal on
    ARM.
    """
    lanes = target.lanes
    pairs, products = vector(I16, 2 * lanes), vector(I32, 2 * lanes)
    numbers, factors = builder.bitcast(pixel, pairs), builder.bitcast(weights, pairs)
    if target.products == 4:
        name = f"llvm.x86.avx512.vpdpwssd.{32 * lanes}"
        return call(builder, name, sums.type, [sums, numbers, factors])
    left, right = builder.sext(numbers, products), builder.sext(factors, products)
    product = builder.mul(left, right)
    undefined = ir.Constant(products, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(
            product, undefined, ir.Constant(vector(I32, lanes), list(range(at, 2 * lanes, 2)))
        )
        for at in (0, 1)
    )
    return builder.add(sums, builder.add(even, odd))


def after(builder: Builder, address: Value, count: int) -> Value:
    """The address so many bytes on."""
    return builder.add(address, ir.Constant(I64, count))


def moved(builder: Builder, address: Value, offset: Value, value_bytes: int) -> Value:
    """An address moved by the offset, in values, that lies at another address."""
    values = builder.sext(load(builder, offset, I32, 4), I64)
    return builder.add(address, times(builder, values, value_bytes))


def fields_of(builder: Builder, value: Value, kind: Any) -> Any:
    """The fields of a named tuple, as a tuple of this kind."""
    return kind(*(builder.extract_value(value, place) for place in range(len(kind._fields))))


def times(builder: Builder, value: Value, factor: int) -> Value:
    """A value multiplied by a constant."""
    return builder.mul(value, ir.Constant(I64, factor))


def held_in_memory(builder: Builder, target: Target, numbers: Value) -> Value:
    """Activations, of any width, in the form in which memory holds them."""
    element = I8 if target.value_bytes == 1 else I16
    kind = vector(element, numbers.type.count)
    width = numbers.type.element.width
    fitted = numbers
    if width != element.width:
        fitted = builder.trunc(numbers, kind) if width > element.width else builder.sext(numbers, kind)
    return builder.sub(splat_constant(element, ZERO, numbers.type.count), fitted)


def least(builder: Builder, left: Value, right: Value) -> Value:
    """Lane by lane the smaller of two values without a sign."""
    return builder.select(builder.icmp_unsigned("<", left, right), left, right)


def lanes_of(builder: Builder, values: Value, places: list[int]) -> Value:
    """The lanes at these places."""
    undefined = ir.Constant(values.type, ir.Undefined)
    return builder.shuffle_vector(values, undefined, ir.Constant(vector(I32, len(places)), places))


def bytes_within_quarters(builder: Builder, values: Value, places: Value) -> Value:
    """A vector of 64 bytes: each is the one at its place, 0 to 15, in its quarter of `values`."""
    octets = vector(I8, 64)
    operands = [builder.bitcast(values, octets), builder.bitcast(places, octets)]
    return call(builder, "llvm.x86.avx512.pshuf.b.512", octets, operands)


def variable(builder: Builder, value: Value) -> Value:
    """A place for values that LLVM keeps in a register, if it is only read and written whole."""
    made = cgutils.alloca_once(builder, value.type)
    builder.store(value, made)
    return made


def call(builder: Builder, name: str, result: Any, operands: list[Value]) -> Value:
    """What a function of LLVM gives, by its name."""
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(declared(builder, name, kind), operands)


def declared(builder: Builder, name: str, kind: Any) -> Any:
    """The function of LLVM that has this name."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, kind, name)
