"""What sums become: activations, shifted, saturated and packed in the form that memory holds (see `held`)."""

from collections.abc import Callable

from llvmlite import ir

from ai8xsim.kernels.generated.held import ZERO
from ai8xsim.kernels.generated.instructions import (
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    call,
    lanes_of,
    least,
    splat,
    splat_constant,
    variable,
    vector,
)
from ai8xsim.kernels.generated.targets import Target

PACKED = 4  # vectors of 32-bit integers that become one of bytes


def channel_order(target: Target, vectors: int) -> list[int]:
    """Which output channel of a block each lane computes, vector after vector.

    x86 packs two vectors by taking four lanes of each in turn; with the channels dealt out to the vectors in the
    same way, what is packed comes out in order.
    """
    order: list[int] = []
    for dealt in _packed_together(target, vectors):
        first = len(order)
        for place in range(dealt):
            order += [
                first + 4 * dealt * (lane // 4) + 4 * place + lane % 4 if dealt > 1 else first + lane
                for lane in range(target.lanes)
            ]
    return order


def _packed_together(target: Target, vectors: int) -> list[int]:
    """How many vectors each packing takes."""
    if not target.features:  # without named instructions there is nothing to pack with
        return [1] * vectors
    if target.masked_stores:
        return [vectors]
    return [2] * (vectors // 2) + [1] * (vectors % 2)


def pack(builder: Builder, target: Target, sums: list[Value], shift: Value, ceiling: Value) -> list[Value]:
    """The sums of a pixel as activations in channel order, shifted right and from 0 to the ceiling."""
    shifted = [_shifted_right(builder, values, shift) for values in sums]
    packed, at = [], 0
    for dealt in _packed_together(target, len(shifted)):
        own = shifted[at : at + dealt]
        wide = _pack_two(builder, target, own) if dealt == 2 else _positive(builder, own[0])
        packed.append(_limited(builder, target, wide, ceiling))
        at += dealt
    return packed


def _pack_two(builder: Builder, target: Target, sums: list[Value]) -> Value:
    """Two vectors of sums, saturated to 0..65535, in one."""
    return call(builder, "llvm.x86.avx2.packusdw", vector(I16, 2 * target.lanes), sums)


def _positive(builder: Builder, sums: Value) -> Value:
    none = splat_constant(sums.type.element, 0, sums.type.count)
    return builder.select(builder.icmp_signed(">", sums, none), sums, none)


def _limited(builder: Builder, target: Target, values: Value, ceiling: Value) -> Value:
    """Values without a sign, not above the ceiling, in the type that memory has."""
    element, lanes = values.type.element, values.type.count
    limited = least(builder, values, splat(builder, builder.trunc(ceiling, element), lanes))
    kept = I8 if target.value_bytes == 1 else I16
    return limited if element == kept else builder.trunc(limited, vector(kept, lanes))


def pack_pixels(builder: Builder, rows: list[list[Value]], shift: Value, ceiling: Value) -> list[Value]:
    """The sums of each pixel as activations in channel order, pixel by pixel, in vectors of 64 bytes.

    A vector comes of four vectors of 16 sums; pixels that have one or two share it. Of three, the last 16 bytes mean
    nothing.
    """
    own = len(rows[0])  # of the four words in a quarter
    by_pixel = sorted(range(16), key=lambda word: word % PACKED // own)
    words = [builder.bitcast(octets, vector(I32, 16)) for octets in pack_rows(builder, rows, shift, ceiling)]
    return [builder.bitcast(lanes_of(builder, mixed, by_pixel), vector(I8, 64)) for mixed in words]


def pack_rows(builder: Builder, rows: list[list[Value]], shift: Value, ceiling: Value) -> list[Value]:
    """Sums, shifted right, saturated to 0..ceiling, in vectors of 64 bytes.   ceiling: ZERO or MOST.

    Each comes of four vectors of 16 sums: of one row, or of as many rows as it takes to find them; the last ones may
    be fewer. A quarter of the result has the four words that the quarters of those vectors became.
    """
    octets, together = vector(I8, 64), PACKED // len(rows[0])
    shared = [rows[first : first + together] for first in range(0, len(rows), together)]
    fours = [[sums for row in part for sums in row] for part in shared]
    filled = [four + four[:1] * (PACKED - len(four)) for four in fours]
    packed = [variable(builder, ir.Constant(octets, ir.Undefined)) for _ in fours]

    def emit(pack_four: Callable[[list[Value]], Value]) -> None:
        for four, place in zip(filled, packed, strict=True):
            builder.store(pack_four(four), place)

    is_rectified = builder.icmp_unsigned("==", ceiling, ir.Constant(I64, ZERO))
    is_usual = builder.and_(is_rectified, _is_one_to(builder, shift, 9))
    with builder.if_else(is_usual, likely=True) as (usual, other):
        with usual:
            emit(lambda four: _saturated_and_shifted(builder, four, shift, "packsswb"))
        with other, builder.if_else(_is_one_to(builder, shift, 8)) as (short, long):
            with short:
                emit(lambda four: _saturated_and_shifted(builder, four, shift, "packuswb"))
            with long:
                emit(lambda four: _shifted_and_saturated(builder, four, shift, ceiling))
    return [builder.load(place) for place in packed]


def _is_one_to(builder: Builder, count: Value, most: int) -> Value:
    one = ir.Constant(I64, 1)
    return builder.icmp_unsigned("<", builder.sub(count, one), ir.Constant(I64, most))


def _saturated_and_shifted(builder: Builder, four: list[Value], shift: Value, packing: str) -> Value:
    """Sums saturated to 0..65535 first, so that the shift acts on half as many vectors.

    packing: an instruction that saturates what is shifted; to 127 (packsswb) for shifts of 1 to 9 bits, after which
    65535 is not below that, or to 255 (packuswb) for 1 to 8 bits.
    """
    shorts = vector(I16, 32)
    counts = splat(builder, builder.trunc(shift, I16), 32)
    pairs = [call(builder, "llvm.x86.avx512.packusdw.512", shorts, four[at : at + 2]) for at in (0, 2)]
    shifted = [call(builder, "llvm.x86.avx512.psrlv.w.512", shorts, [pair, counts]) for pair in pairs]
    return call(builder, f"llvm.x86.avx512.{packing}.512", vector(I8, 64), shifted)


def _shifted_and_saturated(builder: Builder, four: list[Value], shift: Value, ceiling: Value) -> Value:
    """For any shift and ceiling."""
    shifted = [_shifted_right(builder, values, shift) for values in four]
    pairs = [
        call(builder, "llvm.x86.avx512.packssdw.512", vector(I16, 32), shifted[at : at + 2]) for at in (0, 2)
    ]
    octets = call(builder, "llvm.x86.avx512.packuswb.512", vector(I8, 64), pairs)
    return least(builder, octets, splat(builder, builder.trunc(ceiling, I8), 64))


def _shifted_right(builder: Builder, sums: Value, count: Value) -> Value:
    """Every lane of a vector shifted right by the same count, the sign kept.

    Named instructions take a vector of counts: those for one count, which LLVM prefers, need the multipliers' ports.
    """
    lanes = sums.type.count
    counts = splat(builder, builder.trunc(count, I32), lanes)
    name = {16: "llvm.x86.avx512.psrav.d.512", 8: "llvm.x86.avx2.psrav.d.256"}.get(lanes)
    return call(builder, name, sums.type, [sums, counts]) if name else builder.ashr(sums, counts)
