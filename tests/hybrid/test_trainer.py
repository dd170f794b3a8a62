"""The hybrid trainer: its cycle, its costs, and that nothing is believed that was not measured."""

import dataclasses
import itertools
import types

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid import (
    Batch,
    DivergenceLimits,
    HybridConfig,
    HybridTrainer,
    ModelWrapper,
    OptimizerWrapper,
    Phase,
)
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.divergence import Level
from minihybrid.hybrid.predictors import DriftConfig, NullConfig, Prediction
from minihybrid.hybrid.verify import GuardSearch
from minihybrid.module.module import pack

CONFIG = HybridConfig(
    warmup=10,
    full=5,
    correct=3,
    horizon=5,
    max_horizon=20,
    confidence=0.0,
    coherence=0.0,
    longest_wait=0,
    predictor=DriftConfig(average=0.9, stride=1),
    payoff=None,
)


class Push:
    """A predictor that says what it is told to."""

    looks_at_gradients = False

    def __init__(self, delta, steps=5, confidence=1.0, verification=None):
        self.delta, self.steps, self.confidence = delta, steps, confidence
        self.verification = verification or GuardSearch()
        self.moved = []

    def observe(self, step):
        pass

    def predict(self, horizon, trust=1.0):
        return Prediction(self.delta, self.steps, self.confidence)

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


@pytest.fixture
def trainer(wrapper, digits):
    """A function that makes a trainer on the digits, with its loader."""

    def make(config=CONFIG, guarded=True, lr=0.01, seed=0, **options):
        guard = digits(seed + 100) if guarded else None
        made = HybridTrainer(
            wrapper(64, 16, 10, seed=seed), OptimizerWrapper(mh.optim.Adam(), lr), config, guard, **options
        )
        return made, digits(seed)

    return make


def until(trainer, loader, phase):
    results = []
    while trainer.phase is not phase:
        results.append(trainer.step(next(loader)))
    return results


def until_probed(trainer, loader):
    """To where Drift has seen two windows, and the next action is a prediction that will be probed."""
    until(trainer, loader, Phase.PREDICT)
    trainer.step(next(loader))
    until(trainer, loader, Phase.PREDICT)


def everything(trainer):
    """All that a rollback has to give back, as bytes."""
    optimizer = trainer.optimizer_wrapper.optimizer.state()
    moments = {name: [array.tobytes() for array in arrays.values()] for name, arrays in optimizer["moments"].items()}
    return (
        pack(trainer.model).values.tobytes(),
        {path: b.array.tobytes() for path, b in trainer.model.named_buffers().items()},
        {path: rng.state() for path, rng in trainer.model.named_rngs().items()},
        moments,
        list(optimizer["steps"].values()),
        trainer.optimizer_wrapper.steps,
        trainer.optimizer_wrapper.learning_rate(),
    )


def test_hybrid_trainer_with_burn_model(trainer):
    trained, loader = trainer()
    results = [trained.step(next(loader)) for _ in range(50)]
    cycle = ["full"] * 5 + ["predict"] + ["correct"] * 3
    assert [r.phase for r in results] == (["warmup"] * 10 + cycle * 5)[:50]
    assert [r.step for r in results] == list(range(50))
    assert all(np.isfinite(r.loss) and r.learning_rate == 0.01 for r in results)
    assert all((r.gradient_norm is None) == r.predicted for r in results)
    assert np.mean([r.loss for r in results[-5:]]) < np.mean([r.loss for r in results[:5]])

    predictions = [r for r in results if r.predicted]
    ledger = trained.ledger
    assert ledger.backward_passes == results[-1].backward_passes == 50 - len(predictions)
    assert ledger.forward_probes == results[-1].forward_probes > 0
    assert ledger.predictions_tried == len(predictions)
    assert ledger.predictions_accepted == sum(r.accepted for r in predictions) > 0
    assert ledger.predictions_rolled_back == sum(r.rolled_back for r in predictions)
    assert ledger.predictions_declined == sum(not (r.accepted or r.rolled_back) for r in predictions) >= 1


