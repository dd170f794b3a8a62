"""Coasting is what the optimizer does when gradients are zero, and leaves it alone."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid.predictors import RealStep
from minihybrid.hybrid.predictors.coast import CoastConfig
from minihybrid.module.module import pack
from minihybrid.optim import GradientsParams

LR = 0.05
RULES = {
    "sgd": lambda: mh.optim.SGD(),
    "momentum": lambda: mh.optim.SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: mh.optim.Adam(),
    "adamw": lambda: mh.optim.AdamW(weight_decay=0.5, amsgrad=True),
    "lion": lambda: mh.optim.Lion(),
    "muon": lambda: mh.optim.Muon(),
    "ema": lambda: mh.optim.Ema(mh.optim.Adam()),
    "grouped": lambda: mh.optim.Grouped({"first.*": mh.optim.Muon(), "*": (mh.optim.SGD(momentum=0.9), 0.5)}),
}


class Pair(mh.Module):
    first: mh.nn.Linear
    second: mh.nn.Linear

    def forward(self, x):
        raise AssertionError("this one is only stepped")


def stepped(optimizer, model, gradients):
    """A step with these gradients by path; parameters not named have none."""
    grads = GradientsParams()
    for path, gradient in gradients.items():
        grads.register(model.named_params()[path].id, mh.Tensor(gradient))
    return optimizer.step(LR, model, grads)


@pytest.fixture(params=RULES.values(), ids=RULES.keys())
def trained(request):
    """An optimizer with a model that it has stepped, first without one of its parameters."""
    rng, optimizer = mh.Rng(0), request.param()
    layers = [mh.nn.Linear(mh.Param(rng.normal((3, 2))), None) for _ in range(2)]
    model = Pair(*layers)
    model = stepped(optimizer, model, {"second.weight": rng.normal((3, 2))})
    for _ in range(5):
        model = stepped(optimizer, model, {path: rng.normal((3, 2)) for path in ("first.weight", "second.weight")})
    return optimizer, model


@pytest.mark.parametrize("horizon", [0, 1, 7])
def test_it_is_where_the_optimizer_goes_with_gradients_of_zero(trained, horizon):
    optimizer, model = trained
    coast = CoastConfig().init()
    coast.observe(RealStep(0.0, LR, pack(model).values, optimizer))
    before, moments = pack(model).values.copy(), optimizer.state()
    prediction = coast.predict(horizon)
    assert pack(model).values.tobytes() == before.tobytes()
    assert repr(optimizer.state()) == repr(moments)
    assert prediction.delta.dtype == np.float32 and prediction.est_steps == horizon
    for _ in range(horizon):
        zeros = np.zeros((3, 2), np.float32)
        model = stepped(optimizer, model, {"first.weight": zeros, "second.weight": zeros})
    assert prediction.delta.tobytes() == (pack(model).values - before).tobytes()


def test_it_coasts_from_where_a_jump_led(trained):
    optimizer, model = trained
    coast, expected = CoastConfig().init(), CoastConfig().init()
    weights = pack(model).values
    coast.observe(RealStep(0.0, LR, weights, optimizer))
    coast.translate(np.ones_like(weights))
    expected.observe(RealStep(0.0, LR, weights + 1, optimizer))
    assert coast.predict(3).delta.tobytes() == expected.predict(3).delta.tobytes()


def test_it_waits_for_a_real_step_after_it_was_loaded(trained):
    optimizer, model = trained
    coast, twin = CoastConfig().init(), CoastConfig().init()
    step = RealStep(0.0, LR, pack(model).values, optimizer)
    coast.observe(step)
    assert set(coast.state_dict()) == {"last", "learning_rate"}
    twin.load_state_dict(coast.state_dict())
    assert twin.predict(3) is None
    twin.observe(step)
    assert twin.predict(3).delta.tobytes() == coast.predict(3).delta.tobytes()
