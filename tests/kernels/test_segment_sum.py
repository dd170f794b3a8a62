"""Rows added up by label."""

import numpy as np
from hypothesis import given, strategies as st

from minihybrid import kernels
from minihybrid.autodiff.ops.embedding import _add_up
from tests.cuda.emulator import guarded
from tests.kernels.arrays import DTYPES, SEEDS, close, empty, normal

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([255, 256, 257, 600]))


@given(SEEDS, SIZES, st.integers(1, 9), st.sampled_from([1, 2, 31, 32, 33, 64, 257]), DTYPES)
def test_segment_sum(seed, n, count, columns, dtype) -> None:
    x, labels = normal(seed, (n, columns), dtype), guarded(np.random.default_rng(seed).integers(0, count, n))
    out = empty((count, columns), dtype)
    kernels.segment_sum(out, x, labels)
    assert np.allclose(
        out, _add_up(x, labels, empty(out.shape, dtype)), **close(dtype, 16 * n)
    )  # partial sums grow as well


def test_labels_outside_of_the_range_count_for_nothing() -> None:
    out = empty((2, 3), np.float32)
    kernels.segment_sum(out, guarded(np.ones((4, 3), np.float32)), guarded(np.array([1, -1, 2, 1])))
    assert out.tolist() == [[0, 0, 0], [2, 2, 2]]


def test_rows_are_added_in_their_order() -> None:
    x = guarded(np.array([[1e8], [1.0], [-1e8], [1.0]], np.float32))
    out = empty((1, 1), np.float32)
    kernels.segment_sum(out, x, guarded(np.zeros(4, np.int64)))
    assert out[0, 0] == ((np.float32(1e8) + np.float32(1)) - np.float32(1e8)) + np.float32(1)
