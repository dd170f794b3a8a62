"""The hybrid trainer: real steps, and now and then a jump that has to prove itself.

Each call of `step` is one action of the phase that the controller is in. Predict asks the predictor where the weights
are heading, has the proposal verified in the predictor's own way, and either makes the jump or is, to the bit, where it
was. Only the controller decides what comes next and how the knobs are set; all other parts give advice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from minihybrid.data.dataset import Batch
from minihybrid.hybrid.agreement import Agreement
from minihybrid.hybrid.config import HybridConfig
from minihybrid.hybrid.correct import Corrector
from minihybrid.hybrid.divergence import HEALTHY, DivergenceWatch, Level, Verdict
from minihybrid.hybrid.forecast import DampedTrend
from minihybrid.hybrid.full import FullTrainer
from minihybrid.hybrid.hindsight import Hindsight
from minihybrid.hybrid.memory import MemoryPlan, MemoryUse, measure
from minihybrid.hybrid.payoff import PayoffTest
from minihybrid.hybrid.phase import Phase, PhaseController
from minihybrid.hybrid.predictors import Prediction, Predictor, RealStep
from minihybrid.hybrid.recovery import RecoveryAction, RecoveryPolicy, RecoveryState
from minihybrid.hybrid.state import RunState
from minihybrid.hybrid.verify import Outcome
from minihybrid.hybrid.wrapper import ModelWrapper, OptimizerWrapper
from minihybrid.module.module import Module
from minihybrid.rng import Rng
from minihybrid.train.metrics import Mean
from minihybrid.train.step import DivergenceError, StepResult

M = TypeVar("M", bound=Module)

MOST_CUTS = 2
"""How often a jump, or a step, after which the loss is higher is shortened, before the one is taken back and the other
stands."""
SNAPSHOT_EVERY = 200
"""Real steps between looks at the weights: for their norm, and for a snapshot that recovery may return to."""


@dataclass(frozen=True)
class TrainerSnapshot:
    """Model with buffers and random streams, optimizer with schedule, and what the predictor knows."""

    model: Any
    optimizer: Any
    predictor: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A jump, or a real step, that the next real step verifies: where it began, the loss there, the cuts so far.

    A jump has a snapshot from `before` it, to which it is taken back when cuts do not help; a step has none, and
    stands.
    """

    start: Any
    level: float
    before: Any = None
    cuts: int = 0


