"""Where the loss is heading, with an interval that the forecaster's own errors keep honest.

Losses fall by factors, so all is done on their logarithms. At a few horizons each forecast is kept until it is due and
then held against what came. A miss widens the interval of that horizon and a hit narrows it, in the proportion at which
the wanted share of hits leaves it as it is: quantile tracking (Angelopoulos, Candès and Tibshirani 2023, "Conformal PID
control for time series prediction", section 2), which assumes nothing about the errors. What has not been tested is not
claimed: before the first forecast is due, and beyond the longest horizon, intervals are infinite and confidence is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

from minihybrid.config import Config, is_count, is_number
from minihybrid.stateful import Stateful

RATE = 0.2  # how much an interval grows and shrinks, in logarithms
MEMORY = 32  # how many steps mean errors reach back
FLOOR = 1e-12  # losses far below this are on a linear scale, so that those that are 0 or negative have a place, too
NARROWEST = 1e-6  # half an interval, relative to the loss; float32 losses are hardly more exact


@dataclass(frozen=True)
class Forecast:
    """A loss, and the interval that holds the real one with the probability asked for."""

    loss: float
    low: float
    high: float


class ForecastConfig(Config):
    """The share of intervals that should hold the real loss, and the horizons at which forecasts are tested.

    Raises ValueError for a coverage outside (0, 1) and for horizons that are not positive integers in rising order.

    >>> ForecastConfig(coverage=80)
    Traceback (most recent call last):
        ...
    ValueError: ForecastConfig: coverage is 80; expected a number in (0, 1).
    """

    coverage: float = 0.8
    horizons: tuple[int, ...] = (1, 5, 20, 80)

    def __post_init__(self) -> None:
        self.require("coverage", is_number(self.coverage) and 0 < self.coverage < 1, "a number in (0, 1)")
        counts = isinstance(self.horizons, tuple) and all(is_count(h, 1) for h in self.horizons)
        rising = counts and () != self.horizons == tuple(sorted(set(self.horizons)))
        self.require("horizons", rising, "a tuple of positive integers, the smallest first")

    def init(self) -> DampedTrend:
        """A forecaster that has seen nothing."""
        return DampedTrend(self)


class Smoothing(NamedTuple):
    """How much of a surprise goes into the level, how much of that into the trend, and what is kept of the trend."""

    level: float
    trend: float
    damping: float


class DampedTrend(Stateful):
    """The loss goes on as it has been going, but less and less (Gardner and McKenzie 1985, in error-correction form).

    With y the log of the loss and the surprise e = y - (level + damping trend), the level becomes level + damping trend
    + a e, and the trend damping trend + a b e; h steps ahead lies level + (damping + ... + damping^h) trend. Two
    `smoothings` (a, b, damping) are followed, for losses without noise and with it (full batches, minibatches), and the
    one whose surprises have been smaller of late is believed.

    >>> trend = DampedTrend()
    >>> for t in range(100):
    ...     trend.observe(0.9 ** t)
    >>> forecast = trend.forecast(5)
    >>> forecast.low < 0.9 ** 104 < forecast.high, trend.confidence(5) > 0.9, trend.confidence(100)
    (True, True, 0.0)
    >>> trend.reach(0.85) >= 5
    True
    """

    smoothings: ClassVar[tuple[Smoothing, ...]] = (Smoothing(1.0, 0.1, 0.99), Smoothing(0.1, 0.05, 0.98))

    def __init__(self, config: ForecastConfig | None = None) -> None:
        self.config = config or ForecastConfig()
        self._widths = [math.inf] * len(self.config.horizons)  # half of the intervals, by horizon
        self._errors = [math.inf] * len(self.config.horizons)  # mean errors, by horizon
        self._surprises = [0.0] * len(self.smoothings)  # their mean sizes, by smoothing
        self.reset()

    def reset(self) -> None:
        """Forget where the loss was, as after a rollback, but not how good the forecasts were."""
        self._steps = 0
        self._levels = [0.0] * len(self.smoothings)
        self._trends = [0.0] * len(self.smoothings)
        self._pending = [[0.0] * horizon for horizon in self.config.horizons]

    def observe(self, loss: float) -> None:
        """The loss of a real step. Raises ValueError if it is no finite number; then nothing has changed."""
        if not math.isfinite(loss):
            raise ValueError(f"{type(self).__name__}: the loss is {loss}; expected a finite number, as of a real step.")
        y = _log(loss)
        self._follow(y)
        level, trend, damping = self._believed()
        for i, horizon in enumerate(self.config.horizons):
            pending, due = self._pending[i], self._steps % horizon  # the forecast made `horizon` steps ago is there
            if self._steps > horizon:
                self._judge(i, abs(pending[due] - y), abs(pending[due] - level))
            pending[due] = level + _damped(damping, horizon) * trend

    def forecast(self, horizon: int) -> Forecast:
        """The loss `horizon` real steps from the last one. Raises RuntimeError where there is none to go on from."""
        if not self._steps:
            raise RuntimeError(f"{type(self).__name__}: there is nothing to go on; call observe(loss) first.")
        level, trend, damping = self._believed()
        y, width = level + _damped(damping, horizon) * trend, self._between(self._widths, horizon)
        return Forecast(_exp(y), _exp(y - width), _exp(y + width))

    def confidence(self, horizon: int) -> float:
        """1 - the mean relative error of forecasts at this horizon, in [0, 1].

        The error is that of the logarithm. A forecast is held against the level that the forecaster itself saw when it
        was due: the noise of single batches, which no forecast can know, is not counted against it.
        """
        return max(0.0, 1.0 - self._between(self._errors, horizon))

    def reach(self, confidence: float) -> int:
        """The largest horizon up to which the confidence is nowhere less than this; 0 if there is none."""
        horizons = range(1, self.config.horizons[-1] + 1)
        doubtful = (horizon for horizon in horizons if not self._between(self._errors, horizon) <= 1 - confidence)
        return next(doubtful, horizons[-1] + 1) - 1

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`; raises ValueError for a state of other horizons or smoothings, too."""
        if {"pending", "trends"} <= state.keys():
            horizons, smoothings = tuple(len(pending) for pending in state["pending"]), len(state["trends"])
            if (horizons, smoothings) != (self.config.horizons, len(self.smoothings)):
                raise ValueError(
                    f"load_state_dict: {type(self).__name__} has {len(self.smoothings)} smoothings and the horizons "
                    f"{self.config.horizons}; the state has {smoothings} and {horizons}."
                )
        super().load_state_dict(state)

    def _follow(self, y: float) -> None:
        self._steps += 1
        if self._steps == 1:
            self._levels = [y] * len(self.smoothings)
            return
        for i, (level, trend, damping) in enumerate(self.smoothings):
            drift = damping * self._trends[i]
            surprise = y - self._levels[i] - drift
            self._surprises[i] += (abs(surprise) - self._surprises[i]) / MEMORY
            part = max(level, 1 / self._steps) * surprise  # a plain mean until the exponential one is warm
            self._levels[i] += drift + part
            self._trends[i] = drift + trend * part

    def _believed(self) -> tuple[float, float, float]:
        """Level, trend and damping of the smoothing with the smallest surprises."""
        i = self._surprises.index(min(self._surprises))
        return self._levels[i], self._trends[i], self.smoothings[i].damping

    def _judge(self, i: int, off: float, error: float) -> None:
        """A forecast at the i-th horizon was off the loss and its level by so much."""
        width = self._widths[i]
        if width == math.inf:
            self._widths[i], self._errors[i] = max(off, NARROWEST), error
            return
        self._widths[i] = max(NARROWEST, width * math.exp(RATE * ((off > width) - 1 + self.config.coverage)))
        self._errors[i] += (error - self._errors[i]) / MEMORY

    def _between(self, values: list[float], horizon: int) -> float:
        """A value for any horizon, by a power of the horizon between two that are tested."""
        horizons = self.config.horizons
        above = next((i for i, tested in enumerate(horizons) if tested >= horizon), None)
        if above is None or values[above] == math.inf:
            return math.inf
        if above == 0 or horizons[above] == horizon:
            return values[above]
        low, high = horizons[above - 1], horizons[above]
        share = math.log(horizon / low) / math.log(high / low)
        return math.pow(values[above - 1], 1 - share) * math.pow(values[above], share)


class LastLoss(DampedTrend):
    """The loss stays what it was: the baseline that a forecast has to beat.

    >>> last = LastLoss()
    >>> for t in range(4):
    ...     last.observe(2.0 ** -t)
    >>> round(last.forecast(20).loss, 6), round(last.confidence(1), 6)
    (0.125, 0.306853)
    """

    smoothings = (Smoothing(1.0, 0.0, 0.0),)


@cache
def _damped(damping: float, horizon: int) -> float:
    """damping + damping^2 + ... + damping^horizon."""
    return damping * (1 - damping**horizon) / (1 - damping)


def _log(x: float) -> float:
    """The logarithm of x / FLOOR for x far above it, and from there on through 0, an odd function."""
    return math.copysign(math.log1p(abs(x) / FLOOR), x)


def _exp(y: float) -> float:
    """The inverse of `_log`."""
    try:
        return math.copysign(math.expm1(abs(y)) * FLOOR, y)
    except OverflowError:
        return math.copysign(math.inf, y)