def test_burn_model_predict_phase(trainer, monkeypatch):
    trained, loader = trainer()
    until_probed(trained, loader)
    accepted = 0
    for _ in range(4):
        until(trained, loader, Phase.PREDICT)
        before, passes = pack(trained.model).values.copy(), trained.ledger.backward_passes
        monkeypatch.setattr(mh.Tensor, "backward", None)  # whoever calls it now fails
        result = trained.step(next(loader))
        monkeypatch.undo()
        assert result.predicted and result.guard == "held-out" and result.horizon == 5
        assert trained.ledger.backward_passes == passes == result.backward_passes
        after = pack(trained.model).values
        if result.accepted:
            accepted += 1
            assert result.scale > 0 and (after != before).mean() > 0.5 and result.loss_after < result.loss
            assert all((p.numpy() != 0).any() for p in trained.model.named_params().values())
        else:
            assert result.scale == 0 and after.tobytes() == before.tobytes()
    assert accepted > 0


def test_burn_model_correct_phase(trainer):
    trained, loader = trainer(dataclasses.replace(CONFIG, correct=4, correction=CorrectionConfig()))
    until_probed(trained, loader)
    result = trained.step(next(loader))
    prediction = trained._foretold.displacement
    start, passes = pack(trained.model).values.copy(), trained.ledger.backward_passes
    corrections = until(trained, loader, Phase.FULL)
    assert [r.phase for r in corrections] == ["correct"] * 4 and trained.ledger.backward_passes == passes + 4
    real = pack(trained.model).values - start
    length = np.vdot(real - prediction, prediction) / np.vdot(prediction, prediction)
    assert trained.corrector.state_dict()["lengths"] == pytest.approx([np.clip(length, -1, 1)], rel=1e-3)
    cosine = np.vdot(real, prediction) / np.linalg.norm(real) / np.linalg.norm(prediction)
    assert trained.agreement.count == 1 and trained.agreement.cosine == pytest.approx(cosine, rel=1e-3)
    assert result.predicted and np.isfinite(trained.corrector.relative_errors.uncorrected)

    for _ in range(4):  # until something is known that helps
        until(trained, loader, Phase.PREDICT)
        trained.step(next(loader))
    until(trained, loader, Phase.PREDICT)
    seen, evaluate = [], trained.model_wrapper.evaluate

    def watched(batch):
        seen.append(pack(trained.model).values.copy())
        return evaluate(batch)

    trained.model_wrapper.evaluate = watched
    push = Push(-0.01 * pack(trained.model).values)
    trained.predictor = push
    corrected = trained.corrector.corrected(push.delta)
    base = pack(trained.model).values.copy()
    trained.step(next(loader))
    np.testing.assert_array_equal(seen[1], base + np.float32(1.0) * corrected), "the proposal probed is the corrected"


def test_the_detector_an_accepted_jump_changes_parameters(trainer):
    """The reference's predictions named no parameter, and so changed nothing; here such a jump cannot be accepted."""

    def jumps_that_change_nothing(trained, loader, cycles):
        hollow = 0
        for _ in range(cycles):
            until(trained, loader, Phase.PREDICT)
            before = {path: p.numpy() for path, p in trained.model.named_params().items()}
            if trained.step(next(loader)).accepted:
                after = trained.model.named_params()
                hollow += not all((after[path].numpy() != value).any() for path, value in before.items())
        return hollow, trained.ledger.predictions_accepted

    hollow, accepted = jumps_that_change_nothing(*trainer(), cycles=5)
    assert hollow == 0 and accepted > 0

    trained, loader = trainer(predictor=NullConfig().init())
    assert jumps_that_change_nothing(trained, loader, cycles=5) == (0, 0)

    trained, loader = trainer()
    trained.model_wrapper.move = trained.model_wrapper.place = lambda *delta: None  # deltas that reach no parameter
    assert jumps_that_change_nothing(trained, loader, cycles=5) == (0, 0), "no loss falls, so nothing is believed"

    losses = iter(np.linspace(1, 0, 100))
    trained, loader = trainer()
    trained.model_wrapper.move = trained.model_wrapper.place = lambda *delta: None
    trained.model_wrapper.evaluate = lambda batch: next(losses)  # and a verification that lies
    hollow, accepted = jumps_that_change_nothing(trained, loader, cycles=2)
    assert hollow == accepted == 1, "the detector detects"


