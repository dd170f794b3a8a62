"""The op decorator: how arguments are bound, which dtypes agree, what is saved, and how a wrong declaration ends."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.tensor import Node, Tensor

pytestmark = pytest.mark.usefixtures("scratch_ops")


def saved(y: Tensor) -> dict[int, tuple[Any, ...]]:
    """What the node of y keeps, by the position of the argument that it is kept for."""
    assert isinstance(y.node, Node)
    assert y.node.edges is not None
    return {position: values for position, _, _, values in y.node.edges}


# Declaring


def test_an_op_keeps_its_name_text_and_parts() -> None:
    @mh.op(x=lambda g: g)
    def _same(x: Any) -> Any:
        """The same."""
        return x

    assert mh.ops.registry["same"] is _same
    assert (_same.__name__, _same.__doc__) == ("same", "The same.")
    assert list(_same.formulas) == ["x"]
    assert _same.forward(3) == 3


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda f: mh.op(z=lambda g: g)(f), r"@op f: a formula was given for \['z'\], which is no argument of it"),
        (lambda f: mh.op(x=lambda g, z: g)(f), r"@op f: a formula names 'z'; it may name arguments, out"),
        (lambda f: mh.op(x=lambda g, extra: g, saves=("extra",))(f), "only fast twins may name the auxiliary"),
        (lambda f: mh.op(x=lambda g, y: g)(f).fast(x=lambda g, x: g), r"starts with the formula's own names \('y',\)"),
    ],
)  # fmt: skip
def test_wrong_declarations(declare: Any, sentence: str) -> None:
    def f(x: Any, y: Any) -> Any:
        return x * y

    with pytest.raises(TypeError, match=sentence):
        declare(f)


def test_keywords_and_defaults() -> None:
    x = mh.tensor(np.ones((2, 3)))
    assert mh.sum(x, 0).shape == mh.sum(x, axis=0).shape == mh.sum(axis=0, x=x).shape == (3,)
    assert mh.sum(x, 0, True).shape == mh.sum(x, keepdims=True, axis=0).shape == (1, 3)


def test_on_plain_arrays_an_op_is_an_array_function() -> None:
    assert type(mh.exp(np.zeros(2))) is np.ndarray
    assert type(mh.softmax_cross_entropy(np.zeros((1, 2)), np.array([0]))) is not tuple


# What is saved


def test_exactly_what_the_formulas_name_is_saved() -> None:
    x, y = mh.tensor([1.0], requires_grad=True), mh.tensor([2.0], requires_grad=True)
    assert saved(x + y) == {0: (), 1: ()}
    assert saved(x * y) == {0: (y.array,), 1: (x.array,)}
    z = mh.exp(x)
    assert saved(z)[0][0] is z.array
    assert saved(x.reshape(1, 1)) == {0: ((1,),)}
    assert saved(x.astype("float64")) == {0: (np.float32,)}


def test_nothing_is_saved_for_an_untracked_argument() -> None:
    x, constant = mh.tensor([1.0], requires_grad=True), mh.tensor([2.0])
    assert list(saved(x * constant)) == [0]
    assert list(saved(constant * x)) == [1]


def test_formula_over_many_tensors() -> None:
    x, constant, y = mh.tensor([1.0], requires_grad=True), mh.tensor([5.0]), mh.tensor([2.0, 3.0], requires_grad=True)
    joined = mh.concatenate([x, constant, y])
    assert joined.tolist() == [1.0, 5.0, 2.0, 3.0]
    grads = joined.backward(seed=[1.0, 2.0, 3.0, 4.0])
    assert (grads[x].tolist(), grads[y].tolist(), len(grads)) == ([1.0], [3.0, 4.0], 2)


def test_results_that_lead_nowhere_have_no_node() -> None:
    x = mh.tensor([1.5], requires_grad=True)
    for y in (x > 1, mh.argmax(x), mh.isnan(x), x.astype("int64"), x.astype(bool)):
        assert not y.requires_grad
    assert x.astype("float64").requires_grad


def test_gradient_of_a_cast_has_the_leafs_dtype() -> None:
    x = mh.tensor([1.5], requires_grad=True)
    y = x.astype("float64") * mh.tensor(np.array([2.0]))
    gradient = y.sum().backward()[x]
    assert gradient.dtype == np.float32
    assert gradient.tolist() == [2.0]


# no_grad


def test_no_grad_nests_and_ends_with_an_exception() -> None:
    x = mh.tensor(1.0, requires_grad=True)
    with mh.no_grad():
        with mh.no_grad():
            assert not (x * x).requires_grad
        assert not (x * x).requires_grad
    assert (x * x).requires_grad
    with pytest.raises(KeyError), mh.no_grad():
        raise KeyError
    assert (x * x).requires_grad


def test_no_grad_as_a_decorator() -> None:
    @mh.no_grad()
    def f(x: Tensor) -> Tensor:
        return x * x

    assert not f(mh.tensor(1.0, requires_grad=True)).requires_grad


def test_no_grad_is_of_one_thread() -> None:
    x = mh.tensor(1.0, requires_grad=True)
    seen = []
    with mh.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


# Dtypes


def test_two_float_dtypes_in_one_op_raise() -> None:
    single, double = mh.tensor([1.0]), mh.tensor(np.array([1.0]))
    for mix in (lambda: single + double, lambda: double @ single, lambda: mh.concatenate([single, double])):
        with pytest.raises(TypeError, match=r"is float\d\d, .* is float\d\d; one op works in one float dtype"):
            mix()
    with pytest.raises(TypeError, match=r"add: x is float32, y is float64"):
        single + np.array([1.0])
    with pytest.raises(TypeError, match=r"add: x is float64, y is float32"):
        np.array([1.0]) + single
    with pytest.raises(TypeError, match=r"greater: x is float32, y is float64"):
        single > double  # noqa: B015


@pytest.mark.parametrize("other", [2, 2.0, True, np.float64(2), np.int64(2), [2.0], [2], (2.0,), np.array([2]), [True]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_lists_and_integers_take_the_dtype_they_meet(other: Any, dtype: str) -> None:
    x = mh.tensor([3.0], dtype=dtype)
    for y in (x + other, other + x, x * other, x / other, x**other, other - x, mh.maximum(x, other)):
        assert y.dtype == dtype
    assert (x + other).item() == 3.0 + np.asarray(other).item()


def test_integer_tensors_meet_float_tensors() -> None:
    x, n = mh.tensor([3.0], requires_grad=True), mh.tensor([2])
    y = x * n
    assert y.dtype == np.float32
    assert y.backward(seed=[1.0])[x].tolist() == [2.0]
    assert (n + n).dtype == np.int64


def test_settings_are_no_operands() -> None:
    x = mh.tensor(np.ones((2, 3), bool))
    assert mh.any(x, axis=(0, 1)).shape == ()
    assert mh.all(x, axis=()).shape == (2, 3)
    assert mh.tensor(np.ones((2, 3), "f")).sum(axis=(0, 1)).item() == 6.0


def test_inputs_are_not_converted_in_place() -> None:
    n = np.array([2])
    mh.tensor([1.0]) * n
    assert n.dtype == np.int64


def test_an_untracked_view_of_a_parameter_keeps_its_values() -> None:
    class Holder(mh.Module):
        weight: mh.Param

    model = Holder(mh.Param(np.ones((1, 2), "f")).freeze())
    view = model.weight.T
    x = mh.tensor([[1.0]], requires_grad=True)
    loss = (x @ view.T).sum()
    model.apply_delta(np.ones(2, "f"))
    assert view.tolist() == [[1.0], [1.0]]
    assert loss.backward()[x].tolist() == [[2.0]]


def test_lists_are_operands() -> None:
    x = mh.tensor([[1.0], [2.0]], requires_grad=True)
    assert mh.add(x, [[1.0, 2.0]]).tolist() == [[2.0, 3.0], [3.0, 4.0]]
    assert mh.add(mh.tensor([1, 2]), [1, 2]).dtype == np.int64
    with pytest.raises(ValueError, match="add: y is a nested list whose rows differ in length"):
        mh.add(x, [1.0, [2.0]])
    with pytest.raises(TypeError, match="add: y is a set; expected a Tensor"):
        x + {1.0}
    with pytest.raises(TypeError, match=r"concatenate: tensors\[0\] is float32, tensors\[1\] is float64; one op"):
        mh.concatenate([x, np.ones((1, 1))])


def test_what_is_no_operand_is_said_so() -> None:
    x = mh.tensor([1.0])
    for f in (lambda: x + "a", lambda: x * None, lambda: x < None, lambda: x == "a", lambda: slice(1) + x):
        with pytest.raises(TypeError, match=r"Operands are tensors, arrays, numbers or lists of numbers\.$"):
            f()


def test_auxiliary_results_beside_many_tensors() -> None:
    def formula(g: Any, tensors: Any, i: int) -> Any:
        assert len(tensors) == 2
        return g * tensors[i] * 2

    @mh.op(tensors=formula, saves=("squares",))
    def _sum_of_squares(*tensors: Any) -> Any:
        squares = [x * x for x in tensors]
        return sum(squares), squares

    _sum_of_squares.fast(tensors=lambda g, tensors, i, squares: g * squares[i] / tensors[-1 if i else 0] * 2)
    x, y = mh.tensor(3.0, requires_grad=True), mh.tensor(4.0, requires_grad=True)
    for create_graph in (False, True):
        grads = _sum_of_squares(x, y).backward(create_graph=create_graph)
        assert (grads[x].item(), grads[y].item()) == (6.0, 8.0)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_two_float_dtypes_are_found_at_any_place_of_an_op_over_many(place):
    tensors = [mh.tensor([1.0, 2.0]) for _ in range(4)]
    tensors[place] = mh.tensor([1.0, 2.0], dtype="float64")
    for call in (mh.concatenate, mh.stack, lambda all: mh.einsum("i,i,i,i->", *all)):
        with pytest.raises(TypeError, match="float64"):
            call(tensors)
