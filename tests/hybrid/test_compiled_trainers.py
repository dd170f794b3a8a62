"""Trainers with a plan are the trainers without one, to the bit."""

import math
from dataclasses import replace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.trace import PlanError
from minihybrid.cli import main
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.train import DivergenceError


def forward(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets, label_smoothing=0.1)


def network():
    rng = mh.Rng(0)
    layers = [mh.nn.LinearConfig(64, 16).init(rng), mh.nn.BatchNorm1dConfig(16).init(), mh.nn.Tanh()]
    return mh.nn.Sequential([*layers, mh.nn.DropoutConfig(0.2).init(rng), mh.nn.LinearConfig(16, 10).init(rng)])


def loader(seed=0):
    return mh.data.DataLoader(mh.data.digits(), 32, mh.Rng(seed), drop_last=True)


def made(compiled, hybrid=None, forward=forward):
    model = ModelWrapper(network(), forward)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.01, 120), 1.0)
    if hybrid is None:
        return FullTrainer(model, optimizer, compiled)
    return HybridTrainer(model, optimizer, replace(hybrid, compile=compiled), loader(1))


def everything(trainer):
    return (
        trainer.model_wrapper.weights.tobytes(),
        {path: buffer.numpy().tobytes() for path, buffer in trainer.model.named_buffers().items()},
        {path: rng.state() for path, rng in trainer.model.named_rngs().items()},
        list(trainer.optimizer_wrapper.optimizer.state()["steps"].values()),
    )


@pytest.fixture
def calls(monkeypatch):
    """How often a forward pass was asked for, by the name of the method."""
    counted = {"forward": 0, "forward_compiled": 0}

    def counting(name, method):
        def count(self, batch):
            counted[name] += 1
            return method(self, batch)

        monkeypatch.setattr(ModelWrapper, name, count)

    for name in counted:
        counting(name, getattr(ModelWrapper, name))
    return counted


CYCLE = HybridConfig(warmup=5, full=5, correct=2, payoff=None)


@pytest.mark.parametrize("hybrid", [None, CYCLE])
def test_a_run_is_the_same_to_the_bit(hybrid, calls):
    runs = []
    for compiled in (False, True):
        trainer, batches = made(compiled, hybrid), loader()
        results = [trainer.step(next(batches)) for _ in range(60)]
        runs.append((results, everything(trainer), trainer.ledger.backward_passes, trainer.ledger.forward_probes))
    assert runs[0] == runs[1]
    assert calls["forward"] == calls["forward_compiled"] == trainer.ledger.backward_passes
    assert any(result.accepted for result in results) == (hybrid is not None)
    assert len(trainer.model_wrapper._compiled.plans) == 1, "a jump needs no other plan"


def test_steps_that_verify_others_are_not_compiled(calls):
    def without_dropout():
        rng = mh.Rng(0)
        return ModelWrapper(mh.nn.MLPConfig((64, 8, 10)).init(rng), forward)

    batch, runs = next(loader()), []
    for compiled in (False, True):
        config = replace(HybridConfig.full_batch(), compile=compiled)
        trainer = HybridTrainer(without_dropout(), OptimizerWrapper(mh.optim.Adam(), 0.05), config)
        runs.append(([trainer.step(batch) for _ in range(40)], trainer.model_wrapper.weights.tobytes()))
    assert runs[0] == runs[1]
    assert calls["forward_compiled"] == 1, "the first step verifies none"


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("hybrid", [None, CYCLE])
def test_a_loss_that_is_not_finite_is_dealt_with_as_ever(hybrid, steps):
    states = []
    for compiled in (False, True):
        trainer, batches = made(compiled, hybrid), loader()
        for _ in range(steps):
            trainer.step(next(batches))
        before, bad = everything(trainer), next(batches)
        bad = bad._replace(inputs=np.full_like(bad.inputs, np.nan))
        if hybrid is None:
            with pytest.raises(DivergenceError, match="the loss is nan"):
                trainer.step(bad)
        else:
            assert math.isnan(trainer.step(bad).loss)
        assert everything(trainer) == before
        trainer.step(next(batches))
        states.append((everything(trainer), trainer.ledger.backward_passes))
    assert states[0] == states[1]


