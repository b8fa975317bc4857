"""What the processor could do at most: 8-bit products a second, and bytes of weights read a second.

A share of the peak is worth as much as the peak, so it is measured in the same run, by the instruction that the
fastest kernels use. Independent accumulators hide its latency; all operands lie in registers but one, which changes
from step to step: LLVM would compute a product that stays the same only once.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from time import perf_counter
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

UNROLL = 2  # steps in one round of the loop; with more of them LLVM runs out of registers
VECTORS = 8  # different operands, taken in turn; a power of two
TRIAL_SECONDS = 0.002
TRIALS = 60
SMALLEST_BUFFER = 4096

I32, I64 = ir.IntType(32), ir.IntType(64)

Value = Any  # llvmlite has no types
Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.int32]
Kernel = Callable[[int, int, int, int], None]


class Kind(StrEnum):
    """Quads: 4 products u8 x s8 of a lane in one instruction. Pairs: 2 products s16 x s16, by any processor."""

    QUADS = "quads"
    PAIRS = "pairs"


@dataclass(frozen=True)
class Instruction:
    """A way to compute dot products in vectors of 32-bit lanes, and what Numba's target must have for it.

    weights: operands that stay in registers. Accumulators share them where an instruction adds its products by
    itself; where addition is another instruction, a shared product would be computed once.
    """

    name: str
    feature: str
    lanes: int
    kind: Kind
    accumulators: int
    weights: int

    @property
    def macs(self) -> int:
        """Products of one instruction."""
        return self.lanes * (4 if self.kind is Kind.QUADS else 2)

    @property
    def macs_of_round(self) -> int:
        """Products of one round of the loop."""
        return UNROLL * self.accumulators * self.macs


INSTRUCTIONS = (  # the fastest first
    Instruction("vpdpbusd zmm", "avx512vnni", 16, Kind.QUADS, 12, 2),
    Instruction("vpdpbusd ymm", "avxvnni", 8, Kind.QUADS, 12, 2),
    Instruction("vpmaddwd zmm", "avx512bw", 16, Kind.PAIRS, 12, 12),
    Instruction("vpmaddwd ymm", "avx2", 8, Kind.PAIRS, 5, 5),
    Instruction("16-bit pairs in 128 bits", "", 4, Kind.PAIRS, 5, 5),
)


@dataclass(frozen=True)
class Peak:
    """GMAC/s by the number of threads, and the instruction that reached it."""

    instruction: str
    gmacs_per_second: Mapping[int, float]


def numba_features() -> frozenset[str]:
    """The features that Numba compiles for. They may be fewer than the processor's: NUMBA_CPU_NAME and others."""
    settings: Any = config  # from Numba's environment variables, without types
    host_features: Callable[[], str] = get_host_cpu_features
    listed = settings.CPU_FEATURES
    if listed is None:
        listed = "" if settings.CPU_NAME else host_features()
    return frozenset(feature[1:] for feature in listed.split(",") if feature.startswith("+"))


def available(features: Iterable[str] | None = None) -> tuple[Instruction, ...]:
    """What may be executed, the fastest first; any other instruction would end the process."""
    present = {"", *(numba_features() if features is None else features)}
    return tuple(entry for entry in INSTRUCTIONS if entry.feature in present)


def measured_peak(threads: Iterable[int] = (1, 2)) -> Peak:
    """The best of many short trials: whoever shares the machine can only make a trial slower."""
    instruction = available()[0]
    rate = partial(_product_rate, instruction)
    return Peak(instruction.name, {count: _together(rate, count) / 1e9 for count in threads})


def read_bandwidth(size_bytes: int, threads: int = 1) -> float:
    """Bytes a second, reading a buffer of this size again and again: from the cache it fits in, or from memory."""
    size = max(size_bytes, SMALLEST_BUFFER)
    return _together(partial(_read_rate, size), threads)


def dot_products(instruction: Instruction, x: Bytes, weights: Bytes, sums: Sums, rounds: int) -> None:
    """Add `UNROLL` dot products a round to every accumulator, in place.

    x: (VECTORS, bytes of a vector), one vector a step, over and over: u8, or s16 for pairs.
    weights: (weights, bytes of a vector): s8, or s16.  sums: (accumulators, lanes); accumulator j takes weight
    j modulo their number.
    """
    _kernel(instruction)(x.ctypes.data, weights.ctypes.data, sums.ctypes.data, rounds)


