"""The watch alarms on trouble, and only on trouble."""

import math

import pytest

from minihybrid.config import Config
from minihybrid.hybrid.divergence import DivergenceLimits, DivergenceWatch, Level, Trouble
from minihybrid.rng import Rng


def noise(seed=0, size=100):
    return Rng(seed).normal(size).tolist()


@pytest.fixture
def watch():
    """Has seen 100 losses of 1 +- 0.1, gradient norms of 2 and parameter norms of 10."""
    watch = DivergenceWatch(DivergenceLimits(baseline=20))
    for z in noise():
        watch.observe(1.0 + 0.1 * z, 2.0, parameter_norm=10.0)
    return watch


def test_the_statistics_are_those_of_the_losses(watch):
    assert watch.loss_mean == pytest.approx(1.0, abs=0.05)
    assert watch.loss_sigma == pytest.approx(0.1, abs=0.03)
    assert (watch.gradient_mean, watch.parameter_mean) == (pytest.approx(2.0), pytest.approx(10.0))


def test_a_high_loss_is_a_caution_then_a_warning_and_a_low_one_nothing(watch):
    assert watch.judge(1.1).level is Level.HEALTHY
    assert watch.judge(watch.loss_mean + 4 * watch.loss_sigma).level is Level.CAUTION
    verdict = watch.judge(watch.loss_mean + 7 * watch.loss_sigma)
    assert (verdict.level, verdict.trouble) == (Level.WARNING, Trouble.LOSS)
    assert "7 standard deviations above" in verdict.reason
    assert watch.judge(-5.0).level is Level.HEALTHY, "improving fast is no alarm"


def test_an_exploding_gradient_is_a_warning_and_a_vanishing_one_a_caution(watch):
    for norm, level, trouble in [
        (201.0, Level.WARNING, Trouble.EXPLOSION),
        (199.0, Level.HEALTHY, None),
        (0.021, Level.HEALTHY, None),
        (0.019, Level.CAUTION, Trouble.VANISHING),
    ]:
        verdict = watch.judge(1.0, gradient_norm=norm)
        assert (verdict.level, verdict.trouble) == (level, trouble)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_numbers_that_are_not_finite_are_critical_at_once_and_forgotten(loss, norm):
    watch = DivergenceWatch()
    watch.observe(1.0, 1.0)
    verdict = watch.observe(loss, norm)
    assert (verdict.level, verdict.trouble) == (Level.CRITICAL, Trouble.NOT_FINITE)
    assert (watch.steps, watch.loss_mean, watch.gradient_mean) == (1, 1.0, 1.0)


def test_a_jump_is_held_against_the_loss_before_it(watch):
    assert watch.judge(9.0, level=9.1).level is Level.HEALTHY, "held-out losses have a level of their own"
    assert watch.judge(9.9, level=9.1).level >= Level.CAUTION


def test_nothing_is_called_out_before_the_baseline():
    watch = DivergenceWatch(DivergenceLimits(baseline=3))
    watch.observe(1.0, 1.0)
    watch.observe(1.0, 1.0)
    assert watch.observe(100.0, 1e6).level is Level.HEALTHY


def test_judging_remembers_nothing(watch):
    before = watch.state_dict()
    watch.judge(50.0, 1e9)
    assert watch.state_dict() == before


def test_one_wild_batch_does_not_blind_the_watch(watch):
    watch.observe(1e6, 1e6)
    assert watch.observe(2.0, 2.0).trouble is Trouble.LOSS
    assert watch.observe(1.0, 1e3).trouble is Trouble.EXPLOSION


def test_a_run_that_stays_on_a_higher_level_is_healthy_again(watch):
    levels = [watch.observe(3.0 + 0.1 * z, 2.0).level for z in noise(1, 200)]
    assert levels[2] is Level.CRITICAL
    assert set(levels[150:]) == {Level.HEALTHY}


def test_three_warnings_in_a_row_are_critical(watch):
    first, second, third = (watch.observe(10.0, 2.0) for _ in range(3))
    assert (first.level, second.level, third.level) == (Level.WARNING, Level.WARNING, Level.CRITICAL)
    assert third.trouble is Trouble.LOSS and third.reason.endswith("This is warning 3 in a row.")
    assert watch.observe(1.0, 2.0).level is Level.HEALTHY
    assert watch.observe(10.0, 2.0).level is Level.WARNING, "counted anew"


def test_growing_swings_of_the_loss_are_an_oscillation():
    watch = DivergenceWatch()
    verdicts = [watch.observe(10.0 + (-1) ** t * 0.01 * 1.05 ** max(0, t - 60), 1.0) for t in range(140)]
    found = [verdict for verdict in verdicts if verdict.trouble is Trouble.OSCILLATION]
    assert found and max(found, key=lambda verdict: verdict.level).level is Level.CRITICAL
    assert "turns at 100% of the steps" in found[-1].reason


