"""Products of vectors, of matrices, and of arrays with more axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands, require_axis
from minihybrid.autodiff.ops.elementwise import multiply
from minihybrid.autodiff.ops.shape import expand_dims, moveaxis, ravel, reshape, swapaxes, transpose
from minihybrid.autodiff.product import column_sum, dot as array_dot, multiplied, product
from minihybrid.device import on_cpu


def _as_matrices(g: Any, x_is_vector: bool, y_is_vector: bool) -> Any:
    """The cotangent of a product with the axes that it would have if vector operands were matrices."""
    if y_is_vector:
        g = expand_dims(g, -1)
    return expand_dims(g, -2) if x_is_vector else g


def _matmul_x(g: Any, x_shape: tuple[int, ...], y: Any) -> Any:
    g = _as_matrices(g, len(x_shape) == 1, y.ndim == 1)
    return matmul(g, expand_dims(y, 0) if y.ndim == 1 else swapaxes(y, -1, -2))


def _matmul_y(g: Any, x: Any, y_shape: tuple[int, ...]) -> Any:
    g = _as_matrices(g, x.ndim == 1, len(y_shape) == 1)
    if x.ndim > 2 and len(y_shape) <= 2:  # one product over all rows, where a stack of them would have to be summed
        made = matmul(swapaxes(_rows(x), 0, 1), _rows(g))
        return made[:, 0] if len(y_shape) == 1 else made
    made = matmul(expand_dims(x, -1) if x.ndim == 1 else swapaxes(x, -1, -2), g)
    return made[..., 0] if len(y_shape) == 1 else made


@op(x=_matmul_x, y=_matmul_y)
def matmul(x: Any, y: Any) -> Any:
    """The matrix product: [..., n, k] @ [..., k, m]; vectors count as a row on the left and a column on the right."""
    return product(x, y)


def _rows(x: Any) -> Any:
    """All leading axes as one."""
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


@op(
    x=lambda g, w: matmul(g, swapaxes(w, -1, -2)),
    w=lambda g, x: matmul(swapaxes(_rows(x), -1, -2), _rows(g)),
    b=lambda g: g,
    composition=lambda x, w, b=None: x @ w if b is None else x @ w + b,
)
def linear(x: Any, w: Any, b: Any = None) -> Any:
    """x @ w + b in one op: x [..., in], w [in, out], b [out] or None."""
    if w.ndim != 2 or x.ndim == 0 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"x {x.shape} and w {w.shape} do not fit: w is [in, out], and the last axis of x must be in")
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(f"b {b.shape} does not fit w {w.shape}: w is [in, out], and b must be [out]")
    if type(x) is np.ndarray or on_cpu(x):
        out = np.dot(_rows(x), w)
        if b is not None:
            out += b
    else:
        out = multiplied(_rows(x), w, bias=b)
    return out if x.ndim == 2 else out.reshape((*x.shape[:-1], w.shape[1]))


def _linear_x(g: Any, w: Any) -> Any:
    out = (np.dot if type(g) is np.ndarray else array_dot)(_rows(g), w.T)
    return out if g.ndim == 2 else out.reshape((*g.shape[:-1], w.shape[0]))


def _linear_w(g: Any, x: Any, into: Any = None) -> Any:
    return (np.dot if type(x) is np.ndarray else array_dot)(_rows(x).T, _rows(g), into)


def _linear_b(g: Any, into: Any = None) -> Any:
    return column_sum(_rows(g), into)


linear.fast(x=_linear_x, w=_linear_w, b=_linear_b)


def dot(x: Any, y: Any) -> Any:
    """NumPy's dot: x * y for numbers, else a sum over the last axis of x and the second-to-last (or only) one of y.

    With x [..., k] and y [k] it is [...]; with y [*rest, k, m] it is [..., *rest, m], where `matmul` would match the
    leading axes. Raises ValueError for lengths that differ.

    >>> import minihybrid as mh
    >>> mh.dot(mh.tensor([1.0, 2.0]), mh.tensor([3.0, 4.0])).item()
    11.0
    """
    x, y = as_operands("dot", x, y)
    if x.ndim == 0 or y.ndim == 0:
        return multiply(x, y)
    _require_equal("dot", x, y, [-1], [-1 if y.ndim == 1 else -2])
    return matmul(x, y) if y.ndim <= 2 else tensordot(x, y, (-1, -2))


def vdot(x: Any, y: Any) -> Any:
    """The sum of the products of all elements, of arrays of equal size and any shapes; real numbers only.

    >>> import minihybrid as mh
    >>> mh.vdot(mh.tensor([[1.0, 2.0]]), mh.tensor([3.0, 4.0])).item()
    11.0
    """
    x, y = as_operands("vdot", x, y)
    if "c" in (x.dtype.kind, y.dtype.kind):
        raise TypeError(f"vdot: x is {x.dtype} and y {y.dtype}; expected real numbers.")
    x, y = ravel(x), ravel(y)
    _require_equal("vdot", x, y, [0], [0])
    return matmul(x, y)


def inner(x: Any, y: Any) -> Any:
    """A sum over the last axes of both: x [..., k], y [*rest, k] -> [..., *rest]; numbers are multiplied.

    >>> import minihybrid as mh
    >>> mh.inner(mh.tensor([[1.0, 2.0], [0.0, 1.0]]), mh.tensor([3.0, 4.0])).tolist()
    [11.0, 4.0]
    """
    x, y = as_operands("inner", x, y)
    if x.ndim == 0 or y.ndim == 0:
        return multiply(x, y)
    _require_equal("inner", x, y, [-1], [-1])
    return tensordot(x, y, (-1, -1))


def outer(x: Any, y: Any) -> Any:
    """All products of an element of x with an element of y: [x.size, y.size].

    >>> import minihybrid as mh
    >>> mh.outer(mh.tensor([1.0, 2.0]), mh.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    x, y = as_operands("outer", x, y)
    return multiply(expand_dims(ravel(x), 1), ravel(y))


def kron(x: Any, y: Any) -> Any:
    """The Kronecker product: blocks, each an element of x times the whole of y; its axes are as long as both together.

    >>> import minihybrid as mh
    >>> mh.kron(mh.tensor([1.0, 10.0]), mh.tensor([2.0, 3.0])).tolist()
    [2.0, 3.0, 20.0, 30.0]
    """
    x, y = as_operands("kron", x, y)
    axes = max(x.ndim, y.ndim)
    of_x, of_y = ((1,) * (axes - z.ndim) + z.shape for z in (x, y))
    blocks = multiply(reshape(x, [n for m in of_x for n in (m, 1)]), reshape(y, [n for m in of_y for n in (1, m)]))
    return reshape(blocks, [m * n for m, n in zip(of_x, of_y, strict=True)])


def cross(x: Any, y: Any, axis: int = -1) -> Any:
    """The cross product of vectors of three elements, which lie along an axis; the other axes broadcast.

    Raises ValueError for other lengths.

    >>> import minihybrid as mh
    >>> mh.cross(mh.tensor([1.0, 0.0, 0.0]), mh.tensor([0.0, 1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    x, y = as_operands("cross", x, y)
    along = require_axis("cross", axis, x), require_axis("cross", axis, y)
    if x.shape[along[0]] != 3 or y.shape[along[1]] != 3:
        raise ValueError(f"cross: x has shape {x.shape}, y {y.shape}; expected 3 elements along axis {axis} of both.")
    x, y = (moveaxis(z, a, -1) for z, a in zip((x, y), along, strict=True))
    after, before = [1, 2, 0], [2, 0, 1]
    return moveaxis(x[..., after] * y[..., before] - x[..., before] * y[..., after], -1, axis)


def tensordot(x: Any, y: Any, axes: int | tuple[int | Sequence[int], int | Sequence[int]] = 2) -> Any:
    """A sum over pairs of axes, what is left of x before what is left of y.

    `axes` is how many last axes of x meet the first axes of y, or a pair: the axes of x, and those of y that they meet.
    Raises ValueError for axes that do not exist or whose lengths differ.

    >>> import minihybrid as mh
    >>> x, y = mh.tensor([[1.0, 2.0], [3.0, 4.0]]), mh.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> mh.tensordot(x, y).item(), mh.tensordot(x, y, axes=(0, 1)).tolist()
    (9.0, [[1.0, 6.0], [2.0, 8.0]])
    """
    x, y = as_operands("tensordot", x, y)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ValueError(f"tensordot: x has shape {x.shape}, y {y.shape}; they do not both have {axes} axes.")
        pair: Any = (range(x.ndim - axes, x.ndim), range(axes))
    else:
        pair = axes
    of_x, of_y = ([given] if isinstance(given, int) else [int(axis) for axis in given] for given in pair)
    _require_equal("tensordot", x, y, of_x, of_y)
    of_x, of_y = [axis % x.ndim for axis in of_x], [axis % y.ndim for axis in of_y]
    left = [axis for axis in range(x.ndim) if axis not in of_x]
    right = [axis for axis in range(y.ndim) if axis not in of_y]
    rows, columns = [x.shape[axis] for axis in left], [y.shape[axis] for axis in right]
    summed = math.prod(x.shape[axis] for axis in of_x)
    x = reshape(transpose(x, (*left, *of_x)), (math.prod(rows), summed))
    y = reshape(transpose(y, (*of_y, *right)), (summed, math.prod(columns)))
    return reshape(matmul(x, y), (*rows, *columns))


def _require_equal(op: str, x: Any, y: Any, of_x: Sequence[int], of_y: Sequence[int]) -> None:
    """Axes of x and y that are summed together exist and have equal lengths."""
    shapes = f"x has shape {x.shape}, y {y.shape}"
    if len(of_x) != len(of_y):
        raise ValueError(f"{op}: {shapes}, and {len(of_x)} axes of x meet {len(of_y)} of y; name one for each.")
    for name, array, axes in (("x", x, of_x), ("y", y, of_y)):
        for axis in axes:
            if not -array.ndim <= axis < array.ndim:
                raise ValueError(
                    f"{op}: {shapes}; there is no axis {axis} of {name}. Axes count from 0, or from -1 back."
                )
        if len({axis % array.ndim for axis in axes}) < len(axes):
            raise ValueError(f"{op}: {shapes}; an axis of {name} is named twice in {list(axes)}.")
    for i, j in zip(of_x, of_y, strict=True):
        if x.shape[i] != y.shape[j]:
            raise ValueError(
                f"{op}: {shapes}; axis {i} of x (length {x.shape[i]}) and axis {j} of y (length {y.shape[j]}) are "
                "summed together and must be equally long."
            )
