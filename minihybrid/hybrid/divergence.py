"""Is the run in trouble? The watch looks at each real step and returns a verdict; what is done about it is not its job.

Only a rise of the loss counts: that it falls fast is no alarm. What a number is held against are exponential means, and
a variance (West 1979), of those before it. A number beyond its limit enters them as if it lay at the limit: one wild
batch does not blind the watch, and a run that stays on a higher level is healthy again some hundred steps later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from minihybrid.config import Config, is_count, is_number
from minihybrid.stateful import Stateful, savable

RECENT = 0.95  # the decay of what the loss did lately: how often it turned, how far it swung (0.9 alarms at noise)
LEAST_NOISE = 0.01  # of the loss: on a plateau, where it hardly moves, a rise of a millionth is no trouble


class DivergenceLimits(Config):
    """When the watch calls a run troubled.

    `loss_sigma`: a loss more standard deviations above its mean is a caution, more than twice as many a warning.
    `gradient_explosion`: a gradient norm of more times its mean is a warning; `gradient_vanishing`: of fewer times, a
    caution. `parameter_growth`: a parameter norm of more times its mean is a warning. `oscillation_caution`,
    `oscillation_warning`: the share of recent steps at which the loss turned, while it swings more than
    `oscillation_growth` times as far as on average. (Noise turns at 2/3 of the steps, but its swings do not grow.)
    `prediction_caution`, `prediction_warning`: the relative error of a prediction. `warnings`: of so many warnings in a
    row the last, and each that follows it, is critical.

    Means and variance are exponential with decay `ema`, and nothing is held against them before `baseline` real steps.
    A loss that is the very same for as many steps is a caution.

    >>> DivergenceLimits(loss_sigma=0)
    Traceback (most recent call last):
        ...
    ValueError: DivergenceLimits: loss_sigma is 0; expected a positive number.
    """

    loss_sigma: float = 3.0
    gradient_explosion: float = 100.0
    gradient_vanishing: float = 0.01
    parameter_growth: float = 5.0
    oscillation_caution: float = 0.5
    oscillation_warning: float = 0.8
    oscillation_growth: float = 2.0
    prediction_caution: float = 0.2
    prediction_warning: float = 0.5
    warnings: int = 3
    ema: float = 0.99
    baseline: int = 50

    def __post_init__(self) -> None:
        numbers: dict[str, tuple[Callable[[float], bool], str]] = {
            "loss_sigma": (lambda x: x > 0, "a positive number"),
            "gradient_explosion": (lambda x: x > 1, "a number above 1"),
            "gradient_vanishing": (lambda x: 0 <= x < 1, "a number in [0, 1)"),
            "parameter_growth": (lambda x: x > 1, "a number above 1"),
            "oscillation_caution": (lambda x: 0 <= x <= 1, "a share in [0, 1]"),
            "oscillation_warning": (
                lambda x: self.oscillation_caution <= x <= 1,
                f"a share from oscillation_caution, {self.oscillation_caution!r}, to 1",
            ),
            "oscillation_growth": (lambda x: x > 1, "a number above 1"),
            "prediction_caution": (lambda x: x > 0, "a positive number"),
            "prediction_warning": (
                lambda x: x >= self.prediction_caution,
                f"a number of at least prediction_caution, {self.prediction_caution!r}",
            ),
            "ema": (lambda x: 0 <= x < 1, "a number in [0, 1)"),
        }
        for setting, (fits, expected) in numbers.items():
            value = getattr(self, setting)
            self.require(setting, is_number(value) and fits(value), expected)
        for setting in ("warnings", "baseline"):
            self.require(setting, is_count(getattr(self, setting), 1), "an integer of at least 1")


@savable
class Level(IntEnum):
    """How bad it is."""

    HEALTHY = 0
    CAUTION = 1
    WARNING = 2
    CRITICAL = 3


@savable
class Trouble(StrEnum):
    """What is wrong."""

    NOT_FINITE = "not finite"
    LOSS = "loss"
    EXPLOSION = "gradient explosion"
    VANISHING = "gradient vanishing"
    OSCILLATION = "oscillation"
    GROWTH = "parameter growth"
    PREDICTION = "prediction error"
    STANDSTILL = "standstill"


@savable
@dataclass(frozen=True)
class Verdict:
    """A level; for a run that is not healthy, what is wrong, and a sentence about it."""

    level: Level = Level.HEALTHY
    trouble: Trouble | None = None
    reason: str = ""


HEALTHY = Verdict()


class DivergenceWatch(Stateful):
    """Running statistics of losses and norms, as Python floats; `observe` takes a few microseconds.

    >>> watch = DivergenceWatch(DivergenceLimits(baseline=10))
    >>> for step in range(20):
    ...     verdict = watch.observe(loss=1.0 + 0.01 * (step % 2), gradient_norm=1.0)
    >>> verdict.level, watch.judge(loss=0.1).level
    (<Level.HEALTHY: 0>, <Level.HEALTHY: 0>)
    >>> watch.judge(loss=1.05).reason
    'the loss 1.05 lies 4.48 standard deviations above its level 1.005; the limit is 3.'
    """

    def __init__(self, config: DivergenceLimits | None = None) -> None:
        self.config = config or DivergenceLimits()
        self.steps = self.looks = self.warnings = 0  # real steps, looks at the parameters, warnings in a row
        self.loss_mean = self.loss_variance = self.gradient_mean = self.parameter_mean = 0.0
        self.last_loss = self.last_move = 0.0
        self.turning = 0.0  # the share of recent steps at which the loss turned
        self.swing = self.swing_mean = 0.0  # how far it moved in a step, recently and on average
        self.still = 0  # steps in a row at which it did not move at all

    @property
    def loss_sigma(self) -> float:
        """The standard deviation of recent losses, at least a hundredth of their mean."""
        return max(math.sqrt(self.loss_variance), LEAST_NOISE * abs(self.loss_mean))

    def judge(self, loss: float, gradient_norm: float | None = None, level: float | None = None) -> Verdict:
        """A verdict on a loss and, if given, a gradient norm; nothing is remembered.

        `level` is what the loss is held against, by default the mean of recent losses. For a jump it is the loss before
        the jump, on the same batches: held-out losses have another mean than training losses.
        """
        if not math.isfinite(loss):
            return Verdict(Level.CRITICAL, Trouble.NOT_FINITE, f"the loss is {loss}.")
        if gradient_norm is not None and not math.isfinite(gradient_norm):
            return Verdict(Level.CRITICAL, Trouble.NOT_FINITE, f"the gradient norm is {gradient_norm}.")
        if self.steps < self.config.baseline:
            return HEALTHY
        verdict = self._of_loss(loss, self.loss_mean if level is None else level)
        return verdict if gradient_norm is None else _worse(verdict, self._of_gradient(gradient_norm))

    def observe(
        self,
        loss: float,
        gradient_norm: float,
        parameter_norm: float | None = None,
        prediction_error: float | None = None,
    ) -> Verdict:
        """The worst verdict on a real step, which then becomes part of the statistics if its numbers are finite.

        `parameter_norm` is passed where it is known, as computing it is a pass over the weights; `prediction_error`,
        |predicted - real| / |real| of a loss or a displacement, at the step that a prediction led to.
        """
        verdict = self.judge(loss, gradient_norm)
        if verdict.trouble is not Trouble.NOT_FINITE:
            self._learn(loss, gradient_norm)
            verdict = _worse(_worse(verdict, self._of_swings()), self._of_stillness())
            if parameter_norm is not None:
                verdict = _worse(verdict, self._of_parameters(parameter_norm))
            if prediction_error is not None:
                verdict = _worse(verdict, self._of_prediction(prediction_error))
        self.warnings = self.warnings + 1 if verdict.level >= Level.WARNING else 0
        if verdict.level is Level.WARNING and self.warnings >= self.config.warnings:
            reason = f"{verdict.reason} This is warning {self.warnings} in a row."
            return Verdict(Level.CRITICAL, verdict.trouble, reason)
        return verdict

    def _learn(self, loss: float, gradient_norm: float) -> None:
        judged = self.steps >= self.config.baseline
        if judged and (sigma := self.loss_sigma):
            loss = min(loss, self.loss_mean + self.config.loss_sigma * sigma)
        if judged and self.gradient_mean:
            gradient_norm = min(gradient_norm, self.config.gradient_explosion * self.gradient_mean)
        move = loss - self.last_loss if self.steps else 0.0
        self.still = self.still + 1 if self.steps and not move else 0
        self.steps += 1
        weight = max(1 - self.config.ema, 1 / self.steps)  # a plain mean until the exponential one is warm
        difference = loss - self.loss_mean
        self.loss_mean += weight * difference
        self.loss_variance = (1 - weight) * (self.loss_variance + weight * difference * difference)
        self.gradient_mean += weight * (gradient_norm - self.gradient_mean)
        self.turning += (1 - RECENT) * ((move * self.last_move < 0) - self.turning)
        self.swing += (1 - RECENT) * (abs(move) - self.swing)
        self.swing_mean += weight * (abs(move) - self.swing_mean)
        self.last_loss, self.last_move = loss, move

    # A verdict on each kind of trouble

    def _of_loss(self, loss: float, level: float) -> Verdict:
        limit, sigma = self.config.loss_sigma, self.loss_sigma
        if not sigma or loss - level <= limit * sigma:
            return HEALTHY
        score = (loss - level) / sigma
        return Verdict(
            Level.WARNING if score > 2 * limit else Level.CAUTION,
            Trouble.LOSS,
            f"the loss {loss:.4g} lies {score:.3g} standard deviations above its level {level:.4g}; the limit is "
            f"{limit:g}.",
        )

    def _of_gradient(self, norm: float) -> Verdict:
        mean, most, least = self.gradient_mean, self.config.gradient_explosion, self.config.gradient_vanishing
        if not mean or least * mean <= norm <= most * mean:
            return HEALTHY
        level, trouble, limit = (
            (Level.WARNING, Trouble.EXPLOSION, f"the limit is {most:g} times")
            if norm > mean
            else (Level.CAUTION, Trouble.VANISHING, f"the least is {least:g} times")
        )
        return Verdict(level, trouble, f"the gradient norm is {norm:.3g} and its mean {mean:.3g}; {limit}.")

    def _of_swings(self) -> Verdict:
        limits = self.config
        grown = self.steps > limits.baseline and self.swing > limits.oscillation_growth * self.swing_mean
        if not grown or self.turning <= limits.oscillation_caution:
            return HEALTHY
        return Verdict(
            Level.WARNING if self.turning > limits.oscillation_warning else Level.CAUTION,
            Trouble.OSCILLATION,
            f"the loss turns at {self.turning:.0%} of the steps and swings {self.swing / self.swing_mean:.3g} times as "
            f"far as on average; the limits are {limits.oscillation_caution:.0%} and {limits.oscillation_growth:g}.",
        )

    def _of_stillness(self) -> Verdict:
        if self.still < self.config.baseline:
            return HEALTHY
        return Verdict(
            Level.CAUTION,
            Trouble.STANDSTILL,
            f"the loss has not moved from {self.last_loss:.4g} for {self.still} steps: training does not change it.",
        )

    def _of_parameters(self, norm: float) -> Verdict:
        mean, limit = self.parameter_mean, self.config.parameter_growth
        if not math.isfinite(norm):
            return Verdict(Level.CRITICAL, Trouble.GROWTH, f"the parameter norm is {norm}.")
        grown = self.steps >= self.config.baseline and norm > limit * mean > 0
        self.looks += 1
        weight = max(1 - self.config.ema, 1 / self.looks)
        self.parameter_mean += weight * ((limit * mean if grown else norm) - mean)
        if not grown:
            return HEALTHY
        reason = f"the parameter norm is {norm:.3g} and its mean {mean:.3g}; the limit is {limit:g} times."
        return Verdict(Level.WARNING, Trouble.GROWTH, reason)

    def _of_prediction(self, error: float) -> Verdict:
        limits = self.config
        if error <= limits.prediction_caution:
            return HEALTHY
        return Verdict(
            Level.CAUTION if error <= limits.prediction_warning else Level.WARNING,
            Trouble.PREDICTION,
            f"the prediction was off by {error:.0%} of what came; the limit is {limits.prediction_caution:.0%}.",
        )


def _worse(a: Verdict, b: Verdict) -> Verdict:
    return b if b.level > a.level else a
