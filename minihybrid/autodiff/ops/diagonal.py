"""Ops that know rows from columns: the diagonal of matrices, and what lies below and above it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands
from minihybrid.autodiff.ops.reduce import sum


@op(x=lambda g, x_shape, offset, axis1, axis2: diagonal_embed(g, x_shape, offset, axis1, axis2))
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements [i, i + offset] of the matrices in two axes, as the last axis; the other axes stay in order."""
    return np.diagonal(x, offset, axis1, axis2)


@op(x=lambda g, offset, axis1, axis2: diagonal(g, offset, axis1, axis2))
def diagonal_embed(x: Any, shape: tuple[int, ...], offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Zeros of a shape, with the last axis of x as the diagonal of the matrices in two axes."""
    out = np.zeros_like(x, shape=shape)
    along = np.arange(x.shape[-1], like=x)
    np.moveaxis(out, (axis1, axis2), (-2, -1))[..., along + max(-offset, 0), along + max(offset, 0)] = x
    return out


def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix; or, of a vector, the matrix that has it there and is 0 elsewhere.

    Raises ValueError for other numbers of axes.

    >>> import minihybrid as mh
    >>> mh.diag(mh.tensor([1.0, 2.0])).tolist(), mh.diag(mh.tensor([[1.0, 2.0], [3.0, 4.0]]), 1).tolist()
    ([[1.0, 0.0], [0.0, 2.0]], [2.0])
    """
    (x,) = as_operands("diag", x)
    if x.ndim not in (1, 2):
        raise ValueError(f"diag: x has shape {x.shape}; expected a vector or a matrix.")
    n = x.shape[0] + abs(k)
    return diagonal(x, k) if x.ndim == 2 else diagonal_embed(x, (n, n), k)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of the diagonal of the matrices in two axes.

    >>> import minihybrid as mh
    >>> mh.trace(mh.tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


@op(x=lambda g, k: tril(g, k))
def tril(x: Any, k: int = 0) -> Any:
    """The matrices in the last two axes with 0 above the diagonal, or above the k-th to its right."""
    return np.tril(x, k)


@op(x=lambda g, k: triu(g, k))
def triu(x: Any, k: int = 0) -> Any:
    """The matrices in the last two axes with 0 below the diagonal, or below the k-th to its right."""
    return np.triu(x, k)
