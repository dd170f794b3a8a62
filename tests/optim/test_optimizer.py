"""The optimizer around a rule: twins, segments, skipped parameters, state, rollback, and who owns what."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import minihybrid as mh
from minihybrid.optim import SGD, Adam, GradientsParams, Optimizer

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
dtypes = st.sampled_from([np.float32, np.float64])
per_rule = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def random(seed, shape, dtype=np.float64):
    return mh.Rng(seed).normal(shape, dtype=dtype)


def same(one, other):
    """Equal names, and equal bits under each."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def same_state(one, other):
    assert one["steps"] == other["steps"]
    assert one["moments"].keys() == other["moments"].keys()
    for name, arrays in one["moments"].items():
        same(arrays, other["moments"][name])


@per_rule
@given(shape=shapes, dtype=dtypes, seed=st.integers(0, 1000), lr=st.sampled_from([0.0, 1e-3, 0.5]))
def test_in_place_equals_the_readable_twin(rule, shape, dtype, seed, lr):
    optim, rng = rule(), mh.Rng(seed)
    w = rng.normal(shape, dtype=dtype)
    moments = {name: np.zeros(shape, dtype) for name in optim.moments}
    w_twin, twins = w.copy(), {name: m.copy() for name, m in moments.items()}
    tolerance = 100 * np.finfo(dtype).eps
    for t in range(1, 6):
        g = rng.normal(shape, dtype=dtype)
        expected, twins = optim.update(w_twin, g.copy(), twins, lr, t)
        optim.update_in_place(w, g, moments, lr, t, np.full(shape, np.nan, dtype))
        w_twin = np.asarray(expected)
        assert w_twin.dtype == w.dtype == dtype
        np.testing.assert_allclose(w, w_twin, rtol=tolerance, atol=tolerance)
        for name, moment in moments.items():
            np.testing.assert_allclose(moment, twins[name], rtol=tolerance, atol=tolerance)
            assert np.asarray(twins[name]).dtype == dtype


@per_rule
@given(shapes=st.lists(shapes, min_size=1, max_size=4), dtype=dtypes, seed=st.integers(0, 1000))
def test_the_whole_vector_steps_like_each_parameter_by_itself(bench, rule, shapes, dtype, seed):
    rng = mh.Rng(seed)
    arrays = {f"p{i}": rng.normal(shape, dtype=dtype) for i, shape in enumerate(shapes)}
    gradients = [{name: rng.normal(a.shape, dtype=dtype) for name, a in arrays.items()} for _ in range(3)]
    whole, optim = bench.model(**arrays), rule()
    for g in gradients:
        whole = optim.step(0.1, whole, bench.grads(whole, **g))
    for name, array in arrays.items():
        alone, optim = bench.model(**{name: array}), rule()
        for g in gradients:
            alone = optim.step(0.1, alone, bench.grads(alone, **{name: g[name]}))
        np.testing.assert_array_equal(whole.params[name].numpy(), alone.params[name].numpy())


presence = st.lists(st.sets(st.sampled_from("abcde")), min_size=1, max_size=6)


@per_rule
@given(present=presence, dtype=dtypes)
def test_segments_with_different_step_counts_equal_training_each_parameter_alone(bench, rule, present, dtype):
    arrays = {name: random(i, (i + 1, 2), dtype) for i, name in enumerate("abcde")}
    gradients = {
        (t, name): random(10 * t + i, arrays[name].shape, dtype) for t in range(6) for i, name in enumerate("abcde")
    }
    together, optim = bench.model(**arrays), rule()
    alone = {name: (bench.model(**{name: array}), rule()) for name, array in arrays.items()}
    for t, names in enumerate(present):
        g = {name: gradients[t, name] for name in names}
        together = optim.step(0.1, together, bench.grads(together, **g))
        for name in names:
            model, own = alone[name]
            alone[name] = own.step(0.1, model, bench.grads(model, **{name: g[name]})), own
    state = optim.state()
    for name, (model, own) in alone.items():
        id, own_id, own_state = str(together.params[name].id), str(model.params[name].id), own.state()
        np.testing.assert_array_equal(together.params[name].numpy(), model.params[name].numpy())
        assert state["steps"][id] == own_state["steps"].get(own_id, 0) == sum(name in names for names in present)
        for moment, known in own_state["moments"].items():
            np.testing.assert_array_equal(state["moments"][moment][id], known.get(own_id, 0.0))


