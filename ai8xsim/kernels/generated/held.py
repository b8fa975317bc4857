"""How memory holds activations: a as 127 - a, from 0, which stands for 127, to 255, which stands for -128.

Without a sign, since vpdpbusd multiplies unsigned activations with signed weights; and counted down, since all that
results are limited to then comes with the instructions that pack sums into bytes: these keep what is below 0, which is
an activation above 127, at 0; signed ones keep what is above 127, which ReLU makes 0, at 127; and unsigned ones what is
above 255 at 255.

For u = 127 - a the products of a pixel add up to sum(u * w) = 127 * sum(w) - sum(a * w). So a result of

    a = floor((sum(a * w) + bias) / 2**shift + 1/2)         is held as

    u = floor((sum(u * w) + start) / 2**shift)     with     start = 128 * 2**shift - 1 - half - 127 * sum(w) - bias

where half = 2**(shift - 1), or 0 where nothing is shifted: rounded half up becomes rounded half down, and that is
floor after adding a little less than a half.
"""

ZERO = 127
MOST = 255
