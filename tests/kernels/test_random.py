"""Draws on the device are those of mh.Rng."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid import Rng, kernels
from minihybrid.autodiff.ops.dropout import _drawn
from tests.kernels.arrays import DTYPES, LENGTHS, SEEDS, empty


def stream(rng: Rng, words: int) -> np.ndarray:
    out = empty(6, np.uint64)
    kernels.advance(out, rng, words)
    return out


@given(SEEDS, LENGTHS, DTYPES, st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (-3.0, 1e6)]))
def test_uniform_is_equal_to_the_bit(seed, n, dtype, bounds) -> None:
    rng, device_rng, out = Rng(seed), Rng(seed), empty(n, dtype)
    for _ in range(2):  # the second draw goes on where the first ended
        kernels.uniform(out, stream(device_rng, n), *bounds)
        assert np.array_equal(out, rng.uniform(n, *bounds, dtype))


@given(SEEDS, LENGTHS, st.sampled_from([0.0, 1e-17, 0.3, 0.5, 1 - 2**-53, 1.0]))
def test_bernoulli_and_dropout_are_equal_to_the_bit(seed, n, p) -> None:
    rng, out = Rng(seed), empty(n, np.bool_)
    kernels.bernoulli(out, stream(rng.clone(), n), p)
    assert np.array_equal(out, rng.clone().bernoulli(n, p))
    for dtype in (np.float32, np.float64):
        factors = empty(n, dtype)
        kernels.dropout_factors(factors, stream(rng.clone(), n), p)
        assert np.array_equal(factors, _drawn(rng.clone(), (n,), p, dtype))


@given(SEEDS, LENGTHS, st.sampled_from([(0.0, 1.0), (5.0, 0.1), (0.0, 0.0)]))
def test_normal_is_equal_but_for_the_last_bits(seed, n, moments) -> None:
    for dtype, ulp in ((np.float32, 1), (np.float64, 4)):
        rng, out = Rng(seed), empty(n, dtype)
        kernels.normal(out, stream(rng.clone(), n + n % 2), *moments)
        expected = rng.normal(n, *moments, dtype)
        # ulp of what is added up: near 0, mean and std * z cancel
        assert (abs(out - expected) <= ulp * np.spacing(abs(expected) + dtype(moments[0]))).all()


@pytest.mark.parametrize("counter", [[2**64 - 1, 0, 0, 0], [2**64 - 3, 2**64 - 1, 7, 0], [2**64 - 2] + [2**64 - 1] * 3])
def test_the_counter_carries(counter) -> None:
    rng, out = Rng(), empty(40, np.float64)
    rng.load_state({"key": [1, 2**64 - 1], "counter": counter})
    kernels.uniform(out, stream(rng.clone(), 40), 0.0, 1.0)
    assert np.array_equal(out, rng.uniform(40, dtype=np.float64))


def test_nothing_is_drawn_for_an_empty_array() -> None:
    out = np.empty((0, 3), np.float32)
    kernels.uniform(out, stream(Rng(0), 0), 0.0, 1.0)
