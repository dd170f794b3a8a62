"""grad and value_and_grad: they compose, close over what is outside, and leave it alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minihybrid as mh


def test_value_and_gradients_of_several_arguments() -> None:
    value, (a, c) = mh.value_and_grad(lambda x, y, z: x * y + z * z, (0, 2))(*map(mh.tensor, (2.0, 3.0, 4.0)))
    assert (value.item(), a.item(), c.item()) == (22.0, 3.0, 8.0)
    assert not value.requires_grad
    assert not a.requires_grad


def test_gradient_in_another_argument_and_keywords() -> None:
    assert (
        mh.grad(lambda x, y, scale: x * y * scale, argnums=1)(mh.tensor(2.0), mh.tensor(3.0), scale=5.0).item() == 10.0
    )


def test_an_unused_argument_has_gradient_zero() -> None:
    gradient = mh.grad(lambda x, y: y * y, 0)(mh.tensor([1.0, 2.0]), mh.tensor(3.0))
    assert gradient.tolist() == [0.0, 0.0]
    assert gradient.dtype == np.float32
    assert mh.grad(lambda x: mh.tensor(1.0))(mh.tensor(2.0)).item() == 0.0


@pytest.mark.parametrize(
    ("f", "argument", "kind", "sentence"),
    [
        (lambda x: x * 2, mh.tensor([1.0, 2.0]), ValueError, r"grad: the function returned shape \(2,\); expected"),
        (lambda x: 1.0, mh.tensor(1.0), ValueError, "grad: the function returned float; expected a Tensor"),
        (lambda x: x, 1.0, TypeError, "grad: argument 0 is a float; expected a Tensor"),
        (lambda x: x, mh.tensor(1), TypeError, "float dtype, this tensor is int64"),
    ],
)  # fmt: skip
def test_mistakes(f: Any, argument: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        mh.grad(f)(argument)


def test_gradients_of_any_order() -> None:
    f, x = mh.sin, mh.tensor(np.array(0.7))
    for exact in (math.cos(0.7), -math.sin(0.7), -math.cos(0.7), math.sin(0.7)):
        f = mh.grad(f)
        assert math.isclose(f(x).item(), exact)


def test_mixed_second_derivative() -> None:
    f = lambda x, y: x * x * y * y * y  # noqa: E731
    cross = mh.grad(mh.grad(f, 0), 1)
    assert cross(mh.tensor(2.0), mh.tensor(3.0)).item() == 2 * 2 * 3 * 9


def test_inner_gradient_closes_over_the_outer_variable() -> None:
    # d/dx (x * d/dy (x * y)) = d/dx (x * x): confusing the two derivatives would give x.
    assert mh.grad(lambda x: x * mh.grad(lambda y: x * y)(mh.tensor(1.0)))(mh.tensor(5.0)).item() == 10.0
    # The same with an inner function that is not linear, and evaluated at the outer variable itself.
    assert mh.grad(lambda x: mh.grad(lambda y: x * y * y)(x))(mh.tensor(5.0)).item() == 20.0


def test_gradient_of_a_gradient_penalty() -> None:
    w = mh.tensor([1.0, 2.0], requires_grad=True)

    def penalty(w: mh.Tensor) -> mh.Tensor:
        slope = mh.grad(lambda x: (mh.tanh(x) * w).sum())(mh.tensor([0.0, 0.0]))
        return mh.sum(slope * slope)

    assert mh.grad(penalty)(w).tolist() == [2.0, 4.0]


def test_create_graph_for_what_is_closed_over() -> None:
    w = mh.tensor(2.0, requires_grad=True)
    slope = mh.grad(lambda x: x * x * w, create_graph=True)(mh.tensor(3.0))
    assert slope.backward()[w].item() == 6.0
    assert not mh.grad(lambda x: x * x * w)(mh.tensor(3.0)).requires_grad


def test_arguments_of_a_graph_stay_connected() -> None:
    x = mh.tensor(3.0, requires_grad=True)
    value, slope = mh.value_and_grad(lambda y: y * y * y)(x * 2.0)
    assert value.backward(create_graph=True)[x].item() == 3 * 36 * 2
    assert slope.backward()[x].item() == 6 * 6 * 2
    assert not mh.grad(lambda y: y * y, create_graph=False)(x).requires_grad


def test_a_graph_from_outside_is_left_alone() -> None:
    x = mh.tensor(3.0, requires_grad=True)
    outside = x * x
    assert mh.grad(lambda y: y * outside)(mh.tensor(2.0)).item() == 9.0
    assert mh.grad(lambda y: outside)(mh.tensor(2.0)).item() == 0.0
    assert outside.backward()[x].item() == 6.0


def test_a_gradient_is_taken_where_nothing_is_recorded() -> None:
    x = mh.tensor(3.0, requires_grad=True)
    with mh.no_grad():
        slopes = [mh.grad(lambda y: y * y * y)(x), mh.grad(mh.grad(lambda y: y * y * y))(x)]
        assert not (x * x).requires_grad
        assert not mh.value_and_grad(lambda y: y * y, create_graph=True)(x)[0].requires_grad
    assert [slope.item() for slope in slopes] == [27.0, 18.0]
    assert not any(slope.requires_grad for slope in slopes)


def test_a_function_that_raises_changes_nothing() -> None:
    def failing(x: mh.Tensor) -> mh.Tensor:
        raise KeyError("mine")

    with mh.no_grad():
        with pytest.raises(KeyError):
            mh.grad(failing)(mh.tensor(1.0))
        x = mh.tensor(1.0, requires_grad=True)
        assert not (x * x).requires_grad
    assert not mh.grad(lambda y: y * y)(mh.tensor(1.0)).requires_grad


# Modules as arguments


def linear() -> mh.nn.Linear:
    return mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0))


def test_the_gradient_in_a_module_is_what_backward_gives() -> None:
    model, x = linear(), mh.tensor([[1.0, 2.0], [3.0, 4.0]])
    value, grads = mh.value_and_grad(lambda model, x: mh.tanh(model(x)).sum())(model, x)
    expected = mh.tanh(model(x)).sum()
    assert value.item() == expected.item()
    assert not value.requires_grad
    theirs = expected.backward()
    for param in model.named_params().values():
        assert grads[param].tolist() == theirs[param].tolist()
    stepped = mh.optim.SGD().step(0.1, model, mh.optim.GradientsParams.from_grads(grads, model))
    assert stepped.weight.requires_grad


def test_a_module_beside_a_tensor_and_a_graph_from_outside() -> None:
    model, z = linear(), mh.tensor([[1.0, 2.0]], requires_grad=True)
    x = z * 2.0
    _, (grads, slope) = mh.value_and_grad(lambda model, x: model(x).sum(), (0, 1))(model, x)
    assert grads[model.weight].tolist() == [[2.0], [4.0]]
    assert slope.tolist() == model.weight.numpy().T.tolist()
    assert z not in grads
    outside = model(x).sum()
    mh.value_and_grad(lambda model, y: (model(y) * outside).sum())(model, mh.tensor([[1.0, 1.0]]))
    assert outside.backward()[z].shape == (1, 2)


def test_second_order_through_a_module() -> None:
    model, x = linear(), mh.tensor([[1.0, 2.0]])
    f = lambda model: (model(x) ** 3).sum()  # noqa: E731
    grads = mh.grad(f, create_graph=True)(model)
    penalty = (grads[model.weight] ** 2).sum()
    assert penalty.backward()[model.weight].shape == (2, 1)


def test_a_value_without_the_module() -> None:
    with pytest.raises(ValueError, match="grad: the value depends on no parameter of the module"):
        mh.grad(lambda model, x: x * x)(linear(), mh.tensor(1.0))


def test_gradients_accumulate_by_adding() -> None:
    model, xs = linear(), mh.tensor(np.arange(8.0, dtype="f").reshape(4, 2))
    loss = mh.value_and_grad(lambda model, x: (model(x) ** 2).mean())
    whole = mh.optim.GradientsParams.from_grads(loss(model, xs)[1], model)
    parts = [mh.optim.GradientsParams.from_grads(loss(model, x)[1], model) for x in mh.split(xs, 2)]
    sums = (parts[0] + parts[1]) / 2
    for id, gradient in whole.items():
        np.testing.assert_allclose(sums.get(id).numpy(), gradient.numpy(), rtol=1e-6)


# All derivatives


def test_jacobian() -> None:
    x, y = mh.tensor(np.arange(1.0, 4.0)), mh.tensor(np.ones((2, 3)))
    f = lambda x, y: mh.sin(y * x).T  # noqa: E731
    of_x, of_y = mh.jacobian(f, (0, 1))(x, y)
    assert (of_x.shape, of_y.shape) == ((3, 2, 3), (3, 2, 2, 3))
    np.testing.assert_allclose(of_x.numpy(), (np.cos(x.numpy()) * np.eye(3))[:, None, :].repeat(2, 1))
    assert not of_x.requires_grad
    assert mh.jacobian(lambda x: x.sum())(x).tolist() == [1.0, 1.0, 1.0]
    assert mh.jacobian(lambda x: mh.tensor([1.0, 2.0]))(mh.tensor([1.0])).tolist() == [[0.0], [0.0]]
    assert mh.jacobian(lambda x: x[:0])(x).shape == (0, 3)
    assert mh.jacobian(lambda x: x * 2.0)(mh.tensor([1.0, 2.0])).dtype == np.float32


def test_jacobians_of_jacobians_and_gradients() -> None:
    x = mh.tensor(np.array([0.3, 0.7]))
    third = mh.jacobian(mh.jacobian(mh.jacobian(lambda x: (x**4).sum())))(x).numpy()
    np.testing.assert_allclose(third[[0, 1], [0, 1], [0, 1]], 24 * x.numpy())
    assert np.count_nonzero(third) == 2
    assert mh.gradcheck(lambda x: mh.jacobian(lambda x: mh.sin(x) * x.sum())(x), x, order=2)


def test_a_jacobian_leaves_the_graph_of_its_argument_alone() -> None:
    x = mh.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    jacobian = mh.jacobian(lambda y: y * y)(y)
    assert jacobian.sum().backward()[x].tolist() == [4.0, 8.0]


def test_hessian_vector_product() -> None:
    x, v = mh.tensor(np.array([0.3, 0.7, -1.0])), mh.tensor(np.array([1.0, -2.0, 0.5]))
    f = lambda x, scale=1.0: (mh.sin(x) * x.sum()).sum() * scale  # noqa: E731
    hessian = mh.jacobian(mh.grad(f))(x).numpy()
    np.testing.assert_allclose(mh.hessian_vector_product(f)(x, v).numpy(), hessian @ v.numpy())
    np.testing.assert_allclose(mh.hessian_vector_product(f)(x, v, scale=3.0).numpy(), 3 * hessian @ v.numpy())
    g = lambda x, y: (x * x * y * y).sum()  # noqa: E731
    assert mh.hessian_vector_product(g, 1)(x, v, v).tolist() == (2 * x * x * v).tolist()
    assert mh.gradcheck(lambda x: mh.hessian_vector_product(f)(x, v), x)


def test_mistakes_with_all_derivatives() -> None:
    with pytest.raises(ValueError, match="jacobian: the function returned float; expected a Tensor"):
        mh.jacobian(lambda x: 1.0)(mh.tensor(1.0))
    with pytest.raises(TypeError, match="jacobian: argument 0 is a module; expected a Tensor"):
        mh.jacobian(lambda model: model.weight * 1.0)(linear())
    with pytest.raises(
        ValueError, match=r"hessian_vector_product: the last argument is .* expected a vector of shape \(2,\)"
    ):
        mh.hessian_vector_product(lambda x: x.sum())(mh.tensor([1.0, 2.0]), mh.tensor([1.0]))


class Scalar(mh.Module):
    value: mh.Param


def test_a_value_that_is_a_parameter_itself() -> None:
    model = Scalar(mh.Param(np.float32(2.0)))
    assert mh.grad(lambda model: model.value)(model)[model.value].item() == 1.0


def test_arguments_must_be_there_by_position() -> None:
    x = mh.tensor(1.0)
    for call in (lambda: mh.grad(mh.exp, 1)(x), lambda: mh.grad(mh.exp)(x=x), lambda: mh.jacobian(mh.exp, -2)(x)):
        with pytest.raises(
            TypeError, match=r"(grad|jacobian): expected argument -?\d, to differentiate in, by position; it was given"
        ):
            call()
    with pytest.raises(TypeError, match="argument 0 is a float; expected a Tensor"):
        mh.hessian_vector_product(mh.exp)(1.0, 1.0)


def test_derivatives_in_a_parameter_do_not_watch_its_array() -> None:
    w = mh.Param(np.float32([1.0, 2.0]))
    x = w.require_grad()
    y = (x * x).sum()
    w.storage.values += 1
    assert y.backward()[x].tolist() == [2.0, 4.0]


def test_what_is_closed_over_is_not_differentiated_in(scratch_ops: None) -> None:
    asked = []

    @mh.op(x=lambda g, y: g * y, y=lambda g, x: asked.append("y") or g * x)
    def scale(x: Any, y: Any) -> Any:
        return x * y

    w = mh.tensor(2.0, requires_grad=True)
    assert mh.grad(lambda x: scale(x, w))(mh.tensor(3.0)).item() == 2.0
    assert asked == []


def test_arguments_are_counted_from_either_end():
    x, y = mh.tensor(2.0), mh.tensor(3.0)
    for argnums, slope in ((0, 3.0), (1, 2.0), (-1, 2.0), (-2, 3.0)):
        assert mh.grad(lambda x, y: x * y, argnums=argnums)(x, y).item() == slope
    for argnums in (2, -3):
        with pytest.raises(TypeError, match=f"expected argument {argnums}, to differentiate in, by position"):
            mh.grad(lambda x, y: x * y, argnums=argnums)(x, y)
