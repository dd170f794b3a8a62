"""Products of arrays, for the inside of ops: NumPy's on the CPU, ours on a GPU, where a CUDA graph has to hold them.

CuPy hands products to cuBLAS in a way that cannot be captured (kernels/cublas.py), so the array code of ops calls these
functions instead of `@`, `np.dot` and `np.vdot`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import on_cpu
from minihybrid.kernels.cublas import layout
from minihybrid.kernels.gemm import gemm


def dot(x: Any, y: Any, out: Any = None) -> Any:
    """x @ y, for matrices; written to `out`, which is in C order, if it is given."""
    return np.dot(x, y, out=out) if type(x) is np.ndarray or on_cpu(x) else _on_gpu(x, y, out)


def affine(x: Any, w: Any, b: Any = None) -> Any:
    """x @ w + b, for matrices x and w and a vector b, which may be left out."""
    if not (type(x) is np.ndarray or on_cpu(x)):
        return _on_gpu(x, w, bias=b)
    out = np.dot(x, w)
    if b is not None:
        out += b
    return out


def product(x: Any, y: Any) -> Any:
    """x @ y, for arrays as np.matmul takes them."""
    return x @ y if type(x) is np.ndarray or on_cpu(x) else _on_gpu(x, y)


def sum_of_products(x: Any, y: Any) -> Any:
    """The sum of the products of all elements of two arrays of one shape, as np.vdot gives it."""
    return np.vdot(x, y) if type(x) is np.ndarray or on_cpu(x) else np.sum(np.multiply(x, y))


def _on_gpu(x: Any, y: Any, out: Any = None, bias: Any = None) -> Any:
    if x.dtype.char not in "fd" or x.dtype != y.dtype or 0 in (x.ndim, y.ndim):
        return np.matmul(x, y) if bias is None else np.matmul(x, y) + bias
    if y.ndim == 1:
        return _on_gpu(x, y[:, None])[..., 0]
    if x.ndim == 1:
        return _on_gpu(x[None], y)[..., 0, :]
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"mismatch in its core dimension: x is {x.shape}, y {y.shape}")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if out is None:
        out = np.empty_like(x, shape=(*batch, x.shape[-2], y.shape[-1]), order="C")
    operands = _readable(x, batch), _readable(y, batch)
    opaque_call(gemm, out, *operands, *([] if bias is None else [bias]))
    return out


def _readable(x: Any, batch: tuple[int, ...]) -> Any:
    """A stack of matrices repeated over these leading axes, or a copy of it, that cuBLAS can step through."""
    if x.shape[:-2] != batch:
        x = np.broadcast_to(x, (*batch, *x.shape[-2:]))
    return x.copy() if layout(x) is None else x
