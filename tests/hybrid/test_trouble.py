"""Every action of recovery is provoked, and done; a jump can be regretted; what is kept has a budget."""

import dataclasses
import itertools
import time

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid import DivergenceError, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper, Phase
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.divergence import DivergenceLimits, DivergenceWatch, Level, Trouble, Verdict
from minihybrid.hybrid.hindsight import HindsightConfig
from minihybrid.hybrid.payoff import PayoffConfig
from minihybrid.hybrid.predictors import DriftConfig, Prediction
from minihybrid.hybrid.recovery import RecoveryAction, RecoveryConfig
from minihybrid.hybrid.verify import GuardSearch, Unprobed

CONFIG = HybridConfig(
    warmup=4,
    full=4,
    correct=6,
    confidence=0.5,
    coherence=0.0,
    longest_wait=0,
    predictor=DriftConfig(average=0.9, stride=1),
    payoff=None,
    divergence=DivergenceLimits(baseline=10_000),
    recovery=RecoveryConfig(skips=1, rollbacks=1, calm=9),
)


class Push:
    """A predictor that pushes the weights where it is told to, and counts what is said to it."""

    looks_at_gradients = False

    def __init__(self, delta, verification=None):
        self.delta, self.verification = delta, verification or Unprobed()
        self.resets, self.moves = 0, 0

    def observe(self, step):
        pass

    def predict(self, horizon, trust=1.0):
        return Prediction(self.delta, 4.0)

    def translate(self, delta):
        self.moves += 1

    def readout(self):
        return None

    def reset(self):
        self.resets += 1

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def classify(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


@pytest.fixture
def loader():
    return mh.data.DataLoader(mh.data.digits(), 64, mh.Rng(0))


@pytest.fixture
def made():
    """A function that makes a trainer."""

    def make(config=CONFIG, predictor=None, lr=0.01):
        model = mh.nn.LinearConfig(64, 10).init(mh.Rng(0))
        return HybridTrainer(
            ModelWrapper(model, classify), OptimizerWrapper(mh.optim.Adam(), lr), config, predictor=predictor
        )

    return make


def push(trainer, std, verification=None):
    return Push(mh.Rng(1).normal(trainer.model_wrapper.weights.shape, std=std), verification)


def everything(trainer):
    optimizer = trainer.optimizer_wrapper.optimizer.state()
    moments = [[array.tobytes() for array in arrays.values()] for arrays in optimizer["moments"].values()]
    return trainer.model_wrapper.weights.tobytes(), moments, list(optimizer["steps"].values())


def bad(batch):
    return mh.data.Batch(np.full_like(batch.inputs, np.nan), batch.targets)


def provoke(trainer, batch, *verdicts):
    """Let the watch say these things about the next real steps, and return the notes of the steps."""
    said = iter(verdicts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DivergenceWatch, "observe", lambda *args, **options: next(said))
        return [trainer.step(batch).note for _ in verdicts]


WARNING = Verdict(Level.WARNING, Trouble.LOSS, "provoked.")
CRITICAL = Verdict(Level.CRITICAL, Trouble.LOSS, "provoked.")
WRONG = Verdict(Level.WARNING, Trouble.PREDICTION, "provoked.")
VERY_WRONG = Verdict(Level.CRITICAL, Trouble.PREDICTION, "provoked.")


def test_continue(made, loader):
    trainer = made()
    assert all(trainer.step(next(loader)).note == "" for _ in range(8))


def test_skip_batch(made, loader):
    trainer = made()
    for _ in range(3):
        trainer.step(next(loader))
    before, phase = everything(trainer), trainer._position
    assert trainer.step(bad(next(loader))).note == "SkipBatch: the loss is nan."
    assert everything(trainer) == before and trainer._position == phase
    assert trainer.step(next(loader)).note == ""


def test_rollback_and_retry_then_abort(made, loader):
    trainer = made()
    for _ in range(3):
        trainer.step(next(loader))
    good = trainer._good
    trainer.step(bad(next(loader)))
    result = trainer.step(bad(next(loader)))
    assert result.note.startswith("RollbackAndRetry: the loss is nan.") and trainer.phase is Phase.FULL
    assert trainer.model_wrapper.weights.tobytes() == good.model.vector.tobytes()
    assert trainer.optimizer_wrapper.steps == 0 and trainer.optimizer_wrapper.learning_rate() == 0.005
    assert trainer.step(next(loader)).note == ""
    trainer.step(bad(next(loader)))
    with pytest.raises(DivergenceError, match=r"step \d+ was not applied, .* the loss is nan.*Lower the learning rate"):
        trainer.step(bad(next(loader)))
    assert trainer.model_wrapper.weights.tobytes() == good.model.vector.tobytes()
    assert trainer.step(next(loader)).note == "", "it can go on"


def test_force_full_phase(made, loader):
    trainer = made()
    trainer.step(next(loader))
    assert provoke(trainer, next(loader), WARNING) == ["ForceFullPhase: provoked."]
    phases = [trainer.step(next(loader)).phase for _ in range(10)]
    assert phases == ["full"] * 9 + ["predict"]


def test_increase_confidence_threshold(made, loader):
    trainer = made()
    assert provoke(trainer, next(loader), WRONG, WRONG) == ["IncreaseConfidenceThreshold: provoked."] * 2
    needed = trainer.controller.needed(0.5, trainer._position)
    assert needed == pytest.approx(1 - 0.5 * 0.75**2)
    asked = []
    trainer.forecaster.reach = lambda confidence: asked.append(confidence) or 0
    while not trainer.ledger.predictions_tried:
        trainer.step(next(loader))
    assert asked == [needed] and trainer.ledger.predictions_declined == 1


def test_reduce_predict_ratio_and_then_reset_predictor(made, loader):
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0))
    trainer.predictor = push(trainer, 100.0, GuardSearch())
    notes, lengths = [], []
    while not trainer.predictor.resets:
        result = trainer.step(next(loader))
        if result.note:
            notes.append(result.note)
        if trainer.phase is Phase.FULL:
            lengths.append(trainer._position.length)
    assert [note.split(":")[0] for note in notes] == ["ReducePredictRatio", "ResetPredictor"]
    assert set(lengths) == {4, 8} and trainer.ledger.predictions_rolled_back == 6


