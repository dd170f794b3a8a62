"""Reduced rank extrapolation: from the last steps to the point where they would end, for full batches.

Near a minimum a smooth optimizer is a linear iteration, w_(j+1) = A w_j + b, whose fixed point w* makes no step. A
combination of past points whose weights c add up to 1 makes the same combination of their steps. So the c that makes
that combination of steps as short as it can be takes the points close to w*; where the steps span only r directions,
r + 1 of them are enough to hit it. (Mesina 1977; Eddy 1979; Sidi 2017, "Vector Extrapolation Methods with
Applications", chapter 2; the regularisation is that of Scieur, d'Aspremont and Bach 2016, "Regularized Nonlinear
Acceleration".)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.config import is_number
from minihybrid.hybrid.predictors.extrapolation import Combination, Extrapolation, ExtrapolationConfig, length

ROUNDING = 1e-12
"""What a sum of at most some hundred numbers of size 1 may miss 0 by."""


class RreConfig(ExtrapolationConfig):
    """`damping` in (0, 1] is how far towards the fixed point; `ridge` >= 0, in mean diagonals of G, is added to G.

    Raises ValueError for other values.

    >>> RreConfig(damping=1.0).init()
    Rre(capacity=20)
    """

    damping: float = 0.875
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("damping", is_number(self.damping) and 0 < self.damping <= 1, "a number in (0, 1]")
        self.require("ridge", is_number(self.ridge) and self.ridge >= 0, "a number that is not negative")

    def init(self) -> Rre:
        """The predictor."""
        return Rre(self)


class Rre(Extrapolation):
    """Jumps to where the last steps would end, whatever the horizon; needs two steps.

    `est_steps` is the length of the jump in mean steps, the confidence 1 - |sum_j c_j u_j| / sqrt(sum_j |c_j u_j|^2):
    1 where the steps depend linearly on each other, 0 where they are unrelated, or all the same.

    >>> import numpy as np, minihybrid as mh
    >>> predictor, optimizer, w = RreConfig(damping=1.0, ridge=0.0).init(), mh.optim.SGD(), np.array([9.0, 5.0])
    >>> for _ in range(4):
    ...     w = np.array([0.9, 0.5]) * w + np.array([0.1, 0.5])
    ...     predictor.observe(mh.hybrid.predictors.RealStep(0.0, 0.1, w, optimizer))
    >>> (w + predictor.predict(1).delta).round(6)
    array([1., 1.])
    """

    config: RreConfig

    def combination(self, gram: Any, horizon: int) -> Combination | None:
        """See `Extrapolation`."""
        if len(gram) < 2:
            return None
        c = affine_weights(gram, self.config.ridge)
        # The target sum_j c_j w_j, seen from the last point: step i leads away from all the points before it.
        coefficients = -self.config.damping * (np.cumsum(c) - c)
        mean_step = length(gram, np.full(len(c), 1 / len(c)))
        est_steps = length(gram, coefficients) / mean_step if mean_step else 0.0
        apart = math.sqrt(float(np.square(c) @ np.diag(gram)))
        confidence = max(0.0, 1 - length(gram, c) / apart) if apart else 0.0
        return Combination(coefficients, est_steps, confidence)


def affine_weights(gram: Any, ridge: float) -> Any:
    """The c with sum 1 that minimises |sum_j c_j u_j|^2 + lambda |c|^2, lambda = ridge tr(G) / k: [k].

    It is G^-1 1 / (1' G^-1 1), of the regularised G; a G that is singular gets the least ridge that float64 can tell.

    >>> import numpy as np
    >>> affine_weights(np.diag([1.0, 3.0]), ridge=0.0)
    array([0.75, 0.25])
    """
    k = len(gram)
    scale = float(np.trace(gram)) / k
    if scale == 0.0:
        return np.full(k, 1 / k)
    energies, vectors = np.linalg.eigh(gram / scale)  # as a solver can find even a regularised G singular
    ridge = max(ridge, float(np.finfo(np.float64).eps))
    sums = vectors.sum(axis=0)
    sums[abs(sums) < ROUNDING] = 0.0  # divided by an energy of 0, what is left of a sum of 0 would decide everything
    c = vectors @ (sums / (np.maximum(energies, 0.0) + ridge))
    return c / c.sum()
