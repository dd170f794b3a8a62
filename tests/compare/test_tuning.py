import math

import pytest

from minihybrid.compare.tuning import FARTHEST, tuned


def counted(loss):
    asked = []

    def loss_at(lr):
        asked.append(lr)
        return loss(lr)

    return loss_at, asked


def test_a_best_in_the_middle_needs_no_more_than_the_first_grid():
    loss_at, asked = counted(lambda lr: abs(math.log(lr / 0.02)))
    assert tuned(loss_at, 0.01) == 0.02
    assert sorted(asked) == [0.0025, 0.005, 0.01, 0.02, 0.04]


@pytest.mark.parametrize("best", [0.0003125, 0.32])
def test_the_grid_grows_until_the_best_is_not_at_its_edge(best):
    loss_at, asked = counted(lambda lr: abs(math.log(lr / best)))
    assert tuned(loss_at, 0.01) == pytest.approx(best)
    assert min(asked) < best < max(asked)
    assert len(asked) == len(set(asked)) == 9  # five, and four more on one side


def test_runs_that_diverge_are_the_worst():
    assert tuned(lambda lr: math.inf if lr > 0.01 else 1 / lr, 0.02) == 0.01


def test_no_learning_rate_is_found_where_all_diverge_or_the_loss_falls_for_ever():
    loss_at, asked = counted(lambda lr: math.inf)
    assert tuned(loss_at, 1.0) is None
    assert min(asked) == 2.0**-FARTHEST
    assert tuned(lambda lr: -lr, 1.0) is None
