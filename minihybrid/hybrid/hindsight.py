"""Was a jump good? What the real steps after it say, when its probes have said yes."""

from __future__ import annotations

import math

from minihybrid.config import Config, is_count, is_number
from minihybrid.stateful import Stateful


class HindsightConfig(Config):
    """A jump is regretted when the loss lies `sigma` standard deviations above its level before for `steps` real steps.

    The loss is the mean since the jump; level and deviation are exponential, with decay `keep`. Raises ValueError for
    values that make no sense.
    """

    sigma: float = 4.0
    steps: int = 3
    keep: float = 0.9

    def __post_init__(self) -> None:
        self.require("sigma", is_number(self.sigma) and self.sigma >= 0, "a number of at least 0")
        self.require("steps", is_count(self.steps, 1), "an integer of at least 1")
        self.require("keep", is_number(self.keep) and 0 <= self.keep < 1, "a number in [0, 1)")


class Hindsight(Stateful):
    """Watches the losses of real steps, and after a jump holds them against those before.

    >>> hindsight = Hindsight(HindsightConfig())
    >>> regrets = [hindsight.observe(1.0 + 0.1 * (step % 2)) for step in range(20)]
    >>> hindsight.begin()
    >>> [hindsight.observe(1.8) for _ in range(3)]
    [False, False, True]
    """

    def __init__(self, config: HindsightConfig) -> None:
        self.config = config
        self._seen = 0
        self._level = self._variance = 0.0
        self._limit = math.inf  # while no jump is watched
        self._since: list[float] = []
        self._above = 0

    def begin(self) -> None:
        """A jump was made."""
        self._limit = self._level + self.config.sigma * math.sqrt(self._variance)
        self._since, self._above = [], 0

    def end(self) -> None:
        """The jump stands."""
        self._limit = math.inf

    def observe(self, loss: float) -> bool:
        """A real step had this loss: whether the jump is regretted now."""
        if self._limit < math.inf:
            self._since.append(loss)
            mean = sum(self._since) / len(self._since)
            self._above = self._above + 1 if not mean <= self._limit else 0
            return self._above >= self.config.steps
        self._seen += 1
        share = max(1 - self.config.keep, 1 / self._seen)
        difference = loss - self._level
        self._level += share * difference
        self._variance = (1 - share) * (self._variance + share * difference * difference)
        return False
