"""How well predicted displacements agree with real ones, over the same number of steps: for reports, not for decisions.

The direction of a prediction is no guide to its worth: of all predictors the one that repeats the last update has the
best cosine, and its long jumps explode.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.hybrid.stateful import Stateful
from minihybrid.train.reading import numbers


class Agreement(Stateful):
    """Means, over the predictions of a run, of cosine and length (predicted / real) of the two displacements.

    >>> import numpy as np
    >>> agreement = Agreement()
    >>> agreement.add(predicted=np.array([2.0, 0.0]), real=np.array([3.0, 4.0]))
    >>> round(agreement.cosine, 9), agreement.norm_ratio, agreement.count
    (0.6, 0.4, 1)
    """

    def __init__(self) -> None:
        self.count = 0
        self._cosines = self._ratios = 0.0

    @property
    def cosine(self) -> float:
        """The mean cosine; NaN before there is one."""
        return self._cosines / self.count if self.count else math.nan

    @property
    def norm_ratio(self) -> float:
        """The mean of |predicted| / |real|; NaN before there is one."""
        return self._ratios / self.count if self.count else math.nan

    def add(self, predicted: Any, real: Any) -> None:
        """Take in a pair of displacements [n]; one that has no direction, or is not finite, does not count."""
        *squares, product = numbers(np.vdot(predicted, predicted), np.vdot(real, real), np.vdot(predicted, real))
        lengths = [math.sqrt(square) for square in squares]
        if all(0 < length < math.inf for length in lengths):
            self.count += 1
            self._cosines += product / (lengths[0] * lengths[1])
            self._ratios += lengths[0] / lengths[1]
