"""QuasiNewton is L-BFGS with the optimizer's own scaling: it meets its secant equation, and its readable twin."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid.hybrid.predictors import QuasiNewtonConfig, RealStep
from minihybrid.hybrid.predictors.quasi_newton import two_loop


class Scaled(mh.optim.SGD):
    """An optimizer that scales gradients as it is told."""

    def __init__(self, scaling):
        super().__init__()
        self._scaling = scaling

    def scaling(self):
        return self._scaling


def hessian(n, rng, condition=100.0):
    basis = np.linalg.qr(rng.normal((n, n), dtype=np.float64))[0]
    return basis @ np.diag(np.geomspace(1.0, condition, n)) @ basis.T


def shown(predictor, matrix, points, optimizer, last_update):
    """Show it a quadratic at these points, and pairs as they should be kept."""
    pairs, start, gradient = [], None, None
    for point in points:
        before, start, gradient = (start, gradient), point, matrix @ point
        predictor.observe(RealStep(0.0, 0.1, point + last_update, optimizer, start, gradient))
        if before[0] is not None:
            pairs.append((start - before[0], gradient - before[1]))
    return pairs, start, gradient


@given(seed=st.integers(0, 1000), n=st.integers(3, 12), seen=st.integers(3, 15), scaled=st.booleans())
def test_it_is_the_two_loop_recursion_over_the_pairs_it_keeps(seed, n, seen, scaled):
    rng = mh.Rng(seed)
    matrix, points = hessian(n, rng), rng.normal((seen, n), dtype=np.float64)
    scaling = np.exp(rng.normal(n, dtype=np.float64)) if scaled else 1
    predictor, update = QuasiNewtonConfig(pairs=5).init(), 0.01 * rng.normal(n, dtype=np.float64)
    pairs, _, gradient = shown(predictor, matrix, points, Scaled(scaling), update)
    expected = two_loop(pairs[-5:], gradient, scaling)
    found = predictor.predict(1, trust=1e12).delta + update
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.linalg.norm(expected))


def test_the_newest_secant_equation_holds():
    rng = mh.Rng(1)
    matrix, points = hessian(8, rng), rng.normal((6, 8), dtype=np.float64)
    predictor = QuasiNewtonConfig().init()
    pairs, _, _ = shown(predictor, matrix, points, mh.optim.SGD(), np.zeros(8))
    s, y = pairs[-1]
    np.testing.assert_allclose(-two_loop(pairs, y, 1.0), s, rtol=1e-10)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_on_a_quadratic_it_jumps_to_the_minimum_once_its_pairs_span_the_space(n):
    """Conjugate steps, as line searches make them: then all secant equations hold, and H is the inverse Hessian."""
    rng = mh.Rng(2)
    matrix = hessian(n, rng)
    directions, points = np.linalg.eigh(matrix)[1].T, [rng.normal(n, dtype=np.float64)]
    for direction in directions:
        points.append(points[-1] + 0.3 * direction)
    predictor, update = QuasiNewtonConfig(pairs=n).init(), np.full(n, 0.01)
    _, start, _ = shown(predictor, matrix, points[:-1], mh.optim.SGD(), update)
    short = predictor.predict(1, trust=1e12)
    if short is not None:
        assert np.linalg.norm(start + update + short.delta) > 1e-3, "one direction is missing"
    predictor.reset()
    _, start, _ = shown(predictor, matrix, points, mh.optim.SGD(), update)
    delta = predictor.predict(1, trust=1e12).delta
    np.testing.assert_allclose(start + update + delta, 0, atol=1e-9)


def test_the_jump_is_no_longer_than_trusted():
    rng = mh.Rng(3)
    matrix, points, update = hessian(6, rng), rng.normal((5, 6), dtype=np.float64), np.full(6, 1e-4)
    predictor = QuasiNewtonConfig().init()
    shown(predictor, matrix, points, mh.optim.SGD(), update)
    for trust in (1.0, 4.0, 50.0):
        found = predictor.predict(1, trust).delta + update
        assert np.linalg.norm(found) == pytest.approx(trust * np.linalg.norm(update))


def test_pairs_along_which_the_loss_curves_down_are_not_kept():
    predictor, update = QuasiNewtonConfig(least=1).init(), np.zeros(2)
    saddle = np.diag([1.0, -1.0])
    points = [np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.array([0.5, 2.0])]
    shown(predictor, saddle, points[:2], mh.optim.SGD(), update)
    assert predictor.predict(1) is None
    predictor.reset()
    shown(predictor, saddle, points, mh.optim.SGD(), np.array([1e-3, 0.0]))
    assert predictor.predict(1, 10.0) is None or np.isfinite(predictor.predict(1, 10.0).delta).all()
    assert len(predictor.state_dict()["order"]) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_numbers_that_are_none_or_nothing_make_no_pair_and_no_jump(bad):
    predictor = QuasiNewtonConfig(least=1).init()
    for t in range(5):
        gradient = np.full(3, bad if t == 2 else 1.0 + t)
        point = np.full(3, float(t))
        with np.errstate(invalid="ignore"):
            predictor.observe(RealStep(0.0, 0.1, point - 0.1, mh.optim.SGD(), point, gradient))
    assert np.isfinite(predictor.predict(1, 1.0).delta).all()
    still = QuasiNewtonConfig(least=1).init()
    for _ in range(4):
        still.observe(RealStep(0.0, 0.1, np.zeros(3), mh.optim.SGD(), np.zeros(3), np.zeros(3)))
    assert still.predict(1) is None


def test_an_optimizer_tells_how_it_scales_gradients():
    model = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0))
    optimizer, x = mh.optim.Adam(eps=1e-3), mh.tensor([[1.0, 2.0, 3.0]])
    assert mh.optim.SGD().scaling() == 1 and optimizer.scaling() == 1
    squares = 0.0
    for _ in range(3):
        grads = mh.optim.GradientsParams.from_grads((model(x) ** 2).sum().backward(), model)
        gradient = np.concatenate([g.array.ravel() for _, g in sorted(grads.items(), key=lambda item: item[1].ndim)])
        squares = 0.999 * squares + 0.001 * gradient.astype(np.float64) ** 2
        model = optimizer.step(0.1, model, grads)
    order = [*model.named_params()]
    expected = 1 / (np.sqrt(squares / (1 - 0.999**3)) + 1e-3)
    if order[0] == "weight":
        expected = np.concatenate([expected[2:], expected[:2]])
    np.testing.assert_allclose(optimizer.scaling(), expected, rtol=1e-5)
    assert (mh.optim.Ema(optimizer).scaling() == optimizer.scaling()).all()


def test_where_the_gradient_is_zero_there_is_nowhere_to_go():
    matrix = hessian(4, mh.Rng(1))
    points = np.concatenate([mh.Rng(2).normal((5, 4), dtype=np.float64), np.zeros((1, 4))])
    predictor = QuasiNewtonConfig().init()
    shown(predictor, matrix, points[:-1], mh.optim.SGD(), np.full(4, 0.01))
    assert predictor.predict(1, trust=1e12) is not None
    shown(predictor, matrix, points[-1:], mh.optim.SGD(), np.full(4, 0.01))
    assert predictor.predict(1, trust=1e12) is None


@pytest.mark.parametrize("trust", [0.25, 1.0, 4.0])
def test_a_jump_is_no_longer_than_trust_times_the_last_update(trust):
    rng = mh.Rng(3)
    matrix, points = hessian(6, rng), 5 * rng.normal((5, 6), dtype=np.float64)
    for last in (1, 5):
        predictor, update = QuasiNewtonConfig(least=1).init(), 1e-3 * rng.normal(6, dtype=np.float64)
        shown(predictor, matrix, points[: last + 1], mh.optim.SGD(), update)
        found = predictor.predict(1, trust=trust).delta + update
        np.testing.assert_allclose(np.linalg.norm(found), trust * np.linalg.norm(update), rtol=1e-10)


def test_what_its_pairs_demand_of_memory():
    demand = QuasiNewtonConfig(pairs=7, least=3).demand()
    assert (demand.history, demand.least, demand.fixed, demand.halves) == (16, 8, 4, False)
    assert QuasiNewtonConfig(pairs=7, least=3).vectors() == 20


def test_settings_at_their_ends():
    assert QuasiNewtonConfig(curvature=0).curvature == 0
    for value in (-1e-9, 1):
        with pytest.raises(ValueError, match="curvature is"):
            QuasiNewtonConfig(curvature=value)
