"""The control knows lines, and is the least-squares fit that everybody knows."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid.predictors.history import HistoryConfig
from minihybrid.hybrid.predictors.linear_trend import LinearTrendConfig
from minihybrid.rng import Rng

CONFIG = LinearTrendConfig(HistoryConfig(10))


@given(steps=st.integers(2, 30), horizon=st.integers(0, 80))
def test_a_line_is_carried_on_exactly(watch, steps, horizon):
    speed = np.array([0.5, 0.0, -1.5])
    prediction = watch(CONFIG.init(), np.arange(steps + 1.0)[:, None] * speed).predict(horizon)
    np.testing.assert_allclose(prediction.delta, horizon * speed, atol=1e-12)
    assert prediction.confidence == pytest.approx(1.0) and prediction.est_steps == horizon


@given(seed=st.integers(0, 1000), steps=st.integers(2, 15))
def test_it_is_the_least_squares_line_through_the_last_points(watch, seed, steps):
    path = Rng(seed).normal((steps + 1, 4), dtype=np.float64)
    prediction = watch(CONFIG.init(), path).predict(1)
    kept = path[-11:]
    time = np.arange(len(kept))
    slope, intercept = np.polyfit(time, kept, 1)
    np.testing.assert_allclose(prediction.delta, slope, atol=1e-9)
    residual = kept - (time[:, None] * slope + intercept)
    r_squared = 1 - np.square(residual).sum() / np.square(kept - kept.mean(axis=0)).sum()
    assert prediction.confidence == pytest.approx(r_squared, abs=1e-9)


def test_who_stands_still_goes_nowhere(watch):
    prediction = watch(CONFIG.init(), np.ones((5, 3))).predict(10)
    assert not prediction.delta.any() and prediction.confidence == 0.0
