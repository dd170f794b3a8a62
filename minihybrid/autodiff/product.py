"""Sums of products, for the inside of ops: NumPy's on the CPU; on a GPU such that a CUDA graph can hold them.

CuPy hands products to cuBLAS in a way that cannot be captured (kernels/cublas.py), so the array code of ops calls these
functions instead of `@`, `np.dot` and `np.vdot`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import on_cpu
from minihybrid.kernels.cublas import layout
from minihybrid.kernels.gemm import gemm

# x @ y, for arrays as np.matmul takes them
product = fusible(np.matmul)


@product.kernel
def _(x: Any, y: Any) -> Any:
    return multiplied(x, y)


# x @ y, for matrices; written to a third array in C order, if it is given
dot = fusible(np.dot)


@dot.kernel
def _(x: Any, y: Any, out: Any = None) -> Any:
    return multiplied(x, y, out)


# The sum of the products of all elements of two arrays of one shape
sum_of_products = fusible(np.vdot)


@sum_of_products.kernel
def _(x: Any, y: Any) -> Any:
    return np.sum(np.multiply(x, y))


def column_sum(x: Any, out: Any = None) -> Any:
    """The sum over the rows of a matrix; written to `out`, if it is given."""
    if type(x) is np.ndarray or on_cpu(x):
        return np.dot(_ones(x.shape[0], x.dtype), x, out=out)
    if not (kernels.fits(x) and x.flags.c_contiguous):
        return np.sum(x, axis=0, out=out)
    made = np.empty_like(x, shape=x.shape[1:]) if out is None else out
    opaque_call(kernels.column_sum, made, x)
    return made


@lru_cache(maxsize=64)  # making them takes longer than multiplying by them, where there are few
def _ones(n: int, dtype: Any) -> Any:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def multiplied(x: Any, y: Any, out: Any = None, bias: Any = None) -> Any:
    """x @ y + bias on a GPU, as np.matmul shapes it; `out` and `bias` may be left out."""
    elsewhere = on_cpu(y) or (bias is not None and on_cpu(bias))  # which CuPy refuses
    if elsewhere or x.dtype.char not in "fd" or x.dtype != y.dtype or 0 in (x.ndim, y.ndim):
        made = np.matmul(x, y) if bias is None else np.matmul(x, y) + bias
        if out is None:
            return made
        np.copyto(out, made)
        return out
    if y.ndim == 1:
        return multiplied(x, y[:, None])[..., 0]
    if x.ndim == 1:
        return multiplied(x[None], y)[..., 0, :]
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