def test_reset_predictor_for_predictions_that_are_always_wrong(made, loader):
    trainer = made()
    trainer.predictor = push(trainer, 0.0)
    assert provoke(trainer, next(loader), VERY_WRONG) == ["ResetPredictor: provoked."]
    trainer.step(next(loader))
    assert trainer.predictor.resets == 1


def test_all_actions_are_provoked_here():
    provoked = {"Continue", "SkipBatch", "RollbackAndRetry", "Abort", "ForceFullPhase"}
    provoked |= {"IncreaseConfidenceThreshold", "ReducePredictRatio", "ResetPredictor"}
    assert provoked == {str(action) for action in RecoveryAction}


def test_critical_trouble_after_a_jump_takes_the_jump_back_and_leaves_the_learning_rate(made, loader):
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0, hindsight=HindsightConfig(sigma=1e9)))
    trainer.predictor = push(trainer, 1e-3)
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = everything(trainer)
    assert trainer.step(next(loader)).accepted
    trainer.step(next(loader))
    assert provoke(trainer, next(loader), CRITICAL) == ["the last jump was taken back: provoked."]
    assert everything(trainer) == before and trainer.optimizer_wrapper.learning_rate() == 0.01
    assert trainer.ledger.predictions_rolled_back == 1 and trainer.ledger.predictions_accepted == 0


def test_a_jump_is_regretted_and_all_since_is_taken_back_to_the_bit(made, loader):
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0, warmup=20))
    trainer.predictor = push(trainer, 5.0)
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = everything(trainer)
    results = [trainer.step(next(loader)) for _ in range(4)]
    assert [r.accepted for r in results] == [True, False, False, False]
    assert [r.rolled_back for r in results] == [False, False, False, True]
    assert results[-1].note == "the last jump was taken back: the loss has risen since."
    assert everything(trainer) == before and trainer.phase is Phase.CORRECT
    assert trainer.ledger.predictions_rolled_back == 1 and trainer.ledger.predictions_accepted == 0
    assert trainer.ledger.backward_passes == 27, "what was spent stays spent"
    assert trainer._undone == 3, "and counts against predictions"


