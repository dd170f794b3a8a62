"""Dropout: a product with random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.ops.elementwise import multiply
from minihybrid.autodiff.tensor import Array, Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.rng import Rng


def dropout(x: Tensor, p: float, rng: Rng) -> Tensor:
    """x with each element set to 0 with probability p, and the others divided by 1 - p.

    So the expectation is x (Srivastava et al. 2014, section 10, the inverted form). Draws one number of `rng` for each
    element. Raises ValueError for p outside [0, 1].

    >>> import minihybrid as mh
    >>> dropout(mh.tensor([1.0, 1.0, 1.0, 1.0]), 0.5, mh.Rng(5)).tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p!r}; expected a probability in [0, 1].")
    out: Tensor = multiply(x, _factors(x.array, p, rng))
    return out


@fusible
def _factors(x: Any, p: float, rng: Rng) -> Any:
    """What to multiply x by."""
    return opaque_call(_drawn, rng, x.shape, p, x.dtype)


@_factors.kernel
def _(x: Any, p: float, rng: Rng) -> Any:
    factors = np.empty_like(x, dtype=x.dtype if x.dtype.char in "fd" else np.float32, order="C")
    stream = np.empty_like(x, dtype=np.uint64, shape=kernels.STREAM)
    opaque_call(kernels.advance, stream, rng, x.size)
    opaque_call(kernels.dropout_factors, factors, stream, p)
    return factors.astype(x.dtype, copy=False)


def _drawn(rng: Rng, shape: tuple[int, ...], p: float, dtype: Any) -> Array:
    factors = rng.bernoulli(shape, 1 - p).astype(dtype)
    if p < 1:
        factors *= 1 / (1 - p)
    return factors
