"""Normalisation: one op, `standardize`, and the four norms, which only say over which axes.

Each norm ends in an affine map. Making it part of the op was measured and left out: it saves a tenth of the norm.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.op import op
from minihybrid.autodiff.ops.elementwise import sqrt, square
from minihybrid.autodiff.ops.reduce import mean
from minihybrid.autodiff.ops.shape import reshape
from minihybrid.autodiff.tensor import Axis, Tensor
from minihybrid.autodiff.trace import opaque_call


def moments(x: Any, axis: Axis) -> tuple[Any, Any]:
    """Mean and biased variance over `axis`, which stays with length 1."""
    centre = mean(x, axis, keepdims=True)
    return centre, mean(square(x - centre), axis, keepdims=True)


def _deviation(x: Any, axis: Axis, eps: float, centred: bool) -> Any:
    return sqrt((moments(x, axis)[1] if centred else mean(square(x), axis, keepdims=True)) + eps)


def _composition(x: Any, axis: Axis = -1, eps: float = 1e-5, centred: bool = True, known: Any = None) -> Any:
    return (x - mean(x, axis, keepdims=True) if centred else x) / _deviation(x, axis, eps, centred)


def _standardize_x(g: Any, out: Any, x: Any, axis: Axis, eps: float, centred: bool) -> Any:
    g = g - mean(g * out, axis, keepdims=True) * out - (mean(g, axis, keepdims=True) if centred else 0)
    return g / _deviation(x, axis, eps, centred)


@op(x=_standardize_x, saves=("deviation",), composition=_composition)
def standardize(x: Any, axis: Any = -1, eps: float = 1e-5, centred: bool = True, known: Any = None) -> Any:
    """(x - mean) / sqrt(variance + eps), with mean and biased variance over `axis`, one axis or several.

    Without `centred` the mean is left alone: x / sqrt(mean of x * x + eps). `known` are the `moments` of x, as arrays,
    if they have been computed already.
    """
    return _standardized(x, axis, eps, centred, known)


@fusible
def _standardized(x: Any, axis: Any, eps: float, centred: bool, known: Any) -> Any:
    out = x - (x.mean(axis=axis, keepdims=True) if known is None else known[0]) if centred else x
    variance = (out * out).mean(axis=axis, keepdims=True) if known is None else known[1]
    deviation = np.sqrt(variance + eps)
    return out / deviation, deviation


@_standardized.kernel
def _(x: Any, axis: Any, eps: float, centred: bool, known: Any) -> Any:
    shape = _as_rows(x, axis)
    if shape is None or known is not None or not kernels.fits(x):
        return NotImplemented
    x, out = kernels.contiguous(x), np.empty_like(x, order="C")
    ones = tuple(1 for _ in _axes(axis))
    deviation = np.empty_like(x, shape=(*x.shape[: x.ndim - len(ones)], *ones), order="C")
    arrays = out.reshape(shape), deviation.reshape(-1), x.reshape(shape)
    opaque_call(kernels.standardize, *arrays, eps, centred)
    return out, deviation


def _axes(axis: Any) -> tuple[int, ...]:
    return axis if isinstance(axis, tuple) else (axis,)


def _as_rows(x: Any, axis: Any) -> tuple[int, int] | None:
    """The shape of x as a matrix whose rows run over `axis`; None where those are not the last axes."""
    axes = sorted([a % max(1, x.ndim) for a in _axes(axis)])
    if axes != [*range(x.ndim - len(axes), x.ndim)] or not x.size:
        return None
    columns = math.prod(x.shape[axes[0] :])
    return x.size // columns, columns


@fusible
def _standardize_fast(g: Any, out: Any, x: Any, axis: Any, eps: float, centred: bool, deviation: Any) -> Any:
    dx = g * out
    np.multiply(out, -dx.mean(axis=axis, keepdims=True), out=dx)
    dx += g
    if centred:
        dx -= g.mean(axis=axis, keepdims=True)
    dx /= deviation
    return dx


@_standardize_fast.kernel
def _(g: Any, out: Any, x: Any, axis: Any, eps: float, centred: bool, deviation: Any) -> Any:
    shape = _as_rows(x, axis)
    if shape is None or not (kernels.fits(g, out, deviation) and out.flags.c_contiguous):
        return NotImplemented
    dx = np.empty_like(out)
    arrays = dx.reshape(shape), kernels.contiguous(g).reshape(shape), out.reshape(shape), deviation.reshape(-1)
    opaque_call(kernels.standardize_gradient, *arrays, centred)
    return dx


standardize.fast(x=_standardize_fast)


def affine(x: Any, weight: Any, bias: Any, shape: tuple[int, ...]) -> Any:
    """x * weight + bias, either of which may be missing, in a shape that broadcasts to x."""
    if weight is not None:
        x = x * reshape(weight, shape)
    return x if bias is None else x + reshape(bias, shape)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, axis: Axis = -1, eps: float = 1e-5) -> Tensor:
    """Each sample standardized over its last axis, or several (Ba, Kiros and Hinton 2016, equation 3).

    `axis` names the last axes of x; weight and bias have their shape.

    >>> import minihybrid as mh
    >>> layer_norm(mh.tensor([[1.0, 3.0], [0.0, 40.0]]), eps=0.0).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    last = x.shape[-len(axis) :] if isinstance(axis, tuple) else x.shape[-1:]
    out: Tensor = affine(standardize(x, axis, eps), weight, bias, last)
    return out