def test_equal_neighbours_step_as_one_segment(bench):
    model, optim = bench.model(a=np.ones(2), b=np.ones(3), c=np.ones(4)), Adam()
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2), b=np.ones(3), c=np.ones(4)))
    assert [(segment.first, segment.last) for segment in optim._segments] == [(0, 2)]
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2), c=np.ones(4)))
    assert [(segment.first, segment.last) for segment in optim._segments] == [(0, 0), (2, 2)]
    optim.step(0.1, model, bench.grads(model, a=np.ones(2), b=np.ones(3), c=np.ones(4)))
    assert [(segment.first, segment.last) for segment in optim._segments] == [(0, 0), (1, 1), (2, 2)]


def test_a_parameter_without_a_gradient_is_skipped_entirely(bench, rule):
    model, optim = bench.model(a=np.ones(2), b=np.ones(3)), rule()
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2), b=np.ones(3)))
    value, state, id = model.params["b"].numpy(), optim.state(), str(model.params["b"].id)
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2)))
    np.testing.assert_array_equal(model.params["b"].numpy(), value)
    assert optim.state()["steps"][id] == state["steps"][id] == 1
    for name, moments in optim.state()["moments"].items():
        np.testing.assert_array_equal(moments[id], state["moments"][name][id])


def test_no_gradient_at_all_changes_nothing_but_the_handle(bench, rule):
    model = bench.model(a=np.ones(2))
    stepped = rule().step(0.1, model, GradientsParams())
    np.testing.assert_array_equal(stepped.params["a"].numpy(), 1.0)
    with pytest.raises(mh.MovedError):
        _ = model.params


class Two(mh.Module):
    first: mh.nn.Linear
    second: mh.nn.Linear

    def forward(self, x):
        return self.second(mh.tanh(self.first(x)))


def two(seed=0, dtype="float64"):
    rng = mh.Rng(seed)
    make = lambda n, m: mh.nn.LinearConfig(n, m).init(rng=rng, dtype=dtype)  # noqa: E731
    return Two(make(4, 3), make(3, 2))


X = random(99, (6, 4))
Y = random(98, (6, 2))


def trained(model, optim, steps=1, lr=0.05):
    for _ in range(steps):
        grads = GradientsParams.from_grads(mh.nn.mse(model(mh.Tensor(X)), Y).backward(), model)
        model = optim.step(lr, model, grads)
    return model


def weights(model):
    return {path: param.numpy() for path, param in model.named_params().items()}


def test_frozen_parameters_stay_and_others_train(rule):
    class FreezeFirst(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.freeze() if path.startswith("first") else param

    model = two().map(FreezeFirst())
    before, optim = weights(model), rule()
    model = trained(model, optim, 3)
    after = weights(model)
    for path in before:
        assert np.array_equal(before[path], after[path]) == path.startswith("first"), path
    assert optim.state()["steps"][str(model.first.weight.id)] == 0
    assert optim.state()["steps"][str(model.second.weight.id)] == 3
    assert not model.first.weight.requires_grad and model.second.weight.requires_grad


class Tied(mh.Module):
    once: mh.Param
    again: mh.Param

    def forward(self, x):
        return x * self.once + self.again


def test_a_tied_parameter_is_updated_once_with_both_contributions(rule):
    w, x = random(0, (3,)), random(1, (3,))
    param = mh.Param(w)
    model, optim = Tied(param, param), rule()
    single, own = Tied(mh.Param(w), mh.Param(np.zeros(3))), rule()
    for _ in range(3):
        model = optim.step(0.1, model, GradientsParams.from_grads(mh.sum(model(x) * model(x)).backward(), model))
        value = single.once.numpy()
        grads = GradientsParams()
        grads.register(single.once.id, mh.Tensor(2 * (x * value + value) * (x + 1)))
        single = own.step(0.1, single, grads)
    np.testing.assert_allclose(model.once.numpy(), single.once.numpy(), rtol=1e-12)
    assert model.once is model.again
    assert list(optim.state()["steps"].values()) == [3]


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf"), -float("inf")])
def test_a_bad_learning_rate_raises_and_changes_nothing(bench, rule, lr):
    model, optim = bench.model(a=np.ones(2)), rule()
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2)))
    before, state, grads = model.params["a"].numpy(), optim.state(), bench.grads(model, a=np.ones(2))
    with pytest.raises(
        ValueError, match=r"step: the learning rate is .*; expected a finite number that is not negative"
    ):
        optim.step(lr, model, grads)
    np.testing.assert_array_equal(model.params["a"].numpy(), before)
    same_state(optim.state(), state)
    optim.step(0.1, model, grads)  # neither the model nor the gradients were consumed


