"""Gradients of activation functions have the bits of their formulas."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid import kernels
from tests.cuda.emulator import guarded
from tests.kernels.arrays import DTYPES, LENGTHS, SEEDS, empty, normal

NAMES = ["relu", "tanh", "sigmoid"]


def twin(name: str, g: np.ndarray, out: np.ndarray) -> np.ndarray:
    return mh.ops.registry[name].formulas["x"].function(g, out)


@given(SEEDS, LENGTHS, DTYPES, st.integers(0, 3), st.sampled_from(NAMES))
def test_activation_gradient(seed, n, dtype, misaligned, name) -> None:
    g, out = (normal(seed + i, n, dtype, misaligned) for i in range(2))
    dx = empty(n, dtype, misaligned)
    kernels.activation_gradient(dx, g, out, name)
    assert np.array_equal(dx, twin(name, g, out))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_shows(name) -> None:
    values = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan], np.float32)
    g, out = (guarded(grid.ravel()) for grid in np.meshgrid(values, values))
    dx = empty(g.shape, np.float32)
    kernels.activation_gradient(dx, g, out, name)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(dx, twin(name, g, out), equal_nan=True)
