"""Every action of recovery is provoked, and done; a jump can be regretted; what is kept has a budget."""

import dataclasses

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid import DivergenceError, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper, Phase
from minihybrid.hybrid.divergence import DivergenceLimits, Level, Trouble, Verdict
from minihybrid.hybrid.hindsight import HindsightConfig
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
    said, observe = iter(verdicts), trainer.watch.observe
    trainer.watch.observe = lambda *args, **options: next(said)
    notes = []
    for _ in verdicts:
        notes.append(trainer.step(batch).note)
    trainer.watch.observe = observe
    return notes


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
    assert trainer.optimizer_wrapper.steps == 1 and trainer.optimizer_wrapper.learning_rate() == 0.005
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
    assert trainer._position.confidence == pytest.approx(1 - 0.5 * 0.75**2)
    asked = []
    trainer.forecaster.reach = lambda confidence: asked.append(confidence) or 0
    while not trainer.ledger.predictions_tried:
        trainer.step(next(loader))
    assert asked == [trainer._position.confidence] and trainer.ledger.predictions_declined == 1


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
    assert provoke(trainer, next(loader), CRITICAL)[0].startswith("RollbackAndRetry: provoked. 1 real steps before")
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
    assert results[-1].note == "the loss has risen since the last jump, which was taken back."
    assert everything(trainer) == before and trainer.phase is Phase.CORRECT
    assert trainer.ledger.predictions_rolled_back == 1 and trainer.ledger.predictions_accepted == 0
    assert trainer.ledger.backward_passes == 27, "what was spent stays spent"


def test_a_good_jump_is_not_regretted(made, loader):
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0, warmup=20))
    trainer.predictor = push(trainer, 1e-4)
    results = [trainer.step(next(loader)) for _ in range(60)]
    assert not any(r.rolled_back for r in results) and trainer.ledger.predictions_accepted > 3
    assert trainer.memory().held["snapshots"] > 0


def test_nothing_is_kept_that_the_budget_does_not_hold(made, loader):
    n = 650
    for budget, late, predicts in ((100 * n, True, True), (4 * 4 * n - 1, False, True), (4 * n - 1, False, False)):
        memory = dataclasses.replace(CONFIG.memory, snapshots=budget)
        trainer = made(dataclasses.replace(CONFIG, memory=memory, confidence=0.0))
        assert (trainer.hindsight is not None) == late
        for _ in range(60):
            trainer.step(next(loader))
        assert (trainer.ledger.predictions_tried > trainer.ledger.predictions_declined) == predicts
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
    trainer = made(dataclasses.replace(CONFIG, confidence=0.0))
    for _ in range(100):
        trainer.step(next(loader))
    probed = trainer.ledger.predictions_tried - trainer.ledger.predictions_declined
    assert trainer.agreement.count >= probed - 1 > 2
    assert -1 <= trainer.agreement.cosine <= 1 and trainer.agreement.norm_ratio > 0
    assert 0 <= trainer.ledger.acceptance_rate <= 1
    assert trainer.ledger.history_seconds > 0 and trainer.ledger.prediction_seconds > 0