def test_null_is_plain_training_on_the_same_real_batches_bit_for_bit(trainer, wrapper):
    trained, loader = trainer(predictor=NullConfig().init(), lr=mh.optim.Cosine(0.01, total=60))
    plain, optimizer = wrapper(64, 16, 10), OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.01, total=60))
    for _ in range(60):
        batch = next(loader)
        result = trained.step(batch)
        if not result.predicted:
            assert plain.forward(batch).item() == result.loss
            plain.backward()
            assert optimizer.learning_rate() == result.learning_rate
            optimizer.step(plain)
    assert trained.ledger.predictions_rolled_back == trained.ledger.predictions_tried > 3
    assert pack(trained.model).values.tobytes() == pack(plain.model).values.tobytes()


class Restless(mh.Module):
    """A network with all that can be forgotten in a rollback: a buffer, and a random stream drawn from always."""

    layer: mh.nn.Linear
    mean: mh.Buffer
    rng: mh.Rng

    def forward(self, x):
        return self.layer(x + mh.Tensor(self.rng.normal(x.shape, std=0.01)))


def restless_forward(model, batch):
    inputs = mh.Tensor(batch.inputs)
    loss = mh.nn.cross_entropy(model(inputs), batch.targets)
    return model, mh.carry(loss, {model.mean: 0.9 * model.mean.array + 0.1 * batch.inputs.mean(axis=0)})


def restless():
    layer = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0))
    return Restless(layer, mh.Buffer(np.zeros(64, np.float32)), mh.Rng(7))


def regularised():
    rng = mh.Rng(0)
    layers = [
        mh.nn.LinearConfig(64, 16).init(rng),
        mh.nn.BatchNorm1dConfig(16).init(),
        mh.nn.Relu(),
        mh.nn.DropoutConfig(0.3).init(rng),
        mh.nn.LinearConfig(16, 10).init(rng),
    ]
    return mh.nn.Sequential(layers)


def regularised_forward(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def bad_push(model):
    return Push(mh.Rng(9).normal(pack(model).values.shape, std=50.0))


@pytest.mark.parametrize(("make", "forward"), [(restless, restless_forward), (regularised, regularised_forward)])
def test_a_rejected_jump_leaves_no_trace(digits, make, forward):
    def run(predictor):
        model = make()
        trained = HybridTrainer(
            ModelWrapper(model, forward),
            OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.01, total=50)),
            CONFIG,
            digits(1),
            predictor(model),
        )
        loader = digits()
        for _ in range(3):
            until(trained, loader, Phase.PREDICT)
            before = everything(trained)
            result = trained.step(Batch(None, None))
            assert not result.accepted and result.scale == 0 and trained.ledger.forward_probes > 0
            assert everything(trained) == before
        until(trained, loader, Phase.FULL)
        return everything(trained)

    assert run(bad_push) == run(lambda model: NullConfig().init())


class Failing(Push):
    """A predictor that raises when it is asked."""

    def predict(self, horizon, trust=1.0):
        raise ZeroDivisionError("mine")


def broken_predictions(n):
    fits = np.zeros(n, np.float32)
    return {
        "short": (Push(fits[:-1]), ValueError, rf"a delta of float32 \({n - 1},\); expected float32 \({n},\)"),
        "matrix": (Push(fits.reshape(1, -1)), ValueError, r"float32 \(1, "),
        "float64": (Push(fits.astype(np.float64)), ValueError, r"a delta of float64 .* expected float32"),
        "unsure": (Push(fits[:-1], confidence=0.0), ValueError, "Push predicted a delta"),
        "raises": (Failing(fits), ZeroDivisionError, "mine"),
    }


