"""Reduced rank extrapolation finds where a linear iteration ends, and weighs steps as the formula says."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid.predictors.history import HistoryConfig
from minihybrid.hybrid.predictors.rre import RreConfig, affine_weights
from minihybrid.rng import Rng

EXACT = RreConfig(HistoryConfig(20), damping=1.0, ridge=0.0)


@given(seed=st.integers(0, 1000), rank=st.integers(1, 5))
def test_the_fixed_point_of_a_linear_iteration_of_rank_r_is_hit_from_r_plus_1_steps(watch, linear_path, seed, rank):
    path, fixed = linear_path(seed, rank)
    distance = np.linalg.norm(path[0] - fixed)
    if rank > 1:
        few = watch(EXACT.init(), path[: rank + 1]).predict(1)
        assert np.linalg.norm(path[rank] + few.delta - fixed) > 1e-6 * distance, "r steps are too few"
    enough = watch(EXACT.init(), path[: rank + 2]).predict(1)
    assert np.linalg.norm(path[rank + 1] + enough.delta - fixed) < 1e-6 * distance
    assert enough.confidence > 0.99


@given(seed=st.integers(0, 1000), k=st.integers(2, 8), ridge=st.floats(0, 1))
def test_the_weights_are_the_best_of_those_that_add_up_to_1(seed, k, ridge):
    rng = Rng(seed)
    steps = rng.normal((k, 10), dtype=np.float64)
    gram = steps @ steps.T
    penalty = ridge * np.trace(gram) / k

    def objective(c):
        return c @ gram @ c + penalty * c @ c

    c = affine_weights(gram, ridge)
    assert c.sum() == pytest.approx(1.0)
    for other in rng.normal((5, k), std=0.1, dtype=np.float64):
        assert objective(c) <= objective(c + other - other.mean()) + 1e-9


@given(seed=st.integers(0, 1000), steps=st.integers(2, 10))
def test_the_target_is_the_weighted_mean_of_where_the_steps_led(watch, seed, steps):
    path = Rng(seed).normal((steps + 1, 12), dtype=np.float64)
    differences = np.diff(path, axis=0)
    c = affine_weights(differences @ differences.T, 0.0)
    np.testing.assert_allclose(path[-1] + watch(EXACT.init(), path).predict(1).delta, c @ path[1:], atol=1e-6)


def test_confidence_is_how_much_of_the_steps_cancels():
    gram = np.array([[1.0, -0.6], [-0.6, 1.0]])  # c = (1/2, 1/2), of length sqrt(0.2); unrelated, it would be sqrt(0.5)
    assert EXACT.init().combination(gram, 1).confidence == pytest.approx(1 - 0.4**0.5)


def test_the_jump_is_damped(watch, linear_path):
    path, _ = linear_path(0, 3)
    whole = watch(EXACT.init(), path[:5]).predict(1).delta
    damped = watch(RreConfig(damping=0.5, ridge=0.0).init(), path[:5]).predict(1).delta
    np.testing.assert_allclose(damped, 0.5 * whole)


def test_what_does_not_move_or_only_moves_on_is_no_end(watch):
    stands = watch(EXACT.init(), np.ones((5, 3))).predict(1)
    assert not stands.delta.any() and stands.confidence == 0.0 and stands.est_steps == 0.0
    line = watch(EXACT.init(), np.arange(6.0)[:, None] * np.ones(3)).predict(1)
    assert line.confidence == 0.0


def test_unrelated_steps_tell_nothing(watch):
    walk = np.cumsum(Rng(0).normal((11, 10_000), dtype=np.float64), axis=0)
    assert watch(EXACT.init(), walk).predict(1).confidence < 0.1


def test_settings_make_sense():
    with pytest.raises(ValueError, match=r"RreConfig: damping is 0; expected a number in \(0, 1\]"):
        RreConfig(damping=0)
    with pytest.raises(ValueError, match="RreConfig: ridge is -1; expected a number that is not negative"):
        RreConfig(ridge=-1)
