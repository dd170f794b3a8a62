"""Full batches: the next real step verifies the jump, or the first step, before it."""

import dataclasses

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper, Phase
from minihybrid.hybrid.predictors import Prediction, QuasiNewtonConfig
from minihybrid.hybrid.trainer import Trial
from minihybrid.hybrid.verify import NextGradient

CONFIG = HybridConfig.full_batch()


class Push:
    """A predictor that proposes what it is told to, once there was a real step; the next real step verifies it."""

    looks_at_gradients = True
    verification = NextGradient()

    def __init__(self, *deltas):
        self.deltas, self.seen, self.moved = list(deltas), [], []

    def observe(self, step):
        self.seen.append((step.loss, step.start.copy(), step.gradient.copy(), step.weights.copy()))

    def predict(self, horizon, trust=1.0):
        return Prediction(self.deltas.pop(0), 1.0) if self.deltas else None

    def translate(self, delta):
        self.moved.append(delta.copy())

    def readout(self):
        return None

    def reset(self):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def classify(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def network():
    rng = mh.Rng(0)
    layers = [mh.nn.LinearConfig(64, 16).init(rng), mh.nn.BatchNorm1dConfig(16).init(), mh.nn.Tanh()]
    return mh.nn.Sequential([*layers, mh.nn.LinearConfig(16, 10).init(rng)])


@pytest.fixture
def batch():
    data = mh.data.digits()
    return mh.data.Batch(data.inputs[:256], data.targets[:256])


def made(predictor=None, lr=0.01, config=CONFIG, model=None):
    wrapper = ModelWrapper(model or network(), classify)
    return HybridTrainer(wrapper, OptimizerWrapper(mh.optim.Adam(), lr), config, predictor=predictor)


def everything(trainer):
    optimizer = trainer.optimizer_wrapper.optimizer.state()
    return (
        trainer.model_wrapper.weights.tobytes(),
        {path: b.array.tobytes() for path, b in trainer.model.named_buffers().items()},
        {path: rng.state() for path, rng in trainer.model.named_rngs().items()},
        {name: [array.tobytes() for array in arrays.values()] for name, arrays in optimizer["moments"].items()},
        list(optimizer["steps"].values()),
        trainer.optimizer_wrapper.steps,
    )


def until(trainer, batch, phase):
    while trainer.phase is not phase:
        trainer.step(batch)


def test_the_cycle_is_full_predict_and_a_good_jump_costs_nothing(batch):
    trainer = made()
    results = [trainer.step(batch) for _ in range(25)]
    assert [r.phase for r in results[:9]] == ["warmup"] * 5 + ["full", "predict", "full", "predict"]
    ledger = trainer.ledger
    assert ledger.forward_probes == 0 and ledger.backward_passes == 25 - ledger.predictions_tried
    assert ledger.predictions_accepted == ledger.predictions_tried >= 9
    assert all(r.guard == "next step" for r in results if r.accepted)


def test_what_the_predictor_sees_are_losses_and_gradients_where_they_were_taken(batch):
    push = Push()
    trainer = made(push)
    for _ in range(4):
        trainer.step(batch)
    for loss, start, gradient, weights in push.seen:
        twin = ModelWrapper(network(), classify)
        twin.place(start)
        assert twin.forward(batch).item() == loss
        twin.backward()
        expected = np.empty_like(gradient)
        twin.gradient_into(expected)
        assert expected.tobytes() == gradient.tobytes() and weights.tobytes() != start.tobytes()


def test_a_jump_that_makes_the_loss_rise_is_cut_twice_and_then_taken_back_to_the_bit(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    push = Push(mh.Rng(1).normal(shape, std=1e3))
    trainer = made(push)
    until(trainer, batch, Phase.PREDICT)
    trainer.readout()  # for which the predictor has to know of the last step
    before, (_, start, _, candidate) = everything(trainer), push.seen[-1]
    passes, delta = trainer.ledger.backward_passes, push.deltas[0]
    assert trainer.step(batch).accepted
    lengths = [1.0]
    for _ in range(2):
        result = trainer.step(batch)
        assert result.shortened and not result.rolled_back and result.phase == "full"
        jumped = trainer.model_wrapper.weights - start
        lengths.append(np.linalg.norm(jumped) / np.linalg.norm(candidate + delta - start))
        assert np.vdot(jumped, delta) > 0, "the same way"
    assert lengths == pytest.approx([1.0, 1 / 4, 1 / 16], rel=1e-3)
    result = trainer.step(batch)
    assert result.rolled_back and everything(trainer) == before and push.moved == []
    assert trainer.ledger.backward_passes == passes and trainer.ledger.forward_probes == 3
    assert trainer.ledger.predictions_rolled_back == 1 and trainer.ledger.predictions_accepted == 0
    assert trainer.phase is Phase.CORRECT
    until(trainer, batch, Phase.PREDICT)
    trainer.readout()
    assert len(push.seen) == 8, "one step of Correct, one of Full"


def test_after_a_rejection_training_is_plain_to_the_bit(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    trainer, plain = made(Push(np.full(shape, np.inf, np.float32))), made(Push())
    jumping = made(Push(mh.Rng(1).normal(shape, std=1e3)))
    for one in (trainer, plain, jumping):
        while one.ledger.backward_passes < 12:
            one.step(batch)
    assert trainer.ledger.predictions_declined > 0 and everything(trainer) == everything(plain)
    assert jumping.ledger.predictions_rolled_back == 1 and everything(jumping) == everything(plain)


def test_a_jump_whose_loss_is_no_number_is_taken_back(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    trainer = made(Push(np.full(shape, 1e-9, np.float32)))
    until(trainer, batch, Phase.PREDICT)
    before, forward = everything(trainer), trainer._forward
    trainer._forward = lambda batch: forward(batch) * np.nan
    results = [trainer.step(batch) for _ in range(4)]
    assert results[-1].rolled_back and everything(trainer) == before


def test_a_good_jump_is_translated_and_earns_trust(batch):
    push = Push()
    trainer = made(push)
    until(trainer, batch, Phase.PREDICT)
    gradient = push.seen[-1][2]
    push.deltas.append((-0.01 / np.linalg.norm(gradient) * gradient).astype(np.float32))
    trust = trainer.controller.limit(trainer._position)
    weights = trainer.model_wrapper.weights.copy()
    trainer.step(batch)
    delta = trainer.model_wrapper.weights - weights
    trainer.step(batch)
    assert [moved.tobytes() for moved in push.moved] == [delta.tobytes()]
    assert trainer.controller.limit(trainer._position) == 2 * trust


@pytest.mark.parametrize("lr", [1e-3, 1.0, 10.0])
def test_first_steps_find_a_learning_rate_that_does_no_harm(batch, lr):
    trainer, losses, shortened = made(lr=lr), [], []
    while trainer.ledger.backward_passes < 40:
        result = trainer.step(batch)
        if result.gradient_norm is not None:
            losses.append(result.loss)
        if result.phase == "warmup":
            shortened.append(result.shortened)
    assert losses[-1] < 0.5 * losses[0] and max(losses) <= 3 * losses[0]
    assert any(shortened) == (lr > 1)


def test_it_needs_far_fewer_gradients_than_its_optimizer_alone(batch):
    plain = FullTrainer(ModelWrapper(network(), classify), OptimizerWrapper(mh.optim.Adam(), 0.01))
    for _ in range(150):
        target = plain.step(batch).loss
    trainer = made(lr=0.01)
    while True:
        result = trainer.step(batch)
        if result.gradient_norm is not None and result.loss <= target:
            break
    assert trainer.ledger.gradient_equivalents < 0.6 * 150


def test_an_error_in_the_step_that_verifies_leaves_the_jump_on_trial(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    trainer = made(Push(mh.Rng(1).normal(shape, std=1e3)))
    until(trainer, batch, Phase.PREDICT)
    before = everything(trainer)
    trainer.step(batch)
    jumped = everything(trainer)
    with pytest.raises(AttributeError):
        trainer.step(mh.data.Batch(None, None))
    assert everything(trainer) == jumped
    results = [trainer.step(batch) for _ in range(3)]
    assert results[-1].rolled_back and everything(trainer) == before


def test_who_looks_at_no_gradients_can_be_verified_by_the_next_step_too(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    push = Push(mh.Rng(1).normal(shape, std=1e3))
    push.looks_at_gradients, push.observe = False, lambda step: None
    trainer = made(push)
    until(trainer, batch, Phase.PREDICT)
    before = everything(trainer)
    results = [trainer.step(batch) for _ in range(4)]
    assert results[-1].rolled_back and everything(trainer) == before


def test_trust_is_a_setting(batch):
    trust = dataclasses.replace(CONFIG.trust, warmup=1.0)
    trainer = made(lr=0.01, config=dataclasses.replace(CONFIG, trust=trust))
    assert trainer.step(batch).learning_rate == 0.01


def test_what_is_on_trial_is_not_read_out(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    push = Push(mh.Rng(1).normal(shape, std=1e3))
    trainer = made(push)
    until(trainer, batch, Phase.PREDICT)
    trainer.step(batch)
    loss, start, _, _ = push.seen[-1]
    read = ModelWrapper(trainer.readout(), classify)
    assert read.weights.tobytes() == start.tobytes() and read.forward(batch).item() == loss


def test_a_gradient_that_is_no_number_takes_the_jump_before_it_back(batch, monkeypatch):
    shape = ModelWrapper(network(), classify).weights.shape
    trainer = made(Push(np.full(shape, -1e-6, np.float32)))
    until(trainer, batch, Phase.PREDICT)
    before = everything(trainer)
    trainer.step(batch)
    trainer._on_trial = dataclasses.replace(trainer._on_trial, level=1e9)
    monkeypatch.setattr(trainer, "_backward", lambda: np.nan)
    result = trainer.step(batch)
    assert result.rolled_back and everything(trainer) == before
    assert trainer.ledger.predictions_rolled_back == 1 and trainer.ledger.predictions_accepted == 0


def test_more_pairs_than_a_hundred(batch):
    predictor = QuasiNewtonConfig(pairs=120).init()
    trainer = made(predictor, lr=0.01)
    for _ in range(300):
        trainer.step(batch)
    assert len(predictor.state_dict()["order"]) > 100


def test_no_room_for_a_history_is_no_prediction(batch):
    memory = dataclasses.replace(CONFIG.memory, history=10)
    trainer = made(config=dataclasses.replace(CONFIG, memory=memory))
    results = [trainer.step(batch) for _ in range(20)]
    assert not trainer.plan.predicts and trainer.ledger.backward_passes == 20
    assert not any(result.predicted for result in results)


def test_a_model_that_draws_random_numbers_cannot_be_verified_by_the_next_step():
    model = mh.nn.Sequential([mh.nn.DropoutConfig(0.5).init(mh.Rng(0)), mh.nn.LinearConfig(64, 10).init(mh.Rng(0))])
    with pytest.raises(ValueError, match=r"the model draws random numbers \(layers.0.rng\), so their losses cannot be"):
        made(model=model)


def test_a_rise_that_rounding_explains_is_none():
    trial = Trial(start=None, level=0.5, before="a snapshot")
    assert not trial.refuses(0.5 * (1 + 1e-7)) and trial.refuses(0.5 * (1 + 1e-5)) and trial.refuses(float("nan"))


def test_a_step_that_fails_after_a_jump_was_passed_moves_averages_once(batch):
    shape = ModelWrapper(network(), classify).weights.shape
    push, optimizer = Push(np.full(shape, 1e-3, np.float32)), mh.optim.Ema(mh.optim.Adam(), 0.9)
    wrapper = OptimizerWrapper(optimizer, 1e-9)
    trainer = HybridTrainer(ModelWrapper(network(), classify), wrapper, CONFIG, predictor=push)
    until(trainer, batch, Phase.PREDICT)
    trainer.step(batch)
    trainer._on_trial = dataclasses.replace(trainer._on_trial, level=1e9)
    step, before = wrapper.step, optimizer.snapshot()["vectors"]["average"].copy()
    wrapper.step = lambda model: 1 / 0
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            trainer.step(batch)
    wrapper.step = step
    trainer.step(batch)
    np.testing.assert_allclose(optimizer.snapshot()["vectors"]["average"] - before, 1e-3, atol=1e-5)
    assert trainer.ledger.predictions_accepted == 1
