"""The outer step is that of the papers, and with mu = 0 and lr = 1 it is none."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid.predictors.outer_nesterov import OuterNesterovConfig
from minihybrid.rng import Rng


def run(watch, predictor, steps, every):
    """Weights after each outer step, of an inner optimizer that makes these steps wherever it is."""
    w, points = np.zeros_like(steps[0]), []
    for t, step in enumerate(steps):
        w = w + step
        watch(predictor, [w])
        if t % every == 0:
            prediction = predictor.predict(every)
            if prediction is not None:
                w = w + prediction.delta
                predictor.translate(prediction.delta)
            points.append(w)
    return points


@given(seed=st.integers(0, 1000), every=st.integers(1, 5), lr=st.floats(0.1, 1), mu=st.floats(0, 0.9))
def test_it_is_nesterov_on_the_displacement(watch, seed, every, lr, mu):
    steps = Rng(seed).normal((31, 3), dtype=np.float64)
    found = run(watch, OuterNesterovConfig(lr, mu).init(), steps, every)
    slow, b = steps[0], np.zeros(3)
    for t, point in enumerate(found):
        if t:
            s = -steps[(t - 1) * every + 1 : t * every + 1].sum(axis=0)  # slow - fast
            b = mu * b + s
            slow = slow - lr * (s + mu * b)
        np.testing.assert_allclose(point, slow, atol=1e-10)


def test_without_momentum_at_full_rate_it_is_the_base_optimizer_to_the_bit(watch):
    steps = Rng(0).normal((50, 3))
    base, w = [], np.zeros(3, np.float32)
    for step in steps:
        w = w + step
        base.append(w)
    found = run(watch, OuterNesterovConfig(1.0, 0.0).init(), steps, 7)
    assert [w.tobytes() for w in found] == [w.tobytes() for w in base[::7]]


def test_it_learns_where_the_jump_really_led(watch):
    outer = OuterNesterovConfig(0.5, 0.0).init()
    watch(outer, [np.zeros(1)]).predict(1)
    watch(outer, [np.ones(1)]).predict(1)
    outer.translate(np.array([10.0]))  # the weights are 11 now
    assert watch(outer, [np.array([13.0])]).predict(1).delta == [-1.0]


def test_what_it_stands_for_is_what_it_adds_in_steady_motion(watch):
    outer = OuterNesterovConfig(0.7, 0.5).init()
    w = np.zeros(1)
    for _ in range(60):
        prediction = watch(outer, [w + 0.25, w + 0.5, w + 0.75, w + 1.0]).predict(4)
        delta = 0 if prediction is None else prediction.delta
        outer.translate(delta * np.ones(1))
        w = w + 1.0 + delta
    assert prediction.est_steps == pytest.approx(4 * 0.4)
    np.testing.assert_allclose(prediction.delta, 0.25 * prediction.est_steps)
    lookahead = OuterNesterovConfig(0.5, 0.0).init()
    watch(lookahead, [np.zeros(1)]).predict(1)
    assert watch(lookahead, [np.ones(1)]).predict(1).est_steps == 0.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"learning_rate": 0}, r"learning_rate is 0; expected a number in \(0, 1\]"),
        ({"momentum": 1.0}, r"momentum is 1.0; expected a number in \[0, 1\)"),
    ],
)
def test_settings_make_sense(settings, problem):
    with pytest.raises(ValueError, match=f"OuterNesterovConfig: {problem}"):
        OuterNesterovConfig(**settings)