class HybridTrainer(FullTrainer[M]):
    """Trains a wrapped model by the cycle of a HybridConfig.

    `guard` is an endless iterator of held-out batches, one of which judges each prediction that is probed (256 to 512
    examples are enough); without one the batch given to `step` does, which results report as "in-sample". `predictor`
    is the configured one if none is given. `rng` draws which cycles do without a prediction, to tell whether they pay.
    The learning rate follows real steps. `ledger` tells what was spent, `verdict` what the watch said last. Raises
    TypeError for a guard that is no iterator.

    >>> import minihybrid as mh
    >>> from minihybrid.hybrid import HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
    >>> data = mh.data.sine(mh.Rng(0))
    >>> def forward(model, batch):
    ...     return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> model = ModelWrapper(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0)), forward)
    >>> optimizer = OptimizerWrapper(mh.optim.Adam(), 0.01)
    >>> trainer = HybridTrainer(model, optimizer, HybridConfig.full_batch())
    >>> batch = mh.data.Batch(data.inputs, data.targets)
    >>> results = [trainer.step(batch) for _ in range(20)]
    >>> results[6].phase, results[6].accepted, results[7].loss < results[5].loss
    ('predict', True, True)
    >>> trainer.ledger.backward_passes
    13
    """

    def __init__(
        self,
        model_wrapper: ModelWrapper[M],
        optimizer_wrapper: OptimizerWrapper,
        config: HybridConfig | None = None,
        guard: Iterator[Batch] | None = None,
        predictor: Predictor | None = None,
        rng: Rng | None = None,
    ) -> None:
        super().__init__(model_wrapper, optimizer_wrapper)
        if guard is not None and not hasattr(guard, "__next__"):
            raise TypeError(
                f"HybridTrainer: the guard is a {type(guard).__name__}; expected an iterator of batches without end, "
                "such as a DataLoader."
            )
        self.config = config = config or HybridConfig()
        self.guard = guard
        self.plan = self._planned(config)
        self.predictor: Predictor = config.predictor.within(self.plan).init() if predictor is None else predictor
        self.controller = PhaseController(config, verified_steps=self.predictor.verification.deferred)

        self.watch = DivergenceWatch(config.divergence)
        self.verdict = HEALTHY
        self.policy = RecoveryPolicy(config.recovery)
        self.agreement = Agreement()
        self.forecaster = DampedTrend() if config.confidence else None
        keeps = config.hindsight if self.plan.late_rollback else None
        self.hindsight = None if keeps is None else Hindsight(keeps)
        self.payoff = None if config.payoff is None else PayoffTest(config.payoff, rng or Rng(0))
        self.corrector = None if config.correction is None else Corrector(config.correction)
        self.state = None if config.state is None else RunState(config.state)

        self._position = self.controller.start()
        self._set_knobs()
        self._acting = self.phase  # the phase of the action under way
        self._recovery = RecoveryState()
        self._proposal: Prediction | None = None
        self._on_trial: Trial | None = None
        self._before_jump: TrainerSnapshot | None = None  # while hindsight may regret the jump
        self._expected_loss: float | None = None  # at the end of Correct
        self._good: TrainerSnapshot | None = None
        self._good_at = -SNAPSHOT_EVERY
        self._cycle_loss, self._cycle_cost = Mean(), 0.0
        self._predicts = self.plan.predicts
        self._examples = 1  # in a training batch
        self._last_loss = math.nan
        weights = model_wrapper.weights
        looked_at = self.predictor.looks_at_gradients
        self._gradient: Any = np.empty_like(weights) if looked_at else None
        needs_start = looked_at or self.controller.verified_steps
        self._start: Any = np.empty_like(weights) if needs_start else None  # of the last real step

    @property
    def phase(self) -> Phase:
        """What the next call of `step` will do."""
        return self._position.phase

    def step(self, batch: Batch) -> StepResult:
        """One action: a real step on the batch, or a prediction (which looks at the batch only without a guard).

        A loss or gradient that is not finite is dealt with as the recovery policy says: `note` of the result tells.
        Raises DivergenceError when the policy is at its end; whatever forward function, guard and predictor raise; and
        ValueError for a guard that has ended or a prediction that does not fit the model. The action then does not
        count, model, random streams and optimizer are as they were, and the next call tries it again (only what the
        predictor's `observe` raises comes after a real step, which stands).
        """
        before = self._acting = self.phase
        result = self._predict(batch) if before is Phase.PREDICT else self._learn(batch)
        self.ledger.count(result)
        self.steps += 1
        self._set_knobs()
        if result.gradient_norm is not None and not result.rolled_back:
            self._observe(result)
        if self.phase is not before:
            self._entered(self.phase, before)
        return result

    def readout(self) -> M:
        """The model to evaluate and to keep: a copy, with the predictor's read-out if it has one.

        While a jump or step is on trial, that is the model from before it, whose loss is known.
        """
        weights = self.predictor.readout() if self._on_trial is None else self._on_trial.start
        if weights is None:
            return super().readout()
        copy = ModelWrapper(self.model.clone(), self.model_wrapper.forward_fn)
        copy.place(weights)
        return copy.take()

    def memory(self) -> MemoryUse:
        """What is in use now: by the process, by the device, by the history of the predictor and by snapshots."""
        snapshots = (self._before_jump, self._good, self._on_trial)
        return measure(self.model.device, history=self.predictor, snapshots=snapshots)

    def snapshot(self) -> TrainerSnapshot:
        """A copy of what a step can change in model, optimizer and predictor, for `restore`."""
        model, optimizer = self.model_wrapper.snapshot(), self.optimizer_wrapper.snapshot()
        return TrainerSnapshot(model, optimizer, self.predictor.state_dict())

    def restore(self, snapshot: TrainerSnapshot) -> None:
        """Return model, buffers, random streams, optimizer, schedule and predictor to a `snapshot`, to the bit."""
        self.model_wrapper.restore(snapshot.model)
        self.optimizer_wrapper.restore(snapshot.optimizer)
        self.predictor.load_state_dict(snapshot.predictor)

    def _planned(self, config: HybridConfig) -> MemoryPlan:
        """What of the predictor's history, and of snapshots, has room."""
        weights, demand = self.model_wrapper.weights, config.predictor.demand()
        in_use = 0 if config.memory.total is None else measure(self.model.device).others
        if config.hindsight is None:
            demand = replace(demand, late=0)
        return config.memory.plan(weights.size, weights.itemsize, demand, in_use)

    # Real steps

    def _learn(self, batch: Batch) -> StepResult:
        loss, trial = self._forward(batch), self._on_trial
        if trial is not None and not loss <= trial.level and (trial.before is not None or trial.cuts < MOST_CUTS):
            return self._refuse(trial, loss)
        if not math.isfinite(loss):
            return self._recover(self.watch.observe(loss, 0.0), loss)
        norm = self._backward()
        if not math.isfinite(norm):
            return self._recover(self.watch.observe(loss, norm), loss)
        if trial is not None:
            self._pass(trial)
        if self._start is not None:
            self._start[...] = self.model_wrapper.weights
        if self._gradient is not None:
            self.model_wrapper.gradient_into(self._gradient)
        learning_rate = self.optimizer_wrapper.learning_rate()
        self.optimizer_wrapper.step(self.model_wrapper)
        if self.controller.verified_steps:
            self._on_trial = Trial(self._start, loss)
        self._last_loss, self._examples = loss, len(batch.inputs)
        self._cycle_loss.add(loss)
        self._position = self.controller.after_step(self._position)
        return self._judge(loss, norm, learning_rate)

    def _observe(self, result: StepResult) -> None:
        """A real step was made, and stands."""
        began = perf_counter()
        optimizer, weights = self.optimizer_wrapper.optimizer, self.model_wrapper.weights
        step = RealStep(result.loss, result.learning_rate, weights, optimizer, self._start, self._gradient)
        self.predictor.observe(step)
        self.ledger.history_seconds += perf_counter() - began
        if self.forecaster is not None:
            self.forecaster.observe(result.loss)
        if self.state is not None:
            self.state.observe(step)

    def _judge(self, loss: float, norm: float, learning_rate: float) -> StepResult:
        """What is to be said, and done, after a real step."""
        error = None
        if self.phase is not Phase.CORRECT and self._expected_loss is not None:
            error = abs(self._expected_loss - loss) / abs(loss) if loss else None
            self._expected_loss = None
        looks = self.ledger.backward_passes >= self._good_at + SNAPSHOT_EVERY
        weights = self.model_wrapper.weights
        parameter_norm = math.sqrt(float(np.vdot(weights, weights))) if looks else None
        verdict = self.watch.observe(loss, norm, parameter_norm, error)
        if self.hindsight is not None and self.hindsight.observe(loss) and self._before_jump is not None:
            return self._regret(loss, learning_rate)
        if looks and verdict.level is Level.HEALTHY:
            self._good, self._good_at = self.snapshot(), self.ledger.backward_passes
        return self._recover(verdict, loss, gradient_norm=norm, learning_rate=learning_rate)

    # Predictions

    def _predict(self, batch: Batch) -> StepResult:
        prediction = self._proposal
        if prediction is None and self._predicts:
            began = perf_counter()
            # Kept until something has come of it: when a probe fails, the predictor is not asked for the same twice.
            self._proposal = prediction = self._proposed()
            self.ledger.prediction_seconds += perf_counter() - began
        result = self._verify(prediction, batch)
        self._proposal = None
        return result

    def _verify(self, prediction: Prediction | None, batch: Batch) -> StepResult:
        if prediction is None or not self._passes(prediction):
            self._position = self.controller.declined(self._position)
            return self._predicted(prediction)
        if self.predictor.verification.deferred:
            return self._try(prediction)
        return self._probe(prediction, batch)

    def _proposed(self) -> Prediction | None:
        """What the predictor says, if it fits the model."""
        far = self.config.horizon
        if self.forecaster is not None:
            far = self.controller.horizon(self.forecaster.reach(self._position.confidence))
        prediction = self.predictor.predict(far, self.controller.limit(self._position)) if far else None
        if prediction is None:
            return None
        delta, weights, name = prediction.delta, self.model_wrapper.weights, type(self.predictor).__name__
        if (delta.shape, delta.dtype) != (weights.shape, weights.dtype):
            raise ValueError(
                f"{name} predicted a delta of {delta.dtype} {delta.shape}; expected {weights.dtype} {weights.shape}, "
                "as the model's flat vector of weights."
            )
        return prediction

    def _passes(self, prediction: Prediction) -> bool:
        """The gates that cost nothing: the run is in no trouble, the predictor believes itself, and all is finite."""
        believed = self.verdict.level < Level.WARNING and prediction.confidence >= self.config.coherence
        return believed and math.isfinite(float(np.vdot(prediction.delta, prediction.delta)))

    def _try(self, prediction: Prediction) -> StepResult:
        """Make a jump that the next real step will judge."""
        before = self.model_wrapper.snapshot()
        self.model_wrapper.move(prediction.delta)
        self._on_trial = Trial(self._start, self._last_loss, before)
        self._position = self.controller.deferred(self._position)
        return self._predicted(prediction, accepted=True, scale=1.0, guard="next step")

    def _probe(self, prediction: Prediction, batch: Batch) -> StepResult:
        """Probe a jump, and then either make it or be where it started."""
        judge = batch if self.guard is None else self._guard_batch(self.guard)
        reach = min(self.config.max_horizon / self.config.horizon, self.controller.limit(self._position))
        before = self.snapshot() if self.hindsight is not None else None
        weights = self.model_wrapper.snapshot() if before is None else before.model
        origin = weights.vector if prediction.origin is None else prediction.origin
        delta = prediction.delta if self.corrector is None else self.corrector.corrected(prediction.delta)

        def loss_at(scale: float) -> float:
            # Always from the start: adding and subtracting again would not give the same bits.
            self.model_wrapper.restore(weights)
            self.model_wrapper.place(origin + origin.dtype.type(scale) * delta)
            self.ledger.forward_probes += 1
            self.ledger.probe_batches += len(judge.inputs) / self._examples
            return self.model_wrapper.evaluate(judge)

        try:
            outcome = self.predictor.verification.limited(reach).search(loss_at)
            self.model_wrapper.restore(weights)
            if outcome.scale:
                self.model_wrapper.move(delta, outcome.scale)
                self._translate(self.model_wrapper.weights - weights.vector)
        except BaseException:
            self.model_wrapper.restore(weights)
            raise
        self._told(outcome, before)
        self._expect(prediction, outcome)
        guard = None if not outcome.probes else "in-sample" if self.guard is None else "held-out"
        accepted = outcome.scale > 0
        return self._predicted(prediction, outcome, accepted=accepted, rolled_back=not accepted, guard=guard)

    def _translate(self, delta: Any) -> None:
        self.predictor.translate(delta)
        if self.state is not None:
            self.state.translate(delta)

    def _guard_batch(self, guard: Iterator[Batch]) -> Batch:
        try:
            return next(guard)
        except StopIteration:
            raise ValueError(
                "HybridTrainer: the guard has no more batches; pass an endless iterator, such as a DataLoader."
            ) from None

    def _told(self, outcome: Outcome, before: TrainerSnapshot | None) -> None:
        """Everyone who goes by how predictions fare hears of a probed one."""
        accepted = outcome.scale > 0
        self._position = (self.controller.accepted if accepted else self.controller.rejected)(self._position)
        self._recovery = self._recovery.predicted(accepted)
        if accepted and self.hindsight is not None:
            self._before_jump = before
            self.hindsight.begin()
        if self.state is not None:
            self.state.judged(accepted)

    def _expect(self, prediction: Prediction, outcome: Outcome) -> None:
        """What the real steps of Correct will be held against."""
        steps = self.config.correct
        if not (steps and prediction.est_steps):
            return
        expected = prediction.delta * (steps / prediction.est_steps)
        weights = self.model_wrapper.weights
        self.agreement.begin(expected, weights)
        if outcome.scale and outcome.probes and outcome.before:
            self._expected_loss = self._cycle_loss.value * outcome.after / outcome.before
        if self.corrector is not None:
            self.corrector.begin(expected, weights, self._expected_loss)

    def _predicted(self, prediction: Prediction | None, outcome: Outcome | None = None, **rest: Any) -> StepResult:
        """What a prediction came to."""
        probed = outcome is not None and outcome.probes > 0
        if outcome is not None:
            rest |= {"scale": outcome.scale, "loss_after": outcome.after if probed and outcome.scale else None}
        return self._result(
            str(self._acting),
            loss=outcome.before if outcome is not None and probed else self._last_loss,
            learning_rate=self.optimizer_wrapper.learning_rate(),
            predicted=True,
            horizon=0 if prediction is None else prediction.est_steps,
            **rest,
        )

    # What the next real step verifies

    def _pass(self, trial: Trial) -> None:
        self._on_trial = None
        if trial.before is None:
            self._position = self.controller.passed(self._position)
        else:
            self._translate(self.model_wrapper.weights - trial.before.vector)
            self._position = self.controller.confirmed(self._position)
        self._set_knobs()

    def _refuse(self, trial: Trial, loss: float) -> StepResult:
        """Shorten what the loss is higher after; take a jump back that was shortened often enough."""
        self.model_wrapper.cancel()
        self.ledger.forward_probes += 1
        self.ledger.probe_batches += 1
        take_back = trial.cuts == MOST_CUTS
        if take_back:
            self.model_wrapper.restore(trial.before)
            self._on_trial = Trial(trial.start, trial.level)
            self._position = self.controller.rejected(self._position)
        else:
            self.model_wrapper.move(trial.start - self.model_wrapper.weights, 1 - 1 / self.config.trust.cut)
            self._on_trial = replace(trial, cuts=trial.cuts + 1)
            self._position = self.controller.shortened(self._position, jump=trial.before is not None)
        learning_rate = self.optimizer_wrapper.learning_rate()
        return self._result(str(self._acting), loss, learning_rate, rolled_back=take_back, shortened=not take_back)

    # Trouble

    def _regret(self, loss: float, learning_rate: float) -> StepResult:
        """Take back a jump that its probes had passed, and all that came after it."""
        assert self._before_jump is not None
        self.restore(self._before_jump)
        self._stand()
        if self.state is not None:
            self.state.reset()
        self._position = self.controller.rejected(self._position)
        self._recovery = self._recovery.predicted(accepted=False)
        note = "the loss has risen since the last jump, which was taken back."
        return self._result(str(self._acting), loss, learning_rate, rolled_back=True, note=note)

    def _stand(self) -> None:
        """Whatever jump was made last is not doubted any more."""
        self._before_jump = self._expected_loss = None
        if self.hindsight is not None:
            self.hindsight.end()

    def _recover(self, verdict: Verdict, loss: float, **rest: Any) -> StepResult:
        """Do what the recovery policy says to a verdict."""
        self.verdict = verdict
        decision = self.policy.decide(verdict, self._recovery)
        self._recovery, action = decision.state, decision.action
        rest.setdefault("learning_rate", self.optimizer_wrapper.learning_rate())
        if "gradient_norm" not in rest:
            self.model_wrapper.cancel()  # the step that was tried; which is all that SkipBatch asks for
        if action is RecoveryAction.FORCE_FULL_PHASE:
            self._position = self.controller.calmed(self._position)
        elif action is RecoveryAction.INCREASE_CONFIDENCE_THRESHOLD:
            self._position = self.controller.doubted(self._position)
        elif action is RecoveryAction.REDUCE_PREDICT_RATIO:
            self._position = self.controller.reduced(self._position)
        elif action is RecoveryAction.RESET_PREDICTOR:
            self._reset_predictor()
        elif action in (RecoveryAction.ROLLBACK_AND_RETRY, RecoveryAction.ABORT):
            taken_back = self._before_jump is not None
            good = self._before_jump or self._good
            if good is not None:
                self.restore(good)
            self._reset_predictor()
            self._position = self.controller.retried(self._position, decision.learning_rate_factor)
            if action is RecoveryAction.ABORT:
                raise DivergenceError(
                    f"step {self.steps} was not applied, the model is as it was when all was well: {decision.reason} "
                    f"Lower the learning rate ({rest['learning_rate']:g}), clip the gradients, or look for bad values "
                    "in the data."
                )
            rest["rolled_back"] = taken_back
        note = "" if action is RecoveryAction.CONTINUE else f"{action}: {decision.reason}"
        return self._result(str(self._acting), loss, note=note, **rest)

    def _reset_predictor(self) -> None:
        self.predictor.reset()
        self._on_trial = None
        self._stand()
        if self.state is not None:
            self.state.reset()
        if self.corrector is not None:
            self.corrector.reset()
        if self.forecaster is not None:
            self.forecaster.reset()

    # The cycle

    def _entered(self, phase: Phase, before: Phase) -> None:
        if self.state is not None:
            self.state.enter(phase)
        if before is Phase.CORRECT:
            self.agreement.finish(self.model_wrapper.weights)
            if self.corrector is not None:
                self.corrector.finish(self.model_wrapper.weights, self._last_loss)
            self._before_jump = None
            if self.hindsight is not None:
                self.hindsight.end()
        if phase is Phase.PREDICT and self.payoff is not None and self.plan.predicts:
            self._predicts = self._next_cycle(self.payoff)

    def _next_cycle(self, payoff: PayoffTest) -> bool:
        """Settle the cycle that ends where a prediction is due; whether the next one predicts."""
        cost, spent = self.ledger.gradient_equivalents, self.ledger.probe_batches / 3
        if self._cycle_loss.value == self._cycle_loss.value:
            payoff.finish(self._cycle_loss.value, cost - self._cycle_cost)
        self._cycle_loss, self._cycle_cost = Mean(), cost
        return payoff.next_predicts(spent, cost)

    def _set_knobs(self) -> None:
        self.optimizer_wrapper.scale = self.controller.lr_scale(self._position)
