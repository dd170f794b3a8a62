"""A history is the last vectors and their Gram matrix, as if both were computed anew each time."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid.memory import array_bytes
from minihybrid.hybrid.predictors import history
from minihybrid.hybrid.predictors.history import HistoryConfig
from minihybrid.rng import Rng

# How far a stored number is off, relative to itself, and an inner product, relative to the two norms.
ERRORS = {("float64", "exact"): (0, 1e-14), ("float32", "exact"): (0, 1e-6), ("float32", "float16"): (5e-4, 1e-3)}


@pytest.mark.parametrize(("dtype", "storage"), ERRORS)
@given(
    seed=st.integers(0, 1000),
    capacity=st.integers(2, 6),
    exponents=st.lists(st.integers(-12, 12), min_size=1, max_size=15),
    cleared_at=st.integers(0, 15),
    block=st.sampled_from([1, 4, 10, 2**15]),
)
def test_it_is_what_recomputing_gives(dtype, storage, seed, capacity, exponents, cleared_at, block):
    number, product = ERRORS[dtype, storage]
    rng, kept = Rng(seed), HistoryConfig(capacity, storage).init()
    expected: deque = deque(maxlen=capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "BLOCK", block)
        for t, exponent in enumerate(exponents):
            if t == cleared_at:
                kept.clear()
                expected.clear()
                assert len(kept) == 0 and kept.gram().shape == (0, 0)
            vector = (rng.normal(10, dtype=np.float64) * 10.0**exponent).astype(dtype)
            kept.push(vector)
            expected.append(vector)
            rows = np.array(expected, np.float64)
            norms = np.linalg.norm(rows, axis=1)
            assert len(kept) == len(rows) and kept.gram().dtype == np.float64
            assert (np.abs(kept.gram() - rows @ rows.T) <= product * np.outer(norms, norms)).all()
            for i, row in enumerate(rows):
                found = kept.combine(np.eye(len(rows))[i])
                assert found.dtype == dtype and (np.abs(found - row) <= (number + 1e-7) * np.abs(row)).all()
        coefficients = rng.normal(len(rows), dtype=np.float64)
        off = kept.combine(coefficients) - coefficients @ rows
        assert np.linalg.norm(off) <= (number + 1e-6) * (np.abs(coefficients) @ norms)


def test_float16_keeps_what_is_small_beside_what_is_large():
    vector = np.float32([1.0, 1e-3, 1e-6, -1e-8, 0.0]) * np.float32(1e-20)
    kept = HistoryConfig(2, "float16").init()
    kept.push(vector)
    np.testing.assert_allclose(kept.combine([1.0]), vector, rtol=5e-4)
    kept.push(np.zeros_like(vector))
    np.testing.assert_array_equal(kept.combine([0.0, 1.0]), np.zeros(5))


def test_what_was_not_finite_is_forgotten_with_the_rest():
    kept = HistoryConfig(3).init()
    kept.push(np.array([np.nan, np.inf]))
    kept.clear()
    kept.push(np.ones(2))
    assert kept.gram() == [[2.0]] and kept.combine([1.0]).tolist() == [1.0, 1.0]


def test_memory_is_bounded():
    for storage, size in (("exact", 4), ("float16", 2)):
        kept = HistoryConfig(5, storage).init()
        for _ in range(20):
            kept.push(np.ones(10_000, np.float32))
        assert len(kept) == 5 and array_bytes(kept) < 5 * 10_000 * size + 1000


def test_a_state_is_all_there_is_to_know():
    rng, config = Rng(0), HistoryConfig(3, "float16")
    kept, twin = config.init(), config.init()
    for _ in range(5):
        kept.push(rng.normal(7))
    twin.load_state_dict(kept.state_dict())
    for vector in rng.normal((2, 7)):
        kept.push(vector)
        twin.push(vector)
        assert twin.gram().tobytes() == kept.gram().tobytes()
        assert twin.combine([1, 2, 3]).tobytes() == kept.combine([1, 2, 3]).tobytes()
    with pytest.raises(ValueError, match="History keeps pushed, rows, scales, gram; the state has rows"):
        twin.load_state_dict({"rows": None})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"capacity": 1}, "capacity is 1; expected an integer of at least 2"),
        ({"storage": "float8"}, "storage is 'float8'; expected 'exact' or 'float16'"),
    ],
)
def test_settings_make_sense(settings, problem):
    with pytest.raises(ValueError, match=f"HistoryConfig: {problem}"):
        HistoryConfig(**settings)
