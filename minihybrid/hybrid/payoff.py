"""Does prediction pay? Cycles with and without a prediction, in random turn, compared by what they gain for their cost.

A cycle lasts from where a prediction is due to where the next one is. Its gain is the fall of the logarithm of the
training loss, averaged over as many real steps at its end as at the end of the cycle before; its cost is in gradient
equivalents. Whether a cycle predicts is drawn, so that the two kinds differ in little else (a switchback trial:
Bojinov, Simchi-Levi and Zhao 2023). Not in nothing, as the chance of the draw changes with what was found before. The
cost of a prediction that was rejected, and of the steps that were undone with a jump, is part of its cycle, so a
predictor that is never right is found out, too. When the gain per cost of predicting is lower, beyond what chance does,
prediction is switched off, and tried again once in a while. Until it is higher in the same way, what it may cost is
limited. Losses that are not positive tell nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minihybrid.config import Config, is_count, is_number
from minihybrid.rng import Rng
from minihybrid.stateful import Stateful


class PayoffConfig(Config):
    """`controls`: the share of cycles that do not predict. `evidence`: the cycles of either kind before a verdict.

    `certainty`: the standard errors that the gains per cost must be apart by. `remembered`: how many cycles count, the
    last ones. `retry`: while it is off, one cycle in so many predicts. `allowance`: while it has not shown to pay, what
    predictions have cost, beyond `grant` gradient equivalents, is at most this share of the whole cost. Raises
    ValueError for values that make no sense.

    >>> PayoffConfig(controls=0.0)
    Traceback (most recent call last):
        ...
    ValueError: PayoffConfig: controls is 0.0; expected a number in (0, 1).
    """

    controls: float = 0.125
    evidence: int = 4
    certainty: float = 2.0
    remembered: int = 60
    retry: int = 20
    allowance: float = 0.02
    grant: float = 20.0

    def __post_init__(self) -> None:
        self.require("controls", is_number(self.controls) and 0 < self.controls < 1, "a number in (0, 1)")
        for name, least in (("evidence", 2), ("remembered", 2), ("retry", 1)):
            self.require(name, is_count(getattr(self, name), least), f"an integer of at least {least}")
        for name in ("certainty", "allowance", "grant"):
            self.require(name, is_number(getattr(self, name)) and getattr(self, name) >= 0, "a number of at least 0")


class PayoffTest(Stateful):
    """Draws which cycles predict, and compares them.

    >>> test = PayoffTest(PayoffConfig(evidence=2), Rng(0))
    >>> for cycle in range(60):  # each prediction costs a tenth of a cycle, and gains nothing
    ...     predicts = test.next_predicts(spent=0.0, charged=0.0)
    ...     test.finish(loss=0.9**cycle, cost=11.0 if predicts else 10.0)
    >>> test.pays
    False
    """

    def __init__(self, config: PayoffConfig, rng: Rng) -> None:
        self.config = config
        self._rng = rng.split()
        self._level: float | None = None  # the loss at the end of the last cycle
        self._predicts = False
        self._cycles: list[tuple[bool, float]] = []  # whether it predicted, and its gain per cost; the oldest first

    @property
    def pays(self) -> bool | None:
        """Whether the gain per cost is higher with predictions (True), lower (False), or not yet told (None)."""
        kinds = [[gain for predicted, gain in self._cycles if predicted is kind] for kind in (True, False)]
        if min(map(len, kinds)) < self.config.evidence:
            return None
        (with_mean, with_error), (without_mean, without_error) = map(_mean_and_error, kinds)
        difference = with_mean - without_mean
        margin = self.config.certainty * math.hypot(with_error, without_error)
        return True if difference > margin else False if difference < -margin else None

    def next_predicts(self, spent: float, charged: float) -> bool:
        """Begin a cycle: whether it is to predict, when predictions have cost `spent` of the `charged` so far."""
        pays, config = self.pays, self.config
        rare = pays is False or (pays is None and spent > config.grant + config.allowance * charged)
        draw = float(self._rng.uniform(1, dtype="float64")[0])
        self._predicts = draw < 1 / config.retry if rare else draw >= config.controls
        return self._predicts

    def finish(self, loss: float, cost: float) -> None:
        """End the cycle: the mean training loss at its end, and its cost in gradient equivalents."""
        if self._level is not None and loss > 0 and self._level > 0:
            self._cycles.append((self._predicts, math.log(self._level / loss) / cost))
            del self._cycles[: -self.config.remembered]
        self._level = loss


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    mean = sum(values) / n
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