def _together(rate: Callable[[], float], threads: int) -> float:
    """The sum of the best rates of so many threads that work at the same time."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result() for future in [pool.submit(rate) for _ in range(threads)])


def _product_rate(instruction: Instruction) -> float:
    width = 4 * instruction.lanes
    x, weights = np.ones((VECTORS, width), np.uint8), np.ones((instruction.weights, width), np.uint8)
    sums = np.zeros((instruction.accumulators, instruction.lanes), np.int32)
    rounds = _best(lambda count: dot_products(instruction, x, weights, sums, count))
    return rounds * instruction.macs_of_round


def _read_rate(size: int) -> float:
    words = np.ones(-(-size // 8), np.int64)
    return _best(partial(_reader(), words)) * words.nbytes


def _best(work: Callable[[int], object]) -> float:
    """How often a second something can be repeated, at best. `work` takes the number of repetitions."""
    work(1)  # compiles
    repetitions, seconds = 1, 0.0
    while seconds < TRIAL_SECONDS:
        repetitions *= 2
        seconds = _seconds(work, repetitions)
    return repetitions / min(_seconds(work, repetitions) for _ in range(TRIALS))


def _seconds(work: Callable[[int], object], repetitions: int) -> float:
    start = perf_counter()
    work(repetitions)
    return perf_counter() - start


@cache
def _reader() -> Callable[[npt.NDArray[np.int64], int], int]:
    def read(words: npt.NDArray[np.int64], repetitions: int) -> int:
        total = 0
        for turn in range(repetitions):
            for place in range(words.size):
                total += words[place] ^ turn  # another result every time, or it would be computed once
        return total

    return cast("Callable[[npt.NDArray[np.int64], int], int]", njit(nogil=True)(read))


@cache
def _kernel(instruction: Instruction) -> Kernel:
    """Not cached on disk: Numba would not notice that an intrinsic has changed."""
    loop = _loop(instruction)

    def run(x: int, weights: int, sums: int, rounds: int) -> None:
        loop(x, weights, sums, rounds)

    return cast("Kernel", njit("void(int64, int64, int64, int64)", nogil=True)(run))


def _loop(instruction: Instruction) -> Callable[[int, int, int, int], None]:
    """The loop as a function that compiled code can call. Arguments: three addresses, and the rounds."""

    def loop(typing_context: Any, x: Any, weights: Any, sums: Any, rounds: Any) -> tuple[Any, Any]:
        def generate(context: Any, builder: Value, signature: Any, arguments: Any) -> Value:
            _emit_loop(builder, instruction, arguments)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), generate

    return cast("Callable[[int, int, int, int], None]", intrinsic(loop))


def _emit_loop(builder: Value, instruction: Instruction, arguments: tuple[Value, ...]) -> None:
    """do { ... } while (++round < rounds), with all accumulators in registers."""
    x, weights, sums, rounds = arguments
    lanes, width = ir.VectorType(I32, instruction.lanes), 4 * instruction.lanes
    fixed = [_load(builder, weights, place * width, lanes) for place in range(instruction.weights)]
    start = [_load(builder, sums, place * width, lanes) for place in range(instruction.accumulators)]
    before, body = builder.block, builder.append_basic_block("round")
    after = builder.append_basic_block("after")
    builder.branch(body)
    builder.position_at_end(body)
    turn = builder.phi(I64)
    accumulators = [builder.phi(lanes) for _ in start]
    step = builder.mul(builder.and_(turn, I64(VECTORS // UNROLL - 1)), I64(UNROLL * width))
    updated: list[Value] = list(accumulators)
    for place in range(UNROLL):
        operand = _load(builder, builder.add(x, step), place * width, lanes)
        for at, total in enumerate(updated):
            updated[at] = _emit_dot(builder, instruction, total, (operand, fixed[at % len(fixed)]))
    following = builder.add(turn, I64(1))
    for phi, first, last in zip([turn, *accumulators], [I64(0), *start], [following, *updated], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, body)
    builder.cbranch(builder.icmp_signed("<", following, rounds), body, after)
    builder.position_at_end(after)
    for place, total in enumerate(updated):
        _store(builder, total, sums, place * width)


def _emit_dot(builder: Value, instruction: Instruction, total: Value, operands: tuple[Value, Value]) -> Value:
    """total + the dot product of every lane's bytes (u8 x s8), or of its halves (s16 x s16)."""
    if instruction.kind is Kind.PAIRS:
        return builder.add(total, _emit_pairs(builder, instruction.lanes, operands))
    name = f"llvm.x86.avx512.vpdpbusd.{32 * instruction.lanes}"
    lanes = total.type
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(lanes, [lanes] * 3), name)
    return builder.call(function, [total, *operands])


def _emit_pairs(builder: Value, lanes: int, operands: tuple[Value, Value]) -> Value:
    """The pattern that LLVM knows as vpmaddwd, smull and the like, by processor."""
    halves, wide = ir.VectorType(ir.IntType(16), 2 * lanes), ir.VectorType(I32, 2 * lanes)
    one, other = (builder.sext(builder.bitcast(operand, halves), wide) for operand in operands)
    products = builder.mul(one, other)
    nothing = ir.Constant(wide, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(
            products,
            nothing,
            ir.Constant(ir.VectorType(I32, lanes), [I32(2 * lane + half) for lane in range(lanes)]),
        )
        for half in (0, 1)
    )
    return builder.add(even, odd)


def _load(builder: Value, address: Value, offset: int, kind: Value) -> Value:
    value = builder.load(_pointer(builder, address, offset, kind))
    value.align = 1
    return value


def _store(builder: Value, value: Value, address: Value, offset: int) -> None:
    builder.store(value, _pointer(builder, address, offset, value.type)).align = 1


def _pointer(builder: Value, address: Value, offset: int, kind: Value) -> Value:
    return builder.inttoptr(builder.add(address, I64(offset)), kind.as_pointer())
