"""The hybrid trainer: real steps, and now and then a jump that has to prove itself.

Each call of `step` is one action of the phase that the controller is in. Predict asks the predictor where the weights
are heading, has the proposal verified in the predictor's own way, and either makes the jump or is, to the bit, where it
was. Only the controller decides what comes next and how the knobs are set; all other parts give advice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minihybrid.data.dataset import Batch
from minihybrid.hybrid.agreement import Agreement
from minihybrid.hybrid.config import HybridConfig
from minihybrid.hybrid.correct import Corrector
from minihybrid.hybrid.divergence import HEALTHY, DivergenceWatch, Level, Trouble, Verdict
from minihybrid.hybrid.forecast import DampedTrend
from minihybrid.hybrid.foretold import Foretold
from minihybrid.hybrid.full import FullTrainer
from minihybrid.hybrid.hindsight import Hindsight
from minihybrid.hybrid.memory import Demand, MemoryPlan, MemoryUse, measure
from minihybrid.hybrid.payoff import PayoffTest
from minihybrid.hybrid.phase import Phase, PhaseController, Position
from minihybrid.hybrid.predictors import NullConfig, Prediction, Predictor, RealStep
from minihybrid.hybrid.predictors.predictor import FollowsOptimizer
from minihybrid.hybrid.recovery import RecoveryAction, RecoveryPolicy, RecoveryState
from minihybrid.hybrid.state import RunState
from minihybrid.hybrid.verify import Outcome
from minihybrid.hybrid.wrapper import ModelWrapper, OptimizerWrapper
from minihybrid.module.module import Module
from minihybrid.rng import Rng
from minihybrid.stateful import plain, restored, savable
from minihybrid.train.metrics import Mean
from minihybrid.train.reading import BLOCK, Scalar, later, may_be_finite
from minihybrid.train.step import DivergenceError, StepResult

M = TypeVar("M", bound=Module)

MOST_CUTS = 2
"""How often a jump, or a step, after which the loss is higher is shortened, before the one is taken back and the other
stands."""
LOOK_EVERY = 200
"""Real steps between looks at the weights: for their norm, and for a snapshot that recovery may return to."""
ROUNDING = 1e-6
"""A rise of the loss, relative to it, that float32 can hardly tell from none."""
MOMENTS = 3
"""Vectors that an optimizer keeps, for the plan of memory; few rules keep more."""


@savable
@dataclass(frozen=True)
class TrainerSnapshot:
    """Model with buffers and random streams, optimizer with schedule, and what the watch has seen.

    The predictor's state, too, if it keeps an average to read out.
    """

    model: Any
    optimizer: Any
    watch: dict[str, Any]
    predictor: dict[str, Any] | None


@savable
@later("level")
@dataclass(frozen=True)
class Trial:
    """A jump, or a real step, that the next real step verifies: where it began, the loss there, the cuts so far.

    A jump has a snapshot from `before` it, to which it is taken back when cuts do not help; a step has none, and then
    stands.
    """

    start: Any
    level: float
    before: Any = None
    cuts: int = 0

    def refuses(self, loss: Scalar) -> bool:
        """Whether the loss is higher now, and something is left to do about it."""
        rose = not loss <= self.level + ROUNDING * abs(self.level)
        return rose and (self.before is not None or self.cuts < MOST_CUTS)


class Unjudged(NamedTuple):
    """A real step that was made and is to be judged.

    `square` is that of the parameters' norm, where it is looked at; with `settles` a phase Correct has run out.
    """

    result: StepResult
    square: Scalar | None
    settles: bool


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

    transient = (
        *(*FullTrainer.transient, "controller", "policy"),
        *("_acting", "_as_it_was", "_rate", "_gradient", "_untold"),  # these do not outlive an action
    )
    on_host = ("corrector",)

    def __init__(
        self,
        model_wrapper: ModelWrapper[M],
        optimizer_wrapper: OptimizerWrapper,
        config: HybridConfig | None = None,
        guard: Iterator[Batch] | None = None,
        predictor: Predictor | None = None,
        rng: Rng | None = None,
    ) -> None:
        config = config or HybridConfig()
        super().__init__(model_wrapper, optimizer_wrapper, config.compile)
        if guard is not None and not hasattr(guard, "__next__"):
            raise TypeError(
                f"HybridTrainer: the guard is a {type(guard).__name__}; expected an iterator of batches without end, "
                "such as a DataLoader."
            )
        self.config = config
        self.guard = guard
        self.plan = self._planned(config, predictor)
        self.predictor: Predictor = predictor or self._configured(config)
        self._chose_predictor = predictor is None
        self._reads_out = config.predictor.reads_out or predictor is not None
        self.controller = PhaseController(config, verified_steps=self.predictor.verification.deferred)
        self._require_repeatable()

        self.watch = DivergenceWatch(config.divergence)
        self.verdict = HEALTHY
        self.policy = RecoveryPolicy(config.recovery)
        self.agreement = Agreement()
        self.forecaster = DampedTrend() if config.confidence else None
        self.hindsight = self._hindsight(config)
        self.payoff = None if config.payoff is None else PayoffTest(config.payoff, rng or Rng(0))
        self.corrector = None if config.correction is None else Corrector(config.correction)
        self.state = None if config.state is None else RunState(config.state)

        self._position = self.controller.start()
        self._set_knobs()
        self._acting = self.phase  # the phase of the action under way
        self._rate = 0.0  # what the schedule says for it: asked once, before anything has changed
        self._untold: deque[Callable[[], Any]] = deque()  # what the predictor has to hear before the next one
        self._recovery = RecoveryState()
        self._proposal: Prediction | None = None
        self._on_trial: Trial | None = None
        self._as_it_was: tuple[Position, Trial | None] = self._position, None  # what an error returns to
        self._before_jump: TrainerSnapshot | None = None  # of a jump that may be regretted
        self._foretold: Foretold | None = None
        self._good: TrainerSnapshot | None = None
        self._looked_at = -LOOK_EVERY
        self._level = Mean(keep=0.9)  # of the training loss
        self._cycle_losses: deque[float] = deque(maxlen=config.full)
        self._cycle_began = self._undone = 0.0  # gradient equivalents
        self._examples = Mean()  # in a training batch
        self._last_loss: Scalar = math.nan
        self._kept_at = -BLOCK  # real steps made when `_good` was kept, on a GPU
        self._late: list[StepResult] = []  # judged after they were returned, and something was done
        weights = model_wrapper.weights
        looked_at = self.predictor.looks_at_gradients
        self._gradient: Any = np.empty_like(weights) if looked_at else None
        needs_start = looked_at or self.controller.verified_steps
        self._start: Any = np.empty_like(weights) if needs_start else None  # of the last real step

    def _require_repeatable(self) -> None:
        """Raise ValueError where steps verify each other, but the loss of the same weights is another each time."""
        drawing = self.model_wrapper.model.named_rngs()
        if self.controller.verified_steps and drawing:
            raise ValueError(
                f"HybridTrainer: {type(self.predictor).__name__} has the next real step verify the one before, but the "
                f"model draws random numbers ({', '.join(drawing)}), so their losses cannot be compared; use "
                "HybridConfig.minibatch(), or a model without dropout."
            )

    def _planned(self, config: HybridConfig, predictor: Predictor | None) -> MemoryPlan:
        """What of the predictor's history, and of snapshots, has room."""
        weights = self.model_wrapper.weights
        demand = config.predictor.demand() if predictor is None else Demand(history=0, least=0)
        read_out = config.predictor.vectors() if config.predictor.reads_out else 0
        one = 1 + MOMENTS + read_out  # a TrainerSnapshot
        demand = replace(demand, jump=1 + one, late=0 if config.hindsight is None else one)
        in_use = 0 if config.memory.total is None else measure(self.model.device).others
        return config.memory.plan(weights.size, weights.itemsize, demand, in_use)

    def _configured(self, config: HybridConfig) -> Predictor:
        """The predictor with the history that has room; one that keeps nothing if there is no room to predict."""
        return config.predictor.within(self.plan).init() if self.plan.predicts else NullConfig().init()

    def _hindsight(self, config: HybridConfig) -> Hindsight | None:
        """None also where there is no room for it, or no phase Correct to look back in."""
        if config.hindsight is None or not self.plan.late_rollback or not config.correct:
            return None
        return Hindsight(replace(config.hindsight, steps=min(config.hindsight.steps, config.correct)))

    @property
    def phase(self) -> Phase:
        """What the next call of `step` will do."""
        return self._position.phase

    def step(self, batch: Batch) -> StepResult:
        """One action: a real step on the batch, or a prediction (which looks at the batch only without a guard).

        A loss or gradient that is not finite is dealt with as the recovery policy says: `note` of the result tells.
        Raises DivergenceError when the policy is at its end, and the model is then as it was when all was well.
        Whatever else is raised (by the forward function, the schedule, the guard, the predictor, an optimizer;
        ValueError for a guard that has ended or a prediction that does not fit the model) leaves model, random streams
        and optimizer as they were, the action does not count, and the next call tries it again. For that, the predictor
        hears of an action when the next one begins.

        On a GPU the numbers of real steps are looked at together: when 16 have been made, before a prediction, and at
        the end of a Correct that may regret one. What is done about a step that was not finite is then done late, and
        begins where the trainer was when all was well.
        """
        self._tell()
        self._rate = float(self.optimizer_wrapper.schedule(self.optimizer_wrapper.steps))
        self._acting, self._as_it_was = self.phase, (self._position, self._on_trial)
        try:
            result, stands = (self._predict if self.phase is Phase.PREDICT else self._learn)(batch)
        except DivergenceError:
            self._set_knobs()
            raise
        except BaseException:
            self._position, self._on_trial = self._as_it_was
            self._set_knobs()
            self.model_wrapper.cancel()
            raise
        if self._late:
            result = self._with_late_notes(result)
        self.ledger.count(result)
        self.steps += 1
        self._set_knobs()
        if stands:
            self._observe(result)
        if self.phase is not self._acting:
            self._entered()
        return result

    def _tell(self) -> None:
        """Tell the predictor what has happened; if it fails, it is not told the same twice."""
        while self._untold:
            self._untold.popleft()()

    def readout(self) -> M:
        """The model to evaluate and to keep: a copy, with the predictor's read-out if it has one.

        While a jump or step is on trial, that is the model from before it, whose loss is known; where predictor or
        optimizer keep an average, it is the average. Raises DivergenceError as `step` does.
        """
        self.catch_up()
        self._tell()
        weights = self.predictor.readout()
        if weights is None and self._on_trial is not None and not self.optimizer_wrapper.optimizer.positions:
            weights = self._on_trial.start
        if weights is None:
            return super().readout()
        copy = ModelWrapper(self.model.clone(), self.model_wrapper.forward_fn)
        copy.place(weights)
        return copy.take()

    def memory(self) -> MemoryUse:
        """What is in use now: by the process, by the device, by the history of the predictor and by snapshots."""
        self._tell()
        snapshots = (self._before_jump, self._good, self._on_trial)
        return measure(self.model.device, history=self.predictor, snapshots=snapshots)

    def snapshot(self) -> TrainerSnapshot:
        """A copy of what a step can change in model and optimizer, for `restore`."""
        self._tell()
        model, optimizer = self.model_wrapper.snapshot(), self.optimizer_wrapper.snapshot()
        predictor = self.predictor.state_dict() if self._reads_out else None
        return TrainerSnapshot(model, optimizer, self.watch.state_dict(), predictor)

    def restore(self, snapshot: TrainerSnapshot) -> None:
        """Return model, buffers, random streams, optimizer and schedule to a `snapshot`, to the bit.

        What is known of the way since is forgotten: the predictor's history, a jump or step on trial.
        """
        self._restore(snapshot)
        self._tell()

    def _restore(self, snapshot: TrainerSnapshot) -> None:
        self.model_wrapper.restore(snapshot.model)
        self.optimizer_wrapper.restore(snapshot.optimizer, self.model)  # whose ids are others if it was saved
        self.watch.load_state_dict(snapshot.watch)
        if snapshot.predictor is not None:
            self._untold.append(partial(self.predictor.load_state_dict, snapshot.predictor))
        self._unread = []
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on beside the batches, as a plain tree.

        Raises TypeError for a guard that cannot say where it stands; a DataLoader can. Raises as `catch_up` does.
        """
        self.catch_up()
        self._tell()
        return {**super().state_dict(), "config": plain(replace(self.config, compile=False))}

    def _load(self, state: dict[str, Any]) -> None:
        state = dict(state)
        theirs, ours = state.pop("config", {}), plain(replace(self.config, compile=False))
        if odd := [name for name in ours if theirs.get(name) != ours[name]]:
            raise ValueError(
                f"the state is of a trainer with {odd[0]} {theirs.get(odd[0])}, this one has {ours[odd[0]]}; give it "
                "the same HybridConfig."
            )
        if state.get("plan") != plain(self.plan) and "plan" in state:  # other memory was in use when it was made
            self.plan = restored(state["plan"])
            self.hindsight = self._hindsight(self.config)
            if self._chose_predictor:
                self.predictor = self._configured(self.config)
        super()._load(state)
        if isinstance(self.predictor, FollowsOptimizer):
            self.predictor.follow(self.optimizer_wrapper.optimizer)
        self._untold.clear()
        self._set_knobs()

    def _forget(self) -> None:
        self._untold.append(self.predictor.reset)
        self._proposal = self._on_trial = None
        self._let_stand()
        for part in (self.state, self.corrector, self.forecaster):
            if part is not None:
                part.reset()

    # Real steps: each returns its result, and whether a step was made that stands

    def _learn(self, batch: Batch) -> tuple[StepResult, bool]:
        loss, trial = self._forward(batch), self._on_trial
        caught_up = True
        if trial is not None:
            loss = float(loss)  # and the numbers of steps before, if they wait
            caught_up = self._caught_up()
        refused = trial is not None and trial.refuses(loss)
        if refused or not (may_be_finite(loss) and caught_up):
            self.ledger.forward_probes += 1
            self.ledger.probe_batches += 1
        if not caught_up:  # the loss is one of weights that are gone
            return self._result(str(self._acting), loss, self._learning_rate()), False
        if trial is not None and refused:
            why = "" if math.isfinite(loss) else f"the loss is {float(loss)}."
            return self._refuse(trial, float(loss), why, take_back=trial.cuts == MOST_CUTS), False
        norm = self._backward() if may_be_finite(loss) else math.nan
        if not may_be_finite(norm):
            return self._not_finite(trial, float(loss), float(norm)), False
        if trial is not None:
            self._pass(trial, fell=float(loss) < trial.level)
        self._look()
        if self._start is not None:
            self._start[...] = self.model_wrapper.weights
        if self._gradient is not None:
            self.model_wrapper.gradient_into(self._gradient)
        learning_rate = self._learning_rate()
        self.optimizer_wrapper.step(self.model_wrapper)
        if self.controller.verified_steps:
            self._on_trial = Trial(self._start, loss)  # type: ignore[arg-type]  # see `later`
        self._examples.add(self.model_wrapper.examples)
        self._position = self.controller.after_step(self._position)
        return self._made(self._result(str(self._acting), loss, learning_rate, gradient_norm=norm))

    def _backward_follows(self) -> bool:
        return self._on_trial is None

    def _made(self, result: StepResult) -> tuple[StepResult, bool]:
        """A step was made: judge it, now or together with those that follow."""
        self._last_loss = vars(result)["loss"]
        weights, looks = self.model_wrapper.weights, self._looked_at == self.ledger.backward_passes
        square = self.model_wrapper.readings.later(np.vdot(weights, weights)) if looks else None
        settles = self._acting is Phase.CORRECT and self.phase is not Phase.CORRECT
        self._unread.append(Unjudged(result, square, settles))
        waits = self.model_wrapper.readings.wait and not result.known and not self._has_to_look(settles)
        return (result, True) if waits else self._judge_all()

    def _has_to_look(self, settles: bool) -> bool:
        """Whether something depends on numbers that are still on the device."""
        foretold = settles and not (self._before_jump is None and self._foretold is None)
        told = self.payoff is not None or self.forecaster is not None or not self.controller.verified_steps
        return foretold or (told and self.phase is Phase.PREDICT) or len(self._unread) >= BLOCK

    def catch_up(self) -> None:
        """Look at the numbers of the steps that were made on a GPU without waiting for them, as `step` would.

        Raises DivergenceError when the policy is at its end.
        """
        if self._unread:
            self._caught_up()
            self._set_knobs()

    def _caught_up(self) -> bool:
        """Judge all steps that wait for it: whether all of them stand."""
        if not self._unread:
            return True
        result, stands = self._judge_all()
        if result.note:
            self._late.append(result)
        self._as_it_was = self._position, self._on_trial
        return stands

    def _judge_all(self) -> tuple[StepResult, bool]:
        """Judge the steps that wait for it, in order: the last one's result, and whether all of them stand."""
        unread, self._unread = self._unread, []
        last = unread[-1].result
        for step in unread:
            result, stands = self._judge(step)
            if stands and self.forecaster is not None:
                self.forecaster.observe(step.result.loss)
            if step.result is last:
                return result, stands
            if result.note:
                self._late.append(result)
            if not stands:  # nor does what came after it
                break
        return last, False

    def _with_late_notes(self, result: StepResult) -> StepResult:
        """A result that tells, too, what was done about steps before it."""
        late, self._late = self._late, []
        notes = [f"{step.note} (of step {step.step})" for step in late] + [result.note] * bool(result.note)
        taken_back = result.rolled_back or any(step.rolled_back for step in late)
        return replace(result, note=" ".join(notes), rolled_back=taken_back)

    def _judge(self, step: Unjudged) -> tuple[StepResult, bool]:
        """What is to be said, and done, after a real step."""
        result = step.result
        loss, norm = result.loss, result.gradient_norm or 0.0
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return self._undo(result, norm), False
        self._last_loss = loss
        self._level.add(loss)
        self._cycle_losses.append(loss)
        regrets = self.hindsight is not None and self.hindsight.observe(loss)
        parameter_norm = None if step.square is None else math.sqrt(float(step.square))
        error = self._prediction_error(loss, step.settles) if self._foretold is not None else None
        self.verdict = verdict = self.watch.observe(loss, norm, parameter_norm, error)
        in_trouble = verdict.level >= Level.WARNING and verdict.trouble is not Trouble.PREDICTION
        if self._before_jump is not None and (regrets or in_trouble):
            return self._regret(result, verdict.reason if in_trouble else ""), False
        if step.settles:
            self._settle()
        return self._recover(verdict, result)

    def _undo(self, result: StepResult, norm: float) -> StepResult:
        """A step was made before anybody saw that its loss or gradient is not finite."""
        self.verdict = verdict = self.watch.judge(result.loss, norm)
        if self._before_jump is not None:
            return self._regret(result, verdict.reason)
        assert self._good is not None  # it was kept before the first step that was made so
        self._restore(self._good)
        return self._recover(verdict, result)[0]

    def _look(self) -> None:
        """Now and then, keep what recovery may return to: weights whose loss and gradient have just been seen."""
        made, waits = self.ledger.backward_passes, self.model_wrapper.readings.wait
        looks = made >= self._looked_at + LOOK_EVERY
        if looks:
            self._looked_at = made
        # On a GPU it is what to return to when numbers are looked at; it is kept when those of all steps before were.
        due = (looks or (waits and made >= self._kept_at + BLOCK)) and not self._unread
        if due and self.verdict.level is Level.HEALTHY and self._before_jump is None:
            self._good, self._kept_at = self.snapshot(), made

    def _observe(self, result: StepResult) -> None:
        """A real step was made, and stands."""
        optimizer, weights = self.optimizer_wrapper.optimizer, self.model_wrapper.weights
        loss = vars(result)["loss"]  # which may still be on the device
        vectors, readings = (self._start, self._gradient), self.model_wrapper.readings
        step = RealStep(loss, result.learning_rate, weights, optimizer, *vectors, readings)
        self._untold.append(partial(self._show, step))
        if self.state is not None:
            self.state.observe(step)

    def _show(self, step: RealStep) -> None:
        began = perf_counter()
        self.predictor.observe(step)
        self.ledger.history_seconds += perf_counter() - began

    # Predictions

    def _predict(self, batch: Batch) -> tuple[StepResult, bool]:
        prediction = self._proposal
        if prediction is None:
            began = perf_counter()
            # Kept until something has come of it: when a probe fails, the predictor is not asked for the same twice.
            self._proposal = prediction = self._proposed()
            self.ledger.prediction_seconds += perf_counter() - began
        result = self._verify(prediction, batch)
        self._proposal = None
        return result, False

    def _proposed(self) -> Prediction | None:
        """What the predictor says, if it fits the model."""
        far = self.config.horizon
        if self.forecaster is not None:
            needed = self.controller.needed(self.config.confidence, self._position)
            far = self.controller.horizon(self.forecaster.reach(needed))
        prediction = self.predictor.predict(far, self.controller.limit(self._position)) if far else None
        if prediction is None:
            return None
        self.ledger.vector_passes += prediction.cost
        delta, weights, name = prediction.delta, self.model_wrapper.weights, type(self.predictor).__name__
        if (delta.shape, delta.dtype) != (weights.shape, weights.dtype):
            raise ValueError(
                f"{name} predicted a delta of {delta.dtype} {delta.shape}; expected {weights.dtype} {weights.shape}, "
                "as the model's flat vector of weights."
            )
        return prediction

    def _verify(self, prediction: Prediction | None, batch: Batch) -> StepResult:
        if prediction is None or not self._passes(prediction):
            self._position = self.controller.declined(self._position)
            return self._predicted(prediction)
        if self.predictor.verification.deferred:
            return self._try(prediction)
        return self._probe(prediction, batch)

    def _passes(self, prediction: Prediction) -> bool:
        """The gates that cost nothing: the run is in no trouble, the predictor believes itself, and all is finite."""
        needed = self.controller.needed(self.config.coherence, self._position)
        return (
            self.verdict.level < Level.WARNING
            and prediction.confidence >= needed
            and prediction.est_steps <= self.config.max_horizon
            and (prediction.finite or math.isfinite(float(np.vdot(prediction.delta, prediction.delta))))
        )

    def _try(self, prediction: Prediction) -> StepResult:
        """Make a jump that the next real step will judge."""
        before = self.model_wrapper.snapshot()
        self.model_wrapper.move(prediction.delta)
        self._on_trial = Trial(self._start, self._last_loss, before)  # type: ignore[arg-type]  # see `later`
        self._position = self.controller.deferred(self._position)
        return self._predicted(prediction, accepted=True, scale=1.0, guard="next step")

    def _probe(self, prediction: Prediction, batch: Batch) -> StepResult:
        """Probe a jump, and then either make it or be where it started."""
        verification = self.predictor.verification
        judge = self._guard_batch(self.guard) if verification.probes and self.guard is not None else batch
        reach = self.config.max_horizon / prediction.est_steps if prediction.est_steps else math.inf
        verification = verification.limited(min(reach, self.controller.limit(self._position)))
        before = self.snapshot() if self.hindsight is not None else None
        weights = self.model_wrapper.snapshot() if before is None else before.model
        origin = weights.vector if prediction.origin is None else prediction.origin
        delta = prediction.delta if self.corrector is None else self.corrector.corrected(prediction.delta)

        def loss_at(scale: float) -> Scalar:
            # Always from the start: adding and subtracting again would not give the same bits.
            self.model_wrapper.restore(weights)
            self.model_wrapper.place(origin + origin.dtype.type(scale) * delta)
            loss = self.model_wrapper.evaluate(judge)
            self.ledger.forward_probes += 1
            self.ledger.probe_batches += self.model_wrapper.examples / (self._examples.value if self.steps else 1)
            return loss

        try:
            outcome = verification.search(loss_at)
            self.model_wrapper.restore(weights)
            if outcome.scale:
                self.model_wrapper.move(delta, outcome.scale)
                self._translate(self.model_wrapper.weights - weights.vector)
        except BaseException:
            self.model_wrapper.restore(weights)
            raise
        self._told(outcome, before)
        self._foretell(prediction, outcome)
        guard = None if not outcome.probes else "in-sample" if self.guard is None else "held-out"
        accepted = outcome.scale > 0
        return self._predicted(prediction, outcome, accepted=accepted, rolled_back=not accepted, guard=guard)

    def _guard_batch(self, guard: Iterator[Batch]) -> Batch:
        try:
            return next(guard)
        except StopIteration:
            raise ValueError(
                "HybridTrainer: the guard has no more batches; pass an endless iterator, such as a DataLoader."
            ) from None

    def _translate(self, delta: Any) -> None:
        """The weights were moved without a real step: who keeps positions hears of it."""
        optimizer = self.optimizer_wrapper.optimizer
        before = optimizer.snapshot() if any(part.positions for part in optimizer.parts()) else None
        try:
            optimizer.translate(delta)
            self.predictor.translate(delta)
        except BaseException:
            if before is not None:
                optimizer.restore(before, self.model)
            raise
        if self.state is not None:
            self.state.translate(delta)

    def _told(self, outcome: Outcome, before: TrainerSnapshot | None) -> None:
        """What a probed prediction comes to for the cycle; with hindsight, an accepted one is not yet confirmed."""
        if not outcome.scale:
            self._position = self.controller.rejected(self._position)
            self._count(accepted=False)
        elif self.hindsight is None:
            self._position = self.controller.accepted(self.controller.confirmed(self._position))
            self._count(accepted=True)
        else:
            self._before_jump = before
            self.hindsight.begin()
            self._position = self.controller.accepted(self._position)

    def _count(self, accepted: bool) -> None:
        """A prediction has turned out to be good, or not."""
        self._recovery = self._recovery.predicted(accepted)
        if self.state is not None:
            self.state.judged(accepted)

    def _predicted(self, prediction: Prediction | None, outcome: Outcome | None = None, **rest: Any) -> StepResult:
        """What a prediction came to."""
        probed = outcome is not None and outcome.probes > 0
        if outcome is not None:
            rest |= {"scale": outcome.scale, "loss_after": outcome.after if probed and outcome.scale else None}
        return self._result(
            str(self._acting),
            loss=outcome.before if outcome is not None and probed else self._last_loss,
            learning_rate=self._learning_rate(),
            predicted=True,
            horizon=0 if prediction is None else prediction.est_steps,
            confidence=None if prediction is None else float(prediction.confidence),
            **rest,
        )

    # What the phase Correct says of a prediction

    def _foretell(self, prediction: Prediction, outcome: Outcome) -> None:
        """Note what the real steps of Correct will be held against."""
        if self.phase is Phase.CORRECT and prediction.est_steps:
            displacement = prediction.delta * (self._position.length / prediction.est_steps)
            told = outcome.probes and outcome.scale and outcome.before
            loss = self._level.value * outcome.after / outcome.before if told else None
            self._foretold = Foretold(displacement, self.model_wrapper.weights, loss)

    def _prediction_error(self, loss: float, last: bool) -> float | None:
        """A step of Correct was made: when it was the last, the relative error of the loss that was foretold."""
        assert self._foretold is not None
        self._foretold.observe(loss)
        return self._foretold.loss_error if last else None

    def _settle(self) -> None:
        """Correct has run out: its jump stands, and what was foretold is held against what came."""
        if self._foretold is not None:
            self._foretold.hold_against(self.model_wrapper.weights, self.agreement, self.corrector)
        if self._before_jump is not None:
            self._position = self.controller.confirmed(self._position)
            self._count(accepted=True)
        self._let_stand()

    def _let_stand(self) -> None:
        """Whatever jump was made last is not doubted any more."""
        self._before_jump = self._foretold = None
        if self.hindsight is not None:
            self.hindsight.end()

    # What the next real step verifies

    def _pass(self, trial: Trial, fell: bool) -> None:
        self._on_trial = None
        if trial.before is None:
            self._position = self.controller.passed(self._position, fell)
        else:
            self._translate(self.model_wrapper.weights - trial.before.vector)
            self._position = self.controller.confirmed(self._position)
            self._count(accepted=True)
        self._set_knobs()
        self._as_it_was = self._position, None  # an error of the step itself does not put it on trial again

    def _refuse(self, trial: Trial, loss: float, why: str, take_back: bool) -> StepResult:
        """Shorten what the loss is higher after, or take a jump back that was shortened often enough.

        `why` is noted; that the loss has risen goes without saying.
        """
        self.model_wrapper.cancel()
        if take_back:
            self.model_wrapper.restore(trial.before)
            self._on_trial = Trial(trial.start, trial.level)
            self._position = self.controller.rejected(self._position)
            self._count(accepted=False)
        else:
            self.model_wrapper.move(trial.start - self.model_wrapper.weights, 1 - 1 / self.config.trust.cut)
            self._on_trial = replace(trial, cuts=trial.cuts + 1)
            self._position = self.controller.shortened(self._position, jump=trial.before is not None)
        learning_rate, what = self._learning_rate(), "step" if trial.before is None else "jump"
        done = "taken back" if take_back else "shortened"
        note = f"the last {what} was {done}: {why}" if why else ""
        return self._result(
            str(self._acting), loss, learning_rate, rolled_back=take_back, shortened=not take_back, note=note
        )

    # Trouble

    def _not_finite(self, trial: Trial | None, loss: float, norm: float) -> StepResult:
        """A step was tried, and cannot be made: a jump before it is taken back, or the policy is asked."""
        if trial is not None and trial.before is not None:
            return self._refuse(trial, loss, self.watch.judge(loss, norm).reason, take_back=True)
        self.model_wrapper.cancel()
        self.verdict = verdict = self.watch.observe(loss, norm)
        result = self._result(str(self._acting), loss, self._learning_rate())
        if self._before_jump is not None:
            return self._regret(result, verdict.reason)
        return self._recover(verdict, result)[0]

    def _regret(self, result: StepResult, reason: str) -> StepResult:
        """Take back a jump that its probes had passed, and all that came after it."""
        assert self._before_jump is not None
        self._undone += self.optimizer_wrapper.steps
        self._restore(self._before_jump)
        self._undone -= self.optimizer_wrapper.steps
        self._position = self.controller.rejected(self._position)
        self._count(accepted=False)
        why = reason or "the loss has risen since."
        return replace(result, rolled_back=True, note=f"the last jump was taken back: {why}")

    def _recover(self, verdict: Verdict, result: StepResult) -> tuple[StepResult, bool]:
        """Do what the recovery policy says to a verdict; a step that was only tried was cancelled before."""
        decision = self.policy.decide(verdict, self._recovery)
        self._recovery, action = decision.state, decision.action
        if action is RecoveryAction.CONTINUE:
            return result, True
        if action is RecoveryAction.FORCE_FULL_PHASE:
            self._let_stand()
            self._position = self.controller.calmed(self._position)
        elif action is RecoveryAction.INCREASE_CONFIDENCE_THRESHOLD:
            self._position = self.controller.doubted(self._position)
        elif action is RecoveryAction.REDUCE_PREDICT_RATIO:
            self._position = self.controller.reduced(self._position)
        elif action is RecoveryAction.RESET_PREDICTOR:
            self._forget()
        elif action in (RecoveryAction.ROLLBACK_AND_RETRY, RecoveryAction.ABORT):
            if self._good is not None:
                self._restore(self._good)
            self._position = self.controller.retried(self._position, decision.learning_rate_factor)
        if action is RecoveryAction.ABORT:
            raise DivergenceError(
                f"step {self.steps} was not applied, the model is as it was when all was well: {decision.reason} Lower "
                f"the learning rate ({result.learning_rate:g}), clip the gradients, or look for bad values in the data."
            )
        made = action not in (RecoveryAction.SKIP_BATCH, RecoveryAction.ROLLBACK_AND_RETRY)
        return replace(result, note=f"{action}: {decision.reason}"), made

    # The cycle

    def _entered(self) -> None:
        """Another phase has begun; a prediction that is due may be left out."""
        if self.phase is Phase.PREDICT and not self._next_predicts():
            self._position = self.controller.declined(self._position)
        if self.state is not None:
            self.state.enter(self.phase)

    def _next_predicts(self) -> bool:
        """Settle the cycle that ends where a prediction is due; whether the next one predicts."""
        if self.payoff is None or not self.plan.predicts:
            return self.plan.predicts
        cost, spent = self.ledger.gradient_equivalents, self.ledger.probe_batches / 3 + self._undone
        self.payoff.finish(sum(self._cycle_losses) / len(self._cycle_losses), cost - self._cycle_began)
        self._cycle_began = cost
        return self.payoff.next_predicts(spent, cost)

    def _learning_rate(self) -> float:
        return self.optimizer_wrapper.scale * self._rate

    def _set_knobs(self) -> None:
        self.optimizer_wrapper.scale = self.controller.lr_scale(self._position)
