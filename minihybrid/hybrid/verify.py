"""How a predicted jump is verified: by the next real gradient, by forward probes along it, or only by what follows.

Each way is a setting, and a search that asks for losses at some scales of the jump. All scales see the same examples
and the same random numbers, so that their noise cancels. A loss that is not finite is never lower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from minihybrid.config import Config, is_number
from minihybrid.train.reading import Scalar

LossAt = Callable[[float], Scalar]
"""The loss of a guard batch with the jump made at a scale; 0 is before it. On a GPU it is read when it is compared."""


@dataclass(frozen=True)
class Outcome:
    """What a search found: the best scale (0: none was better), the losses there and before, the probes made."""

    scale: float
    before: float
    after: float
    probes: int


class Verification(Config):
    """The base of the ways to verify.

    `deferred`: nothing is probed, the jump is made, and the loss of the next real step on the same batch decides.
    """

    @property
    def deferred(self) -> bool:
        """Whether the next real step decides."""
        return False

    @property
    def probes(self) -> bool:
        """Whether it needs a batch to look at."""
        return False

    def limited(self, largest: float) -> Verification:
        """The same, with scales up to `largest` only."""
        return self

    def search(self, loss_at: LossAt) -> Outcome:
        """Probe scales of the jump."""
        raise TypeError(f"{type(self).__name__} defines no search(); it probes nothing.")


class NextGradient(Verification):
    """The next real step decides: a jump after which the loss of the same batch is higher is taken back.

    Costs nothing where the jump was good, since that step was due anyway, and its forward pass where it was not. Only
    for training on one batch that never changes.
    """

    @property
    def deferred(self) -> bool:
        """It does."""
        return True


class Unprobed(Verification):
    """The jump is made at once; only the watch over the real steps that follow can take it back.

    For outer optimizers, whose jumps are part of the update rule.
    """

    def search(self, loss_at: LossAt) -> Outcome:
        """No probe: the whole jump."""
        return Outcome(1.0, float("nan"), float("nan"), 0)


class LineSearch(Verification):
    """Forward-tracking: scale 1, doubled up to `largest` while the loss falls; if 1 was no better, `backtrack` once.

    With `backtrack` 0 there is no second try. Raises ValueError for a `largest` below 1 or a `backtrack` outside
    [0, 1).

    >>> LineSearch().search(lambda scale: (scale - 5.0) ** 2)
    Outcome(scale=4.0, before=25.0, after=1.0, probes=5)
    >>> LineSearch().search(lambda scale: scale).scale
    0.0
    """

    largest: float = 64.0
    backtrack: float = 0.25

    def __post_init__(self) -> None:
        self.require("largest", is_number(self.largest) and self.largest >= 1, "a number of at least 1")
        self.require("backtrack", is_number(self.backtrack) and 0 <= self.backtrack < 1, "a number in [0, 1)")

    @property
    def probes(self) -> bool:
        """It does."""
        return True

    def limited(self, largest: float) -> Verification:
        """The same, with scales up to `largest` only."""
        return replace(self, largest=max(1.0, min(largest, self.largest)))

    def search(self, loss_at: LossAt) -> Outcome:
        """See the class."""
        before = loss_at(0.0)
        scale, best, probes, tried = 0.0, before, 1, 1.0
        while tried <= self.largest:
            loss = loss_at(tried)
            probes += 1
            if not loss < best:
                break
            scale, best, tried = tried, loss, 2 * tried
        if scale == 0.0 and self.backtrack:
            loss = loss_at(self.backtrack)
            probes += 1
            if loss < before:
                scale, best = self.backtrack, loss
        return Outcome(scale, float(before), float(best), probes)


class GuardSearch(LineSearch):
    """Forward-tracking for minibatches: not so far, and without a second try."""

    largest: float = 16.0
    backtrack: float = 0.0
