"""What to do about trouble: a decision from a verdict and a few counters. Nothing is done here; the trainer does it.

The remedies for each kind of trouble form a ladder, the mildest first: a step that was not finite is skipped, then the
run is rolled back with a smaller learning rate, then it ends. The counters are a value that is passed in and returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from minihybrid.config import Config, is_count, is_number
from minihybrid.hybrid.divergence import Level, Trouble, Verdict
from minihybrid.stateful import savable


class RecoveryAction(StrEnum):
    """What the trainer must do. The settings named here are those of `RecoveryConfig`.

    The good snapshot is the last one taken at a healthy verdict: model with buffers and random streams, optimizer with
    moments, schedule. A jump that can still be blamed is taken back by the trainer before anything else is asked.

    CONTINUE: nothing.
    SKIP_BATCH: see to it that nothing stands of the step that was tried: weights, buffers, moments, schedule and random
    streams are as before it. The batch is used up.
    FORCE_FULL_PHASE: give up a prediction under way, and predict nothing for the next `calm` real steps; asked for
    again meanwhile, the count begins anew.
    INCREASE_CONFIDENCE_THRESHOLD: move the confidence that a prediction needs by `confidence_step` of what is missing
    to 1. Each accepted prediction takes one such move back.
    REDUCE_PREDICT_RATIO: multiply the share of predictions among all actions by `predict_ratio_cut`, so that Full
    phases grow. An accepted prediction restores the share.
    RESET_PREDICTOR: `predictor.reset()`, and forget the prediction under way and the residuals of the corrector.
    ROLLBACK_AND_RETRY: restore the good snapshot to the bit, do all of RESET_PREDICTOR, multiply the learning rate from
    here on by `Decision.learning_rate_factor`, and go on in phase Full with the next batch. What was spent stays spent.
    ABORT: restore the good snapshot and raise DivergenceError with the reason.
    """

    CONTINUE = "Continue"
    SKIP_BATCH = "SkipBatch"
    FORCE_FULL_PHASE = "ForceFullPhase"
    INCREASE_CONFIDENCE_THRESHOLD = "IncreaseConfidenceThreshold"
    REDUCE_PREDICT_RATIO = "ReducePredictRatio"
    RESET_PREDICTOR = "ResetPredictor"
    ROLLBACK_AND_RETRY = "RollbackAndRetry"
    ABORT = "Abort"


class RecoveryConfig(Config):
    """How patient the ladders are, and how strong the remedies.

    `skips`: batches in a row that may be skipped. `rollbacks`: rollbacks before the run is given up; `calm` healthy
    steps in a row forgive them all. `rejections`: predictions in a row, rejected or taken back late, that reduce their
    share; so many again reset the predictor. `learning_rate_cut`, `predict_ratio_cut`, `confidence_step`: see
    `RecoveryAction`.

    Raises ValueError, one sentence, for values that make no sense.

    >>> RecoveryConfig(learning_rate_cut=2)
    Traceback (most recent call last):
        ...
    ValueError: RecoveryConfig: learning_rate_cut is 2; expected a number in (0, 1).
    """

    skips: int = 3
    rollbacks: int = 3
    rejections: int = 3
    calm: int = 100
    learning_rate_cut: float = 0.5
    predict_ratio_cut: float = 0.5
    confidence_step: float = 0.25

    def __post_init__(self) -> None:
        for setting, least in (("skips", 0), ("rollbacks", 0), ("rejections", 1), ("calm", 1)):
            self.require(setting, is_count(getattr(self, setting), least), f"an integer of at least {least}")
        for setting in ("learning_rate_cut", "predict_ratio_cut", "confidence_step"):
            value = getattr(self, setting)
            self.require(setting, is_number(value) and 0 < value < 1, "a number in (0, 1)")


@savable
@dataclass(frozen=True)
class RecoveryState:
    """What a decision depends on beside the verdict: counters.

    `skipped`: batches in a row. `healthy`: steps in a row. `rollbacks`: those not forgiven yet. `rejected`: predictions
    in a row since the last remedy against them. `reduced`: whether their share was reduced since one was accepted.

    >>> RecoveryState(rejected=2).predicted(accepted=False).rejected
    3
    """

    skipped: int = 0
    healthy: int = 0
    rollbacks: int = 0
    rejected: int = 0
    reduced: bool = False

    def predicted(self, accepted: bool) -> RecoveryState:
        """The counters after a prediction was accepted, or was rejected or taken back late."""
        if accepted:
            return replace(self, rejected=0, reduced=False)
        return replace(self, rejected=self.rejected + 1)


@dataclass(frozen=True)
class Decision:
    """An action, why (empty for Continue), the counters from now on, and the factor on the learning rate."""

    action: RecoveryAction
    reason: str
    state: RecoveryState
    learning_rate_factor: float = 1.0


@dataclass(frozen=True)
class RecoveryPolicy:
    """Decides after each real step, made or tried. It remembers nothing and changes nothing.

    >>> from minihybrid.hybrid.divergence import DivergenceWatch
    >>> policy, state = RecoveryPolicy(RecoveryConfig(skips=1)), RecoveryState()
    >>> for loss in (1.0, float("nan"), float("nan")):
    ...     decision = policy.decide(DivergenceWatch().judge(loss), state)
    ...     state = decision.state
    ...     print(decision.action, decision.learning_rate_factor)
    Continue 1.0
    SkipBatch 1.0
    RollbackAndRetry 0.5
    """

    config: RecoveryConfig = field(default_factory=RecoveryConfig)

    def decide(self, verdict: Verdict, state: RecoveryState) -> Decision:
        """The mildest action that was not tried in vain yet, and the counters for the next decision."""
        if verdict.level is Level.CRITICAL and verdict.trouble is not Trouble.PREDICTION:
            return self._rescued(verdict, state)
        state = self._after(verdict, state)
        if verdict.level < Level.WARNING:
            return self._undisturbed(state)
        if verdict.trouble is not Trouble.PREDICTION:
            action = RecoveryAction.FORCE_FULL_PHASE
        elif verdict.level is Level.WARNING:
            action = RecoveryAction.INCREASE_CONFIDENCE_THRESHOLD
        else:
            action = RecoveryAction.RESET_PREDICTOR
        return Decision(action, verdict.reason, state)

    def _rescued(self, verdict: Verdict, state: RecoveryState) -> Decision:
        """The run cannot go on from here."""
        config = self.config
        if verdict.trouble is Trouble.NOT_FINITE and state.skipped < config.skips:
            after = replace(state, skipped=state.skipped + 1, healthy=0)
            return Decision(RecoveryAction.SKIP_BATCH, verdict.reason, after)
        tried = f"{verdict.reason} Batches skipped before: {state.skipped}; rollbacks: {state.rollbacks}."
        if state.rollbacks < config.rollbacks:
            after = replace(state, skipped=0, healthy=0, rollbacks=state.rollbacks + 1)
            return Decision(RecoveryAction.ROLLBACK_AND_RETRY, tried, after, config.learning_rate_cut)
        if verdict.trouble is Trouble.NOT_FINITE:
            return Decision(RecoveryAction.ABORT, tried, state)
        return Decision(RecoveryAction.FORCE_FULL_PHASE, tried, replace(state, healthy=0))  # bad, but it can go on

    def _after(self, verdict: Verdict, state: RecoveryState) -> RecoveryState:
        """The counters after a step that stands."""
        healthy = state.healthy + 1 if verdict.level < Level.WARNING else 0
        return replace(
            state,
            skipped=0,
            healthy=healthy,
            rollbacks=0 if healthy >= self.config.calm else state.rollbacks,
        )

    def _undisturbed(self, state: RecoveryState) -> Decision:
        """The run is well; its predictions may not be."""
        if state.rejected < self.config.rejections:
            return Decision(RecoveryAction.CONTINUE, "", state)
        reason = f"{state.rejected} predictions in a row were rejected or taken back."
        if state.reduced:
            return Decision(RecoveryAction.RESET_PREDICTOR, reason, replace(state, rejected=0, reduced=False))
        return Decision(RecoveryAction.REDUCE_PREDICT_RATIO, reason, replace(state, rejected=0, reduced=True))
