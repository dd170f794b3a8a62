"""What a recording refuses, and what is left where a compiled step goes wrong: everything as it was."""

import enum
import random
from contextlib import contextmanager

import numpy as np
import pytest

import minihybrid as mh
from minihybrid import optim
from minihybrid.autodiff.trace import PlanError
from tests.train.steps import X, Y, dropping, everything, mlp, train


@contextmanager
def refused(model, optimizer, sentence):
    """The block raises PlanError, and leaves model and optimizer as they were and fit for a step."""
    before = everything(model, optimizer)
    with pytest.raises(PlanError, match=sentence):
        yield
    assert everything(model, optimizer) == before
    train(model, optimizer, X[:16], Y[:16], 0.01)


OUTSIDE = np.ones(3, np.float32)


def test_what_a_plan_would_freeze_is_refused():
    with pytest.raises(PlanError, match=r"uses OUTSIDE from outside, .* Pass it as an argument"):
        mh.compile(lambda x: x + OUTSIDE)
    with pytest.raises(PlanError, match="uses OUTSIDE from outside"):
        mh.compile(lambda x, f: f(x))(X, lambda x: x + OUTSIDE)


@pytest.mark.parametrize("function", [lambda *x: x, lambda *, x: x, lambda **x: x])
def test_arguments_have_names(function):
    with pytest.raises(PlanError, match="name each argument"):
        mh.compile(function)


def test_only_functions_are_compiled():
    with pytest.raises(PlanError, match="expected a function, got MLP"):
        mh.compile(mlp())


READS = {
    "item": lambda loss: loss.item(),
    "float": float,
    "numpy": lambda loss: loss.numpy(),
    "bool": lambda loss: 1 if loss > 1 else 2,
    "print": lambda loss: f"{loss}",
    "tolist": lambda loss: loss.tolist(),
    "index": lambda loss: [1, 2][loss.array.astype(int)],
}


@pytest.mark.parametrize("how", READS)
def test_reading_a_value_is_refused_and_nothing_has_happened(how):
    read = READS[how]

    def step(model, optimizer, x, y, lr):
        model, loss = train(model, optimizer, x, y, lr)
        read(loss)
        return model, loss

    model, optimizer = dropping(), optim.Adam()
    model, _ = train(model, optimizer, X[:16], Y[:16], 0.01)
    with refused(model, optimizer, "inside a compiled step"):
        mh.compile(step)(model, optimizer, X[:16], Y[:16], 0.01)


@pytest.mark.parametrize("how", [float, int, lambda n: [1, 2, 3][n], None])
def test_a_number_that_decides_on_shapes_is_refused(how):
    with pytest.raises(PlanError, match="another in each call"):
        mh.compile(lambda x, n: (x, how(n) if how else mh.Tensor(x)[n]))(X, 1)


def test_random_numbers_behind_the_recorders_back_are_noticed():
    class Noisy(mh.Module):
        weight: mh.Param
        rng: mh.Rng

        def forward(self, x):
            return x @ self.weight + self.rng.normal((5,))

    model, optimizer = Noisy(mh.Param(np.ones((12, 5), np.float32)), mh.Rng(0)), optim.SGD()
    model, _ = train(model, optimizer, X[:16], Y[:16], 0.01)
    with refused(model, optimizer, "the random stream rng"):
        mh.compile(train)(model, optimizer, X[:16], Y[:16], 0.01)


def test_a_model_that_is_stepped_is_returned():
    def step(model, optimizer, x, y):
        train(model, optimizer, x, y, 0.1)
        return x

    model = mlp()
    with pytest.raises(PlanError, match="model is changed by the step, and not returned"):
        mh.compile(step)(model, optim.SGD(), X[:16], Y[:16])
    model.num_params()


@pytest.mark.parametrize("rebuilt", [lambda m: m.valid(), lambda m: m.train(), lambda m: m.map(mh.ModuleMapper())])
def test_a_model_that_is_rebuilt_is_refused(rebuilt):
    with pytest.raises(PlanError, match="rebuild models"):
        mh.compile(lambda model, x: (rebuilt(model), x))(mlp(), X)