def test_swings_of_a_constant_size_and_a_smooth_rise_are_none():
    for loss in (lambda t: 10.0 + (-1) ** t, lambda t: 10.0 + 1.05 ** max(0, t - 60)):
        watch = DivergenceWatch()
        assert all(watch.observe(loss(t), 1.0).trouble is not Trouble.OSCILLATION for t in range(140))


def test_on_a_plateau_a_tiny_rise_is_healthy_and_a_large_one_is_not():
    watch = DivergenceWatch()
    for _ in range(300):
        watch.observe(1e-3, 1.0)
    assert all(watch.observe(1.02e-3, 1.0).level is Level.HEALTHY for _ in range(5))
    assert watch.observe(1.1e-3, 1.0).level is Level.WARNING


def test_numbers_that_were_zero_do_not_alarm_for_ever():
    watch = DivergenceWatch()
    levels = [watch.observe((t >= 300) * (1 + t % 2 / 1000), float(t >= 300)).level for t in range(600)]
    assert set(levels[500:]) == {Level.HEALTHY}


def test_a_loss_that_falls_ever_faster_is_healthy():
    watch = DivergenceWatch()
    assert all(watch.observe(-(1.05 ** max(0.001 * t, t - 60)), 1.0).level is Level.HEALTHY for t in range(140))


def test_noise_that_grows_louder_is_no_more_than_a_caution():
    for seed in range(20):
        watch = DivergenceWatch()
        verdicts = [watch.observe(z * (1.0 if t < 100 else 2.5), 1.0) for t, z in enumerate(noise(seed, 200))]
        assert all(v.level <= Level.CAUTION for v in verdicts if v.trouble is Trouble.OSCILLATION)


def test_noise_is_healthy():
    watch = DivergenceWatch()
    levels = [watch.observe(1.0 + 0.1 * z, 1.0, parameter_norm=5.0).level for z in noise(size=3000)]
    assert max(levels) <= Level.CAUTION and sum(levels) < 15, "of 3,000 normal numbers 4 lie above 3 sigma"


def test_a_growing_parameter_norm_is_a_warning(watch):
    assert watch.observe(1.0, 2.0, parameter_norm=49.0).level is Level.HEALTHY
    verdict = watch.observe(1.0, 2.0, parameter_norm=60.0)
    assert (verdict.level, verdict.trouble) == (Level.WARNING, Trouble.GROWTH)
    assert watch.observe(1.0, 2.0, parameter_norm=1e6).trouble is Trouble.GROWTH
    assert watch.observe(1.0, 2.0, parameter_norm=60.0).trouble is Trouble.GROWTH, "the mean was not carried away"
    verdict = watch.observe(1.0, 2.0, parameter_norm=math.inf)
    assert (verdict.level, verdict.trouble) == (Level.CRITICAL, Trouble.GROWTH)


def test_a_parameter_norm_is_held_against_nothing_before_the_baseline():
    watch = DivergenceWatch(DivergenceLimits(baseline=10**9))
    assert [watch.observe(1.0, 1.0, parameter_norm=norm).level for norm in (1.0, 1e6)] == [Level.HEALTHY] * 2


def test_parameters_that_grow_from_zero_on_a_line_are_healthy():
    watch = DivergenceWatch()
    assert all(
        watch.observe(1.0 + t % 2 / 1000, 1.0, parameter_norm=float(t)).level is Level.HEALTHY for t in range(300)
    )


def test_a_prediction_is_judged_by_its_relative_error(watch):
    levels = [watch.observe(1.0, 2.0, prediction_error=error).level for error in (0.19, 0.21, 0.51)]
    assert levels == [Level.HEALTHY, Level.CAUTION, Level.WARNING]
    assert watch.observe(1.0, 2.0, prediction_error=math.nan).level is Level.WARNING


def test_the_worst_verdict_is_returned(watch):
    assert (
        watch.observe(watch.loss_mean + 4 * watch.loss_sigma, 2.0, prediction_error=0.9).trouble is Trouble.PREDICTION
    )


