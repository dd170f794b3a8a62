"""Products of small matrices against NumPy's."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid import kernels
from tests.kernels.arrays import DTYPES, SEEDS, close, empty, normal

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65]))
ACTIVATIONS = {"none": lambda x: x, "relu": mh.ops.relu, "tanh": np.tanh, "sigmoid": mh.ops.sigmoid}


@given(SEEDS, SIZES, SIZES, SIZES, DTYPES, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([*ACTIVATIONS]))
def test_matmul(seed, rows, columns, depth, dtype, a_transposed, b_transposed, with_bias, activation) -> None:
    a = normal(seed, (depth, rows), dtype).T if a_transposed else normal(seed, (rows, depth), dtype)
    b = normal(seed + 1, (columns, depth), dtype).T if b_transposed else normal(seed + 1, (depth, columns), dtype)
    bias = normal(seed + 2, columns, dtype) if with_bias else None
    out = empty((rows, columns), dtype)
    kernels.matmul(out, a, b, bias, activation)
    expected = ACTIVATIONS[activation](np.dot(a, b) + (bias if with_bias else 0))
    assert np.allclose(out, expected, **close(dtype, depth))


def test_matmul_is_exact_for_integers() -> None:
    a, b = (
        np.random.default_rng(i).integers(-8, 8, shape).astype(np.float32)
        for i, shape in enumerate([(50, 90), (90, 33)])
    )
    out = empty((50, 33), np.float32)
    kernels.matmul(out, a, b)
    assert np.array_equal(out, a @ b)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_in_its_row_and_column(value) -> None:
    a, b, out = normal(0, (17, 33), np.float32), normal(1, (33, 18), np.float32), empty((17, 18), np.float32)
    a[3, 32] = value
    kernels.matmul(out, a, b, None, "relu")
    expected = mh.ops.relu(a @ b)
    assert np.allclose(out, expected, equal_nan=True, **close(np.float32, 33))
    assert np.isfinite(np.delete(out, 3, axis=0)).all()


@given(SEEDS, SIZES, st.integers(0, 70), DTYPES)
def test_column_sum(seed, rows, columns, dtype) -> None:
    x, out = normal(seed, (rows, columns), dtype), empty(columns, dtype)
    kernels.column_sum(out, x)
    assert np.allclose(out, x.sum(axis=0), **close(dtype, rows))