@pytest.mark.parametrize("name", broken_predictions(9))
def test_a_predictor_that_fails_leaves_a_trainer_that_can_go_on(trainer, name):
    trained, loader = trainer()
    predictor, error, sentence = broken_predictions(trained.model.num_params())[name]
    until(trained, loader, Phase.PREDICT)
    before, working = everything(trained), trained.predictor
    trained.predictor = predictor
    for _ in range(2):
        with pytest.raises(error, match=sentence):
            trained.step(next(loader))
        assert everything(trained) == before and trained.phase is Phase.PREDICT
    assert trained.ledger.forward_probes == trained.ledger.predictions_tried == 0
    trained.predictor = working
    assert trained.step(next(loader)).predicted
    until(trained, loader, Phase.FULL)


def test_a_jump_is_taken_back_if_the_predictor_does_not_bear_it(trainer, monkeypatch):
    trained, loader = trainer()
    until_probed(trained, loader)
    before = everything(trained)

    def fail(delta):
        raise ZeroDivisionError

    monkeypatch.setattr(trained.predictor, "translate", fail)
    with pytest.raises(ZeroDivisionError):
        trained.step(next(loader))
    assert everything(trained) == before and trained.phase is Phase.PREDICT
    monkeypatch.undo()
    assert trained.step(next(loader)).accepted


def test_what_a_predictor_raises_when_it_hears_of_a_step_leaves_everything_as_it_was(trainer, monkeypatch):
    trained, loader = trainer()

    def fail(weights):
        raise ZeroDivisionError

    monkeypatch.setattr(trained.predictor, "observe", fail)
    trained.step(next(loader))
    before = everything(trained)
    with pytest.raises(ZeroDivisionError):
        trained.step(next(loader))
    assert everything(trained) == before and trained.steps == trained.ledger.backward_passes == 1
    monkeypatch.undo()
    assert trained.step(next(loader)).step == 1


def test_rollback_is_exact_also_when_a_probe_fails(digits):
    model = restless()
    trained = HybridTrainer(
        ModelWrapper(model, restless_forward),
        OptimizerWrapper(mh.optim.Adam(), 0.01),
        CONFIG,
        predictor=bad_push(model),
    )
    loader = digits()
    until(trained, loader, Phase.PREDICT)
    before, stream, asked = everything(trained), trained.model.rng.state(), itertools.count()
    evaluate = trained.model_wrapper.evaluate

    def fails_later(batch):
        if next(asked) == 1:
            raise ZeroDivisionError("mine")
        return evaluate(batch)

    trained.model_wrapper.evaluate = fails_later
    with pytest.raises(ZeroDivisionError):
        trained.step(next(loader))
    assert everything(trained) == before and trained.model.rng.state() == stream and trained.phase is Phase.PREDICT
    trained.model_wrapper.evaluate = evaluate
    assert trained.step(next(loader)).predicted, "the action is tried again"


def test_snapshot_and_restore_cover_real_steps(trainer):
    trained, loader = trainer(lr=mh.optim.Cosine(0.01, total=50))
    until(trained, loader, Phase.PREDICT)
    kept, before = trained.snapshot(), everything(trained)
    until(trained, loader, Phase.FULL)
    trained.step(next(loader))
    assert everything(trained) != before
    trained.restore(kept)
    assert everything(trained) == before