def test_a_good_jump_is_not_regretted(made, loader):
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0, warmup=20))
    trainer.predictor = push(trainer, 1e-4)
    results = [trainer.step(next(loader)) for _ in range(60)]
    assert not any(r.rolled_back for r in results) and trainer.ledger.predictions_accepted > 3
    assert trainer.memory().held["snapshots"] > 0


def test_nothing_is_kept_that_the_budget_does_not_hold(made, loader):
    n = 650
    vector = 4 * n
    budgets = (100 * n, True, True), (19 * vector - 1, False, True), (10 * vector - 1, False, False)
    for budget, late, predicts in budgets:
        memory = dataclasses.replace(CONFIG.memory, snapshots=budget)
        trainer = made(dataclasses.replace(CONFIG, memory=memory, confidence=0.0))
        assert (trainer.hindsight is not None) == late
        for _ in range(60):
            trainer.step(next(loader))
        assert (trainer.ledger.predictions_tried > 0) == predicts
        held = trainer.memory().held
        assert held["history"] <= CONFIG.memory.history
    small = dataclasses.replace(CONFIG.memory, history=5 * 4 * n - 1)
    trainer = made(dataclasses.replace(CONFIG, memory=small))
    assert not trainer.plan.predicts and trainer.plan.dropped == ("prediction",)


def test_a_smaller_history_is_what_fits(made):
    n = 650
    config = dataclasses.replace(
        HybridConfig.full_batch(), memory=dataclasses.replace(CONFIG.memory, history=(2 * 6 + 4) * 4 * n)
    )
    trainer = made(config)
    assert trainer.plan.history == 12 and trainer.predictor.config.pairs == 5


def test_a_run_that_predicts_reports_how_predictions_agree_with_what_came(made, loader):
    trainer, began = made(dataclasses.replace(CONFIG, confidence=0.0)), time.perf_counter()
    for _ in range(100):
        trainer.step(next(loader))
    elapsed = time.perf_counter() - began
    assert trainer.ledger.history_seconds + trainer.ledger.prediction_seconds < elapsed, "they are part of it"
    probed = trainer.ledger.predictions_tried - trainer.ledger.predictions_declined
    assert trainer.agreement.count >= probed - 1 > 2
    assert -1 <= trainer.agreement.cosine <= 1 and trainer.agreement.norm_ratio > 0
    assert 0 <= trainer.ledger.acceptance_rate <= 1
    assert trainer.ledger.history_seconds > 0 and trainer.ledger.prediction_seconds > 0


def until_probed(trainer, loader):
    while trainer.phase is not Phase.PREDICT or not trainer.ledger.predictions_tried:
        trainer.step(next(loader))


PREDICTING = dataclasses.replace(CONFIG, confidence=0.0, warmup=20, hindsight=HindsightConfig(sigma=1e9))


def test_a_bad_batch_long_after_a_jump_is_not_blamed_on_it(made, loader):
    trainer = made(dataclasses.replace(PREDICTING, full=20))
    trainer.predictor = push(trainer, 1e-4)
    while not trainer.ledger.predictions_accepted or trainer.phase is not Phase.FULL:
        trainer.step(next(loader))
    before = everything(trainer)
    assert trainer.step(bad(next(loader))).note.startswith("SkipBatch") and everything(trainer) == before


def test_a_bad_batch_right_after_a_jump_takes_the_jump_back(made, loader):
    trainer = made(PREDICTING)
    trainer.predictor = push(trainer, 1e-4)
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = everything(trainer)
    assert trainer.step(next(loader)).accepted
    result = trainer.step(bad(next(loader)))
    assert result.rolled_back and result.note == "the last jump was taken back: the loss is nan."
    assert everything(trainer) == before


def test_the_worst_jumps_do_not_escape_hindsight(made, loader):
    """A jump that alarms the watch at once is taken back, too, and not only answered by real steps."""
    limits = DivergenceLimits(baseline=5)
    trainer = made(dataclasses.replace(PREDICTING, hindsight=HindsightConfig(), divergence=limits))
    trainer.predictor = push(trainer, 100.0)
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = everything(trainer)
    trainer.step(next(loader))
    result = trainer.step(next(loader))
    assert result.rolled_back and "standard deviations" in result.note and everything(trainer) == before


