"""Forecasts of the loss: the formula, intervals that keep their promise, and advice that claims nothing untested."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import minihybrid as mh
from minihybrid.config import Config
from minihybrid.hybrid.forecast import DampedTrend, ForecastConfig, LastLoss


def fed(losses, forecaster=None):
    forecaster = forecaster or DampedTrend()
    for loss in losses:
        forecaster.observe(loss)
    return forecaster


def outcomes(forecaster, losses, horizon, after=100):
    """Pairs of a forecast and the loss that came, for steps later than `after`."""
    made = []
    for loss in losses:
        forecaster.observe(loss)
        made.append(forecaster.forecast(horizon))
    return list(zip(made[after:-horizon], losses[after + horizon :], strict=True))


def coverage(forecaster, losses, horizon):
    return np.mean([f.low <= real <= f.high for f, real in outcomes(forecaster, losses, horizon)])


def log_error(forecaster, losses, horizon):
    return np.mean([abs(math.log(f.loss / real)) for f, real in outcomes(forecaster, losses, horizon, after=20)])


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=30), st.integers(1, 40))
def test_a_damped_trend_is_that_of_gardner_and_mckenzie(losses, horizon):
    forecasts, surprises = [], []
    for a, b, damping in DampedTrend.smoothings:
        level, trend, surprise = math.log(losses[0]), 0.0, 0.0
        for t, y in enumerate(map(math.log, losses[1:]), start=2):
            expected, before = level + damping * trend, level
            share = max(a, 1 / t)
            level = share * y + (1 - share) * expected  # as in their paper: levels and trends are weighted means
            trend = b * (level - before) + (1 - b) * damping * trend
            surprise += (abs(y - expected) - surprise) / 32
        forecasts.append(level + sum(damping**i for i in range(1, horizon + 1)) * trend)
        surprises.append(surprise)
    assume(abs(surprises[0] - surprises[1]) > 1e-9)  # else rounding decides which is believed
    believed = forecasts[surprises.index(min(surprises))]
    expected = math.exp(min(believed, 700))
    assert fed(losses).forecast(horizon).loss == pytest.approx(expected, rel=1e-6, abs=2e-12), "beyond what counts as 0"


def test_the_last_loss_stays():
    last = fed([3.0, 1.0, 2.0], LastLoss())
    assert [last.forecast(horizon).loss for horizon in (1, 7, 80)] == pytest.approx([2.0] * 3)


def test_a_steady_fall_is_seen_coming_and_noise_is_averaged():
    falling = fed([0.97**t for t in range(150)])
    assert falling.forecast(20).loss == pytest.approx(0.97**169, rel=0.15)
    noisy = np.exp(0.5 * mh.Rng(0).normal(300, dtype=np.float64))
    assert fed([*noisy.tolist(), 5.0]).forecast(1).loss == pytest.approx(1.0, rel=0.4), "one high loss is no level"


RNG = mh.Rng(1)
NOISE = RNG.normal(3000, dtype=np.float64)
COURSES = {
    "noise": np.exp(0.3 * NOISE),
    "random walk": np.exp(0.05 * NOISE.cumsum()),
    "noise that grows and fades": np.exp(NOISE * 10 ** np.sin(np.arange(3000) / 300) / 10),
    "falling": np.exp(0.1 * NOISE - np.arange(3000) / 300),
    "heavy tails": np.exp(0.05 * NOISE / RNG.uniform(3000, 0.05, 1.0, np.float64)),
}


@pytest.mark.parametrize("horizon", [1, 3, 5, 20, 40])
@pytest.mark.parametrize("course", COURSES)
def test_intervals_hold_what_they_promise(course, horizon):
    assert coverage(DampedTrend(), COURSES[course].tolist(), horizon) == pytest.approx(0.8, abs=0.06)


def test_other_coverages_and_other_forecasters_are_kept_honest_too():
    losses = COURSES["falling"].tolist()
    assert coverage(ForecastConfig(coverage=0.5).init(), losses, 5) == pytest.approx(0.5, abs=0.06)
    assert coverage(ForecastConfig(coverage=0.95).init(), losses, 5) == pytest.approx(0.95, abs=0.03)
    assert coverage(LastLoss(), losses, 5) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("batch_size", [1797, 64])
def test_it_beats_the_last_loss_on_real_training(mlp, forward_fn, digits, batch_size):
    model, optimizer, loader, losses = mlp(64, 16, 10), mh.optim.Adam(), digits(batch_size=batch_size), []
    for _ in range(150):
        model, loss = forward_fn(model, next(loader))
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        model = optimizer.step(0.01, model, grads)
        losses.append(loss.item())
    for horizon in (1, 5, 20):
        assert log_error(DampedTrend(), losses, horizon) < 0.95 * log_error(LastLoss(), losses, horizon)


def test_what_was_not_tested_is_not_claimed():
    trend = DampedTrend()
    with pytest.raises(RuntimeError, match="call observe"):
        trend.forecast(1)
    fed([1.0] * 5, trend)
    assert trend.forecast(1).high == pytest.approx(1.0, rel=1e-5) and trend.confidence(1) == pytest.approx(1.0)
    for horizon in (2, 5, 80):
        forecast = trend.forecast(horizon)
        assert (forecast.low, forecast.high) == (-math.inf, math.inf) and trend.confidence(horizon) == 0.0
    assert trend.reach(0.85) == 1
    fed([1.0] * 76, trend)
    assert trend.confidence(80) == pytest.approx(1.0) and trend.reach(0.85) == 80
    assert trend.confidence(81) == 0.0 and trend.forecast(81).high == math.inf


def test_confidence_is_not_spoiled_by_the_noise_of_batches():
    losses = np.exp(0.4 * NOISE[:400] - np.arange(400) / 400).tolist()
    trend, last = fed(losses), fed(losses, LastLoss())
    assert trend.confidence(5) > 0.85 > 0.7 > last.confidence(5)
    assert trend.confidence(1) > trend.confidence(20) > trend.confidence(80)


def test_confidence_is_one_less_the_mean_error():
    last = LastLoss(ForecastConfig(horizons=(3,)))
    fed([math.exp(-0.05 * t) for t in range(50)], last)
    assert last.confidence(3) == pytest.approx(0.85, abs=1e-6)


@given(st.floats(0.01, 0.99), st.integers(0, 5))
def test_the_reach_ends_where_confidence_does(confidence, seed):
    losses = np.exp(0.05 * mh.Rng(seed).normal(150, dtype=np.float64).cumsum()).tolist()
    trend = fed(losses)
    reach = trend.reach(confidence)
    assert all(trend.confidence(horizon) >= confidence - 1e-12 for horizon in range(1, reach + 1))
    assert reach == 80 or trend.confidence(reach + 1) < confidence


def test_losses_may_be_negative_or_pass_through_zero():
    trend = fed([-2.0] * 60)
    forecast = trend.forecast(5)
    assert forecast.low <= -2.0 <= forecast.high and forecast.high < -1.9 and trend.confidence(5) > 0.99
    crossing = fed([1.0 - t / 50 for t in range(100)])
    assert all(math.isfinite(crossing.forecast(horizon).loss) for horizon in (1, 5, 20))
    assert 0.0 <= crossing.confidence(5) <= 1.0


def test_an_explosion_is_no_exception():
    trend = fed([10.0 ** (3 * t) for t in range(90)])
    assert trend.forecast(80).high == math.inf and trend.forecast(80).loss > 1e250


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_is_finite(loss):
    trend = fed([1.0, 0.9])
    before = trend.state_dict()
    with pytest.raises(ValueError, match=r"DampedTrend: the loss is (nan|inf); expected a finite number"):
        trend.observe(loss)
    assert trend.state_dict() == before


def test_a_rollback_forgets_where_the_loss_was_but_not_the_record():
    trend = fed(COURSES["noise"][:200].tolist())
    before = trend.forecast(5)
    confidence = trend.confidence(5)
    trend.reset()
    with pytest.raises(RuntimeError, match="nothing to go on"):
        trend.forecast(5)
    trend.observe(10.0)
    after = trend.forecast(5)
    assert after.loss == pytest.approx(10.0) and trend.confidence(5) == confidence
    assert after.high / after.loss == pytest.approx(before.high / before.loss)


def test_memory_is_bounded():
    def numbers(state):
        return sum(map(numbers, state)) if isinstance(state, list) else 1

    trend = fed([1.0] * 10)
    before = numbers([*trend.state_dict().values()])
    assert numbers([*fed([1.0] * 500, trend).state_dict().values()]) == before < 150


def test_a_state_dict_is_all_there_is_to_know():
    losses = COURSES["falling"].tolist()
    trend, twin = fed(losses[:123]), DampedTrend()
    twin.load_state_dict(trend.state_dict())
    for one in (trend, twin):
        fed(losses[123:300], one)
    assert twin.state_dict() == trend.state_dict() and twin.forecast(7) == trend.forecast(7)
    for other in (LastLoss(), ForecastConfig(horizons=(1, 5)).init()):
        with pytest.raises(ValueError, match="2 smoothings and the horizons"):
            trend.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="DampedTrend keeps"):
        trend.load_state_dict({"levels": [1.0]})
    assert twin.state_dict() == trend.state_dict()


def test_a_configuration_is_checked_and_written():
    config = ForecastConfig(coverage=0.9, horizons=(2, 40))
    assert Config.from_json(config.to_json()) == config
    for horizons in ((), (0, 1), (5, 1), (1, 1), (1.0,), 5):
        with pytest.raises(ValueError, match=r"ForecastConfig: horizons is .*positive integers, the smallest first"):
            ForecastConfig(horizons=horizons)
    for wrong in (0.0, 1.0, math.nan, "80 %"):
        with pytest.raises(ValueError, match="ForecastConfig: coverage is"):
            ForecastConfig(coverage=wrong)
