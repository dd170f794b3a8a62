"""Random lives of a trainer, against a simple model of what must hold.

The model is a twin: a trainer made equal, which lives the same life without the detours. Whatever is looked at, copied,
saved, borrowed, rebuilt or fails on the way, the two are equal to the bit: weights, buffers, random streams, moments,
counts, and what each step reports.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import minihybrid as mh
from minihybrid.data import Batch
from minihybrid.hybrid import DivergenceError, FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.hybrid.predictors import DriftConfig, Prediction
from minihybrid.module.module import pack

SHORT = replace(HybridConfig.minibatch(), warmup=2, full=2, correct=2, payoff=None)
KINDS = {
    "full": None,
    "minibatch": replace(SHORT, predictor=DriftConfig(average=0.5, stride=1)),
    "full batch": HybridConfig.full_batch(),
    "reference": replace(HybridConfig.reference(), warmup=3, full=3, correct=2),  # with all the parts there are
}
RULES = {
    "adam": mh.optim.Adam,
    "momentum": lambda: mh.optim.SGD(momentum=0.9),
    "averaged": lambda: mh.optim.Ema(mh.optim.AdamW(), 0.9),
    "schedule-free": mh.optim.ScheduleFreeAdamW,
}
BATCHES = [Batch(mh.Rng(i).normal((16, 4)), mh.Rng(i).integers(0, 3, 16)) for i in range(3)]
BAD = Batch(np.full((16, 4), math.nan, np.float32), BATCHES[0].targets)


class Detour(Exception):
    """Raised by a forward function."""


def forward(model: Any, batch: Batch) -> tuple[Any, mh.Tensor]:
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def network(drawing: bool) -> mh.nn.Sequential:
    """With a buffer, and with a random stream unless steps verify each other."""
    rng = mh.Rng(0)
    layers: list[Any] = [mh.nn.LinearConfig(4, 6).init(rng), mh.nn.BatchNorm1dConfig(6).init(), mh.nn.Tanh()]
    layers += [mh.nn.DropoutConfig(0.2).init(rng)] if drawing else []
    return mh.nn.Sequential([*layers, mh.nn.LinearConfig(6, 3).init(rng)])


def made(kind: str, optimizer: str, compiled: bool) -> Any:
    config = KINDS[kind]
    model = ModelWrapper(network(drawing=kind != "full batch"), forward)
    wrapper = OptimizerWrapper(RULES[optimizer](), mh.optim.Cosine(0.02, 200), clip=1.0)
    if config is None:
        return FullTrainer(model, wrapper, compiled)
    guard = mh.data.DataLoader(mh.data.Dataset(BATCHES[0].inputs, BATCHES[0].targets, "guard", 3), 8, mh.Rng(1))
    return HybridTrainer(model, wrapper, replace(config, compile=compiled), guard)


def values(model: Any) -> dict[str, Any]:
    """All that a model holds, as bytes."""
    found: dict[str, Any] = {path: param.array.tobytes() for path, param in model.named_params().items()}
    found |= {path: buffer.array.tobytes() for path, buffer in model.named_buffers().items()}
    return found | {path: repr(rng.state()) for path, rng in model.named_rngs().items()}


def bits(thing: Any) -> Any:
    """A nested state as something to compare, arrays as bytes, whatever its keys are."""
    if isinstance(thing, dict):
        return [bits(item) for item in thing.values()]
    if isinstance(thing, list | tuple):
        return [bits(item) for item in thing]
    return thing.tobytes() if hasattr(thing, "tobytes") else repr(thing)


def everything(trainer: Any) -> dict[str, Any]:
    """What a snapshot holds."""
    wrapper = trainer.optimizer_wrapper
    return values(trainer.model) | {"optimizer": bits(wrapper.optimizer.state()), "steps": wrapper.steps}


def beyond(trainer: Any) -> dict[str, Any]:
    """What a snapshot does not hold, because it is of the run: counters, and what the controller decides by."""
    held = {"ledger": repr(dataclasses.replace(trainer.ledger, history_seconds=0, prediction_seconds=0))}
    if isinstance(trainer, HybridTrainer):
        trainer.readout()  # tells the predictor what it would else hear with the next action
        held |= {"position": trainer._position, "watch": repr(trainer.watch.state_dict()), "phase": trainer.phase}
        held |= {"predictor": bits(trainer.predictor.state_dict())}
        for name in ("forecaster", "corrector", "payoff", "state", "hindsight"):
            part = getattr(trainer, name)
            held[name] = (
                None if part is None else bits(part.state_dict() if hasattr(part, "state_dict") else vars(part))
            )
    return held | {"made": trainer.steps}


class Lives(RuleBasedStateMachine):
    """`self.trainer` takes detours, `self.twin` does not."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="lives-")
        self.snapshots: list[tuple[Any, Any, dict[str, Any]]] = []
        self.clones: list[tuple[Any, dict[str, Any]]] = []
        self.views: list[tuple[Any, dict[str, Any], int]] = []
        self.calls = 0

    @initialize(kind=st.sampled_from(sorted(KINDS)), optimizer=st.sampled_from(sorted(RULES)), compiled=st.booleans())
    def begin(self, kind: str, optimizer: str, compiled: bool) -> None:
        """Two equal trainers."""
        self.kind, self.compiled = kind, compiled
        self.trainer, self.twin = made(kind, optimizer, compiled), made(kind, optimizer, compiled)
        self.ids = [param.id for param in self.trainer.model.named_params().values()]
        for _ in range(3):
            self.step(0)

    def both(self, batch: Batch) -> Any:
        """The same step of both; they report the same, or raise the same."""
        outcomes = []
        for trainer in (self.trainer, self.twin):
            try:
                outcomes.append(trainer.step(batch))
            except DivergenceError as error:
                outcomes.append(str(error))
        assert repr(outcomes[0]) == repr(outcomes[1])  # nan is equal to itself here
        self.calls += not isinstance(outcomes[0], str)
        return outcomes[0]

    # What is done

    @rule(which=st.integers(0, 2))
    def step(self, which: int) -> None:
        """An action on a batch: the same in full-batch training, where steps are compared."""
        held = self.trainer.model
        before = values(held)
        result = self.both(BATCHES[0 if self.kind == "full batch" else which])
        after = values(self.trainer.model)
        if result.gradient_norm is not None and not result.rolled_back and before != after:
            with pytest.raises(mh.MovedError, match="was consumed by"):
                held.layers  # noqa: B018
        if result.predicted and not result.accepted:
            assert after == before

    @precondition(lambda self: self.kind != "full" and str(self.trainer.phase) == "predict")
    @rule(size=st.sampled_from([math.nan, math.inf, 1e20, 50.0]))
    def reject(self, size: float) -> None:
        """A prediction that cannot pass: declined, or probed and taken back, to the bit."""
        before = everything(self.trainer)
        for trainer in (self.trainer, self.twin):
            delta = np.full_like(trainer.model_wrapper.weights, size)
            trainer.predictor.predict = lambda horizon, trust=1.0, delta=delta: Prediction(delta, 1.0)
        result = self.both(BATCHES[0])
        for trainer in (self.trainer, self.twin):
            del trainer.predictor.predict
        if not result.accepted:
            assert everything(self.trainer) == before
        else:  # judged by the next step
            assert self.trainer._on_trial is not None or self.trainer._before_jump is not None

    @rule()
    def a_bad_batch(self) -> None:
        """Numbers that are not finite change no count of real steps for the better."""
        steps = self.trainer.optimizer_wrapper.steps
        self.both(BAD)
        assert self.trainer.optimizer_wrapper.steps <= steps
        assert np.isfinite(self.trainer.model_wrapper.weights).all()

    @precondition(lambda self: len(self.snapshots) < 3 and self.kind != "full")
    @rule()
    def snapshot(self) -> None:
        self.snapshots.append((self.trainer.snapshot(), self.twin.snapshot(), everything(self.trainer)))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """To the bit, and as often as one likes."""
        ours, theirs, held = self.snapshots[data.draw(st.integers(0, len(self.snapshots) - 1))]
        self.trainer.restore(ours)
        self.twin.restore(theirs)
        assert everything(self.trainer) == held

    # Detours

    @rule()
    def clone(self) -> None:
        """A copy has the same ids, and a life of its own."""
        twin = self.trainer.model.clone()
        assert [param.id for param in twin.named_params().values()] == self.ids
        self.clones.append((twin, values(twin)))

    @rule()
    def valid(self) -> None:
        """A borrowed view, which the next change ends."""
        view = self.trainer.model.valid()
        self.views.append((view, values(view), pack(self.trainer.model).generation))

    @rule()
    def read_out(self) -> None:
        """To evaluate and keep; what is done to it is nobody's business."""
        readout = self.trainer.readout()
        assert [param.id for param in readout.named_params().values()] == self.ids
        readout.apply_delta(np.ones(readout.num_params(), np.float32))

    @rule()
    def save(self) -> None:
        """A model that loads the file holds the same; its ids stay its own."""
        path = Path(self.folder.name, "model.safetensors")
        mh.save(self.trainer.model, path)
        other = network(drawing=self.kind != "full batch")
        other, report = other.load(path)
        assert report.complete
        ours, theirs = values(self.trainer.model), values(other)
        streams = self.trainer.model.named_rngs()
        assert {path: ours[path] for path in ours.keys() - streams} == {
            path: theirs[path] for path in theirs.keys() - streams
        }
        assert not {param.id for param in other.named_params().values()} & set(self.ids)

    @rule()
    def train_a_clone(self) -> None:
        """A copy is trained by an optimizer of its own."""
        model = self.trainer.model.clone()
        _, loss = forward(model, BATCHES[1])
        mh.optim.SGD().step(0.1, model, mh.optim.GradientsParams.from_grads(loss.backward(), model))

    @rule()
    def fail(self) -> None:
        """An action whose forward function raises is none."""
        held = everything(self.trainer), beyond(self.trainer), self.trainer.model

        def raising(model: Any, batch: Batch) -> Any:
            forward(model, batch)
            raise Detour

        predicts = self.kind != "full" and str(self.trainer.phase) == "predict"
        if predicts or self.compiled:  # a prediction may use up a guard batch, a plan calls no function
            return
        self.trainer.model_wrapper.forward_fn = raising
        with pytest.raises(Detour):
            self.trainer.step(BATCHES[0])
        self.trainer.model_wrapper.forward_fn = forward
        assert (everything(self.trainer), beyond(self.trainer)) == held[:2] and self.trainer.model is held[2]

    @rule(how=st.sampled_from(["map", "to", "load", "apply_delta", "restore"]))
    def rebuild_on_the_way(self, how: str) -> None:
        """A forward function may give back what became of the model: the same numbers, under the same ids."""
        if self.compiled or (self.kind != "full" and str(self.trainer.phase) == "predict"):
            return
        path = Path(self.folder.name, "model.safetensors")
        changes = {
            "map": lambda model: model.map(mh.ModuleMapper()),
            "to": lambda model: model.to("cpu"),
            "load": lambda model: (mh.save(model, path), model.load(path)[0])[1],
            "apply_delta": lambda model: model.apply_delta(np.zeros(model.num_params(), np.float32)),
            "restore": lambda model: model.restore(model.snapshot()),
        }
        self.trainer.model_wrapper.forward_fn = lambda model, batch: forward(changes[how](model), batch)
        self.both(BATCHES[0])
        self.trainer.model_wrapper.forward_fn = forward

    # What must hold

    @invariant()
    def the_two_are_equal(self) -> None:
        """Detours leave nothing."""
        if hasattr(self, "twin"):
            ours, theirs = ({**everything(t), **beyond(t)} for t in (self.trainer, self.twin))
            assert [(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]] == []

    @invariant()
    def counts_add_up(self) -> None:
        """What was tried came to something, and what was not real made no step."""
        if hasattr(self, "trainer"):
            ledger = self.trainer.ledger
            assert self.trainer.steps == self.calls
            assert [param.id for param in self.trainer.model.named_params().values()] == self.ids
            assert self.trainer.optimizer_wrapper.steps <= ledger.backward_passes
            ended = ledger.predictions_accepted + ledger.predictions_rolled_back + ledger.predictions_declined
            assert 0 <= ledger.predictions_tried - ended <= 1

    @invariant()
    def copies_stay_and_views_end(self) -> None:
        """A clone is as it was; a view is as it was, or ended."""
        for clone, held in self.clones:
            assert values(clone) == held
        for view, held, generation in self.views:
            if pack(self.trainer.model).generation == generation:
                assert values(view) == held
            else:
                with pytest.raises(mh.MovedError, match="borrowed by valid"):
                    view(mh.Tensor(BATCHES[0].inputs))

    def teardown(self) -> None:
        """The files go."""
        self.folder.cleanup()