def test_jumps_that_are_regretted_count_in_a_row(made, loader):
    trainer = made(dataclasses.replace(PREDICTING, hindsight=HindsightConfig()))
    trainer.predictor = push(trainer, 5.0)
    notes = []
    while trainer.ledger.predictions_rolled_back < 3:
        notes.append(trainer.step(next(loader)).note)
    notes.append(trainer.step(next(loader)).note)
    assert trainer._position.rejections == 3
    assert any(note.startswith("ReducePredictRatio: 3 predictions in a row") for note in notes)


def test_what_a_regret_undid_is_no_lesson_for_corrections(made, loader):
    config = dataclasses.replace(PREDICTING, hindsight=HindsightConfig(), correction=CorrectionConfig())
    trainer = made(config)
    trainer.predictor = push(trainer, 5.0)
    while not trainer.ledger.predictions_rolled_back:
        trainer.step(next(loader))
    for _ in range(trainer._position.length):
        trainer.step(next(loader))
    assert trainer.agreement.count == 0 and trainer.corrector.state_dict()["lengths"] == []


def test_an_exact_prediction_is_held_against_as_many_steps_as_come(made, loader):
    """Also where it was rejected, and Correct is longer for it."""

    class Exact(Push):
        def observe(self, step):
            self.delta = np.full_like(step.weights, 0.01)

    for verification, accepted in ((Unprobed(), True), (GuardSearch(), False)):
        model = mh.nn.LinearConfig(64, 10).init(mh.Rng(0))
        forward = lambda model, batch: (model, -100 * (model.weight.sum() + model.bias.sum()))  # noqa: E731
        config = dataclasses.replace(PREDICTING, longest_wait=2, hindsight=None)
        trainer = HybridTrainer(ModelWrapper(model, forward), OptimizerWrapper(mh.optim.Adam(), 0.01), config)
        trainer.predictor = Exact(np.zeros(650, np.float32), verification)
        trainer.predictor.predict = lambda horizon, trust=1.0, p=trainer.predictor: Prediction(4 * p.delta, 4.0)
        if not accepted:
            rising = itertools.count()
            trainer.model_wrapper.evaluate = lambda batch, losses=rising: next(losses)
        while trainer.agreement.count < 3:
            trainer.step(next(loader))
        assert (trainer.ledger.predictions_accepted > 0) == accepted
        assert trainer.agreement.cosine == pytest.approx(1.0, rel=1e-3)
        assert trainer.agreement.norm_ratio == pytest.approx(1.0, rel=1e-2)


def test_the_loss_that_is_foretold_is_a_number_with_and_without_the_pay_off_test(made, loader):
    for payoff in (None, PayoffConfig(controls=0.01, grant=1e9)):
        trainer = made(dataclasses.replace(PREDICTING, payoff=payoff, predictor=DriftConfig(average=0.5, stride=1)))
        told = []
        while len(told) < 3:
            if trainer.step(next(loader)).accepted:
                told.append(trainer._foretold.loss)
        assert all(0 < loss < 3 for loss in told)


def test_a_step_that_was_rolled_back_is_not_observed(made, loader):
    trainer, seen = made(), []
    trainer.predictor = push(trainer, 0.0)
    for _ in range(3):
        trainer.step(next(loader))
    trainer.readout()  # for which the predictor has to know of the last step
    trainer.predictor.observe = seen.append
    rolled_back = dataclasses.replace(CRITICAL)
    assert provoke(trainer, next(loader), rolled_back)[0].startswith("RollbackAndRetry")
    trainer.readout()
    assert seen == [] and trainer.predictor.resets == 1


def test_after_an_abort_the_learning_rate_is_the_controller_s(made, loader):
    trainer = made()
    trainer.step(next(loader))
    with pytest.raises(DivergenceError):
        for _ in range(10):
            trainer.step(bad(next(loader)))
    assert trainer.step(next(loader)).learning_rate == trainer.optimizer_wrapper.learning_rate() < 0.01


