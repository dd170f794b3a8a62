"""Matrix products by a kernel of our own, which a CUDA graph can hold, and column sums."""

from __future__ import annotations

from typing import Any

from minihybrid.kernels.activation import ACTIVATIONS
from minihybrid.kernels.launch import launch

TILE = 16


def matmul(out: Any, a: Any, b: Any, bias: Any = None, activation: str = "none") -> None:
    """out = activation(a @ b + bias): a [n, k], b [k, m], out [n, m] contiguous, bias [m] contiguous or None.

    n is at most a million. a and b may be transposed views. The twin is `np.dot(a, b) + bias`, and the op of the
    activation's name.
    """
    (rows, depth), columns, size = a.shape, b.shape[1], a.itemsize
    if out.size:
        strides = [stride // size for array in (a, b) for stride in array.strides]
        grid = -(-columns // TILE), -(-rows // TILE)
        numbers = rows, columns, depth, *strides, ACTIVATIONS[activation]
        launch("matmul.cu", "matmul", out.dtype, grid, (TILE * TILE,), out, a, b, bias, *numbers)


def column_sum(out: Any, x: Any) -> None:
    """out [m] = x [n, m].sum(axis=0), the gradient of a bias."""
    if out.size:
        launch("matmul.cu", "column_sum", out.dtype, (-(-out.size // 32),), (32, 32), out, x, *x.shape)
