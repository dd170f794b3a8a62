"""What holds for every optimizer and every wrapper: state, rollback, skipped parameters, dtypes, readout."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Ema,
    GradientsParams,
    Grouped,
    Lion,
    Lookahead,
    Muon,
    RMSprop,
    ScheduleFreeAdamW,
    Swa,
)
from minihybrid.stateful import plain, restored

EVERY = {
    "amsgrad": lambda: Adam(betas=(0.5, 0.6), amsgrad=True),
    "amsgrad-w": lambda: AdamW(betas=(0.5, 0.6), weight_decay=0.3, amsgrad=True),
    "adagrad": lambda: Adagrad(),
    "adagrad-all": lambda: Adagrad(0.1, 1e-6, 0.1, 0.2),
    "adadelta": lambda: Adadelta(),
    "adadelta-all": lambda: Adadelta(0.8, 1e-3, 0.1),
    "rmsprop": lambda: RMSprop(),
    "rmsprop-momentum": lambda: RMSprop(momentum=0.9),
    "rmsprop-all": lambda: RMSprop(0.9, 1e-6, 0.8, True, 0.1),
    "lion": lambda: Lion(),
    "lion-all": lambda: Lion((0.8, 0.95), 0.2),
    "schedule-free": lambda: ScheduleFreeAdamW(),
    "schedule-free-all": lambda: ScheduleFreeAdamW((0.8, 0.95), 1e-6, 0.1),
    "ema": lambda: Ema(Adam(), 0.9),
    "swa": lambda: Swa(SGD(momentum=0.9), start=1, every=2),
    "lookahead": lambda: Lookahead(Adam(), k=2, alpha=0.5),
    "lookahead-one": lambda: Lookahead(SGD(), k=3, alpha=1.0),
    "grouped": lambda: Grouped({"*.bias": SGD(momentum=0.9), "first.*": (Lion(), 0.1), "*": AdamW()}),
    "muon": lambda: Grouped({"*.weight": Muon(), "*": Adam()}),
    "ema-grouped": lambda: Ema(Grouped({"*.weight": Muon(nesterov=False), "*": RMSprop()}), 0.9),
    "grouped-ema": lambda: Grouped({"first.*": Ema(Adam(), 0.9), "*": Lookahead(Lion(), 2)}),
    "lookahead-free": lambda: Lookahead(ScheduleFreeAdamW(), k=2),
}
ELEMENTWISE = [name for name in EVERY if not name.startswith(("grouped", "muon", "ema-grouped"))]


@pytest.fixture(params=EVERY.values(), ids=EVERY.keys())
def make(request):
    return request.param


class Two(mh.Module):
    first: mh.nn.Linear
    second: mh.nn.Linear

    def forward(self, x):
        return self.second(mh.tanh(self.first(x)))


def two(seed=0, dtype="float64"):
    rng = mh.Rng(seed)
    return Two(*(mh.nn.LinearConfig(n, m).init(rng=rng, dtype=dtype) for n, m in ((4, 3), (3, 2))))


X, Y = mh.Rng(99).normal((6, 4), dtype=np.float64), mh.Rng(98).normal((6, 2), dtype=np.float64)


def trained(model, optim, steps=1, without=()):
    """Steps on one batch; the parameters at the paths `without` get no gradient."""
    for _ in range(steps):
        dtype = model.first.weight.dtype
        loss = mh.nn.mse(model(mh.Tensor(X.astype(dtype))), Y.astype(dtype))
        grads = GradientsParams.from_grads(loss.backward(), model)
        for path in without:
            grads.remove(model.named_params()[path].id)
        model = optim.step(0.05, model, grads)
    return model


def weights(model):
    return {path: param.numpy() for path, param in model.named_params().items()}


def same(one, other):
    """Equal to the bit, whatever the nesting."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place_equals_the_readable_twin(name, dtype):
    optim, rng, tolerance = EVERY[name](), mh.Rng(0), 300 * np.finfo(dtype).eps
    w = rng.normal((7, 3), dtype=dtype)
    moments = {moment: np.zeros((7, 3), dtype) for moment in optim.moments}
    expected, twins = w.copy(), {moment: array.copy() for moment, array in moments.items()}
    for t in range(1, 8):
        g = rng.normal((7, 3), dtype=dtype)
        expected, twins = optim.update(expected, g.copy(), twins, 0.05, t)
        optim.update_in_place(w, g, moments, 0.05, t, np.full((7, 3), np.nan, dtype))
        np.testing.assert_allclose(w, expected, rtol=tolerance, atol=tolerance)
        for moment, array in moments.items():
            assert twins[moment].dtype == dtype
            np.testing.assert_allclose(array, twins[moment], rtol=tolerance, atol=tolerance)


