"""Ops that reduce axes. `axis` is an axis, a tuple of them, or None for all; `keepdims` leaves them with length 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.ops.compare import isfinite
from minihybrid.autodiff.ops.cumulative import products_before
from minihybrid.autodiff.ops.elementwise import absolute, divisor, exp, power, sign, where
from minihybrid.autodiff.ops.shape import broadcast_to, moveaxis, reshape, squeeze
from minihybrid.autodiff.tensor import Tensor


def reduced(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The axes that `axis` names in an array of some shape, counted from 0."""
    named = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % len(shape) for a in named) if shape else ()


def spread(reduction: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """A reduced array repeated over the axes that the reduction took away."""
    if axis is None:
        return broadcast_to(reduction, shape)
    axes = reduced(shape, axis)
    return broadcast_to(reshape(reduction, tuple(1 if i in axes else n for i, n in enumerate(shape))), shape)


def count(g: Any, shape: tuple[int, ...]) -> int:
    """How many elements went into each element of the reduction."""
    elements, results = math.prod(shape), g.size
    return elements // results if elements and results else 1


def peak(x: Any, axis: Any) -> Any:
    """The largest element, by which exponents are shifted; where there are none, anything of its shape."""
    return x.max(axis=axis, keepdims=True) if x.size else x.sum(axis=axis, keepdims=True)


# Sums and products


@op(x=lambda g, x_shape, axis: spread(g, x_shape, axis))
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum of the elements."""
    return x.sum(axis=axis, keepdims=keepdims)


@op(x=lambda g, x_shape, axis: spread(g / count(g, x_shape), x_shape, axis))
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean of the elements."""
    return x.mean(axis=axis, keepdims=keepdims)


def _product_of_others(x: Any, axis: Any) -> Any:
    """For each element, the product of the others that it is reduced with."""
    axes = reduced(x.shape, axis)
    kept = len(x.shape) - len(axes)
    last = tuple(range(kept, len(x.shape)))
    rows = moveaxis(x, axes, last)
    line = reshape(rows, (*rows.shape[:kept], math.prod(rows.shape[kept:])))
    others = products_before(line, -1) * products_before(line, -1, reverse=True)
    return moveaxis(reshape(others, rows.shape), last, axes)


@op(x=lambda g, x, axis: spread(g, x.shape, axis) * _product_of_others(x, axis))
def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product of the elements; any number of zeros among them have exact gradients."""
    return x.prod(axis=axis, keepdims=keepdims)


def _share_of_exp(x: Any, out: Any, axis: Any) -> Any:
    """Each exponential's part of their sum, all shifted by out, the sum's logarithm; 0 if the sum is."""
    shift = spread(where(isfinite(out), out, 0), x.shape, axis)
    part = exp(x - shift)
    return part / divisor(sum(part, axis, keepdims=True))


@op(x=lambda g, out, x, axis: spread(g, x.shape, axis) * _share_of_exp(x, out, axis))
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))), which overflows nowhere; of no elements, and of -inf alone, it is -inf with gradient 0."""
    top = np.nan_to_num(peak(x, axis), nan=np.nan)  # if it is -inf, x - top must be no NaN
    total = np.exp(x - top).sum(axis=axis, keepdims=True)
    out = np.where(total == 0, -np.inf, np.log(divisor(total)) + top)
    return out if keepdims else out.squeeze(reduced(x.shape, axis))


# Variance


def _apart(g: Any, x: Any, axis: Any, ddof: float) -> Any:
    """The gradient of half the variance: the distances from the mean, over n - ddof."""
    n = count(g, x.shape) - ddof
    return spread(g / (n if n > 0 else math.nan), x.shape, axis) * (x - mean(x, axis, keepdims=True))


@op(x=lambda g, x, axis, ddof: _apart(g * 2, x, axis, ddof))
def var(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """The variance: the sum of squared distances from the mean, over n - ddof."""
    return x.var(axis=axis, ddof=ddof, keepdims=keepdims)


@op(x=lambda g, out, x, axis, ddof: _apart(g / divisor(out), x, axis, ddof))
def std(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation, the square root of the variance; where it is 0, so is the gradient."""
    return x.std(axis=axis, ddof=ddof, keepdims=keepdims)


# Extremes


def _share(g: Any, out: Any, x: Any, axis: Any) -> Any:
    """Cotangents for the elements that attain an extreme: ties share them evenly."""
    attained = (x == spread(out, x.shape, axis)).astype(g.dtype)
    return spread(g / divisor(sum(attained, axis).reshape(g.shape)), x.shape, axis) * attained


@op(x=_share)
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element; where several are largest, the gradient is split evenly."""
    return x.max(axis=axis, keepdims=keepdims)


@op(x=_share)
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element; where several are smallest, the gradient is split evenly."""
    return x.min(axis=axis, keepdims=keepdims)


amax, amin = max, min


@op()
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first largest element; no gradient."""
    return np.argmax(x, axis=axis, keepdims=keepdims)


@op()
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the first smallest element; no gradient."""
    return np.argmin(x, axis=axis, keepdims=keepdims)


# Norms


def _p_norm_x(g: Any, out: Any, x: Any, ord: float, axis: Any) -> Any:
    if ord == 2:
        return spread(g / divisor(out), x.shape, axis) * x
    size = divisor(absolute(x)) / spread(divisor(out), x.shape, axis)
    return spread(g, x.shape, axis) * sign(x) * power(size, ord - 1)


@op(x=_p_norm_x)
def p_norm(x: Any, ord: float = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum of |x| ** ord to the power of 1 / ord; elements that are 0 have gradient 0."""
    if ord == 2:
        return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
    # Not `**`: a sum to one number is no array, and what NumPy does with such a number gives other bits than a plan.
    return np.power(np.power(np.absolute(x), ord).sum(axis=axis, keepdims=keepdims), 1 / ord)


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """The norm of all elements along some axes, seen as one vector: of order 0, 1, 2, inf, -inf or any other p.

    Order 0 counts what is not 0. The gradient at 0 is 0, and equal extremes (orders inf, -inf) share it evenly.

    >>> import minihybrid as mh
    >>> mh.vector_norm(mh.tensor([[3.0, 4.0], [0.0, -2.0]]), axis=1, ord=1).tolist()
    [7.0, 2.0]
    """
    out: Any
    if x.dtype.kind in "biu":
        x = x * 1.0
    if ord in (math.inf, -math.inf):
        out = (max if ord > 0 else min)(absolute(x), axis, keepdims)
    elif ord in (0, 1):
        out = sum(absolute(x if ord else sign(x)), axis, keepdims)
    else:
        out = p_norm(x, ord, axis, keepdims)
    return out  # type: ignore[no-any-return]


def norm(x: Any, ord: float | str | None = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """np.linalg.norm: without `ord` the root of the sum of squares, over all axes or those named.

    With `ord`, over one axis a vector norm (see `vector_norm`), over two axes a matrix norm: "fro" (Frobenius), 1 and
    -1 (largest and smallest sum of a column), inf and -inf (of a row). Raises ValueError for other matrix norms, which
    need singular values, and if it is not clear whether a vector or a matrix is meant.

    >>> import minihybrid as mh
    >>> x = mh.tensor([[3.0, 4.0], [0.0, -2.0]])
    >>> mh.norm(x, axis=0).tolist()[0], mh.norm(x, 1).item()
    (3.0, 6.0)
    """
    axes = reduced(x.shape, axis)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return vector_norm(x, axis, keepdims)
    if len(axes) == 1 and not isinstance(ord, str):
        return vector_norm(x, axis, keepdims, ord)
    if len(axes) != 2 or ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(
            f"norm: ord={ord!r} over {len(axes)} axes of shape {x.shape}; expected a number over one axis, or 'fro', "
            "1, -1, inf or -inf over two. For the norm of all elements see vector_norm."
        )
    rows, columns = axes
    summed, compared = (rows, columns) if ord in (1, -1) else (columns, rows)
    out: Any = (max if ord > 0 else min)(sum(absolute(x), summed, keepdims=True), compared, keepdims=True)
    return out if keepdims else squeeze(out, axes)


# Counts and truth


@op()
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are not 0; no gradient."""
    return (x != 0).sum(axis=axis, keepdims=keepdims)


@op()
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether any element is true; no gradient."""
    return x.any(axis=axis, keepdims=keepdims)


@op()
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements are true; no gradient."""
    return x.all(axis=axis, keepdims=keepdims)
