"""Extrapolate the drift of averaged weights, for minibatches.

Single updates point where the last batches pushed; an average of the weights moves where training is going. An average
lags behind: it stands at the same average of the times. So its displacement is divided by how far that time has gone
on, and lines are extrapolated exactly, however young the average is.

Probes start from the average, where the noise of the last batches is gone, and an accepted jump moves weights and
averages alike. A second, longer average is what is read out: it is most of what survives tuning, jump or none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.config import is_count, is_number
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import GuardSearch, Verification
from minihybrid.stateful import Stateful
from minihybrid.train.reading import numbers


class DriftConfig(PredictorConfig):
    """`average` and `output`: how much of either average is kept in a step; `stride`: they are renewed once in so many.

    `verification` is how a proposal is probed. Raises ValueError for decays outside [0, 1).

    >>> DriftConfig(average=0.9).init()
    Drift(average=0.9)
    """

    reads_out = True
    average: float = 0.98
    output: float = 0.99
    stride: int = 8
    verification: Verification = GuardSearch()

    def __post_init__(self) -> None:
        for name in ("average", "output"):
            self.require(name, is_number(getattr(self, name)) and 0 <= getattr(self, name) < 1, "a number in [0, 1)")
        self.require("stride", is_count(self.stride, 1), "an integer of at least 1")
        self.require("verification", isinstance(self.verification, Verification), "a way to verify, as GuardSearch()")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: two averages, where one began, its last drift, and a buffer."""
        return 5

    def init(self) -> Drift:
        """The predictor."""
        return Drift(self)


class Drift(Stateful):
    """The displacement of an average over the steps since the last proposal, carried on for the horizon.

    Its confidence is the cosine between this displacement and the one before. A real step makes 6 / `stride` passes.

    >>> import numpy as np, minihybrid as mh
    >>> drift, optimizer = Drift(DriftConfig(average=0.9, stride=1)), mh.optim.SGD()
    >>> for t in range(30):
    ...     drift.observe(RealStep(0.0, 0.1, np.array([1.0 + 2.0 * t, 3.0]), optimizer))
    ...     if t in (9, 19):
    ...         first = drift.predict(5)  # it takes two displacements to tell a road
    >>> prediction = drift.predict(5)
    >>> prediction.delta.round(9), prediction.est_steps, round(prediction.confidence, 9)
    (array([10.,  0.]), 5, 1.0)
    """

    looks_at_gradients = False

    def __init__(self, config: DriftConfig) -> None:
        self.config = config
        self._seen = 0  # real steps
        self._output: Any = None
        self.reset()

    @property
    def verification(self) -> Verification:
        """By default, forward probes along the drift of the average."""
        return self.config.verification

    def reset(self) -> None:
        """See `Predictor`; the longer average goes on."""
        self._average: Any = None
        self._scratch: Any = None
        self._weight = 0.0  # of all that is in the average, in units of the newest
        self._time = 0.0  # where the average stands, in real steps
        self._begin: Any = None  # the average at the last proposal,
        self._begin_time = 0.0
        self._before: Any = None  # and its displacement up to there

    def observe(self, step: RealStep) -> None:
        """See `Predictor`."""
        self._seen += 1
        if self._output is None:
            self._output = step.weights.copy()
        if self._average is None:
            self._average, self._scratch = step.weights.copy(), np.zeros_like(step.weights)
            self._weight, self._time = 1.0, float(self._seen)
            self._start_window()
        elif self._seen % self.config.stride == 0:
            keep = self.config.average**self.config.stride
            self._weight = 1 + keep * self._weight
            self._time += (self._seen - self._time) / self._weight
            self._move(self._average, step.weights, 1 / self._weight)
            keep = min(self.config.output, (1 + self._seen) / (10 + self._seen))  # as `optim.Ema` does
            self._move(self._output, step.weights, 1 - keep**self.config.stride)

    def _move(self, average: Any, weights: Any, share: float) -> None:
        np.subtract(weights, average, out=self._scratch)
        self._scratch *= share
        average += self._scratch

    def _start_window(self) -> None:
        self._begin, self._begin_time = self._average.copy(), self._time

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`; None before there are two displacements. The next window begins here."""
        if self._average is None:
            return None
        displacement, before, steps = self._average - self._begin, self._before, self._time - self._begin_time
        self._before = displacement
        self._start_window()
        if before is None or steps <= 0:
            return None
        a, b, product = numbers(
            np.vdot(before, before), np.vdot(displacement, displacement), np.vdot(before, displacement)
        )
        norms = math.sqrt(a * b)
        confidence = min(1.0, max(0.0, product / norms)) if norms > 0 else 0.0
        delta, far = displacement * (horizon / steps), horizon / steps
        finite = b * far * far < float(np.finfo(delta.dtype).max)
        return Prediction(delta, horizon, confidence, cost=6.0, origin=self._average, finite=finite)

    def translate(self, delta: Any) -> None:
        """See `Predictor`."""
        for vector in (self._average, self._output, self._begin):
            if vector is not None:
                vector += delta

    def readout(self) -> Any:
        """See `Predictor`: the longer average."""
        return self._output

    def __repr__(self) -> str:
        return f"Drift(average={self.config.average})"