def test_parameters_without_gradients_have_none_in_a_plan_either():
    model = network()
    mine = [param.id for path, param in model.named_params().items() if not path.startswith("layers.0")]

    class Freeze(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.freeze() if path.startswith("layers.0") else param

    wrapper, batch, found = ModelWrapper(model.map(Freeze()), forward), next(loader()), []
    for compute in (wrapper.forward, wrapper.forward_compiled):
        loss, info, flat = compute(batch), wrapper.backward(), np.full_like(wrapper.weights, 9)
        wrapper.gradient_into(flat)
        found.append((loss.item(), info.loss, info.gradient_norm, info.per_param_norms, flat.tobytes()))
        wrapper.cancel()
    assert found[0] == found[1]
    assert list(found[1][3]) == list(map(str, mine))


def test_what_was_computed_can_be_taken_back():
    trainer, batch = made(True), next(loader())
    wrapper, before = trainer.model_wrapper, everything(trainer)
    first = wrapper.forward_compiled(batch).item()
    assert everything(trainer) != before, "dropout has drawn"
    for undo in (wrapper.cancel, lambda: (wrapper.backward(), wrapper.cancel())):
        undo()
        assert everything(trainer) == before
        with pytest.raises(RuntimeError, match="call forward"):
            wrapper.backward()
        with pytest.raises(RuntimeError, match="call forward"):
            trainer.optimizer_wrapper.step(wrapper)
        assert wrapper.forward_compiled(batch).item() == first
    assert wrapper.forward(batch).item() != first, "the next random numbers"


def test_what_raises_in_a_replay_leaves_everything_as_it_was():
    trainer, batches = made(True), loader()
    trainer.step(next(batches))
    before, batch = everything(trainer), next(batches)
    with pytest.raises(IndexError, match="labels range"):
        trainer.step(batch._replace(targets=batch.targets + 10))
    assert everything(trainer) == before
    with pytest.raises(RuntimeError, match="call forward"):
        trainer.model_wrapper.backward()
    trainer.step(batch)


def test_a_forward_function_that_reads_a_value_is_refused_and_the_model_is_there():
    def reading(model, batch):
        model, loss = forward(model, batch)
        return model, loss if loss.item() > 0 else loss * 2

    trainer, batch = made(True, forward=reading), next(loader())
    before = everything(trainer)
    with pytest.raises(PlanError, match=r"item\(\) reads a value inside a compiled step"):
        trainer.step(batch)
    assert everything(trainer) == before
    trainer.compile = False
    trainer.step(batch)


def test_a_forward_function_that_uses_a_number_from_outside_is_refused():
    weight = 1.0

    def weighted(model, batch):
        model, loss = forward(model, batch)
        return model, loss * weight

    class Weighted:
        def outside(self, model, batch):
            return model, forward(model, batch)[1] * weight

        def inside(self, model, batch):
            return forward(model, batch)

    trainer, batch = made(True), next(loader())
    before = everything(trainer)
    for function, name in ((weighted, "weighted"), (Weighted().outside, "outside")):
        trainer.model_wrapper.forward_fn = function
        with pytest.raises(PlanError, match=f"{name} uses weight from outside, which is a float"):
            trainer.step(batch)
        assert everything(trainer) == before
    trainer.model_wrapper.forward_fn = Weighted().inside
    trainer.step(batch)


def test_a_forward_function_hands_back_the_very_model():
    trainer = made(True, forward=lambda model, batch: forward(model.map(mh.ModuleMapper()), batch))
    before = everything(trainer)
    with pytest.raises(ValueError, match=r"returned another Sequential .* Return it, or train without compile"):
        trainer.step(next(loader()))
    assert everything(trainer) == before


def test_the_field_is_checked_and_kept():
    config = HybridConfig(compile=True)
    assert HybridConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="compile"):
        HybridConfig(compile="yes")


@pytest.mark.parametrize("trainer", ["full", "hybrid"])
def test_the_command_line_trains_the_same_model_with_a_plan(tmp_path, trainer, calls):
    common = ["train", "--steps", "60", "--trainer", trainer, "--quiet", "--out", str(tmp_path)]
    for name, option in (("tape", []), ("plan", ["--compile"])):
        assert main([*common, "--name", name, *option]) == 0
        assert (calls["forward_compiled"] > 0) == bool(option)
    saved = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("tape", "plan")]
    assert saved[0] == saved[1]
