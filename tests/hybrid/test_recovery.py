"""Each kind of trouble meets its remedy, the mildest first."""

import json
import math
from dataclasses import replace

import pytest

from minihybrid.config import Config
from minihybrid.hybrid.divergence import DivergenceWatch, Level, Trouble, Verdict
from minihybrid.hybrid.recovery import RecoveryAction, RecoveryConfig, RecoveryPolicy, RecoveryState

HEALTHY = Verdict()
NOT_FINITE = DivergenceWatch().judge(math.nan)
DIVERGED = Verdict(Level.CRITICAL, Trouble.LOSS, "the loss rises.")


def warning(trouble):
    return Verdict(Level.WARNING, trouble, "a reason.")


@pytest.fixture
def policy():
    return RecoveryPolicy(RecoveryConfig(skips=2, rollbacks=2, rejections=3, calm=5))


def follow(policy, verdicts, state=None):
    """The actions, and the last decision."""
    state = state or RecoveryState()
    actions = []
    for verdict in verdicts:
        decision = policy.decide(verdict, state)
        state = decision.state
        actions.append(decision.action)
    return actions, decision


def test_a_healthy_run_and_one_with_cautions_go_on(policy):
    caution = Verdict(Level.CAUTION, Trouble.VANISHING, "a reason.")
    actions, decision = follow(policy, [HEALTHY, caution] * 10)
    assert set(actions) == {RecoveryAction.CONTINUE} and decision.learning_rate_factor == 1.0


def test_batches_that_are_not_finite_are_skipped_then_the_run_is_rolled_back_then_it_ends(policy):
    actions, decision = follow(policy, [NOT_FINITE] * 9)
    skip, back, abort = RecoveryAction.SKIP_BATCH, RecoveryAction.ROLLBACK_AND_RETRY, RecoveryAction.ABORT
    assert actions == [skip, skip, back, skip, skip, back, skip, skip, abort]
    assert decision.reason == "the loss is nan. Batches skipped before: 2; rollbacks: 2."


def test_a_finite_step_between_them_is_enough_to_go_on_skipping(policy):
    actions, _ = follow(policy, [NOT_FINITE, NOT_FINITE, HEALTHY] * 5)
    assert RecoveryAction.ROLLBACK_AND_RETRY not in actions


def test_a_run_that_diverges_is_rolled_back_with_a_smaller_learning_rate_and_then_left_to_real_steps(policy):
    actions, _ = follow(policy, [DIVERGED] * 4)
    assert actions == [RecoveryAction.ROLLBACK_AND_RETRY] * 2 + [RecoveryAction.FORCE_FULL_PHASE] * 2
    assert policy.decide(DIVERGED, RecoveryState()).learning_rate_factor == 0.5


def test_calm_forgives_rollbacks(policy):
    actions, _ = follow(policy, ([DIVERGED] + [HEALTHY] * 5) * 10)
    assert actions.count(RecoveryAction.ROLLBACK_AND_RETRY) == 10
    actions, _ = follow(policy, ([DIVERGED] + [HEALTHY] * 4) * 10)
    assert actions.count(RecoveryAction.ROLLBACK_AND_RETRY) == 2


@pytest.mark.parametrize("trouble", [Trouble.LOSS, Trouble.EXPLOSION, Trouble.OSCILLATION, Trouble.GROWTH])
def test_a_warning_about_the_run_forces_real_steps(policy, trouble):
    decision = policy.decide(warning(trouble), RecoveryState(healthy=3))
    assert (decision.action, decision.reason) == (RecoveryAction.FORCE_FULL_PHASE, "a reason.")
    assert decision.state.healthy == 0


def test_a_prediction_that_was_off_raises_the_bar_and_one_critically_off_resets_the_predictor(policy):
    decision = policy.decide(warning(Trouble.PREDICTION), RecoveryState())
    assert decision.action is RecoveryAction.INCREASE_CONFIDENCE_THRESHOLD
    critical = replace(warning(Trouble.PREDICTION), level=Level.CRITICAL)
    assert policy.decide(critical, RecoveryState()).action is RecoveryAction.RESET_PREDICTOR


def test_rejected_predictions_become_rarer_then_the_predictor_begins_anew(policy):
    state, actions = RecoveryState(), []
    for _ in range(9):
        decision = policy.decide(HEALTHY, state.predicted(accepted=False))
        state = policy.decide(HEALTHY, decision.state).state
        actions.append(decision.action)
    go, reduce, reset = RecoveryAction.CONTINUE, RecoveryAction.REDUCE_PREDICT_RATIO, RecoveryAction.RESET_PREDICTOR
    assert actions == [go, go, reduce, go, go, reset, go, go, reduce]


def test_an_accepted_prediction_clears_those_rejected_before(policy):
    state = RecoveryState(rejected=2, reduced=True).predicted(accepted=True).predicted(accepted=False)
    assert (state.rejected, state.reduced) == (1, False)


def test_every_action_can_be_reached(policy):
    reached = {policy.decide(verdict, RecoveryState()).action for verdict in (HEALTHY, NOT_FINITE, DIVERGED)}
    reached |= {policy.decide(warning(trouble), RecoveryState()).action for trouble in Trouble}
    reached |= {policy.decide(HEALTHY, RecoveryState(rejected=3, reduced=reduced)).action for reduced in (False, True)}
    reached.add(policy.decide(NOT_FINITE, RecoveryState(skipped=2, rollbacks=2)).action)
    assert reached == set(RecoveryAction)


def test_deciding_changes_nothing_that_was_passed_in(policy):
    state = RecoveryState(skipped=1, healthy=2)
    assert policy.decide(NOT_FINITE, state) == policy.decide(NOT_FINITE, state)
    assert state == RecoveryState(skipped=1, healthy=2)


def test_counters_and_settings_are_saved_and_loaded():
    state = RecoveryState(rejected=1, healthy=3)
    assert RecoveryState(**json.loads(json.dumps(vars(state)))) == state
    config = RecoveryConfig(skips=0, learning_rate_cut=0.3)
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("skips", -1, "an integer of at least 0"),
        ("rejections", 0, "an integer of at least 1"),
        ("calm", 2.5, "an integer of at least 1"),
        ("predict_ratio_cut", 1.0, r"a number in \(0, 1\)"),
        ("confidence_step", "half", r"a number in \(0, 1\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, value, expected):
    with pytest.raises(ValueError, match=rf"^RecoveryConfig: {setting} is .*; expected {expected}\.$"):
        RecoveryConfig(**{setting: value})
