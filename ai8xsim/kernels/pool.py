"""Pooling: activations in, activations out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai8xsim.kernels.geometry import PoolGeometry


def pool(x_nhwc: NDArray[Any], kind: str, geometry: PoolGeometry, rounding: bool = False) -> NDArray[Any]:
    """Pooled data, same type as x: kind "max", "average" or "none" (subsampling)."""
    if not geometry.fits(x_nhwc.shape[1:3]):
        raise ValueError(f"a pooling window of {geometry} reads outside of {x_nhwc.shape}")
    (kh, kw), (sh, sw), (dh, dw) = geometry
    oh, ow = geometry.output_size(x_nhwc.shape[1:3])
    taps = [
        x_nhwc[:, i * dh : i * dh + (oh - 1) * sh + 1 : sh, j * dw : j * dw + (ow - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    if kind == "none":
        return taps[0].copy()
    if kind == "max":
        return np.max(np.stack(taps), axis=0)
    total = np.sum(np.stack(taps).astype(np.int64), axis=0)
    n = kh * kw
    magnitude = (2 * np.abs(total) + n) // (2 * n) if rounding else np.abs(total) // n
    return (np.sign(total) * magnitude).astype(x_nhwc.dtype)