def test_a_schedule_that_fails_leaves_streams_and_position(loader):
    rng = mh.Rng(0)
    model = mh.nn.Sequential([mh.nn.DropoutConfig(0.5).init(rng), mh.nn.LinearConfig(64, 10).init(rng)])
    schedule = lambda step: 0.01 if step < 2 else 1 / 0  # noqa: E731
    trainer = HybridTrainer(ModelWrapper(model, classify), OptimizerWrapper(mh.optim.Adam(), schedule), CONFIG)
    batch = next(loader)
    for _ in range(2):
        trainer.step(batch)
    streams = {path: stream.state() for path, stream in trainer.model.named_rngs().items()}
    weights, position = trainer.model_wrapper.weights.copy(), trainer._position
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            trainer.step(batch)
        assert {path: stream.state() for path, stream in trainer.model.named_rngs().items()} == streams
        assert trainer._position == position and trainer.model_wrapper.weights.tobytes() == weights.tobytes()


def test_a_phase_is_entered_also_where_the_predictor_fails_to_observe(made, loader):
    trainer = made(PREDICTING)
    trainer.predictor = push(trainer, 1e-4)
    while trainer.phase is not Phase.CORRECT:
        trainer.step(next(loader))
    for _ in range(CONFIG.correct - 1):
        trainer.step(next(loader))

    def fail(step):
        raise ZeroDivisionError

    trainer.readout()
    trainer.predictor.observe = fail
    trainer.step(next(loader))
    assert trainer.phase is Phase.FULL and trainer._before_jump is None
    with pytest.raises(ZeroDivisionError):
        trainer.step(next(loader))
    assert trainer.phase is Phase.FULL and trainer._position.done == 0


@pytest.mark.parametrize("wrap", [mh.optim.Lookahead, lambda inner: mh.optim.Ema(inner, 0.9)])
def test_averages_of_the_optimizer_move_with_a_jump(loader, wrap):
    config = dataclasses.replace(PREDICTING, hindsight=None)
    model = ModelWrapper(mh.nn.LinearConfig(64, 10).init(mh.Rng(0)), classify)
    optimizer = wrap(mh.optim.Adam())
    trainer = HybridTrainer(model, OptimizerWrapper(optimizer, 1e-9), config)
    trainer.predictor = Push(np.full(650, 0.5, np.float32))
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = model.weights.copy()
    trainer.step(next(loader))
    for _ in range(12):
        trainer.predictor.delta = np.zeros(650, np.float32)
        trainer.step(next(loader))
    np.testing.assert_allclose(model.weights - before, 0.5, atol=1e-4)
    found = ModelWrapper(optimizer.readout(trainer.model), classify).weights
    np.testing.assert_allclose(found - before, 0.5, atol=1e-4)


def test_a_schedule_free_iterate_moves_with_a_jump(loader):
    model = ModelWrapper(mh.nn.LinearConfig(64, 10).init(mh.Rng(0)), classify)
    optimizer = mh.optim.ScheduleFreeAdamW()
    trainer = HybridTrainer(model, OptimizerWrapper(optimizer, 1e-9), dataclasses.replace(PREDICTING, hindsight=None))
    trainer.predictor = Push(np.full(650, 0.5, np.float32))
    while trainer.phase is not Phase.PREDICT:
        trainer.step(next(loader))
    before = model.weights.copy()
    trainer.step(next(loader))
    trainer.predictor.delta = np.zeros(650, np.float32)
    for _ in range(12):
        trainer.step(next(loader))
    np.testing.assert_allclose(model.weights - before, 0.5, atol=1e-4)


def test_a_snapshot_restored_is_where_training_goes_on_from(made, loader):
    trainer = made(dataclasses.replace(PREDICTING, predictor=DriftConfig()))
    until_probed(trainer, loader)
    kept, before = trainer.snapshot(), everything(trainer)
    for _ in range(20):
        trainer.step(next(loader))
    trainer.restore(kept)
    assert everything(trainer) == before
    assert trainer._on_trial is trainer._before_jump is trainer._proposal is trainer._foretold is None


def test_probes_are_charged_in_mean_batches(made, loader):
    trainer = made(PREDICTING)
    trainer.guard = iter(lambda: next(loader), None)
    trainer.predictor = push(trainer, 0.0, GuardSearch())
    while trainer.phase is not Phase.PREDICT:
        batch = next(loader)
        last = trainer.phase is Phase.FULL and trainer._position.done == trainer._position.length - 1
        trainer.step(mh.data.Batch(batch.inputs[:1], batch.targets[:1]) if last else batch)
    trainer.step(next(loader))
    assert 2.0 <= trainer.ledger.probe_batches < 2.2


