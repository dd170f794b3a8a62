"""Whole trainings on the CUDA device: what the CPU does, and no more waiting for the device than needed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.device import Device
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper

MINIBATCH = HybridConfig(warmup=5, full=5, correct=2, payoff=None)
PRESETS: dict[str, Any] = {"full": None, "minibatch": MINIBATCH, "full-batch": HybridConfig.full_batch()}


def forward(model: Any, batch: Any) -> Any:
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets, label_smoothing=0.1)


def network(device: Device, dropout: bool) -> Any:
    rng = mh.Rng(0)
    # A bias before batch norm has no gradient but rounding errors, whose signs Adam would turn into whole steps.
    first = mh.nn.LinearConfig(64, 16, bias=False).init(rng, device)
    last = mh.nn.LinearConfig(16, 10).init(rng, device)
    norm = mh.nn.BatchNorm1dConfig(16).init(device=device)
    noise = [mh.nn.DropoutConfig(0.2).init(rng)] if dropout else []
    return mh.nn.Sequential([first, norm, mh.nn.Tanh(), *noise, last])


def made(device: Device, preset: str, compiled: bool) -> tuple[Any, Iterator[Any]]:
    """A trainer and its batches."""
    data = mh.data.digits().to(device)
    model = ModelWrapper(network(device, dropout=preset != "full-batch"), forward)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.01, 120), 1.0)
    whole = mh.data.Batch(data.inputs[:400], data.targets[:400])
    loader = mh.data.DataLoader(data, 32, mh.Rng(0), drop_last=True)
    batches = iter(lambda: whole, None) if preset == "full-batch" else loader.forever()
    config = PRESETS[preset]
    if config is None:
        return FullTrainer(model, optimizer, compiled), batches
    guard = mh.data.DataLoader(data, 64, mh.Rng(1), drop_last=True)
    return HybridTrainer(model, optimizer, replace(config, compile=compiled), guard), batches


@pytest.mark.parametrize("compiled", [False])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_is_the_cpus(preset: str, compiled: bool, cuda: Device) -> None:
    def on(device: Device) -> tuple[list[Any], Any]:
        trainer, batches = made(device, preset, compiled)
        results = [trainer.step(next(batches)) for _ in range(40)]
        assert trainer.model.device == device
        return results, trainer

    (found, trainer), (expected, twin) = on(cuda), on(Device("cpu"))
    assert [r.phase for r in found] == [r.phase for r in expected]
    assert [r.accepted for r in found] == [r.accepted for r in expected]
    assert any(r.accepted for r in found) == (preset != "full")
    np.testing.assert_allclose([r.loss for r in found], [r.loss for r in expected], rtol=1e-3)
    np.testing.assert_allclose(
        cuda.host(trainer.model_wrapper.weights), twin.model_wrapper.weights, rtol=1e-3, atol=1e-3
    )
    kept, theirs = (next(iter(t.readout().named_params().values())).numpy() for t in (trainer, twin))
    np.testing.assert_allclose(kept, theirs, rtol=1e-3, atol=1e-3)
