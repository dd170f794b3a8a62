"""A trainer that was saved and is made anew goes on to the bit, after every single step, whatever it is made of."""

import dataclasses
import itertools
import re
from functools import partial

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.config import Config
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.divergence import DivergenceLimits
from minihybrid.hybrid.hindsight import HindsightConfig
from minihybrid.hybrid.memory import MemoryBudget
from minihybrid.hybrid.payoff import PayoffConfig
from minihybrid.hybrid.predictors import DriftConfig, Prediction, PredictorConfig, QuasiNewtonConfig
from minihybrid.hybrid.recovery import RecoveryConfig
from minihybrid.hybrid.state import StateConfig
from minihybrid.hybrid.verify import NextGradient, Unprobed
from minihybrid.optim import Optimizer
from minihybrid.train.checkpoint import read, write
from tests.optim.conftest import RULES
from tests.optim.test_every_optimizer import EVERY

STEPS = 44
PREDICTORS = {
    name: kind
    for name, kind in Config.known.items()
    if issubclass(kind, PredictorConfig) and kind is not PredictorConfig and "init" in vars(kind)
}
DEFERRED = [name for name, kind in PREDICTORS.items() if kind().init().verification.deferred]
OPTIMIZERS = RULES | EVERY


class Net(mh.Module):
    """Random numbers and running statistics on the way, and names that groups of optimizers know."""

    first: mh.nn.Linear
    norm: mh.Module
    dropout: mh.nn.Dropout
    second: mh.nn.Linear

    def forward(self, x):
        return self.second(self.dropout(mh.tanh(self.norm(self.first(x)))))


class Plain(mh.Module):
    first: mh.nn.Linear
    second: mh.nn.Linear

    def forward(self, x):
        return self.second(mh.tanh(self.first(x)))


def net(draws=True, seed=0):
    rng = mh.Rng(seed)
    first, second = mh.nn.LinearConfig(64, 6).init(rng), mh.nn.LinearConfig(6, 10).init(rng)
    if not draws:
        return Plain(first, second)
    return Net(first, mh.nn.BatchNorm1dConfig(6, affine=False).init(), mh.nn.DropoutConfig(0.2).init(rng), second)


