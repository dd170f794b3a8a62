"""Dropout: a product with random numbers."""

from __future__ import annotations

from typing import Any

from minihybrid.autodiff.ops.elementwise import multiply
from minihybrid.autodiff.tensor import Array, Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import on_cpu
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
    factors = opaque_call(_factors, rng, x.shape, p, x.dtype)
    out: Tensor = multiply(x, factors if on_cpu(x.array) else x.device.array(factors))
    return out


def _factors(rng: Rng, shape: tuple[int, ...], p: float, dtype: Any) -> Array:
    factors = rng.bernoulli(shape, 1 - p).astype(dtype)
    if p < 1:
        factors *= 1 / (1 - p)
    return factors