def test_learning_rate_zero_moves_moments_but_no_weight(bench, rule):
    model, optim = bench.model(a=np.ones(2)), rule()
    model = optim.step(0.0, model, bench.grads(model, a=np.ones(2)))
    np.testing.assert_array_equal(model.params["a"].numpy(), 1.0)
    assert list(optim.state()["steps"].values()) == [1]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_numpy_learning_rate_steps_like_a_python_one(bench, rule, kind):
    results = []
    for lr in (kind(0.1), float(kind(0.1))):
        model = bench.model(a=random(0, (50,), np.float32))
        results.append(rule().step(lr, model, bench.grads(model, a=random(1, (50,), np.float32))).params["a"].numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("gradient", "error", "sentence"),
    [
        (np.ones(3), ValueError, r"has shape \(3,\); expected its parameter's \(2,\)"),
        (np.ones(2, np.float32), TypeError, r"is float32; expected its parameter's float64"),
    ],
)
def test_a_gradient_that_does_not_fit_raises_and_changes_nothing(bench, rule, gradient, error, sentence):
    model, optim = bench.model(a=np.ones(2), b=np.ones(1)), rule()
    for _ in range(2):  # before and after the first step
        before, state = bench.values(model), optim.state()
        with pytest.raises(error, match=sentence):
            optim.step(0.1, model, bench.grads(model, b=np.ones(1), a=gradient))
        same(bench.values(model), before)
        same_state(optim.state(), state)
        model = optim.step(0.1, model, bench.grads(model, a=np.ones(2), b=np.ones(1)))


def test_a_gradient_of_another_models_parameter_raises(bench, rule):
    model, other = bench.model(a=np.ones(2)), bench.model(a=np.ones(2))
    with pytest.raises(KeyError, match="belongs to no parameter of this model"):
        rule().step(0.1, model, bench.grads(other, a=np.ones(2)))
    np.testing.assert_array_equal(model.params["a"].numpy(), 1.0)


def test_a_rule_may_be_nothing_but_its_formula():
    class SignDescent(Optimizer):
        moments = ("seen",)

        def update(self, w, g, moments, lr, t):
            return w - lr * np.sign(g), {"seen": moments["seen"] + 1}

    model, optim = two(), SignDescent()
    before = weights(model)
    model = trained(model, optim, 2)
    assert not np.array_equal(weights(model)["first.weight"], before["first.weight"])
    np.testing.assert_array_equal(optim.state()["moments"]["seen"][str(model.first.bias.id)], 2.0)


def test_a_rule_without_a_formula_says_so(bench):
    model = bench.model(a=np.ones(2))
    with pytest.raises(TypeError, match=r"Optimizer defines no update\(\)"):
        Optimizer().step(0.1, model, bench.grads(model, a=np.ones(2)))


# State


def test_a_fresh_state_names_the_moments_and_nothing_else(rule):
    optim = rule()
    assert optim.state() == {"steps": {}, "moments": {name: {} for name in optim.moments}}
    optim.load_state(optim.state())


def test_state_is_a_copy_in_the_parameters_shapes(rule):
    model, optim = two(), rule()
    model = trained(model, optim, 2)
    state, kept = optim.state(), copy.deepcopy(optim.state())
    params = {str(p.id): p for p in model.named_params().values()}
    assert set(state["steps"]) == set(params) and set(state["steps"].values()) == {2}
    for arrays in state["moments"].values():
        assert {id: a.shape for id, a in arrays.items()} == {id: p.shape for id, p in params.items()}
    trained(model, optim)
    same_state(state, kept)


