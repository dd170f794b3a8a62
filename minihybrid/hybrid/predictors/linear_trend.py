"""A control: the straight line through the last weights, carried on.

The least-squares line through w_0, ..., w_k has a slope that is a mean of the k steps between them, with weights
i (k + 1 - i), largest in the middle: so it hears less of the noise in single weights than (w_k - w_0) / k does, which
hangs on the two at the ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.hybrid.predictors.extrapolation import Combination, Extrapolation, ExtrapolationConfig, length


class LinearTrendConfig(ExtrapolationConfig):
    """What `ExtrapolationConfig` says.

    >>> LinearTrendConfig().init()
    LinearTrend(capacity=20)
    """

    def init(self) -> LinearTrend:
        """The predictor."""
        return LinearTrend(self)


class LinearTrend(Extrapolation):
    """The slope of the least-squares line through the last weights times the horizon; needs two steps.

    The confidence is the share R^2 of the weights' variance that the line explains.

    >>> import numpy as np, minihybrid as mh
    >>> predictor, optimizer = LinearTrendConfig().init(), mh.optim.SGD()
    >>> for t in range(5):
    ...     predictor.observe(mh.hybrid.predictors.RealStep(0.0, 0.1, np.array([2.0 * t, 3.0]), optimizer))
    >>> prediction = predictor.predict(10)
    >>> prediction.delta.round(9), round(prediction.confidence, 9)
    (array([20.,  0.]), 1.0)
    """

    def combination(self, gram: Any, horizon: int) -> Combination | None:
        """See `Extrapolation`."""
        k = len(gram)
        if k < 2:
            return None
        i = np.arange(1, k + 1)
        slope = 6 * i * (k + 1 - i) / (k * (k + 1) * (k + 2))
        points = np.tril(np.ones((k + 1, k)), -1)  # w_j - w_0 is the sum of the first j steps
        centred = points - points.mean(axis=0)
        variance = float(np.trace(centred @ gram @ centred.T))
        explained = length(gram, slope) ** 2 * k * (k + 1) * (k + 2) / 12
        return Combination(horizon * slope, horizon, min(1.0, explained / variance) if variance else 0.0)
