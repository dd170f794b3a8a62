"""A search believes what lowers the loss, asks no more than it may, and takes numbers that are none for no good."""

import math

import pytest
from hypothesis import given, strategies as st

from minihybrid.config import Config
from minihybrid.hybrid.verify import GuardSearch, LineSearch, NextGradient, Outcome, Unprobed, Verification


@pytest.mark.parametrize(
    ("best", "found", "probes"),
    [(1.0, 1.0, 3), (2.1, 2.0, 4), (5.0, 4.0, 5), (1000.0, 64.0, 8), (0.4, 0.25, 3), (-1.0, 0.0, 3)],
)
def test_the_search_doubles_while_it_pays_and_steps_back_once(best, found, probes):
    outcome = LineSearch().search(lambda scale: (scale - best) ** 2)
    assert (outcome.scale, outcome.probes, outcome.before) == (found, probes, best**2)
    assert outcome.after == (found - best) ** 2


@given(st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=8, max_size=8), st.sampled_from([1.0, 4.0, 64.0]))
def test_what_is_found_is_the_last_of_falling_losses(losses, largest):
    asked = []

    def loss_at(scale):
        asked.append(scale)
        return losses[len(asked) - 1]

    outcome = LineSearch(largest=largest).search(loss_at)
    assert outcome.probes == len(asked) and asked[0] == 0.0 and max(asked) <= largest
    if outcome.scale:
        assert outcome.after < outcome.before and outcome.after == losses[asked.index(outcome.scale)]
    else:
        assert not any(loss < losses[0] for loss in losses[1 : len(asked)])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_never_lower(bad):
    assert LineSearch().search(lambda scale: bad if scale else 1.0).scale == 0.0
    assert LineSearch().search(lambda scale: bad if scale > 1 else 1.0 - scale).scale == 1.0
    assert LineSearch().search(lambda scale: 1.0 if scale else math.nan).scale == 0.0


def test_a_guard_search_has_no_second_try():
    outcome = GuardSearch().search(lambda scale: (scale - 0.25) ** 2 * 100)
    assert (outcome.scale, outcome.probes) == (0.0, 2)


def test_a_limit_cuts_what_may_be_tried_but_not_the_first_scale():
    search = LineSearch(largest=16.0)
    assert search.limited(4.0).largest == 4.0 and search.limited(100.0).largest == 16.0
    assert search.limited(0.1).largest == 1.0
    assert NextGradient().limited(4.0) == NextGradient() and Unprobed().limited(4.0) == Unprobed()


def test_who_defers_does_not_search():
    assert NextGradient().deferred and not LineSearch().deferred and not Unprobed().deferred
    with pytest.raises(TypeError, match=r"NextGradient defines no search\(\); it probes nothing"):
        NextGradient().search(lambda scale: scale)


def test_unprobed_believes_all():
    outcome = Unprobed().search(lambda scale: 1 / 0)
    assert (outcome.scale, outcome.probes) == (1.0, 0)


@pytest.mark.parametrize("search", [LineSearch(largest=8.0), GuardSearch(), NextGradient(), Unprobed()])
def test_settings_are_data(search):
    assert Config.from_json(search.to_json()) == search and isinstance(search, Verification)


@pytest.mark.parametrize(("setting", "value"), [("largest", 0.5), ("largest", math.inf), ("backtrack", 1.0)])
def test_a_senseless_setting_is_named(setting, value):
    with pytest.raises(ValueError, match=f"^LineSearch: {setting} is .*; expected a number .*\\.$"):
        LineSearch(**{setting: value})


def test_an_outcome_is_a_value():
    assert Outcome(1.0, 2.0, 1.0, 3) == Outcome(1.0, 2.0, 1.0, 3)