def test_state_into_a_fresh_optimizer_with_a_clone_continues_to_the_bit(rule):
    model, optim = two(), rule()
    model = trained(model, optim, 3)
    twin, fresh = model.clone(), rule()
    fresh.load_state(optim.state(), twin)
    model, twin = trained(model, optim, 4), trained(twin, fresh, 4)
    same(weights(model), weights(twin))
    same_state(optim.state(), fresh.state())


def test_state_back_into_the_same_optimizer_continues_to_the_bit(rule):
    model, optim = two(), rule()
    model = trained(model, optim, 2)
    values, state = model.snapshot(), optim.state()
    model = trained(model, optim, 3)
    there, there_state = weights(model), optim.state()
    optim.load_state(state)
    model = trained(model.restore(values), optim, 3)
    same(weights(model), there)
    same_state(optim.state(), there_state)


def test_an_empty_state_starts_every_parameter_anew(rule):
    model, optim = two(), rule()
    start, values = optim.state(), model.snapshot()
    model = trained(model, optim, 3)
    first = weights(model)
    optim.load_state(start)
    model = trained(model.restore(values), optim, 3)
    same(weights(model), first)


def test_load_state_before_the_first_step_asks_for_the_model(rule):
    model, optim = two(), rule()
    trained(model, optim)
    with pytest.raises(ValueError, match="pass the model that it will train"):
        rule().load_state(optim.state())


def test_load_state_of_another_rule_or_shape_raises_and_changes_nothing():
    model, adam, sgd = two(), Adam(), SGD(momentum=0.9)
    model = trained(model, adam)
    kept, state = adam.state(), adam.state()
    with pytest.raises(ValueError, match=r"SGD keeps the moments \['momentum'\], the state has \['m', 'v'\]"):
        sgd.load_state(state, model)
    state["moments"]["v"][str(model.second.bias.id)] = np.zeros(7)
    state["moments"]["m"][str(model.first.bias.id)] += 1
    with pytest.raises(ValueError, match=r"v of \w{13} has shape \(7,\); expected its parameter's \(2,\)"):
        adam.load_state(state)
    same_state(adam.state(), kept)


def test_a_loaded_state_does_not_follow_the_arrays_it_came_from(rule):
    model, optim = two(), rule()
    model = trained(model, optim)
    fresh, state = rule(), optim.state()
    fresh.load_state(state, model)
    for arrays in state["moments"].values():
        for array in arrays.values():
            array += 1
    same_state(fresh.state(), optim.state())


def test_the_state_follows_the_ids_through_a_clone(rule):
    model, optim = two(), rule()
    model = trained(model, optim, 2)
    twin, twin_optim = model.clone(), rule()
    twin_optim.load_state(optim.state(), twin)
    moved = trained(model.clone(), optim, 2)  # the same optimizer goes on with other storage
    same(weights(moved), weights(trained(twin, twin_optim, 2)))


def test_snapshot_and_restore_are_exact(rule):
    model, optim = two(), rule()
    model = trained(model, optim, 2)
    values, moments, state = model.snapshot(), optim.snapshot(), optim.state()
    model = trained(model, optim, 3)
    there = weights(model)
    model = model.restore(values)
    optim.restore(moments)
    same_state(optim.state(), state)
    model = trained(model, optim, 3)
    same(weights(model), there)
    optim.restore(moments)  # a snapshot serves again
    same_state(optim.state(), state)


def test_a_snapshot_of_a_fresh_optimizer_restores_to_fresh(rule):
    model, optim = two(), rule()
    values, moments = model.snapshot(), optim.snapshot()
    model = trained(model, optim, 3)
    there = weights(model)
    optim.restore(moments)
    assert optim.state() == rule().state()
    model = trained(model.restore(values), optim, 3)
    same(weights(model), there)


def test_restore_brings_back_different_step_counts(bench, rule):
    """The detour evens the counts out, so its last step takes a and b as one segment; the next one may not."""
    model, optim = bench.model(a=np.ones(2), b=np.ones(3)), rule()
    model = optim.step(0.1, model, bench.grads(model, a=np.ones(2)))
    moments, values = optim.snapshot(), model.snapshot()
    ends = []
    for detour in ([], ["b", "ab"]):
        for names in detour:
            model = optim.step(0.1, model, bench.grads(model, **{n: np.ones(model.params[n].shape) for n in names}))
        optim.restore(moments)
        model = model.restore(values)
        model = optim.step(0.1, model, bench.grads(model, a=np.full(2, 0.3), b=np.full(3, 0.3)))
        ends.append((bench.values(model), optim.state()))
        optim.restore(moments)
        model = model.restore(values)
    same(ends[0][0], ends[1][0])
    same_state(ends[0][1], ends[1][1])


