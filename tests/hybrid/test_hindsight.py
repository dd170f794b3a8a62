"""A jump is regretted for what the real steps after it show, and for nothing else."""

import math

import pytest

from minihybrid.hybrid.hindsight import Hindsight, HindsightConfig
from minihybrid.rng import Rng


@pytest.fixture
def watched():
    """Hindsight that has seen losses of mean 1 and deviation 0.1."""
    hindsight, rng = Hindsight(HindsightConfig()), Rng(0)
    for loss in rng.normal(200, mean=1.0, std=0.1):
        assert not hindsight.observe(float(loss))
    return hindsight


def test_a_rise_for_three_steps_is_regretted(watched):
    watched.begin()
    assert [watched.observe(2.0) for _ in range(4)] == [False, False, True, True]


def test_one_bad_batch_is_not(watched):
    watched.begin()
    assert not any(watched.observe(loss) for loss in (1.3, 1.0, 0.9, 1.1, 1.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_regretted(watched, bad):
    watched.begin()
    assert [watched.observe(bad) for _ in range(3)][-1]


def test_nothing_is_regretted_without_a_jump_or_after_its_time(watched):
    assert not any(watched.observe(100.0) for _ in range(5))
    watched.begin()
    watched.end()
    assert not any(watched.observe(1000.0) for _ in range(5))


def test_a_state_goes_on_to_the_bit(watched):
    twin = Hindsight(HindsightConfig())
    watched.begin()
    watched.observe(2.0)
    twin.load_state_dict(watched.state_dict())
    assert [twin.observe(2.0) for _ in range(2)] == [watched.observe(2.0) for _ in range(2)] == [False, True]


def test_the_count_of_high_steps_begins_anew_after_a_low_one(watched):
    watched.begin()
    assert [watched.observe(loss) for loss in (1.0, 100.0, 100.0, 100.0)] == [False, False, False, True]
