"""How the chip computes: integers in, integers out, batched, channels last.

Three roads: `reference` is the slow twin in plain Python integers; the modules beside it are portable, compiled by
Numba from plain loops; `generated` emits micro-kernels for the processor. Accumulating (`conv`, `eltwise`) is apart
from rounding: `requantize` is the only door, but for the end of a micro-kernel. This file imports nothing, so that
`reference` and `geometry` load without Numba.
"""