def test_restore_refuses_a_snapshot_of_another_model(rule):
    optim, other = rule(), rule()
    trained(two(0), optim)
    trained(two(1), other)
    with pytest.raises(ValueError, match="the snapshot was taken of another model's state"):
        optim.restore(other.snapshot())


def test_one_optimizer_for_two_models_that_share_a_layer_forgets_neither(rule):
    """A and B share `first`, so each step repacks; the moments of what only the other holds must wait for it."""
    shared, a, b = (
        mh.nn.LinearConfig(*size).init(rng=mh.Rng(i), dtype="float64")
        for i, size in enumerate([(4, 3), (3, 2), (3, 2)])
    )
    one, other, optim = Two(shared, a), Two(shared, b), rule()
    arrays = {"s": shared.weight.numpy(), "t": shared.bias.numpy(), "a": a.weight.numpy(), "c": a.bias.numpy()}
    arrays |= {"b": b.weight.numpy(), "d": b.bias.numpy()}
    alone = {name: (array, {m: np.zeros_like(array) for m in optim.moments}, 0) for name, array in arrays.items()}
    for turn in itertools.islice(itertools.cycle([0, 1]), 6):
        model, names = (one, "stac") if turn == 0 else (other, "stbd")
        grads = GradientsParams.from_grads(mh.nn.mse(model(mh.Tensor(X)), Y).backward(), model)
        for name, (_, gradient) in zip(names, list(grads.items()), strict=True):
            w, moments, t = alone[name]
            alone[name] = (*optim.update(w, gradient.numpy(), moments, 0.05, t + 1), t + 1)
        model = optim.step(0.05, model, grads)
        one, other = (model, other) if turn == 0 else (one, model)
    for model, names in ((one, "stac"), (other, "stbd")):
        for name, param in zip(names, model.named_params().values(), strict=True):
            np.testing.assert_allclose(param.numpy(), alone[name][0], rtol=1e-10, atol=1e-12)
            assert optim.state()["steps"][str(param.id)] == alone[name][2]


def test_options_are_checked_in_a_sentence():
    for make, sentence in [
        (lambda: SGD(momentum=1.0), r"SGD: momentum is 1.0; expected a number in \[0, 1\)"),
        (lambda: SGD(momentum=-0.1), "SGD: momentum is -0.1"),
        (lambda: SGD(nesterov=True), "SGD: nesterov is True; expected False without momentum"),
        (lambda: SGD(weight_decay=-1), "SGD: weight_decay is -1; expected a number that is not negative"),
        (lambda: Adam(betas=(0.9, 1.0)), r"Adam: betas is \(0.9, 1.0\); expected two numbers in \[0, 1\)"),
        (lambda: Adam(betas=(0.9,)), "Adam: betas is"),
        (lambda: Adam(betas=(float("nan"), 0.9)), "Adam: betas is"),
        (lambda: Adam(eps=0), "Adam: eps is 0; expected a positive number"),
        (lambda: mh.optim.AdamW(weight_decay=-0.1), "AdamW: weight_decay is -0.1"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            make()


def test_a_snapshot_is_restored_also_after_one_from_before_the_first_step():
    rng = mh.Rng(0)
    model, optimizer = mh.nn.LinearConfig(3, 2).init(rng), mh.optim.Adam()
    x = mh.Tensor(rng.normal((4, 3)))

    def step(model):
        return optimizer.step(0.1, model, GradientsParams.from_grads((model(x) ** 2).sum().backward(), model))

    nothing = optimizer.snapshot()
    model = step(model)
    once, bits = optimizer.snapshot(), {name: vector.copy() for name, vector in optimizer._vectors.items()}
    model = step(model)
    optimizer.restore(nothing)
    optimizer.restore(once, model)  # as it knows no model any more
    assert {name: vector.tobytes() for name, vector in optimizer._vectors.items()} == {
        name: vector.tobytes() for name, vector in bits.items()
    }
    step(model)
