"""The mean squared error, fused: of small networks it is a large part of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.ops.elementwise import square
from minihybrid.autodiff.ops.reduce import mean
from minihybrid.autodiff.product import sum_of_products


@op(
    x=lambda g, x, y: g * (x - y) * (2 / x.size),
    y=lambda g, x, y: g * (y - x) * (2 / x.size),
    saves=("difference",),
    composition=lambda x, y: mean(square(x - y)),
)
def mean_squared_error(x: Any, y: Any) -> Any:
    """The mean of (x - y)^2 over all elements, a number: x and y real, of one shape. Raises ValueError for others."""
    if np.shape(x) != np.shape(y):
        raise ValueError(f"x has shape {np.shape(x)}, y {np.shape(y)}; expected one shape")
    difference = x - y
    return sum_of_products(difference, difference) / difference.size, difference


mean_squared_error.fast(
    x=lambda g, x, y, difference: difference * (g * (2 / difference.size)),
    y=lambda g, x, y, difference: difference * (g * (-2 / difference.size)),
)
