"""L-BFGS: where it arrives, beside PyTorch's line search, its memory, and what a closure that fails leaves behind."""

import math

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.optim import LBFGS
from minihybrid.stateful import plain, restored
from tests.reference.optim import Weights, rosenbrock, start

A = mh.Rng(0).normal((6, 6), dtype=np.float64)
A = A @ A.T + 0.1 * np.eye(6)
B = mh.Rng(1).normal(6, dtype=np.float64)


def quadratic(model):
    x = model.params["x"]
    return 0.5 * (x @ (mh.Tensor(A) @ x)) - mh.Tensor(B) @ x


def valley(model):
    return rosenbrock(model.params["x"])


def weights(x):
    return Weights({"x": mh.Param(np.array(x))})


@pytest.mark.parametrize("line_search", [False, True])
def test_a_quadratic_is_solved(line_search):
    model, optim = weights(np.zeros(6)), LBFGS(100, 300, change_tolerance=0, line_search=line_search)
    model, first = optim.step(1.0, model, quadratic)
    assert first == 0.0
    solution = np.linalg.solve(A, B)
    np.testing.assert_allclose(model.params["x"].numpy(), solution, rtol=1e-5, atol=1e-6)
    assert optim.last_loss == pytest.approx(-0.5 * B @ solution, rel=1e-9)


@pytest.mark.parametrize("size", [2, 8])
def test_rosenbrocks_valley_is_followed_to_its_end(size):
    model, optim = weights(start()[:size]), LBFGS(iterations=200, evaluations=1000, line_search=True)
    model, first = optim.step(1.0, model, valley)
    assert first == pytest.approx(float(rosenbrock(start()[:size])))
    at_end = np.tile(1.0, size)
    local = np.array([-1.0, *at_end[1:]])  # from size 4 on the function has a second, local minimum near here
    assert min(np.abs(model.params["x"].numpy() - end).max() for end in (at_end, local)) < 0.05
    assert LBFGS(line_search=True).step(1.0, model, valley)[1] < 4.0


@pytest.mark.parametrize("size", [2, 6])
def test_its_line_search_reaches_as_low_as_pytorchs(size):
    torch = pytest.importorskip("torch", reason="comparing with PyTorch needs torch")
    model, optim = weights(start()[:size] * 0.5), LBFGS(60, 80, change_tolerance=1e-14, line_search=True)
    model, _ = optim.step(1.0, model, valley)
    x = torch.tensor(start()[:size] * 0.5, requires_grad=True)
    options = {"max_iter": 60, "max_eval": 80, "tolerance_change": 1e-14, "line_search_fn": "strong_wolfe"}
    theirs = torch.optim.LBFGS([x], **options)

    def closure():
        theirs.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    theirs.step(closure)
    assert valley(model).item() <= max(rosenbrock(x).item(), 1e-12)


def test_each_step_of_the_search_meets_the_strong_wolfe_conditions():
    seen = []

    class Watched(LBFGS):
        def _strong_wolfe(self, evaluate, move, origin, start, **options):
            found = super()._strong_wolfe(evaluate, move, origin, start, **options)
            seen.append((start, found))
            return found

    Watched(iterations=40, evaluations=200, line_search=True).step(1.0, weights(start()), valley)
    assert len(seen) > 10
    for begin, found in seen[:-2]:  # the last ones may end for want of change
        assert found.loss <= begin.loss + 1e-4 * found.length * begin.slope
        assert abs(found.slope) <= -0.9 * begin.slope


def test_the_loss_never_rises_with_a_line_search():
    model, optim, losses = weights(start()), LBFGS(iterations=3, line_search=True), []
    for _ in range(20):
        model, loss = optim.step(1.0, model, valley)
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)


