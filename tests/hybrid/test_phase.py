"""The controller's decisions are values, and it alone sets the knobs."""

import pytest
from hypothesis import given, strategies as st

from minihybrid.hybrid import HybridConfig, Phase, PhaseController, TrustConfig
from minihybrid.hybrid.recovery import RecoveryConfig


def phases(config, n):
    """The first letters of the phases of a run whose predictions are all accepted."""
    controller, found = PhaseController(config), []
    position = controller.start()
    for _ in range(n):
        found.append(str(position.phase)[0])
        predicts = position.phase is Phase.PREDICT
        position = controller.accepted(position) if predicts else controller.after_step(position)
    return "".join(found)


def at_prediction(controller):
    position = controller.start()
    while position.phase is not Phase.PREDICT:
        position = controller.after_step(position)
    return position


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (HybridConfig(warmup=3, full=2, correct=2), "wwwffpccffpccf"),
        (HybridConfig(warmup=0, full=2, correct=1), "ffpcffpcffpcff"),
        (HybridConfig(warmup=1, full=3, correct=0), "wfffpfffpfffpf"),
        (HybridConfig(warmup=2, full=1, correct=0), "wwfpfpfpfpfpfp"),
    ],
)
def test_the_order_of_the_phases(config, expected):
    assert phases(config, len(expected)) == expected


DECISIONS = {
    "after_step": (),
    "passed": (True,),
    "accepted": (),
    "declined": (),
    "deferred": (),
    "confirmed": (),
    "rejected": (),
    "doubted": (),
    "reduced": (),
    "calmed": (),
    "retried": (0.5,),
}


@given(st.lists(st.sampled_from(sorted(DECISIONS)), max_size=40), st.booleans())
def test_whatever_happens_decisions_can_be_repeated_and_knobs_stay_within_their_limits(happenings, verified):
    config = HybridConfig(warmup=2, full=3, correct=1)
    controller = PhaseController(config, verified)
    position = controller.start()
    for name in happenings:
        before = position
        decide = getattr(controller, name)
        position = decide(before, *DECISIONS[name])
        assert position == decide(before, *DECISIONS[name])
        assert 0 <= position.done < position.length
        assert 0 < position.trust <= config.trust.largest and 0 <= position.doubt < 1
        assert 0 < controller.lr_scale(position) <= 1 <= controller.limit(position)
        assert position.stretch >= 1 and position.rejections >= 0


def test_rejections_in_a_row_skip_twice_as_many_predictions_each_up_to_a_limit():
    controller = PhaseController(HybridConfig(full=4, correct=2, longest_wait=8))
    position, lengths = at_prediction(controller), []
    for _ in range(6):
        position = controller.rejected(position)
        assert position.phase is Phase.CORRECT
        lengths.append(position.length)
    assert lengths == [2 + 4 * skipped for skipped in (1, 2, 4, 8, 8, 8)]
    assert controller.accepted(position).rejections == 6, "it has yet to be confirmed"
    assert controller.confirmed(position).rejections == 0


def test_correct_is_entered_only_after_a_rejection_where_it_has_no_length():
    controller = PhaseController(HybridConfig.full_batch(), verified_steps=True)
    position = at_prediction(controller)
    assert controller.deferred(position).phase is Phase.FULL
    assert controller.declined(position).phase is Phase.FULL
    rejected = controller.rejected(position)
    assert (rejected.phase, rejected.length) == (Phase.CORRECT, 1)
    assert controller.after_step(rejected).phase is Phase.FULL


def test_trust_grows_with_what_proves_good_and_is_cut_by_what_does_not():
    controller = PhaseController(HybridConfig(trust=TrustConfig(initial=4.0, largest=10.0)))
    position = at_prediction(controller)
    assert controller.limit(position) == 4.0
    grown = controller.confirmed(controller.confirmed(position))
    assert controller.limit(grown) == 10.0
    assert controller.rejected(grown).trust == 2.5
    assert controller.rejected(controller.rejected(grown)).trust == 1.0


def test_without_verified_steps_trust_never_touches_the_learning_rate():
    controller = PhaseController(HybridConfig(warmup=3))
    position = controller.start()
    assert controller.lr_scale(position) == 1.0 and controller.limit(position) == 4.0


