"""A control, unsafe: the mean of the last gradients, followed blindly.

The lineage of hybrid-predict-trainer-rs. Over H steps it moves by -lr H m, m a moving average of gradients: plain
gradient descent at H times the learning rate, which diverges where the loss curves by more than 2 / (H lr).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.config import is_number
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import Unprobed, Verification
from minihybrid.stateful import Stateful


class GradientEmaConfig(PredictorConfig):
    """`decay` in [0, 1) is how much of the average is kept in a step. Raises ValueError for other values.

    >>> GradientEmaConfig(decay=0.5).init()
    GradientEma(decay=0.5)
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        self.require("decay", is_number(self.decay) and 0 <= self.decay < 1, "a number in [0, 1)")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: the average, and a buffer."""
        return 2

    def init(self) -> GradientEma:
        """The predictor."""
        return GradientEma(self)


class GradientEma(Stateful):
    """Unsafe, for comparison: it diverges. Proposes -lr H m, with the average m of gradients free of its start at 0.

    A real step makes three passes.

    >>> import numpy as np, minihybrid as mh
    >>> control, optimizer, w = GradientEmaConfig().init(), mh.optim.SGD(), np.zeros(1)
    >>> control.observe(RealStep(0.0, 0.1, w, optimizer, start=w, gradient=np.array([2.0])))
    >>> control.predict(20).delta.round(6)
    array([-4.])
    """

    looks_at_gradients = True

    def __init__(self, config: GradientEmaConfig) -> None:
        self.config = config
        self.reset()

    @property
    def verification(self) -> Verification:
        """None: it is blind."""
        return Unprobed()

    def reset(self) -> None:
        """See `Predictor`."""
        self._average: Any = None
        self._scratch: Any = None
        self._weight = 0.0  # sum of the weights in the average
        self._learning_rate = 0.0

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        if self._average is None:
            self._average, self._scratch = np.zeros_like(step.gradient), np.empty_like(step.gradient)
        decay = self.config.decay
        self._weight = decay * self._weight + (1 - decay)
        np.multiply(step.gradient, 1 - decay, out=self._scratch)
        self._average *= decay
        self._average += self._scratch
        self._learning_rate = step.learning_rate

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`."""
        if self._average is None:
            return None
        delta = self._average * (-self._learning_rate * horizon / self._weight)
        return Prediction(delta, horizon, cost=1.0)

    def translate(self, delta: Any) -> None:
        """See `Predictor`: gradients are of real steps, between which a jump may lie."""

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def __repr__(self) -> str:
        return f"GradientEma(decay={self.config.decay})"
