"""The level is the average that `Ema` keeps, the trend that of steps."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid.predictors import RealStep
from minihybrid.hybrid.predictors.holt import HoltConfig
from minihybrid.optim import GradientsParams


def test_the_level_is_an_exponential_average(watch):
    path = mh.Rng(0).normal((40, 3), dtype=np.float64)
    holt, expected = HoltConfig(level=0.8).init(), path[0]
    for t, point in enumerate(path):
        watch(holt, [point])
        keep = min(0.8, (1 + t) / (10 + t))
        expected = point if t == 0 else keep * expected + (1 - keep) * point
        np.testing.assert_allclose(holt.readout(), expected)


def test_it_reads_out_what_an_optimizer_with_an_average_does():
    rng = mh.Rng(0)
    layer = mh.nn.Linear(mh.Param(rng.normal((2, 2), dtype=np.float64)), None)
    ema, holt = mh.optim.Ema(mh.optim.SGD(), decay=0.9), HoltConfig(level=0.9).init()
    holt.observe(RealStep(0.0, 0.1, layer.weight.array.ravel(), ema))  # as `Ema` does, before any step
    for g in rng.normal((20, 2, 2), dtype=np.float64):
        grads = GradientsParams()
        grads.register(layer.weight.id, mh.Tensor(g))
        layer = ema.step(0.1, layer, grads)
        holt.observe(RealStep(0.0, 0.1, layer.weight.array.ravel(), ema))
    np.testing.assert_allclose(holt.readout(), ema.readout(layer).weight.array.ravel(), rtol=1e-12)


def test_the_read_out_may_stay_on_the_way(watch):
    path = mh.Rng(0).normal((20, 3), dtype=np.float64)
    level = watch(HoltConfig().init(), path).readout()
    found = watch(HoltConfig(share=0.6).init(), path).readout()
    np.testing.assert_allclose(found, 0.4 * path[-1] + 0.6 * level)


def test_without_a_lookahead_training_is_left_alone(watch):
    holt = watch(HoltConfig().init(), mh.Rng(0).normal((20, 3)))
    assert holt.predict(20) is None


def test_the_lookahead_follows_the_trend_less_as_the_learning_rate_decays(watch):
    line, speed = np.arange(30.0)[:, None] * [2.0, -1.0], np.array([2.0, -1.0])
    holt = watch(HoltConfig(lookahead=0.3).init(), line[:15], lr=0.4)
    prediction = holt.predict(10)
    np.testing.assert_allclose(prediction.delta, 3 * speed)
    assert prediction.est_steps == pytest.approx(3.0)
    prediction = watch(holt, line[15:], lr=0.1).predict(10)
    np.testing.assert_allclose(prediction.delta, 0.75 * speed)


def test_the_trend_averages_steps(watch):
    path = mh.Rng(0).normal((30, 3), dtype=np.float64)
    delta = watch(HoltConfig(trend=0.6, lookahead=1.0).init(), path).predict(1).delta
    expected = path[1] - path[0]
    for t in range(2, 30):
        keep = min(0.6, (1 + t) / (10 + t))
        expected = keep * expected + (1 - keep) * (path[t] - path[t - 1])
    np.testing.assert_allclose(delta, expected)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"level": 1.0}, r"level is 1.0; expected a number in \[0, 1\)"),
        ({"trend": -0.1}, r"trend is -0.1; expected a number in \[0, 1\)"),
        ({"share": 2}, r"share is 2; expected a number in \[0, 1\]"),
        ({"lookahead": -1}, r"lookahead is -1; expected a number in \[0, 1\]"),
    ],
)
def test_settings_make_sense(settings, problem):
    with pytest.raises(ValueError, match=f"HoltConfig: {problem}"):
        HoltConfig(**settings)


@pytest.mark.parametrize("setting", ["level", "trend", "share", "lookahead"])
def test_settings_at_their_ends(setting):
    assert getattr(HoltConfig(**{setting: 0}), setting) == 0
    if setting in ("share", "lookahead"):
        assert getattr(HoltConfig(**{setting: 1}), setting) == 1
    for value in (-0.01, 1.01, *((1,) if setting in ("level", "trend") else ())):
        with pytest.raises(ValueError, match=f"HoltConfig: {setting} is {value}"):
            HoltConfig(**{setting: value})
