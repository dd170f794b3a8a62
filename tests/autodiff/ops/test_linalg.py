"""Products in all of NumPy's forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff import product

DOTS = [
    *[((), ()), ((), (2, 3)), ((2, 3), ()), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4))],
    *[((3,), (2, 3, 4)), ((2, 3), (4, 3, 2)), ((2, 2, 3), (3,)), ((2, 2, 3), (3, 2)), ((2, 1, 3), (2, 3, 2))],
    *[((0,), (0,)), ((2, 0), (0, 3)), ((0, 3), (3,))],
]  # fmt: skip


@pytest.mark.parametrize("shapes", DOTS)
def test_dot(shapes: Any, agree: Any) -> None:
    agree(mh.dot, np.dot, *shapes)
    agree(lambda x, y: x.dot(y), np.dot, *shapes)


@pytest.mark.parametrize(
    "shapes",
    [
        ((), ()),
        ((), (3,)),
        ((2, 3), ()),
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((2, 3), (4, 3)),
        ((2, 3), (1, 2, 3)),
        ((0,),) * 2,
    ],
)
def test_inner(shapes: Any, agree: Any) -> None:
    agree(mh.inner, np.inner, *shapes)


@pytest.mark.parametrize("shapes", [((), ()), ((2,), (3,)), ((2, 2), (3,)), ((0,), (3,))])
def test_outer(shapes: Any, agree: Any) -> None:
    agree(mh.outer, np.outer, *shapes)


@pytest.mark.parametrize("shapes", [((), ()), ((3,), (3,)), ((2, 3), (3, 2)), ((0, 2), (0,))])
def test_vdot(shapes: Any, agree: Any) -> None:
    agree(mh.vdot, np.vdot, *shapes)


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((2, 3, 4), (3, 4, 2)), 2),
        (((2, 3), (3, 4)), 1),
        (((2,), (3,)), 0),
        (((2, 3, 4), (4, 3)), ([1, 2], [1, 0])),
        (((2, 3, 4), (5, 3)), (1, -1)),
        (((2, 3), (2, 3)), ((0, 1), (0, 1))),
        (((2, 0), (0, 3)), 1),
        (((2, 3), (2, 3)), (-2, 0)),
    ],
)
def test_tensordot(shapes: Any, axes: Any, agree: Any) -> None:
    agree(lambda x, y: mh.tensordot(x, y, axes), lambda x, y: np.tensordot(x, y, axes), *shapes)


def test_numbers_and_lists_are_weak() -> None:
    x = mh.tensor([1.0, 2.0])
    for result in (mh.dot(x, [3, 4]), mh.dot([3.0, 4.0], x), mh.inner(x, [3, 4]), mh.vdot([3, 4], x), x @ [3, 4]):
        assert (result.item(), result.dtype) == (11.0, np.float32)
    assert mh.dot(x, 2).tolist() == [2.0, 4.0]
    assert mh.dot([1, 2], [3, 4]) == 11
    assert mh.outer(2.0, x).dtype == np.float32


def test_operators_meet_arrays_and_lists() -> None:
    x, array = mh.tensor([[1.0, 2.0], [3.0, 4.0]]), np.eye(2, dtype="f")
    for result in (x @ array, array @ x, x @ array.tolist(), array.tolist() @ x, np.matmul(x, array), np.dot(x, array)):
        assert isinstance(result, mh.Tensor)
        assert result.tolist() == x.tolist()


@pytest.mark.parametrize(
    ("f", "kind", "sentence"),
    [
        (lambda x: mh.dot(x, x), ValueError, r"dot: x has shape \(2, 3\), y \(2, 3\); axis -1 of x \(length 3\)"),
        (lambda x: mh.inner(x, x.T), ValueError, r"inner: .* equally long"),
        (lambda x: mh.vdot(x, [1.0]), ValueError, r"vdot: x has shape \(6,\), y \(1,\)"),
        (lambda x: mh.vdot(x, np.ones(6, complex)), TypeError, "vdot: x is float32 and y complex128; expected real"),
        (lambda x: mh.tensordot(x, x, 3), ValueError, "tensordot: .*they do not both have 3 axes"),
        (lambda x: mh.tensordot(x, x, (0, 2)), ValueError, "tensordot: .*no axis 2 of y. Axes count from 0"),
        (lambda x: mh.tensordot(x, x, ([0, 1], 0)), ValueError, "tensordot: .* 2 axes of x meet 1 of y"),
        (lambda x: mh.tensordot(x, x, ([0, 0], [0, 1])), ValueError, "tensordot: .* an axis of x is named twice"),
        (lambda x: x @ 2, ValueError, r"matmul: .*Matrices have two axes or more; numbers are multiplied with \*"),
        (lambda x: mh.dot(x, {}), TypeError, "dot: an argument is a dict; expected a Tensor, an array"),
    ],
)  # fmt: skip
def test_mistakes(f: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        f(mh.tensor(np.ones((2, 3), "f")))


@pytest.mark.parametrize(
    "shapes", [((2,), (3,)), ((2, 2), (1, 3)), ((2,), (2, 3)), ((2, 2, 1), (3,)), ((), (2,)), ((0,), (2,))]
)
def test_kron(shapes: Any, agree: Any) -> None:
    agree(mh.kron, np.kron, *shapes)


def test_cross(agree: Any) -> None:
    for shapes, axis in [([(3,), (3,)], -1), ([(2, 3), (2, 3)], 1), ([(3, 2), (3, 2)], 0), ([(2, 1, 3), (4, 3)], -1)]:
        ours, theirs = (lambda x, y, f=f, axis=axis: f(x, y, axis=axis) for f in (mh.cross, np.cross))
        agree(ours, theirs, *shapes)
    with pytest.raises(
        ValueError, match=r"cross: x has shape \(2,\), y \(3,\); expected 3 elements along axis -1 of both"
    ):
        mh.cross(mh.tensor([1.0, 2.0]), mh.tensor([1.0, 2.0, 3.0]))


def test_products_over_nothing_have_gradients() -> None:
    x, y = mh.tensor(np.ones((4, 2, 0)), requires_grad=True), mh.tensor(np.ones((0, 3)), requires_grad=True)
    grads = (x @ y).sum().backward()
    assert grads[x].shape == (4, 2, 0)
    assert grads[y].shape == (0, 3)
    w = mh.tensor(np.ones((0, 3)), requires_grad=True)
    assert mh.linear(x, w).sum().backward()[w].shape == (0, 3)


def test_the_ones_that_are_kept_for_sums_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        product._ones(3, np.dtype(np.float32))[0] = 2
