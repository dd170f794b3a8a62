"""The reference's lineage, and why it is a control."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid.predictors import RealStep
from minihybrid.hybrid.predictors.gradient_ema import GradientEmaConfig


def test_it_follows_the_mean_of_gradients(watch):
    steps = mh.Rng(0).normal((20, 3), dtype=np.float64)
    prediction = watch(GradientEmaConfig(decay=0.8).init(), np.cumsum(steps, axis=0), lr=0.5).predict(10)
    gradients = np.concatenate([np.zeros((1, 3)), -steps[1:] / 0.5])  # `watch` starts where the path does
    weights = 0.8 ** np.arange(20)[::-1]
    np.testing.assert_allclose(prediction.delta, -0.5 * 10 * (weights @ gradients) / weights.sum())
    assert prediction.est_steps == 10 and prediction.confidence == 1.0


@pytest.mark.parametrize(("horizon", "diverges"), [(5, False), (50, True)])
def test_its_jumps_diverge_where_the_loss_curves(horizon, diverges):
    """Descent at 0.1 of the loss |w|^2 / 2 is stable, blind jumps of 50 times 0.1 are not."""
    control, optimizer, w = GradientEmaConfig(decay=0.5).init(), mh.optim.SGD(), np.array([1.0, -1.0])
    for _ in range(20):
        for _ in range(5):
            start = w
            w = start - 0.1 * start
            control.observe(RealStep(0.0, 0.1, w, optimizer, start=start, gradient=start))
        delta = control.predict(horizon).delta
        w = w + delta
        control.translate(delta)
    assert (np.abs(w).max() > 1e3) == diverges and (np.abs(w).max() < 1e-3) != diverges


def test_settings_make_sense():
    with pytest.raises(ValueError, match=r"GradientEmaConfig: decay is 1; expected a number in \[0, 1\)"):
        GradientEmaConfig(decay=1)