REFUSED = [mh.tensor(1.0, requires_grad=True), mh.Rng(0), mh.Param(OUTSIDE), np.random.default_rng(0), iter([1])]
REFUSED += [{enum.Enum("Kind", "DOUBLE").DOUBLE: 1}, {"a"}, object(), optim.GradientsParams()]


@pytest.mark.parametrize("value", REFUSED)
def test_arguments_that_a_plan_cannot_be_given(value):
    with pytest.raises(PlanError, match="a step takes models, optimizers"):
        mh.compile(lambda x: x)(value)


def test_a_view_for_evaluation_is_refused_and_a_clone_is_not():
    evaluate, model = mh.compile(lambda model, x: model(mh.Tensor(x))), dropping()
    with pytest.raises(PlanError, match=r"model is a view borrowed by valid\(\)"):
        evaluate(model.valid(), X)
    view = model.valid().clone()
    assert evaluate(view, X).tolist() == evaluate(view, X).tolist() == model.valid()(mh.Tensor(X)).tolist()


def test_models_that_share_parameters_are_refused():
    class Pair(mh.Module):
        one: mh.nn.MLP
        two: mh.nn.MLP

    pair = Pair(mlp(), mlp())
    for args in ((pair, pair.one), (pair.two, pair)):
        with pytest.raises(PlanError, match="two of the models share parameters"):
            mh.compile(lambda first, second, x: x)(*args, X)
    compiled = mh.compile(lambda first, second, x: (first(mh.Tensor(x)), second(mh.Tensor(x))))
    first, second = compiled(pair.one, pair.one, X)
    assert first.tolist() == second.tolist() == pair.one(mh.Tensor(X)).tolist()


@pytest.mark.parametrize("draw", [lambda: np.random.normal(), lambda: random.random()])
def test_hidden_random_streams_are_refused(draw):
    with pytest.raises(PlanError, match="random stream of NumPy's or Python's"):
        mh.compile(lambda x: x + draw())(X)


def test_arguments_are_not_written_to():
    def shift(x):
        x += 1
        return x * 2

    x = X.copy()
    with pytest.raises(PlanError, match="writes into an array that it was given"):
        mh.compile(shift)(x)
    assert (x == X).all()


def test_results_that_a_plan_cannot_give():
    with pytest.raises(PlanError, match="returns a Gradients; a compiled step returns models"):
        mh.compile(lambda model, x: mh.sum(model(mh.Tensor(x))).backward())(mlp(), X)


def test_two_steps_of_one_optimizer_are_refused():
    def twice(model, optimizer, x, y):
        model, _ = train(model, optimizer, x, y, 0.1)
        return train(model, optimizer, x, y, 0.1)

    with pytest.raises(PlanError, match="two steps"):
        mh.compile(twice)(mlp(), optim.Adam(), X[:16], Y[:16])


def test_an_optimizer_of_two_models_is_refused_and_goes_on():
    def both(one, two, optimizer, x, y):
        return train(one, optimizer, x, y, 0.1)[0], train(two, optimizer, x, y, 0.1)[0]

    def other(one, two, optimizer, x, y):
        return one, train(two, optimizer, x, y, 0.1)[0]

    for function in (both, other):
        one, two, optimizer = mlp(0), mlp(1), optim.Adam()
        one, _ = train(one, optimizer, X, Y, 0.1)
        before = everything(one, optimizer), everything(two, optimizer)
        with pytest.raises(PlanError, match=r"two steps|another model"):
            mh.compile(function)(one, two, optimizer, X, Y)
        assert (everything(one, optimizer), everything(two, optimizer)) == before
        train(one, optimizer, X, Y, 0.1)


def test_an_optimizer_that_is_made_inside_is_refused():
    def step(model, x, y):
        return train(model, optim.Adam(), x, y, 0.1)

    with pytest.raises(PlanError, match="does not leave the weights 0 as the step itself"):
        mh.compile(step)(mlp(), X, Y)


def test_a_step_that_changes_what_it_decides_by_is_refused():
    first = True

    def step(x):
        nonlocal first
        factor, first = 2 if first else 3, False
        return x * factor

    with pytest.raises(PlanError, match="changes what it decides by"):
        mh.compile(step)(X)


