"""Cumulative ops with zeros and ties, and their axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.ops.cumulative import recurrence


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("cumsum", np.cumsum),
        ("cumprod", np.cumprod),
        ("cummax", lambda x, axis=None: np.maximum.accumulate(x.ravel() if axis is None else x, axis or 0)),
        ("cummin", lambda x, axis=None: np.minimum.accumulate(x.ravel() if axis is None else x, axis or 0)),
    ],
)
def test_axes_and_dtypes_as_in_numpy(name: str, reference: Any) -> None:
    f = getattr(mh, name)
    x = np.random.default_rng(0).integers(-3, 3, size=(2, 3, 4))
    for array in (x, x * 0.5, (x * 0.5).astype("f"), x > 0):
        if array.dtype == bool and name.startswith("cumm"):
            continue
        for axis in (None, 0, 1, -1, -3):
            out, expected = f(mh.tensor(array), axis=axis), reference(array, axis=axis)
            np.testing.assert_array_equal(out.numpy(), expected)
            assert out.dtype == expected.dtype
    for empty in (np.zeros((0,)), np.zeros((2, 0)), np.zeros((0, 2))):
        y = mh.tensor(empty, requires_grad=True)
        out = f(y, axis=0)
        assert out.shape == empty.shape
        assert out.backward(np.zeros(empty.shape))[y].shape == empty.shape
    number = mh.tensor(3.0, requires_grad=True)
    assert f(number).tolist() == [3.0]
    assert f(number).sum().backward()[number].item() == 1.0
    with pytest.raises((ValueError, IndexError), match=rf"{name}: axis 3 is out of bounds"):
        f(mh.tensor(x), axis=3)


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cummin"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_gradients_along_axes(name: str, axis: int | None) -> None:
    x = mh.tensor(np.random.default_rng(0).normal(size=(2, 3, 4)))
    mh.gradcheck(lambda x: getattr(mh, name)(x, axis), x, order=2)


@pytest.mark.parametrize("zeros", [[], [0], [2], [1, 3], [0, 1, 2, 3]])
def test_cumulative_product_with_zeros(zeros: list[int]) -> None:
    x = np.array([2.0, -3.0, 0.5, 4.0])
    x[zeros] = 0
    gradient = mh.grad(lambda x: mh.cumprod(x).sum())(mh.tensor(x))
    expected = [sum(math.prod(np.delete(x[: j + 1], i)) for j in range(i, 4)) for i in range(4)]
    assert gradient.tolist() == expected
    mh.gradcheck(mh.cumprod, mh.tensor(x), order=3)


def test_of_equal_extremes_the_last_has_the_gradient() -> None:
    x = mh.tensor([[1.0, 2.0, 2.0, 1.0, 3.0]], requires_grad=True)
    assert mh.cummax(x, axis=1).sum().backward()[x].tolist() == [[1.0, 1.0, 2.0, 0.0, 1.0]]
    assert mh.cummin(x, axis=1).sum().backward()[x].tolist() == [[3.0, 0.0, 0.0, 2.0, 0.0]]


def test_a_nan_stays() -> None:
    assert np.isnan(mh.cummax(mh.tensor([1.0, math.nan, 2.0])).numpy()).tolist() == [False, True, True]


def test_recurrence_is_what_it_says() -> None:
    a, b = np.array([2.0, 3.0, 5.0]), np.array([1.0, 1.0, 1.0])
    assert recurrence(a, b, start=1.0).tolist() == [1.0, 3.0, 10.0]
    assert recurrence(a, b, start=1.0, reverse=True).tolist() == [19.0, 6.0, 1.0]
    assert recurrence(a, 0.0, start=1.0).tolist() == [1.0, 2.0, 6.0]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [((4,), {}), ((4,), {"n": 2}), ((3, 4), {"axis": 0}), ((3, 4), {"n": 0}), ((2,), {"n": 3}), ((0, 2), {})],
)
def test_diff(shape: Any, settings: Any, agree: Any) -> None:
    agree(lambda x: mh.diff(x, **settings), lambda x: np.diff(x, **settings), shape)


def test_diff_with_ends(agree: Any) -> None:
    ours, theirs = (lambda x, y, f=f: f(x, 1, 0, 2.0, y) for f in (mh.diff, np.diff))
    agree(ours, theirs, (3, 2), (2, 2))
    assert mh.diff(mh.tensor([True, False, False])).tolist() == [True, False]
    with pytest.raises(ValueError, match="diff: n is -1; expected"):
        mh.diff(mh.tensor([1.0]), -1)


def test_differences_are_of_anything_that_is_a_tensor():
    assert mh.diff([1.0, 4.0, 9.0]).tolist() == [3.0, 5.0]
    assert mh.diff([[1.0, 4.0], [9.0, 16.0]], axis=0).tolist() == [[8.0, 12.0]]