def classify(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


DATA = mh.data.digits().split(0.1, mh.Rng(9))[0]  # 180 examples: some epochs in a run
MINIBATCH = HybridConfig(
    warmup=4,
    full=4,
    correct=4,
    horizon=4,
    max_horizon=16,
    longest_wait=1,
    confidence=0.0,
    coherence=0.0,
    hindsight=HindsightConfig(sigma=0.0, steps=1),  # so that jumps are regretted, too
    payoff=PayoffConfig(controls=0.3),
    correction=CorrectionConfig(),
    state=StateConfig(every=3),
    divergence=DivergenceLimits(baseline=20),
)
FULL_BATCH = dataclasses.replace(HybridConfig.full_batch(), warmup=3)


def hybrid(config, optimizer=mh.optim.Adam, lr=None, predictor=None):
    """A trainer and its batches, made in the same way each time."""
    predictor = predictor and predictor()
    deferred = (predictor or config.predictor.init()).verification.deferred
    model = ModelWrapper(net(draws=not deferred), classify)
    schedule = mh.optim.Cosine(0.05, total=STEPS) if lr is None else lr
    wrapper = OptimizerWrapper(optimizer(), schedule, clip=1.0)
    guard = None if deferred else mh.data.DataLoader(DATA, 50, mh.Rng(2))
    trainer = HybridTrainer(model, wrapper, config, guard, predictor)
    return trainer, mh.data.DataLoader(DATA, len(DATA) if deferred else 32, mh.Rng(1))


def full(optimizer, compile=False):
    wrapper = OptimizerWrapper(optimizer(), mh.optim.Cosine(0.05, total=STEPS), clip=1.0)
    trainer = FullTrainer(ModelWrapper(net(), classify), wrapper, compile)
    return trainer, mh.data.DataLoader(DATA, 32, mh.Rng(1))


def bits(trainer):
    """The model with its buffers and streams, and all that its optimizer keeps, as text."""
    with np.printoptions(threshold=10**9):
        model, optimizer = trainer.model_wrapper.state_dict(), trainer.optimizer_wrapper.state_dict()
        readout = trainer.readout().named_params().values()
        texts = (plainly(model), plainly(optimizer), [param.array.tobytes() for param in readout])
    return texts


def plainly(tree):
    """A tree without ids, which are others in each process, and with its arrays as bytes."""
    if isinstance(tree, dict):
        return {key: plainly(item) for key, item in tree.items() if key != "ids"}
    if isinstance(tree, list):
        return [plainly(item) for item in tree]
    return tree.tobytes() if isinstance(tree, np.ndarray) else repr(tree)  # in which NaN equals NaN


def stepped(trainer, batches):
    return repr(trainer.step(next(batches))), bits(trainer)


def uninterrupted(make, path, steps=STEPS):
    """What each step tells and leaves behind; before each, everything is saved."""
    trainer, batches = make()
    told = []
    for step in range(steps):
        write(path / f"{step}", {"trainer": trainer.state_dict(), "batches": batches.state_dict()}, {})
        told.append(stepped(trainer, batches))
    return told, trainer


def resumed(make, path, step):
    trainer, batches = make()
    state = read(path / f"{step}").state
    trainer.load_state_dict(state["trainer"])
    batches.load_state_dict(state["batches"])
    return trainer, batches


def goes_on(make, path, among=range(STEPS), steps=STEPS, ahead=3):
    """From each step, the run goes on as it did, and from every eleventh to its end; gives what the steps told."""
    told, trainer = uninterrupted(make, path, steps)
    for step in among:
        again, batches = resumed(make, path, step)
        assert plainly(again.state_dict()) == plainly(read(path / f"{step}").state["trainer"])
        for later in range(step, steps if step % 11 == 0 else min(steps, step + ahead)):
            here = stepped(again, batches)
            assert here[0] == told[later][0], f"saved before step {step}, another step {later}"
            assert here == told[later], f"saved before step {step}, something else after step {later}"
    return told, trainer


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_goes_on_from_every_step(tmp_path, name):
    preset = FULL_BATCH if name in DEFERRED else MINIBATCH
    told, trainer = goes_on(partial(hybrid, dataclasses.replace(preset, predictor=PREDICTORS[name]())), tmp_path)
    assert trainer.ledger.predictions_tried
    phases = {text.split("phase='")[1].split("'")[0] for text, _ in told}
    assert phases >= ({"warmup", "full", "predict"} if name in DEFERRED else {"warmup", "full", "predict", "correct"})


class Push:
    """A predictor that pushes the weights about, and is wrong."""

    looks_at_gradients = False

    def __init__(self, verification):
        self.verification, self.size = verification, 0

    def observe(self, step):
        self.size = step.weights.size

    def predict(self, horizon, trust=1.0):
        return Prediction(np.full(self.size, 3.0, np.float32), 1)

    def translate(self, delta):
        pass

    def readout(self):
        return None

    def reset(self):
        pass

    def state_dict(self):
        return {"size": self.size}

    def load_state_dict(self, state):
        self.size = state["size"]


FAR = dataclasses.replace(MINIBATCH, horizon=16, predictor=DriftConfig(average=0.5, stride=1))
EVENTFUL = {
    "accepted": (partial(hybrid, FAR, lr=0.05), "predict.* accepted=True"),
    "refused by its probes": (partial(hybrid, FAR, lr=0.05), "predict.* rolled_back=True"),
    "regretted": (
        partial(hybrid, MINIBATCH, predictor=partial(Push, Unprobed())),
        "the last jump was taken back: the loss has risen since",
    ),
    "as far as the forecast reaches": (
        partial(hybrid, dataclasses.replace(MINIBATCH, warmup=12, confidence=0.05), lr=0.01),
        r"predicted=True[^)]* horizon=[1-4],",
    ),
    "predicting does not pay": (
        partial(
            hybrid,
            dataclasses.replace(
                MINIBATCH, warmup=2, full=2, correct=1, payoff=PayoffConfig(0.5, evidence=2, certainty=0.0, grant=0.0)
            ),
            predictor=partial(Push, Unprobed()),
        ),
        "accepted=True",
    ),
    "a step is shortened": (partial(hybrid, FULL_BATCH, lr=0.4), "warmup.* shortened=True"),
    "a jump is shortened twice, and taken back": (
        partial(hybrid, FULL_BATCH, predictor=partial(Push, NextGradient())),
        "predict.*(phase='full'[^)]*shortened=True[^)]*[)] StepResult[^)]*){2}rolled_back=True",
    ),
}


@pytest.mark.parametrize("name", EVENTFUL)
def test_events_go_on(tmp_path, name):
    make, event = EVENTFUL[name]
    told, _ = goes_on(make, tmp_path)
    assert re.search(event, " ".join(text for text, _ in told))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on(tmp_path, name):
    goes_on(partial(full, OPTIMIZERS[name]), tmp_path, among=(0, 1, 3), steps=5)
    goes_on(partial(hybrid, MINIBATCH, OPTIMIZERS[name]), tmp_path, among=(8, 9, 10), steps=13)


def test_no_optimizer_is_left_out():
    tested = {type(part) for make in OPTIMIZERS.values() for part in (make(), *make().parts())}
    known = {kind for kind in vars(mh.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)}
    assert known - {Optimizer} <= tested


@pytest.mark.parametrize(
    "make", [partial(hybrid, MINIBATCH), partial(hybrid, FULL_BATCH), partial(full, mh.optim.Adam)]
)
def test_plans_are_recorded_anew_and_change_nothing(tmp_path, make):
    def compiled():
        trainer, batches = make()
        if isinstance(trainer, HybridTrainer):
            trainer.config = dataclasses.replace(trainer.config, compile=True)
        trainer.compile = True
        return trainer, batches

    told, _ = goes_on(compiled, tmp_path, among=range(0, STEPS, 7))
    assert told == uninterrupted(make, tmp_path)[0], "and a state of either goes on in the other"


def test_trouble_goes_on_too(tmp_path):
    """Batches that are not finite are skipped, then rolled back: the good snapshot is part of the state."""
    bad = {10, 18, 19, 20, 30}

    class Spoilt:
        def __init__(self, batches):
            self.batches, self.given = batches, 0

        def __next__(self):
            batch, self.given = next(self.batches), self.given + 1
            return batch._replace(inputs=batch.inputs * np.float32(np.nan)) if self.given in bad else batch

        def state_dict(self):
            return {"batches": self.batches.state_dict(), "given": self.given}

        def load_state_dict(self, state):
            self.batches.load_state_dict(state["batches"])
            self.given = state["given"]

    def make():
        config = dataclasses.replace(MINIBATCH, recovery=RecoveryConfig(skips=1, rollbacks=5), predictor=DriftConfig())
        trainer, batches = hybrid(config)
        return trainer, Spoilt(batches)

    told, _ = goes_on(make, tmp_path)
    text = " ".join(text for text, _ in told)
    assert "SkipBatch" in text and "RollbackAndRetry" in text


def test_a_schedule_that_was_set_is_part_of_the_state_and_a_function_need_not_be(tmp_path):
    trainer, _ = hybrid(MINIBATCH, lr=lambda step: 0.1 / (step + 1))
    twin, _ = hybrid(MINIBATCH, lr=lambda step: 0.1 / (step + 1))
    twin.load_state_dict(trainer.state_dict())
    assert twin.optimizer_wrapper.learning_rate() == 0.1
    trainer.optimizer_wrapper.set_learning_rate(mh.optim.Exponential(0.5, 0.9))
    twin.load_state_dict(trainer.state_dict())
    assert twin.optimizer_wrapper.schedule == mh.optim.Exponential(0.5, 0.9)
    trainer.optimizer_wrapper.set_learning_rate(lambda step: 0.2)
    with pytest.raises(TypeError, match=r"OptimizerWrapper.schedule cannot be saved: it is a function"):
        trainer.state_dict()


def test_a_proposal_whose_probe_failed_is_still_the_next_to_be_probed(tmp_path):
    def make():
        return hybrid(MINIBATCH)

    trainer, batches = make()
    while trainer.phase != "predict" or trainer.ledger.predictions_tried < 1:
        trainer.step(next(batches))
    evaluate = trainer.model_wrapper.evaluate
    trainer.model_wrapper.evaluate = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.step(next(batches))
    trainer.model_wrapper.evaluate = evaluate
    assert isinstance(trainer._proposal, Prediction)
    write(tmp_path / "0", {"trainer": trainer.state_dict(), "batches": batches.state_dict()}, {})
    again, same = resumed(make, tmp_path, 0)
    for _ in range(9):
        assert stepped(again, same) == stepped(trainer, batches)


def test_what_a_budget_had_room_for_is_what_it_has_room_for_again(tmp_path):
    """The plan depends on the memory in use when a trainer is made."""
    config = dataclasses.replace(FULL_BATCH, predictor=QuasiNewtonConfig(pairs=6), memory=MemoryBudget(total=10**12))
    tight = dataclasses.replace(config, memory=MemoryBudget(total=10**12, history=14 * 466 * 4))

    def make(settings=config):
        trainer, batches = hybrid(settings)
        trainer.config = config
        return trainer, batches

    trainer, batches = make(tight)
    assert trainer.predictor.config.pairs < 6 == make()[0].predictor.config.pairs
    for _ in range(9):
        trainer.step(next(batches))
    write(tmp_path / "0", {"trainer": trainer.state_dict(), "batches": batches.state_dict()}, {})
    again, same = resumed(make, tmp_path, 0)
    assert again.predictor.config == trainer.predictor.config
    for _ in range(20):
        assert stepped(again, same) == stepped(trainer, batches)


# What does not fit


def other(config):
    model = ModelWrapper(mh.nn.LinearConfig(64, 10).init(mh.Rng(0)), classify)
    return HybridTrainer(model, OptimizerWrapper(mh.optim.Adam(), 0.1), config, mh.data.DataLoader(DATA, 50, mh.Rng(2)))


MISFITS = {
    "model": (lambda: other(MINIBATCH), r"the parameter (first\.)?weight"),
    "settings": (
        lambda: hybrid(dataclasses.replace(MINIBATCH, full=5))[0],
        "the state is of a trainer with full 5, this one has 4",
    ),
    "rule": (lambda: hybrid(MINIBATCH, mh.optim.SGD)[0], "Adam keeps the moments"),
    "trainer": (lambda: full(mh.optim.Adam)[0], "the state is of a trainer with type None"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_state_of_something_else_is_refused_and_changes_nothing(name):
    make, sentence = MISFITS[name]
    trainer, batches = hybrid(MINIBATCH)
    for _ in range(10):
        trainer.step(next(batches))
    strange = make()
    strange.step(next(batches))
    before = plainly(trainer.state_dict())
    with pytest.raises(ValueError, match=sentence):
        trainer.load_state_dict(strange.state_dict())
    assert plainly(trainer.state_dict()) == before
    assert trainer.step(next(batches)).step == 10


def test_a_state_with_a_part_missing_is_refused_and_changes_nothing():
    trainer, batches = hybrid(MINIBATCH)
    for _ in range(12):
        trainer.step(next(batches))
    state, before = trainer.state_dict(), plainly(trainer.state_dict())
    for name in state:
        with pytest.raises((ValueError, KeyError, TypeError)):
            trainer.load_state_dict({key: value for key, value in state.items() if key != name})
        if name not in ("config", "guard"):
            with pytest.raises((ValueError, KeyError, TypeError)):
                trainer.load_state_dict({**state, name: {"type": "Nonsense"}})
        assert plainly(trainer.state_dict()) == before


def test_a_guard_has_to_say_where_it_stands():
    trainer, batches = hybrid(MINIBATCH)
    trainer.guard = itertools.repeat(next(batches))
    with pytest.raises(TypeError, match=r"HybridTrainer\.guard cannot be saved: it is a repeat"):
        trainer.state_dict()