def test_a_line_search_steps_back_from_where_there_is_no_loss():
    """log is nan beyond the wall at 0, and its gradient far away is so small that the first steps overshoot."""

    def walled(model):
        x = model.params["x"]
        with np.errstate(invalid="ignore"):
            return (x - mh.log(x)).sum()

    model, optim = weights([4.0, 0.5]), LBFGS(iterations=50, evaluations=200, line_search=True)
    model, _ = optim.step(8.0, model, walled)
    np.testing.assert_allclose(model.params["x"].numpy(), 1.0, atol=1e-6)


def test_nothing_moves_without_a_slope():
    model, optim = weights(np.linalg.solve(A, B)), LBFGS(gradient_tolerance=1e-6)
    before = model.params["x"].numpy()
    model, _ = optim.step(1.0, model, quadratic)
    np.testing.assert_array_equal(model.params["x"].numpy(), before)
    model = weights(np.full(6, np.nan))
    model, loss = optim.step(1.0, model, quadratic)
    assert math.isnan(loss)


def test_frozen_and_absent_parameters_stay():
    class Freeze(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.freeze() if path.endswith("frozen") else param

    model = Weights({name: mh.Param(np.ones(6)) for name in ("absent", "frozen", "x")}).map(Freeze())
    model, _ = LBFGS(line_search=True).step(1.0, model, lambda m: quadratic(m) + m.params["frozen"].sum())
    for name in ("absent", "frozen"):
        np.testing.assert_array_equal(model.params[name].numpy(), 1.0)
    assert not np.array_equal(model.params["x"].numpy(), np.ones(6))


def test_the_model_is_consumed_and_graphs_before_the_step_are_stale():
    model = weights(np.zeros(6))
    before = quadratic(model)
    stepped, _ = LBFGS().step(1.0, model, quadratic)
    with pytest.raises(mh.MovedError, match=r"consumed by step\(\) at .*test_lbfgs.py"):
        _ = model.params
    with pytest.raises(mh.MovedError):
        before.backward()
    quadratic(stepped).backward()


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_closure_that_fails_leaves_everything_as_it_was(fails_at):
    model, optim = weights(start()), LBFGS(iterations=3, line_search=True)
    model, _ = optim.step(1.0, model, valley)
    before, state, calls = model.params["x"].numpy(), optim.state(), []

    def failing(model):
        calls.append(None)
        if len(calls) == fails_at:
            raise RuntimeError("no data")
        return valley(model)

    with pytest.raises(RuntimeError, match="no data"):
        optim.step(1.0, model, failing)
    np.testing.assert_array_equal(model.params["x"].numpy(), before)
    same(optim.state(), state)
    twin, fresh = model.clone(), LBFGS(iterations=3, line_search=True)
    fresh.load_state(state, twin)
    ends = [o.step(1.0, m, valley)[0].params["x"].numpy() for o, m in ((optim, model), (fresh, twin))]
    np.testing.assert_array_equal(*ends)


def test_new_values_of_buffers_are_written_once():
    class Counting(mh.Module):
        x: mh.Param
        count: mh.Buffer

        def forward(self):
            y = 0.5 * (self.x * self.x).sum()
            return mh.carry(y, {self.count: self.count.array + 1})

    model, optim = Counting(mh.Param(np.full(2, 3.0)), mh.Buffer(np.zeros(1))), LBFGS(iterations=4)
    for step in range(1, 4):
        model, _ = optim.step(0.1, model, lambda model: model())
        assert model.count.array[0] == step


# State


def same(one, other):
    assert one["numbers"] == other["numbers"]
    assert one["vectors"].keys() == other["vectors"].keys()
    for name, arrays in one["vectors"].items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, other["vectors"][name][key])


@pytest.mark.parametrize("line_search", [False, True])
def test_state_into_a_fresh_one_continues_to_the_bit(line_search):
    make = lambda: LBFGS(iterations=4, history=5, line_search=line_search)  # noqa: E731
    model, optim = weights(start()), make()
    for _ in range(3):
        model, _ = optim.step(0.1, model, valley)
    twin, fresh = model.clone(), make()
    with pytest.raises(ValueError, match="pass the model that it will train"):
        fresh.load_state(optim.state())
    fresh.load_state(optim.state(), twin)
    same(fresh.state(), optim.state())
    for _ in range(2):
        model, loss = optim.step(0.1, model, valley)
        twin, other = fresh.step(0.1, twin, valley)
        assert loss == other
    np.testing.assert_array_equal(model.params["x"].numpy(), twin.params["x"].numpy())
    same(fresh.state(), optim.state())


