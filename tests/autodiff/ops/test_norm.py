"""Norms by their definitions. The layers have tests beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minihybrid as mh

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5, 2))
WEIGHT, BIAS = RNG.normal(size=4), RNG.normal(size=4)
CHANNELS = (4, 1, 1)
EPS = 0.01


def standardized(x: Any, axes: Any, centred: bool = True) -> Any:
    centre = x.mean(axes, keepdims=True) if centred else 0
    return (x - centre) / np.sqrt(((x - centre) ** 2).mean(axes, keepdims=True) + EPS)


def scaled(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight.reshape(CHANNELS)
    return x if bias is None else x + bias.reshape(CHANNELS)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("bias", [None, BIAS])
def test_norms_over_groups_and_batches(weight: Any, bias: Any) -> None:
    for groups in (1, 2, 4):
        parts = X.reshape(3, groups, -1)
        expected = scaled(standardized(parts, -1).reshape(X.shape), weight, bias)
        np.testing.assert_allclose(mh.group_norm(X, groups, weight, bias, EPS), expected)
    expected = scaled(standardized(X, (0, 2, 3)), weight, bias)
    np.testing.assert_allclose(mh.batch_norm(X, weight, bias, eps=EPS), expected)
    mean, variance = RNG.normal(size=4), RNG.uniform(1, 2, size=4)
    kept = (X - mean.reshape(CHANNELS)) / np.sqrt(variance.reshape(CHANNELS) + EPS)
    np.testing.assert_allclose(mh.batch_norm(X, weight, bias, mean, variance, EPS), scaled(kept, weight, bias))


def test_norms_over_the_last_axes() -> None:
    weight, bias = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    x, w = X[0], RNG.normal(size=(4, 5, 2))
    for axes in ((-1,), (-2, -1), (-3, -2, -1)):
        factor = w[(0,) * (3 - len(axes))]
        np.testing.assert_allclose(mh.layer_norm(x, factor, None, axes, EPS), standardized(x, axes) * factor)
        np.testing.assert_allclose(mh.rms_norm(x, factor, axes, EPS), standardized(x, axes, False) * factor)
    expected = standardized(X, (-2, -1)) * weight + bias
    np.testing.assert_allclose(mh.layer_norm(X, weight, bias, (-2, -1), EPS), expected)
    np.testing.assert_allclose(mh.layer_norm(X, weight[0], bias[0], -1, EPS), standardized(X, -1) * weight[0] + bias[0])
    np.testing.assert_allclose(mh.rms_norm(X, weight, (-2, -1), EPS), standardized(X, (-2, -1), False) * weight)
    np.testing.assert_allclose(mh.rms_norm(X, weight[0], -1, EPS), standardized(X, -1, False) * weight[0])


def test_the_least_epsilon_of_a_root_mean_square_is_that_of_its_dtype() -> None:
    for dtype in (np.float32, np.float64):
        x = np.full((1, 4), 1e-10, dtype)
        expected = 1e-10 / np.sqrt(1e-20 + np.finfo(dtype).eps)
        np.testing.assert_allclose(mh.rms_norm(x), np.full((1, 4), expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mh.group_norm(X, 3), "group_norm: 4 channels make no 3 equal groups"),
        (lambda: mh.group_norm(X, 0), "group_norm: 4 channels make no 0 equal groups"),
        (lambda: mh.group_norm(X[0, 0, 0], 1), r"group_norm: x has shape \(2,\); expected \[n, channels, ...\]"),
        (lambda: mh.batch_norm(X[0, 0, 0]), r"batch_norm: x has shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