def test_lbfgs_is_refused():
    def step(model, optimizer, x, y):
        return optimizer.step(1.0, model, lambda m: mh.nn.cross_entropy(m(mh.Tensor(x)), y))

    with pytest.raises(PlanError, match="optimizer is a LBFGS"):
        mh.compile(step)(mlp(), optim.LBFGS(), X, Y)


def test_a_tensor_that_was_kept_is_refused_afterwards():
    kept = []

    def step(x):
        kept.append(mh.Tensor(x) * 2)
        return x

    mh.compile(step)(X)
    with pytest.raises(PlanError, match="was kept"):
        kept[0] + 1


def test_compiled_functions_are_not_nested():
    inner = mh.compile(lambda x: x * 2)
    with pytest.raises(PlanError, match="inside another one"):
        mh.compile(lambda x: inner(x))(X)


def test_shapes_that_depend_on_values_are_refused():
    with pytest.raises(PlanError, match="where"):
        mh.compile(lambda x: mh.Tensor(x)[x > 0])(X)


# What goes wrong in a replay


@pytest.mark.parametrize("first", [False, True])
def test_a_label_out_of_range_raises_and_the_model_is_as_it_was(first):
    compiled, model, optimizer = mh.compile(train), mlp(), optim.Adam()
    model, _ = (train if first else compiled)(model, optimizer, X[:16], Y[:16], 0.01)
    before = everything(model, optimizer)
    with pytest.raises(IndexError, match="labels range from"):
        compiled(model, optimizer, X[:16], Y[:16] + 5, 0.01)
    assert everything(model, optimizer) == before
    model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.01)
    assert len(compiled.plans) == 1


def test_an_error_of_the_users_function_leaves_everything_as_it_was():
    def failing(model, optimizer, x, y, lr):
        model, _ = train(model, optimizer, x, y, lr)
        raise KeyError("nobody knows")

    model, optimizer = dropping(), optim.Adam()
    model, _ = train(model, optimizer, X, Y, 0.01)
    before = everything(model, optimizer)
    with pytest.raises(KeyError, match="nobody knows"):
        mh.compile(failing)(model, optimizer, X, Y, 0.01)
    assert everything(model, optimizer) == before
    train(model, optimizer, X, Y, 0.01)


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_makes_no_sense_raises_as_ever(lr):
    compiled, model, optimizer = mh.compile(train), mlp(), optim.Adam()
    model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.01)
    with pytest.raises(ValueError, match="the learning rate is"):
        compiled(model, optimizer, X[:16], Y[:16], lr)
    compiled(model, optimizer, X[:16], Y[:16], 0.01)


def test_a_consumed_model_says_so():
    compiled, model, optimizer = mh.compile(train), mlp(), optim.Adam()
    compiled(model, optimizer, X[:16], Y[:16], 0.01)
    with pytest.raises(mh.MovedError, match=r"consumed by step\(\) at .*test_recording.py"):
        compiled(model, optimizer, X[:16], Y[:16], 0.01)


def test_a_graph_from_before_a_replay_is_stale():
    compiled, model, optimizer = mh.compile(train), mlp(), optim.Adam()
    model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.01)
    loss = mh.nn.cross_entropy(model(mh.Tensor(X)), Y)
    model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.01)
    with pytest.raises(mh.MovedError):
        loss.backward()


def test_another_model_is_another_plan():
    compiled, states = mh.compile(train), []
    for seed in (0, 1):
        model, optimizer = mlp(seed), optim.Adam()
        for _ in range(2):
            model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.01)
        states.append(everything(model, optimizer))
    assert len(compiled.plans) == 2 and states[0] != states[1]
    model, optimizer = mlp(1), optim.Adam()
    for _ in range(2):
        model, _ = train(model, optimizer, X[:16], Y[:16], 0.01)
    assert states[1] == everything(model, optimizer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_number_is_the_same_no_number_whatever_its_sign_and_payload(dtype):
    from minihybrid.train.recording import _bits

    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    one, other = (np.array([1.0, np.nan, 0.0], dtype) for _ in range(2))
    other.view(unsigned)[1] |= unsigned.type(1) << unsigned.type(8 * unsigned.itemsize - 1)
    other.view(unsigned)[1] += unsigned.type(3)
    assert one.tobytes() != other.tobytes() and _bits(one) == _bits(other)
    other[2] = -0.0
    assert _bits(one) != _bits(other), "zeros have a sign"