def test_it_learns(make):
    model, optim = two(), make()
    loss = lambda model: mh.nn.mse(model(mh.Tensor(X)), Y).item()  # noqa: E731
    before = loss(model)
    model = trained(model, optim, 30)
    assert loss(model) < before and loss(optim.readout(model)) < before


def test_float32_stays_float32(make):
    model, optim = two(dtype="float32"), make()
    model = trained(model, optim, 3)

    def check(state):
        for value in state.values() if isinstance(state, dict) else ():
            if isinstance(value, np.ndarray):
                assert value.dtype == np.float32
            else:
                check(value)

    check(optim.state())
    assert optim.readout(model).first.weight.dtype == np.float32


def test_state_into_a_fresh_optimizer_continues_to_the_bit(make):
    model, optim = two(), make()
    model = trained(trained(model, optim, 2), optim, 1, ["second.bias"])
    twin, fresh = model.clone(), make()
    fresh.load_state(optim.state(), twin)
    same(fresh.state(), optim.state())
    same(weights(fresh.readout(twin)), weights(optim.readout(model)))
    model, twin = trained(model, optim, 3), trained(twin, fresh, 3)
    same(weights(model), weights(twin))
    same(optim.state(), fresh.state())


def test_state_back_into_the_same_optimizer_continues_to_the_bit(make):
    model, optim = two(), make()
    model = trained(model, optim, 3)
    values, state = model.snapshot(), optim.state()
    model = trained(model, optim, 2)
    there, there_state = weights(model), optim.state()
    optim.load_state(state)
    same(optim.state(), state)
    model = trained(model.restore(values), optim, 2)
    same(weights(model), there)
    same(optim.state(), there_state)


@pytest.mark.parametrize("before", [0, 3])
def test_snapshot_and_restore_are_exact(make, before):
    model, optim = two(), make()
    model = trained(model, optim, before)
    values, kept, state = model.snapshot(), optim.snapshot(), optim.state()
    ends = []
    for detour in (0, 2):
        model = trained(model, optim, detour, ["first.weight"])
        model = model.restore(values)
        optim.restore(kept)
        same(optim.state(), state)
        model = trained(model, optim, 3)
        ends.append((weights(model), optim.state()))
        model = model.restore(values)
        optim.restore(kept)
    same(ends[0][0], ends[1][0])
    same(ends[0][1], ends[1][1])


def test_an_absent_gradient_skips_a_parameter_entirely(make):
    model, optim = two(), make()
    model = trained(model, optim, 2)
    path = "second.weight"
    value, id = weights(model)[path], str(model.second.weight.id)

    def of(state):
        """All that the state says of one parameter."""
        return {key: of(v) if isinstance(v, dict) and id not in v else v[id] for key, v in state.items() if v}

    state = of(optim.state())
    model = trained(model, optim, 3, [path])
    same(of(optim.state()), state)
    np.testing.assert_array_equal(weights(model)[path], value)


