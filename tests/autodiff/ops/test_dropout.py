"""Dropout: which elements fall out, and what the others are multiplied by."""

import numpy as np
import pytest

import minihybrid as mh


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_factors_are_drawn_once_and_keep_the_expectation(p, dtype):
    x = mh.tensor(np.full((40, 50), 3.0, dtype), requires_grad=True)
    rng = mh.Rng(1)
    found = mh.dropout(x, p, rng)
    kept = mh.Rng(1).bernoulli((40, 50), 1 - p)
    expected = np.where(kept, np.full((40, 50), 3 / (1 - p) if p < 1 else 0.0), 0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert found.dtype == dtype and abs(kept.mean() - (1 - p)) < 0.05
    np.testing.assert_allclose(found.sum().backward()[x].numpy(), expected / 3, rtol=1e-6)
    assert rng.state() != mh.Rng(1).state()


@pytest.mark.parametrize("p", [-0.01, 1.01, float("nan")])
def test_a_probability_is_one(p):
    with pytest.raises(ValueError, match=r"dropout: p is .*; expected a probability"):
        mh.dropout(mh.tensor([1.0]), p, mh.Rng(0))


def test_shapes_of_a_squared_error_are_one():
    with pytest.raises(ValueError, match=r"x has shape \(2,\), y \(3,\); expected one shape"):
        mh.mean_squared_error(np.ones(2), np.ones(3))
