"""Drift knows lines exactly, ignores noise, and is not fooled by its own jumps."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid.hybrid.predictors import DriftConfig
from minihybrid.rng import Rng

START = np.array([1.0, -2.0, 0.0, 5.0])
SPEED = np.array([0.5, 0.0, -1.5, 2.0])


def line(first, last):
    return np.array([START + t * SPEED for t in range(first, last)])


@given(
    windows=st.lists(st.integers(2, 30), min_size=2, max_size=4),
    horizon=st.integers(1, 80),
    average=st.floats(0, 0.999),
    stride=st.integers(1, 5),
)
def test_linear_motion_is_extrapolated_exactly(watch, windows, horizon, average, stride):
    drift, seen = DriftConfig(average=average, stride=stride).init(), 0
    for window in windows:
        watch(drift, line(seen, seen + window))
        seen += window
        prediction = drift.predict(horizon)
    if prediction is not None:  # a window shorter than the stride shows no motion
        np.testing.assert_allclose(prediction.delta, horizon * SPEED, rtol=1e-6, atol=1e-6)
        assert prediction.est_steps == horizon
    assert prediction is not None or windows[-1] < stride or windows[-2] < stride or len(windows) == 2


def test_the_first_window_tells_no_road():
    drift = DriftConfig(stride=1).init()
    assert drift.predict(5) is None


def test_a_jump_does_not_change_what_is_predicted_next(watch):
    jump = np.array([10.0, -10.0, 3.0, 0.0])
    drift = DriftConfig(average=0.9, stride=2).init()
    watch(drift, line(0, 10))
    drift.predict(5)
    watch(drift, line(10, 20))
    drift.predict(5)
    drift.translate(jump)
    watch(drift, line(20, 30) + jump)
    np.testing.assert_allclose(drift.predict(5).delta, 5 * SPEED, atol=1e-12)


def test_an_average_hears_the_trend_through_noise_that_drowns_single_steps(watch):
    noise, errors = Rng(0).normal((200, 4), std=1.0, dtype=np.float64), {}
    path = 0.1 * line(0, 200) + noise
    for average in (0.0, 0.98):
        drift = DriftConfig(average=average, stride=1).init()
        for part in np.split(path, 4):
            watch(drift, part)
            prediction = drift.predict(1)
        errors[average] = np.linalg.norm(prediction.delta - 0.1 * SPEED)
    assert errors[0.98] < 0.5 * errors[0.0]


@pytest.mark.parametrize(
    ("second", "expected"), [([1.0, 0.0], 1.0), ([-1.0, 0.0], 0.0), ([0.0, 1.0], 0.0), ([0.0, 0.0], 0.0)]
)
def test_confidence_tells_a_road_from_a_turn(watch, second, expected):
    drift, there = DriftConfig(average=0.0, stride=1).init(), np.array([[t, 0.0] for t in range(6)])
    watch(drift, there)
    drift.predict(1)
    watch(drift, there[-1] + np.outer(np.arange(1.0, 6.0), second))
    assert drift.predict(1).confidence == pytest.approx(expected)


def test_probes_start_from_the_average(watch):
    drift = DriftConfig(average=0.5, stride=1).init()
    for part in np.split(line(0, 20), 2):
        watch(drift, part)
        prediction = drift.predict(1)
    lag = 1.0  # of an old average with decay 1/2
    np.testing.assert_allclose(prediction.origin, START + (19 - lag) * SPEED, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 4])
def test_the_read_out_is_the_average_that_ema_keeps(watch, stride):
    drift, path = DriftConfig(output=0.9, stride=stride).init(), line(0, 200)
    watch(drift, path)
    average = path[0]
    for t, weights in enumerate(path[1:], start=2):
        keep = min(0.9, (1 + t) / (10 + t))
        average = keep * average + (1 - keep) * weights
    np.testing.assert_allclose(drift.readout(), average, atol=2.0 * stride)
    if stride == 1:
        np.testing.assert_allclose(drift.readout(), average, rtol=1e-9)


def test_a_reset_forgets_the_road_but_not_the_read_out(watch):
    drift = watch(DriftConfig(average=0.9).init(), line(0, 20))
    drift.predict(1)
    watch(drift, line(20, 40))
    before = drift.readout().copy()
    drift.reset()
    assert drift.readout().tobytes() == before.tobytes() and drift.predict(1) is None
    drift.translate(np.ones(4))
    np.testing.assert_allclose(drift.readout(), before + 1)


def test_a_trainer_reads_the_average_out(watch):
    def forward(model, batch):
        return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)

    data = mh.data.sine(mh.Rng(0))
    model = mh.hybrid.ModelWrapper(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0)), forward)
    trainer = mh.hybrid.HybridTrainer(model, mh.hybrid.OptimizerWrapper(mh.optim.Adam(), 0.1))
    for _ in range(10):
        trainer.step(mh.data.Batch(data.inputs, data.targets))
    average, weights = trainer.readout(), trainer.model_wrapper.weights.copy()
    found = mh.hybrid.ModelWrapper(average, forward).weights
    assert found.tobytes() == trainer.predictor.readout().tobytes() != weights.tobytes()
    assert trainer.model_wrapper.weights.tobytes() == weights.tobytes()
