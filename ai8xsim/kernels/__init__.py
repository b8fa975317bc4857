"""How the chip computes: integers in, integers out, batched, channels last.

`reference` is the slow twin in plain Python integers, the other modules are compiled by Numba. Accumulating
(`conv`, `eltwise`) is apart from rounding (`requantize`, the only door). This file imports nothing, so that
`reference` and `geometry` load without Numba.
"""
