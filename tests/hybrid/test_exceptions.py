"""Whatever is called in a step may fail: model and optimizer are then as they were before it, and training goes on.

Everything of the user's that a trainer calls (forward function and loss, guard, schedule, predictor, the optimizer and
its rule) ticks when it is called and, where it changes something, when it is done. For every step of an eventful run,
each of its ticks raises once.
"""

import dataclasses
import types

import pytest

import minihybrid as mh
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.hybrid.predictors import HoltConfig
from minihybrid.hybrid.verify import NextGradient, Unprobed
from minihybrid.train import Learner, evaluate
from tests.hybrid.test_resume import DATA, FAR, MINIBATCH, Push, net

STEPS = 30


class Bomb:
    """Raises at a tick, once."""

    def __init__(self):
        self.ticks, self.at, self.error = 0, None, ZeroDivisionError

    def arm(self, at, error):
        self.ticks, self.at, self.error = 0, at, error

    def tick(self):
        self.ticks += 1
        if self.ticks == self.at:
            self.at = None
            raise self.error

    def around(self, thing, *names):
        """Let these methods of a thing tick before and after."""
        for name in names:
            setattr(thing, name, types.MethodType(self.ticking(getattr(type(thing), name)), thing))
        return thing

    def ticking(self, function):
        def called(*args, **options):
            self.tick()
            result = function(*args, **options)
            self.tick()
            return result

        return called


class Clocked(mh.optim.Adam):
    """A rule from outside the package, which can fail in the middle of an update, too."""

    def __init__(self, bomb):
        super().__init__()
        self._tick = bomb.tick

    def update_in_place(self, w, g, moments, lr, t, scratch):
        self._tick()
        w -= lr
        self._tick()
        w += lr
        super().update_in_place(w, g, moments, lr, t, scratch)
        self._tick()

    def step(self, lr, model, grads):
        self._tick()
        model = super().step(lr, model, grads)
        self._tick()
        return model


class Clockwork:
    """A guard, or batches, that tick."""

    def __init__(self, batches, bomb):
        self.batches, self.bomb = batches, bomb

    def __next__(self):
        self.bomb.tick()
        return next(self.batches)

    def state_dict(self):
        return self.batches.state_dict()

    def load_state_dict(self, state):
        self.batches.load_state_dict(state)


PREDICTOR = ("observe", "predict", "translate", "readout", "reset", "state_dict", "load_state_dict")


def optimizers(bomb):
    """Those of the package as they are, and what is outside it around and within them."""
    return {
        "adam": lambda: mh.optim.Adam(),
        "a rule of one's own": lambda: Clocked(bomb),
        "an average of it": lambda: mh.optim.Ema(Clocked(bomb), 0.9),
        "groups of it": lambda: mh.optim.Grouped({"*.bias": Clocked(bomb), "*": Clocked(bomb)}),
    }


def made(config, optimizer="adam", predictor=None, lr=0.05):
    """A trainer all of whose outside ticks; its batches; the bomb."""
    bomb = Bomb()

    def forward(model, batch):
        bomb.tick()
        out = model(mh.Tensor(batch.inputs))
        bomb.tick()
        loss = mh.nn.cross_entropy(out, batch.targets)
        bomb.tick()
        return model, loss

    def schedule(step):
        bomb.tick()
        return lr * 0.99**step

    deferred = (predictor or config.predictor.init()).verification.deferred if config else False
    model = ModelWrapper(net(draws=not deferred), forward)
    wrapper = OptimizerWrapper(optimizers(bomb)[optimizer](), schedule, clip=1.0)
    batches = Clockwork(mh.data.DataLoader(DATA, len(DATA) if deferred else 32, mh.Rng(1)), bomb)
    if config is None:
        return FullTrainer(model, wrapper), batches, bomb
    guard = None if deferred else Clockwork(mh.data.DataLoader(DATA, 50, mh.Rng(2)), bomb)
    trainer = HybridTrainer(model, wrapper, config, guard, predictor)
    bomb.around(trainer.predictor, *PREDICTOR)
    return trainer, batches, bomb


