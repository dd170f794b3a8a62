"""Rows of a table, and rows added up by label: what indices may be. The layer has tests of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minihybrid as mh

TABLE = np.random.default_rng(0).normal(size=(4, 3))


@pytest.mark.parametrize("indices", [2, [0, 3, 3], [[1], [0]], np.array([1, 2], np.uint8), np.zeros((0,), int)])
def test_rows_are_looked_up_and_added_up_again(indices: Any) -> None:
    indices = np.asarray(indices)
    for given in (indices, mh.Tensor(indices), indices.tolist() if indices.size else indices):
        np.testing.assert_array_equal(mh.embedding(TABLE, given), TABLE[indices])
    rows = np.random.default_rng(1).normal(size=(*indices.shape, 3))
    expected = np.zeros((4, 3))
    np.add.at(expected, indices, rows)
    np.testing.assert_allclose(mh.segment_sum(rows, indices, 4), expected)
    weight = mh.tensor(TABLE, requires_grad=True)
    grads = mh.embedding(weight, indices).backward(rows)
    np.testing.assert_allclose(grads[weight].numpy(), expected)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: mh.embedding(TABLE, [0.0]), TypeError, "embedding: the indices are float64; expected integers"),
        (lambda: mh.embedding(TABLE, [0, 4]), IndexError, "indices range from 0 to 4; 4 rows are 0 to 3"),
        (lambda: mh.embedding(TABLE, [-1]), IndexError, "indices range from -1 to -1"),
        (lambda: mh.segment_sum(TABLE, [0, 1, 2, 3], 3), IndexError, "segment_sum: the indices range from 0 to 3"),
        (lambda: mh.segment_sum(TABLE, [0, 1], 3), ValueError, r"x \(4, 3\) and indices \(2,\) do not fit"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        call()


def test_the_last_row_is_a_row() -> None:
    np.testing.assert_array_equal(mh.embedding(TABLE, [3]), TABLE[3:])