def test_a_state_is_all_there_is_to_know(watch):
    watch.observe(10.0, 2.0)
    twin = DivergenceWatch(watch.config)
    twin.load_state_dict(state := watch.state_dict())
    for z in noise(3):
        assert twin.observe(1.0 + 0.2 * z, 2.0) == watch.observe(1.0 + 0.2 * z, 2.0)
    assert twin.state_dict() == watch.state_dict() != state
    with pytest.raises(ValueError, match=r"DivergenceWatch keeps steps, .*; the state has steps"):
        twin.load_state_dict({"steps": 1})
    assert twin.state_dict() == watch.state_dict()


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("loss_sigma", "3", "expected a positive number"),
        ("gradient_explosion", 1.0, "expected a number above 1"),
        ("gradient_vanishing", 1.0, r"expected a number in \[0, 1\)"),
        ("oscillation_warning", 0.4, "expected a share from oscillation_caution, 0.5, to 1"),
        ("prediction_warning", 0.1, "expected a number of at least prediction_caution, 0.2"),
        ("warnings", 0, "expected an integer of at least 1"),
        ("baseline", True, "expected an integer of at least 1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(setting, value, expected):
    with pytest.raises(ValueError, match=rf"^DivergenceLimits: {setting} is .*; {expected}"):
        DivergenceLimits(**{setting: value})


def test_limits_are_written_as_json_and_read_back():
    limits = DivergenceLimits(loss_sigma=2.2, warnings=5)
    assert Config.from_json(limits.to_json()) == limits


def test_a_loss_that_does_not_move_at_all_is_a_caution_until_it_moves():
    watch = DivergenceWatch(DivergenceLimits(baseline=10))
    levels = [watch.observe(0.5, 0.0).level for _ in range(10)]
    assert set(levels) == {Level.HEALTHY}, "ten losses are nine moves"
    for moves in (10, 11):
        verdict = watch.observe(0.5, 0.0)
        assert (verdict.level, verdict.trouble) == (Level.CAUTION, Trouble.STANDSTILL)
        assert verdict.reason == f"the loss has not moved from 0.5 for {moves} steps: training does not change it."
    assert watch.observe(0.499, 0.0).level is Level.HEALTHY and watch.still == 0
    assert watch.observe(0.499, 0.0).level is Level.HEALTHY


def test_the_baseline_is_so_many_steps_and_no_more():
    watch = DivergenceWatch(DivergenceLimits(baseline=20))
    for z in noise(size=19):
        watch.observe(1.0 + 0.1 * z, 2.0)
    assert watch.judge(100.0, 1e9).level is Level.HEALTHY
    watch.observe(1.0, 2.0)
    assert watch.judge(100.0).trouble is Trouble.LOSS and watch.judge(1.0, 1e9).trouble is Trouble.EXPLOSION


def test_limits_are_passed_and_not_met():
    """At a limit a number is as it was below it; only beyond it is it worse."""
    watch = DivergenceWatch(DivergenceLimits(baseline=10))
    watch.steps, watch.swing, watch.swing_mean = 20, 2.5, 1.0
    for turning, level in ((0.5, Level.HEALTHY), (0.51, Level.CAUTION), (0.8, Level.CAUTION), (0.81, Level.WARNING)):
        watch.turning = turning
        assert watch._of_swings().level is level
    watch.swing = 2.0
    assert watch._of_swings().level is Level.HEALTHY
    watch.loss_mean, watch.loss_variance = 1.0, 0.25
    for loss, level in ((2.5, Level.HEALTHY), (2.51, Level.CAUTION), (4.0, Level.CAUTION), (4.01, Level.WARNING)):
        assert watch._of_loss(loss, 1.0).level is level
    watch.gradient_mean = 4.0
    for norm, level in ((400.0, Level.HEALTHY), (401.0, Level.WARNING), (0.04, Level.HEALTHY), (0.039, Level.CAUTION)):
        assert watch._of_gradient(norm).level is level
    for error, level in ((0.2, Level.HEALTHY), (0.21, Level.CAUTION), (0.5, Level.CAUTION), (0.51, Level.WARNING)):
        assert watch._of_prediction(error).level is level
    watch.parameter_mean = 2.0
    assert watch._of_parameters(10.0).level is Level.HEALTHY


@pytest.mark.parametrize(
    ("setting", "allowed", "refused"),
    [
        ("loss_sigma", (1e-9, 1e9), (0, -1)),
        ("gradient_explosion", (1.01, 1e9), (1, 0.5)),
        ("gradient_vanishing", (0, 0.99), (-0.01, 1)),
        ("parameter_growth", (1.01, 1e9), (1, 0.5)),
        ("oscillation_caution", (0, 0.8), (-0.01, 1.01)),
        ("oscillation_warning", (0.5, 1), (0.49, 1.01)),
        ("oscillation_growth", (1.01, 1e9), (1, 0.5)),
        ("prediction_caution", (1e-9, 0.5), (0, -1)),
        ("prediction_warning", (0.2, 1e9), (0.19,)),
        ("warnings", (1, 100), (0, 1.5)),
        ("ema", (0, 0.999), (-0.01, 1)),
        ("baseline", (1, 10**6), (0, 1.5)),
    ],
)
def test_settings_at_their_ends(setting, allowed, refused):
    for value in allowed:
        assert getattr(DivergenceLimits(**{setting: value}), setting) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"DivergenceLimits: {setting} is {value}"):
            DivergenceLimits(**{setting: value})