def test_frozen_parameters_stay_also_in_the_readout(make):
    class FreezeFirst(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.freeze() if path == "first.weight" else param

    model = two().map(FreezeFirst())
    before, optim = weights(model), make()
    same(weights(optim.readout(model)), before)  # nothing was stepped yet
    model = trained(model, optim, 4)
    for after in (weights(model), weights(optim.readout(model))):
        for path in before:
            assert np.array_equal(before[path], after[path]) == (path == "first.weight"), path


def test_readout_is_a_copy_that_disturbs_nothing(make):
    model, optim = two(), make()
    model = trained(model, optim, 3)
    twin, fresh = model.clone(), make()
    fresh.load_state(optim.state(), twin)
    state, values = optim.state(), weights(model)
    read = optim.readout(model)
    same(weights(optim.readout(model.clone())), weights(read))
    same(optim.state(), state)
    same(weights(model), values)
    trained(read, SGD())
    same(weights(trained(model, optim, 2)), weights(trained(twin, fresh, 2)))


def test_a_state_that_does_not_fit_changes_nothing(make):
    model, optim = two(), make()
    model = trained(model, optim, 2)
    kept, state = optim.state(), optim.state()

    def spoil(state):
        """Another shape in the last array of the state."""
        for key in reversed(state):
            if isinstance(state[key], np.ndarray):
                state[key] = np.zeros(77)
                return True
            if isinstance(state[key], dict) and spoil(state[key]):
                return True
        return False

    if not spoil(state):
        pytest.skip("plain SGD has no state to spoil")
    with pytest.raises(ValueError, match=r"has shape \(77,\); expected its parameter's"):
        optim.load_state(state)
    same(optim.state(), kept)
    if isinstance(optim, Grouped):
        with pytest.raises(ValueError, match="Grouped: the patterns are"):
            optim.load_state({"*": {}})
    else:
        with pytest.raises(ValueError, match="keeps the moments"):
            optim.load_state({**kept, "moments": {"no": {}}})
    same(optim.state(), kept)


def test_the_whole_vector_steps_like_each_parameter_by_itself(make):
    """Segments and groups are only a matter of speed: one by one, the parameters end at the same bits."""
    model, optim = two(), make()
    alone = {path: make() for path in model.named_params()}
    twin = model.clone()
    for _ in range(5):
        grads = GradientsParams.from_grads(mh.nn.mse(model(mh.Tensor(X)), Y).backward(), model)
        copies = {path: mh.Tensor(grads.get(p.id).numpy()) for path, p in model.named_params().items()}
        model = optim.step(0.05, model, grads)
        for path, own in alone.items():
            one = GradientsParams()
            one.register(twin.named_params()[path].id, copies[path])
            twin = own.step(0.05, twin, one)
    same(weights(model), weights(twin))


def test_a_snapshot_that_was_saved_goes_on_with_a_model_of_other_ids(make):
    """As in another process, where parameters have other ids in the same order."""
    optim, fresh, twin = make(), make(), two(5)
    model = trained(two(), optim, 3, without=["second.bias"])
    saved = restored(plain(optim.snapshot()))
    twin = twin.restore(model.snapshot())
    fresh.restore(saved, twin)
    model, twin = trained(model, optim, 3), trained(twin, fresh, 3)
    same(weights(model), weights(twin))
    same(weights(optim.readout(model)), weights(fresh.readout(twin)))


def test_a_snapshot_of_something_else_is_refused_and_changes_nothing(make):
    optim, model = make(), two()
    model = trained(model, optim, 2)
    before = optim.state()
    strange = Adam() if not isinstance(optim, Adam) else SGD(momentum=0.9)
    trained(two(1), strange, 1)
    with pytest.raises((ValueError, KeyError)):
        optim.restore(strange.snapshot(), model)
    narrow = make()
    trained(two(1, "float32"), narrow, 1)
    if any(part.moments for part in optim.parts()):
        with pytest.raises(ValueError, match="is float32"):
            optim.restore(narrow.snapshot(), model)
    same(optim.state(), before)