FULL_BATCH = dataclasses.replace(HybridConfig.full_batch(), warmup=3)
HOLT = HoltConfig(level=0.5, trend=0.5, lookahead=0.3)
MAKERS = {
    "full": lambda: made(None),
    "full, a rule of one's own": lambda: made(None, "a rule of one's own"),
    "full, groups": lambda: made(None, "groups of it"),
    "drift": lambda: made(dataclasses.replace(FAR, hindsight=None)),
    "drift, an average": lambda: made(FAR, "an average of it"),
    "holt": lambda: made(dataclasses.replace(MINIBATCH, predictor=HOLT)),
    "a jump that is regretted": lambda: made(MINIBATCH, predictor=Push(Unprobed())),
    "full batch": lambda: made(FULL_BATCH, lr=0.4),
    "full batch, a jump that is taken back": lambda: made(FULL_BATCH, predictor=Push(NextGradient())),
}


def bits(trainer):
    """Model with buffers and streams, optimizer with moments and counts, the place in the schedule, to the bit."""

    def flat(tree):
        if isinstance(tree, dict):
            return {key: flat(item) for key, item in tree.items()}
        return [flat(item) for item in tree] if isinstance(tree, list) else getattr(tree, "tobytes", lambda: tree)()

    model, optimizer = trainer.model_wrapper.snapshot(), trainer.optimizer_wrapper
    kept = flat(optimizer.optimizer.snapshot())
    return flat(vars(model)), {**kept, "present": None}, optimizer.steps, trainer.steps


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("name", MAKERS)
def test_whatever_fails_leaves_model_and_optimizer_as_they_were(name, error):
    trainer, batches, bomb = MAKERS[name]()
    failed, phases = 0, set()
    for step in range(STEPS):
        batch = next(batches)
        state = trainer.state_dict()
        tick = 1
        while True:
            before = bits(trainer)
            bomb.arm(tick, error)
            try:
                result = trainer.step(batch)
            except error:
                bomb.arm(None, error)
                assert bits(trainer) == before, f"after tick {tick} of step {step}"
                failed, tick = failed + 1, tick + 1
                retried = trainer.step(batch)  # it can go on
                assert retried.step == step
                trainer.load_state_dict(state)
            else:
                bomb.arm(None, error)
                break
        phases.add(result.phase)
    assert failed > STEPS
    assert phases == {"full"} or phases >= {"warmup", "full", "predict"}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_whatever_fails_in_a_loop_leaves_what_the_last_step_left(error):
    """Batches, listeners and evaluations, too: the learner has taken whole steps."""

    def run(at):
        trainer, batches, bomb = made(FAR)
        bomb.arm(at, error)
        left = []

        def listen(event):
            bomb.tick()
            left.append(trainer.model_wrapper.weights.tobytes())

        def score(model):
            bomb.tick()
            return evaluate(model, DATA, mh.nn.cross_entropy)

        step = trainer.step

        def stepping(batch):
            before = bits(trainer)
            try:
                return step(batch)
            except error:
                assert bits(trainer) == before
                raise

        trainer.step = stepping
        try:
            Learner(trainer, batches, score, steps=14, every=5, listeners=[listen]).run()
        except error:
            return trainer.model_wrapper.weights.tobytes(), left
        return None

    whole = run(None)
    assert whole is None
    at, weights = 1, set()
    while (failed := run(at)) is not None:
        weights.add(failed[0])
        at += 3
    assert len(weights) > 10


def test_the_detector_a_step_that_is_half_made_is_noticed():
    """Without the copy that is made for it, a rule of one's own that fails leaves half a step."""
    trainer, batches, bomb = MAKERS["full, groups"]()
    trainer.optimizer_wrapper._trusted = True
    batch, noticed = next(batches), 0
    for tick in range(1, 12):
        before = bits(trainer)
        bomb.arm(tick, ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            trainer.step(batch)
        noticed += bits(trainer) != before
    assert noticed