def rms_norm(x: Any, weight: Any = None, axis: Axis = -1, eps: float | None = None) -> Tensor:
    """x over the root of its mean square (Zhang and Sennrich 2019, equation 4); `axis` and weight as in `layer_norm`.

    `eps` is the machine precision of the dtype if not given.

    >>> import minihybrid as mh
    >>> rms_norm(mh.tensor([3.0, -3.0, 3.0, 3.0])).tolist()
    [1.0, -1.0, 1.0, 1.0]
    """
    last = x.shape[-len(axis) :] if isinstance(axis, tuple) else x.shape[-1:]
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    out: Tensor = affine(standardize(x, axis, eps, False), weight, None, last)
    return out


def group_norm(x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Each sample standardized over groups of its channels (Wu and He 2018, equation 7): x [n, c, ...].

    weight and bias are [c]. One group is a layer norm over everything, c groups are an instance norm. Raises ValueError
    if c is no multiple of `groups`.

    >>> import minihybrid as mh
    >>> group_norm(mh.tensor([[1.0, 3.0, 0.0, 40.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    channels = _channels("group_norm", x)
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"group_norm: {x.shape[1]} channels make no {groups} equal groups.")
    parts = standardize(reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups)), -1, eps)
    out: Tensor = affine(reshape(parts, x.shape), weight, bias, channels)
    return out


def batch_norm(
    x: Any, weight: Any = None, bias: Any = None, mean: Any = None, variance: Any = None, eps: float = 1e-5
) -> Tensor:
    """Each channel standardized over the batch (Ioffe and Szegedy 2015, algorithm 1): x [n, c, ...].

    weight and bias are [c]. With a mean and a variance, [c] each, those are used in place of the batch's, and are
    constants (algorithm 2).

    >>> import minihybrid as mh
    >>> batch_norm(mh.tensor([[1.0, 0.0], [3.0, 40.0]]), eps=0.0).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    channels = _channels("batch_norm", x)
    out: Tensor
    if mean is None or variance is None:
        out = affine(standardize(x, batch_axes(x), eps), weight, bias, channels)
    else:
        factor = (1 if weight is None else weight) / sqrt(variance + eps)
        shift = -mean * factor if bias is None else bias - mean * factor
        out = affine(x, factor, shift, channels)
    return out


def batch_axes(x: Any) -> tuple[int, ...]:
    """All axes but that of the channels, the second."""
    return (0, *range(2, x.ndim))


def _channels(op: str, x: Any) -> tuple[int, ...]:
    """The shape in which one number for each channel broadcasts to x."""
    if x.ndim < 2:
        raise ValueError(f"{op}: x has shape {x.shape}; expected [n, channels, ...].")
    return (x.shape[1], *(1 for _ in x.shape[2:]))
