"""Every numerical fault, in every trainer, with and without a plan: it is named, nothing of it stays, the run goes on.

A trainer without recovery (`FullTrainer`) raises where numbers are not finite, and sees no other trouble; one with
recovery does what its policy says, and raises when that is at its end. Either way the run can go on from a good model.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.cli import main
from minihybrid.data import Batch
from minihybrid.hybrid import DivergenceError, FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.hybrid.divergence import DivergenceLimits, Level, Trouble
from minihybrid.hybrid.predictors import Prediction

LIMITS = DivergenceLimits(baseline=20)
TRAINERS = {
    "full": None,
    "minibatch": replace(HybridConfig.minibatch(), warmup=4, full=8, payoff=None, divergence=LIMITS),
    "full batch": replace(HybridConfig.full_batch(), divergence=LIMITS),
}
WHOLE = slice(None)


class Net(mh.Module):
    first: mh.nn.Linear
    last: mh.nn.Linear

    def forward(self, x):
        return self.last(mh.relu(self.first(x)))


def forward(model, batch):
    """Classify by the first four numbers of an input; the fifth and the sixth make faults.

    The fifth is the argument of a root, whose slope is infinite at 0. The sixth is what the gradient, and not the loss,
    is multiplied by.
    """
    x = mh.Tensor(batch.inputs)
    outputs = model(x[:, :4])
    if batch.targets.dtype.kind == "f":
        return model, mh.nn.mse(outputs, batch.targets)
    loss = mh.nn.cross_entropy(outputs, batch.targets) + mh.sqrt(mh.sum((outputs * x[:, 4:5]) ** 2)) * 1e-6
    slope = mh.mean(x[:, 5])
    return model, loss * slope - (loss * (slope - 1.0)).detach()


RNG = mh.Rng(3)
INPUTS = np.concatenate([RNG.normal((32, 4)), np.ones((32, 2), np.float32)], axis=1)
LABELS = (INPUTS[:, 0] > 0) + (INPUTS[:, 1] > 0).astype(np.int64)
GOOD = Batch(INPUTS, LABELS)


def changed(at, value, targets=LABELS):
    """The good batch, but for some inputs."""
    inputs = INPUTS.copy()
    inputs[at] = value
    return Batch(inputs, targets)


@pytest.fixture(autouse=True)
def quietly():
    """As in a Learner: what is not finite ends in a sentence, and needs no warning besides."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=TRAINERS)
def kind(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["tape", "plan"])
def make(request, kind):
    """A function that makes a trainer of the kind, with a plan or without, and trains it until a real step is next."""

    def make(rule=mh.optim.Adam, steps=60):
        rng, config = mh.Rng(0), TRAINERS[kind]
        net = Net(mh.nn.LinearConfig(4, 8).init(rng), mh.nn.LinearConfig(8, 3).init(rng))
        model, optimizer = ModelWrapper(net, forward), OptimizerWrapper(rule(), 0.01)
        if config is None:
            trainer = FullTrainer(model, optimizer, request.param)
        else:
            guard = mh.data.DataLoader(mh.data.Dataset(INPUTS, LABELS, "guard", 3), 16, mh.Rng(1))
            trainer = HybridTrainer(model, optimizer, replace(config, compile=request.param), guard)
        for _ in range(steps):
            trainer.step(GOOD)
        while next_predicts(trainer) or getattr(trainer, "_before_jump", None) is not None:
            trainer.step(GOOD)
        return trainer

    return make


def next_predicts(trainer):
    return isinstance(trainer, HybridTrainer) and str(trainer.phase) == "predict"


def everything(trainer):
    state = trainer.optimizer_wrapper.optimizer.state()
    moments = {key: {name: a.tobytes() for name, a in arrays.items()} for key, arrays in state["moments"].items()}
    return trainer.model_wrapper.weights.tobytes(), moments, state["steps"], trainer.optimizer_wrapper.steps


def finite(trainer):
    state = trainer.optimizer_wrapper.optimizer.state()
    moments = [array for arrays in state["moments"].values() for array in arrays.values()]
    return all(np.isfinite(array).all() for array in [trainer.model_wrapper.weights, *moments])


def said(trainer, batch):
    """What a trainer says about a step on a batch, as an exception or in a note."""
    try:
        return trainer.step(batch).note
    except DivergenceError as error:
        return str(error)


def goes_on(trainer):
    losses = [trainer.step(GOOD).loss for _ in range(20)]
    return finite(trainer) and all(map(math.isfinite, losses)) and losses[-1] < losses[0] < 2


# What is not finite

