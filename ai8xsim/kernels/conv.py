"""Convolutions: activations and weights in, accumulators out.

Weights are packed once and used often. Accumulators have the full width and include the bias; `requantize`
reduces them to activations.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai8xsim.kernels import accumulate
from ai8xsim.kernels.geometry import ConvolutionGeometry, Pair

IntegerArray = NDArray[Any]


class PackedWeight(NamedTuple):
    """The weight of a convolution in the order in which `convolve` reads it; made by `pack`."""

    data: NDArray[np.int8]  # (out, rows * columns * in), depthwise (rows * columns, channels)
    in_channels: int
    kernel_size: Pair
    groups: int
    depthwise: bool


def pack(weight_oihw: ArrayLike, geometry: ConvolutionGeometry) -> PackedWeight:
    """The weight of a convolution, (out, in / groups, rows, columns), as `convolve` wants it.

    Raises ValueError for values outside int8 or shapes that contradict the geometry.
    """
    weight = _int8(weight_oihw)
    outputs, inputs, rows, columns = weight.shape
    groups = geometry.groups
    if (rows, columns) != tuple(geometry.kernel_size) or outputs % groups:
        raise ValueError(f"a weight of {weight.shape} does not fit {geometry}")
    depthwise = groups > 1 and groups == outputs and inputs == 1
    order = (2, 3, 1, 0) if depthwise else (0, 2, 3, 1)
    flat = np.ascontiguousarray(weight.transpose(order)).reshape((rows * columns, -1) if depthwise else (outputs, -1))
    return PackedWeight(flat, inputs * groups, (rows, columns), groups, depthwise)


def convolve(
    x_nhwc: IntegerArray, packed: PackedWeight, bias: ArrayLike | None, geometry: ConvolutionGeometry
) -> IntegerArray:
    """Accumulators of a convolution, bias included.

    x_nhwc: (samples, rows, columns, in), int8, or int64 for wide data.   bias: one int8 per output, or None;
    128 times the bias is added.   Returns (samples, rows, columns, out), int32, or int64 for wide data.
    Raises ValueError for shapes that contradict each other.
    Source: README "Saturation and Clipping" (full resolution for products and sums).
    """
    if x_nhwc.shape[2] == 1 and geometry.kernel_size[1] == 1 and geometry.padding[1] == 0:
        return _convolve_column(x_nhwc, packed, bias, geometry)
    if FEW and x_nhwc.dtype==np.int8 and geometry.groups==1 and packed.data.shape[1] <= FEW:
        return _planes(x_nhwc, packed, bias, geometry)
    padded = _pad(x_nhwc, geometry.padding, geometry.padding)
    return _accumulate(padded, packed, bias, geometry, geometry.output_size(x_nhwc.shape[1:3]), (0, 0))

FEW=64
def _planes(x_nhwc, packed, bias, geometry):
    (kh,kw),(ph,pw),(sh,sw),(dh,dw),g = geometry[:5]
    n,h,w,c=x_nhwc.shape
    H,W=h+2*ph,w+2*pw
    planes=np.zeros((n,c,H,W),np.int8)
    planes[:,:,ph:ph+h,pw:pw+w]=x_nhwc.transpose(0,3,1,2)
    oh,ow=geometry.output_size((h,w))
    count=packed.data.shape[0]
    typ=np.int32
    b = np.zeros(count, typ) if bias is None else np.asarray(bias).astype(typ)*typ(128)
    acc = np.empty((n, oh,ow, count), typ)
    walk=accumulate.Walk(oh,ow,0,c*H*W,sh*W,sw,kh,kw,dh*W,dw,c,H*W,1)
    accumulate.by_planes(planes.reshape(-1), packed.data, b, walk, acc.reshape(-1,count))
    return acc

def _convolve_column(x_nhwc, packed, bias, geometry):
    n, rows, _, channels = x_nhwc.shape
    g = ConvolutionGeometry(*(p[::-1] if isinstance(p, tuple) else p for p in geometry))
    pk = packed._replace(kernel_size=packed.kernel_size[::-1])
    padded = _pad(x_nhwc.reshape(n,1,rows,channels), g.padding, g.padding)
    acc = _accumulate(padded, pk, bias, g, g.output_size((1,rows)), (0, 0))
    return acc.reshape(n, acc.shape[2], 1, acc.shape[3])


def _accumulate(padded, packed, bias, geometry, outputs, origin):
    n,h,w,c = padded.shape
    wide = padded.dtype == np.int64
    count = packed.data.shape[1 if packed.depthwise else 0]
    typ = np.int64 if wide else np.int32
    b = np.zeros(count, typ) if bias is None else np.asarray(bias).astype(typ)*typ(128)
    acc = np.empty((n, *outputs, count), typ)
    (kh,kw),_,(sh,sw),(dh,dw),g = geometry[:5]
    per=c//g
    merged = g==1 and dw==1
    walk = accumulate.Walk(outputs[0], outputs[1], (origin[0]*w+origin[1])*c, h*w*c, sh*w*c, sw*c, kh, 1 if merged else kw, dh*w*c, dw*c, kw*c if merged else per, 1, g)
    if packed.depthwise:
        accumulate.by_channels(padded.reshape(-1), packed.data, b, walk, acc.reshape(-1,count))
    else:
        accumulate.by_dot_products(padded.reshape(-1), packed.data, b, walk, acc.reshape(-1,count))
    return acc

def _pad(x, before, after):
    if not any(before) and not any(after):
        return np.ascontiguousarray(x)
    n,h,w,c=x.shape
    padded=np.zeros((n,h+before[0]+after[0],w+before[1]+after[1],c),x.dtype)
    padded[:, before[0]:before[0]+h, before[1]:before[1]+w]=x
    return padded

def _int8(values: ArrayLike) -> NDArray[np.int8]:
    array = np.asarray(values)
    if array.size and not -128 <= int(array.min()) <= int(array.max()) <= 127:
        raise ValueError("weights outside int8")
    return array.astype(np.int8)

def pack_transposed(weight_iohw: ArrayLike, geometry: ConvolutionGeometry) -> PackedWeight:
    """The weight of a transposed convolution, (in, out / groups, rows, columns)."""
    return PackedWeight(np.asarray(weight_iohw).astype(np.int64),0,(0,0),1,False)


def convolve_transposed(
    x_nhwc: IntegerArray, packed: PackedWeight, bias: ArrayLike | None, geometry: ConvolutionGeometry
) -> IntegerArray:
    """Accumulators of a transposed convolution, bias included."""
    (kh, kw), (ph, pw), (sh, sw), (dh, dw) = geometry[:4]
    n, h, w, c = x_nhwc.shape
    oh, ow = geometry.transposed_output_size((h, w))
    g = geometry.groups
    per = packed.data.shape[1]
    x = x_nhwc.astype(np.int64)
    full = np.zeros((n, oh + 2 * ph, ow + 2 * pw, per * g), np.int64)
    for i in range(kh):
        for j in range(kw):
            part = full[:, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw]
            for q in range(g):
                c0, c1 = q * c // g, (q + 1) * c // g
                part[..., q * per : (q + 1) * per] += x[..., c0:c1] @ packed.data[c0:c1, :, i, j]
    acc = full[:, ph : ph + oh, pw : pw + ow]
    if bias is not None:
        acc = acc + np.asarray(bias, np.int64) * 128
    return acc if x_nhwc.dtype == np.int64 else acc.astype(np.int32)
