"""Level and trend: an average of the weights to read out, and a moving average of their steps to look ahead along.

Both are exponential smoothing (Holt 1957): the level l of the weights, the trend m of their steps. The level is the
model to evaluate; training never sees it. The lookahead moves the weights themselves along the trend, by beta m for
each step of the horizon, less as the learning rate decays: with a prediction after every step, that is Nesterov's
method with momentum from an average of steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.config import is_number
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import Unprobed, Verification
from minihybrid.stateful import Stateful


class HoltConfig(PredictorConfig):
    """`level` and `trend`: how much of either average is kept in a step, at first less (see `Ema`).

    The read-out goes `share` of the way from the weights to the level: all of it suits a constant learning rate, 0.6
    one that decays. `lookahead` is beta; 0 is none. Raises ValueError for decays outside [0, 1), or others outside
    [0, 1].

    >>> HoltConfig(level=0.999).init()
    Holt(level=0.999)
    """

    reads_out = True
    level: float = 0.99
    trend: float = 0.97
    share: float = 1.0
    lookahead: float = 0.0

    def __post_init__(self) -> None:
        for name in ("level", "trend"):
            self.require(name, is_number(getattr(self, name)) and 0 <= getattr(self, name) < 1, "a number in [0, 1)")
        for name in ("share", "lookahead"):
            self.require(name, is_number(getattr(self, name)) and 0 <= getattr(self, name) <= 1, "a number in [0, 1]")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: the level, the last weights, and the trend if it looks ahead."""
        return 3 if self.lookahead else 2

    def init(self) -> Holt:
        """The predictor."""
        return Holt(self)


class Holt(Stateful):
    """Reads out an average of the weights; proposes jumps only if it looks ahead.

    A real step makes four passes, and four more for a lookahead.

    >>> import numpy as np, minihybrid as mh
    >>> holt, optimizer = HoltConfig(level=0.5, lookahead=0.5).init(), mh.optim.SGD()
    >>> for t in range(30):
    ...     holt.observe(RealStep(0.0, 0.1, np.array([2.0 * t]), optimizer))
    >>> holt.readout().round(6)  # one step behind the weights, which are 58
    array([56.])
    >>> holt.predict(10).delta.round(6)
    array([10.])
    """

    looks_at_gradients = False

    def __init__(self, config: HoltConfig) -> None:
        self.config = config
        self._steps = 0
        self._learning_rate = self._largest_learning_rate = 0.0
        self._level: Any = None
        self._last: Any = None
        self.reset()

    @property
    def verification(self) -> Verification:
        """None: the lookahead is a part of the update rule."""
        return Unprobed()

    def reset(self) -> None:
        """See `Predictor`; the level goes on."""
        self._trend: Any = None
        self._trend_steps = -1  # the first weights seen make no step

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        self._learning_rate = step.learning_rate
        self._largest_learning_rate = max(self._largest_learning_rate, step.learning_rate)
        self._trend_steps += 1
        if self._level is None:
            self._level, self._last = step.weights.copy(), step.weights.copy()
            return
        self._steps += 1
        moved = self._last  # its memory serves for the differences, too
        if self.config.lookahead and self._trend_steps:
            np.subtract(step.weights, self._last, out=moved)
            if self._trend is None:
                self._trend = moved.copy()
            else:
                keep = _keep(self.config.trend, self._trend_steps)
                self._trend *= keep
                moved *= 1 - keep
                self._trend += moved
        np.subtract(step.weights, self._level, out=moved)
        moved *= 1 - _keep(self.config.level, self._steps)
        self._level += moved
        self._last[...] = step.weights

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`; None without a lookahead."""
        if self._trend is None:
            return None
        ahead = self.config.lookahead * horizon
        if self._largest_learning_rate:
            ahead *= self._learning_rate / self._largest_learning_rate
        return Prediction(self._trend * ahead, ahead, cost=1.0)

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""
        for vector in (self._level, self._last):
            if vector is not None:
                vector += delta

    def readout(self) -> Any:
        """See `Predictor`: on the way from the weights to their level."""
        if self.config.share == 1 or self._level is None:
            return self._level
        return self._last + self.config.share * (self._level - self._last)

    def __repr__(self) -> str:
        return f"Holt(level={self.config.level})"


def _keep(decay: float, steps: int) -> float:
    return min(decay, (1 + steps) / (10 + steps))