FAULTS = {
    "nan in the data": (changed((5, 2), math.nan), "the loss is nan."),
    "infinity in the data": (changed((5, 2), math.inf), "the loss is nan."),
    "minus infinity in the data": (changed((WHOLE, 1), -math.inf), "the loss is nan."),
    "data too large for the loss": (changed((WHOLE, 1), 1e30, np.zeros((32, 3), np.float32)), "the loss is inf."),
    "nan in the targets": (Batch(INPUTS, np.full((32, 3), math.nan, np.float32)), "the loss is nan."),
    "nan in the gradient": (changed((WHOLE, 4), 0.0), "the gradient norm is nan."),
    "a gradient too large to square": (changed((WHOLE, 5), 1e30), "the gradient norm is inf."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_batch_is_named_and_leaves_nothing(make, kind, fault):
    batch, sentence = FAULTS[fault]
    trainer = make()
    before = everything(trainer)
    notes = [said(trainer, batch)]
    assert everything(trainer)[1:] == before[1:]
    while getattr(trainer, "_on_trial", None) is not None and not notes[-1].startswith("SkipBatch"):
        before = everything(trainer)  # the fault may be that of the last jump, or step, which is shortened first
        notes.append(said(trainer, batch))
    assert all(sentence in note for note in notes) and len(notes) <= 6
    assert everything(trainer) == before
    assert goes_on(trainer)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_of_nothing_else_stops_with_a_good_model(make, kind, fault):
    batch, sentence = FAULTS[fault]
    trainer = make()
    with pytest.raises(DivergenceError, match=sentence):
        for _ in range(100):
            trainer.step(batch)
    assert goes_on(trainer)


def test_moments_that_are_not_finite(make, kind):
    """No gradient shows it. Recovery returns to the moments of its snapshot; without, the next step says what is up."""
    trainer = make()
    for vector in trainer.optimizer_wrapper.optimizer._vectors.values():
        vector[...] = math.nan
    notes = [said(trainer, GOOD) for _ in range(10)]
    assert any("the loss is nan." in note for note in notes)
    if kind == "full":
        assert not finite(trainer)
    else:
        assert any(note.startswith("RollbackAndRetry: the loss is nan.") for note in notes)
        assert goes_on(trainer)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, 1e4])
def test_a_prediction_that_is_wild(make, kind, value):
    """One that is not finite is declined, one that is far off is taken back; the weights are the same bits then."""
    if kind == "full":
        pytest.skip("it predicts nothing")
    trainer = make()
    asked = []

    def wild(horizon, trust=1.0):
        asked.append(trainer.model_wrapper.weights.copy())
        delta = np.zeros_like(trainer.model_wrapper.weights)
        delta[3] = value
        return Prediction(delta, 1.0)

    trainer.predictor.predict = wild
    results = [trainer.step(GOOD) for _ in range(60)]
    del trainer.predictor.predict
    assert asked and finite(trainer) and goes_on(trainer)
    jumps = [i for i, result in enumerate(results) if result.accepted]
    for i in jumps:
        assert any(result.rolled_back for result in results[i:])
    if not math.isfinite(value):
        assert not jumps


# Gradients of the wrong size, and losses that do not move


@pytest.mark.parametrize(
    ("slope", "trouble", "level"), [(1e5, Trouble.EXPLOSION, Level.WARNING), (1e-5, Trouble.VANISHING, Level.CAUTION)]
)
def test_gradients_that_explode_or_vanish_are_named(make, kind, slope, trouble, level):
    trainer = make()
    result = trainer.step(changed((WHOLE, 5), slope))
    while result.gradient_norm is None:
        result = trainer.step(changed((WHOLE, 5), slope))
    if kind != "full":
        assert (trainer.verdict.level, trainer.verdict.trouble) == (level, trouble)
        assert f"the gradient norm is {result.gradient_norm:.3g}" in trainer.verdict.reason
        assert ("ForceFullPhase" in result.note or result.rolled_back) == (level is Level.WARNING)
    assert goes_on(trainer)


def test_a_loss_that_does_not_move_is_named_and_moves_nothing(make, kind):
    trainer = make(rule=mh.optim.SGD, steps=0)
    weights = trainer.model_wrapper.weights.copy()
    results = [trainer.step(changed((WHOLE, 5), 0.0)) for _ in range(60)]
    assert {result.gradient_norm for result in results} <= {0.0, None} and len({result.loss for result in results}) == 1
    np.testing.assert_array_equal(trainer.model_wrapper.weights, weights)
    if kind != "full":
        assert (trainer.verdict.level, trainer.verdict.trouble) == (Level.CAUTION, Trouble.STANDSTILL)
    assert goes_on(trainer)


# What no number is right for


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_label_out_of_range(make, label):
    trainer = make()
    before, position = everything(trainer), getattr(trainer, "_position", None)
    labels = LABELS.copy()
    labels[7] = label
    for _ in range(2):
        with pytest.raises((ValueError, IndexError), match=f"label.*{label}|{label}.*label"):
            trainer.step(Batch(INPUTS, labels))
        assert everything(trainer) == before and getattr(trainer, "_position", None) == position
    assert goes_on(trainer)


# The command


@pytest.mark.parametrize("trainer", ["full", "hybrid"])
@pytest.mark.parametrize("compiled", [[], ["--compile"]], ids=["tape", "plan"])
def test_the_command_keeps_what_scored_best(trainer, compiled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--dataset", "sine", "--optimizer", "momentum", "--lr", "1e9", "--schedule", "constant", "--hidden", "8"]
    code = main(["train", *options, "--trainer", trainer, "--every", "1", "--steps", "3000", "--quiet", *compiled])
    out, err = capsys.readouterr()
    assert (code, out) == (3, "") and err.count("\n") == 1
    assert err.startswith("minihybrid: step ")
    assert err.endswith(f" The model that scored best is kept in runs/sine-{trainer}-1.\n")
    (folder,) = (tmp_path / "runs").iterdir()
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = [entry["loss"] for entry in entries if entry["event"] == "evaluation" and entry["loss"] is not None]
    end = entries[-1]
    assert end["evaluation"]["loss"] == min(scores) and end["diverged"] in err and not end["interrupted"]
    network = mh.nn.Config.from_json(json.dumps(json.loads((folder / "config.json").read_text())["network"]))
    model, report = network.init().load(folder / "model.safetensors")
    assert report.complete and all(np.isfinite(p.array).all() for p in model.named_params().values())
