"""A control: the optimizer runs on with gradients of zero, as a ball that is no longer pushed.

What a momentum predicts is no more than that the last gradients repeat themselves, fading. A predictor that does not
beat this one only takes longer steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import Unprobed, Verification
from minihybrid.optim.optimizer import Optimizer
from minihybrid.stateful import Stateful


class CoastConfig(PredictorConfig):
    """There is nothing to set.

    >>> CoastConfig().init()
    Coast()
    """

    def vectors(self) -> int:
        """How many vectors [n] its history takes: the last weights."""
        return 1

    def init(self) -> Coast:
        """The predictor."""
        return Coast(self)


class Coast(Stateful):
    """Proposes the displacement of `horizon` steps with gradients of zero, at the last learning rate.

    A real step makes one pass, a proposal about ten for each step of the horizon. The optimizer is not part of its
    state: a new one that was given a state has nothing to say until it is told which to `follow`, or sees a real step.

    >>> import numpy as np, minihybrid as mh
    >>> optimizer, w = mh.optim.SGD(momentum=0.5), mh.Param(np.zeros(1, np.float32))
    >>> layer, coast = mh.nn.Linear(mh.Param(np.zeros((1, 1), np.float32)), None), CoastConfig().init()
    >>> grads = mh.optim.GradientsParams.from_grads((-layer(mh.tensor([[8.0]]))).sum().backward(), layer)
    >>> layer = optimizer.step(1.0, layer, grads)
    >>> coast.observe(RealStep(0.0, 1.0, layer.weight.array.ravel(), optimizer))
    >>> coast.predict(2).delta  # 8 / 2 + 8 / 4
    array([6.], dtype=float32)
    """

    transient = ("config", "_optimizer")
    looks_at_gradients = False

    def __init__(self, config: CoastConfig) -> None:
        self.config = config
        self.reset()

    @property
    def verification(self) -> Verification:
        """None: it is blind."""
        return Unprobed()

    def reset(self) -> None:
        """See `Predictor`."""
        self._last: Any = None
        self._learning_rate = 0.0
        self._optimizer: Optimizer | None = None

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        if self._last is None:
            self._last = np.empty_like(step.weights)
        self._last[...] = step.weights
        self._learning_rate = step.learning_rate
        self.follow(step.optimizer)

    def follow(self, optimizer: Optimizer) -> None:
        """See `FollowsOptimizer`."""
        self._optimizer = optimizer

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`."""
        if self._optimizer is None or self._last is None:
            return None
        ahead = self._optimizer.coasted(self._learning_rate, self._last, horizon)
        ahead -= self._last
        return Prediction(ahead, horizon, cost=10.0 * horizon)

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""
        if self._last is not None:
            self._last += delta

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def __repr__(self) -> str:
        return "Coast()"