def test_an_accepted_jump_is_the_scaled_delta_to_the_bit(wrapper, digits):
    model = wrapper(64, 16, 10)
    loader = digits()
    batch = next(loader)
    gradient = mh.optim.GradientsParams.from_grads(
        mh.nn.cross_entropy(model.model(mh.Tensor(batch.inputs)), batch.targets).backward(), model.model
    )
    delta = -0.1 * gradient.parts()[0]
    push = Push(delta.astype(np.float32))
    config = dataclasses.replace(CONFIG, warmup=0, full=2)
    trained = HybridTrainer(model, OptimizerWrapper(mh.optim.SGD(), 0.0), config, predictor=push)
    before = pack(model.model).values.copy()
    results = [trained.step(batch) for _ in range(3)]
    jump = results[-1]
    assert jump.accepted and jump.guard == "in-sample" and jump.loss_after < jump.loss
    assert jump.loss == pytest.approx(results[0].loss) and jump.scale == 4.0, "the step is small: further is better"
    expected = before + np.float32(jump.scale) * push.delta
    assert pack(trained.model).values.tobytes() == expected.tobytes()
    assert push.moved[0].tobytes() == (expected - before).tobytes(), "the predictor is told how far it went"
    assert trained.step(batch).loss == pytest.approx(jump.loss_after)


@pytest.mark.parametrize(
    "push",
    [
        lambda n: Push(np.full(n, np.nan, np.float32)),
        lambda n: Push(np.full(n, np.inf, np.float32)),
        lambda n: Push(np.zeros(n, np.float32), confidence=0.29),
    ],
)
def test_a_failed_gate_costs_no_probe(trainer, push):
    trained, loader = trainer(dataclasses.replace(CONFIG, coherence=0.3))
    trained.predictor = push(trained.model.num_params())
    until(trained, loader, Phase.PREDICT)
    before = everything(trained)
    result = trained.step(next(loader))
    assert (result.accepted, result.scale, result.loss_after, result.guard) == (False, 0.0, None, None)
    assert everything(trained) == before
    assert trained.ledger.forward_probes == 0 and trained.ledger.predictions_declined == 1
    until(trained, loader, Phase.FULL)


def test_a_run_in_trouble_proposes_nothing(trainer, monkeypatch):
    trained, loader = trainer()
    until_probed(trained, loader)
    declined = trained.ledger.predictions_declined
    trained.verdict = dataclasses.replace(trained.verdict, level=Level.WARNING, reason="provoked")
    assert not trained.step(next(loader)).accepted
    assert trained.ledger.predictions_declined == declined + 1


def test_the_schedule_follows_real_steps_alone(trainer):
    schedule = mh.optim.Cosine(0.05, total=40)
    trained, loader = trainer(lr=schedule)
    real = 0
    for _ in range(45):
        result = trained.step(next(loader))
        assert result.learning_rate == schedule(real)
        real += not result.predicted
    assert trained.ledger.predictions_accepted > 0


def test_a_guard_is_asked_only_for_predictions_and_the_batch_then_not_at_all(trainer):
    trained, loader = trainer()
    given = []
    guard = trained.guard
    trained.guard = (given.append(1) or batch for batch in guard.forever())
    until_probed(trained, loader)
    assert given == []
    trained.step(Batch(None, None))
    assert len(given) == 1


def endings(batch):
    """Guards that end, fail or give nonsense, with what is raised."""

    def failing():
        raise ZeroDivisionError("mine")
        yield

    return {
        "ended": (iter([]), ValueError, "the guard has no more batches; pass an endless iterator"),
        "fails": (failing(), ZeroDivisionError, "mine"),
        "nothing": (itertools.repeat(None), AttributeError, "inputs"),
        "another shape": (itertools.repeat(Batch(batch.inputs[:, :3], batch.targets)), ValueError, "64"),
    }


@pytest.mark.parametrize("name", endings(Batch(np.ones((1, 1)), None)))
def test_a_guard_that_fails_leaves_a_trainer_that_can_go_on(trainer, name):
    trained, loader = trainer()
    working = trained.guard
    trained.guard, error, sentence = endings(next(loader))[name]
    until_probed(trained, loader)
    before = everything(trained)
    with pytest.raises(error, match=sentence):
        trained.step(next(loader))
    assert everything(trained) == before and trained.phase is Phase.PREDICT
    trained.guard = working
    assert trained.step(next(loader)).guard == "held-out"