def test_too_far_a_jump_is_declined(made, loader):
    trainer = made(PREDICTING)
    trainer.predictor = push(trainer, 1e-4)
    trainer.predictor.predict = lambda horizon, trust=1.0: Prediction(trainer.predictor.delta, 81.0)
    for _ in range(60):
        trainer.step(next(loader))
    assert trainer.ledger.predictions_tried == trainer.ledger.predictions_declined > 0


def test_a_cycle_without_a_prediction_uses_up_no_batch(made, loader):
    payoff = PayoffConfig(grant=0.0, allowance=0.0, retry=10**9)
    trainer = made(dataclasses.replace(PREDICTING, payoff=payoff))
    trainer.ledger.probe_batches = 3.0
    results = [trainer.step(next(loader)) for _ in range(60)]
    assert not any(result.predicted for result in results) and trainer.ledger.backward_passes == 60


def test_what_recovery_returns_to_has_been_seen_to_be_well(made, loader):
    """One step with a wild learning rate: the weights after it are never taken for good ones."""
    schedule = lambda step: 1e20 if step == 0 else 0.01  # noqa: E731
    config = dataclasses.replace(CONFIG, recovery=RecoveryConfig(skips=1, rollbacks=3))
    model = mh.nn.LinearConfig(64, 10).init(mh.Rng(0))
    trainer = HybridTrainer(ModelWrapper(model, classify), OptimizerWrapper(mh.optim.SGD(), schedule), config)
    before = trainer.model_wrapper.weights.copy()
    trainer.step(next(loader))
    assert trainer._good.model.vector.tobytes() == before.tobytes()


def test_a_rollback_takes_the_read_out_and_the_watch_back(made, loader):
    trainer = made(dataclasses.replace(CONFIG, predictor=DriftConfig()))
    kept = trainer.snapshot()
    for _ in range(30):
        trainer.step(next(loader))
    trainer.restore(kept)
    assert trainer.predictor.readout() is None and trainer.watch.steps == 0


def test_forward_passes_that_came_to_nothing_are_charged(made, loader):
    trainer = made()
    trainer.step(next(loader))
    trainer.step(bad(next(loader)))
    assert trainer.ledger.gradient_equivalents == pytest.approx(1 + 1 / 3)


def test_parameters_that_are_no_numbers_are_rolled_back_not_skipped(made, loader):
    trainer = made()
    trainer.step(next(loader))
    infinite = DivergenceWatch().observe(1.0, 1.0, parameter_norm=float("inf"))
    assert provoke(trainer, next(loader), infinite)[0].startswith("RollbackAndRetry: the parameter norm is inf.")


def test_a_prediction_that_was_not_made_stands_for_no_steps(made, loader):
    trainer = made(PREDICTING)
    trainer.predictor = push(trainer, 1e-4)
    trainer.predictor.predict = lambda horizon, trust=1.0: None
    results = [trainer.step(next(loader)) for _ in range(30)]
    assert {result.horizon for result in results} == {0}
    trainer.predictor.predict = lambda horizon, trust=1.0: Prediction(trainer.predictor.delta, 81.0)
    assert {trainer.step(next(loader)).horizon for _ in range(30)} == {0, 81.0}, "declined, but a prediction"


def test_the_state_of_the_run_hears_of_all_that_happens(made, loader):
    class Heard(list):
        """A state that only notes what it is told."""

        def __getattr__(self, name):
            return lambda *what: self.append((name, *what))

    trainer = made(dataclasses.replace(PREDICTING, warmup=2, hindsight=None))
    trainer.state = heard = Heard()
    trainer.predictor = push(trainer, 1e-4)
    results = [trainer.step(next(loader)) for _ in range(13)]
    told = [(name, *what) if name in ("enter", "judged") else (name,) for name, *what in heard]
    phases = [result.phase for result in results]
    assert phases == ["warmup"] * 2 + ["full"] * 4 + ["predict"] + ["correct"] * 6
    assert told == [
        *[("observe",), ("observe",), ("enter", Phase.FULL)],
        *[("observe",)] * 4,
        *[("enter", Phase.PREDICT), ("translate",), ("judged", True), ("enter", Phase.CORRECT)],
        *[("observe",)] * 6,
        ("enter", Phase.FULL),
    ]
    trainer.restore(trainer.snapshot())
    assert heard[-1] == ("reset",)
