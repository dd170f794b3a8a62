"""Jumps within the span of the last steps: what reduced rank extrapolation, modes and trends have in common.

Let u_1, ..., u_k be the last k steps, u_i = w_i - w_(i-1). A jump is a combination sum_i c_i u_i of them, and for all
of these methods the coefficients c follow from the Gram matrix G_ij = <u_i, u_j> alone. So a method is a function from
G, which is small, to c; what is large happens here. The length of the jump is known before it is made: c' G c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from minihybrid.config import is_number
from minihybrid.hybrid.memory import Demand, MemoryPlan
from minihybrid.hybrid.predictors.history import HistoryConfig
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import LineSearch, Verification
from minihybrid.stateful import Stateful

TINY = 1e-300


class ExtrapolationConfig(PredictorConfig):
    """`history`: how many steps are looked at, and how they are kept.

    `max_norm` limits the length of a jump to so many times that of the weights (None: no limit). `verification` is how
    it is probed. Raises ValueError for a limit that is not positive.
    """

    history: HistoryConfig = HistoryConfig(capacity=20)
    max_norm: float | None = None
    verification: Verification = LineSearch()

    def __post_init__(self) -> None:
        limited = is_number(self.max_norm) and self.max_norm > 0  # type: ignore[operator]
        self.require("max_norm", self.max_norm is None or limited, "a positive number, or None")
        self.require("history", isinstance(self.history, HistoryConfig), "a HistoryConfig")
        self.require("verification", isinstance(self.verification, Verification), "a way to verify, as LineSearch()")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: the steps, the last weights, and a buffer."""
        return self.history.capacity + 2

    def demand(self) -> Demand:
        """See `PredictorConfig`: fewer steps, or steps in float16, will do."""
        return Demand(history=self.history.capacity, fixed=2)

    def within(self, plan: MemoryPlan) -> Self:
        """See `PredictorConfig`."""
        return replace(self, history=HistoryConfig(plan.history, plan.storage))


@dataclass(frozen=True, eq=False)
class Combination:
    """Coefficients [k] of the last steps, the oldest first; how many steps the jump is worth, and how well it fits."""

    coefficients: Any
    est_steps: float
    confidence: float


class Extrapolation(Stateful):
    """The base of predictors that combine the last steps; a subclass defines `combination`.

    A jump empties the history, as steps before and after it are not of one motion. A real step makes k + 4 passes for
    a history of k, a prediction k.
    """

    looks_at_gradients = False

    def __init__(self, config: ExtrapolationConfig) -> None:
        self.config = config
        self.reset()

    def combination(self, gram: Any, horizon: int) -> Combination | None:
        """What to add to the weights, from the Gram matrix [k, k] of the last steps; None if it cannot be said."""
        raise TypeError(f"{type(self).__name__} defines no combination(), which is all that such a predictor is.")

    @property
    def verification(self) -> Verification:
        """By default, a line search on the training batch."""
        return self.config.verification

    def reset(self) -> None:
        """See `Predictor`."""
        self._history = self.config.history.init()
        self._last: Any = None
        self._step: Any = None

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        if self._last is None:
            self._last, self._step = step.weights.copy(), np.zeros_like(step.weights)
            return
        np.subtract(step.weights, self._last, out=self._step)
        self._last[...] = step.weights
        self._history.push(self._step)

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`; None until there are steps enough, or where nothing finite follows from them."""
        gram = self._history.gram()
        found = self.combination(gram, horizon) if np.isfinite(gram).all() else None
        if found is None or not np.isfinite(found.coefficients).all():
            return None
        delta, k = self._history.combine(found.coefficients), len(gram)
        if self.config.max_norm is not None:
            limit = self.config.max_norm * math.sqrt(float(np.vdot(self._last, self._last)))
            delta *= min(1.0, limit / max(length(gram, found.coefficients), TINY))
        return Prediction(delta, found.est_steps, found.confidence, cost=float(k * (k + 4) + k))

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""
        self._history.clear()
        if self._last is not None:
            self._last += delta

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(capacity={self.config.history.capacity})"


def length(gram: Any, coefficients: Any) -> float:
    """The 2-norm of a combination of vectors, from their Gram matrix."""
    return math.sqrt(max(0.0, float(coefficients @ gram @ coefficients)))