QUICK = settings(max_examples=40, stateful_step_count=20, suppress_health_check=list(HealthCheck), deadline=None)
TestLives = Lives.TestCase
TestLives.settings = QUICK


# The machine itself is tested: whatever is broken, it finds.


def buffers_that_are_not_restored(patch: pytest.MonkeyPatch) -> None:
    of = mh.module.module.Snapshot.of
    patch.setattr(mh.module.module.Snapshot, "of", staticmethod(lambda vector, buffers, rngs: of(vector, {}, rngs)))


def moments_that_are_not_restored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mh.optim.Optimizer, "restore", lambda self, state, model=None: None)


def streams_that_are_not_rewound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ModelWrapper, "cancel", lambda self: self._forget())


def clones_that_share(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mh.nn.Sequential, "clone", lambda self: self)


def ids_that_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mh.Param, "replaced", lambda self, value: mh.Param(value))


def views_that_live_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("minihybrid.autodiff.storage.Storage.lend", lambda self, views: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        *(buffers_that_are_not_restored, moments_that_are_not_restored, streams_that_are_not_rewound),
        *(clones_that_share, ids_that_change, views_that_live_on),
    ],
)
def test_what_is_broken_is_found(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    quick = settings(QUICK, max_examples=300, phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises((AssertionError, pytest.fail.Exception, mh.MovedError, KeyError, ValueError)):
        run_state_machine_as_test(Lives, settings=quick)
