"""Whole trainings on the CUDA device: what the CPU does, and no more waiting for the device than needed."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.storage import MovedError
from minihybrid.device import Device
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.train import DivergenceError
from minihybrid.train.reading import BLOCK
from tests.cuda.strict_cupy import counting, cupy

pytestmark = pytest.mark.usefixtures("emulated")  # a GPU runs the kernels, too

MINIBATCH = HybridConfig(warmup=5, full=5, correct=2, payoff=None)
PRESETS: dict[str, Any] = {"full": None, "minibatch": MINIBATCH, "full-batch": HybridConfig.full_batch()}


def forward(model: Any, batch: Any) -> Any:
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets, label_smoothing=0.1)


def network(device: Device, dropout: bool, dtype: str) -> Any:
    rng = mh.Rng(0)
    # A bias before batch norm has no gradient but rounding errors, whose signs Adam would turn into whole steps.
    first = mh.nn.LinearConfig(64, 8, bias=False).init(rng, device, dtype)
    last = mh.nn.LinearConfig(8, 10).init(rng, device, dtype)
    norm = mh.nn.BatchNorm1dConfig(8).init(None, device, dtype)
    noise = [mh.nn.DropoutConfig(0.2).init(rng)] if dropout else []
    return mh.nn.Sequential([first, norm, mh.nn.Tanh(), *noise, last])


def made(
    device: Device, preset: str, compiled: bool, dropout: bool = True, dtype: str = "float32"
) -> tuple[Any, Iterator[Any]]:
    """A trainer and its batches."""
    data = mh.data.digits().to(device)
    data = replace(data, inputs=data.inputs.astype(dtype))
    model = ModelWrapper(network(device, dropout and preset != "full-batch", dtype), forward)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.01, 120), 1.0)
    whole = mh.data.Batch(data.inputs[:48], data.targets[:48])
    loader = mh.data.DataLoader(data, 12, mh.Rng(0), drop_last=True)
    batches = iter(lambda: whole, None) if preset == "full-batch" else loader.forever()
    config = PRESETS[preset]
    if config is None:
        return FullTrainer(model, optimizer, compiled), batches
    guard = mh.data.DataLoader(data, 24, mh.Rng(1), drop_last=True)
    return HybridTrainer(model, optimizer, replace(config, compile=compiled), guard), batches


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_is_the_cpus(preset: str, compiled: bool, cuda: Device) -> None:
    def on(device: Device) -> tuple[list[Any], Any]:
        # In float64, as a run multiplies what rounding does.
        trainer, batches = made(device, preset, compiled, dtype="float64")
        results = [trainer.step(next(batches)) for _ in range(36)]
        assert trainer.model.device == device
        return results, trainer

    (found, trainer), (expected, twin) = on(cuda), on(Device("cpu"))
    assert [r.phase for r in found] == [r.phase for r in expected]
    assert [r.accepted for r in found] == [r.accepted for r in expected]
    assert any(r.accepted for r in found) == (preset != "full")
    if compiled and preset != "full-batch":  # whose steps verify the one before, without a plan
        graphs = trainer.model_wrapper._compiled.plans[0].graphs
        assert graphs and all(graph.captured for graph in graphs)
    np.testing.assert_allclose([r.loss for r in found], [r.loss for r in expected], rtol=1e-6)
    np.testing.assert_allclose(
        cuda.host(trainer.model_wrapper.weights), twin.model_wrapper.weights, rtol=1e-6, atol=1e-6
    )
    kept, theirs = (next(iter(t.readout().named_params().values())).numpy() for t in (trainer, twin))
    np.testing.assert_allclose(kept, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_loss_is_one_number_of_any_shape(shape: tuple[int, ...], cuda: Device) -> None:
    for device in (cuda, Device("cpu")):
        trainer, batches = made(device, "full", False)
        trainer.model_wrapper.forward_fn = lambda model, batch: (model, forward(model, batch)[1].reshape(shape))
        assert np.isfinite(trainer.step(next(batches)).loss)


# How often a step waits for the device


def waits(preset: str, steps: int) -> list[tuple[Any, int, int, int]]:
    """For each step its result, how often it waited, what it copied to the device, and the probes that it made."""
    trainer, batches = made(Device("cuda"), preset, False, dropout=False)
    found, probes = [], 0
    for _ in range(steps):
        batch = next(batches)
        with counting() as counts:
            result = trainer.step(batch)
        found.append((result, len(counts.reads), len(counts.uploads), result.forward_probes - probes))
        probes = result.forward_probes
    return found


def test_an_ordinary_step_waits_for_nothing(strict: Device) -> None:
    found = waits("full", 34)
    assert [reads for _, reads, _, _ in found] == [int(step % BLOCK == 15) for step in range(34)]
    assert not any(uploads for _, _, uploads, _ in found)
    with counting() as counts:  # what was not looked at, all together
        assert all(np.isfinite(result.loss + result.gradient_norm) for result, *_ in found)
    assert len(counts.reads) == 1


def test_a_prediction_waits_for_what_verifies_it(strict: Device) -> None:
    found = waits("minibatch", 80)
    assert not any(uploads for _, _, uploads, _ in found)
    kinds: dict[str, set[int]] = {}
    probed = False  # the last prediction
    for (result, reads, _, probes), (following, *_) in pairwise(found):
        if result.predicted:
            probed = probes > 0
            # Two losses are compared after one wait, each further one after another.
            kinds.setdefault("probed" if probed else "not probed", set()).add(reads - max(0, probes - 1))
        elif following.predicted:
            kinds.setdefault("before a prediction", set()).add(reads)
        elif probed and (result.phase, following.phase) == ("correct", "full"):
            kinds.setdefault("the end of Correct", set()).add(reads)
        else:
            kinds.setdefault("ordinary", set()).add(reads)
    assert kinds == {
        "ordinary": {0},
        "before a prediction": {1},
        "probed": {1},  # and one for what the predictor thinks of it
        "not probed": {0, 1},  # the predictor has nothing to say, or does not believe it
        "the end of Correct": {2},  # what was foretold is held against the losses, and against the way
    }


def test_a_verified_step_waits_once(strict: Device) -> None:
    found = waits("full-batch", 24)
    assert not any(uploads for _, _, uploads, _ in found)
    assert found[0][1] == 0
    assert {reads for result, reads, _, _ in found[1:] if not result.predicted} == {1}
    # One for what the last step has shown, and one for the proposal.
    assert {reads for result, reads, _, _ in found if result.predicted} == {2}


def test_listeners_hear_of_a_block_at_a_time(strict: Device) -> None:
    trainer, batches = made(strict, "full", False)
    heard: list[Any] = []
    listener = heard.append
    losses: list[float] = []
    learner = mh.train.Learner(
        trainer,
        batches,
        lambda model: mh.train.Evaluation(0.0),
        steps=40,
        every=24,
        listeners=[listener, lambda event: losses.append(event.result.loss) if hasattr(event, "result") else None],
    )
    with counting() as counts:
        learner.run()
    assert [e.result.step for e in heard if isinstance(e, mh.train.Stepped)] == list(range(40))
    order = [type(e).__name__ for e in heard]
    assert [i for i, name in enumerate(order) if name == "Evaluated"] == [25, 42]
    assert len(counts.reads) == 3  # after steps 16, 24 and 40
    assert losses == [e.result.loss for e in heard if isinstance(e, mh.train.Stepped)]


# Numbers that are not finite, seen late


class Poisoned:
    """Batches, of which one gives a loss, or a gradient with a finite loss, that is not finite."""

    def __init__(self, device: Device, at: int, kind: str) -> None:
        self.loader = mh.data.DataLoader(mh.data.digits().to(device), 12, mh.Rng(0), drop_last=True)
        self.at, self.kind, self.given = at, kind, 0

    def __next__(self) -> Any:
        batch, here = next(self.loader), self.given == self.at
        self.given += 1
        if not here:
            return batch
        factor = np.nan if self.kind == "loss" else 0.0
        return mh.data.Batch(batch.inputs * factor, batch.targets)


def steep(model: Any, batch: Any) -> Any:
    """A loss whose gradient is no number where all inputs are 0."""
    model, loss = forward(model, batch)
    weight = next(iter(model.named_params().values()))
    return model, loss + mh.sqrt(
        (mh.Tensor(batch.inputs[:, :1]) * 0 + mh.Tensor(batch.inputs).max()) * (weight[0, :1] ** 2)
    ).mean()


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_full_trainer_returns_to_where_all_was_well(kind: str, cuda: Device) -> None:
    trainer, _ = made(cuda, "full", False)
    trainer.model_wrapper.forward_fn = steep
    batches = Poisoned(cuda, at=20, kind=kind)
    for _ in range(16):
        trainer.step(next(batches))
    weights, state = cuda.host(trainer.model_wrapper.weights), trainer.model.named_rngs()["layers.3.rng"].state()
    word = "loss" if kind == "loss" else "gradient norm"
    with pytest.raises(DivergenceError, match=f"the {word} of step 20 is nan; the model is as before step 16"):
        for _ in range(16):
            trainer.step(next(batches))
    assert batches.given == 32
    np.testing.assert_array_equal(cuda.host(trainer.model_wrapper.weights), weights)
    assert trainer.model.named_rngs()["layers.3.rng"].state() == state
    assert trainer.steps == trainer.optimizer_wrapper.steps == 16
    assert set(trainer.optimizer_wrapper.optimizer.state()["steps"].values()) == {16}
    results = [trainer.step(next(batches)) for _ in range(20)]  # and it goes on
    assert all(np.isfinite(result.loss) for result in results)
    assert results[0].step == 16


def test_the_end_of_a_run_looks_at_the_last_steps(cuda: Device) -> None:
    trainer, _ = made(cuda, "full", False)
    batches = Poisoned(cuda, at=3, kind="loss")
    for _ in range(6):
        trainer.step(next(batches))
    with pytest.raises(DivergenceError, match="the loss of step 3 is nan"):
        trainer.readout()
    assert np.isfinite(trainer.readout().to("cpu").named_params()["layers.0.weight"].numpy()).all()


@pytest.mark.parametrize("kind", ["loss", "gradient"])
@pytest.mark.parametrize("preset", ["minibatch", "full-batch"])
def test_a_hybrid_trainer_goes_on_from_where_all_was_well(preset: str, kind: str, cuda: Device) -> None:
    trainer, whole = made(cuda, preset, False)
    trainer.model_wrapper.forward_fn = steep
    batches = Poisoned(cuda, at=31, kind=kind)
    results = []
    for i in range(52):
        batch = next(batches)
        results.append(trainer.step(next(whole) if preset == "full-batch" and i != 31 else batch))
    notes = [result.note for result in results if result.note]
    if preset == "minibatch":  # in the other, a step that is worse than the one before is just shortened
        assert "nan" in notes[0]
    assert any(result.accepted for result in results[40:])
    assert np.isfinite(cuda.host(trainer.model_wrapper.weights)).all()
    assert np.isfinite(results[-1].loss)
    assert results[-1].loss < results[0].loss


def test_too_much_trouble_ends_a_run(cuda: Device) -> None:
    trainer, batches = made(cuda, "minibatch", False)
    bad = next(batches)
    with pytest.raises(DivergenceError, match="was not applied, the model is as it was when all was well"):
        for _ in range(400):
            trainer.step(mh.data.Batch(bad.inputs * np.nan, bad.targets))
    assert np.isfinite(cuda.host(trainer.model_wrapper.weights)).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_memory_is_flat(preset: str, cuda: Device) -> None:
    trainer, batches = made(cuda, preset, False)
    steps = 32 if cuda.xp is cupy else 1000

    def used() -> int:
        gc.collect()
        return cuda.memory_in_use()

    for _ in range(steps // 2):
        trainer.step(next(batches))
    before = used()
    for _ in range(steps // 2):
        trainer.step(next(batches))
    assert used() <= before + 64 * 1024


def test_norms_of_parameters(cuda: Device) -> None:
    def norms(device: Device) -> tuple[Any, Any]:
        trainer, batches = made(device, "full", False)
        model, optimizer = trainer.model_wrapper, OptimizerWrapper(mh.optim.Adam(), 0.01)
        model.forward(next(batches))
        info = model.backward()
        found = info.per_param_norms
        model.forward(next(batches))
        late = model.backward()
        optimizer.step(model)
        return [*found.values(), float(info.gradient_norm), info.loss], late

    (found, late), (expected, _) = norms(cuda), norms(Device("cpu"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(float(late.gradient_norm))
    with pytest.raises(MovedError, match="were consumed"):
        late.per_param_norms  # noqa: B018


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_is_taken_up_from_a_state_on_the_host(preset: str, cuda: Device) -> None:
    def on_host(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {name: on_host(part) for name, part in tree.items()}
        if isinstance(tree, list):
            return [on_host(part) for part in tree]
        return cuda.host(tree) if hasattr(tree, "dtype") else tree

    trainer, batches = made(cuda, preset, False)
    twin, again = made(cuda, preset, False)
    for _ in range(21):  # in the middle of a block
        trainer.step(next(batches))
        next(again)
    twin.load_state_dict(on_host(trainer.state_dict()))
    results = [(trainer.step(next(batches)), twin.step(next(again))) for _ in range(20)]
    assert all(one.loss == other.loss for one, other in results)
    np.testing.assert_array_equal(cuda.host(twin.model_wrapper.weights), cuda.host(trainer.model_wrapper.weights))
