"""Ops that solve or factor square matrices [..., n, n], each matrix of a stack by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.ops.diagonal import tril
from minihybrid.autodiff.ops.reduce import sum
from minihybrid.autodiff.ops.shape import expand_dims, swapaxes
from minihybrid.autodiff.tensor import Tensor


def _mT(x: Any) -> Any:
    return swapaxes(x, -1, -2)


@op(x=lambda g, out: -(_mT(out) @ g @ _mT(out)))
def inv(x: Any) -> Any:
    """The inverse matrix. Raises ValueError for a matrix without one."""
    return np.linalg.inv(x)


def _solve_b(g: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    return solve(_mT(a), g) if len(b_shape) > 1 else solve(_mT(a), expand_dims(g, -1))[..., 0]


def _solve_a(g: Any, a: Any, b_shape: tuple[int, ...], out: Any) -> Any:
    g = _solve_b(g, a, b_shape)
    return -(g @ _mT(out)) if len(b_shape) > 1 else -(expand_dims(g, -1) * expand_dims(out, -2))


@op(a=_solve_a, b=_solve_b)
def solve(a: Any, b: Any) -> Any:
    """The x with a @ x = b: a [..., n, n], b [n] or [..., n, k]. Raises ValueError for a matrix without an inverse."""
    if b.ndim > 1 and a.shape[:-2] != b.shape[:-2]:  # which CuPy does not broadcast
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (np.broadcast_to(z, (*stack, *z.shape[-2:])) for z in (a, b))
    return np.linalg.solve(a, b)


def _each(number: Any) -> Any:
    """One number for each matrix, as broadcast against the matrices."""
    return number[..., None, None]


@op(x=lambda g, x: _each(g) * cofactors(x))
def det(x: Any) -> Any:
    """The determinant [...]. It has a gradient at every matrix, and further ones where there is an inverse."""
    return np.linalg.det(x)


def _cofactors(g: Any, x: Any) -> Any:
    inverse = _mT(inv(x))
    return _each(det(x)) * (_each(sum(g * inverse, axis=(-1, -2))) * inverse - inverse @ _mT(g) @ inverse)


@op(x=_cofactors)
def cofactors(x: Any) -> Any:
    """The matrix of cofactors, which is the gradient of `det`: det(x) times the inverse transposed, if there is one.

    Computed from the singular value decomposition, and so for every real matrix.
    """
    u, s, vt = np.linalg.svd(x)
    places = np.arange(x.shape[-1], like=s)
    others = np.where(places[:, None] == places, 1, s[..., None, :]).prod(axis=-1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (u * (sign[..., None] * others)[..., None, :]) @ vt


class Slogdet(NamedTuple):
    """What `slogdet` returns: the determinant is sign * exp(logabsdet)."""

    sign: Any
    logabsdet: Any


@op(x=lambda g, x: _each(g) * _mT(inv(x)))
def _logabsdet(x: Any) -> Any:
    return np.linalg.slogdet(x)[1]


def slogdet(x: Any) -> Slogdet:
    """The sign of the determinant, which has no gradient, and the logarithm of its absolute value, both [...].

    At a matrix without an inverse they are 0 and -inf, and backward raises ValueError.

    >>> import minihybrid as mh
    >>> sign, logabsdet = mh.slogdet(mh.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), logabsdet.item()
    (-1.0, 0.0)
    """
    logabsdet = _logabsdet(x)  # explains what is wrong with x, if it is no stack of square matrices
    sign = np.linalg.slogdet(x.array if isinstance(x, Tensor) else x)[0]
    return Slogdet(Tensor(sign) if isinstance(x, Tensor) else sign, logabsdet)


def _cholesky(g: Any, out: Any) -> Any:
    """Murray 2016, "Differentiation of the Cholesky decomposition", equation 10."""
    lower = _mT(out) @ tril(g)
    halved = (tril(lower) + tril(lower, -1)) * 0.5
    right = solve(_mT(out), halved)
    both = solve(_mT(out), _mT(right))
    return (both + _mT(both)) * 0.5


@op(x=_cholesky)
def cholesky(x: Any) -> Any:
    """The lower triangular matrix L with L @ L.mT = (x + x.mT) / 2, which is x for the symmetric x that is meant.

    Raises ValueError for a matrix that is not positive definite.
    """
    return np.linalg.cholesky((x + _mT(x)) * 0.5)
