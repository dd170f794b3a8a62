"""A control: no change. A run with it is plain training, plus what verification costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import GuardSearch, Verification
from minihybrid.stateful import Stateful


class NullConfig(PredictorConfig):
    """`verification` is whose price is to be measured.

    >>> NullConfig().init()
    Null()
    """

    verification: Verification = GuardSearch()

    def __post_init__(self) -> None:
        self.require("verification", isinstance(self.verification, Verification), "a way to verify, as GuardSearch()")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: one of zeros."""
        return 1

    def init(self) -> Null:
        """The predictor."""
        return Null(self)


class Null(Stateful):
    """A jump of zero, which passes all gates that cost nothing; probes find it no better than none.

    >>> import numpy as np, minihybrid as mh
    >>> null = NullConfig().init()
    >>> null.observe(RealStep(0.0, 0.1, np.ones(2, np.float32), mh.optim.SGD()))
    >>> null.predict(20).delta
    array([0., 0.], dtype=float32)
    """

    looks_at_gradients = False

    def __init__(self, config: NullConfig) -> None:
        self.config = config
        self.reset()

    @property
    def verification(self) -> Verification:
        """By default, forward probes of the guard."""
        return self.config.verification

    def reset(self) -> None:
        """See `Predictor`."""
        self._zero: Any = None

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        if self._zero is None:
            self._zero = np.zeros_like(step.weights)

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`."""
        return None if self._zero is None else Prediction(self._zero, horizon)

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def __repr__(self) -> str:
        return "Null()"