def test_verified_steps_begin_short_and_find_how_long_they_may_be():
    controller = PhaseController(HybridConfig(warmup=4, full=1), verified_steps=True)
    position, scales = controller.start(), []
    for _ in range(4):
        scales.append(controller.lr_scale(position))
        position = controller.passed(controller.after_step(position), fell=True)
    assert scales == [1 / 16, 1 / 4, 1.0, 1.0]
    assert (position.phase, position.trust, position.least_trust) == (Phase.FULL, 4.0, 1.0)


def test_too_long_first_steps_are_cut_and_trust_begins_lower():
    controller = PhaseController(HybridConfig(warmup=1, full=1), verified_steps=True)
    position = controller.after_step(controller.start())
    position = controller.shortened(controller.shortened(position, jump=False), jump=False)
    assert controller.lr_scale(position) == 1 / 256
    still = controller.passed(position, fell=False)
    assert (still.trust, still.least_trust) == (4 / 256, 1 / 256), "it stands, but nothing speaks for longer steps"
    position = controller.passed(position, fell=True)
    assert (position.trust, position.least_trust) == (4 / 64, 1 / 64)
    assert controller.lr_scale(position) == 4 / 64 and controller.limit(position) == 1.0


def test_a_shortened_jump_costs_trust_but_no_step_length():
    controller = PhaseController(HybridConfig.full_batch(), verified_steps=True)
    position = controller.start()._replace(trust=8.0, least_trust=1.0)
    assert controller.shortened(position, jump=True).trust == 4.0
    assert controller.lr_scale(controller.shortened(position, jump=True)) == 1.0
    assert controller.lr_scale(controller.shortened(position, jump=False)) == 0.25


def test_the_horizon_is_what_the_forecast_reaches_within_the_setting():
    controller = PhaseController(HybridConfig(horizon=20))
    assert [controller.horizon(reach) for reach in (0, 7, 80)] == [0, 7, 20]


def test_doubts_grow_towards_one_and_go_away_with_what_proves_good():
    controller = PhaseController(HybridConfig(confidence=0.8, recovery=RecoveryConfig(confidence_step=0.5)))
    position = controller.start()
    doubted = controller.doubted(controller.doubted(position))
    assert controller.needed(0.8, doubted) == pytest.approx(0.95)
    assert controller.needed(0.0, doubted) == pytest.approx(0.75)
    once = controller.confirmed(doubted)
    assert controller.needed(0.8, once) == pytest.approx(0.9)
    assert controller.needed(0.8, controller.confirmed(controller.confirmed(once))) == pytest.approx(0.8)


def test_fewer_predictions_are_longer_full_phases_until_one_proves_good():
    controller = PhaseController(HybridConfig(full=4, correct=0))
    position = controller.reduced(controller.reduced(at_prediction(controller)))
    assert controller.declined(position).length == 16
    assert controller.accepted(controller.confirmed(position)).length == 4
    assert controller.confirmed(controller.accepted(position)).length == 4, "also where Full has just been entered"


def test_a_calm_is_real_steps_alone():
    controller = PhaseController(HybridConfig(full=4, recovery=RecoveryConfig(calm=30)))
    position = controller.calmed(at_prediction(controller))
    assert (position.phase, position.length, position.done) == (Phase.FULL, 30, 0)


def test_after_a_rollback_the_learning_rate_is_what_recovery_made_of_it():
    controller = PhaseController(HybridConfig())
    position = controller.retried(controller.retried(controller.start(), 0.5), 0.5)
    assert position.phase is Phase.FULL and controller.lr_scale(position) == 0.25


def test_steps_that_were_cut_grow_again_where_the_loss_falls():
    controller = PhaseController(HybridConfig.full_batch(), verified_steps=True)
    position = controller.start()._replace(phase=Phase.FULL, trust=4.0, least_trust=1.0)
    for _ in range(30):
        position = controller.shortened(position, jump=False)
    assert controller.lr_scale(position) == position.least_trust == 2.0**-20, "there is a floor"
    assert controller.passed(position, fell=False) == position
    for _ in range(20):
        position = controller.passed(position, fell=True)
    assert controller.lr_scale(position) == 1.0 and position.trust == 1.0
    trusted = position._replace(trust=8.0)
    assert controller.passed(trusted, fell=True).trust == 8.0