def test_snapshot_and_restore_are_exact():
    model, optim = weights(start()), LBFGS(iterations=4, line_search=True)
    for fresh in (True, False):
        values, kept, state, ends = model.snapshot(), optim.snapshot(), optim.state(), []
        assert (state["vectors"] == {}) == fresh
        for _ in range(2):
            for _ in range(2):
                model, _ = optim.step(1.0, model, valley)
            ends.append(model.params["x"].numpy())
            model = model.restore(values)
            optim.restore(kept)
            same(optim.state(), state)
        np.testing.assert_array_equal(*ends)
        model, _ = optim.step(1.0, model, valley)


def test_the_memory_follows_the_ids_and_starts_anew_with_other_parameters():
    model, optim = weights(start()), LBFGS(iterations=4, line_search=True)
    model, _ = optim.step(1.0, model, valley)
    twin, fresh = model.clone(), LBFGS(iterations=4, line_search=True)
    fresh.load_state(optim.state(), twin)
    moved, _ = optim.step(1.0, model.clone(), valley)  # other storage, the same parameters
    np.testing.assert_array_equal(moved.params["x"].numpy(), fresh.step(1.0, twin, valley)[0].params["x"].numpy())
    others = [o.step(1.0, weights(start()), valley)[0] for o in (optim, LBFGS(iterations=4, line_search=True))]
    np.testing.assert_array_equal(*(o.params["x"].numpy() for o in others))


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    model, optim = weights(start()), LBFGS(iterations=2)
    model, _ = optim.step(0.01, model, valley)
    state = optim.state()
    other, strange = weights(start()), LBFGS(iterations=2)
    strange.step(0.01, other, valley)
    with pytest.raises(ValueError, match=r"LBFGS: the state's \w+ is of parameters"):
        optim.load_state(strange.state())
    same(optim.state(), state)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"iterations": 0}, "LBFGS: iterations is 0; expected a positive integer"),
        ({"evaluations": 0}, "LBFGS: evaluations is 0"),
        ({"history": 0}, "LBFGS: history is 0"),
        ({"gradient_tolerance": -1.0}, "LBFGS: gradient_tolerance is -1.0"),
        ({"change_tolerance": math.nan}, "LBFGS: change_tolerance is nan"),
    ],
)
def test_what_its_options_refuse(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        LBFGS(**options)


@pytest.mark.parametrize("lr", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_learning_rate_is_refused(lr):
    model = weights(start())
    with pytest.raises(ValueError, match="LBFGS: lr is"):
        LBFGS().step(lr, model, valley)
    assert model.params["x"].shape == (8,)


def test_a_snapshot_that_was_saved_goes_on_with_a_model_of_other_ids():
    model, optim = weights(start()), LBFGS(iterations=4, line_search=True)
    for _ in range(3):
        model, _ = optim.step(1.0, model, valley)
    saved = restored(plain(optim.snapshot()))
    twin, fresh = weights(model.params["x"].numpy()), LBFGS(iterations=4, line_search=True)
    fresh.restore(saved, twin)
    assert fresh.last_loss == optim.last_loss
    for _ in range(2):
        model, loss = optim.step(1.0, model, valley)
        twin, other = fresh.step(1.0, twin, valley)
        assert loss == other
    np.testing.assert_array_equal(model.params["x"].numpy(), twin.params["x"].numpy())
    for strange in (LBFGS(), optim):
        with pytest.raises(ValueError, match="the snapshot was taken of another model's state"):
            strange.restore(fresh.snapshot())
