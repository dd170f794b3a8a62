"""Ops whose results accumulate along an axis, and the recurrence that gives products exact gradients.

With `axis=None` they run over all elements in row-major order, as NumPy's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands, require_axis
from minihybrid.autodiff.ops.compare import not_equal
from minihybrid.autodiff.ops.index import getitem, index_add
from minihybrid.autodiff.ops.join import concatenate
from minihybrid.autodiff.ops.shape import broadcast_to, flip, ravel
from minihybrid.autodiff.tensor import Tensor
from minihybrid.device import on_cpu


@op(
    a=lambda g, out, a, axis, reverse: recurrence(a, g, axis, 0.0, not reverse) * out,
    b=lambda g, a, axis, reverse: recurrence(a, g, axis, 0.0, not reverse),
)
def recurrence(a: Any, b: Any, axis: int = -1, start: float = 0.0, reverse: bool = False) -> Any:
    """z[0] = start, z[i + 1] = a[i] * z[i] + b[i] along an axis, as many as a has; in reverse from its end.

    b has the shape of a, or is a number. What steps backwards through such a recurrence is another one: the cotangents
    of z[i + 1] are a recurrence of a and g in reverse.
    """
    out = a + b  # for its shape and dtype
    steps = range(out.shape[axis])
    a, z, state = np.moveaxis(a, axis, 0), np.moveaxis(out, axis, 0), start
    b = np.moveaxis(b, axis, 0) if hasattr(b, "shape") else [b] * len(steps)
    for i in reversed(steps) if reverse else steps:
        z[i] = state
        state = a[i] * state + b[i]
    return out


def products_before(x: Any, axis: int, reverse: bool = False) -> Any:
    """The product of all elements that come before each one, or after it; no division, so zeros do no harm."""
    return recurrence(x, 0.0, axis, 1.0, reverse)


def _line(x: Any, axis: int | None) -> tuple[Any, int]:
    return (ravel(x), 0) if axis is None or x.ndim == 0 else (x, axis)


@op(x=lambda g, axis: flip(cumsum(flip(g, axis), axis), axis))
def _cumsum(x: Any, axis: int) -> Any:
    return np.cumsum(x, axis)


def cumsum(x: Any, axis: int | None = None) -> Any:
    """The sum of each element and those before it."""
    return _cumsum(*_line(x, axis))


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The difference of each element and the one before it along an axis, taken n times.

    `prepend` and `append` are joined to x first: tensors of its number of axes, or numbers.

    >>> import minihybrid as mh
    >>> mh.diff(mh.tensor([1.0, 4.0, 9.0])).tolist(), mh.diff(mh.tensor([1.0, 4.0, 9.0]), n=2).tolist()
    ([3.0, 5.0], [2.0])
    """
    (x,) = as_operands("diff", x)
    axis = require_axis("diff", axis, x)
    if n < 0:
        raise ValueError(f"diff: n is {n}; expected a number of times, 0 or more.")
    if n == 0:
        return x
    edge = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    parts = as_operands("diff", *(part for part in (prepend, x, append) if part is not None))
    if len(parts) > 1:
        x = concatenate([broadcast_to(part, edge) if part.ndim == 0 else part for part in parts], axis)
    for _ in range(n):
        later, earlier = (getitem(x, (*(slice(None),) * axis, part)) for part in (slice(1, None), slice(None, -1)))
        x = not_equal(later, earlier) if x.dtype.kind == "b" else later - earlier
    return x


@op(x=lambda g, x, axis: products_before(x, axis) * (g + recurrence(x, g * x, axis, 0.0, True)))
def _cumprod(x: Any, axis: int) -> Any:
    return np.cumprod(x, axis)


def cumprod(x: Any, axis: int | None = None) -> Any:
    """The product of each element and those before it; zeros have exact gradients."""
    return _cumprod(*_line(x, axis))


def _holders(x: Any, out: Any, axis: int) -> tuple[Any, ...]:
    """The index into x of the element that each cumulative extreme came from: of equal ones the last."""
    x, out = (v.array if isinstance(v, Tensor) else v for v in (x, out))
    index = [np.arange(n, like=x).reshape(-1, *(1 for _ in x.shape[i + 1 :])) for i, n in enumerate(x.shape)]
    index[axis] = _accumulated(np.maximum, np.where(x == out, index[axis], 0), axis)
    return tuple(index)


def _accumulated(extreme: Any, x: Any, axis: int) -> Any:
    """`extreme.accumulate`; CuPy has none, so there each element meets those 1, 2, 4, ... places before it."""
    if on_cpu(x):
        return extreme.accumulate(x, axis)
    out = x.copy()
    along, far = np.moveaxis(out, axis, 0), 1
    while far < x.shape[axis]:
        along[far:] = extreme(along[far:], along[:-far])
        far *= 2
    return out


@op(x=lambda g, out, x, axis: index_add(g, _holders(x, out, axis), x.shape))
def _cummax(x: Any, axis: int) -> Any:
    return _accumulated(np.maximum, x, axis)


def cummax(x: Any, axis: int | None = None) -> Any:
    """The largest of each element and those before it; of equal ones the last has the gradient."""
    return _cummax(*_line(x, axis))


@op(x=lambda g, out, x, axis: index_add(g, _holders(x, out, axis), x.shape))
def _cummin(x: Any, axis: int) -> Any:
    return _accumulated(np.minimum, x, axis)


def cummin(x: Any, axis: int | None = None) -> Any:
    """The smallest of each element and those before it; of equal ones the last has the gradient."""
    return _cummin(*_line(x, axis))
