"""An outer optimizer: every so many steps, Nesterov momentum on the whole displacement since the last time.

The weights after K steps are an answer of the inner optimizer, and their displacement -s a better gradient than any
single one. The outer step goes from where the K steps began ("slow") along s and its momentum b: b = mu b + s,
slow -= lr (s + mu b); then the inner optimizer starts from there. With mu = 0 this is Lookahead (Zhang et al. 2019),
with workers that each make K steps and then take the mean of their s it is DiLoCo (Douillard et al. 2023), and with
one worker SNOO (Kallusky et al. 2025).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.config import is_number
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import Unprobed, Verification
from minihybrid.stateful import Stateful


class OuterNesterovConfig(PredictorConfig):
    """`learning_rate` in (0, 1] and `momentum` in [0, 1) of the outer step; how often it is made is the cycle's matter.

    Raises ValueError for other values.

    >>> OuterNesterovConfig(momentum=0.0).init()
    OuterNesterov(learning_rate=0.7, momentum=0.0)
    """

    learning_rate: float = 0.7
    momentum: float = 0.37

    def __post_init__(self) -> None:
        fits = is_number(self.learning_rate) and 0 < self.learning_rate <= 1
        self.require("learning_rate", fits, "a number in (0, 1]")
        self.require("momentum", is_number(self.momentum) and 0 <= self.momentum < 1, "a number in [0, 1)")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: where the steps began, where they led, and the momentum."""
        return 3

    def init(self) -> OuterNesterov:
        """The predictor."""
        return OuterNesterov(self)


class OuterNesterov(Stateful):
    """Proposes the outer step over the real steps since it was asked last; asked first, it only notes where it stands.

    A real step makes one pass, a proposal six. `est_steps` is what the outer step adds to K steps in steady motion:
    K (lr / (1 - mu) - 1), and 0 where that is negative.

    >>> import numpy as np, minihybrid as mh
    >>> outer, optimizer = OuterNesterovConfig(learning_rate=0.5, momentum=0.0).init(), mh.optim.SGD()
    >>> for w in (np.zeros(2), np.array([1.0, 2.0])):
    ...     outer.observe(RealStep(0.0, 0.1, w, optimizer))
    ...     prediction = outer.predict(1)
    >>> prediction.delta  # Lookahead: half way back
    array([-0.5, -1. ])
    """

    looks_at_gradients = False

    def __init__(self, config: OuterNesterovConfig) -> None:
        self.config = config
        self.reset()

    @property
    def verification(self) -> Verification:
        """None: the jump is a part of the update rule."""
        return Unprobed()

    def reset(self) -> None:
        """See `Predictor`."""
        self._steps = 0
        self._fast: Any = None
        self._slow: Any = None
        self._momentum: Any = None

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        self._steps += 1
        if self._fast is None:
            self._fast = np.empty_like(step.weights)
        self._fast[...] = step.weights

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`: one outer step, whatever the horizon. The next one begins here."""
        if self._fast is None:
            return None
        steps, self._steps = self._steps, 0
        if self._slow is None:
            self._slow, self._momentum = self._fast.copy(), np.zeros_like(self._fast)
            return None
        lr, mu = self.config.learning_rate, self.config.momentum
        delta = outer_step(self._slow, self._fast, self._momentum, lr, mu)
        self._slow[...] = self._fast
        return Prediction(delta, max(0.0, steps * (lr / (1 - mu) - 1)), cost=steps + 6.0)

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""
        for vector in (self._fast, self._slow):
            if vector is not None:
                vector += delta

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def __repr__(self) -> str:
        return f"OuterNesterov(learning_rate={self.config.learning_rate}, momentum={self.config.momentum})"


def outer_step(slow: Any, fast: Any, momentum: Any, lr: float, mu: float) -> Any:
    """From `fast` to the slow weights after the outer step: [n], fresh. The momentum is renewed in place.

    It is slow - lr (s + mu b) - fast = (1 - lr) s - lr mu b, with s = slow - fast: exactly 0 for lr = 1 and mu = 0.

    >>> import numpy as np
    >>> momentum = np.array([2.0])
    >>> outer_step(np.array([0.0]), np.array([-1.0]), momentum, lr=0.5, mu=0.5)
    array([0.])
    >>> momentum
    array([2.])
    """
    s = slow - fast
    momentum *= mu
    momentum += s
    s *= 1 - lr
    s -= (lr * mu) * momentum
    return s
