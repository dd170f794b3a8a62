"""Modes are carried on exactly, and never grow."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid.predictors.dmd import DmdConfig, powers_sum
from minihybrid.rng import Rng


def exact(rank):
    return DmdConfig(rank=rank, ridge=0.0).init()


@given(seed=st.integers(0, 1000), rank=st.integers(1, 5), horizon=st.integers(0, 20))
def test_a_linear_iteration_of_rank_r_is_carried_on_from_r_plus_1_steps(watch, linear_path, seed, rank, horizon):
    path, fixed = linear_path(seed, rank)
    prediction = watch(exact(rank), path[: rank + 2]).predict(horizon)
    distance = np.linalg.norm(path[0] - fixed)
    expected = path[min(rank + 1 + horizon, len(path) - 1)]
    assert np.linalg.norm(path[rank + 1] + prediction.delta - expected) < 1e-6 * distance
    assert prediction.confidence > 0.99 and prediction.est_steps == horizon
    far = watch(exact(rank), path[: rank + 2]).predict(500)
    assert np.linalg.norm(path[rank + 1] + far.delta - fixed) < 1e-6 * distance


def test_a_mode_that_swings_is_two_that_are_complex(watch):
    turn = 0.9 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    path = [np.array([1.0, 2.0])]
    for _ in range(15):
        path.append(turn @ path[-1])
    prediction = watch(exact(2), path[:6]).predict(10)
    assert prediction.delta.dtype == np.float64
    np.testing.assert_allclose(path[5] + prediction.delta, path[15], atol=1e-9)


def test_what_grows_goes_on_at_its_pace(watch):
    path = 1.5 ** np.arange(8.0)[:, None] * np.array([1.0, -1.0])
    step = path[-1] - path[-2]
    np.testing.assert_allclose(watch(exact(1), path).predict(10).delta, 10 * step, rtol=1e-6)


@given(seed=st.integers(0, 1000), n=st.integers(1, 5), count=st.integers(0, 8))
def test_the_sum_of_powers_is_the_sum_of_powers(seed, n, count):
    matrix = Rng(seed).normal((n, n), dtype=np.float64)
    matrix /= 1.1 * np.abs(np.linalg.eigvals(matrix)).max()
    expected = sum((np.linalg.matrix_power(matrix, i) for i in range(1, count + 1)), np.zeros((n, n)))
    np.testing.assert_allclose(powers_sum(matrix, count), expected, rtol=1e-5, atol=1e-6 * count)


def test_more_modes_than_the_steps_hold_are_not_followed(watch, linear_path):
    path, fixed = linear_path(3, 2)
    prediction = watch(exact(8), path[:10]).predict(500)
    np.testing.assert_allclose(path[9] + prediction.delta, fixed, atol=1e-6)
    assert watch(exact(4), np.ones((5, 3))).predict(1) is None, "what does not move has no modes"


def test_noise_is_no_mode(watch):
    walk = np.cumsum(Rng(0).normal((21, 10_000), dtype=np.float64), axis=0)
    assert watch(DmdConfig().init(), walk).predict(1).confidence < 0.2


def test_settings_make_sense():
    with pytest.raises(ValueError, match="DmdConfig: rank is 0; expected an integer of at least 1"):
        DmdConfig(rank=0)
    with pytest.raises(ValueError, match="DmdConfig: ridge is -1; expected a number that is not negative"):
        DmdConfig(ridge=-1)