def test_a_guard_is_an_iterator(trainer, digits, wrapper):
    with pytest.raises(TypeError, match="the guard is a list; expected an iterator of batches without end"):
        HybridTrainer(wrapper(64, 16, 10), OptimizerWrapper(mh.optim.Adam(), 0.1), CONFIG, list(digits()))


def test_a_guard_that_gives_no_numbers_accepts_nothing(trainer):
    trained, loader = trainer()
    batch = next(loader)
    trained.guard = itertools.repeat(Batch(np.full_like(batch.inputs, np.nan), batch.targets))
    until_probed(trained, loader)
    before = everything(trained)
    result = trained.step(batch)
    assert np.isnan(result.loss) and not result.accepted and everything(trained) == before


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_applied(digits, monkeypatch, bad):
    def run(fails):
        trained = HybridTrainer(
            ModelWrapper(regularised(), regularised_forward), OptimizerWrapper(mh.optim.Adam(), 0.01), CONFIG, digits(1)
        )
        loader = digits()
        for _ in range(3):
            trained.step(next(loader))
        if fails:
            before, passes = everything(trained), trained.ledger.backward_passes
            batch = Batch(np.ones((4, 64), np.float32), np.arange(4))
            if bad == "loss":
                batch.inputs[0, 0] = np.nan
            else:
                infinite = types.SimpleNamespace(gradient_norm=np.inf)
                backward = trained.model_wrapper.backward
                monkeypatch.setattr(trained.model_wrapper, "backward", lambda: backward() and infinite)
            result = trained.step(batch)
            assert result.note.startswith("SkipBatch: the ") and not result.predicted
            monkeypatch.undo()
            assert everything(trained) == before and trained.phase is Phase.WARMUP
            assert trained.ledger.backward_passes == passes + (bad == "gradient"), "a bad loss is not differentiated"
        results = [trained.step(next(loader)) for _ in range(30)]
        return [(result.loss, result.accepted) for result in results], everything(trained)

    assert run(fails=True) == run(fails=False), "training goes on as if nothing had been"


def test_a_forward_function_that_raises_leaves_the_trainer_where_it_was(mlp, digits):
    def forward(model, batch):
        if batch.inputs is None:
            raise ZeroDivisionError("mine")
        return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)

    trained = HybridTrainer(ModelWrapper(mlp(64, 16, 10), forward), OptimizerWrapper(mh.optim.Adam(), 0.01), CONFIG)
    loader = digits()
    while trained.steps < 30:
        before, asks = everything(trained), trained.phase is not Phase.PREDICT or trained.ledger.predictions_tried
        if asks:  # the first prediction is declined, and looks at no batch
            with pytest.raises((ZeroDivisionError, TypeError)):
                trained.step(Batch(None, None))
        assert everything(trained) == before
        trained.step(next(loader))
    assert trained.ledger.predictions_tried > 0


def test_a_loss_spike_is_a_caution_of_the_watch(trainer):
    limits = DivergenceLimits(baseline=5)
    trained, loader = trainer(dataclasses.replace(CONFIG, warmup=100, divergence=limits))
    for _ in range(40):
        trained.step(next(loader))
    batch = next(loader)
    trained.step(Batch(batch.inputs * 30, (batch.targets + 5) % 10))
    assert trained.verdict.level >= Level.CAUTION and "standard deviations" in trained.verdict.reason


@pytest.mark.parametrize("phases", [dict(warmup=0), dict(correct=0), dict(warmup=0, correct=0)])
def test_phases_may_be_empty(trainer, phases):
    trained, loader = trainer(dataclasses.replace(CONFIG, **phases))
    results = [trained.step(next(loader)) for _ in range(30)]
    missing = {"warmup" if key == "warmup" else "correct" for key in phases}
    assert {r.phase for r in results}.isdisjoint(missing)
    assert trained.ledger.predictions_tried >= 3
