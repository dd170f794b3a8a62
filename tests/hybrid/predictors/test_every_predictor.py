"""What the protocol promises holds for each predictor."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.config import Config
from minihybrid.hybrid.memory import array_bytes
from minihybrid.hybrid.predictors import DriftConfig, QuasiNewtonConfig
from minihybrid.hybrid.predictors.coast import CoastConfig
from minihybrid.hybrid.predictors.dmd import DmdConfig
from minihybrid.hybrid.predictors.gradient_ema import GradientEmaConfig
from minihybrid.hybrid.predictors.history import HistoryConfig
from minihybrid.hybrid.predictors.holt import HoltConfig
from minihybrid.hybrid.predictors.linear_trend import LinearTrendConfig
from minihybrid.hybrid.predictors.null import NullConfig
from minihybrid.hybrid.predictors.outer_nesterov import OuterNesterovConfig
from minihybrid.hybrid.predictors.rre import RreConfig
from minihybrid.hybrid.verify import Verification

CONFIGS = {
    "quasi-newton": QuasiNewtonConfig(pairs=3),
    "drift": DriftConfig(average=0.5, stride=1),
    "rre": RreConfig(HistoryConfig(5)),
    "rre-float16": RreConfig(HistoryConfig(5, "float16"), max_norm=0.1),
    "dmd": DmdConfig(HistoryConfig(5), rank=2),
    "outer-nesterov": OuterNesterovConfig(),
    "holt": HoltConfig(level=0.5, share=0.6),
    "holt-ahead": HoltConfig(level=0.5, trend=0.5, lookahead=0.3),
    "null": NullConfig(),
    "linear-trend": LinearTrendConfig(HistoryConfig(5)),
    "coast": CoastConfig(),
    "gradient-ema": GradientEmaConfig(),
}
N = 50


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request):
    return request.param


def path(seed, steps, dtype=np.float32, n=N):
    """A way downhill with some noise, along which every predictor has something to say."""
    rng = mh.Rng(seed)
    rates = np.linspace(0.05, 0.2, n)
    points = [rng.normal(n, dtype=np.float64)]
    for _ in range(steps):
        points.append(points[-1] * (1 - rates) + rng.normal(n, std=0.003, dtype=np.float64))
    return np.array(points[1:], dtype)


def asked(predictor, horizon=5):
    """A prediction as bytes and numbers, to compare."""
    found = predictor.predict(horizon, 2.0)
    return found and (found.delta.tobytes(), found.est_steps, found.confidence)


def bits(array):
    return None if array is None else array.tobytes()


def test_its_settings_are_data(config):
    assert Config.from_json(config.to_json()) == config
    predictor = config.init()
    assert predictor.config == config and isinstance(predictor.verification, Verification)
    assert repr(predictor).startswith(type(predictor).__name__ + "(")


def test_who_has_seen_nothing_says_nothing(config):
    predictor = config.init()
    predictor.translate(np.ones(N, np.float32))
    assert predictor.predict(5) is None and predictor.readout() is None


def test_it_keeps_nothing_that_it_borrowed_and_float32_stays_float32(config, watch):
    predictor = config.init()
    for part in np.split(path(0, 30), 3):  # `watch` overwrites with NaN what it has shown
        watch(predictor, part)
        prediction = predictor.predict(5)
    if prediction is not None:
        assert prediction.delta.shape == (N,) and prediction.delta.dtype == np.float32
        assert np.isfinite(prediction.delta).all()
        assert 0 <= prediction.confidence <= 1 and prediction.cost >= 0 and prediction.est_steps >= 0
    readout = predictor.readout()
    assert readout is None or (readout.dtype == np.float32 and np.isfinite(readout).all())


def test_a_delta_is_the_callers_own(config, watch):
    predictor = config.init()
    for part in np.split(path(0, 20), 2):
        watch(predictor, part)
        prediction = predictor.predict(5)
    if prediction is not None:
        before = repr(predictor.state_dict())
        prediction.delta[...] += 1
        assert repr(predictor.state_dict()) == before or isinstance(config, NullConfig)


def test_its_memory_is_bounded_by_what_it_says(config, watch):
    n = 10_000
    predictor, sizes = config.init(), []
    for _ in range(4):
        watch(predictor, path(0, 10, n=n))
        predictor.predict(5)
        sizes.append(array_bytes(predictor.state_dict()))
    assert sizes[-1] <= config.vectors() * n * 4 * 1.01 and sizes[-1] == sizes[-2]


def test_a_state_is_all_there_is_to_know_to_the_bit(config, watch):
    predictor, twin = config.init(), config.init()
    parts = np.split(path(0, 40), 8)
    for t, part in enumerate(parts):
        if t == 4:
            state = predictor.state_dict()
            twin.load_state_dict(state)
            frozen = repr(state)
        for one in (predictor, twin) if t >= 4 else (predictor,):
            watch(one, part)
        if t >= 4:
            assert asked(twin) == asked(predictor) and bits(twin.readout()) == bits(predictor.readout())
            delta = np.full(N, 0.01, np.float32)
            twin.translate(delta)
            predictor.translate(delta)
        else:
            asked(predictor)
    assert repr(state) == frozen, "the state is a copy"


def test_a_state_of_something_else_is_refused_and_changes_nothing(config, watch):
    predictor = watch(config.init(), path(0, 10))
    before = repr(predictor.state_dict())
    with pytest.raises(ValueError, match=r"load_state_dict: .* keeps"):
        predictor.load_state_dict({"something": 1})
    assert repr(predictor.state_dict()) == before


def test_reset_forgets_how_the_weights_moved(config, watch):
    predictor, fresh = config.init(), config.init()
    watch(predictor, path(1, 20))
    asked(predictor)
    readout = bits(predictor.readout())
    predictor.reset()
    assert bits(predictor.readout()) == readout
    for part in np.split(path(0, 20), 4):
        watch(predictor, part)
        watch(fresh, part)
        assert asked(predictor) == asked(fresh)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"quasi-newton"}))  # whose pairs may well span a jump
def test_a_jump_is_no_motion_of_the_run(name, watch):
    """Before it and after it, predictions are those of a run that was there all the time; the read-out jumps along."""
    config = CONFIGS[name]
    there, led = config.init(), config.init()
    shift, limited = 0.0, getattr(config, "max_norm", None) is not None  # a limit that grows with the weights
    for t, part in enumerate(np.split(path(0, 40, np.float64), [10, 20, 21, 23, 30])):
        watch(there, part + 3.0)
        watch(led, part + shift)
        first, second = there.predict(5, 2.0), led.predict(5, 2.0)
        assert (first is None) == (second is None)
        if first is not None and not limited:
            np.testing.assert_allclose(second.delta, first.delta, rtol=1e-4, atol=1e-6)
        if t == 1:
            led.translate(np.full(N, 3.0))
            there.translate(np.zeros(N))
            shift = 3.0
        if there.readout() is not None:
            np.testing.assert_allclose(led.readout() + 3.0 - shift, there.readout())


@pytest.mark.parametrize("name", ["drift", "dmd", "holt-ahead", "null", "linear-trend", "coast", "gradient-ema"])
def test_no_horizon_is_no_jump(name, watch):
    predictor = CONFIGS[name].init()
    for part in np.split(path(0, 30), 3):
        watch(predictor, part)
        prediction = predictor.predict(0)
    w = path(0, 30)[-1]
    assert prediction is None or (w + prediction.delta).tobytes() == w.tobytes()


def test_what_each_asks_of_a_trainer():
    """A gradient costs a copy at each step; a read-out, a vector in each snapshot."""
    looking = {name for name, config in CONFIGS.items() if config.init().looks_at_gradients}
    reading = {name for name, config in CONFIGS.items() if config.reads_out}
    deferring = {name for name, config in CONFIGS.items() if config.init().verification.deferred}
    assert looking == {"quasi-newton", "gradient-ema"}
    assert reading == {"drift", "holt", "holt-ahead"} and deferring == {"quasi-newton"}


DEMANDS = {  # vectors; of them history, the least of it, others; in halves, too?; for a jump; for late rollback
    "quasi-newton": (12, 8, 6, 4, False, 1, 0),
    "drift": (5, 0, 0, 5, True, 1, 3),
    "rre": (7, 5, 2, 2, True, 1, 3),
    "rre-float16": (7, 5, 2, 2, True, 1, 3),
    "dmd": (7, 5, 2, 2, True, 1, 3),
    "outer-nesterov": (3, 0, 0, 3, True, 1, 3),
    "holt": (2, 0, 0, 2, True, 1, 3),
    "holt-ahead": (3, 0, 0, 3, True, 1, 3),
    "null": (1, 0, 0, 1, True, 1, 3),
    "linear-trend": (7, 5, 2, 2, True, 1, 3),
    "coast": (1, 0, 0, 1, True, 1, 3),
    "gradient-ema": (2, 0, 0, 2, True, 1, 3),
}
COSTS = {"coast": 50.0, "drift": 6.0, "gradient-ema": 1.0, "outer-nesterov": 16.0, "quasi-newton": 12.0}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_it_demands_of_memory_and_charges(name, watch):
    config = CONFIGS[name]
    demand = config.demand()
    history = demand.history, demand.least, demand.fixed, demand.halves, demand.jump, demand.late
    assert (config.vectors(), *history) == DEMANDS[name]
    predictor, prediction = config.init(), None
    for part in np.split(path(0, 30, np.float64), 3):
        watch(predictor, part)
        prediction = predictor.predict(5) or prediction
    if name in COSTS:
        assert prediction.cost == COSTS[name], "passes over a vector"


@pytest.mark.parametrize("steps", range(2, 14))
def test_no_predictor_is_surer_than_sure_on_a_straight_line(config, steps, watch):
    direction = mh.Rng(steps).normal(N, dtype=np.float64)
    predictor = config.init()
    for part in np.split(np.arange(3.0 * steps)[:, None] * direction, 3):
        watch(predictor, part)
        prediction = predictor.predict(5)
        assert prediction is None or 0 <= prediction.confidence <= 1
