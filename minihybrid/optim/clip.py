"""Limits on gradients, applied before a step. Each returns gradients within the limit; those given stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.product import sum_of_products
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import shaped_like
from minihybrid.optim.gradients import GradientsParams


def clip_global_norm(grads: GradientsParams, max_norm: float) -> GradientsParams:
    """Scale all gradients by one factor, so that their common 2-norm is at most `max_norm` (Pascanu et al. 2013).

    Where that norm is not finite, every gradient becomes nan, for the caller to notice. Raises ValueError for a
    `max_norm` that is not positive.

    >>> import minihybrid as mh
    >>> w = mh.nn.LinearConfig(2, 1, bias=False).init(rng=mh.Rng(0))
    >>> grads = mh.optim.GradientsParams.from_grads(w(mh.tensor([[3.0, 4.0]])).sum().backward(), w)
    >>> round(mh.optim.clip_global_norm(grads, 1.0).norm(), 6)
    1.0
    """
    _require_positive("clip_global_norm", "max_norm", max_norm)
    first, *others = grads.parts() or [np.zeros(0)]
    return grads.scaled(_factor(first, max_norm, *others))


def clip_norm(grads: GradientsParams, max_norm: float) -> GradientsParams:
    """Scale each parameter's gradient by itself, so that its 2-norm is at most `max_norm`; nan if it is not finite."""
    _require_positive("clip_norm", "max_norm", max_norm)
    return grads.map(lambda g: g * _factor(g, max_norm))


def clip_value(grads: GradientsParams, limit: float) -> GradientsParams:
    """Limit each element to [-limit, limit]."""
    _require_positive("clip_value", "limit", limit)
    return grads.map(lambda g: np.clip(g, -limit, limit))


@fusible
def _factor(array: Any, max_norm: float, *others: Any) -> Any:
    """What limits the common norm of arrays, one or more; a number on their device, as nobody has to read it.

    It is exactly 1 for a norm within the limit. For one that is not finite it is nan: finite gradients can have such a
    norm, and would else pass for clipped.
    """
    norm = np.sqrt(sum(sum_of_products(x, x) for x in (array, *others)))
    limit = min(max_norm, float(np.finfo(norm.dtype).max))  # no limit is inf, and inf / inf would be nan
    return np.where(np.isfinite(norm), limit / np.maximum(norm, limit), np.nan)


@_factor.kernel
def _(array: Any, max_norm: float, *others: Any) -> Any:
    arrays = array, *others
    if not kernels.fits(*arrays):
        return NotImplemented
    limit = shaped_like(np.full_like, array, min(max_norm, float(np.finfo(array.dtype).max)), shape=())
    partials = np.empty_like(array, shape=(kernels.partial_sums([x.size for x in arrays]),))
    factor = shaped_like(np.empty_like, array, shape=())
    opaque_call(kernels.clip_factor, factor, partials, limit, *map(kernels.contiguous, arrays))
    return factor


def _require_positive(function: str, option: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{function}: {option} is {value}; expected a positive number.")
