"""The four phases, and the one writer of every knob: the controller, which decides by returning values.

A `Position` is where a run stands and how its knobs are set. The controller's methods take one and what has happened,
and return the next; they change nothing and remember nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from minihybrid.hybrid.config import HybridConfig
from minihybrid.stateful import savable

LEAST_TRUST = 2.0**-20
"""Steps that are so much shorter and still too long are not the learning rate's fault."""


@savable
class Phase(StrEnum):
    """What a call of the trainer does: a real step (Warmup, Full, Correct) or one jump (Predict).

    >>> f"{Phase.PREDICT}"
    'predict'
    """

    WARMUP = "warmup"
    FULL = "full"
    PREDICT = "predict"
    CORRECT = "correct"


@savable
class Position(NamedTuple):
    """Where a run stands: `done` of the `length` actions of a phase are behind it; and the knobs.

    `trust` limits the next prediction, `least_trust` is how small a rejection can make it. `doubt` in [0, 1) is how
    much of what is missing to certainty predictions need beyond what the settings ask for. Recovery makes Full
    `stretch` times longer, and the learning rate `lr_cut` times as high. `rejections` are those in a row.
    """

    phase: Phase
    length: int
    done: int = 0
    trust: float = 1.0
    least_trust: float = 1.0
    doubt: float = 0.0
    stretch: float = 1.0
    lr_cut: float = 1.0
    rejections: int = 0


@dataclass(frozen=True)
class PhaseController:
    """Warmup once, then Full, Predict, Correct, Full, ...; phases of length 0 are passed over.

    `verified_steps`: whether the next real step verifies the one before, in Warmup, and every jump.

    >>> controller = PhaseController(HybridConfig(warmup=1, full=2, correct=1))
    >>> position, phases = controller.start(), []
    >>> for _ in range(7):
    ...     phases.append(str(position.phase))
    ...     predicts = position.phase is Phase.PREDICT
    ...     position = controller.accepted(position) if predicts else controller.after_step(position)
    >>> phases
    ['warmup', 'full', 'full', 'predict', 'correct', 'full', 'full']
    """

    config: HybridConfig
    verified_steps: bool = False

    def start(self) -> Position:
        """The first position of a run."""
        warms_up = self.verified_steps and self.config.warmup
        trust = self.config.trust.warmup if warms_up else self.config.trust.initial
        least = 0.0 if warms_up else 1.0  # 0 until Warmup has found it
        return self._enter(Position(Phase.WARMUP, self.config.warmup, trust=trust, least_trust=least))

    def lr_scale(self, position: Position) -> float:
        """What the learning rate of a real step is multiplied by."""
        return position.lr_cut * (min(1.0, position.trust) if self.verified_steps else 1.0)

    def limit(self, position: Position) -> float:
        """The trust in a prediction, at least 1: below that, the real steps are shorter already."""
        return max(1.0, position.trust)

    def needed(self, confidence: float, position: Position) -> float:
        """The confidence that a prediction needs where the settings ask for this one."""
        return confidence + position.doubt * (1 - confidence)

    def horizon(self, reach: int) -> int:
        """How far to predict, when the forecast reaches so far with the confidence that it has to have; 0: not now."""
        return min(self.config.horizon, reach)

    def after_step(self, position: Position) -> Position:
        """A real step was made."""
        if position.done + 1 < position.length:
            return position._replace(done=position.done + 1)
        if position.phase is Phase.FULL:
            return position._replace(phase=Phase.PREDICT, length=1, done=0)
        return self._full(position)

    def passed(self, position: Position, fell: bool) -> Position:
        """A verified real step stands: trust below 1 grows if the loss fell; the last of Warmup finds the least."""
        if position.least_trust:
            grown = min(1.0, position.trust * self.config.trust.cut)
            return position._replace(trust=max(position.trust, grown)) if fell else position
        trust = min(1.0, position.trust * self.config.trust.cut) if fell else position.trust
        if position.phase is Phase.WARMUP:
            return position._replace(trust=trust)
        first = min(self.config.trust.largest, self.config.trust.initial * trust)
        return position._replace(trust=first, least_trust=trust)

    def shortened(self, position: Position, jump: bool) -> Position:
        """After a jump, or a real step, the loss was higher, and it was cut."""
        if jump:
            return position._replace(trust=max(position.least_trust, position.trust / self.config.trust.growth))
        trust = max(LEAST_TRUST, min(1.0, position.trust) / self.config.trust.cut)
        return position._replace(trust=trust, least_trust=min(position.least_trust, trust))

    def accepted(self, position: Position) -> Position:
        """A probed jump was made: Correct comes next, which may confirm it."""
        return self._correct(position, 0)

    def declined(self, position: Position) -> Position:
        """Nothing was proposed, or a gate failed: Correct comes next."""
        return self._correct(position, 0)

    def deferred(self, position: Position) -> Position:
        """A jump was made that the next real step will judge."""
        return self._full(position)

    def confirmed(self, position: Position) -> Position:
        """A jump has proved good: trust grows, doubt shrinks, Full is as long as the settings say."""
        position = position._replace(
            trust=min(self.config.trust.largest, position.trust * self.config.trust.growth),
            doubt=max(0.0, 1 - (1 - position.doubt) / (1 - self.config.recovery.confidence_step)),
            stretch=1.0,
            rejections=0,
        )
        return self._full(position) if position.phase is Phase.FULL and not position.done else position

    def rejected(self, position: Position) -> Position:
        """A jump was taken back: less trust, and a longer Correct."""
        rejections = position.rejections + 1
        skipped = min(2 ** (rejections - 1), self.config.longest_wait)
        trust = max(position.least_trust, position.trust / self.config.trust.cut)
        return self._correct(position._replace(trust=trust, rejections=rejections), skipped)

    # Recovery

    def doubted(self, position: Position) -> Position:
        """Predictions are less right than they said: the next ones need more confidence."""
        step = self.config.recovery.confidence_step
        return position._replace(doubt=position.doubt + step * (1 - position.doubt))

    def reduced(self, position: Position) -> Position:
        """Predictions are not worth their number: from now on Full is longer."""
        return position._replace(stretch=position.stretch / self.config.recovery.predict_ratio_cut)

    def calmed(self, position: Position) -> Position:
        """The run is in trouble: only real steps for a while, beginning now."""
        length = max(self.config.recovery.calm, self._full(position).length)
        return position._replace(phase=Phase.FULL, length=length, done=0)

    def retried(self, position: Position, lr_factor: float) -> Position:
        """The run was rolled back, and goes on from there."""
        return self._full(position._replace(lr_cut=position.lr_cut * lr_factor))

    def _full(self, position: Position) -> Position:
        length = math.ceil(self.config.full * position.stretch)
        return position._replace(phase=Phase.FULL, length=length, done=0)

    def _correct(self, position: Position, skipped: int) -> Position:
        length = self.config.correct + skipped * self.config.full
        return self._enter(position._replace(phase=Phase.CORRECT, length=length, done=0))

    def _enter(self, position: Position) -> Position:
        return position if position.length else self._full(position)
