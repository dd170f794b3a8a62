"""checkpoint: the same values and gradients of any order, and nothing kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.op import recording
from minihybrid.module.module import pack

X = np.random.default_rng(0).normal(size=(4, 3)).astype("f")


class Block(mh.Module):
    inner: mh.nn.Linear
    drop: mh.nn.Dropout

    def forward(self, x: Any) -> Any:
        return self.drop(mh.tanh(self.inner(x)))


def block(p: float = 0.5) -> Block:
    return Block(mh.nn.LinearConfig(3, 3).init(rng=mh.Rng(0)), mh.nn.DropoutConfig(p).init(mh.Rng(1)))


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_values_and_gradients_are_those_of_the_function() -> None:
    x, y = mh.tensor([0.5, 1.0], requires_grad=True), mh.tensor([2.0, 3.0], requires_grad=True)
    f = lambda x, y: mh.sin(x * y) * mh.exp(x)  # noqa: E731
    plain, kept = f(x, y).sum(), mh.checkpoint(f)(x, y).sum()
    same(kept, plain)
    theirs, ours = plain.backward(), kept.backward()
    for leaf in (x, y):
        same(ours[leaf], theirs[leaf])
    with pytest.raises(RuntimeError, match="was consumed by an earlier backward"):
        kept.backward()


def test_any_order() -> None:
    x = mh.tensor(np.array([0.3, -0.7]))
    assert mh.gradcheck(mh.checkpoint(lambda x: mh.sin(x) * x), x, order=3)
    f = mh.checkpoint(lambda x: mh.checkpoint(mh.exp)(x) * x)
    assert mh.gradcheck(f, x, order=2)
    leaf = mh.tensor(2.0, requires_grad=True)
    slope = mh.checkpoint(lambda x: x**3)(leaf).backward(create_graph=True)[leaf]
    assert slope.backward()[leaf].item() == 12.0


def test_parameters_that_it_closes_over_and_dropout() -> None:
    results = []
    for wrap in (lambda f: f, mh.checkpoint, lambda f: mh.checkpoint(f.forward)):
        model = block()
        loss = mh.sum(wrap(model)(wrap(model)(X)))
        grads = loss.backward()
        state = model.drop.rng.state()
        results.append((loss.item(), grads[model.inner.weight].tolist(), grads[model.inner.bias].tolist(), state))
    assert results[0] == results[1] == results[2]


def test_modules_among_the_arguments() -> None:
    model = block()
    loss, grads = mh.value_and_grad(lambda model, x: mh.sum(mh.checkpoint(lambda m, x: m(x))(model, x)))(
        model, mh.tensor(X)
    )
    other = block()
    expected = mh.sum(other(X))
    assert loss.item() == expected.item()
    same(grads[model.inner.weight], expected.backward()[other.inner.weight])


def test_random_numbers_must_be_named() -> None:
    rng = mh.Rng(0)
    f = lambda x: x * rng.uniform(3)  # noqa: E731
    x = mh.tensor(np.ones(3, "f"), requires_grad=True)
    kept = mh.checkpoint(f, rngs=[rng])(x)
    same(kept.sum().backward()[x], kept.detach())
    with pytest.raises(RuntimeError, match=r"gave another result when backward ran it again.*rngs=\[...\]"):
        mh.checkpoint(f)(x).sum().backward()


def test_nothing_inside_is_kept_and_everything_is_freed() -> None:
    inside = []

    def f(x: Any) -> Any:
        middle = mh.exp(x)
        inside.append(weakref.ref(middle.node))
        return mh.sin(middle)

    gc.disable()
    try:
        x = mh.tensor([1.0], requires_grad=True)
        y = mh.checkpoint(f)(x)
        assert inside[0]() is None
        node = weakref.ref(y.node)
        y.backward()
        assert inside[1]() is None
        del y
        assert node() is None
    finally:
        gc.enable()


def test_buffers_ride_along() -> None:
    norm = mh.nn.BatchNorm1dConfig(3).init()
    plain, kept = norm(mh.tensor(X)).sum().backward(), mh.checkpoint(norm)(mh.tensor(X)).sum().backward()
    assert plain.buffers.keys() == kept.buffers.keys() != set()
    for buffer, value in plain.buffers.items():
        np.testing.assert_array_equal(kept.buffers[buffer], value)


def test_a_step_in_between_ends_it() -> None:
    model = block(0.0)
    weight = model.inner.weight
    loss = mh.checkpoint(lambda x: mh.tanh(x @ weight))(X).sum()
    pack(model).advance("here")
    with pytest.raises(mh.MovedError, match="'checkpoint' read parameters that here has changed since"):
        loss.backward()


def test_where_nothing_leads_to_a_leaf_it_is_the_function() -> None:
    assert not mh.checkpoint(mh.exp)(mh.tensor(1.0)).requires_grad
    x = mh.tensor(1.0, requires_grad=True)
    with mh.no_grad():
        assert not mh.checkpoint(mh.exp)(x).requires_grad
    y = mh.exp(x)
    assert mh.checkpoint(lambda x: y)(x) is y
    with mh.no_grad():
        pass
    kept = mh.checkpoint(mh.exp)(x)
    with mh.no_grad():
        assert kept.backward()[x].item() == pytest.approx(np.e)


def test_a_function_that_returns_no_tensor() -> None:
    with pytest.raises(TypeError, match="checkpoint: the function returned tuple; expected a Tensor"):
        mh.checkpoint(lambda x: (x, x))(mh.tensor(1.0))


def test_a_derivative_inside_that_closes_over_the_outer_variable() -> None:
    def slope(w: Any) -> Any:
        return lambda t: mh.grad(lambda y: y * y * w)(t)

    three = mh.tensor(3.0)
    assert mh.grad(lambda w: mh.checkpoint(slope(w))(three))(mh.tensor(2.0)).item() == 6.0


def test_another_shape_at_the_second_run_is_told() -> None:
    shapes = iter([(2,), (3,)])
    y = mh.checkpoint(lambda x: mh.broadcast_to(x, next(shapes)))(mh.tensor(1.0, requires_grad=True))
    with pytest.raises(RuntimeError, match="gave another result when backward ran it again"):
        y.sum().backward()


def test_running_again_leaves_recording_as_it_was() -> None:
    x = mh.tensor([1.0, 2.0], requires_grad=True)
    loss = mh.checkpoint(lambda x: (x * x).sum())(x)
    with mh.no_grad():
        grads = loss.backward()
        assert grads[x].tolist() == [2.0, 4.0]
        assert not (x * x).requires_grad, "nothing is recorded in here, as before"
    assert (x * x).requires_grad and recording.depth == 0


def test_a_second_backward_is_refused_here_too() -> None:
    x = mh.tensor([1.0, 2.0], requires_grad=True)
    loss = mh.checkpoint(lambda x: (x * x).sum())(x)
    assert loss.backward(create_graph=True)[x].tolist() == loss.backward()[x].tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="was consumed by an earlier backward"):
        loss.backward()
